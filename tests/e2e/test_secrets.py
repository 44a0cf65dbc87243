"""Secrets of the configuration: a random one in each place, looked for in everything that the program says."""

from __future__ import annotations

import json
import secrets
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from llamaswap_lib.command_words import split
from tests.e2e.conftest import RunProgram
from tests.e2e.program import COMMAND, DEADLINE, Program, environment, upstream

ROUTES = (
    *(
        "/",
        "/health",
        "/v1/models",
        "/v1/models/m",
        "/v1/models/s",
        "/models",
        "/running",
        "/api/queue",
        "/api/profiles",
    ),
    *("/api/version", "/logs", "/ui/", "/api/config", "/api/metrics/activity", "/api/metrics/stats", "/metrics", "/no"),
    *(
        "/api/config/files",
        "/api/hardware",
        "/api/memory",
        "/api/performance",
        "/api/captures/1",
        "/upstream/m",
        "/upstream/none/x",
        "/comfyui/",
    ),
)


class Secrets:
    """A random secret for each place that is asked for."""

    def __init__(self) -> None:
        self.by_place: dict[str, str] = {}

    def __getitem__(self, place: str) -> str:
        return self.by_place.setdefault(place, "s3c" + secrets.token_hex(8))

    def assert_none_in(self, text: str, where: str) -> None:
        found = [place for place, secret in self.by_place.items() if secret in text]
        assert not found, f"{where} tells the secret of {found}: {text[:3000]}"


ENVIRONMENT = (
    "in_command",
    "in_filter",
    "in_metadata",
    "in_program",
    "in_stop_command",
    "in_env",
    "in_macro",
    "in_group",
)


def given(secret: Secrets) -> dict[str, str]:
    return {f"TEST_{name.upper()}": secret[name] for name in ENVIRONMENT}


def configuration(secret: Secrets) -> dict[str, Any]:
    """One with a secret in each place where users have been seen to put one."""
    server = upstream()
    arguments = (
        f"--api-key {secret['option']} --token={secret['option=']} '--hf-token={secret['quoted option']} x' "
        f"-H 'Authorization: Bearer {secret['header']}' --header=X-Api-Key:{secret['key header']} "
        f"http://u:{secret['url']}@h/p?a=1&key={secret['query']} -e HF_TOKEN={secret['docker env']} "
        f'--json \'{{"api_key": "{secret["json"]}"}}\' -m /models/m.gguf --ctx-size 8192 --port ${{PORT}} '
        "--x=${env.TEST_IN_COMMAND} ${from_env} ${literal}"
    )
    command = f"env HF_TOKEN={secret['variable']} sh -c 'exec {server}' sh {arguments}"
    nested = f"sh -c 'API_KEY={secret['nested variable']} true --api-key {secret['nested option']} && exec {server}'"
    return {
        "apiKeys": [secret["api key"]],
        "macros": {"from_env": "${env.TEST_IN_MACRO}", "literal": f"--password {secret['macro']}"},
        "models": {
            "m": {
                "cmd": command,
                "cmdStop": f"sh -c 'kill $0' ${{PID}} --token {secret['stop command']} ${{env.TEST_IN_STOP_COMMAND}}",
                "checkEndpoint": f"/health?token={secret['check endpoint']}",
                "env": [
                    f"MY_SECRET={secret['env']}",
                    "OTHER=${env.TEST_IN_ENV}",
                    f"URL=http://u:{secret['env url']}@h",
                ],
                "metadata": {"note": "${env.TEST_IN_METADATA}", "nested": [{"api_key": secret["metadata"]}]},
                "filters": {"setParams": {"user": "${env.TEST_IN_FILTER}", "api_key": secret["filter"]}},
            },
            "nested": {"cmd": nested},
            "missing": {"cmd": "/${env.TEST_IN_PROGRAM}/server ${PORT} --api-key " + secret["of the missing"]},
            "broken": {"cmd": f"sh -c 'exit 3' --port ${{PORT}} --api-key {secret['of the broken']}"},
        },
        "selectors": {"s": {"strategy": "pin", "targets": ["m"], "metadata": {"key": secret["selector"]}}},
        "peers": {
            "p": {"proxy": f"http://u:{secret['peer url']}@127.0.0.1:1", "models": ["pm"], "apiKey": secret["peer key"]}
        },
        "groups": {"${env.TEST_IN_GROUP}": {"swap": False, "members": ["m", "nested", "missing", "broken"]}},
    }


def test_no_route_and_no_log_line_tells_a_secret(run_program: RunProgram) -> None:
    secret = Secrets()
    config = configuration(secret)
    with run_program(config, env=given(secret), log_level="debug") as program:
        key = {"x_api_key": secret["api key"]}
        for model, status in (("m", 200), ("nested", 200), ("missing", 502), ("broken", 502)):
            answer = program.ask("POST", f"/api/models/load/{model}", b"", **key)
            assert answer.status == status, answer.body
            secret.assert_none_in(answer.body.decode(), f"loading {model}")
        for model in ("pm", "nobody", "m"):
            body = json.dumps({"model": model, "input": ""}).encode()
            program.ask("POST", "/v1/embeddings", body, content_type="application/json", **key)
        for path in ROUTES:
            secret.assert_none_in(program.get(path, **key).body.decode(errors="replace"), path)
        for path in ("/logs/stream", "/logs/stream/proxy", "/api/events"):
            secret.assert_none_in(first_words(program, path, secret["api key"]), path)
        running = {row["model"]: row for row in program.get("/running", **key).json()["running"]}
        words = split(running["m"]["cmd"])
        assert words[words.index("-m") + 1] == "/models/m.gguf"
        assert words[words.index("--ctx-size") + 1] == "8192"
        assert words[words.index("--port") + 1] == str(running["m"]["port"])
        assert "API_KEY=[hidden] true --api-key [hidden] && exec" in running["nested"]["cmd"]
        assert str(running["nested"]["port"]) in running["nested"]["cmd"]
        program.ask("POST", "/api/models/unload", b"", **key)
    secret.assert_none_in(program.stdout, "stdout")


