"""`llamaswap ls`: what can be asked for."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from llamaswap_lib.client.background import together
from llamaswap_lib.client.connection import Refused, Server
from llamaswap_lib.client.runs import STATE_STYLES
from llamaswap_lib.client.terminal import Cell, Column, Style, Terminal
from llamaswap_lib.client.words import UNKNOWN
from llamaswap_lib.commands.remote import add_remote_flags, server_of

COLUMNS = (
    Column("NAME", may_shrink=True),
    Column("STATE"),
    Column("KIND", goes=1),
    Column("ALIASES", may_shrink=True, goes=3),
    Column("ABOUT", may_shrink=True, goes=2),
)
EXAMPLES = "llamaswap ls\nllamaswap ls --json"
Row = Mapping[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_remote_flags(parser)


def run(options: argparse.Namespace) -> int:
    server, terminal = server_of(options), Terminal()
    rows = list(listed(server))
    if options.json:
        terminal.json({"models": rows})
    else:
        terminal.table(COLUMNS, (_cells(row) for row in rows))
    return 0


def _cells(row: Row) -> list[str | Cell]:
    state = Cell(row["state"] or UNKNOWN, STATE_STYLES.get(row["state"], Style.PLAIN))
    return [row["name"], state, row["kind"], ", ".join(row["aliases"]), row["about"]]


def listed(server: Server) -> Iterator[dict[str, Any]]:
    """`name`, `kind`, `state`, `aliases`, `about`, of whatever can be asked for, by name; raises ServerError."""
    told, runs, configured = together(
        lambda: server.get("/v1/models"), lambda: server.find("/running") or {}, lambda: configured_models(server)
    )
    entries = {str(entry["id"]): entry for entry in told["data"]}
    running = {row["model"]: row["state"] for row in runs.get("running", [])}
    hidden = {name: model for name, model in configured.items() if name not in entries}
    rows = [_of_entry(name, entry, running) for name, entry in entries.items()]
    rows += [_of_hidden(name, model, running.get(name, "")) for name, model in hidden.items() if model.get("unlisted")]
    yield from sorted(rows, key=lambda row: str(row["name"]))


def configured_models(server: Server) -> Mapping[str, Row]:
    """The models of the configuration in use, by id; none where the server does not tell."""
    try:
        models = ((server.find("/api/config") or {}).get("config") or {}).get("models")
    except Refused:  # by this name of the server, say, nobody is told
        return {}
    return models if isinstance(models, dict) else {}


def _of_entry(name: str, entry: Row, running: Mapping[str, str]) -> dict[str, Any]:
    about = about_of(entry)
    kind = about.get("type") or "model"
    state = running.get(model_of(name, about), "")
    if kind not in ("model", "alias"):
        state = state or ("loaded" if (entry.get("status") or {}).get("value") == "loaded" else "")
    elif not state and about.get("failure"):
        state = "failing"
    told = described(entry)
    leads_to = what_it_leads_to(about)
    return {
        "name": name,
        "kind": kind,
        "state": state,
        "aliases": list(about.get("aliases") or ()),
        "about": leads_to or told,
    }


def _of_hidden(name: str, model: Row, state: str) -> dict[str, Any]:
    aliases = list(model.get("aliases") or ())
    return {"name": name, "kind": "unlisted", "state": state, "aliases": aliases, "about": described(model)}


def about_of(entry: Row) -> Row:
    """What llamaswap says of an entry of `/v1/models` beside what every server says."""
    about = (entry.get("meta") or {}).get("llamaswap")
    return about if isinstance(about, dict) else {}


def model_of(name: str, about: Row) -> str:
    """The model that has that name, as `/running` calls it; the name itself where nothing is known of another."""
    model = str(about.get("modelID") or "")
    return f"{about['peerID']}/{model}" if model and about.get("type") == "peer" else model or name


def described(entry: Row) -> str:
    """Name and description, as far as there are any."""
    texts: Sequence[str] = [str(entry.get(key) or "") for key in ("name", "description")]
    return ": ".join(text for text in texts if text and text != entry.get("id"))


def what_it_leads_to(about: Row) -> str:
    """Of a name that is no model of this server itself; '' for a model."""
    if about.get("type") == "alias":
        return f"an alias of {about.get('modelID')}"
    if about.get("type") == "peer":
        return f"at {about.get('peerID')}"
    if about.get("type") == "pool":
        return f"one of {', '.join(about.get('targets') or ())}"
    if about.get("type") == "selector":
        return f"{about.get('strategy')}: {', '.join(about.get('targets') or ())}"
    return "of the active profile" if about.get("type") == "profile" else ""
