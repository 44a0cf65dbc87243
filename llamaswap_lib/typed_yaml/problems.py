"""What is wrong with a configuration, and where, so that a person finds it at once.

Owns `Source` (a file as it was read), `Place` (a place in it), `Problem` (one error or warning with its place) and the
list that collects them, so that everything wrong is reported at once. A secret never gets into a message: the line
shown is the one in the file, before `${env.X}` was replaced, and what looks like a secret is masked in it. Used by the
thread that loads; the rest are plain values.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from llamaswap_lib.errors import ConfigError
from llamaswap_lib.nearest import Nearest
from llamaswap_lib.printable import printable

from .secrets import MASK, Span, hide, is_secret_name, mask_text, merged, secret_spans, visible

PathStep = str | int
KeyPath = tuple[PathStep, ...]

MAX_SHOWN_CHARS = 100
MOST_CHARS = 60  # of a value that a message names
LEAST_LIKENESS = 0.65  # of a name that is suggested
LINE_END = re.compile("\r\n|[\n\r\x85\u2028\u2029]")  # what YAML counts as one
FEWEST_CHARS = 4  # of a value that is looked for by itself: a shorter one would be found everywhere
KEY = re.compile(r"(?P<indent>\s*(?:- +)*)[\"']?(?P<name>[A-Za-z_][\w-]*)[\"']?\s*:(?:\s+(?P<value>[^\s#].*))?")
PLAIN_STEP = re.compile(r"[^\s.\[\]\"']+\Z")


class Source:
    """One file: its name for messages, the lines as written, and where columns were moved by `${env.X}`."""

    __slots__ = ("_spans", "lines", "name", "number", "secrets", "shifts")

    def __init__(self, name: str, number: int = 0) -> None:
        self.name = name
        self.number = number  # in the order in which files were read
        self.lines: Sequence[str] = ()
        self.shifts: dict[int, list[tuple[int, int, int]]] = {}  # line -> (column, new length, old length)
        self.secrets: frozenset[str] = frozenset()  # values that are not to be shown, wherever they stand
        self._spans: dict[int, list[Span]] | None = None

    def written_column(self, line: int, column: int) -> int:
        """The column in the file of a column in the text with its environment variables replaced."""
        moved = 0
        for start, new, old in self.shifts.get(line, ()):
            if column < start:
                break
            if column < start + new:
                return start + moved
            moved += old - new
        return column + moved

    def read_columns(self, line: int, *columns: int) -> list[int]:
        """The other way round: columns of the file as columns of the text with its variables replaced."""
        found = []
        for column in columns:
            moved = 0
            for start, new, old in self.shifts.get(line, ()):
                if column < start + moved + old:
                    break
                moved += old - new
            found.append(column - moved)
        return found

    def secret_spans(self, line: int) -> list[Span]:
        """Where secrets stand in a line."""
        if self._spans is None:
            self._spans = secrets_in_lines(self.lines, self.secrets)
        return self._spans.get(line, [])


class Place(NamedTuple):
    """A spot in a file; lines and columns count from 0."""

    source: Source
    line: int
    column: int
    end_column: int  # of the same line; of what goes over several lines it says nothing
    last_line: int | None = None  # where that is another

    def spot(self, text: str, number: int = 0, *, has_comments: bool = False) -> Place | None:
        """The place of `text` inside of this one, the `number`-th from 0; with `has_comments` not in lines of them."""
        for line in range(self.line, self.line + 1 if self.last_line is None else self.last_line + 1):
            written = self.source.lines[line] if line < len(self.source.lines) else ""
            if line > self.line and has_comments and written.lstrip().startswith("#"):
                continue
            column = self.source.written_column(line, self.column) if line == self.line else 0
            end = self.source.written_column(line, self.end_column) if self.last_line is None else len(written)
            while (column := written.find(text, column, end)) >= 0:
                if number == 0:
                    return Place(self.source, line, *self.source.read_columns(line, column, column + len(text)))
                number -= 1
                column += len(text)
        return None


class Problem(NamedTuple):
    """One complaint. `str()` is one line; `text()` adds the line of the file and a caret."""

    place: Place | None
    path: KeyPath
    message: str
    is_hint: bool = False  # of a warning: nothing is amiss, it could only be said shorter or be left out
    family: str = ""  # those of one family are the same slip, however they are worded; '' is none

    @property
    def where(self) -> str:
        """`config.yaml:14`, or the name of the file alone, or nothing."""
        return "" if self.place is None else f"{self.place.source.name}:{self.place.line + 1}"

    def __str__(self) -> str:
        return ": ".join(part for part in (self.where, dotted(self.path), self.message) if part)

    def text(self) -> str:
        return str(self) if self.place is None else str(self) + _excerpt(self.place)


class InvalidConfig(ConfigError):
    """The configuration cannot be used; its text tells every error."""

    def __init__(self, errors: Iterable[Problem], warnings: Iterable[Problem] = ()) -> None:
        self.errors = tuple(errors)
        self.warnings = tuple(warnings)
        super().__init__("\n".join(problem.text() for problem in self.errors))


class Problems:
    """Gathers what is wrong, in the order of discovery; `in_order` gives that of the files."""

    def __init__(self, *, is_text_only: bool = False) -> None:
        """`is_text_only`: nothing but the text itself is looked at, not even whether a file is there."""
        self.is_text_only = is_text_only
        self.sources: list[Source] = []
        self.errors: list[Problem] = []
        self.warnings: list[Problem] = []
        self.doubts: list[tuple[Problem, frozenset[tuple[int, int]]]] = []

    def source(self, name: str) -> Source:
        """The next file."""
        self.sources.append(Source(name, len(self.sources) + 1))
        return self.sources[-1]

    def keep_secret(self, values: Iterable[str]) -> None:
        """Show none of these values when a line of a file is shown."""
        for source in self.sources:
            source.secrets = source.secrets.union(values)

    def error(self, place: Place | None, path: KeyPath, message: str) -> None:
        self.errors.append(Problem(place, path, printable(message)))

    def warn(
        self, place: Place | None, path: KeyPath, message: str, *, is_hint: bool = False, family: str = ""
    ) -> None:
        self.warnings.append(Problem(place, path, printable(message), is_hint, family))

    def doubt(self, problem: Problem, lines: Iterable[tuple[int, int]]) -> None:
        """An error unless there is another one of the same entry, with the same two first steps or in these lines.

        Of several doubts of one entry the first is said.
        """
        self.doubts.append((problem, frozenset(lines)))

    def settle_doubts(self) -> None:
        """Make errors of the doubts that stand alone; what was warned of at the same spot is said by them."""
        paths = {one.path[:2] for one in self.errors if one.path}
        places = {(one.place.source.number, one.place.line) for one in self.errors if one.place and not one.path}
        for one, lines in self.doubts:
            if one.path[:2] not in paths and not lines & places:
                self.error(one.place, one.path, one.message)
                paths.add(one.path[:2])
                self.warnings = [warning for warning in self.warnings if warning.place != one.place]
        self.doubts.clear()

    def raise_errors(self) -> None:
        if self.errors:
            raise InvalidConfig(in_order(self.errors), in_order(self.warnings))


def in_order(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """In the order of files and lines, and one for each spot and message: an anchor may be used many times."""
    first: dict[object, Problem] = {}
    for problem in problems:
        first.setdefault((problem.place, problem.message) if problem.place else problem, problem)

    def rank(problem: Problem) -> tuple[int, int, int]:
        place = problem.place
        return (0, 0, 0) if place is None else (place.source.number, place.line, place.column)

    return tuple(sorted(first.values(), key=rank))


def dotted(path: KeyPath) -> str:
    """`models.qwen.aliases[1]`; a step that has dots or blanks stands in quotes."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            shown = visible(step)
            is_plain = PLAIN_STEP.match(shown) and shown.isprintable()
            text += ("." if text else "") + (shown if is_plain else quoted(step))
    return text


