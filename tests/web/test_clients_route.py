"""`GET /api/models/{id}/clients`: the settings that `launch` knows, for those who reach the server at an address."""

from __future__ import annotations

import json
import shlex
from typing import Any
from urllib.parse import quote

import pytest
import yaml

from llamaswap_lib.agents.known import AGENTS
from tests.web.world import OK, World, answers, get

URL = "http://gpubox:8080/behind"
NAME = "org/a'b\"c: d"
CONFIG = f"""
models: {{{json.dumps(NAME)}: {{cmd: "x ${{PORT}}", capabilities: {{context: 4096}}}}, m: {{cmd: "x ${{PORT}}"}}}}
selectors: {{any: {{strategy: pin, targets: [m]}}}}
profiles: {{night: {{pins: {{new: m}}}}}}
"""


def ask(world: World, name: str, url: str = URL) -> tuple[int, Any]:
    head, body = world.ask(get(f"/api/models/{quote(name)}/clients?url={quote(url, safe='')}"))
    return int(head[9:12]), json.loads(body)


def test_every_agent_has_settings_for_the_address_and_the_model_whatever_its_name() -> None:
    with World(answers(OK), config=CONFIG) as world:
        status, told = ask(world, NAME)
    assert status == 200
    rows = {row["agent"]: row for row in told["clients"]}
    assert [*rows] == [agent.name for agent in AGENTS]
    opencode = json.loads(rows["opencode"]["files"][0]["text"])["provider"]["llamaswap"]
    assert opencode["models"] == {NAME: {"limit": {"context": 4096, "output": 1024}}}
    assert opencode["options"] == {"baseURL": f"{URL}/v1"}
    [item] = yaml.safe_load(rows["continue"]["files"][0]["text"])["models"]
    assert (item["model"], item["apiBase"], item["apiKey"]) == (NAME, f"{URL}/v1", "none")
    assert shlex.split(rows["aider"]["line"])[-2:] == ["--model", f"openai/{NAME}"]
    assert f"OPENAI_API_BASE={URL}/v1 " in rows["aider"]["line"]
    assert rows["cline"]["line"] is None
    paths = [file["path"] for row in rows.values() for file in row["files"]]
    assert paths
    assert all(path.startswith("~/") for path in paths)


def test_a_key_is_a_name_of_a_variable() -> None:
    with World(answers(OK), config=CONFIG + "apiKeys: [secret]\n") as world:
        path = f"/api/models/m/clients?url={URL}"
        assert world.ask(get(path))[0].startswith(b"HTTP/1.1 401 ")
        body = world.ask(get(path, extra=b"x-api-key: secret\r\n"))[1].decode()
    rows = {row["agent"]: row for row in json.loads(body)["clients"]}
    assert "secret" not in body.replace("secrets.LLAMASWAP_API_KEY", "")
    assert 'OPENAI_API_KEY="$LLAMASWAP_API_KEY" ' in rows["aider"]["line"]


@pytest.mark.parametrize("name", ["any", "m"])
def test_names_of_other_kinds_have_settings_too(name: str) -> None:
    with World(answers(OK), config=CONFIG) as world:
        assert ask(world, name)[1]["clients"][0]["model"] == name
        world.app.profiles.activate("night")
        assert ask(world, "new")[0] == 200


@pytest.mark.parametrize(
    "url", ["", "gpubox", "ftp://x", "http://", "http://x/?q", "http://[", "http://x/ y", "http://x\n"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with World(answers(OK), config=CONFIG) as world:
        status, told = ask(world, "m", url)
        assert (status, told["error"]["code"]) == (400, "bad_request")
        assert ask(world, "nobody")[0] == 404
