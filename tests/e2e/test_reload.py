"""Another configuration while the program serves: what is the same goes on, and nothing is broken by what is not."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import RunProgram
from tests.e2e.gates import loads_until
from tests.e2e.held import Held
from tests.e2e.program import Program, demo, models, wait_until
from tests.e2e.talk import Wire

SLOW = demo("--tokens-per-second", "25")
SHORT = {"max_tokens": 20, "ignore_eos": True}
TOGETHER = {"groups": {"all": {"swap": False, "members": ["a", "b"]}}}


def pids(program: Program) -> dict[str, int]:
    return {run["model"]: run["pid"] for run in program.get("/running").json()["running"]}


def contents(program: Program, model: str) -> str:
    answer = program.chat(model)
    assert answer.status == 200, answer.text
    return str(answer.json()["choices"][0]["message"]["content"])


def begin_stream(program: Program, model: str, **more: Any) -> Wire:
    """A stream of which something has come."""
    wire = program.stream(model, **more)
    wire.read_head_and_first_chunk()
    return wire


def test_a_new_model_serves_at_once_and_the_others_keep_process_port_and_requests(
    run_program: RunProgram, tmp_path: Path
) -> None:
    held = Held(tmp_path)
    with run_program({**models(b=held.command), "groups": {"all": {"swap": False, "members": ["b"]}}}) as program:
        with begin_stream(program, "b") as wire:
            before = program.running("b")
            told = program.reload({**models(a=demo(), b=held.command), **TOGETHER})
            assert told["models"] == {"added": ["a"], "removed": [], "replaced": [], "updated": []}
            assert "this is a." in contents(program, "a")
            after = program.running("b")
            assert [after[key] for key in ("pid", "port", "run_id")] == [
                before[key] for key in ("pid", "port", "run_id")
            ]
            held.end(wire)
        program.await_starts("b", 1)


def test_a_removed_model_finishes_its_requests_takes_no_new_ones_and_is_stopped(
    run_program: RunProgram, tmp_path: Path
) -> None:
    held = Held(tmp_path)
    with (
        run_program({**models(a=held.command, b=demo()), **TOGETHER}) as program,
        begin_stream(program, "a") as wire,
    ):
        told = program.reload(models(b=demo()))
        assert told["models"]["removed"] == ["a"]
        refused = program.chat("a")
        assert (refused.status, refused.json()["error"]["code"]) == (404, "not_found")
        assert program.states() == {"a": "stopping"}
        assert program.get("/v1/models").json()["data"][0]["id"] == "b"
        held.end(wire)
        wait_until(lambda: program.states() == {}, "it is stopped")
        wait_until(lambda: "a: stopping, the configuration has changed" in program.stdout, "the log says so")


def test_a_removed_model_that_is_busy_yet_holds_up_nobody_more_after_the_next_change(
    run_program: RunProgram, tmp_path: Path
) -> None:
    held = Held(tmp_path)
    with (
        run_program({**models(a=held.command, b=demo()), **TOGETHER}) as program,
        begin_stream(program, "a") as wire,
    ):
        program.reload(models(b=demo()))
        program.reload({**models(b=demo()), "logLevel": "debug"})
        assert "this is b." in contents(program, "b")
        held.end(wire)


def test_a_changed_model_goes_on_as_it_was_for_its_requests_and_the_next_gets_the_new_one(
    run_program: RunProgram, tmp_path: Path
) -> None:
    held = Held(tmp_path)
    with run_program(models(a=held.command)) as program, ThreadPoolExecutor() as pool:
        with begin_stream(program, "a") as wire:
            told = program.reload(models(a=demo().replace("${MODEL_ID}", "new")))
            assert told["models"]["replaced"] == ["a"]
            answer = pool.submit(contents, program, "a")
            wait_until(lambda: len(program.queue()) == 1, "it waits")
            assert program.queue()[0]["reason"] == "waiting for a: 1 request in progress"
            assert "held_answers" in program.running("a")["cmd"]
            held.end(wire)
        assert "this is new." in answer.result()


def test_what_is_idle_and_changed_is_stopped_at_once(run_program: RunProgram) -> None:
    with run_program({**models(a=demo(), b=demo()), **TOGETHER}) as program:
        contents(program, "a"), contents(program, "b")
        program.reload({**models(b=demo("--tokens-per-second", "99"))})
        wait_until(lambda: program.states() == {}, "both have stopped")


def test_what_says_the_same_in_other_words_keeps_running(run_program: RunProgram) -> None:
    entry = {"cmd": demo(), "env": ["A=1", "B=2"]}
    with run_program(models(a=entry)) as program:
        contents(program, "a")
        before = pids(program)
        other = {"cmd": f"  {demo()}  \\\n  # a comment", "env": ["A=0", "B=2", "A=1"], "name": "other", "ttl": 60}
        told = program.reload({**models(a=other), "macros": {"unused": "x"}})
        assert told["models"] == {"added": [], "removed": [], "replaced": [], "updated": ["a"]}
        assert program.get("/api/config").json()["config"]["models"]["a"]["name"] == "other"
        assert pids(program) == before
        assert (program.running("a")["name"], program.running("a")["ttl"]) == ("other", 60)
        assert program.reload({**models(a=other), "macros": {"unused": "x"}})["changed"] is False


def test_a_request_that_waits_goes_on_waiting_or_is_told_that_the_model_is_gone(
    run_program: RunProgram, tmp_path: Path
) -> None:
    held = Held(tmp_path)
    one_place = models(a=held.command, b=demo(), c=demo())
    with run_program(one_place) as program, ThreadPoolExecutor() as pool, begin_stream(program, "a") as wire:
        stays = pool.submit(program.chat, "b")
        goes = pool.submit(program.chat, "c")
        wait_until(lambda: len(program.queue()) == 2, "both wait")
        program.reload(models(a=held.command, b=demo()))
        assert goes.result().status == 404
        assert "c is not configured any more" in goes.result().message
        assert len(program.queue()) == 1
        held.end(wire)
        assert stays.result().status == 200


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("models: [", "config.yaml:1"),
        ("models:\n\ta: {cmd: x}\n", "config.yaml:2"),
        ("models: {a: {cmd: x, proxy: 7}}\nlogLevel: [1]\n", "config.yaml:2"),
        ("models: {a: {cmd: '${nothing}'}}", "nothing"),
        ("", "there are no models and no peers"),
        ("#" * (5 << 20), "expected a file of at most 4 MB"),
        (None, "config.yaml"),
    ],
    ids=["half-written", "tabs", "values", "macro", "empty", "huge", "folder"],
)
def test_a_bad_configuration_is_told_with_its_place_and_the_old_one_goes_on(
    run_program: RunProgram, text: str | None, wrong: str
) -> None:
    with run_program(models(a=SLOW)) as program, begin_stream(program, "a", **SHORT) as wire:
        before = pids(program)
        program.config_path.unlink()
        if text is None:
            program.config_path.mkdir()
        else:
            program.config_path.write_text(text)
        answer = program.post("/api/config/reload", None)
        assert answer.status == 400
        assert "the old one goes on" in answer.message
        assert wrong in answer.message
        program.signal(signal.SIGHUP)
        wait_until(lambda: program.stdout.count("cannot be used, the old one goes on") == 2, "the log has it twice")
        assert wrong in program.get("/api/config").json()["error"]["message"]
        assert pids(program) == before
        assert wire.read_to(b"[DONE]")
        assert program.chat("a").status == 200


def test_keys_count_at_once_on_connections_that_are_open_too(run_program: RunProgram) -> None:
    with run_program(models(a=demo())) as program, program.wire() as wire:
        body = {"model": "a", "messages": [{"role": "user", "content": "hi"}]}
        for _ in range(3):  # the later ones are served without a thread of their own
            wire.request("POST", "/v1/chat/completions", body)
            assert wire.answer()[0] == 200
        program.reload({**models(a=demo()), "apiKeys": ["secret"]})
        wire.request("POST", "/v1/chat/completions", body)
        assert wire.answer()[0] == 401
        wire.request("POST", "/v1/chat/completions", body, extra="x-api-key: secret\r\n")
        assert wire.answer()[0] == 200
        assert program.post("/api/config/reload", None).status == 401


def test_names_filters_limits_and_the_log_change_at_once(run_program: RunProgram) -> None:
    with run_program(models(a=SLOW)) as program:
        assert program.chat("alias").status == 404
        entry = {
            "cmd": SLOW,
            "aliases": ["alias"],
            "concurrencyLimit": 1,
            "filters": {"setParams": {"max_tokens": 90_000, "ignore_eos": True}},
        }
        told = program.reload({**models(a=entry), "logLevel": "error", "limits": {"maxJSONMB": 1}})
        assert told["settings"] == ["limits", "logLevel"]
        with begin_stream(program, "alias"):
            assert program.chat("a").status == 429
            assert program.chat("a", padding="x" * (1 << 20)).status == 413
        assert program.chat("nobody").status == 404  # one more line that is not told
    assert '" 429' not in program.stdout


def test_a_ttl_counts_at_once(run_program: RunProgram) -> None:
    with run_program(models(a=demo())) as program:
        contents(program, "a")
        program.reload(models(a={"cmd": demo(), "ttl": 1}))
        wait_until(lambda: program.states() == {}, "it is unloaded")
        wait_until(lambda: "a: stopping, its ttl is over" in program.stdout, "the log says so")


def test_rules_that_now_forbid_what_runs_apply_at_the_next_request(run_program: RunProgram) -> None:
    with run_program({**models(a=demo(), b=demo()), **TOGETHER}) as program:
        contents(program, "a"), contents(program, "b")
        before = pids(program)
        program.reload(models(a=demo(), b=demo()))
        assert pids(program) == before
        contents(program, "a")
        assert program.states() == {"a": "ready"}


def test_the_active_profile_stays_while_it_is_there(run_program: RunProgram) -> None:
    config = {**models(a=demo(), b=demo()), "profiles": {"p": {"pins": {"x": "a"}}}}
    with run_program(config) as program:
        assert program.ask("PUT", "/api/profiles/active", b'{"name":"p"}').status == 200
        assert "this is a." in contents(program, "x")
        program.reload({**config, "profiles": {"p": {"pins": {"x": "b"}}}})
        assert "this is b." in contents(program, "x")
        program.reload(models(a=demo(), b=demo()))
        assert program.get("/api/profiles").json() == {"active": None, "profiles": []}
        assert program.chat("x").status == 404


def test_streams_of_events_tell_the_new_models(run_program: RunProgram) -> None:
    with run_program(models(a=demo())) as program, program.wire() as wire:
        wire.request("GET", "/api/events")
        wire.head()
        wire.read_to(b"profileChanged")
        program.reload(models(a=demo(), newcomer=demo()))
        wire.read_to(b'\\"id\\":\\"newcomer\\"')


def test_streams_of_events_tell_what_the_page_is_to_show_and_that_a_reload_has_failed(run_program: RunProgram) -> None:
    with run_program(models(a=demo())) as program, program.wire() as wire:
        wire.request("GET", "/api/events")
        wire.head()
        wire.read_to(b'"memory"')
        program.reload({**models(a=demo()), "ui": {"activity": {"session_id": ["X-Talk"]}}})
        told = wire.read_to(b"profileChanged")
        assert b"uiConfig" in told
        assert b"X-Talk" in told
        program.config_path.write_text("models: [")
        assert program.post("/api/config/reload", None).status == 400
        wire.read_to(b"profileChanged")


def test_preloads_are_for_the_start_of_the_program(run_program: RunProgram) -> None:
    hooks = {"hooks": {"on_startup": {"preload": ["a"]}}}
    with run_program(models(a=demo())) as program:
        program.reload({**models(a=demo(), b=demo()), **hooks})
        contents(program, "b")
        assert program.starts("a") == 0


def test_a_port_that_a_leaving_model_holds_is_waited_for(run_program: RunProgram, tmp_path: Path) -> None:
    held = Held(tmp_path)
    with (
        run_program(models(a=held.command)) as program,
        ThreadPoolExecutor() as pool,
        begin_stream(program, "a") as wire,
    ):
        port = program.running("a")["port"]
        fixed = {"cmd": demo().replace("${PORT}", str(port)), "proxy": f"http://127.0.0.1:{port}"}
        program.reload({"models": {"b": fixed}, "groups": {"g": {"swap": False, "exclusive": False, "members": ["b"]}}})
        answer = pool.submit(contents, program, "b")
        wait_until(lambda: len(program.queue()) == 1, "it waits")
        held.end(wire)
        assert "this is b." in answer.result()


POLICY = """
class Policy:
    def evict(self, target, running):
        return [] if {together} else [one.model for one in running]
