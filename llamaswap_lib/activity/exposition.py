"""Prometheus' text of metrics, written and read: its format 0.0.4, and that of OpenMetrics 1.0.

Pure, any thread. What is written has one HELP and one TYPE for each family, and no NaN. Reading is lenient: a line that
is none of the format is left out, and so are time stamps.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import inf, isnan
from typing import NamedTuple

PLAIN = "text/plain; version=0.0.4; charset=utf-8"
OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
KINDS = ("counter", "gauge", "histogram", "summary")
SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("_sum", "_count"), "counter": ("_total",)}
"""What may stand behind the name of a family in those of its samples."""

Labels = tuple[tuple[str, str], ...]

_LABEL = r'([a-zA-Z_][a-zA-Z0-9_]*)[ \t]*=[ \t]*"([^"\\\n]*(?:\\.[^"\\\n]*)*)"'
_find_labels = re.compile(_LABEL).findall
_LABELS = rf"\{{[ \t]*((?:{_LABEL}[ \t]*(?:,[ \t]*)?)*)\}}"
_match_sample = re.compile(
    rf"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:[ \t]*{_LABELS}|[ \t])[ \t]*(\S+)(?:[ \t]+\S+)?[ \t]*"
).fullmatch
_match_comment = re.compile(r"#[ \t]+(HELP|TYPE)[ \t]+([a-zA-Z_:][a-zA-Z0-9_:]*)[ \t]*(.*)").fullmatch
_ESCAPES = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}
_unescape = re.compile(r'\\[\\"n]').sub


class Sample(NamedTuple):
    """One line: what stands behind the name of the family, labels, and the value."""

    suffix: str
    labels: Labels
    value: float


@dataclass(slots=True)
class Family:
    """The samples of one name. That of a counter has no `_total` at its end; its samples have it as their suffix."""

    name: str
    kind: str  # counter, gauge, histogram, summary or unknown
    help: str
    samples: list[Sample] = field(default_factory=list)

    def add(self, value: float, suffix: str = "", **labels: str) -> None:
        self.samples.append(Sample(suffix, tuple(labels.items()), value))


def counter(name: str, text: str, values: Iterable[tuple[Labels, float]] = ()) -> Family:
    return Family(name, "counter", text, [Sample("_total", labels, value) for labels, value in values])


def gauge(name: str, text: str, values: Iterable[tuple[Labels, float]] = ()) -> Family:
    return Family(name, "gauge", text, [Sample("", labels, value) for labels, value in values])


def buckets(labels: Labels, bounds: Sequence[float], counts: Sequence[int], total: float) -> Iterator[Sample]:
    """The samples of one histogram; `counts` has one more than `bounds`, and each says how many lie in its own part."""
    seen = 0
    for bound, count in zip((*bounds, inf), counts, strict=True):
        seen += count
        yield Sample("_bucket", (*labels, ("le", number(bound))), seen)
    yield Sample("_count", labels, seen)
    yield Sample("_sum", labels, total)


# -- writing --


def number(value: float) -> str:
    if value in (inf, -inf):
        return "+Inf" if value > 0 else "-Inf"
    return repr(float(value)) if isinstance(value, float) else str(value)


def written(families: Iterable[Family], *, is_open: bool) -> bytes:
    """The text; `is_open`: that of OpenMetrics. A family without a sample is left out."""
    lines: list[str] = []
    for family in families:
        samples = [sample for sample in family.samples if not isnan(sample.value)]
        if samples:
            _write_head(lines, family, is_open=is_open)
            lines += [
                f"{family.name}{sample.suffix}{_labels(sample.labels)} {number(sample.value)}" for sample in samples
            ]
    if is_open:
        lines.append("# EOF")
    return "".join(f"{line}\n" for line in lines).encode()


def _write_head(lines: list[str], family: Family, *, is_open: bool) -> None:
    name, kind = family.name, family.kind
    text = family.help.replace("\\", "\\\\").replace("\n", "\\n")
    if is_open:
        text = text.replace('"', '\\"')
    elif kind == "counter":
        name += "_total"
    elif kind == "unknown":
        kind = "untyped"
    lines.append(f"# HELP {name} {text}")
    lines.append(f"# TYPE {name} {kind}")


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels) + "}"


def _escaped(text: str) -> str:
    if text.isalnum():
        return text
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


# -- reading --


def read(text: str) -> dict[str, Family]:
    """The families of a text in either format, by their names, each with the samples that belong to it."""
    comments: dict[str, dict[str, str]] = {"TYPE": {}, "HELP": {}}
    samples: list[tuple[str, Labels, float]] = []
    for line in text.replace("\r\n", "\n").split("\n"):
        if comment := _match_comment(line):
            comments[comment[1]][comment[2]] = comment[3]
        elif sample := _match_sample(line):
            try:
                samples.append((sample[1], _read_labels(sample[2] or ""), float(sample[5])))
            except ValueError:
                pass  # no number
    families: dict[str, Family] = {}
    for name, told in comments["TYPE"].items():
        kind = told.strip() if told.strip() in KINDS else "unknown"
        short = name.removesuffix("_total") if kind == "counter" else name
        families[short] = Family(short, kind, _unescaped(comments["HELP"].get(name, "")))
    for name, labels, value in samples:
        family, suffix = _family_of(families, name)
        family.samples.append(Sample(suffix, labels, value))
    return families


def _family_of(families: dict[str, Family], name: str) -> tuple[Family, str]:
    """Where a sample of this name belongs, and what stands behind the name of that family."""
    for suffix in ("_bucket", "_sum", "_count", "_total", "_created"):
        family = families.get(name.removesuffix(suffix)) if name.endswith(suffix) else None
        if family is not None and (suffix in SUFFIXES.get(family.kind, ()) or suffix == "_created"):
            return (Family(name, "", ""), "") if suffix == "_created" else (family, suffix)  # of no use
    family = families.setdefault(name, Family(name, "unknown", ""))
    if family.kind == "counter":  # one whose name does not end as it should
        family.kind = "unknown"
    return family, ""


def _read_labels(text: str) -> Labels:
    return tuple((name, _unescaped(value)) for name, value in _find_labels(text))


def _unescaped(text: str) -> str:
    return _unescape(lambda found: _ESCAPES[found[0]], text)