def shortened(text: str, limit: int = MOST_CHARS) -> str:
    """The text, with at most `limit` characters."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def quoted(text: str, limit: int = MOST_CHARS) -> str:
    """The text in double quotes, on one line and not too long, with secrets masked and nothing that cannot be seen."""
    shown = shortened(mask_text(text), limit)
    return '"' + printable(shown.replace("\\", "\\\\").replace('"', '\\"')) + '"'


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """` (did you mean "x"?)`, or nothing."""
    near = nearest(name, known)
    return "" if near is None else f" (did you mean {quoted(near)}?)"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most like this one, if any is."""
    known = tuple(known)
    folded, names = _prepared(known)
    near = folded.get(fold(name)) or next(iter(names.find(name, least=LEAST_LIKENESS)), None)
    return None if near is None else known[known.index(near)]  # equal to it, but it may be a `Hidden`


@lru_cache(maxsize=4)
def _prepared(known: tuple[str, ...]) -> tuple[dict[str, str], Nearest]:
    """Names by what `fold` makes of them, and for `find`; once for all that are looked for among the same ones."""
    return {fold(one): one for one in known}, Nearest(known)


def fold(name: str) -> str:
    """The name without what people vary: upper case, `_` and `-`."""
    return name.lower().replace("_", "").replace("-", "")


def _excerpt(place: Place) -> str:
    if place.line >= len(place.source.lines):
        return ""
    line = place.source.lines[place.line]
    start = place.source.written_column(place.line, place.column)
    end = max(place.source.written_column(place.line, place.end_column), start + 1)
    spans = place.source.secret_spans(place.line)
    start, end = shown_column(spans, start), shown_column(spans, end, is_end=True)
    line = hide(line, spans)
    left = max(0, start - MAX_SHOWN_CHARS // 2) if len(line) > MAX_SHOWN_CHARS else 0
    shown = line[left : left + MAX_SHOWN_CHARS]
    shown = "".join(char if char.isprintable() or char == "\t" else "\ufffd" for char in shown)
    pad = "".join("\t" if char == "\t" else " " for char in shown[: start - left])
    carets = "^" * max(1, min(end, left + len(shown)) - start)
    number = str(place.line + 1)
    return f"\n  {number} | {shown}\n  {' ' * len(number)} | {pad}{carets}"


def line_starts(text: str) -> list[int]:
    """Where each line of `text` begins."""
    return [0, *(match.end() for match in LINE_END.finditer(text))]


def line_of(starts: Sequence[int], index: int) -> tuple[int, int]:
    """Line and column of a character."""
    line = bisect.bisect_right(starts, index) - 1
    return line, index - starts[line]


# -- where secrets stand in lines; the text may be no YAML at all --


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
        match = KEY.match(line)
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
