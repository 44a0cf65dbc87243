"""The demo as a whole: its routes, its loading, its start.

Everything runs on the main thread, in `loop`; see `trouble` for the one exception, a flood of output.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from llamaswap_lib.demo import trouble
from llamaswap_lib.demo.dialects import Chat, Completion, Context, Dialect, messages_text
from llamaswap_lib.demo.flags import Flags, parse_flags
from llamaswap_lib.demo.generation import Stats, TextGenerator
from llamaswap_lib.demo.loop import Loop, Steps
from llamaswap_lib.demo.native import Messages, Native, Responses
from llamaswap_lib.demo.other import echo, embeddings, model_list, props, rerank, slots, tokenize, transcription
from llamaswap_lib.demo.text import split_tokens
from llamaswap_lib.demo.wire import Refusal, Request, answer

BACKLOG = 512

Answer = Callable[[Request], bytes]

DIALECTS: dict[str, Callable[[dict[str, Any], Context], Dialect]] = {
    "/v1/chat/completions": Chat,
    "/chat/completions": Chat,
    "/v1/completions": Completion,
    "/completions": Completion,
    "/completion": Native,
    "/v1/responses": Responses,
    "/responses": Responses,
    "/v1/messages": Messages,
}


SLEEP = ("/sleep", "/wake_up", "/is_sleeping")


class Server:
    """Answers requests; `is_loaded` decides whether it has a model to do so."""

    def __init__(self, flags: Flags) -> None:
        self.is_loaded = False
        self._flags = flags
        self._is_asleep = False
        self._created = int(time.time())
        self._stats = Stats()
        self._generator = TextGenerator(flags, self._stats, self._say)
        post: dict[str, Answer] = {
            "/v1/embeddings": lambda request: answer(embeddings(request, flags.model)),
            "/v1/audio/transcriptions": lambda request: transcription(request, flags.model),
            "/v1/messages/count_tokens": lambda request: answer({"input_tokens": _count_tokens(request)}),
            "/tokenize": lambda request: answer(tokenize(request)),
        }
        post |= {
            path: lambda request: answer(rerank(request, flags.model))
            for path in ("/rerank", "/reranking", "/v1/rerank", "/v1/reranking")
        }
        get: dict[str, Answer] = {
            "/v1/models": lambda _: answer(model_list(flags.model, self._created)),
            "/models": lambda _: answer(model_list(flags.model, self._created)),
            "/props": lambda _: answer(props(flags.model)),
            "/slots": lambda _: answer(slots(self._stats.in_progress)),
        }
        self._routes = {"POST": post, "GET": get, "HEAD": get}

    def handle(self, request: Request) -> Steps:
        """The steps of the answer to a request."""
        path = request.path
        if path == "/health":
            yield _without_body_for_head(request, self._health())
        elif path == "/stats":
            more = {"pid": os.getpid(), "model": self._flags.model}
            yield _without_body_for_head(request, answer(vars(self._stats) | more))
        else:
            self._stats.requests += 1
            try:
                yield from self._work(request, path)
            except Refusal as refusal:
                self._say(f"{request.method} {path} {refusal.status}")
                raise

    def _work(self, request: Request, path: str) -> Steps:
        if not self.is_loaded:
            raise Refusal(503, "Loading model")
        if path in SLEEP and self._flags.sleep_seconds is not None:
            yield from self._turn(path, self._flags.sleep_seconds)
        elif self._is_asleep:
            raise Refusal(503, "It sleeps")
        elif path in DIALECTS and request.method == "POST":
            yield from self._generate(request, DIALECTS[path])
        else:
            yield _without_body_for_head(request, self._route(request, path))
            self._say(f"{request.method} {path} 200")

    def _generate(self, request: Request, make: Callable[[dict[str, Any], Context], Dialect]) -> Steps:
        body = request.json()
        dialect = make(body, Context(self._flags.model, self._stats.requests, int(time.time())))
        yield from self._generator.steps(
            f"POST {request.path}",
            dialect,
            is_stream=body.get("stream") is True,
            is_endless=body.get("ignore_eos") is True,
            keep_alive=request.keep_alive,
        )

    def _turn(self, path: str, seconds: float) -> Steps:
        """Fall asleep or wake, which takes so long."""
        if path != "/is_sleeping":
            yield time.monotonic() + seconds
            self._is_asleep = path == "/sleep"
            self._say(f"{path} 200")
        yield answer({"is_sleeping": self._is_asleep})

    def _route(self, request: Request, path: str) -> bytes:
        if path == "/echo":
            return echo(request)
        route = self._routes.get(request.method, {}).get(path)
        if route is not None:
            return route(request)
        known = path in DIALECTS or any(path in routes for routes in self._routes.values())
        raise Refusal(405, "Method Not Allowed") if known else Refusal(404, "File Not Found")

    def _health(self) -> bytes:
        if self._flags.health_status is not None:
            return answer({"status": "as told"}, status=self._flags.health_status)
        return answer({"status": "ok"}) if self.is_loaded else Refusal(503, "Loading model").answer()

    def _say(self, line: str) -> None:
        if not self._flags.quiet:
            trouble.say(line)


def _without_body_for_head(request: Request, data: bytes) -> bytes:
    return data[: data.index(b"\r\n\r\n") + 4] if request.method == "HEAD" else data


def _count_tokens(request: Request) -> int:
    return len(split_tokens(messages_text(request.json())))


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; says why and ends the process when there is none to be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        trouble.say(f"cannot listen on {host}:{port}: {error}")
        raise SystemExit(1) from error
    return listener


def load(flags: Flags, loop: Loop, done: Callable[[], None]) -> None:
    """Pretend to load: call `done` when it is over, or die on the way, or neither, as the flags say."""
    trouble.say(f"loading model {flags.model}")
    begun = time.monotonic()
    if flags.progress_bar:
        for percent in range(0, 101, 5):
            loop.call_at(begun + flags.load_seconds * (percent / 100), partial(_draw_progress, percent))
    if flags.die_while_loading is not None:
        loop.call_at(begun + flags.die_while_loading, _die)
    elif not flags.never_ready:
        loop.call_at(begun + flags.load_seconds, done)


def _draw_progress(percent: int) -> None:
    trouble.write(f"\rloading {percent:3d} % [{'#' * (percent // 5):20}]".encode())


def _die() -> None:
    trouble.say("error: the model could not be loaded")
    os._exit(1)


def main(arguments: Sequence[str]) -> None:
    """Run the demo, as `run` does, with these flags."""
    run(parse_flags(arguments))


def run(flags: Flags) -> None:
    """Run the demo until a signal or a flag ends it."""
    if flags.exit_at_start is not None:
        trouble.say("error: told to fail at the start")
        raise SystemExit(flags.exit_at_start)
    server = Server(flags)
    loop = Loop(server.handle, None if flags.close_kept_alive is None else flags.close_kept_alive / 1000)
    trouble.handle_signals(flags, loop)
    if flags.log_spam:
        trouble.start_log_spam(flags.log_spam)

    def open_port() -> None:
        listener = listen(flags.host, flags.port)
        loop.listen(listener)
        host = f"[{flags.host}]" if ":" in flags.host else flags.host
        trouble.say(f"listening on http://{host}:{listener.getsockname()[1]}")
        if flags.fork_grandchild or flags.grandchild_ignores_sigterm:
            trouble.fork_grandchild(flags.grandchild_ignores_sigterm)

    def loaded() -> None:
        server.is_loaded = True
        trouble.say(f"model {flags.model} loaded in {flags.load_seconds:g} s")
        if flags.bind_late:
            open_port()

    if not flags.bind_late:
        open_port()
    load(flags, loop, loaded)
    loop.run()
