"""The main job: a request names a model, the right server runs, the answer comes back."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.e2e.conftest import RunProgram
from tests.e2e.gates import loads_until, stops_after
from tests.e2e.program import DEADLINE, demo, models, wait_until
from tests.e2e.talk import Wire, events

FAST, SLOW = demo("--tokens-per-second", "200"), demo("--tokens-per-second", "25")
SHORT = {"max_tokens": 3, "ignore_eos": True}


def test_two_models_swap_and_each_answers_for_itself(run_program: RunProgram) -> None:
    with run_program(models(small=FAST, large=demo("--load-seconds", "0.3"))) as program:
        assert program.states() == {}
        for name in ("small", "large", "small"):
            answer = program.chat(name)
            assert answer.status == 200
            assert f"this is {name}." in answer.json()["choices"][0]["message"]["content"]
            assert program.states() == {name: "ready"}
            assert [name in command for command in program.relatives().values()] == [True]
        program.await_starts("small", 2)


def test_a_stream_arrives_chunk_by_chunk(run_program: RunProgram) -> None:
    with run_program(models(m=SLOW)) as program, program.stream("m", max_tokens=60) as wire:
        assert wire.status() == 200
        for _ in range(3):
            wire.chunk()
        assert program.stats("m")["in_progress"] == 1  # the rest is not made yet
        told = events(b"".join(wire.chunks()))
        assert told[-1] == "[DONE]"
        assert len(told) == 60  # role, sixty tokens, the end and DONE, without the three
        wire.request("GET", "/health")  # the connection is kept
        assert wire.answer() == (200, b"OK")


def test_running_tells_what_runs_and_how_far_it_is(run_program: RunProgram, tmp_path: Path) -> None:
    gate = tmp_path / "loaded"
    entry = {"cmd": loads_until(gate), "ttl": 90, "name": "M", "description": "a model"}
    with run_program(models(m=entry)) as program, ThreadPoolExecutor() as pool:
        answer = pool.submit(program.chat, "m")
        wait_until(lambda: program.states() == {"m": "starting"}, "it starts")
        gate.touch()
        assert answer.result().status == 200
        [run] = program.get("/running").json()["running"]
        assert (run["model"], run["state"], run["ttl"], run["name"]) == ("m", "ready", 90, "M")
        assert run["description"] == "a model"
        assert run["proxy"] == f"http://localhost:{program.port + 1}"
        assert f"--port {program.port + 1} --model m" in run["cmd"]


def test_an_alias_leads_to_its_model_and_stays_in_the_body(run_program: RunProgram) -> None:
    with run_program(models(real={"cmd": demo(), "aliases": ["gpt-4o", "org/other"]})) as program:
        body = {"model": "gpt-4o", "input": "some words"}
        answer = program.post("/v1/embeddings", body).json()
        assert answer["model"] == "gpt-4o"
        assert len(answer["data"][0]["embedding"]) == 64
        assert program.chat("org/other").status == 200
        assert program.states() == {"real": "ready"}


def test_the_list_of_models_says_what_is_loaded(run_program: RunProgram) -> None:
    entries = models(
        b={"cmd": demo(), "aliases": ["bee"], "name": " Bee ", "metadata": {"size": 7}},
        a={"cmd": demo(), "description": "first"},
        hidden={"cmd": demo(), "unlisted": True},
    )
    with run_program({**entries, "includeAliasesInList": True}) as program:
        assert program.chat("b").status == 200
        for path in ("/v1/models", "/models"):
            answer = program.get(path, origin="http://page.example")
            assert answer.headers["Access-Control-Allow-Origin"] == "http://page.example"
            listed = answer.json()
            assert listed["object"] == "list"
            assert [entry["id"] for entry in listed["data"]] == ["a", "b", "bee"]
        a, b, bee = listed["data"]
        assert (a["status"]["value"], b["status"]["value"], bee["status"]["value"]) == ("unloaded", "loaded", "loaded")
        assert (b["name"], a["description"]) == ("Bee", "first")
        told = {name: told for name, told in b["meta"]["llamaswap"].items() if name != "memory"}  # seen by now, or not
        assert told == {"size": 7, "type": "model", "aliases": ["bee"]}
        assert bee["meta"]["llamaswap"]["modelID"] == "b"
        assert program.chat("hidden").status == 200


def test_load_and_unload_by_hand(run_program: RunProgram) -> None:
    beside = {"groups": {"all": {"swap": False, "members": ["a", "b/c"]}}}
    entries = {"models": {"a": {"cmd": demo(), "aliases": ["first"]}, "b/c": {"cmd": demo()}}}
    with run_program({**entries, **beside}) as program:
        assert program.post("/api/models/load/first", {}).status == 200
        assert program.post("/api/models/load/b%2Fc", {}).status == 200
        assert program.states() == {"a": "ready", "b/c": "ready"}
        reply = program.post("/api/models/unload/b/c", {})
        assert (reply.status, reply.text) == (200, "OK")
        assert program.states() == {"a": "ready"}
        assert len(program.relatives()) == 1
        reply = program.get("/unload")
        assert (reply.status, reply.text, program.relatives()) == (200, "OK", {})
        program.post("/api/models/load/a", {})
        assert program.post("/api/models/unload", {}).json() == {"msg": "ok"}
        assert (program.states(), program.relatives()) == ({}, {})
        for path in ("/api/models/unload/none", "/api/models/load/none"):
            refused = program.post(path, {})
            assert (refused.status, refused.message) == (404, "model not found: 'none'")


def test_an_unload_waits_for_what_is_inside_and_new_requests_load_it_again(run_program: RunProgram) -> None:
    with run_program(models(m=SLOW)) as program, ThreadPoolExecutor() as pool:
        with program.stream("m") as wire:
            wire.read_head_and_first_chunk()
            unload = pool.submit(program.get, "/unload")
            wait_until(lambda: program.states() == {"m": "stopping"}, "it is being unloaded")
            late = pool.submit(program.chat, "m", **SHORT)
            wait_until(lambda: len(program.queue()) == 1, "the new one waits")
            assert not unload.done()
            assert wire.read_to(b"data: ")
        assert unload.result().status == 200
        assert late.result().status == 200
        program.await_starts("m", 2)


def test_members_of_a_group_that_does_not_swap_run_side_by_side(run_program: RunProgram) -> None:
    groups = {"pair": {"swap": False, "members": ["a", "b"]}}
    with run_program({**models(a=demo(), b=demo(), c=demo()), "groups": groups}) as program:
        assert [program.chat(name).status for name in "abab"] == [200] * 4
        assert program.states() == {"a": "ready", "b": "ready"}
        assert program.chat("c").status == 200  # its group is exclusive: the pair goes
        assert program.states() == {"c": "ready"}
        assert program.chat("a").status == 200
        assert program.states() == {"a": "ready"}


def test_a_persistent_group_stays_whatever_else_runs(run_program: RunProgram) -> None:
    groups = {"always": {"swap": False, "exclusive": False, "persistent": True, "members": ["keep"]}}
    with run_program({**models(keep=demo(), a=demo(), b=demo()), "groups": groups}) as program:
        assert [program.chat(name).status for name in ("keep", "a", "b", "keep")] == [200] * 4
        assert program.states() == {"keep": "ready", "b": "ready"}
        program.await_starts("keep", 1)


def test_a_group_that_is_not_exclusive_unloads_nobody_and_is_unloaded_by_one_that_is(run_program: RunProgram) -> None:
    groups = {
        "exclusive": {"members": ["main"]},
        "beside": {"exclusive": False, "members": ["helper"]},
        "always": {"exclusive": False, "persistent": True, "members": ["keep"]},
    }
    with run_program({**models(main=demo(), helper=demo(), keep=demo()), "groups": groups}) as program:
        for name, left in (
            ("keep", {"keep"}),
            ("helper", {"keep", "helper"}),
            ("main", {"keep", "main"}),  # one way: it unloads what does not unload it
            ("helper", {"keep", "main", "helper"}),  # and not the other
            ("keep", {"keep", "main", "helper"}),
            ("main", {"keep", "main"}),  # also where it runs already
        ):
            assert program.chat(name).status == 200
            assert program.states() == dict.fromkeys(left, "ready")
        for name, count in (("main", 1), ("helper", 2), ("keep", 1)):
            program.await_starts(name, count)
        assert len(program.relatives()) == 2
        log = program.get("/logs").text
        assert log.count("swap to main: stopping helper; group exclusive is exclusive") == 2
        assert "swap to helper" not in log


def test_two_models_that_do_not_clash_load_at_the_same_time(run_program: RunProgram, tmp_path: Path) -> None:
    gate = tmp_path / "loaded"
    groups = {"pair": {"swap": False, "members": ["a", "b"]}}
    loads = models(a=loads_until(gate), b=loads_until(gate))
    with run_program({**loads, "groups": groups}) as program, ThreadPoolExecutor() as pool:
        answers = [pool.submit(program.chat, name) for name in "ab"]
        wait_until(lambda: program.states() == {"a": "starting", "b": "starting"}, "both start")
        gate.touch()
        assert [answer.result().status for answer in answers] == [200, 200]


def test_one_request_above_the_concurrency_limit_is_429_at_once(run_program: RunProgram, tmp_path: Path) -> None:
    gate = tmp_path / "loaded"
    entry = {"cmd": loads_until(gate), "concurrencyLimit": 2}
    with run_program(models(m=entry, free=demo())) as program:
        wires = [program.stream("m") for _ in range(2)]
        wait_until(lambda: len(program.queue()) == 2, "both wait for the load: they count")
        refused = program.chat("m")
        assert (refused.status, refused.headers["Retry-After"]) == (429, "1")
        assert refused.json()["error"]["code"] == "concurrency_limit"
        gate.touch()
        assert [wire.status() for wire in wires] == [200, 200]
        assert program.chat("m").status == 429
        for wire in wires:
            wire.close()
        wait_until(lambda: program.chat("m", **SHORT).status == 200, "the places are given back")


def test_a_model_is_unloaded_when_its_ttl_is_over_and_no_sooner(run_program: RunProgram) -> None:
    with run_program(models(m={"cmd": demo(), "ttl": 1}, forever=demo())) as program:
        with program.stream("m", max_tokens=5) as wire:
            assert wire.status() == 200
            assert events(b"".join(wire.chunks()))[-1] == "[DONE]"
        wait_until(lambda: program.states() == {}, "it is gone")
        wait_until(lambda: "m: stopping, its ttl is over" in program.stdout, "the log says so")


def test_a_request_in_progress_keeps_the_ttl_from_running(run_program: RunProgram) -> None:
    with run_program(models(m={"cmd": SLOW, "ttl": 1})) as program, program.stream("m") as wire:
        assert wire.status() == 200
        for _ in range(45):  # 1.8 s
            wire.chunk()
        assert program.states() == {"m": "ready"}
        assert wire.chunk()


def test_a_hot_model_whose_requests_never_pause_gives_way_after_max_wait(run_program: RunProgram) -> None:
    patience = {"routing": {"scheduler": {"settings": {"fifo": {"maxWait": 1}}}}}
    with run_program({**models(hot=demo("--tokens-per-second", "100"), cold=demo()), **patience}) as program:
        is_over, is_hot = threading.Event(), threading.Event()

        def keep_hot() -> None:
            wire = program.stream("hot", max_tokens=100)
            wire.read_head_and_first_chunk()
            is_hot.set()
            while not is_over.is_set():
                for _ in range(40):
                    wire.chunk()
                following = program.stream("hot", max_tokens=100)  # 0.6 s before this one ends
                following.read_head_and_first_chunk()
                with wire:
                    assert events(b"".join(wire.chunks()))[-1] == "[DONE]"
                wire = following
            wire.close()

        with ThreadPoolExecutor() as pool:
            hot = pool.submit(keep_hot)
            try:
                assert is_hot.wait(DEADLINE)
                assert program.chat("cold").status == 200
            finally:
                is_over.set()
            hot.result()
        program.await_starts("hot", 2)
        program.await_starts("cold", 1)


def test_requests_for_the_loaded_model_go_first_so_three_models_swap_three_times(run_program: RunProgram) -> None:
    with run_program(models(a=FAST, b=FAST, c=FAST)) as program:
        with program.stream("a") as busy:
            busy.read_head_and_first_chunk()
            waiting: list[Wire] = []
            for name in "bcabcabc":
                wire = program.stream(name, **SHORT)
                if name == "a":
                    assert events(b"".join(wire.chunks_of_answer()))[-1] == "[DONE]"
                    wire.close()
                else:
                    waiting.append(wire)
                    wait_until(lambda: len(program.queue()) == len(waiting), "it waits")
        for wire in waiting:
            assert events(b"".join(wire.chunks_of_answer()))[-1] == "[DONE]"
            wire.close()
        for name in "abc":
            program.await_starts(name, 1)


def test_what_runs_is_told_while_a_swap_is_under_way(run_program: RunProgram, tmp_path: Path) -> None:
    gate = tmp_path / "stopped"
    stays = {"cmd": demo(), "cmdStop": stops_after(gate), "unloadTimeout": 60}
    with run_program(models(a=stays, b=demo())) as program, ThreadPoolExecutor() as pool:
        assert program.chat("a").status == 200
        answer = pool.submit(program.chat, "b")
        wait_until(lambda: program.states() == {"a": "stopping"}, "it stops")
        gate.touch()
        assert answer.result().status == 200
        assert program.states() == {"b": "ready"}
