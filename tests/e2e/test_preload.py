"""Models that are loaded at the start, before anybody asks for them."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from typing import Any

from tests.e2e.conftest import RunProgram
from tests.e2e.program import demo, models, wait_until

TOGETHER = {"groups": {"all": {"swap": False, "members": ["a", "b", "c"]}}}


def preloading(*names: str) -> Mapping[str, Any]:
    return {"hooks": {"on_startup": {"preload": list(names)}}}


def test_models_are_loaded_in_order_whatever_becomes_of_one(run_program: RunProgram) -> None:
    entries = models(a=demo(), b=demo("--exit-at-start", "3"), c={"cmd": demo(), "aliases": ["sea"]})
    with run_program({**entries, **TOGETHER, **preloading("sea", "b", "nobody", "a")}) as program:
        wait_until(lambda: program.states() == {"a": "ready", "c": "ready"}, "they are loaded")
        program.await_log("a: ready after ", "b: could not be loaded: exited with code 3")
        lines = program.stdout.splitlines()
        starts = [line.split()[1] for line in lines if line.endswith(": starting")]
        assert starts == ["c:", "b:", "a:"]
        assert program.chat("a").status == 200
        program.await_starts("a", 1)


def test_the_server_listens_while_it_preloads_and_a_request_has_its_way(run_program: RunProgram) -> None:
    entries = models(a=demo("--load-seconds", "60"), b=demo())
    with run_program({**entries, **preloading("a")}) as program:
        wait_until(lambda: program.states() == {"a": "starting"}, "it preloads")
        assert program.chat("b").status == 200
        assert program.states() == {"b": "ready"}


def test_a_preload_unloads_nobody(run_program: RunProgram) -> None:
    with run_program({**models(a=demo(), b=demo()), **preloading("b", "a")}) as program:
        told = "[WARN] a: not preloaded, it cannot run together with b\n"
        wait_until(lambda: told in program.stdout, "it is told")
        assert program.states() == {"b": "ready"}
        assert program.starts("a") == 0


def test_it_can_be_stopped_in_the_midst_of_it(run_program: RunProgram) -> None:
    entries = models(a=demo("--load-seconds", "60"), b=demo(), c=demo())
    with run_program({**entries, **TOGETHER, **preloading("a", "b", "c")}) as program:
        wait_until(lambda: program.states() == {"a": "starting"}, "it preloads")
        program.signal(signal.SIGTERM)
        assert program.wait() == 0
        assert program.starts("b") == 0
