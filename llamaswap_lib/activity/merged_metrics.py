"""Metrics of several servers as one text: each sample says of which model it is, and a family stands there once.

Pure, any thread. Where two servers mean different kinds by one name, the first one counts. What has our own prefix is
left out, for it would be taken for ours, and so is a sample with labels for which Prometheus would refuse all others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isnan

from llamaswap_lib.activity.exposition import Family, Labels, Sample, number, read

OURS = "llamaswap_"


def merged(texts: Mapping[str, str]) -> list[Family]:
    """The families of all texts, which are given by model."""
    families: dict[str, Family] = {}
    seen: set[tuple[str, str, Labels]] = set()
    owners: dict[str, str] = {}  # name of a sample -> that of its family
    for model, text in sorted(texts.items()):
        for family in read(text).values():
            if family.name.startswith(OURS):
                continue
            whole = families.setdefault(family.name, Family(family.name, family.kind, family.help))
            names = {f"{family.name}{sample.suffix}" for sample in family.samples}
            if whole.kind != family.kind or any(owners.get(name, family.name) != family.name for name in names):
                continue
            owners.update(dict.fromkeys(names, family.name))
            for sample in _of_model(model, family):
                key = (family.name, sample.suffix, sample.labels)
                if key not in seen:
                    seen.add(key)
                    whole.samples.append(sample)
    return list(families.values())


def _of_model(model: str, family: Family) -> Iterator[Sample]:
    """Its samples with the model's name; one that has such a label has it under another name, as in Prometheus."""
    for suffix, labels, value in family.samples:
        if isnan(value):
            continue
        kept = tuple(
            ("exported_model" if name == "model" else name, _bound(text) if name in ("le", "quantile") else text)
            for name, text in labels
        )
        names = {"model", *(name for name, _ in kept)}
        if len(names) == len(kept) + 1 and "__name__" not in names:
            yield Sample(suffix, (("model", model), *kept), value)


def _bound(text: str) -> str:
    """A bound as OpenMetrics wants it to be written."""
    try:
        return number(float(text))
    except ValueError:
        return text
