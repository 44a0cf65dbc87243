"""`-allow-config-edit`: the files of the configuration, read and replaced by clients."""

from __future__ import annotations

import json
import subprocess
import threading
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.e2e.conftest import RunProgram
from tests.e2e.program import COMMAND, DEADLINE, Program, demo, models, wait_until
from tests.e2e.talk import Reply

FLAG = "-allow-config-edit"
FILES = "/api/config/files"
CONFIG = "/api/config/files/config.yaml"
SECRET = "s3cr3tw0rd"


def files(program: Program, **headers: str) -> dict[str, dict[str, Any]]:
    answer = program.get(FILES, **headers)
    assert answer.status == 200, answer.body
    return {row["name"]: row for row in answer.json()["files"]}


def put(program: Program, text: str | bytes, name: str = "config.yaml", **headers: str) -> Reply:
    data = text.encode() if isinstance(text, str) else text
    return program.ask("PUT", f"{FILES}/{quote(name)}", data, **headers)


def test_without_the_flag_no_file_is_told_or_changed(run_program: RunProgram) -> None:
    with run_program(models(m=demo())) as program:
        text = program.config_path.read_bytes()
        preview = program.ask("POST", f"{CONFIG}/check", b"models: {}")
        for answer in (program.get(FILES), program.get(CONFIG), preview, put(program, "models: {}", if_match="*")):
            assert answer.status == 403
            assert FLAG in answer.message
            assert b"cmd" not in answer.body
        assert program.config_path.read_bytes() == text


def test_a_file_is_read_and_replaced_byte_for_byte(run_program: RunProgram, tmp_path: Path) -> None:
    config = {**models(m={"cmd": demo(), "env": ["A=${env.X}"]}), "macros": {"unused": SECRET}}
    with run_program(config, flags=[FLAG], env={"X": SECRET}) as program:
        row = files(program)["config.yaml"]
        before = program.config_path.read_bytes()
        assert row["text"].encode() == before
        assert row["path"] == str(program.config_path)
        raw = program.get(CONFIG)
        assert (raw.body, raw.headers["etag"]) == (before, row["etag"])
        assert program.ask("HEAD", CONFIG).headers["etag"] == row["etag"]

        text = b"\xef\xbb\xbf# \xc3\xa9 [hidden]\r\n" + before + b" \n\n"
        answer = put(program, text, if_match=row["etag"])
        assert answer.status == 200, answer.body
        said = answer.json()
        assert (said["ok"], said["errors"], said["name"]) == (True, [], "config.yaml")
        assert [one["message"] for one in said["warnings"]] == ["nothing uses this macro"]
        assert program.config_path.read_bytes() == text
        assert (tmp_path / "config.yaml.bak").read_bytes() == before
        assert said["etag"] == answer.headers["etag"] == files(program)["config.yaml"]["etag"]
        wait_until(lambda: "has saved config.yaml" in program.stdout, "the log says so")
        assert program.get("/api/config").json()["can_edit"] is True
        assert SECRET not in json.dumps(program.get("/api/config").json()["config"]["models"])


def test_a_text_is_replaced_only_by_those_who_know_it(run_program: RunProgram) -> None:
    with run_program(models(m=demo()), flags=[FLAG]) as program:
        before, etag = program.config_path.read_bytes(), files(program)["config.yaml"]["etag"]
        for headers in ({}, {"if_match": "*"}, {"if_match": f"W/{etag}"}, {"if_match": etag.strip('"')}):
            answer = put(program, "models: {}", **headers)
            assert answer.status == 428
            assert answer.json()["error"]["code"] == "precondition_required"
        assert put(program, "models: {}", if_match='"other"').status == 412
        program.config_path.write_bytes(before + b"\n")
        assert put(program, "models: {}", if_match=etag).status == 412
        assert put(program, "models: {}", if_none_match="*").status == 412
        assert program.config_path.read_bytes() == before + b"\n"
        etag = files(program)["config.yaml"]["etag"]
        assert put(program, "models: {}", if_match=f'"x", {etag}').status == 200


def test_what_a_text_would_change_is_told_before_it_is_stored(run_program: RunProgram) -> None:
    with run_program(models(a=demo(), b=demo(), c=demo()), flags=[FLAG]) as program:
        before = program.config_path.read_bytes()
        config = json.loads(before)
        config["models"]["a"]["ttl"] = 60
        config["models"]["b"]["cmd"] += " --load-seconds 0.1"
        config["models"]["d"] = config["models"].pop("c")
        config["logToStdout"] = "none"
        answer = program.ask("POST", f"{CONFIG}/check", json.dumps(config).encode())
        assert answer.status == 200, answer.body
        said = answer.json()
        assert (said["ok"], said["errors"]) == (True, [])
        assert said["changes"]["models"] == {"added": ["d"], "removed": ["c"], "replaced": ["b"], "updated": ["a"]}
        assert said["changes"]["after_restart"] == ["logToStdout"]
        assert program.config_path.read_bytes() == before
        assert put(program, json.dumps(config), if_match=files(program)["config.yaml"]["etag"]).status == 200
        assert program.post("/api/config/reload", None).json()["models"] == said["changes"]["models"]


