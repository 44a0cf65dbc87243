"""tools/try_clients.py: each of its scripts says what it is, and has a row in docs/clients.md."""

from __future__ import annotations

import re

from tools.try_clients import ROOT, SCRIPTS, asked, clients, row

PAGE = (ROOT / "docs" / "clients.md").read_text()
HELPERS = {"tried.py", "tried.mjs", "tool_server.py"}


def test_every_script_says_what_it_is_and_needs() -> None:
    found = clients([])
    named = {it.script.name for it in found}
    assert named == {path.name for path in SCRIPTS.iterdir() if path.is_file()} - HELPERS
    assert [it.script.name for it in found if not (it.pip or it.npm or it.version)] == []


def test_scripts_are_chosen_by_how_their_names_begin() -> None:
    assert [it.script.name for it in clients(["aider", "llm"])] == ["aider_cli.py", "llm_cli.py"]
    assert clients(["no such"]) == []


def test_each_client_has_a_row_in_the_documentation() -> None:
    table = PAGE.partition("\n## Tried with\n")[2]
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| ")]
    shown = {cells[0].removeprefix("| "): cells[1] for cells in rows}
    assert [it.title for it in clients([]) if not re.match(r"\d+\.\d+", shown.get(it.title, ""))] == []


def test_a_row_says_what_worked_and_what_did_not() -> None:
    curl = clients(["curl"])[0]
    shown = row(curl, "8.1", ["ok list", "ok chat"], ["/v1/models", "/x 404"])
    assert shown == "| curl | 8.1 | list, chat | `/v1/models` `/x 404` |"
    assert (
        row(curl, "8.1", ["ok list", "failed chat: a | b"], []) == "| curl | 8.1 | list. **Failed**: chat: a \\| b |  |"
    )
    assert row(curl, "?", [], []) == "| curl | ? | nothing |  |"


def test_what_was_asked_for_is_read_from_the_log() -> None:
    log = (
        '[INFO] Request 127.0.0.1 "POST /v1/x HTTP/1.1" 404 5 "me" 1ms\n'
        '[INFO] m: ready\n[INFO] Request ::1 "POST /v1/x HTTP/1.1" 200 5 "me" 1ms\n'
        '[INFO] Request 127.0.0.1 "GET /a HTTP/1.0" 405 5 "" 1ms\n'
    )
    assert asked(log) == ["/a 405", "/v1/x"]
