"""What was measured, and what it comes to. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

MEDIAN, MOST = 0.5, 0.95  # of all requests, as shares
GAIN = 1.1  # times as many tokens in all: less is no gain


@dataclass(frozen=True, slots=True)
class Sample:
    """One request; times in seconds. `error` says why there is no answer, '' for an answer."""

    first_seconds: float | None = None
    seconds: float = 0.0
    tokens: int = 0
    prompt_tokens: int | None = None
    speed: float | None = None  # tokens a second behind the first
    is_counted: bool = True  # the server told how many tokens there were
    error: str = ""


@dataclass(frozen=True, slots=True)
class Level:
    """So many requests, so many of them at a time; `seconds` is how long all of them took together."""

    parallel: int
    seconds: float
    samples: tuple[Sample, ...]

    @property
    def answered(self) -> list[Sample]:
        return [sample for sample in self.samples if not sample.error]

    @property
    def failed(self) -> int:
        return len(self.samples) - len(self.answered)

    def first(self, share: float) -> float | None:
        """The time to the first token that so many of the answers did not exceed."""
        return quantile([it.first_seconds for it in self.answered if it.first_seconds is not None], share)

    @property
    def each(self) -> float | None:
        """Tokens a second of one answer, the median."""
        return quantile([it.speed for it in self.answered if it.speed], MEDIAN)

    @property
    def together(self) -> float | None:
        """Tokens a second of all answers together, the wait for their first ones counted."""
        tokens = sum(it.tokens for it in self.answered)
        return tokens / self.seconds if tokens and self.seconds else None

    def as_json(self) -> dict[str, Any]:
        return {
            "parallel": self.parallel, "requests": len(self.samples), "failed": self.failed, "seconds": self.seconds,
            "first_token_seconds": {"median": self.first(MEDIAN), "p95": self.first(MOST)},
            "tokens_per_second": {"each": self.each, "all": self.together},
            "samples": [asdict(sample) for sample in self.samples],
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Swap:
    """From asking for a model to its first token, while `before` had to go, '' for none; times in seconds.

    `unload` and `load` are known where both were done by hand; None where a request did it.
    """

    model: str
    before: str
    unload: float | None
    load: float | None
    first_answer: float | None

    @property
    def total(self) -> float | None:
        known = [seconds for seconds in (self.unload, self.load, self.first_answer) if seconds is not None]
        return sum(known) if self.first_answer is not None else None


def quantile(values: Sequence[float], share: float) -> float | None:
    """The smallest of them that so many do not exceed; None of none."""
    if not values:
        return None
    return sorted(values)[max(math.ceil(share * len(values)), 1) - 1]


def reading(levels: Sequence[Level]) -> str:
    """What the levels say, in a sentence; '' where there is nothing to compare."""
    known = [(level.parallel, level.together) for level in levels if level.together]
    if not known:
        return ""
    alone = known[0][1]
    best, fastest = max(known, key=lambda pair: pair[1] or 0)
    if len(known) == 1 or best == known[0][0] or not alone or not fastest or fastest / alone < GAIN:
        if len(known) == 1:
            return ""
        return f"Several at a time bring nothing: {known[-1][0]} share what {known[0][0]} has alone."
    enough = next(parallel for parallel, speed in known if speed and speed * GAIN >= fastest)
    each = {level.parallel: level.each for level in levels}
    slower = ""
    first, then = each.get(known[0][0]), each.get(enough)
    if first and then and first / then >= GAIN:
        slower = f", and each answer is {first / then:.1f} times as slow"
    more = f"; more than {enough} bring nothing" if enough < known[-1][0] else ""
    speed = dict(known)[enough]
    return f"{enough} at a time get {(speed or 0) / alone:.1f} times as many tokens as {known[0][0]}{slower}{more}."
