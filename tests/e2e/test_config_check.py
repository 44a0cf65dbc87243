"""`GET /api/config` and `POST /api/config/check`: what is told of a configuration, and that a text is only read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import RunProgram
from tests.e2e.program import COMMAND, DEADLINE, Program, demo, models, wait_until

CHECK = "/api/config/check"
SECRET = "s3cr3tw0rd"


def checked(program: Program, text: str | bytes, **headers: str) -> dict[str, Any]:
    answer = program.ask("POST", CHECK, text.encode() if isinstance(text, str) else text, **headers)
    assert answer.status == 200, answer.body
    found = answer.json()
    assert set(found) == {"ok", "errors", "warnings"}
    assert found["ok"] is not bool(found["errors"])
    return dict(found)


def messages(found: dict[str, Any]) -> list[str]:
    return [finding["message"] for finding in (*found["errors"], *found["warnings"])]


TEXTS = [
    "macros: {unused: 1}\nmodels: {a: {cmd: 'A=1 x ${PORT}', tll: 1}, b: {cmd: '~/x ${PORT} > y'}}\n",
    "models:\n  a: {cmd: 'x ${PORT}', ttl: never, aliases: [b]}\n  b: {cmd: 'x ${PORT}', aliases: [b], colour: red}\n",
    "models: {a: {cmd: 'x ${PORT} ${nope}'}}\ngroups: {g: {members: [aa]}}\nmacros: {unused: 1}\n",
    "models: [\n",
    "",
    "\tmodels: 1",
    "models: {a: {cmd: '${LLAMASWAP} demo --port ${PORT}'}}\n",
    "models: {a: {cmd: 'x ${PORT}', proxy: 'http://127.0.0.1:${OWN_PORT}'}}\n",
]


def test_it_says_of_a_text_what_the_command_says(run_program: RunProgram, tmp_path: Path) -> None:
    with run_program(models(m=demo())) as program:
        for number, text in enumerate(TEXTS):
            text = text.replace("${OWN_PORT}", str(program.port))
            folder = tmp_path / str(number)
            folder.mkdir()
            (folder / "config.yaml").write_text(text)
            argv = (*COMMAND, "check", "-json", "-c", "config.yaml", "-listen", f"127.0.0.1:{program.port}")
            done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=DEADLINE, check=False)
            expected = json.loads(done.stdout)
            looked_for = ("is not on PATH", "there is no file")
            kept = [one for one in expected["warnings"] if not any(word in one["message"] for word in looked_for)]
            assert checked(program, text) == {**expected, "warnings": kept}, text


def test_nothing_but_the_text_is_looked_at(run_program: RunProgram, tmp_path: Path) -> None:
    there, policy = tmp_path / "there.gguf", tmp_path / "policy.py"
    there.write_text("")
    policy.write_text(
        f"open({str(tmp_path / 'imported')!r}, 'w')\nclass Policy:\n  def evict(self, target, running): ...\n"
    )

    def text(file: Path, folder: Path, program_file: Path, use: str) -> str:
        return (
            f"store: {{path: '{folder}/activity.db'}}\nrouting: {{router: {{use: '{use}:Policy'}}}}\n"
            f"models: {{a: {{cmd: '{program_file} ${{PORT}} -m {file}', cmdStop: '{program_file}'}}}}\n"
        )

    gone = tmp_path / "gone"
    with run_program(models(m=demo())) as program:
        one = checked(program, text(there, tmp_path, Path(sys.executable), str(policy)))
        other = checked(program, text(gone / "there.gguf", gone / "x", gone / "python", f"{gone}/policy.py"))
        assert one == other
        assert one["ok"]
        for use in ("~/policy.py", "~nobody-at-all/policy.py", "../x.py", "/dev/zero.py"):
            assert checked(program, f"routing: {{router: {{use: '{use}:P'}}}}")["ok"]
    assert not (tmp_path / "imported").exists()


USES = [
    "globalTTL: ${env.X}\n",
    "logLevel: ${env.X}\n",
    "models: {a: {cmd: 'x ${env.X}', proxy: 'http://h'}}\n",
    "models: {a: {cmd: 'x ${PORT}', proxy: '${env.X}', ttl: '${env.X}', aliases: ${env.X}, metadata: ${env.X}}}\n",
    "models: {a: {cmd: x, proxy: 'http://h:${env.X}', env: ['A=${env.X}']}}\n",
    f"models: {{'${{env.X}}': {{cmd: 'x ${{PORT}}'}}, {SECRET}: {{cmd: 'x ${{PORT}}'}}}}\n",
    f"models: {{a: {{cmd: 'x ${{PORT}}', aliases: ['${{env.X}}', {SECRET}]}}, {SECRET}: {{cmd: 'x ${{PORT}}'}}}}\n",
    "macros: {m: '${env.X}'}\nmodels: {a: {cmd: 'x ${PORT}', ttl: '${m}', unlisted: '${m}'}}\n",
    "models: {a: {cmd: 'x ${PORT}'}}\nmatrix: {sets: {s: 'a & ${env.X}'}}\n",
    "models: {a: {cmd: 'x ${PORT}'}}\ngroups: {g: {members: ['${env.X}']}}\n",
    "upstream: {ignorePaths: ['${env.X}']}\nallowedHosts: ['${env.X}']\n",
    "routing: {router: {use: '${env.X}'}}\n",
    "models: [${env.X}",
    'models: "${env.X}\\q"\n',
]
VALUES = [SECRET, "1", "a", "[a, b]", "", "${MODEL_ID}", '"', "(", "two words # and more", "line\nend", "x" * 5000]


def test_values_of_the_environment_change_nothing_of_what_is_said(run_program: RunProgram) -> None:
    found: list[list[dict[str, Any]]] = []
    for value in VALUES:
        with run_program(models(m=demo()), env={"X": value}) as program:
            found.append([checked(program, text) for text in USES])
    assert all(one == found[0] for one in found)
    for said, text in zip(found[0], USES, strict=True):
        assert said["ok"] or "[${env" in text or "\\q" in text, (text, said)


def test_a_variable_is_checked_for_being_set_and_no_other_is_named(run_program: RunProgram) -> None:
    with run_program(models(m=demo()), env={"TEST_SET_TOKEN": SECRET}) as program:
        assert checked(program, "apiKeys: ['${env.TEST_SET_TOKEN}']")["ok"]
        found = checked(program, "apiKeys: ['${env.TEST_SET_TOKE}']")
        assert messages(found)[0] == "the environment variable TEST_SET_TOKE is not set"


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{one}: &{one} [{', '.join([f'*{before}'] * 9)}]\n" for before, one in zip("abcdefghij", "bcdefghijk", strict=True)
)
DOUBLING = "macros:\n  m0: xxxxxxxxxx\n" + "".join(
    f"  m{number}: '${{m{number - 1}}}${{m{number - 1}}}'\n" for number in range(1, 40)
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (LAUGHS, "the aliases of this file make more than 500000 values"),
        (f"{DOUBLING}models: {{a: {{cmd: '${{m39}}'}}}}\n", "more than 1000000 characters"),
        ("a: " + "[" * 900_000, "level"),  # libyaml has a limit of its own
        ("a: " + "[" * 200 + "]" * 200, "nested more than 100 levels deep"),
        (b"a: \xff", "expected UTF-8 text"),
    ],
)
def test_texts_that_blow_up_are_refused(run_program: RunProgram, text: str | bytes, expected: str) -> None:
    with run_program(models(m=demo())) as program:
        found = checked(program, text)
        assert any(expected in message for message in messages(found)), found


@pytest.mark.slow
def test_a_text_that_takes_for_ever_is_given_up_while_others_are_served(run_program: RunProgram) -> None:
    names = "".join(f"  m{number}: {{cmd: 'x ${{PORT}}'}}\n" for number in range(9_000))
    text = f"models:\n{names}groups: {{g: {{members: [{', '.join(f'q{number}' for number in range(60_000))}]}}}}\n"
    with run_program(models(m=demo())) as program:
        assert program.chat("m", max_tokens=1).status == 200
        before = program.descriptor_count()
        with program.wire() as wire:
            body = text.encode()
            wire.send(f"POST {CHECK} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            assert program.chat("m", max_tokens=1).status == 200
            wire.sock.settimeout(90)
            status, answer = wire.answer()
            assert status == 200
            assert b"too much time or memory" in answer
        wait_until(lambda: program.descriptor_count() <= before, "its pipe is closed")
        assert len(program.relatives()) == 1  # the model
        assert checked(program, "models: {a: {cmd: 'x ${PORT}'}}")["ok"]


def test_what_is_too_large_is_refused_before_it_is_read(run_program: RunProgram) -> None:
    with run_program(models(m=demo())) as program:
        assert checked(program, b"# " + b"x" * ((1 << 20) - 2))["ok"]
        answer = program.ask("POST", CHECK, b"# " + b"x" * ((1 << 20) - 1))
        assert (answer.status, answer.message) == (413, "the body is larger than 1048576 bytes")
        with program.wire() as wire:
            wire.send(f"POST {CHECK} HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000000\r\n\r\n".encode())
            assert wire.status() == 413
        with program.wire() as wire:
            wire.send(f"POST {CHECK} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n200000\r\n".encode())
            wire.send(b"x" * 0x200000)
            assert wire.status() == 413


def test_it_is_an_operation(run_program: RunProgram) -> None:
    with run_program(models(m=demo())) as program:
        for path, method in ((CHECK, "POST"), ("/api/config", "GET")):
            assert program.ask(method, path, b"", host="evil.example").status == 403
        for headers in ({"origin": "http://evil.example"}, {"sec_fetch_site": "cross-site"}):
            assert program.ask("POST", CHECK, b"", **headers).status == 403
        answer = program.get("/api/config", origin="http://evil.example")
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]
        assert answer.headers["cache-control"] == "no-store"
        assert program.get(CHECK).status == 405
    with run_program({"apiKeys": ["k"], **models(m=demo())}) as program:
        for path, method in ((CHECK, "POST"), ("/api/config", "GET"), ("/api/config/files", "GET")):
            assert program.ask(method, path, b"").status == 401
        assert checked(program, "", x_api_key="k", origin="http://evil.example")["ok"]


def test_the_configuration_in_use_is_shown_without_secrets(run_program: RunProgram, tmp_path: Path) -> None:
    config = {
        "apiKeys": ["k"],
        "models": {
            "m": {"cmd": f"{demo()} --api-key {SECRET}", "env": ["A=${env.X}"], "ttl": 90, "colour": "red"},
            "${env.X}": {"cmd": demo()},
        },
        "groups": {"${env.X}": {"members": ["m"]}},
    }
    with run_program(config, env={"X": SECRET}) as program:
        answer = program.get("/api/config", x_api_key="k")
        assert SECRET not in answer.text
        told = answer.json()
        assert told["files"] == [str(tmp_path / "config.yaml")]
        assert told["error"] is None
        assert told["can_edit"] is False
        assert told["config"]["apiKeys"] == ["[hidden]"]
        assert told["config"]["models"]["m"]["ttl"] == 90
        assert told["config"]["models"]["m"]["env"] == ["A=[hidden]"]
        assert told["config"]["models"]["m"]["cmd"].endswith("--api-key [hidden]")
        assert told["loaded_at"].endswith("Z")
        argv = (*COMMAND, "check", "-json", "-show", "-c", str(program.config_path))
        environment = {**os.environ, "X": SECRET}
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=DEADLINE, check=False)
        assert json.loads(done.stdout)["config"] == told["config"]
        assert isinstance(told["warnings"], list)
        # names are told where clients have to know them, the rest nowhere
        assert program.get("/running", x_api_key="k").text.count(SECRET) == 0
        assert SECRET in program.get("/v1/models", x_api_key="k").text
