"""Where secrets stand in the lines of a file, so that an error can show its line.

Owns the rules that only whole lines tell: lists of keys, blocks of text, and values that are known to be secret from
elsewhere. The text may be no YAML at all. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence

from .hidden import MASK
from .mask import Span, is_secret_name, merged, secret_spans

FEWEST_CHARS = 4  # of a value that is looked for by itself: a shorter one would be found everywhere
_KEY = re.compile(r"(?P<indent>\s*(?:- +)*)[\"']?(?P<name>[A-Za-z_][\w-]*)[\"']?\s*:(?:\s+(?P<value>[^\s#].*))?")


def secrets_in_lines(lines: Sequence[str], values: Collection[str]) -> dict[int, list[Span]]:
    """The spans of each line that has any, in order and apart; `values` are secret wherever they stand."""
    text = "\n".join(lines)
    found: dict[int, list[Span]] = {}
    spans = secret_spans(text)
    for value in values:
        if len(value) >= FEWEST_CHARS:
            spans += (match.span() for match in re.finditer(re.escape(value), text))
    spans = merged(spans)
    line, start_of_line = 0, 0
    for start, stop in spans:
        while start > start_of_line + len(lines[line]):
            start_of_line += len(lines[line]) + 1
            line += 1
        found.setdefault(line, []).append((start - start_of_line, min(stop - start_of_line, len(lines[line]))))
    for number, span in _blocks(lines):
        found[number] = merged([*found.get(number, []), span])
    return found


def _blocks(lines: Sequence[str]) -> Iterator[tuple[int, Span]]:
    """What stands below a key whose value is secret, and in its own line, as line and span."""
    indent: int | None = None  # of the key whose value goes on
    for number, line in enumerate(lines):
        bare = line.lstrip()
        depth = len(line) - len(bare)
        if indent is not None and bare:
            if depth > indent or (depth == indent and bare.startswith("-")):
                yield number, (depth + len(bare) - len(bare.lstrip("- ")), len(line))
                continue
            indent = None
        match = _KEY.match(line)
        if match is None:
            continue
        value = match["value"] or ""
        is_key_list = match["name"].lower() in ("apikey", "apikeys")
        if is_key_list or (is_secret_name(match["name"]) and value[:1] in ("|", ">")):
            indent = len(match["indent"])
            if is_key_list and value:
                yield number, match.span("value")


def shown_column(spans: Sequence[Span], column: int, *, is_end: bool = False) -> int:
    """Where a column of a line is once the spans are masked; within a span its beginning, or with `is_end` its end."""
    moved = 0
    for start, stop in spans:
        if column <= start:
            break
        if column < stop:
            return start + moved + (len(MASK) if is_end else 0)
        moved += len(MASK) - (stop - start)
    return column + moved
