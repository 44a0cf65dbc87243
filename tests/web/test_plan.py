"""`GET /api/models/{id}/plan`: what a load would do, told to clients; which model a name leads to."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llamaswap_lib.core.eviction import Explanation
from llamaswap_lib.core.failures import ModelFailure
from llamaswap_lib.core.plan import Plan, Victim, Wait
from llamaswap_lib.endpoints import settings_of
from llamaswap_lib.fleet.peers import Peers
from llamaswap_lib.fleet.states import ModelThere, PeerState
from llamaswap_lib.workers.told_peers import ToldPeers
from tests.web.world import OK, Running, World, answers, get

GROUPS = """
groups: {small: {members: [a, org/b]}, kept: {swap: false, persistent: true, members: [c]}}
models:
  a: {cmd: "x ${PORT}", aliases: [al]}
  org/b: {cmd: "x ${PORT}"}
  c: {cmd: "x ${PORT}"}
peers: {box: {proxy: "http://127.0.0.1:1", models: [far]}}
selectors:
  warm: {strategy: warm, targets: [a, c]}
  there: {strategy: pin, targets: [far]}
profiles: {night: {pins: {big: al, fast: "", odd: warm}}}
"""
SPILL = """
groups: {g: {swap: false, members: [a, b]}}
models: {a: {cmd: "x ${PORT}"}, b: {cmd: "x ${PORT}"}}
selectors: {spill: {strategy: spillover, targets: [a, b], settings: {spillover: 1}}}
"""
NOTHING = Plan("a", "stopped", (), (), Explanation(""), None)


def ask(world: World, name: str) -> tuple[int, Any]:
    head, body = world.ask(get(f"/api/models/{name}/plan"))
    return int(head[9:12]), json.loads(body)


def test_a_plan_tells_who_goes_what_is_waited_for_and_by_which_rule() -> None:
    with World(answers(OK), config=GROUPS) as world:
        rule = "group small runs one model at a time"
        world.controller.plans["org/b"] = Plan(
            "org/b",
            "stopped",
            (Victim("a", "ready", 2, rule),),
            (Wait("a", "requests", 2), Wait("c", "stop", 0)),
            Explanation(rule, reasons={"a": rule}),
            3.14159,
        )
        for name in ("org/b", "org%2Fb"):
            assert ask(world, name) == (
                200,
                {
                    "model": "org/b",
                    "type": "model",
                    "state": "stopped",
                    "evicts": [{"model": "a", "state": "ready", "in_flight": 2, "reason": rule}],
                    "waits_for": [
                        {"model": "a", "for": "requests", "in_flight": 2},
                        {"model": "c", "for": "stop", "in_flight": 0},
                    ],
                    "rule": {"kind": "group", "group": "small", "text": rule},
                    "estimate_seconds": 3.142,
                },
            )
        assert (world.controller.leased, world.controller.loaded, world.controller.unloaded) == ([], [], [])
        assert world.ask(get("/api/models/org/b/plan", method="POST"))[0].startswith(b"HTTP/1.1 405 ")


def test_a_plan_of_a_matrix_names_the_set_the_expression_and_the_cost() -> None:
    config = 'matrix: {sets: {both: "a & b"}}\nmodels: {a: {cmd: "x ${PORT}"}, b: {cmd: "x ${PORT}"}}\n'
    with World(answers(OK), config=config) as world:
        world.controller.plans["a"] = Plan(
            "a", "ready", (), (), Explanation("set both = a & b", "both", "a & b", 0), 0.0
        )
        rule = ask(world, "a")[1]["rule"]
        assert rule == {
            "kind": "matrix",
            "text": "set both = a & b, cost 0",
            "set": "both",
            "expression": "a & b",
            "cost": 0,
        }


def test_where_only_the_policy_could_tell_nothing_is_made_up(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("class Own:\n    def evict(self, target, running):\n        return []\n")
    config = f'routing: {{router: {{use: "{tmp_path}/own.py:Own"}}}}\nmodels: {{a: {{cmd: "x ${{PORT}}"}}}}\n'
    with World(answers(OK), config=config) as world:
        world.controller.plans["a"] = Plan("a", "stopped", None, (), Explanation("decided by own.py:Own"), None)
        plan = ask(world, "a")[1]
        assert plan["evicts"] is None
        assert plan["rule"] == {"kind": "policy", "text": "decided by own.py:Own"}


def test_a_plan_of_a_model_that_fails_says_so() -> None:
    with World(answers(OK), config=GROUPS) as world:
        world.controller.plans["a"] = NOTHING
        assert "failure" not in ask(world, "a")[1]
        now = time.monotonic()
        world.controller.failures["a"] = ModelFailure("keeps failing to load: exited with code 3", now, 2, now + 60.0)
        assert ask(world, "a")[1]["failure"]["message"] == "keeps failing to load: exited with code 3"


def test_aliases_selectors_and_pins_lead_to_the_model_that_a_request_would_get() -> None:
    with World(answers(OK), config=GROUPS) as world:
        world.controller.plans = {"a": NOTHING, "c": Plan("c", "ready", (), (), Explanation(""), 0.0)}
        assert ask(world, "al")[1]["model"] == "a"
        assert ask(world, "warm")[1]["model"] == "a"
        world.controller.running = [Running("c", 1, "ready")]
        assert ask(world, "warm")[1]["model"] == "c"
        assert ask(world, "big")[0] == 404
        world.app.profiles.activate("night")
        assert ask(world, "big")[1]["model"] == "a"
        assert ask(world, "odd")[1]["model"] == "c"
        status, body = ask(world, "fast")
        assert (status, body["error"]["message"]) == (404, "no model id could be identified")


def test_to_ask_for_a_plan_takes_no_turn_of_a_selector() -> None:
    with World(answers(OK), config=SPILL) as world:
        world.controller.plans = {model: Plan(model, "stopped", (), (), Explanation(""), None) for model in "ab"}
        for _ in range(3):
            assert ask(world, "spill")[1]["model"] == "a"
        with world.app.selectors.choose("spill") as target:
            assert target == "a"
            for _ in range(3):
                assert ask(world, "spill")[1]["model"] == "b"
        assert ask(world, "spill")[1]["model"] == "a"


@pytest.mark.parametrize("name", ["box/far", "box%2Ffar", "far", "there"])
def test_for_a_model_of_a_peer_nothing_goes_and_nothing_is_waited_for(name: str) -> None:
    with World(answers(OK), config=GROUPS) as world:
        expected = {"model": "box/far", "type": "peer", "state": "", "evicts": [], "waits_for": []}
        assert ask(world, name) == (200, {**expected, "rule": None, "estimate_seconds": None})


AT_BOX = Peers(
    watching=ToldPeers(
        {"box": PeerState(True, models={"far": ModelThere("ready")}, aliases={"other": "far"})}, lambda *_: None
    )
)


@pytest.mark.parametrize(("name", "state"), [("box/far", "ready"), ("box/other", "ready"), ("box/idle", "")])
def test_the_state_of_a_model_of_a_peer_is_that_of_the_last_look(name: str, state: str) -> None:
    config = 'peers: {box: {proxy: "http://h:1", models: [far, other, idle]}}'
    with World(answers(OK), config=config) as world:
        world.app = replace(world.app, peers=AT_BOX)
        world.server.change(settings_of(world.app))
        assert ask(world, name)[1]["state"] == state


def test_an_unknown_name_is_not_found_and_near_ones_are_offered() -> None:
    with World(answers(OK), config=GROUPS) as world:
        status, body = ask(world, "org%2Fc")
        assert status == 404
        assert (body["error"]["code"], body["error"]["type"]) == ("not_found", "invalid_request_error")
        assert body["error"]["message"].startswith("model not found: 'org/c'; did you mean 'org/b'")