"""


def test_a_policy_of_ones_own_is_read_again_and_one_that_fails_changes_nothing(
    run_program: RunProgram, tmp_path: Path
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(POLICY.format(together=False))
    config = {**models(a=demo(), b=demo()), "routing": {"router": {"use": "./mine.py:Policy"}}}
    with run_program(config) as program:
        contents(program, "a"), contents(program, "b")
        assert program.states() == {"b": "ready"}
        file.write_text("raise ValueError('broken')")
        answer = program.post("/api/config/reload", None)
        assert answer.status == 400
        assert "mine.py:1: ValueError: broken" in answer.message
        contents(program, "a")
        assert program.states() == {"a": "ready"}
        file.write_text(POLICY.format(together=True))
        assert program.reload(config)["settings"] == ["routing"]
        contents(program, "b")
        assert program.states() == {"a": "ready", "b": "ready"}
        assert program.reload(config)["changed"] is False


def test_many_hangups_are_one_reload_or_two_and_one_at_the_end_does_no_harm(run_program: RunProgram) -> None:
    with run_program(models(a=demo())) as program:
        program.write_config(models(a=demo(), b=demo()))
        for _ in range(50):
            program.signal(signal.SIGHUP)
        wait_until(lambda: program.chat("b").status == 200, "the new model is there")
        assert program.stdout.count("SIGHUP: reading") < 50
        program.signal(signal.SIGHUP)
        program.signal(signal.SIGTERM)
        program.signal(signal.SIGHUP)
        assert program.wait() == 0


def test_what_only_a_restart_can_change_is_told(run_program: RunProgram) -> None:
    with run_program(models(a=demo())) as program:
        told = program.reload({**models(a=demo()), "logToStdout": "both"})
        assert told["after_restart"] == ["logToStdout"]
        line = "logToStdout has changed; that takes effect when llamaswap is restarted"
        wait_until(lambda: line in program.stdout, "the log says so")


def test_another_site_cannot_have_it_reloaded(run_program: RunProgram) -> None:
    with run_program(models(a=demo())) as program:
        answer = program.post("/api/config/reload", None, sec_fetch_site="cross-site", origin="http://evil.example")
        assert answer.status == 403


def test_files_that_come_to_the_folder_and_go_are_followed(run_program: RunProgram, tmp_path: Path) -> None:
    folder = tmp_path / "conf.d"
    folder.mkdir()
    with run_program(models(a=demo()), flags=("-config-dir", str(folder))) as program:
        (folder / "more.yaml").write_text(json.dumps(models(b=demo())))
        assert program.post("/api/config/reload", None).json()["models"]["added"] == ["b"]
        assert "this is b." in contents(program, "b")
        (folder / "more.yaml").unlink()
        assert program.post("/api/config/reload", None).json()["models"]["removed"] == ["b"]


HANGS = """
from pathlib import Path