def first_words(program: Program, path: str, key: str) -> str:
    with program.wire() as wire:
        wire.request("GET", path, extra=f"x-api-key: {key}\r\n")
        assert wire.status() == 200
        last = b"profileChanged" if path == "/api/events" else b"broken: could not be loaded"
        return wire.read_to(last).decode(errors="replace")


@pytest.mark.parametrize("flags", [(), ("-show",), ("-json",), ("-json", "-show")])
@pytest.mark.parametrize("breaks", [False, True], ids=["sound", "broken"])
def test_check_tells_no_secret(tmp_path: Path, flags: tuple[str, ...], breaks: bool) -> None:
    secret = Secrets()
    config = configuration(secret)
    if breaks:
        config["models"]["m"] |= {"ttl": "never", "proxy": f"tcp://u:{secret['bad proxy']}@h", "unknown": 1}
        config["apiKeys"] = secret["a key that is no list"]
        config["peers"]["p"]["apiKey"] = [secret["a list that is no key"]]
    said = check(tmp_path, json.dumps(config, indent=1), given(secret), *flags)
    assert said.startswith("error" if breaks else ("warning", "# warning", "{")) or "-json" in flags, said
    secret.assert_none_in(said, f"check {flags}")
    assert "-show" not in flags or breaks or "[hidden]" in said


def check(folder: Path, text: str, env: Mapping[str, str], *flags: str) -> str:
    (folder / "config.yaml").write_text(text)
    argv = (*COMMAND, "check", "-c", "config.yaml", *flags)
    done = subprocess.run(
        argv, cwd=folder, env=environment(env), capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    assert not done.stderr
    return done.stdout


# Each line has an error, and a secret near it; `%` stands for the secret.
NEAR = [
    "models: {a: {cmd: 'server --api-key % ${nope}'}}",
    "models:\n  a:\n    cmd: |\n      server --port ${PORT} --api-key \\\n        % ${nope}\n",
    "models:\n  a: {cmd: server, proxy: 'tcp://user:%@h'}",
    "models: {a: {cmd: 'curl -H \"Authorization: Bearer %\" ${nope}'}}",
    "models: {a: {env: [HF_TOKEN=%, '${nope}'], cmd: x, proxy: 'http://h'}}",
    "models: {a: {env: {HF_TOKEN: %}, cmd: x, proxy: 'http://h'}}",
    "apiKeys: %",
    "apiKeys: [a b, %]",
    "apiKeys:\n  - a b\n  - '% x'",
    "apiKeys:\n- [%]\n",
    "apiKeys: {%: 1}",
    "apiKeys: [x,\n  %, 'a b',\n  {b: %}]",
    "peers: {p: {apiKey: %, models: [], proxy: 'http://h'}}",
    "peers:\n  p:\n    apiKey: [%]\n    proxy: http://h\n    models: [m]\n",
    "peers:\n  p:\n    apiKey: >-\n      %\n     x: 1\n",
    "macros: {m: '%', n: {}}\nmodels: {a: {cmd: 'server ${PORT} --api-key ${m}'}}",
    "macros: {m: '%'}\nmodels: {a: {cmd: 'server ${PORT} --api-key ${m}', macros: {m: '%', 'a b': 1}}}",
    "models: {a: {cmd: 'server --token %', filters: {setParams: {api_key: %, x: '${nope}'}}}}",
    'apiKeys: [%, "x\nmodels: [',
    "models:\n  a:\n    cmd: server --api-key %\n   bad\n",
    "models: {a: {cmd: 'server --api-key %', cmd: 'server --api-key %'}}",
]


@pytest.mark.parametrize("text", NEAR)
def test_an_error_shows_its_line_without_the_secret(tmp_path: Path, text: str) -> None:
    secret = Secrets()
    said = check(tmp_path, text.replace("%", secret["in the line"]), {})
    assert said.startswith("error: "), said
    secret.assert_none_in(said, "check")


def test_names_with_control_characters_are_shown_escaped(run_program: RunProgram, tmp_path: Path) -> None:
    name = "a\n[INFO] forged\x1b[31m"
    config = {"models": {name: {"cmd": "/no/such/server --port ${PORT}"}, "b": {"cmd": upstream(), "aliases": [name]}}}
    with run_program(config) as program:
        asked = json.dumps({"model": name}).encode()
        answer = program.ask("POST", "/v1/embeddings", asked, content_type="application/json", accept="text/plain")
        assert answer.status == 502
        assert b"\x1b" not in answer.body
        for accept in ("application/json", "text/plain", "text/html"):
            missing = json.dumps({"model": f"{name}x"}).encode()
            answer = program.ask("POST", "/v1/embeddings", missing, content_type="application/json", accept=accept)
            assert b"\x1b" not in answer.body
    assert "a\\n[INFO] forged\\x1b[31m: starting" in program.stdout
    assert "\x1b" not in program.stdout
    assert not [line for line in program.stdout.splitlines() if line.startswith("[INFO] forged")]
    said = check(tmp_path, json.dumps(config), {})
    assert "\x1b" not in said
    assert "\\x1b" in said
