"""One chat completion as it comes: its pieces, and when they came.

Guarantees: what a server says in other forms is the same here. A whole answer where a stream was asked for is one
piece; reasoning comes as `reasoning_content` (llama.cpp), as `reasoning` (vLLM), or as `<think>` in the text.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum, auto
from http.client import HTTPResponse
from typing import Any, NamedTuple

from llamaswap_lib.client.connection import Refused, Server, ServerError, Unreachable, lines_of
from llamaswap_lib.client.events import event_data
from llamaswap_lib.printable import printable

PATH = "/v1/chat/completions"
LEAST_SPAN = 0.005  # seconds between two tokens, to tell a speed
PATIENCE = 3.0  # seconds, for the question whether the server is still there
BROKE_OFF = "the answer broke off: the model's server ended, or somebody cancelled it; the log of the model says more"
OPENING, CLOSING = "<think>", "</think>"
LOADING_ID = "chatcmpl-loading-"  # of what llamaswap itself says while the model loads


class Kind(Enum):
    """What a piece is: of the answer, of the reasoning before it, or about the load of the model."""

    TEXT = auto()
    THOUGHT = auto()
    LOADING = auto()


class Piece(NamedTuple):
    text: str
    kind: Kind


class Completion:
    """An answer that grows while `pieces` is iterated. Times are of `clock`, in seconds."""

    def __init__(self, server: Server, body: Mapping[str, Any], clock: Callable[[], float] = time.monotonic) -> None:
        """`body` is the request without `stream`."""
        self._server = server
        self._body = {**body, "stream": True, "stream_options": {"include_usage": True}}
        self._clock = clock
        self._thinking = ThinkTags()
        self.text = ""
        self.finish = ""  # why it ended, as the server says it
        self.usage: dict[str, Any] = {}
        self.started = clock()
        self.first: float | None = None  # when the first token came
        self.last: float | None = None
        self._came = 0  # pieces of the model

    def pieces(self) -> Iterator[Piece]:
        """The pieces as they come; raises ServerError, also in the middle."""
        with self._server.open("POST", PATH, self._body) as response:
            kind = response.getheader("Content-Type", "")
            values = self._whole(response) if "json" in kind else self._stream(response)
            try:
                for value in values:
                    yield from self._note(value)
            except Unreachable as error:
                raise self._who_broke_off(error) from None
            yield from self._noted(self._thinking.rest())

    @property
    def tokens(self) -> int:
        """How many it has, as the server counts them; where it does not, pieces that came."""
        told = self.usage.get("completion_tokens")
        return told if isinstance(told, int) else self._came

    @property
    def is_counted(self) -> bool:
        """Whether the server has told how many tokens there are."""
        return isinstance(self.usage.get("completion_tokens"), int)

    @property
    def speed(self) -> float | None:
        """Tokens a second behind the first; None where there are too few, or all came at once."""
        if self.first is None or self.last is None or self.last - self.first < LEAST_SPAN or self.tokens < 2:
            return None
        return (self.tokens - 1) / (self.last - self.first)

    @property
    def first_seconds(self) -> float | None:
        """From the request to the first token."""
        return None if self.first is None else self.first - self.started

    def _whole(self, response: HTTPResponse) -> Iterator[Any]:
        """The one value of an answer that is no stream, in the form of a stream's."""
        try:
            value = json.loads(b"".join(self._server.pieces(response)))
            for choice in () if value.get("error") else value["choices"]:
                choice["delta"] = choice.get("message")
        except (ValueError, AttributeError, TypeError, KeyError, RecursionError):
            raise ServerError("the model's server did not answer with a chat completion") from None
        yield value

    def _stream(self, response: HTTPResponse) -> Iterator[Any]:
        """The values of a stream, to its end."""
        is_ended = False
        for data in event_data(lines_of(self._server.pieces(response))):
            if data.strip() == "[DONE]":
                return
            try:
                value = json.loads(data)
            except (ValueError, RecursionError):
                continue
            yield value
            is_ended = is_ended or bool(self.finish)
        if not is_ended:
            raise ServerError(BROKE_OFF)

    def _who_broke_off(self, error: Unreachable) -> ServerError:
        """The error, unless the server itself still answers."""
        try:
            self._server._replace(patience=PATIENCE).ask("GET", "/health")
        except ServerError:
            return error
        return ServerError(BROKE_OFF)

    def _note(self, value: Any) -> Iterator[Piece]:
        """What one value has in it."""
        if not isinstance(value, dict):
            return
        if value.get("error"):
            raise _refused(value["error"])
        if isinstance(value.get("usage"), dict):
            self.usage = value["usage"]
        choices = value.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, dict):
            return
        self.finish = str(choice.get("finish_reason") or self.finish)
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            return
        thought = delta.get("reasoning_content") or delta.get("reasoning")
        if isinstance(thought, str) and str(value.get("id")).startswith(LOADING_ID):
            yield Piece(thought, Kind.LOADING)
        elif isinstance(thought, str):
            yield from self._noted([Piece(thought, Kind.THOUGHT)])
        content = delta.get("content")
        if isinstance(content, str) and content:
            yield from self._noted(self._thinking.feed(content))

    def _noted(self, pieces: Iterable[Piece]) -> Iterator[Piece]:
        for piece in pieces:
            self.last = self._clock()
            self.first = self.last if self.first is None else self.first
            self._came += 1
            if piece.kind is Kind.TEXT:
                self.text += piece.text
            yield piece


class ThinkTags:
    """Tells the reasoning of a text that begins with `<think>` from the answer behind it, piece by piece."""

    def __init__(self) -> None:
        self._held = ""  # what may yet be a tag, or a part of one
        self._state = self._before

    def feed(self, text: str) -> Iterable[Piece]:
        self._held += text
        return self._state()

    def rest(self) -> list[Piece]:
        """What was held at the end."""
        held, self._held = self._held, ""
        return [Piece(held, Kind.THOUGHT if self._state == self._inside else Kind.TEXT)] if held else []

    def _before(self) -> list[Piece]:
        begun = self._held.lstrip()
        if begun.startswith(OPENING):
            self._held, self._state = begun[len(OPENING) :].lstrip("\n"), self._inside
            return self._inside()
        if OPENING.startswith(begun):
            return []
        self._state = self._behind
        return self._behind()

    def _inside(self) -> list[Piece]:
        thought, mark, answer = self._held.partition(CLOSING)
        if mark:
            self._held, self._state = answer.lstrip("\n"), self._behind
            return [*_some(thought.rstrip("\n"), Kind.THOUGHT), *self._behind()]
        kept = next((n for n in range(len(CLOSING) - 1, 0, -1) if self._held.endswith(CLOSING[:n])), 0)
        thought = self._held[: len(self._held) - kept]
        self._held = self._held[len(thought) :]
        return _some(thought, Kind.THOUGHT)

    def _behind(self) -> list[Piece]:
        text, self._held = self._held, ""
        return _some(text, Kind.TEXT)


def _some(text: str, kind: Kind) -> list[Piece]:
    return [Piece(text, kind)] if text else []


def _refused(error: Any) -> ServerError:
    """An error that stands in a stream."""
    if not isinstance(error, dict):
        return ServerError(printable(str(error), keep="\n"))
    message = printable(str(error.get("message") or error), keep="\n")
    code = error.get("code")
    return Refused(message, 502, str(code or ""))
