"""The command line: what the demo pretends to be, and how it fails."""

from __future__ import annotations

import argparse
from collections.abc import Sequence


class Flags(argparse.Namespace):
    """The flags, in seconds and requests as they were given; see `--help`."""

    host: str
    port: int
    model: str
    quiet: bool
    load_seconds: float
    bind_late: bool
    prompt_seconds: float
    tokens_per_second: float
    sleep_seconds: float | None
    exit_at_start: int | None
    die_while_loading: float | None
    never_ready: bool
    health_status: int | None
    crash_after: int | None
    crash_exit: int | None
    cut_stream_after: int | None
    close_kept_alive: float | None
    stop_seconds: float
    hang_on_sigterm: bool
    ignore_sigterm: bool
    fork_grandchild: bool
    grandchild_ignores_sigterm: bool
    log_spam: float
    progress_bar: bool


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Those that `Flags` has."""
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="where it listens: 127.0.0.1, or another address")
    add("--port", type=int, default=8080, help="default: 8080; 0 takes a free one and tells it on stdout")
    add("--model", default="demo", metavar="NAME", help="what it calls itself")
    add("--quiet", action="store_true", help="no line a request")
    _add_pace(parser.add_argument_group("pace"))
    _add_failures(parser.add_argument_group("failures"))
    _add_endings(parser.add_argument_group("ending and output"))


def parse_flags(arguments: Sequence[str]) -> Flags:
    """Of the demo started as a module of its own; ends the process with a message when they are wrong."""
    parser = argparse.ArgumentParser(
        prog="llamaswap demo",
        description="An OpenAI-compatible server without a model.",
        formatter_class=lambda prog: argparse.HelpFormatter(prog, width=100),  # finding the width costs 5 ms
    )
    add_flags(parser)
    return parser.parse_args(arguments, Flags())


def _add_pace(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--load-seconds", type=float, default=0.0, metavar="S", help="all routes answer 503 so long")
    add("--bind-late", action="store_true", help="open the port only when loaded, as vLLM does")
    add("--prompt-seconds", type=float, default=0.0, metavar="S", help="prefill: silence before the first byte")
    add("--tokens-per-second", type=float, default=0.0, metavar="N", help="0 for as fast as it can")
    add("--sleep-seconds", type=float, metavar="S", help="/sleep and /wake_up, as of vLLM; each takes so long")


def _add_failures(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--exit-at-start", type=int, metavar="CODE", help="say why and exit")
    add("--die-while-loading", type=float, metavar="S", help="exit with code 1 after so many seconds of loading")
    add("--never-ready", action="store_true", help="load for ever")
    add("--health-status", type=int, metavar="N", help="what /health answers, loaded or not")
    add("--crash-after", type=int, metavar="N", help="answer N requests for text, die in the middle of the next")
    add("--crash-exit", type=int, metavar="CODE", help="die by exit, not by SIGKILL")
    add("--cut-stream-after", type=int, metavar="N", help="close after N tokens of a stream, without its end")
    add("--close-kept-alive", type=float, metavar="MS", help="close a kept-alive connection so long after an answer")


def _add_endings(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--stop-seconds", type=float, default=0.0, metavar="S", help="time from SIGTERM to the exit")
    add("--hang-on-sigterm", action="store_true", help="close the port on SIGTERM, and stay")
    add("--ignore-sigterm", action="store_true", help="go on serving")
    add("--fork-grandchild", action="store_true", help="a child that keeps the output pipe and the port, and sleeps")
    add("--grandchild-ignores-sigterm", action="store_true", help="the same, more stubborn")
    add("--log-spam", type=float, default=0.0, metavar="MB", help="so much output a second")
    add("--progress-bar", action="store_true", help="output while loading: \\r, never a newline")
