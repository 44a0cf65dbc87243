"""From a file to a tree of nodes: bytes, encoding, `${env.X}`, YAML.

Owns reading. `${env.NAME}` is replaced in the text, so that it works in keys and inside `[...]` too, but not in
comments: a first pass with a harmless stand-in of the same length finds what is text. Messages quote the line as
written, without the values of variables. Runs in the thread that loads; reads files and the environment, nothing else.
"""

from __future__ import annotations

import bisect
import codecs
import contextlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from .nodes import PARSER, MappingNode, Node, NotYaml, compose, is_null
from .problems import LINE_END, Place, Problems, Source, did_you_mean, line_of, line_starts, secrets_in_lines, shortened
from .secrets import MASK
from .syntax import Failure, Mistake, Quote, failure, mistake_in

ENVIRONMENT = re.compile(r"\$\{env\.([A-Za-z_][A-Za-z0-9_]*)\}")
STAND_IN = "x"
LATIN_LETTERS = 0xA1
MAX_FILE_BYTES = 4 << 20  # thousands of models; reading more would hold up a server that is to take it while it serves

Span = tuple[int, int]  # from one character to before another


def read(file: Path, problems: Problems, environment: Mapping[str, str] | None = None) -> Node | None:
    """What is in the file; None when it is empty or, reported, of no use."""
    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        problems.error(None, (), f"{file}: cannot read it: {error.strerror}")
        return None
    if len(data) > MAX_FILE_BYTES:
        problems.error(None, (), f"{file}: expected a file of at most {MAX_FILE_BYTES >> 20} MB")
        return None
    return parse(data, str(file), problems, os.environ if environment is None else environment)


def parse(data: bytes, name: str, problems: Problems, environment: Mapping[str, str]) -> Node | None:
    """The same for bytes that are there already."""
    source = problems.source(name)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        _report_encoding(data, error.start, source, problems)
        return None
    source.lines = LINE_END.split(text)
    try:
        shown: dict[int, str] = {}
        if "${env." in text:
            text, values = _with_environment(text, source, problems, environment)
            shown = _shown_scalars(text, values)
        node = compose(text, source, problems, shown)
        if not (is_null(node) or isinstance(node, MappingNode)):
            for _ in yaml.parse(text, Loader=PARSER):  # what follows may tell why
                pass
        return node
    except NotYaml:
        return None
    except yaml.YAMLError as error:
        _report(error, text, source, problems)
        return None


def _report_encoding(data: bytes, position: int, source: Source, problems: Problems) -> None:
    """A file that is no UTF-8; its line is shown if it may be text of an older encoding."""
    line = data[:position].count(b"\n")
    column, byte = position - (data.rfind(b"\n", 0, position) + 1), data[position]
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        got = "UTF-16"
    elif b"\0" in data or byte < LATIN_LETTERS:
        got = f"the byte 0x{byte:02x}"
    else:
        got = f'the byte 0x{byte:02x} ("{chr(byte)}" in Latin-1)'
        source.lines = re.split("\r\n|[\r\n]", data.decode("latin-1"))
    problems.error(Place(source, line, column, column + 1), (), f"expected UTF-8 text, got {got}; save it as UTF-8")


def _with_environment(
    text: str, source: Source, problems: Problems, environment: Mapping[str, str]
) -> tuple[str, list[Span]]:
    """The text with its variables replaced, and where in it their values stand.

    Quotes and backslashes in values are escaped for a double-quoted scalar. In a text that is no YAML stand-ins of the
    same length take the place of the values: the error that is reported may quote the text.
    """
    matches = list(ENVIRONMENT.finditer(text))
    safe = ENVIRONMENT.sub(lambda match: STAND_IN * len(match[0]), text)
    scalars, is_yaml = _scalars(safe)
    spans = [(scalar.start_mark.index, scalar.end_mark.index) for scalar in scalars]
    if not is_yaml:  # then all that follows the last scalar counts as one
        spans.append((spans[-1][1] if spans else 0, len(safe)))
    starts = line_starts(text)
    parts, end, moved = [], 0, dict[int, int]()
    values: list[Span] = []
    grown = 0
    begins = [start for start, _ in spans]
    for match in matches:
        number = bisect.bisect_right(begins, match.start()) - 1
        if number < 0 or match.start() >= spans[number][1]:
            continue
        line, column = line_of(starts, match.start())
        place = Place(source, line, column, column + len(match[0]))
        value = _value(match[1], place, problems, environment)
        if not is_yaml:
            continue
        parts += [text[end : match.start()], value]
        end = match.end()
        values.append((match.start() + grown, match.start() + grown + len(value)))
        grown += len(value) - len(match[0])
        source.shifts.setdefault(line, []).append((column + moved.get(line, 0), len(value), len(match[0])))
        moved[line] = moved.get(line, 0) + len(value) - len(match[0])
    return ("".join([*parts, text[end:]]) if is_yaml else safe), values


