"""The numbers that an answer reports: `usage` of OpenAI and Anthropic, `timings` of llama.cpp, `metrics` of vLLM.

Pure. A number that cannot be one (a text, a list, a negative or huge one, NaN) counts as not reported. In a stream the
last positive value of each wins. Which number comes from where is as in llama-swap, whose clients read these rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

MOST = 1 << 40  # more tokens, or milliseconds, or tokens a second, than anything has
UNKNOWN = -1


class Reported(NamedTuple):
    """What an answer said of itself; -1 for what it did not say. `says_nothing`: it said nothing at all."""

    says_nothing: bool
    input_tokens: int
    output_tokens: int
    cache_tokens: int
    draft_tokens: int
    draft_acc_tokens: int
    prompt_per_second: float
    tokens_per_second: float
    prompt_ms: float
    generation_ms: float


NOTHING = Reported(True, 0, 0, 0, 0, 0, 0.0, 0.0, UNKNOWN, UNKNOWN)  # as its row has it, where -1 means something


def count_of(value: object) -> int:
    """A number of tokens; -1 for what is none."""
    if type(value) is float and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 <= value < MOST else UNKNOWN


def number_of(value: object) -> float:
    """A speed, or milliseconds; -1 for what is none."""
    return float(value) if (type(value) is float or type(value) is int) and 0 <= value < MOST else UNKNOWN


def report_of(answer: Mapping[str, Any]) -> Reported:
    """What an answer that is one JSON object, or the members that are known of it, reports."""
    usage = answer.get("usage")
    if isinstance(usage, dict) and "timings" not in answer and "metrics" not in answer:
        tokens_in, tokens_out = usage.get("prompt_tokens"), usage.get("completion_tokens")
        if type(tokens_in) is type(tokens_out) is int and 0 <= tokens_in < MOST and 0 <= tokens_out < MOST:
            cached = _cached_in(usage)  # the usual case; the same comes out below
            unknown = (UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN)
            return tuple.__new__(Reported, (False, tokens_in, tokens_out, cached, *unknown))
    readings = Readings()
    readings.take_answer(answer)
    return readings.report()


class Readings:
    """What was reported so far, by the names that llama.cpp and vLLM have for it; of usage by our own."""

    __slots__ = ("_has_timings", "_is_reported", "_values")

    def __init__(self) -> None:
        self._values: dict[str, float] = {}
        self._has_timings = False
        self._is_reported = False

    def take_answer(self, answer: Mapping[str, Any]) -> None:
        """An answer that is one JSON object, or the members that are known of it."""
        usage = answer.get("usage")
        if isinstance(usage, dict):
            self._is_reported = True
            self._take_usage(usage)
        self.take_timings(answer.get("timings"))
        self._take_metrics(answer.get("metrics"))

    def take_event(self, event: Mapping[str, Any]) -> None:
        """An event of a stream: its usage may also stand in the response, or the message, that it is about."""
        for holder in (event, event.get("response"), event.get("message")):
            if isinstance(holder, dict):
                usage = holder.get("usage")
                if isinstance(usage, dict):
                    self._take_usage(usage)
        self.take_timings(event.get("timings"))
        self._take_metrics(event.get("metrics"))

    def _take_usage(self, usage: Mapping[str, Any]) -> None:
        self._keep("input", _first_count(usage, ("prompt_tokens", "input_tokens")))
        self._keep("output", _first_count(usage, ("completion_tokens", "output_tokens")))
        self._keep("cached", _cached_in(usage))

    def take_timings(self, timings: object) -> None:
        if not isinstance(timings, dict):
            return
        self._has_timings = self._is_reported = True
        for name in ("prompt_n", "predicted_n", "cache_n"):
            self._keep(name, count_of(timings.get(name)))
        for name in ("prompt_ms", "predicted_ms", "prompt_per_second", "predicted_per_second"):
            self._keep(name, number_of(timings.get(name)))
        self._take_drafts(timings.get("draft_n"), timings.get("draft_n_accepted"))

    def _take_metrics(self, metrics: object) -> None:
        if not isinstance(metrics, dict):
            return
        self._keep("time_to_first_token_ms", number_of(metrics.get("time_to_first_token_ms")))
        self._keep("mean_itl_ms", number_of(metrics.get("mean_itl_ms")))
        speculative = metrics.get("speculative_decoding")
        if isinstance(speculative, dict):
            self._take_drafts(speculative.get("num_draft_tokens"), speculative.get("num_accepted_draft_tokens"))

    def _take_drafts(self, drafted: object, accepted: object) -> None:
        """Both or neither."""
        tokens, accepted_tokens = count_of(drafted), count_of(accepted)
        if tokens >= 0 and accepted_tokens >= 0:
            self._keep("drafted", tokens)
            self._keep("accepted", accepted_tokens)

    def _keep(self, name: str, value: float) -> None:
        if value > 0 or (value == 0 and name not in self._values):
            self._values[name] = value
            self._is_reported = True

    def report(self) -> Reported:
        if not self._is_reported:
            return NOTHING
        get = self._values.get
        cached = int(get("cached", UNKNOWN))
        if self._has_timings:
            tokens_in, tokens_out = get("prompt_n", 0), get("predicted_n", 0)
            cached = int(get("cache_n", cached))
        else:
            tokens_in, tokens_out = get("input", 0), get("output", 0)
        prompt_speed, speed = get("prompt_per_second", UNKNOWN), get("predicted_per_second", UNKNOWN)
        first_token_ms, between_ms = get("time_to_first_token_ms", 0), get("mean_itl_ms", 0)
        if first_token_ms > 0:
            prompt_speed = _bounded(max(0, tokens_in - max(0, cached)) / (first_token_ms / 1000))
        if between_ms > 0:
            speed = _bounded(1000 / between_ms)
        return Reported(
            False,
            int(tokens_in),
            int(tokens_out),
            cached,
            int(get("drafted", UNKNOWN)),
            int(get("accepted", UNKNOWN)),
            prompt_speed,
            speed,
            get("prompt_ms", UNKNOWN),
            get("predicted_ms", UNKNOWN),
        )


def _cached_in(usage: Mapping[str, Any]) -> int:
    cached = count_of(usage["cache_read_input_tokens"]) if "cache_read_input_tokens" in usage else UNKNOWN
    for details in ("input_tokens_details", "prompt_tokens_details"):
        if cached < 0 and details in usage and isinstance(inner := usage[details], dict):
            cached = count_of(inner.get("cached_tokens"))
    return cached


def _first_count(usage: Mapping[str, Any], names: tuple[str, ...]) -> int:
    for name in names:
        count = count_of(usage.get(name))
        if count >= 0:
            return count
    return UNKNOWN


def _bounded(speed: float) -> float:
    """A time of next to nothing makes a speed that nothing has."""
    return speed if speed < MOST else UNKNOWN
