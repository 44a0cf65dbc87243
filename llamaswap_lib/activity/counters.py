"""What `/metrics` counts of requests, from their rows, and of runs, from what the controller tells.

`observe` runs on the activity writer's thread, `note_*` on the controller's and on that of a reload, `families` on any
thread; a lock that is held for microseconds keeps them apart. Everything counts from the start of the program. The
label `model` is an id of the configuration, or `other`: a client cannot make more of them.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import attrgetter

from llamaswap_lib.activity.exposition import Family, Labels, buckets, counter
from llamaswap_lib.activity.meter import NO_ANSWER
from llamaswap_lib.activity.record import Ended
from llamaswap_lib.activity.row import Row
from llamaswap_lib.core.eviction import Explanation
from llamaswap_lib.core.snapshot import RunView

OTHER = "other"
CLIENT_LEFT = 499  # the status of a request whose client left before it was answered
# Bounds in seconds: those of OpenTelemetry's conventions for generative AI, on to 600 s and to 1,000 tokens a second.
REQUEST = (
    *(0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92),
    *(163.84, 327.68, 600.0),
)
FIRST_TOKEN = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
    *(20.0, 40.0, 80.0, 160.0, 320.0, 600.0),
)
EACH_TOKEN = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)


_how_it_ended = attrgetter("status", "ended")
_TOKENS = (
    ("input", attrgetter("input_tokens")),
    ("output", attrgetter("output_tokens")),
    ("cached", attrgetter("cache_tokens")),
)


class Histogram:
    """Durations by labels."""

    def __init__(self, name: str, text: str, bounds: Sequence[float]) -> None:
        self._name = name
        self._text = text
        self._bounds = bounds
        self._counts: dict[str, list[int]] = {}
        self._totals: dict[str, float] = defaultdict(float)

    def _counts_of(self, model: str) -> list[int]:
        counts = self._counts.get(model)
        if counts is None:
            counts = self._counts[model] = [0] * (len(self._bounds) + 1)
        return counts

    def add(self, model: str, seconds: float) -> None:
        self._counts_of(model)[bisect_left(self._bounds, seconds)] += 1
        self._totals[model] += seconds

    def add_milliseconds(self, model: str, many: Sequence[int]) -> None:
        """Many at once; mostly there are a few durations, which many share."""
        if many:
            counts = self._counts_of(model)
            for milliseconds, times in Counter(many).items():
                counts[bisect_left(self._bounds, milliseconds / 1000)] += times
            self._totals[model] += sum(many) / 1000

    def family(self) -> Family:
        samples = [
            sample
            for model, counts in sorted(self._counts.items())
            for sample in buckets((("model", model),), self._bounds, counts, self._totals[model])
        ]
        return Family(self._name, "histogram", self._text, samples)


class Counters:
    """All of them."""

    def __init__(self, is_known: Callable[[str], bool], clock: Callable[[], float] = time.monotonic) -> None:
        """`is_known`: whether a name leads to a model, by the configuration."""
        self._is_known = is_known
        self._clock = clock
        self._began = clock()
        self._lock = threading.Lock()
        self._requests: dict[tuple[str, int, str], int] = defaultdict(int)
        self._tokens: dict[tuple[str, str], int] = defaultdict(int)
        self._swaps: dict[tuple[str, str], int] = defaultdict(int)
        self._evictions: dict[tuple[str, str], int] = defaultdict(int)
        self._sleeps: dict[tuple[str, str], int] = defaultdict(int)
        self._failures: dict[str, int] = defaultdict(int)
        self._reloads: dict[str, int] = defaultdict(int)
        self._scrapes: dict[tuple[str, str], int] = defaultdict(int)
        self._durations = Histogram(
            "llamaswap_request_duration_seconds",
            "From the head of a request to the end of its answer.",
            REQUEST,
        )
        self._first_tokens = Histogram(
            "llamaswap_time_to_first_token_seconds",
            "From the head of a request to the first token of its answer, where that is a stream.",
            FIRST_TOKEN,
        )
        self._each_token = Histogram(
            "llamaswap_time_per_output_token_seconds",
            "Between two tokens of an answer, as the model's server says, or else as they came.",
            EACH_TOKEN,
        )
        self._queue_waits = Histogram(
            "llamaswap_queue_wait_seconds",
            "How long requests waited for a place, or for other models to go; loading is not counted.",
            REQUEST,
        )
        self._loads = Histogram(
            "llamaswap_load_duration_seconds",
            "From the start of a model's process, or from when it said where it listens, until it was ready.",
            REQUEST,
        )
        self._stops = Histogram(
            "llamaswap_stop_duration_seconds",
            "From when a process was told to end until it had ended.",
            REQUEST,
        )
        self._runs: dict[int, RunView] = {}  # as they were told of last
        self._stopping: dict[int, tuple[str, float]] = {}  # its model, and since when, by run
        self._tries: dict[str, int] | None = None  # that failed in a row, by model, as they were told of last
        self._for_room: frozenset[str] = frozenset()  # models that are to go for memory

    # -- the activity writer's thread --

    def observe(self, rows: Sequence[Row]) -> None:
        """Count these requests."""
        by_model: dict[str, list[Row]] = {}
        for row in rows:
            if (of_model := by_model.get(row.model)) is None:
                of_model = by_model[row.model] = []
            of_model.append(row)
        with self._lock:
            for model, of_model in by_model.items():
                self._observe(model if self._is_known(model) else OTHER, of_model)

    def _observe(self, model: str, rows: Sequence[Row]) -> None:
        """What many rows have in common is counted once: in a rush that takes half the time."""
        for (status, ended), count in Counter(map(_how_it_ended, rows)).items():
            unanswered = 0
            if status == NO_ANSWER and ended == Ended.CLIENT_LEFT.value:
                # That is the status of a row where none was sent; one of an upstream came with a body.
                unanswered = sum(_how_it_ended(row) == (status, ended) and row.first_byte_ms < 0 for row in rows)
            for told, times in ((status, count - unanswered), (CLIENT_LEFT, unanswered)):
                if times:
                    self._requests[model, told, ended] += times
        for kind, tokens_of in _TOKENS:
            if tokens := sum([count for row in rows if (count := tokens_of(row)) > 0]):
                self._tokens[model, kind] += tokens
        self._durations.add_milliseconds(model, [row.duration_ms for row in rows])
        self._queue_waits.add_milliseconds(model, [row.queue_ms for row in rows if row.is_local])  # not for a peer
        self._first_tokens.add_milliseconds(model, [row.first_token_ms for row in rows if row.first_token_ms >= 0])
        for row in rows:
            if row.output_tokens > 1:
                speed = row.tokens_per_second if row.tokens_per_second > 0 else row.seen_per_second
                if speed > 0:
                    self._each_token.add(model, 1 / speed)

    # -- the controller's thread --

    def note_runs(self, runs: Sequence[RunView], tries: Iterable[tuple[str, int, float]]) -> None:
        """What runs now, and how often each model that fails has failed in a row, and since when.

        What another process has seen, from which this one has taken over, is not counted again.
        """
        now = self._clock()
        with self._lock:
            before, self._runs = self._runs, {run.run_id: run for run in runs}
            for run in runs:
                known = before.get(run.run_id)
                if run.ready_at is not None and known is not None and known.ready_at is None:
                    self._loads.add(run.model, run.ready_at - run.loading_since)
                if run.is_falling_asleep and known is not None and not known.is_falling_asleep:
                    self._sleeps[run.model, "memory" if run.model in self._for_room else "swap"] += 1
                    self._for_room -= {run.model}
            for run_id, (model, since) in list(self._stopping.items()):
                if run_id not in self._runs:
                    self._stops.add(model, max(0.0, now - since))
                    del self._stopping[run_id]
            before_tries, self._tries = self._tries, {}
            for model, count, since in tries:
                self._tries[model] = count
                if before_tries is not None or since >= self._began:
                    self._failures[model] += max(0, count - (before_tries or {}).get(model, count - 1))

    def note_swap(self, model: str, why: Explanation) -> None:
        """Others go for the model."""
        with self._lock:
            self._swaps[model, why.kind] += 1
            self._for_room = (self._for_room - why.reasons.keys()).union(why.for_room)

    def note_stop(self, run_id: int, model: str, reason: str) -> None:
        """A run was told to end, for this kind of reason."""
        with self._lock:
            self._stopping[run_id] = model, self._clock()
            self._evictions[model, "memory" if reason == "swap" and model in self._for_room else reason] += 1
            self._for_room -= {model}

    # -- that of a reload --

    def note_reload(self, result: str) -> None:
        """The configuration was read again; `result` is `success` or `failure`."""
        with self._lock:
            self._reloads[result] += 1

    # -- any thread --

    def note_scrapes(self, results: Iterable[tuple[str, str]]) -> None:
        """Models' servers were asked for their metrics; with which result each."""
        with self._lock:
            for model, result in results:
                self._scrapes[model, result] += 1

    def families(self) -> list[Family]:
        """All that was counted."""
        with self._lock:
            return list(self._families())

    def _families(self) -> Iterator[Family]:
        requests = (
            ((("model", model), ("status", str(status)), ("ended", ended)), count)
            for (model, status, ended), count in sorted(self._requests.items())
        )
        yield counter("llamaswap_requests", "Requests that have ended, by status and by how they ended.", requests)
        yield counter("llamaswap_tokens", "Tokens, as answers report them.", _pairs(self._tokens, "type"))
        for histogram in (self._durations, self._first_tokens, self._each_token, self._queue_waits):
            yield histogram.family()
        yield self._loads.family()
        yield self._stops.family()
        yield counter("llamaswap_swaps", "Times that others went for a model.", _pairs(self._swaps, "reason"))
        yield counter("llamaswap_evictions", "Times that a model was told to end.", _pairs(self._evictions, "reason"))
        yield counter(
            "llamaswap_sleeps", "Times that a model was put to sleep instead.", _pairs(self._sleeps, "reason")
        )
        failures = (((("model", model),), count) for model, count in sorted(self._failures.items()) if count)
        yield counter("llamaswap_start_failures", "Loads that failed, and early deaths in a row.", failures)
        reloads = (((("result", result),), self._reloads[result]) for result in ("success", "failure"))
        yield counter("llamaswap_config_reloads", "Times that the configuration was read again.", reloads)
        scrapes = _pairs(self._scrapes, "result")
        yield counter("llamaswap_upstream_scrapes", "Times that a model's server was asked for its metrics.", scrapes)


def _pairs(counts: dict[tuple[str, str], int], name: str) -> Iterator[tuple[Labels, float]]:
    for (model, kind), count in sorted(counts.items()):
        yield (("model", model), (name, kind)), count
