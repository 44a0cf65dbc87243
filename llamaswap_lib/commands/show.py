"""`llamaswap show`: all that is known of one model."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from llamaswap_lib.client import memory, words
from llamaswap_lib.client.background import together
from llamaswap_lib.client.connection import NOT_FOUND, NoRoute, Refused, Server, in_path
from llamaswap_lib.client.runs import STATE_STYLES, memory_of, state_of, until
from llamaswap_lib.client.terminal import Style, Terminal
from llamaswap_lib.commands.load import find_plan
from llamaswap_lib.commands.ls import about_of, configured_models, described, model_of, what_it_leads_to
from llamaswap_lib.commands.remote import add_remote_flags, server_of
from llamaswap_lib.printable import printable

LABEL_WIDTH = 14
NARROWEST = 20  # characters of a value
EXAMPLES = "llamaswap show small"
Row = Mapping[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a name, an alias, a selector, or a model of a peer")
    add_remote_flags(parser)


def run(options: argparse.Namespace) -> int:
    server, terminal = server_of(options), Terminal()
    known = Known(server, options.model)
    if options.json:
        terminal.json(known.value())
        return 0
    for label, value, style in lines_of(known):
        if value:
            _print(terminal, label, value, style)
    return 0


def _print(terminal: Terminal, label: str, value: str, style: Style) -> None:
    """A label and its value; on a terminal a long one goes on below itself."""
    text = printable(value)
    width = terminal.width - LABEL_WIDTH if terminal.is_terminal else 0
    lines = textwrap.wrap(text, width, break_on_hyphens=False) if width >= NARROWEST else [text]
    for number, line in enumerate(lines):
        head = label if not number else ""
        terminal.line(terminal.styled(f"{head:<{LABEL_WIDTH}}", Style.QUIET) + terminal.styled(line, style))


class Known:
    """What the server tells of the model behind a name, as far as it has the routes."""

    def __init__(self, server: Server, name: str) -> None:
        """Raises ServerError; Refused with status 404 for a name that leads nowhere."""
        self.name = name
        entry, plan, running, configured, queue, told = together(
            lambda: _entry(server, name),
            lambda: find_plan(server, name),
            lambda: server.find("/running") or {},
            lambda: configured_models(server),
            lambda: server.find("/api/queue") or {},
            lambda: memory.find(server),
        )
        self.entry: Row = entry
        self.plan: Row = plan
        self.about = about_of(entry)
        self.model = str(plan.get("model") or model_of(name, self.about))
        names = (self.model, model_of(name, self.about))  # at a peer it may have another one
        self.running: Row = next((row for row in running.get("running", ()) if row["model"] in names), {})
        self.configured: Row = configured.get(self.model, {})
        self.waiting = [row for row in queue.get("queue", ()) if row["model"] == self.model]
        self.memory: Row = told
        self.need: Row = memory.needs(told).get(self.model, {})
        self.stats: Row = server.find("/api/metrics/stats", {"model": self.model}) or {}

    @property
    def failure(self) -> Row:
        return self.plan.get("failure") or self.about.get("failure") or {}

    @property
    def state(self) -> str:
        state = (self.running and state_of(self.running)) or self.plan.get("state") or ""
        return "failing" if self.failure and state in ("", "stopped") else str(state)

    def value(self) -> dict[str, Any]:
        """For programs: each part as the server's route has it."""
        parts = {"entry": self.entry, "running": self.running, "configuration": self.configured, "plan": self.plan}
        told = {"name": self.name, "model": self.model, "state": self.state, **parts}
        return {**told, "waiting": self.waiting, "need": self.need, "stats": self.stats}


def _entry(server: Server, name: str) -> Row:
    try:
        entry: Row = server.get(f"/v1/models/{in_path(name)}")
        return {"id": entry["id"], **entry}
    except NoRoute:  # llama-swap has only the list
        entries = {row["id"]: row for row in server.get("/v1/models")["data"]}
    if name not in entries:
        raise Refused(f"model not found: {name!r}", NOT_FOUND)
    found: Row = entries[name]
    return found


Line = tuple[str, str, Style]


