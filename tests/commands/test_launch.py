"""`llamaswap launch`: settings of agents, printed, written into an empty home and into one that is in use."""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path

import pytest
import yaml

from llamaswap_lib.agents.known import AGENTS
from tests.commands.conftest import Serve, Served
from tests.commands.terminal import Ended, Shell
from tests.e2e.program import demo

CONFIG = {
    "models": {"chat": {"cmd": demo(), "capabilities": {"context": 32768}}, "other": {"cmd": demo()}},
    "apiKeys": ["the-secret"],
}
KEY = {"LLAMASWAP_API_KEY": "the-secret"}
IN_FILES = [agent.name for agent in AGENTS if agent.name != "open-webui"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Of somebody who has no agent yet."""
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


def launch(shell: Served, home: Path, *words: str) -> Ended:
    nothing = dict.fromkeys(("XDG_CONFIG_HOME", "CODEX_HOME", "CLAUDE_CONFIG_DIR", "LLM_USER_PATH"), "")
    return shell.run("launch", *words, env={**nothing, **KEY, "HOME": str(home)})


def files(home: Path) -> dict[str, bytes]:
    return {str(path.relative_to(home)): path.read_bytes() for path in home.rglob("*") if path.is_file()}


def test_without_an_agent_they_are_listed(shell: Shell) -> None:
    assert [row[0] for row in shell.run("launch").rows()[1:]] == [agent.name for agent in AGENTS]
    assert len(shell.run("launch", "--json").json()["agents"]) == len(AGENTS)


@pytest.mark.parametrize("name", [agent.name for agent in AGENTS])
def test_settings_are_printed_and_nothing_is_written(serve: Serve, home: Path, name: str) -> None:
    with serve(CONFIG) as shell:
        ended = launch(shell, home, name, "chat")
        told = launch(shell, home, name, "chat", "--json")
    assert ended.code == told.code == 0
    assert f"127.0.0.1:{shell.program.port}" in ended.out
    assert "the-secret" not in ended.out + told.out
    assert told.json()["model"] == "chat"
    assert files(home) == {}


@pytest.mark.parametrize("name", IN_FILES)
def test_they_are_written_into_an_empty_home_and_only_once(serve: Serve, home: Path, name: str) -> None:
    with serve(CONFIG) as shell:
        assert launch(shell, home, name, "chat", "--write").code == 0
        written = files(home)
        again = launch(shell, home, name, "chat", "--write")
    assert any(str(shell.program.port).encode() in text for text in written.values())
    if name == "codex" and sys.version_info < (3, 11):
        assert again.code == 1
    else:
        assert "has it already" in again.out
    assert files(home) == written
    private = [path for path in home.rglob("*") if path.is_file() and b"the-secret" in path.read_bytes()]
    assert [stat.S_IMODE(path.stat().st_mode) for path in private] == ([0o600] if name == "cline" else [])


def test_what_is_there_stays_and_is_copied_first(serve: Serve, home: Path) -> None:
    config = home / ".config" / "opencode" / "opencode.jsonc"
    config.parent.mkdir(parents=True)
    mine = '{\n  // mine\n  "model": "a/b",\n  "provider": {"mine": {"name": "x"}}, // stays\n}\n'
    config.write_text(mine)
    config.chmod(0o640)
    with serve(CONFIG) as shell:
        assert launch(shell, home, "opencode", "chat", "--write").code == 0
        assert launch(shell, home, "opencode", "other", "--write").code == 0
    text = config.read_text()
    assert text.startswith('{\n  // mine\n  "model": "a/b",\n')
    assert "// stays" in text
    assert '"other": {}' in text
    assert '"context": 32768' in text
    assert stat.S_IMODE(config.stat().st_mode) == 0o640
    copies = [copy.read_text() for copy in config.parent.glob("opencode.jsonc.*.bak")]
    assert len(copies) == 2
    assert mine in copies


def test_lists_of_models_get_one_more(serve: Serve, home: Path) -> None:
    (home / ".continue").mkdir()
    config = home / ".continue" / "config.yaml"
    config.write_text(
        "name: mine\nversion: 1.0.0\nschema: v1\nmodels:\n  - name: a # good\n    provider: x\nrules: []\n"
    )
    with serve(CONFIG) as shell:
        assert launch(shell, home, "continue", "chat", "--write").code == 0
        assert launch(shell, home, "llm", "chat", "--write").code == 0
        assert launch(shell, home, "llm", "other", "--write").code == 0
    assert "a # good" in config.read_text()
    read = yaml.safe_load(config.read_text())
    assert [model["name"] for model in read["models"]] == ["a", "chat"]
    assert read["rules"] == []
    [models] = home.rglob("extra-openai-models.yaml")
    assert [model["model_id"] for model in yaml.safe_load(models.read_text())] == ["chat", "other"]


@pytest.mark.parametrize(
    ("name", "path", "text"),
    [
        ("opencode", ".config/opencode/opencode.json", '{"provider": [1]}'),
        ("aider", ".aider.conf.yml", "a: b: c\n"),
        ("continue", ".continue/config.yaml", "models: [{name: a}]\n"),
        ("cline", ".cline/data/settings/providers.json",
         '{"providers": {"openai-compatible": {"settings": {"baseUrl": "http://elsewhere/v1"}}}}'),
        ("codex", ".codex/llamaswap.config.toml", 'model = """\nx"""\n'),
        ("claude", ".claude/llamaswap.json", "no JSON"),
        ("llm", ".config/io.datasette.llm/extra-openai-models.yaml", "- {model_id: chat, model_name: x}\n"),
    ],
)  # fmt: skip
def test_what_cannot_be_changed_safely_is_left_and_shown(
    serve: Serve, home: Path, name: str, path: str, text: str
) -> None:
    (home / path).parent.mkdir(parents=True, exist_ok=True)
    (home / path).write_text(text)
    with serve(CONFIG) as shell:
        ended = launch(shell, home, name, "chat", "--write")
    assert ended.code == 1
    assert "is left as it is" in ended.err
    assert "To be added to" in ended.out
    assert files(home) == {path: text.encode()}


def test_a_file_that_cannot_be_written_is_said(serve: Serve, home: Path) -> None:
    (home / ".claude").write_text("no folder")
    with serve(CONFIG) as shell:
        ended = launch(shell, home, "claude", "chat", "--write")
    assert ended.code == 1
    assert "cannot be written" in ended.err


def test_an_agent_without_a_file_is_not_written(serve: Serve, home: Path) -> None:
    with serve(CONFIG) as shell:
        ended = launch(shell, home, "open-webui", "chat", "--write")
    assert ended.code == 1
    assert 'OPENAI_API_KEY="$LLAMASWAP_API_KEY"' in ended.out


def test_an_agent_is_started_with_all_that_it_needs(serve: Serve, home: Path) -> None:
    program = home / "claude"
    program.write_text(
        f"#!{sys.executable}\nimport json, os, sys\nprint(json.dumps([sys.argv[1:], dict(os.environ)]))\n"
    )
    program.chmod(0o700)
    with serve(CONFIG) as shell:
        ended = shell.run(
            "launch", "claude", "chat", "--api-key", "the-secret", "--run", "-p", "--json", "x",
            env={"HOME": str(home), "PATH": f"{home}:{os.environ['PATH']}"},
        )  # fmt: skip
    words, environment = json.loads(ended.out)
    assert words == ["--model", "chat", "-p", "--json", "x"]
    assert environment["ANTHROPIC_BASE_URL"] == f"http://127.0.0.1:{shell.program.port}"
    assert environment["ANTHROPIC_AUTH_TOKEN"] == "the-secret"
    assert files(home).keys() == {"claude"}


def test_what_cannot_be_started_is_said(serve: Serve, home: Path) -> None:
    with serve(CONFIG) as shell:
        missing = shell.run("launch", "claude", "chat", "--run", env={"HOME": str(home), "PATH": "/nowhere", **KEY})
        only_by_file = launch(shell, home, "llm", "chat", "--run")
    assert "it is installed by: npm install" in missing.err
    assert "add --write" in only_by_file.err
    assert missing.code == only_by_file.code == 1


def test_names_that_are_wrong_are_said(serve: Serve, home: Path) -> None:
    with serve(CONFIG) as shell:
        assert "did you mean opencode?" in launch(shell, home, "opncode", "chat").err
        assert "MODEL: expected one of chat, other" in launch(shell, home, "aider").err
        assert launch(shell, home, "aider", "nope").code == 4
        assert shell.run("launch", "aider", "chat").code == 5