@pytest.mark.parametrize(
    ("text", "message"), [("models: [", "a value is missing"), ("models: {a: {cmd: x, ttl: soon}}", "ttl")]
)
def test_of_a_wrong_text_the_mistakes_are_told_and_no_changes(run_program: RunProgram, text: str, message: str) -> None:
    with run_program(models(a=demo()), flags=[FLAG]) as program:
        said = program.ask("POST", f"{CONFIG}/check", text.encode()).json()
        assert (said["ok"], said["changes"]) == (False, None)
        assert message in json.dumps(said["errors"])
        assert program.ask("POST", f"{FILES}/nothing.yaml/check", b"models: {}").status == 404


def test_of_two_at_once_one_wins(run_program: RunProgram) -> None:
    with run_program(models(m=demo()), flags=[FLAG]) as program:
        etag = files(program)["config.yaml"]["etag"]
        start, answers = threading.Barrier(6), dict[str, Reply]()

        def save(text: str) -> None:
            start.wait(DEADLINE)
            answers[text] = put(program, text, if_match=etag)

        threads = [threading.Thread(target=save, args=(f"models: {{}}\n# {number}\n",)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE)
        assert sorted(answer.status for answer in answers.values()) == [200, *[412] * 5]
        [winner] = [text for text, answer in answers.items() if answer.status == 200]
        assert program.config_path.read_text() == winner


BROKEN = [
    "models: [",
    "models: {a: {cmd: 'x ${PORT}', ttl: never}}",
    "models: {a: {cmd: 'x ${PORT} ${nope}'}}",
    "routing: {router: {use: 'broken.py:Policy'}}\nmodels: {a: {cmd: 'x ${PORT}'}}",
    b"\xff",
]


@pytest.mark.parametrize("text", BROKEN)
def test_a_text_that_is_not_valid_is_not_stored(run_program: RunProgram, tmp_path: Path, text: str | bytes) -> None:
    (tmp_path / "broken.py").write_text("class Policy:\n  nothing = 1\n")
    with run_program(models(m=demo()), flags=[FLAG]) as program:
        before, etag = program.config_path.read_bytes(), files(program)["config.yaml"]["etag"]
        there = sorted(tmp_path.iterdir())
        answer = put(program, text, if_match=etag)
        assert answer.status == 400
        said = answer.json()
        assert said["ok"] is False
        assert said["errors"][0]["file"] == str(program.config_path) or said["errors"][0]["file"] is None
        assert "nothing is saved" in answer.message
        assert program.config_path.read_bytes() == before
        assert sorted(tmp_path.iterdir()) == there


def test_a_file_is_judged_together_with_the_others(run_program: RunProgram, tmp_path: Path) -> None:
    folder = tmp_path / "conf.d"
    folder.mkdir()
    (folder / "more.yaml").write_text("models: {b: {cmd: 'x ${PORT}'}}\n")
    flags = [FLAG, "-config-dir", str(folder)]
    with run_program(models(m=demo()), flags=flags) as program:
        assert list(files(program)) == ["config.yaml", "more.yaml"]
        assert program.get(FILES).json()["can_create"] is True
        etag = files(program)["more.yaml"]["etag"]
        answer = put(program, "models: {m: {cmd: 'x ${PORT}'}}", "more.yaml", if_match=etag)
        assert answer.status == 400
        assert "is defined in" in answer.json()["errors"][0]["message"]
        assert put(program, "groups: {g: {members: [m]}}", "more.yaml", if_match=etag).status == 200

        assert put(program, "models: {m: {cmd: x}}", "new.yaml", if_none_match="*").status == 400
        answer = put(program, "models: {c: {cmd: 'x ${PORT}'}}", "new.yaml", if_none_match="*")
        assert answer.status == 201, answer.body
        assert list(files(program)) == ["config.yaml", "more.yaml", "new.yaml"]
        assert put(program, "", "new.yaml", if_none_match="*").status == 412
        assert put(program, "", "new.txt", if_none_match="*").status == 400
        assert sorted(path.name for path in folder.iterdir()) == ["more.yaml", "more.yaml.bak", "new.yaml"]


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("..%2Fconfig.yaml", 404),
        ("%2Fetc%2Fpasswd", 404),
        ("none.yaml", 404),
        ("%2e%2e", 404),
        ("config.yaml%00", 404),
        ("a/b", 404),
        ("../files/config.yaml", 307),
        ("..", 307),
    ],
)
def test_only_files_in_use_are_reached(run_program: RunProgram, name: str, status: int) -> None:
    with run_program(models(m=demo()), flags=[FLAG]) as program:
        etag = files(program)["config.yaml"]["etag"]
        assert program.get(f"{FILES}/{name}").status == status
        assert program.ask("PUT", f"{FILES}/{name}", b"models: {}", if_match=etag).status == status
        assert program.ask("PUT", f"{FILES}/{name}", b"models: {}", if_none_match="*").status == status
        assert files(program)["config.yaml"]["etag"] == etag