def lines_of(known: Known) -> Iterator[Line]:
    """Label, value ('' for nothing known) and style, in the order in which they are read."""
    yield "name", known.name, Style.HEAD
    kind = str(known.about.get("type") or "model")
    yield "kind", "unlisted model" if known.configured.get("unlisted") else kind, Style.PLAIN
    yield "leads to", what_it_leads_to(known.about) or (known.model if known.model != known.name else ""), Style.PLAIN
    yield "about", described({**known.entry, "id": known.name}), Style.PLAIN
    yield "state", _state(known), STATE_STYLES.get(known.state, Style.PLAIN)
    yield "failure", _failure(known.failure), Style.BAD
    yield from _running_lines(known)
    yield "needs", _need(known), Style.PLAIN
    yield "a load", _load(known.plan), Style.PLAIN
    yield "speed", _speed(known.stats), Style.PLAIN
    configured = known.configured
    yield "aliases", ", ".join(configured.get("aliases") or known.about.get("aliases") or ()), Style.PLAIN
    yield "can do", _capabilities(known.entry), Style.PLAIN
    ttl = configured.get("ttl")
    yield "ttl", "" if ttl is None else words.duration(ttl) if ttl else "none: it stays loaded", Style.PLAIN
    yield "command", str(known.running.get("cmd") or configured.get("cmd") or "").strip(), Style.PLAIN


def _running_lines(known: Known) -> Iterator[Line]:
    running = known.running
    if running:
        limit, inside = running.get("concurrency_limit"), running.get("in_flight")
        places = f" of {limit} places" if limit else ""
        yield "in flight", "" if inside is None else f"{words.number(inside)}{places}", Style.PLAIN
    if known.waiting:
        yield "waiting", f"{words.counted(len(known.waiting), 'request')}: {known.waiting[0]['reason']}", Style.BUSY
    if running:
        size, device = memory_of(running.get("memory"))
        yield "memory", "" if size == words.UNKNOWN else f"{size} on {device}", Style.PLAIN
        told = until(running)
        yield "until", "" if told == words.UNKNOWN else told, Style.PLAIN
        pid, address = running.get("pid"), running.get("proxy")
        yield "process", "" if pid is None else f"{pid}, at {address}", Style.PLAIN


def _state(known: Known) -> str:
    seconds = known.running.get("load_seconds")
    return known.state if seconds is None else f"{known.state}, after a load of {words.duration(seconds)}"


def _need(known: Known) -> str:
    """What is not known matters where models go by it."""
    if not known.need or (known.need.get("devices") is None and not memory.is_decisive(known.memory)):
        return ""
    return memory.need_in_full(known.need, known.memory)


def _failure(failure: Row) -> str:
    if not failure:
        return ""
    retry = failure.get("retry_in")
    when = "with the next request" if not retry else f"in {words.duration(retry)} at the earliest"
    return f"{failure['message']}; {words.counted(failure['tries'], 'try', 'tries')} so far, the next one {when}"


def _load(plan: Row) -> str:
    """What a load would do now; nothing for a model that is there."""
    if not plan or plan.get("state") in ("", "ready", "starting"):
        return ""
    evicted, estimate = plan.get("evicts"), plan.get("estimate_seconds")
    if plan.get("refusal"):
        return f"would be refused: {plan['refusal']}"
    about = f"about {words.duration(estimate)}; " if estimate else ""
    if evicted is None:
        return f"{about}what it would unload, your policy decides then"
    if not evicted:
        return f"{about}would unload nothing"
    told = ", ".join(
        row["model"] + (f" ({words.counted(row['in_flight'], 'request')} inside)" if row.get("in_flight") else "")
        for row in evicted
    )
    rule = plan.get("rule") or {}
    why = rule["text"] if rule.get("kind") == "memory" and rule.get("text") else evicted[0]["reason"]
    return f"{about}would unload {told}, because {why}"


def _speed(stats: Row) -> str:
    parts = []
    for key, what in (("gen_histogram", "tokens a second"), ("prompt_histogram", "of the prompt")):
        middle = (stats.get(key) or {}).get("p50")
        if middle:
            parts.append(f"{words.number(round(middle, 2))} {what}")
    count = stats.get("total_requests") or 0
    return f"{', '.join(parts)} (median of {words.counted(count, 'request')})" if parts else ""


def _capabilities(entry: Row) -> str:
    able = [name.replace("_", " ") for name, is_so in (entry.get("capabilities") or {}).items() if is_so]
    context = entry.get("context_length") or (entry.get("meta") or {}).get("n_ctx")
    return ", ".join([*able, *([f"a context of {words.number(context)} tokens"] if context else [])])
