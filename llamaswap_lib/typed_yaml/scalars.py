"""What a YAML scalar means: YAML 1.2 as users write it, not the 1.1 of PyYAML.

Owns the rules for booleans, integers, floats, null and durations. Pure functions of text; none of them raises.
"""

from __future__ import annotations

import math
import re

NULL = frozenset(("", "~", "null", "Null", "NULL"))
BOOLEAN = {word: word.lower() == "true" for word in ("true", "True", "TRUE", "false", "False", "FALSE")}
YES_NO = {
    form: word in ("yes", "y", "on")
    for word in ("yes", "no", "y", "n", "on", "off")
    for form in (word, word.title(), word.upper())
}
YES_OR_NO = f"^({'|'.join(YES_NO)})$"  # as a pattern: in YAML 1.2 they are texts
INFINITY = {
    sign + "." + word: float(sign + "inf") for sign in ("", "+", "-") for word in ("inf", "Inf", "INF")
}  # fmt: skip
NAN = frozenset((".nan", ".NaN", ".NAN"))
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
INTEGER = re.compile(
    r"(?P<sign>[-+]?)(?:0[xX](?P<hex>[0-9a-fA-F]+)|0[bB](?P<binary>[01]+)|0[oO]?(?P<octal>[0-7]+)|(?P<decimal>0|[1-9][0-9]*))\Z"
)
BASES = {"hex": 16, "binary": 2, "octal": 8, "decimal": 10}
MAX_INTEGER = 2**63 - 1

DURATION = re.compile(r"[-+]?(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:ns|us|µs|μs|ms|s|m|h))+\Z")
DURATION_PART = re.compile(r"([0-9.]+)(ns|us|µs|μs|ms|s|m|h)")
UNIT_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def resolve(text: str) -> bool | int | float | str | None:
    """What an unquoted scalar is, where any value may stand."""
    if text in NULL:
        return None
    if text in BOOLEAN:
        return BOOLEAN[text]
    number = number_of(text)
    return text if number is None else number


def number_of(text: str) -> int | float | None:
    """The number that an unquoted scalar is, or None."""
    if text[:1] not in "+-.0123456789" or not text:
        return None
    if text in INFINITY:
        return INFINITY[text]
    if text in NAN:
        return math.nan
    plain = text.replace("_", "")
    match = INTEGER.match(plain)
    if match is not None and len(plain) < 100:
        kind = str(match.lastgroup)
        return int(match["sign"] + match[kind], BASES[kind])
    return float(plain) if FLOAT.match(plain) else None


def flag_of(text: str, plain: bool) -> bool | None:
    """The boolean that a scalar is where one is expected: the yes/no family also in quotes."""
    if text in YES_NO:
        return YES_NO[text]
    return BOOLEAN.get(text) if plain else None


def integer_of(number: float) -> int | None:
    """The integer for a number where one is expected, its fraction cut off; None when it is beyond 64 bits."""
    if not math.isfinite(number):
        return None
    whole = int(number)
    return whole if abs(whole) <= MAX_INTEGER else None


def duration_of(text: str) -> float | None:
    """The seconds that `1m30s` means, or None; a number alone is none."""
    if not DURATION.match(text):
        return None
    seconds = sum(float(amount) * UNIT_SECONDS[unit] for amount, unit in DURATION_PART.findall(text))
    return -seconds if text.startswith("-") else seconds
