"""The metrics of models' servers, asked for past the gates of their runs, all at the same time.

A thread `scrape-M` asks each server; the handler thread waits for them. Guarantees: nobody waits longer than the
time given, whatever a server does; a model is neither loaded nor kept by this, for no place in it is taken.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

from llamaswap_lib.errors import HttpError
from llamaswap_lib.proxy.asking import BadAnswer, ask
from llamaswap_lib.runtime.control.live_run import Upstream
from llamaswap_lib.runtime.forward_proxies import ForwardProxies
from llamaswap_lib.runtime.threads import Thread


class Result(Enum):
    """How it went with one server."""

    SUCCESS = "success"
    TIMEOUT = "timeout"
    FAILURE = "failure"  # no connection, no answer of 200, or one that cannot be read


class Scraped(NamedTuple):
    """What one server said; `text` is '' unless that was a success."""

    result: Result
    text: str = ""


def scrape(upstreams: Mapping[str, Upstream], proxies: ForwardProxies, seconds: float) -> dict[str, Scraped]:
    """What the servers say to GET /metrics, by model; blocks for at most `seconds`."""
    deadline = time.monotonic() + seconds
    answers: queue.SimpleQueue[tuple[str, Scraped]] = queue.SimpleQueue()
    scraped: dict[str, Scraped] = {}

    def ask_one(model: str, upstream: Upstream) -> None:
        answers.put((model, _scrape_one(upstream, proxies, deadline)))

    for model, upstream in upstreams.items():
        thread = Thread(ask_one, f"scrape-{model}", (model, upstream))
        if not _starts(thread):
            scraped[model] = Scraped(Result.FAILURE)
    while len(scraped) < len(upstreams):
        try:
            model, found = answers.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            break
        scraped[model] = found
    return {model: scraped.get(model, Scraped(Result.TIMEOUT)) for model in upstreams}


def _starts(thread: Thread) -> bool:
    try:
        thread.start()
    except (RuntimeError, MemoryError):  # there is none to be had
        return False
    return True


def _scrape_one(upstream: Upstream, proxies: ForwardProxies, deadline: float) -> Scraped:
    try:
        answer = ask(upstream.proxy, "/metrics", proxies, deadline)
    except TimeoutError:
        return Scraped(Result.TIMEOUT)
    except (OSError, HttpError, BadAnswer):
        return Scraped(Result.FAILURE)
    if answer.status != 200:
        return Scraped(Result.FAILURE)
    return Scraped(Result.SUCCESS, answer.body.decode("utf-8", "replace"))
