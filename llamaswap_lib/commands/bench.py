"""`llamaswap bench M`: how fast models answer and swap."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise

from llamaswap_lib.benchmark.figures import MEDIAN, MOST, Level, Swap, reading
from llamaswap_lib.benchmark.measuring import Bench, Load
from llamaswap_lib.client import words
from llamaswap_lib.client.connection import NO_SUCH_ROUTE, Refused
from llamaswap_lib.client.terminal import Column, Style, Terminal
from llamaswap_lib.commands.remote import add_remote_flags, server_of

PARALLEL = (1, 2, 4, 8)
LEAST_REQUESTS = 4  # at each level, and two for each that is under way
NOTES = """All times are those of this client: network, llamaswap, other users and the model's server together. Near
the server they are the server's. This client is one Python program; beyond some thousand tokens a second it is the
bound itself.

A warm-up comes first and is not counted. Requests stream, at temperature 0, with `ignore_eos`, so that answers have
the same length where the server knows it (llama.cpp, vLLM). Each prompt differs from its first word on, so no cache
of prompts helps: FIRST TOKEN is the time for reading the prompt, and the wait for a place.

FIRST TOKEN is the median. P95 of fewer than 20 requests is the slowest of them; `--requests` takes more.

TOKENS/S is the speed of one answer behind its first token, the median. IN ALL counts all tokens over all the
time, reading of prompts included. Tokens are counted by the server; where it does not, pieces of the stream are.
An answer that comes in one go has no speed of its own.

A swap: `M anew` unloads the model, loads it, and asks it for one token, all that cannot run beside it being gone
already. `A to B` asks B while A is loaded. Files are in the system's cache by then; the first load after a boot
takes longer. **Models are unloaded for that**, when their requests have ended; `--no-swap` leaves it out."""
EXAMPLES_NOTE = "takes minutes"
EXAMPLES = """llamaswap bench small
llamaswap bench small large --parallel 1,4
llamaswap bench small --prompt-tokens 4096 --max-tokens 16 --no-swap --json"""
MOST_PARALLEL, MOST_TOKENS = 256, 1_000_000
LEVELS = (
    Column("AT A TIME", is_number=True),
    Column("REQUESTS", is_number=True, goes=2),
    Column("FIRST TOKEN", is_number=True),
    Column("P95", is_number=True, goes=1),
    Column("TOKENS/S", is_number=True),
    Column("IN ALL", is_number=True),
)
SWAPS = (
    Column("SWAP", may_shrink=True),
    Column("UNLOAD", is_number=True, goes=2),
    Column("LOAD", is_number=True, goes=1),
    Column("FIRST ANSWER", is_number=True, goes=3),
    Column("TOTAL", is_number=True),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "models",
        metavar="MODEL",
        nargs="+",
        help="the models; each is loaded, and at the end unloaded and loaded again",
    )
    add(
        "--parallel",
        "-parallel",
        metavar="N,N",
        type=_levels,
        default=PARALLEL,
        help="how many requests at a time, for each row of the table (default: 1,2,4,8)",
    )
    requests_help = f"how many for each row (default: two for each at a time, at least {LEAST_REQUESTS})"
    add("--requests", "-requests", metavar="N", type=_count(MOST_TOKENS), help=requests_help)
    tokens = _count(MOST_TOKENS)
    add(
        "--prompt-tokens",
        "-prompt-tokens",
        metavar="N",
        type=tokens,
        default=256,
        help="about how long each prompt is (default: 256)",
    )
    add(
        "--max-tokens",
        "-max-tokens",
        metavar="N",
        type=tokens,
        default=128,
        help="how long each answer may be (default: 128)",
    )
    add("--no-swap", "-no-swap", action="store_true", help="do not unload anything to measure how long swaps take")
    add_remote_flags(parser)


def run(options: argparse.Namespace) -> int:
    terminal = Terminal()
    try:
        return _run(terminal, options)
    finally:
        terminal.clear()


def _run(terminal: Terminal, options: argparse.Namespace) -> int:
    progress = (lambda _text: None) if options.json else terminal.status
    bench = Bench(server_of(options), Load(options.prompt_tokens, options.max_tokens), progress)
    measured: dict[str, list[Level]] = {}
    for model in dict.fromkeys(options.models):
        bench.warm_up(model)
        measured[model] = []
        for parallel in options.parallel:
            requests = options.requests or max(2 * parallel, LEAST_REQUESTS)
            measured[model].append(bench.level(model, parallel, max(requests, parallel)))
        if not options.json:
            _print_levels(terminal, model, measured[model], options)
    swaps = [] if options.no_swap else list(_swaps(bench, list(measured)))
    if options.json:
        levels = [{"model": name, "levels": [it.as_json() for it in found]} for name, found in measured.items()]
        rows = [
            {"model": it.model, "from": it.before or None, "unload_seconds": it.unload, "load_seconds": it.load,
             "first_answer_seconds": it.first_answer, "total_seconds": it.total} for it in swaps
        ]  # fmt: skip
        terminal.json({"models": levels, "swaps": rows})
    elif swaps:
        _print_swaps(terminal, swaps)
    return 0 if all(level.answered for found in measured.values() for level in found) else 6


def _swaps(bench: Bench, models: Sequence[str]) -> Iterator[Swap]:
    """Each by itself, then from one to the next and back; none of a model that is not this server's."""
    for model in models:
        with _left_out_where_it_is_not_ours():
            yield bench.cold_start(model)
    for one, other in pairwise(models):
        yield bench.swap(one, other)
        yield bench.swap(other, one)


