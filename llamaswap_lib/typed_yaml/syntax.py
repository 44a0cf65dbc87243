"""What is wrong in a text that is not YAML, and where.

A YAML parser says where it could not go on. The mistake is often in an earlier line (a quote that is not closed, a
colon that is missing), so this looks at the lines around that place, for the most certain mistakes first. Pure; reads
the lines as they are written, and quotes of them only a key, a bracket or a quote.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

from .problems import quoted

# A line that begins with a key; `key` may stand in quotes, `rest` is its value.
KEY = r"""(?P<before> *(?:- +)*)(?P<key>(?:"[^"]*"|'[^']*')\s*|[^\s#"'\[{:](?:[^#:]|:(?!\s|$))*):(?P<rest>\s.*|$)"""
CONFLICT = r"(<{7}|={7}|>{7})(\s|$)"
# Blanks that are none for YAML: where a line is indented, and behind a colon or a dash.
ODD_BLANK = "[\u00a0\u1680\u2000-\u200b\u202f\u205f\u3000\ufeff]"
CURLY = "[\u2018-\u201f\u00ab\u00bb]"  # what word processors make of quotes
KEY_ONLY = r" *(?:- +)*[\w.-]+: +"
COMMENT = ("//", "/*")  # of other languages
CLOSING = {"[": "]", "{": "}"}
OPENING = {"]": "[", "}": "{"}


class Mistake(NamedTuple):
    """Where it is, in lines and columns from 0, and what to say of it."""

    line: int
    column: int
    length: int
    message: str


class Quote(NamedTuple):
    """A text in quotes: from its opening quote to behind the closing one."""

    line: int
    column: int
    end_line: int
    end_column: int


class Failure(NamedTuple):
    """Where the parser gave up, on what (`context`), since when (`begun`), and the texts in quotes that it had read."""

    lines: Sequence[str]
    line: int
    column: int
    problem: str
    context: str
    begun: tuple[int, int]
    quotes: Sequence[Quote]
    secret: Collection[int]  # lines with a secret in them, of which nothing is quoted

    def text(self, number: int) -> str:
        return self.lines[number] if 0 <= number < len(self.lines) else ""

    @property
    def char(self) -> str:
        """What the parser could not take."""
        return self.text(self.line)[self.column : self.column + 1]

    @property
    def is_at_beginning(self) -> bool:
        """Whether nothing but blanks stands before that in its line."""
        return not self.text(self.line)[: self.column].strip()

    def previous(self, number: int) -> int:
        """The line above that says something; -1 if there is none."""
        number -= 1
        while number >= 0 and (not self.text(number).strip() or self.text(number).lstrip().startswith("#")):
            number -= 1
        return number


def failure(error: Any, lines: Sequence[str], quotes: Sequence[Quote], secret: Collection[int] = ()) -> Failure:
    """What a `yaml.MarkedYAMLError` says."""
    mark = error.problem_mark or error.context_mark
    begun = error.context_mark or mark
    line = min(mark.line, len(lines) - 1)
    column = mark.column if line == mark.line else len(lines[line])
    place = (begun.line, begun.column)
    return Failure(lines, line, column, str(error.problem), str(error.context or ""), place, quotes, secret)


def mistake_in(failed: Failure) -> Mistake | None:
    """The mistake; None where the parser's own words have to do."""
    return next((found for look in LOOKS if (found := look(failed)) is not None), None)


# -- wherever the parser gave up --


def _conflict(failed: Failure) -> Mistake | None:
    for number, line in enumerate(failed.lines):
        if re.match(CONFLICT, line) and not line.startswith("="):
            said = "git left two versions of these lines here; keep one of them, without <<<<<<<, ======= and >>>>>>>"
            return Mistake(number, 0, 7, said)
    return None


def _tab(failed: Failure) -> Mistake | None:
    for number in (failed.line, failed.begun[0], failed.previous(failed.line)):
        line = failed.text(number)
        blanks = len(line) - len(line.lstrip(" \t"))
        if "\t" in line[:blanks]:
            return Mistake(number, line.index("\t"), 1, "a tab cannot be used to indent, use spaces")
    if failed.char == "\t":
        return Mistake(failed.line, failed.column, 1, "a tab is not allowed here, use spaces")
    return None


def _odd_character(failed: Failure) -> Mistake | None:
    """A blank or a colon that looks like the one of YAML."""
    for number in (failed.previous(failed.line), failed.begun[0], failed.line):
        line = failed.text(number)
        match = re.match(rf"[ \t]*({ODD_BLANK})", line) or re.search(rf"[\w\"'][:-] *({ODD_BLANK})", line)
        if match is not None:
            name = unicodedata.name(match[1], "blank").lower()
            said = f"a {name} (U+{ord(match[1]):04X}) is here, where YAML needs an ordinary space"
            return Mistake(number, match.start(1), 1, said)
        curly = re.match(rf"{KEY_ONLY}({CURLY})", line)
        if curly is not None:
            said = f"{quoted(curly[1])} is not a quote in YAML; write an ordinary one"
            return Mistake(number, curly.start(1), 1, said)
        wide = line.find("\uff1a")
        if wide >= 0 and not re.match(KEY, line):
            said = "this is not the colon of YAML; write an ordinary one, and a space after it"
            return Mistake(number, wide, 1, said)
    return None


def _first_character(failed: Failure) -> Mistake | None:
    """A value that begins with a character that means something to YAML."""
    line, column = failed.begun
    char = quoted(failed.text(line)[column : column + 1])
    if failed.context == "while scanning a block scalar":
        said = f"the text of {char} begins on the next line; a value that begins with {char} needs quotes"
        return Mistake(line, column, 1, said)
    if failed.context == "while scanning a directive":
        return Mistake(line, column, 1, "a line that begins with % needs quotes")
    if failed.context.endswith((" an alias", " an anchor", " a tag")):
        return Mistake(line, column, 1, f"a value that begins with {char} needs quotes")
    is_unknown = "tag handle" in failed.problem or "cannot start any token" in failed.problem
    if is_unknown or failed.context == "while parsing a block node":
        return Mistake(failed.line, failed.column, 1, f"a value that begins with {quoted(failed.char)} needs quotes")
    return None


def _backslash(failed: Failure) -> Mistake | None:
    if "escape" not in failed.problem and "hex" not in failed.problem:
        return None
    column = failed.text(failed.line).rfind("\\", 0, failed.column + 1)
    said = "in double quotes a backslash begins an escape; double the backslash or use single quotes"
    return Mistake(failed.line, max(column, 0), 2, said)


# -- quotes and brackets --


def _open_quote(failed: Failure) -> Mistake | None:
    """A quote that is closed only by what was to open the next one, or never."""
    for quote in reversed(failed.quotes):
        is_near = quote.end_line in (failed.line, failed.begun[0], failed.previous(failed.line))
        if not is_near or quote.end_line == quote.line:
            continue
        inside = [failed.text(number) for number in range(quote.line + 1, quote.end_line)]
        inside.append(failed.text(quote.end_line)[: quote.end_column])
        if any(re.match(KEY, line) for line in inside):
            return _not_closed(failed, quote.line, quote.column)
    if failed.context.endswith("scanning a quoted scalar"):
        return _not_closed(failed, *failed.begun)
    return None


def _not_closed(failed: Failure, line: int, column: int) -> Mistake:
    char = failed.text(line)[column : column + 1]
    return Mistake(line, column, 1, f"the quote {char} that opens here is not closed")


def _bracket(failed: Failure) -> Mistake | None:
    if not failed.context.startswith("while parsing a flow"):
        return None
    line, column = failed.begun
    opening = failed.text(line)[column : column + 1]
    if opening not in CLOSING:
        return Mistake(failed.line, failed.column, 1, "a value is missing here")
    here, above = failed.text(failed.line), failed.previous(failed.line)
    if failed.char == "{" and here[: failed.column].endswith("$"):
        said = "a value with ${...} in it needs quotes inside { } or [ ]"
        return Mistake(failed.line, failed.column - 1, 2, said)
    key = re.match(KEY, here[: failed.column])
    if failed.char == ":" and (line == failed.line or (key is not None and key["rest"].strip())):
        return Mistake(failed.line, failed.column, 1, 'a value with ": " in it needs quotes')
    if failed.text(above).lstrip().startswith(COMMENT):
        return _comment(failed, above)
    is_deeper = _indent(here) > _indent(failed.text(line))
    is_next = (failed.is_at_beginning or failed.char == ":") and not failed.text(above).rstrip().endswith(("{", ","))
    if is_deeper and opening == "{" and is_next and re.match(KEY, here):
        end = len(failed.text(above).rstrip())
        return Mistake(above, end - 1, 1, "a comma is missing after this")
    if here[failed.column :].strip() and (failed.line == line or (is_deeper and not re.match(KEY, here))):
        return Mistake(failed.line, failed.column, 1, f"expected a comma or {CLOSING[opening]} here")
    return Mistake(line, column, 1, f"the bracket {opening} that opens here is not closed")


def _behind_the_end(failed: Failure) -> Mistake | None:
    """Text behind a closing quote or bracket."""
    is_block = failed.context.startswith("while parsing a block") or "document start" in failed.problem
    if not is_block or (failed.is_at_beginning and failed.char not in OPENING):
        return None
    if failed.char in OPENING:
        said = f"there is no {OPENING[failed.char]} that this {failed.char} closes"
        return Mistake(failed.line, failed.column, 1, said)
    line = failed.text(failed.line)
    last = line[: failed.column].rstrip()[-1:]
    if last in ('"', "'"):
        other = "'" if last == '"' else '"'
        if last in line[failed.column :]:
            inside = "''" if last == "'" else '\\"'
            said = f"the {last} before this ends the text; write {inside} for a {last} inside it"
            said += f", or put {other} around all of it"
        else:
            said = f"the text in quotes ends before this; put {other} around the whole value"
        return Mistake(failed.line, failed.column, 1, said)
    if last in OPENING:
        said = f"the {OPENING[last]} ... {last} ends before this; a text that begins with {OPENING[last]} needs quotes"
        return Mistake(failed.line, failed.column, 1, said)
    return None


# -- keys, colons, indentation --


def _list_in_line(failed: Failure) -> Mistake | None:
    if "not allowed" not in failed.problem or "mapping values" in failed.problem:
        return None
    char = quoted(failed.char)
    said = f"{char} cannot follow a key here; a list begins on the next line, and text with {char} needs quotes"
    return Mistake(failed.line, failed.column, 1, said)


def _colon_too_many(failed: Failure) -> Mistake | None:
    """`mapping values are not allowed here`: a colon in what was taken for a value."""
    if "mapping values" not in failed.problem:
        return None
    line = failed.text(failed.line)
    key = re.match(KEY, line[: failed.column])
    if key is not None and key["rest"].strip():
        return Mistake(failed.line, failed.column, 1, 'a value with ": " in it needs quotes')
    above = failed.previous(failed.line)
    holder = _holder(failed, above)
    if holder is None:
        return _without_colon(failed, above)
    number, column = holder
    indent = _indent(line)
    name = quoted(str(re.match(KEY, failed.text(number))["key"]).strip())  # type: ignore[index]
    if line.lstrip().startswith("-") or above != number:
        said = (
            f'this still belongs to the value of {name} on line {number + 1}, and a value with ": " in it needs quotes'
        )
        return Mistake(failed.line, failed.column, 1, said)
    return _misindented(failed, indent, column)


def _holder(failed: Failure, number: int) -> tuple[int, int] | None:
    """The line, and the column of its key, whose value goes on in line `number`, itself included."""
    indent = len(failed.text(failed.line))
    while number >= 0:
        line = failed.text(number)
        key = re.match(KEY, line)
        if key is not None and key["rest"].strip() and len(key["before"]) < _indent(failed.text(failed.line)):
            return number, len(key["before"])
        if key is not None or _indent(line) >= indent:
            return None
        indent = _indent(line) + 1
        number = failed.previous(number)
    return None


def _colon_missing(failed: Failure) -> Mistake | None:
    if "could not find expected ':'" not in failed.problem:
        return None
    number = failed.begun[0]
    line, above = failed.text(number), failed.text(failed.previous(number))
    if _indent(line) == _indent(above) and above.lstrip().startswith("- ") and not line.lstrip().startswith("- "):
        return Mistake(number, _indent(line), 1, 'expected "- " here, as in the line above')
    return _left_of_block(failed, number) or _dash(line, above, number) or _without_colon(failed, number)


def _dash(line: str, above: str, number: int) -> Mistake | None:
    """A line with a dash, right below a key and not further to the right: an item of its list, or more of its value."""
    key, word = re.match(KEY, above), re.match(r" *(-{1,2}[\w\"'/][^\s=]*)", line)
    if key is None or _indent(line) != _indent(above):
        return None
    if re.match(r"\s+[|>][-+\d]*\s*(#.*)?$", key["rest"]):
        said = f"the text of {quoted(key['key'].strip())} begins here; indent it further than its key"
        return Mistake(number, _indent(line), 1, said)
    if word is None:
        return None
    if not key["rest"].strip():
        return Mistake(number, _indent(line), 1, 'a space is missing after "-"') if word[1][1] != "-" else None
    said = f"this is not a key; to go on with the value of {quoted(key['key'].strip())}, indent this line further"
    return Mistake(number, _indent(line), len(word[1]), said)


def _left_of_block(failed: Failure, number: int) -> Mistake | None:
    """A line of a block of text that is indented like the block's key."""
    indent, above = _indent(failed.text(number)), failed.previous(number)
    block = _indent(failed.text(above))
    while above >= 0 and _indent(failed.text(above)) > indent:
        above = failed.previous(above)
    if block > indent and re.search(r":\s+[|>][-+\d]*\s*(#.*)?$", failed.text(above)):
        said = f"this line is indented by {indent}, the lines of the text above it by {block}"
        return Mistake(number, 0, max(indent, 1), said)
    return None


def _without_colon(failed: Failure, number: int) -> Mistake | None:
    """What to say of a line that should begin with a key and does not."""
    line = failed.text(number)
    column = _column(line)
    content = re.split(r"\s#", line[column:], maxsplit=1)[0].rstrip()
    if number < 0 or not content:
        return None
    if number in failed.secret:
        return Mistake(number, column, 1, "a colon is missing on this line")
    if content.startswith(COMMENT):
        return _comment(failed, number)
    if not _has_children(failed, number):
        for pattern, said in (
            (r"([\w.-]+)\s*=", 'expected ": " after {}, not "="'),
            (r"([A-Za-z_][\w.-]*:)(?=[^\s/])", "a space is missing after {}"),
        ):
            found = re.match(pattern, content)
            if found is not None:
                return Mistake(number, column, len(found[1]), said.format(quoted(found[1])))
    word = content if _has_children(failed, number) else content.split()[0]
    return Mistake(number, column, len(word), f"a colon is missing after {quoted(word)}")


def _comment(failed: Failure, number: int) -> Mistake:
    column = _indent(failed.text(number))
    return Mistake(number, column, 2, f"a comment begins with #, not with {failed.text(number)[column : column + 2]}")


def _has_children(failed: Failure, number: int) -> bool:
    below = (line for line in failed.lines[number + 1 :] if line.strip() and not line.lstrip().startswith("#"))
    return _indent(next(below, "")) > _indent(failed.text(number))


def _indentation(failed: Failure) -> Mistake | None:
    """A line that stands neither below its neighbours nor below what holds them."""
    if not failed.is_at_beginning or not failed.char:
        return None
    indent = failed.column
    levels, lowest, number = [], 10_000, failed.previous(failed.line)
    while number >= 0 and lowest > 0:
        line = failed.text(number)
        if _indent(line) < lowest:
            lowest = _indent(line)
            levels += [lowest, _column(line)]
        number = failed.previous(number)
    if levels and indent not in levels:
        return _misindented(failed, indent, min((one for one in levels if one > indent), default=max(levels)))
    if "'-'" in failed.problem or (failed.context.endswith("block collection") and failed.char != "-"):
        return Mistake(failed.line, indent, 1, 'expected "- " here, as in the lines above')
    if failed.char == "-":
        return Mistake(failed.line, indent, 1, '"- " cannot be here: the lines above are keys, not items of a list')
    return None


def _misindented(failed: Failure, indent: int, neighbours: int) -> Mistake:
    return Mistake(failed.line, 0, max(indent, 1), f"this line is indented by {indent}, its neighbours by {neighbours}")


def _second_value(failed: Failure) -> Mistake | None:
    if "document start" not in failed.problem:
        return None
    return Mistake(failed.line, failed.column, 1, "nothing can follow here: what comes before is the whole file")


def _column(line: str) -> int:
    """Where the text of a line begins, behind the dashes of a list."""
    match = re.match(r" *(?:- +)*", line)
    return 0 if match is None else match.end()


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


LOOKS: tuple[Callable[[Failure], Mistake | None], ...] = (
    _conflict, _tab, _open_quote, _odd_character, _backslash, _bracket, _list_in_line, _first_character,
    _behind_the_end, _colon_too_many, _colon_missing, _indentation, _second_value,
)  # fmt: skip
