"""What the documentation does not name does not exist: flags, routes, keys. What it links to does."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from llamaswap_lib import __version__
from llamaswap_lib.commands.arguments import shown_flag
from llamaswap_lib.commands.parsers import parser_of
from llamaswap_lib.commands.table import COMMANDS, Command, Topic
from llamaswap_lib.routing.paths import LEFT_ALONE
from llamaswap_lib.routing.routes import _TABLE, _WITH_ARGUMENT, Endpoint, find_route
from tests.bench import table
from tests.bench.results import Results
from tools import command_reference, figures

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMAND_LINE = (ROOT / "docs" / "command-line.md").read_text()
HTTP = (ROOT / "docs" / "http.md").read_text()
OF_LLAMA_SWAP = (
    *("/api/metrics/activity", "/api/metrics/stats", "/api/captures/17", "/api/inflight/17/cancel"),
    *("/api/performance", "/api/hardware"),
)


def test_every_route_that_is_answered_is_in_the_reference() -> None:
    named = set(re.findall(r"`(/[^`]*)`", HTTP))
    below = {before.rstrip("/") for _, before, _, _, _ in _WITH_ARGUMENT}
    assert _TABLE.keys() - named == set()
    assert {prefix for prefix in below if not any(path.startswith(prefix + "/{") for path in named)} == set()


def test_no_route_is_in_the_reference_that_is_not_answered() -> None:
    named = {path for path in re.findall(r"`(/[^`{]*)`", HTTP) if path not in ("/v", "/audioapi", "/comfyui")}
    below = (*LEFT_ALONE, *(before for _, before, _, _, _ in _WITH_ARGUMENT))
    assert {path for path in named if path not in _TABLE and not path.startswith(below)} == set()


def test_what_is_not_answered_yet_is_named_in_the_readme_and_for_those_who_come_from_llama_swap() -> None:
    """Routes of llama-swap that nobody answers; but for `/favicon.ico`, which browsers do without."""
    missing = {path for path in OF_LLAMA_SWAP if find_route("GET", path).endpoint is Endpoint.NOT_FOUND}
    state = README.partition("\n## State\n")[2].partition("\n## ")[0]
    for text in (state, (ROOT / "docs" / "migration.md").read_text()):
        assert {path for path in missing if f"`{path.partition('17')[0]}" not in text} == set()


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_flag_is_in_the_reference(command: Command) -> None:
    parser = parser_of(command)
    shown = [re.findall(r"-+[a-z][\w-]*", shown_flag(action)) for action in parser.flags() if action.dest != "help"]
    named = {name for names in shown for name in names}
    assert {name for name in named if f"`{name}" not in COMMAND_LINE} == set()
    assert [action.dest for action in parser.flags() if not action.help] == []


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_has_a_section_to_which_the_list_leads(command: Command) -> None:
    assert command_reference.anchor(command) in anchors(ROOT / "docs" / "command-line.md")
    assert f"(#{command_reference.anchor(command)})" in COMMAND_LINE


def test_what_is_done_by_a_command_is_in_the_table_of_tasks() -> None:
    tasks = COMMAND_LINE.partition("## Each task")[2].partition("\n## ")[0]
    asking = [it for it in COMMANDS if it.topic in (Topic.LOOK, Topic.USE, Topic.OPERATE)]
    assert [it.name for it in asking if f"`llamaswap {it.name}" not in tasks] == []


def test_the_changelog_has_a_section_for_this_version() -> None:
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("page", [*PAGES, ROOT / "tests" / "README.md"], ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_the_documentation_lead_somewhere(page: Path) -> None:
    for target, section in re.findall(r"\]\(([^)#\s]*)(?:#([^)]+))?\)", page.read_text()):
        if target.startswith("http"):
            continue
        path = page.parent / target if target else page
        assert path.exists(), target
        assert not section or section in anchors(path), f"{target}#{section}"


def anchors(page: Path) -> set[str]:
    """The sections of a page, by the names that links have for them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", sorted((ROOT / "docs").iterdir()), ids=lambda page: str(page.name))
def test_every_page_is_linked_from_the_readme_or_from_one_that_is(page: Path) -> None:
    linked = {"README.md", *re.findall(r"\]\(docs/([\w./-]+)", README)}
    for other in PAGES[1:]:
        linked |= set(re.findall(r"\]\(([\w./-]+)", other.read_text())) if other.name in linked else set()
    assert page.name in {Path(name).parts[0] for name in linked}


def test_the_readme_is_short_and_its_table_is_backed() -> None:
    assert len(README.splitlines()) <= 150
    section = README.partition("## Against the others")[2].partition("\n## ")[0]
    rows = [line.split("|") for line in section.splitlines() if line.startswith("| ")]
    assert len(rows) > 8
    for _, what, ours, *others, _ in rows[1:]:
        assert re.search(r"\]\((tests|docs)/", ours), f"{what.strip()}: no test and no page says so"
        assert all(re.search(r"\]\(|\]\[", cell) for cell in others), f"{what.strip()}: who says so of the others?"
    assert set(re.findall(r"\]\[(\w+)\]", section)) == set(re.findall(r"^\[(\w+)\]: https://", section, re.MULTILINE))


def test_the_figures_are_what_was_measured() -> None:
    """The figures and their pages are made by `tools/figures.py` and `tests/bench/table.py`, and by no other hand."""
    measured = json.loads(figures.MEASURED.read_text())
    for path, text in figures.drawn(measured, figures.PAGE.read_text()).items():
        assert path.read_text() == text, f"python tools/figures.py draw makes another {path.name}"
    for path, text in table.pages(Results.from_json(table.COSTS.read_text())).items():
        assert path.read_text() == text, f"python tests/bench/table.py --draw makes another {path.name}"
