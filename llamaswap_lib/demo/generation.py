"""One answer in time: silence, then tokens at their pace, streamed or as a whole.

The steps are for `loop`; a client that leaves ends them with `GeneratorExit`, which is counted and said.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from llamaswap_lib.demo.dialects import Dialect, Result
from llamaswap_lib.demo.flags import Flags
from llamaswap_lib.demo.loop import Hangup, Steps
from llamaswap_lib.demo.text import reply, reply_tokens, split_tokens
from llamaswap_lib.demo.wire import LAST_CHUNK, answer, chunk, stream_head


class Stats:
    """What GET /stats tells: of all requests but /health and /stats."""

    def __init__(self) -> None:
        self.requests = 0
        self.cancelled = 0
        self.in_progress = 0
        self.tokens = 0


class TextGenerator:
    """Generates texts for any number of clients; remembers the last prompt, as a cache would."""

    def __init__(self, flags: Flags, stats: Stats, say: Callable[[str], None]) -> None:
        self.flags = flags
        self.stats = stats
        self._say = say
        self._served = 0
        self._cached: list[str] = []

    def steps(self, name: str, dialect: Dialect, *, is_stream: bool, is_endless: bool, keep_alive: bool) -> Steps:
        """The steps of one answer; the cache and the count of requests change at the first of them."""
        self._served += 1
        is_doomed = self.flags.crash_after is not None and self._served > self.flags.crash_after
        run = _Run(self, dialect, is_endless=is_endless)
        self.stats.in_progress += 1
        try:
            yield from run.stream(keep_alive, is_doomed) if is_stream else run.whole(keep_alive, is_doomed)
            self._say(f"{name} 200 {run.count} tokens in {time.monotonic() - run.started:.3f} s")
        except GeneratorExit:
            self.stats.cancelled += 1
            self._say(f"{name} cancelled after {run.count} tokens")
            raise
        finally:
            self.stats.in_progress -= 1

    def cached_count(self, prompt: list[str]) -> int:
        """How many tokens of the prompt the last one had too; at least one is always fresh."""
        same = next((i for i, (a, b) in enumerate(zip(prompt, self._cached, strict=False)) if a != b), None)
        count = min(len(prompt), len(self._cached)) if same is None else same
        self._cached = prompt
        return max(min(count, len(prompt) - 1), 0)


class _Run:
    """One text on its way."""

    def __init__(self, generator: TextGenerator, dialect: Dialect, *, is_endless: bool) -> None:
        self._flags = generator.flags
        self._stats = generator.stats
        self._dialect = dialect
        text = reply(self._flags.model, self._flags.load_seconds, dialect.prompt)
        self._pieces, self._finish = reply_tokens(text, dialect.max_tokens, is_endless)
        prompt = split_tokens(dialect.prompt)
        self._prompt_count = len(prompt)
        self._cached_count = generator.cached_count(prompt)
        self.count = 0
        self.started = time.monotonic()
        self._spoke = self.started

    def stream(self, keep_alive: bool, is_doomed: bool) -> Steps:
        yield from self._prefill()
        pace = self._flags.tokens_per_second
        sent = stream_head(keep_alive) + _chunk(self._dialect.begin(self._prompt_count, self._cached_count))
        cut = self._flags.cut_stream_after
        for piece in self._pieces[:cut]:
            if pace and self.count:
                yield self._spoke + self.count / pace
            yield sent + chunk(self._dialect.token(piece))
            sent = b""
            self._count(1)
            if is_doomed:
                crash(self._flags.crash_exit)
        if cut is not None and cut <= len(self._pieces):
            yield sent
            raise Hangup
        yield sent + chunk(self._dialect.end(self._result()) + self._dialect.last_chunk) + LAST_CHUNK

    def whole(self, keep_alive: bool, is_doomed: bool) -> Steps:
        yield from self._prefill()
        if is_doomed:
            crash(self._flags.crash_exit)
        if self._flags.tokens_per_second:
            yield self._spoke + len(self._pieces) / self._flags.tokens_per_second
        self._count(len(self._pieces))
        yield answer(self._dialect.whole(self._result()), keep_alive=keep_alive)

    def _prefill(self) -> Steps:
        if self._flags.prompt_seconds:
            yield self.started + self._flags.prompt_seconds
        self._spoke = time.monotonic()

    def _count(self, tokens: int) -> None:
        self.count += tokens
        self._stats.tokens += tokens

    def _result(self) -> Result:
        return Result(
            text="".join(self._pieces),
            finish=self._finish,
            prompt_count=self._prompt_count,
            cached_count=self._cached_count,
            said_count=self.count,
            prompt_ms=max((self._spoke - self.started) * 1000, 0.001),
            predicted_ms=max((time.monotonic() - self._spoke) * 1000, 0.001),
        )


def crash(exit_code: int | None) -> None:
    """End this process here and now, as a segmentation fault would."""
    if exit_code is not None:
        os._exit(exit_code)
    os.kill(os.getpid(), signal.SIGKILL)


def _chunk(text: str) -> bytes:
    return chunk(text) if text else b""  # an empty chunk would end the body
