"""What the documentation does not name does not exist: flags, routes, keys."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from llamaswap_lib import __version__
from llamaswap_lib.web.endpoints import _ENDPOINTS
from llamaswap_lib.web.routes import _TABLE, _WITH_ARGUMENT
from tools import figures

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
HTTP = (ROOT / "docs" / "http.md").read_text()


def test_every_route_that_is_answered_is_in_the_reference() -> None:
    named = set(re.findall(r"`(/[^`]*)`", HTTP))
    answered = {path for path, methods in _TABLE.items() if any(r.endpoint in _ENDPOINTS for r in methods.values())}
    below = {before.rstrip("/") for _, before, _, _, endpoint in _WITH_ARGUMENT if endpoint in _ENDPOINTS}
    assert answered - named == set()
    assert {prefix for prefix in below if not any(path.startswith(prefix + "/{") for path in named)} == set()


def test_no_route_is_in_the_reference_that_is_not_answered() -> None:
    named = {path for path in re.findall(r"`(/[^`{]*)`", HTTP) if path not in ("/v", "/audioapi", "/comfyui")}
    known = {path for path, methods in _TABLE.items() if any(r.endpoint in _ENDPOINTS for r in methods.values())}
    below = ("/comfyui/", *(before for _, before, _, _, endpoint in _WITH_ARGUMENT if endpoint in _ENDPOINTS))
    assert {path for path in named if path not in known and not path.startswith(below)} == set()


@pytest.mark.parametrize("command", [(), ("check",), ("systemd",), ("launchd",)])
def test_every_flag_is_in_the_readme(command: tuple[str, ...]) -> None:
    argv = [sys.executable, str(ROOT / "llamaswap.py"), *command, "-h"]
    text = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30).stdout
    flags = set(re.findall(r"(?<![\w-])-[a-z][a-z-]*", text)) - {"-h"}
    assert flags
    assert {flag for flag in flags if f"`{flag}" not in README} == set()


def test_the_changelog_has_a_section_for_this_version() -> None:
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_links_of_the_documentation_lead_somewhere() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert target.startswith("http") or (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("command", ["check", "demo", "init", "launchd", "systemd"])
def test_every_command_is_in_the_readme(command: str) -> None:
    assert re.search(rf"(llamaswap|llamaswap\.py) {command}\b", README)


def test_the_figures_are_what_was_measured() -> None:
    """docs/figures and the table of docs/benchmarks.md are made by `tools/figures.py`, and by no other hand."""
    measured = json.loads(figures.MEASURED.read_text())
    for path, text in figures.drawn(measured, figures.PAGE.read_text()).items():
        assert path.read_text() == text, f"python tools/figures.py draw makes another {path.name}"
