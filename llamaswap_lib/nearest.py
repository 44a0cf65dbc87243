"""Which of many names are near to one that was mistyped.

Pure, any thread. A comparison by `difflib` costs some 20 µs, and there may be ten thousand names: so each name has a
signature, made once, of the pairs of characters in it. One look at each signature finds the few that are compared.
Upper and lower case are alike. Guarantees: never more than MOST_COMPARED comparisons, of MOST_CHARACTERS at most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from heapq import nlargest

MOST_COMPARED = 16
MOST_CHARACTERS = 100  # of each of the two names
LONGEST = 512  # characters: what is longer is no slip of the keyboard
OFFERED = 3
LEAST_RATIO = 0.5
_BITS = tuple(1 << number for number in range(256))

Likeness = Callable[[str, str], float]


def likeness(name: str, other: str) -> float:
    """From 0 to 1, which is for names that are the same."""
    from difflib import SequenceMatcher  # noqa: PLC0415 - only where a name is mistyped

    matcher = SequenceMatcher(None, other, name)
    if matcher.real_quick_ratio() < LEAST_RATIO or matcher.quick_ratio() < LEAST_RATIO:
        return 0.0
    return matcher.ratio()


class Nearest:
    """Names, and their signatures."""

    def __init__(self, names: Iterable[str], likeness: Likeness = likeness) -> None:
        self._names = tuple(names)
        self._signatures = [_signature_of(name) for name in self._names]
        self._likeness = likeness

    def find(self, name: str, first: int | None = None, least: float = LEAST_RATIO) -> list[str]:
        """The nearest names, at most OFFERED, the best one first. Never `name` itself.

        `first`: only among so many from the beginning; `least`: how like `name` they have to be.
        """
        if len(name) > LONGEST:
            return []
        rated = [(self._likeness(_comparable(name), _comparable(other)), other) for other in self._few(name, first)]
        near = [(ratio, other) for ratio, other in rated if ratio >= least and other != name]
        near.sort(key=lambda pair: -pair[0])  # those that are as near stay in the order of their pairs
        return [other for _, other in near[:OFFERED]]

    def _few(self, name: str, first: int | None) -> Sequence[str]:
        """Those that share the most pairs with it, for their length."""
        wanted = _signature_of(name)
        own = wanted.bit_count()
        shares = [
            ((wanted & signature).bit_count() / (own + signature.bit_count()), -number)
            for number, signature in enumerate(self._signatures[:first])
        ]
        return [self._names[-number] for share, number in nlargest(MOST_COMPARED, shares) if share]


def _comparable(name: str) -> str:
    return name[:MOST_CHARACTERS].casefold()


def _signature_of(name: str) -> int:
    """A bit for each pair of neighbours in it, its two ends among them."""
    data = name[:LONGEST].casefold().encode("utf-8", "surrogatepass")
    signature = 0
    for one, next_one in zip(b"\0" + data, data + b"\0", strict=True):
        signature |= _BITS[(one * 31 + next_one) & 255]
    return signature
