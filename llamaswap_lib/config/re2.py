"""Regular expressions as users write them for RE2, compiled with Python's `re`.

Owns the translation. What both write alike is passed on; what only RE2 knows (`\\z`, `\\pL`, `[[:alpha:]]`,
`\\Q...\\E`, flags in the middle) is rewritten; what only `re` knows (look-around, back references, possessive
repeats) is refused, so that a pattern means the same everywhere. `\\d`, `\\w`, `\\s`, `\\b` are ASCII, as there. Pure.
"""

from __future__ import annotations

import re
import sys
from typing import NamedTuple

from .charsets import CLASSES, PERL, complement, property_of

MAX_REPEAT = 1000
SIMPLE = {"a": r"\x07", "f": r"\f", "n": r"\n", "r": r"\r", "t": r"\t", "v": r"\v"}
ASSERTIONS = {"A": r"\A", "z": r"\Z", "b": r"(?a:\b)", "B": r"(?a:\B)"}
GROUP = re.compile(r"\?(?:P?<(?P<name>[^>]*)>|(?P<flags>[imsU]*(?:-[imsU]+)?)(?P<end>[:)]))")
REPEAT = re.compile(r"(?:[*+?]|\{(?P<least>\d+)(?P<comma>,)?(?P<most>\d*)\})")
CODE = re.compile(r"x(?:\{(?P<long>[0-9A-Fa-f]+)\}|(?P<short>[0-9A-Fa-f]{2}))|(?P<octal>0[0-7]{0,2}|[1-7][0-7]{1,2})")
PROPERTY = re.compile(r"(?P<sign>[pP])(?:\{(?P<not>\^?)(?P<long>\w+)\}|(?P<short>[A-Z]))")
POSIX = re.compile(r"\[:(?P<not>\^?)(?P<name>\w+):\]")


class BadPattern(NamedTuple):
    """Why a pattern can not be used."""

    reason: str


def compiled(pattern: str) -> re.Pattern[str] | BadPattern:
    try:
        return re.compile(_Translation(pattern).text())
    except _Bad as error:
        return BadPattern(str(error))
    except (re.error, OverflowError, RecursionError) as error:
        return BadPattern(str(error))


class _Bad(Exception):
    pass