@contextmanager
def _left_out_where_it_is_not_ours() -> Iterator[None]:
    """A model of a peer cannot be unloaded from here."""
    try:
        yield
    except Refused as error:
        if error.status not in NO_SUCH_ROUTE:
            raise


def _print_levels(terminal: Terminal, model: str, levels: Sequence[Level], options: argparse.Namespace) -> None:
    answered = [sample for level in levels for sample in level.answered]
    prompts = sorted(sample.prompt_tokens for sample in answered if sample.prompt_tokens is not None)
    lengths = sorted(sample.tokens for sample in answered)
    prompt = f"{prompts[len(prompts) // 2]:,}" if prompts else f"about {options.prompt_tokens:,}"
    answer = f"{lengths[len(lengths) // 2]:,}" if lengths else "no"
    terminal.line(
        f"{terminal.styled(model, Style.NAME)}: prompts of {prompt} tokens, answers of {answer}, "
        "streamed, after a warm-up"
    )
    terminal.table(LEVELS, map(_level_row, levels))
    if any(not sample.is_counted for sample in answered):
        terminal.line("The server does not count tokens: each piece of the stream counts as one.", Style.QUIET)
    for level in levels:
        for error in dict.fromkeys(sample.error for sample in level.samples if sample.error):
            terminal.line(
                f"{level.failed} of {len(level.samples)} failed at {level.parallel} at a time: {error}", Style.BAD
            )
    said = reading(levels)
    terminal.line(f"{said}\n" if said else "", Style.GOOD)


def _level_row(level: Level) -> list[str]:
    return [
        words.number(level.parallel), words.number(len(level.samples)), words.brief(level.first(MEDIAN)),
        words.brief(level.first(MOST)), words.number(level.each), words.number(level.together),
    ]  # fmt: skip


def _print_swaps(terminal: Terminal, swaps: Sequence[Swap]) -> None:
    rows = [
        [
            f"{it.before} to {it.model}" if it.before else f"{it.model} anew", words.brief(it.unload),
            words.brief(it.load), words.brief(it.first_answer), words.brief(it.total),
        ] for it in swaps
    ]  # fmt: skip
    terminal.table(SWAPS, rows)


def _levels(text: str) -> tuple[int, ...]:
    """`1,2,4` as numbers; raises ArgumentTypeError."""
    return tuple(dict.fromkeys(map(_count(MOST_PARALLEL), text.split(","))))


def _count(most: int) -> Callable[[str], int]:
    """A reader of numbers from 1 on; it raises ArgumentTypeError."""

    def read(text: str) -> int:
        if not text.strip().isdecimal() or not 1 <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"expected a number from 1 to {most:,}, got {text!r}")
        return int(text)

    return read