def _shown_scalars(text: str, values: Sequence[Span]) -> dict[int, str]:
    """What may be shown of scalars in which values of the environment stand, by their number in the text.

    A value within a scalar is marked at both ends and the text parsed once more: what stands between marks is hidden.
    Where that changes how it is parsed (a value that holds quotes or a whole list), all of the scalar is hidden.
    """
    scalars, _ = _scalars(text)
    inside, parted, touched = _within_scalars(scalars, text, values)
    begin, end = _unused_characters(text)
    parts, last = [], 0
    for start, stop in inside:
        parts += [text[last:start], begin, text[start:stop], end]
        last = stop
    marked, _ = _scalars("".join([*parts, text[last:]]))
    shown = {}
    for number in touched:
        found = marked[number].value if len(marked) == len(scalars) else ""
        is_same = number not in parted and found.replace(begin, "").replace(end, "") == scalars[number].value
        shown[number] = _without_marked(found, begin, end) if is_same else MASK
    return shown


def _without_marked(text: str, begin: str, end: str) -> str:
    """The text with each word between marks hidden, so that it has as many words as before."""
    return re.sub(f"{begin}([^{end}]*){end}", lambda match: re.sub(r"\S+", MASK, match[1]), text)


def _within_scalars(scalars: Sequence[Any], text: str, values: Iterable[Span]) -> tuple[list[Span], set[int], set[int]]:
    """The values that lie within one scalar, without blanks at their ends; the scalars that other values touch; all."""
    starts = [scalar.start_mark.index for scalar in scalars]
    inside, parted, touched = [], set(), set()
    for start, stop in values:
        value = text[start:stop]
        start, stop = start + len(value) - len(value.lstrip()), stop - len(value) + len(value.rstrip())
        if start >= stop:
            continue
        number = max(bisect.bisect_right(starts, start) - 1, 0)
        if scalars and starts[number] <= start and stop <= scalars[number].end_mark.index:
            inside.append((start, stop))
            touched.add(number)
            continue
        while number < len(scalars) and starts[number] < stop:
            if scalars[number].end_mark.index > start:
                parted.add(number)
            number += 1
    return inside, parted, touched | parted


def _unused_characters(text: str) -> tuple[str, str]:
    """Two characters that YAML allows and the text does not have."""
    there = set(text)
    free = (chr(code) for code in (*range(0xE000, 0xF900), *range(0xF0000, 0x10FFFE)) if chr(code) not in there)
    return next(free), next(free)


def _scalars(text: str) -> tuple[list[Any], bool]:
    """The events of all scalars, as far as the text is YAML; and whether all of it is."""
    found: list[Any] = []
    try:
        found.extend(event for event in yaml.parse(text, Loader=PARSER) if isinstance(event, yaml.ScalarEvent))
    except yaml.YAMLError:
        return found, False
    return found, True


def _value(name: str, place: Place, problems: Problems, environment: Mapping[str, str]) -> str:
    value = environment.get(name)
    shown = shortened(name)
    if value is None:
        problems.error(place, (), f"the environment variable {shown} is not set{did_you_mean(name, environment)}")
        return STAND_IN
    if any("\ud800" <= char <= "\udfff" for char in value):  # so Python shows bytes that are none
        problems.error(place, (), f"the environment variable {shown} is not UTF-8 text, so it cannot be used here")
        return STAND_IN
    if any(char in value for char in "\n\r\0"):
        problems.error(place, (), f"the environment variable {shown} has line breaks in it, which are not allowed here")
        return STAND_IN
    return value.replace("\\", "\\\\").replace('"', '\\"')


def _report(error: yaml.YAMLError, text: str, source: Source, problems: Problems) -> None:
    if not isinstance(error, yaml.MarkedYAMLError):
        _report_character(getattr(error, "position", 0), text, source, problems)
        return
    failed = failure(error, source.lines, _quotes(text), secrets_in_lines(source.lines, ()))
    found = None
    if not any(number in source.shifts for number in (failed.line, failed.begun[0])):  # it may quote a value otherwise
        found = mistake_in(failed)
    if found is None or found.line in source.shifts:
        column = failed.column
        found = Mistake(failed.line, column, 1, _reason(failed, source))
    place = Place(source, found.line, found.column, found.column + found.length)
    problems.error(place, (), found.message)


def _quotes(text: str) -> list[Quote]:
    """Where texts in quotes stand, as far as the text can be read."""
    found: list[Quote] = []
    with contextlib.suppress(yaml.YAMLError):
        for token in yaml.scan(text, Loader=PARSER):
            if isinstance(token, yaml.ScalarToken) and token.style in ("'", '"'):
                start, end = token.start_mark, token.end_mark
                found.append(Quote(start.line, start.column, end.line, end.column))
    return found


def _report_character(position: int, text: str, source: Source, problems: Problems) -> None:
    """A character that YAML does not know."""
    line, column = line_of(line_starts(text), position)
    char = text[position : position + 1]
    if char == "\0":
        message = "the file has NUL bytes in it; save it as UTF-8 text"
    else:
        message = f"the character U+{ord(char or ' '):04X} is not allowed; delete it"
    problems.error(Place(source, line, column, column + 1), (), message)


def _reason(failed: Failure, source: Source) -> str:
    """The parser's own words, where nothing better is known."""
    if failed.line in source.shifts:  # they may quote a value
        return "this is no YAML, with what came from the environment"
    context = f"{failed.context}: " if failed.context else ""
    since = f" (begun in line {failed.begun[0] + 1})" if context and failed.begun[0] != failed.line else ""
    return f"this is no YAML: {context}{failed.problem}{since}"