class _Translation:
    """One pass over the pattern. `flags` are those in force; a flag set in the middle opens a scope of its own."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.at = 0
        self.out: list[str] = []
        self.flags = ""
        self.scope = ""  # what opened the scope of flags of this alternative, '' where there is none
        self.outer: list[tuple[str, str]] = []

    def text(self) -> str:
        while self.at < len(self.pattern):
            char = self.pattern[self.at]
            step = self.steps.get(char)
            if step is not None:
                step(self)
            elif REPEAT.match(self.pattern, self.at):
                self.repeat()
            else:
                self.at += 1
                self.out.append(re.escape(char) if char in "{}]" else char)
        if self.outer:
            raise _Bad("missing )")
        return "".join([*self.out, ")" if self.scope else ""])

    def open_group(self) -> None:
        self.at += 1
        if not self.pattern.startswith("?", self.at):
            self.enter("(")
            return
        match = GROUP.match(self.pattern, self.at)
        if match is None:
            raise _Bad(f"{self.pattern[self.at - 1 : self.at + 3]} is not known to RE2")
        self.at = match.end()
        if match["name"] is not None:
            if not re.fullmatch(r"[A-Za-z_]\w*", match["name"], re.ASCII):
                raise _Bad(f"bad name of a group: {match['name']}")
            self.enter(f"(?P<{match['name']}>")
        elif match["end"] == ":":
            self.enter("(?:")
            self.set_flags(match["flags"])
        elif match["flags"]:
            self.set_flags(match["flags"])
        else:
            raise _Bad("missing argument to (?)")

    def enter(self, opening: str) -> None:
        self.outer.append((self.flags, self.scope))
        self.out.append(opening)
        self.scope = ""

    def close_group(self) -> None:
        if not self.outer:
            raise _Bad("unexpected )")
        self.at += 1
        self.out.append("))" if self.scope else ")")
        self.flags, self.scope = self.outer.pop()

    def alternative(self) -> None:
        self.at += 1
        self.out.append(f")|{self.scope}" if self.scope else "|")

    def set_flags(self, written: str) -> None:
        on, _, off = written.partition("-")
        self.flags = "".join(sorted((set(self.flags) | set(on)) - set(off)))
        if self.scope:
            self.out.append(")")
        known = [flag for flag in "ims" if flag in self.flags]
        dropped = [flag for flag in "ims" if flag not in self.flags]
        self.scope = "(?" + "".join(known) + "-" + "".join(dropped) + ":" if dropped else "(?ims:"
        self.out.append(self.scope)

    def repeat(self) -> None:
        match = REPEAT.match(self.pattern, self.at)
        assert match is not None
        if not self.out or self.out[-1] in ("(", "(?:", "|") or self.out[-1] == self.scope or self.out[-1][:3] == "(?P":
            raise _Bad(f"nothing to repeat before {match[0]}")
        if int(match["least"] or 0) > MAX_REPEAT or int(match["most"] or 0) > MAX_REPEAT:
            raise _Bad(f"a repeat of more than {MAX_REPEAT} times: {match[0]}")
        self.at = match.end()
        lazy = self.pattern.startswith("?", self.at)
        self.at += lazy
        if REPEAT.match(self.pattern, self.at):
            raise _Bad(f"a repeat of a repeat: {self.pattern[match.start() : self.at + 1]}")
        self.out.append(match[0] + ("?" if lazy != ("U" in self.flags) else ""))

    def end_of_text(self) -> None:
        self.at += 1
        self.out.append("$" if "m" in self.flags else r"\Z")

    # -- escapes --

    def escape(self) -> None:
        start = self.at
        self.at += 1
        letter = self.pattern[self.at : self.at + 1]
        if letter in PERL or letter.lower() in PERL:
            self.at += 1
            self.out.append(f"[{'^' if letter.isupper() else ''}{PERL[letter.lower()]}]")
        elif letter in ASSERTIONS:
            self.at += 1
            self.out.append(ASSERTIONS[letter])
        elif letter == "Q":
            end = self.pattern.find("\\E", self.at)
            end = len(self.pattern) if end < 0 else end
            self.out += [re.escape(char) for char in self.pattern[self.at + 1 : end]]
            self.at = end + 2
        elif letter == "C":
            self.at += 1
            self.out.append("(?s:.)")
        elif letter in ("p", "P"):
            self.out.append(f"[{self.property()}]")
        else:
            self.at = start
            self.out.append(self.character())

    def character(self) -> str:
        """One escaped character, as `re` writes it anywhere."""
        self.at += 1
        letter = self.pattern[self.at : self.at + 1]
        code = CODE.match(self.pattern, self.at)
        if code is not None:
            self.at = code.end()
            number = int(code["octal"], 8) if code["octal"] else int(code["long"] or code["short"], 16)
            if number > sys.maxunicode:
                raise _Bad(f"no such character: \\{code[0]}")
            return re.escape(chr(number))
        if letter in SIMPLE:
            self.at += 1
            return SIMPLE[letter]
        if not letter or letter.isalnum() or ord(letter) > 127:
            raise _Bad(f"\\{letter} is not known to RE2" if letter else "a backslash at the end")
        self.at += 1
        return re.escape(letter)

    def property(self) -> str:
        match = PROPERTY.match(self.pattern, self.at)
        if match is None:
            raise _Bad(f"\\{self.pattern[self.at : self.at + 2]} is not known to RE2")
        self.at = match.end()
        name = match["long"] or match["short"]
        try:
            return property_of(name, (match["sign"] == "P") != bool(match["not"]))
        except KeyError:
            raise _Bad(f"\\p{{{name}}} is not known to RE2") from None

    # -- [...] --

    def bracket(self) -> None:
        self.at += 1
        negated = self.pattern.startswith("^", self.at)
        self.at += negated
        parts = []
        first = True
        while first or not self.pattern.startswith("]", self.at):
            if self.at >= len(self.pattern):
                raise _Bad("missing ]")
            parts.append(self.bracket_part())
            first = False
        self.at += 1
        self.out.append(f"[{'^' if negated else ''}{''.join(parts)}]")

    def bracket_part(self) -> str:
        posix = POSIX.match(self.pattern, self.at)
        if posix is not None:
            if posix["name"] not in CLASSES:
                raise _Bad(f"{posix[0]} is not known to RE2")
            self.at = posix.end()
            inner = CLASSES[posix["name"]]
            return complement(inner) if posix["not"] else inner
        if self.pattern.startswith("\\", self.at):
            letter = self.pattern[self.at + 1 : self.at + 2]
            if letter and letter.lower() in PERL:
                self.at += 2
                return complement(PERL[letter.lower()]) if letter.isupper() else PERL[letter]
            if letter in ("p", "P"):
                self.at += 1
                return self.property()
        low = self.bracket_character()
        if not re.compile(r"-[^\]]").match(self.pattern, self.at):
            return low
        self.at += 1
        return f"{low}-{self.bracket_character()}"

    def bracket_character(self) -> str:
        if self.pattern.startswith("\\", self.at):
            return self.character()
        self.at += 1
        return re.escape(self.pattern[self.at - 1])

    steps = {  # noqa: RUF012 - not changed
        "(": open_group,
        ")": close_group,
        "|": alternative,
        "$": end_of_text,
        "\\": escape,
        "[": bracket,
    }