Path({fifo!r}).read_text()

class Policy:
    def evict(self, target, running):
        return [one.model for one in running]
"""


def test_a_policy_that_hangs_while_it_is_read_holds_up_nobody_but_the_reload(
    run_program: RunProgram, tmp_path: Path
) -> None:
    fifo, file = tmp_path / "fifo", tmp_path / "mine.py"
    os.mkfifo(fifo)
    file.write_text(HANGS.format(fifo=str(fifo)))
    own = {"routing": {"router": {"use": "./mine.py:Policy"}}}
    with run_program(models(a=demo())) as program, ThreadPoolExecutor() as pool:
        program.write_config({**models(a=demo(), b=demo()), **own})
        reload = pool.submit(program.post, "/api/config/reload", None)
        with fifo.open("w"):  # it has come to that line
            assert program.chat("a").status == 200
            assert program.chat("b").status == 404
            assert not reload.done()
        assert reload.result().status == 200
        assert program.chat("b").status == 200


def test_the_program_ends_in_the_middle_of_a_reload(run_program: RunProgram, tmp_path: Path) -> None:
    fifo, file = tmp_path / "fifo", tmp_path / "mine.py"
    os.mkfifo(fifo)
    file.write_text(HANGS.format(fifo=str(fifo)))
    own = {"routing": {"router": {"use": "./mine.py:Policy"}}}
    with run_program(models(a=demo())) as program:
        program.write_config({**models(a=demo(), b=demo()), **own})
        program.signal(signal.SIGHUP)
        with fifo.open("w"):
            program.signal(signal.SIGTERM)
            assert program.wait() == 0


@pytest.fixture
def watched(run_program: RunProgram) -> Iterator[Program]:
    with run_program(models(a=SLOW), flags=("-watch-config",)) as program:
        yield program


def await_model(program: Program, name: str) -> None:
    wait_until(lambda: name in {entry["id"] for entry in program.get("/v1/models").json()["data"]}, f"{name} is there")


def test_a_file_that_is_written_is_taken_by_itself(watched: Program) -> None:
    with begin_stream(watched, "a", **SHORT) as wire:
        pid = watched.running("a")["pid"]
        for name in ("b", "c"):
            watched.write_config(models(a=SLOW, **{name: demo()}))
            await_model(watched, name)
        assert watched.running("a")["pid"] == pid
        assert wire.read_to(b"[DONE]")
    watched.await_log("a file has changed: reading the configuration again")


def test_a_file_that_is_moved_into_place_is_taken(watched: Program) -> None:
    path = watched.config_path
    for name in ("b", "c"):
        new = path.with_name("new")
        new.write_text(json.dumps(models(a=SLOW, **{name: demo()})))
        new.replace(path)
        await_model(watched, name)


def test_a_mistake_is_told_once_and_mended_by_the_next_change(watched: Program) -> None:
    good = watched.config_path.read_text()
    watched.config_path.write_text("models: [")
    wait_until(lambda: "the old one goes on" in watched.stdout, "the log says so")
    assert watched.chat("a").status == 200
    watched.config_path.write_text(good)
    wait_until(lambda: "configuration reloaded: nothing has changed" in watched.stdout, "it is good again")
    wait_until(lambda: watched.get("/api/config").json()["error"] is None, "the error is forgotten")
    watched.write_config(models(a=SLOW, b=demo()))
    await_model(watched, "b")
    assert watched.stdout.count("the old one goes on") == 1


def test_a_volume_of_kubernetes_is_followed(run_program: RunProgram, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()

    def publish(version: str, **entries: str) -> None:
        """As the kubelet does: a folder for the version, and a link to it that is replaced at once."""
        (volume / version).mkdir()
        (volume / version / "more.yaml").write_text(json.dumps(models(**entries)))
        (volume / "..data_tmp").symlink_to(version)
        (volume / "..data_tmp").replace(volume / "..data")

    publish("..2026_01", b=demo())
    (volume / "more.yaml").symlink_to("..data/more.yaml")
    with run_program(models(a=demo()), flags=("-watch-config", "-config-dir", str(volume))) as program:
        for number, name in enumerate(("c", "d"), 2):
            publish(f"..2026_0{number}", b=demo(), **{name: demo()})
            await_model(program, name)


def test_a_policy_that_cannot_be_used_is_followed_until_it_can(run_program: RunProgram, tmp_path: Path) -> None:
    with run_program(models(a=demo()), flags=("-watch-config",)) as program:
        policy = tmp_path / "mine.py"
        policy.write_text("raise ValueError")
        program.write_config({**models(a=demo(), b=demo()), "routing": {"router": {"use": "./mine.py:Policy"}}})
        wait_until(lambda: "the old one goes on" in program.stdout, "it is told")
        policy.write_text(POLICY.format(together=False))
        await_model(program, "b")
        assert program.stdout.count("the old one goes on") == 1


def test_a_policy_that_is_not_there_yet_is_followed(run_program: RunProgram, tmp_path: Path) -> None:
    with run_program(models(a=demo()), flags=("-watch-config",)) as program:
        program.write_config({**models(a=demo(), b=demo()), "routing": {"router": {"use": "./mine.py:Policy"}}})
        wait_until(lambda: "there is no file" in program.stdout, "it is told")
        (tmp_path / "mine.py").write_text(POLICY.format(together=False))
        await_model(program, "b")


def test_what_comes_to_the_folder_and_a_policys_file_are_followed(run_program: RunProgram, tmp_path: Path) -> None:
    folder, policy = tmp_path / "conf.d", tmp_path / "mine.py"
    folder.mkdir()
    policy.write_text(POLICY.format(together=False))
    config = {**models(a=demo()), "routing": {"router": {"use": "./mine.py:Policy"}}}
    with run_program(config, flags=("-watch-config", "-config-dir", str(folder))) as program:
        (folder / "more.yml").write_text(json.dumps(models(b=demo())))
        await_model(program, "b")
        policy.write_text(POLICY.format(together=True))
        wait_until(lambda: "configuration reloaded: settings routing" in program.stdout, "the policy is another")
        contents(program, "a"), contents(program, "b")
        assert program.states() == {"a": "ready", "b": "ready"}


def test_a_fixed_port_that_a_running_model_keeps_is_an_error_with_its_line(run_program: RunProgram) -> None:
    together = {"groups": {"all": {"swap": False, "members": ["a", "b"]}}}
    with run_program(models(a=demo())) as program:
        contents(program, "a")
        port = program.running("a")["port"]
        fixed = {"cmd": demo().replace("${PORT}", str(port)), "proxy": f"http://localhost:{port}"}
        program.write_config({"models": {"a": {"cmd": demo()}, "b": fixed}, **together})
        answer = program.post("/api/config/reload", None)
        assert answer.status == 400
        wrong = f'config.yaml:1: models.b.proxy: the running "a" has port {port}, and both may run together'
        assert wrong in answer.message
        contents(program, "a")
        told = program.reload({"models": {"a": {"cmd": demo()}, "b": fixed}})  # one at a time
        assert told["models"]["added"] == ["b"]
        assert "this is b." in contents(program, "b")


def test_a_reload_in_the_middle_of_a_load_and_of_a_swap_changes_neither(
    run_program: RunProgram, tmp_path: Path
) -> None:
    gate = tmp_path / "loaded"
    loads = loads_until(gate)
    with run_program(models(a=demo(), b=loads)) as program, ThreadPoolExecutor() as pool:
        contents(program, "a")
        answer = pool.submit(contents, program, "b")
        wait_until(lambda: program.states().get("b") == "starting", "it loads")
        program.reload(models(a=demo(), b={"cmd": loads, "ttl": 99}, c=demo()))
        gate.touch()
        assert "this is b." in answer.result()
        program.await_starts("b", 1)


def test_a_name_that_comes_with_the_reload_counts_for_a_body_that_was_on_its_way(run_program: RunProgram) -> None:
    with run_program(models(a=demo())) as program, program.wire() as wire:
        body = json.dumps({"model": "a", "messages": [{"role": "user", "content": "hi"}]}).encode()
        head = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        wire.send(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:5])
        program.reload(models(renamed={"cmd": demo(), "aliases": ["a"]}))
        wire.send(body[5:])
        status, text = wire.answer()
        assert status == 200, text


def test_a_model_that_is_gone_and_still_busy_can_be_unloaded_by_its_name(run_program: RunProgram) -> None:
    with run_program(models(a={"cmd": SLOW, "unloadTimeout": 1}, b=demo())) as program:
        wire = begin_stream(program, "a", max_tokens=10_000)
        program.reload(models(b=demo()))
        assert program.states() == {"a": "stopping"}
        assert program.post("/api/models/unload/a", None).status == 200
        assert program.states() == {}
        wire.close()


def test_peers_and_selectors_change_at_once(run_program: RunProgram) -> None:
    with run_program(models(a=demo(), b=demo())) as program:
        assert program.chat("any").status == 404
        selectors = {"any": {"strategy": "pin", "targets": ["a"]}}
        peers = {"far": {"proxy": f"http://127.0.0.1:{program.port}", "models": ["m"]}}
        told = program.reload({**models(a=demo(), b=demo()), "selectors": selectors, "peers": peers})
        assert told["settings"] == ["peers", "selectors"]
        assert "this is a." in contents(program, "any")
        assert "far/m" in {entry["id"] for entry in program.get("/v1/models").json()["data"]}
        program.reload({**models(a=demo(), b=demo()), "selectors": {"any": {"strategy": "pin", "targets": ["b"]}}})
        assert "this is b." in contents(program, "any")


def test_idle_connections_get_the_new_patience(run_program: RunProgram) -> None:
    with run_program(models(a=demo())) as program, program.wire() as wire:
        wire.request("GET", "/health")
        assert wire.answer() == (200, b"OK")
        program.reload({**models(a=demo()), "limits": {"idleTimeout": 1}})
        assert wire.rest() == b""