def test_a_file_or_folder_that_is_gone_is_a_clear_error(run_program: RunProgram, tmp_path: Path) -> None:
    folder = tmp_path / "conf.d"
    folder.mkdir()
    (folder / "more.yaml").write_text("{}")
    with run_program(models(m=demo()), flags=[FLAG, "-config-dir", str(folder)]) as program:
        etag = files(program)["config.yaml"]["etag"]
        program.config_path.unlink()
        answer = put(program, "models: {}", if_match=etag)
        assert answer.status == 500
        assert "config.yaml cannot be saved: No such file" in answer.message
        assert files(program)["config.yaml"]["error"] == "No such file or directory"
        wait_until(lambda: answer.message in program.stdout, "the log says so")
        (folder / "more.yaml").unlink()
        folder.rmdir()
        for gone in (program.get(FILES), put(program, "{}", "more.yaml", if_match=etag)):
            assert gone.status == 500
            assert "cannot read this folder" in gone.message


def test_pages_of_other_sites_and_other_ports_cannot_save(run_program: RunProgram) -> None:
    with run_program(models(m=demo()), flags=[FLAG]) as program:
        row = files(program)["config.yaml"]
        host = f"127.0.0.1:{program.port}"
        for headers in (
            {"origin": "http://evil.example"},
            {"origin": "http://127.0.0.1:3000"},
            {"origin": f"http://{host}", "sec_fetch_site": "same-site"},
            {"sec_fetch_site": "cross-site"},
            {"host": "evil.example"},
        ):
            assert put(program, "models: {}", if_match=row["etag"], **headers).status == 403, headers
        assert program.get(FILES, host="evil.example").status == 403
        answer = program.get(FILES, origin="http://127.0.0.1:3000")
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]
        assert files(program)["config.yaml"] == row
        assert put(program, "models: {}", if_match=row["etag"], origin=f"http://{host}").status == 200
    with run_program({"apiKeys": ["k"], **models(m=demo())}, flags=[FLAG]) as program:
        assert program.get(FILES).status == 401
        etag = files(program, x_api_key="k")["config.yaml"]["etag"]
        assert put(program, "apiKeys: [k]", if_match=etag).status == 401
        answer = put(program, "apiKeys: [k]", if_match=etag, x_api_key="k", origin="http://evil.example")
        assert answer.status == 200


def test_it_does_not_start_where_others_could_edit_without_a_key(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("models: {}")
    for address in (":0", "0.0.0.0:0", "[::]:0", "some-name:0"):
        argv = (*COMMAND, "-c", str(config), "-listen", address, FLAG)
        done = subprocess.run(argv, capture_output=True, text=True, timeout=DEADLINE, check=False)
        assert done.returncode == 1
        assert "needs apiKeys" in done.stderr


def test_keys_cannot_be_edited_away_where_others_can_reach_it(run_program: RunProgram) -> None:
    with run_program({"apiKeys": ["k"], **models(m=demo())}, flags=[FLAG], host="0.0.0.0") as program:
        etag = files(program, x_api_key="k")["config.yaml"]["etag"]
        answer = put(program, "models: {}", if_match=etag, x_api_key="k")
        assert answer.status == 400
        assert "apiKeys" in answer.json()["errors"][0]["message"]
        assert put(program, "apiKeys: [other]", if_match=etag, x_api_key="k").status == 200


@pytest.mark.parametrize("header", ["x_forwarded_for", "forwarded", "via", "x_real_ip"])
def test_files_cannot_be_edited_through_a_proxy_without_keys(run_program: RunProgram, header: str) -> None:
    with run_program(models(m=demo()), flags=[FLAG]) as program:
        assert program.get(FILES).status == 200
        assert program.get(FILES, **{header: "10.0.0.1"}).status == 403
    with run_program({"apiKeys": ["k"], **models(m=demo())}, flags=[FLAG]) as program:
        assert program.get(FILES, x_api_key="k", **{header: "10.0.0.1"}).status == 200


def test_a_file_that_the_loader_would_refuse_is_read_no_further(run_program: RunProgram, tmp_path: Path) -> None:
    folder = tmp_path / "conf.d"
    folder.mkdir()
    with run_program(models(m=demo()), flags=[FLAG, "-config-dir", str(folder)]) as program:
        etag = files(program)["config.yaml"]["etag"]
        (folder / "big.yaml").write_text("#" * (5 << 20))
        assert files(program)["big.yaml"]["error"] == "it has more than 4 MB"
        answer = put(program, "models: {}", if_match=etag)
        assert answer.status == 500
        assert "it has more than 4 MB" in answer.message
        assert files(program)["config.yaml"]["etag"] == etag


def test_many_models_at_one_port_are_judged_quickly(run_program: RunProgram) -> None:
    entry = {"cmd": "server", "proxy": "http://localhost:9000"}
    with run_program(models(m=demo()), flags=[FLAG]) as program:
        etag = files(program)["config.yaml"]["etag"]
        many = {"models": {f"m{number}": entry for number in range(1500)}}
        assert put(program, json.dumps(many), if_match=etag).status == 200
