"""Commands that ask the front of a fleet: what runs on its boxes, and which of them are out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client.answers import answering, reply
from tests.commands.terminal import Shell
from tests.e2e.fleet import Fleet
from tests.e2e.program import demo, models, wait_until

FRONT = {**models(own=demo()), "selectors": {"any": {"strategy": "spread", "targets": ["box1/m", "box2/m"]}}}
HEAD = ["NAME", "BOX", "STATE", "SIZE", "DEVICE", "IN-FLIGHT", "QUEUE", "UNTIL"]


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """A front with a model of its own and two boxes, the first of which has an alias, and a model that is not m."""
    one = models(m={"cmd": demo("--tokens-per-second", "4"), "ttl": 300, "aliases": ["al"]}, other=demo())
    one["groups"] = {"all": {"members": ["m", "other"], "swap": False, "exclusive": False}}
    with Fleet(tmp_path, [one, models(m=demo())], FRONT) as fleet:
        wait_until(lambda: all(fleet.peer(name)["up"] for name in fleet.boxes), "both boxes are up")
        yield fleet


def test_ps_lists_what_runs_on_boxes_and_says_which_are_out(fleet: Fleet) -> None:
    shell, box = Shell(fleet.front.port), fleet.boxes["box1"].program
    assert shell.run("ps").rows() == [HEAD]
    for program, model in ((fleet.front, "own"), (box, "other")):
        assert program.chat(model).status == 200
    with box.stream("m") as wire:
        wire.read_head_and_first_chunk()
        fleet.await_running("box1", "other")
        wait_until(lambda: fleet.peer("box1")["in_flight"] == 1, "its request is seen")
        fleet.boxes["box2"].kill()
        fleet.await_up("box2", is_up=False)
        ended = shell.run("ps")
        told = shell.run("ps", "--json").json()
        with shell.screen("ps", columns=200) as screen:
            assert screen.end() == 0
            assert screen.colour("box2 is out") == "red"
    head, own, m, other, out = ended.rows()
    assert head == HEAD
    assert (own[:2], own[-1]) == (["own", "ready"], "forever")
    assert m == ["box1/m", "box1", "ready", "-", "-", "1", "0", "busy"]
    assert other == ["box1/other", "box1", "ready", "-", "-", "0", "0", "forever"]
    assert re.fullmatch(r"box2 is out since \d\d:\d\d:\d\d: connection refused", " ".join(out))
    assert [row["model"] for row in told["running"]] == ["box1/m", "box1/other", "own"]
    assert told["peers"] == fleet.front.get("/api/peers").json()["peers"]


def test_ps_of_a_server_that_does_not_tell_of_its_boxes_has_what_it_says_that_runs() -> None:
    run = {"model": "box1/m", "state": "ready", "ttl": 60, "peer": "box1", "in_flight": 0, "waiting": 2}
    for refusal in ("403 Forbidden", "404 Not Found"):
        answers = {"/running": reply(json.dumps({"running": [run]})), "/api/peers": reply("no", refusal, "text/plain")}
        with answering(answers) as it:
            rows = Shell(it.url).run("ps").rows()
        assert rows == [HEAD, ["box1/m", "box1", "ready", "-", "-", "0", "2", "-"]]


def test_ls_and_show_have_the_state_of_models_on_boxes_under_all_their_names(fleet: Fleet) -> None:
    shell = Shell(fleet.front.port)
    assert fleet.boxes["box1"].program.chat("m").status == 200
    fleet.await_running("box1", "m")
    known = {row["name"]: row for row in shell.run("ls", "--json").json()["models"]}
    assert {name: (row["kind"], row["state"]) for name, row in known.items()} == {
        "own": ("model", ""),
        "box1/m": ("peer", "ready"),
        "box1/al": ("peer", "ready"),
        "box1/other": ("peer", ""),
        "box2/m": ("peer", ""),
        "m": ("pool", "loaded"),
        "any": ("selector", "loaded"),
    }
    assert known["m"]["about"] == "one of box1/m, box2/m"
    for name in ("box1/m", "box1/al"):
        told = {line[:14].strip(): line[14:] for line in shell.run("show", name).out.splitlines()}
        assert (told["state"], told["in flight"], told["leads to"]) == ("ready", "0", "at box1")


def test_top_has_what_runs_on_boxes_and_the_boxes_that_are_out(fleet: Fleet) -> None:
    shell = Shell(fleet.front.port)
    assert fleet.boxes["box1"].program.chat("m").status == 200
    fleet.boxes["box2"].kill()
    fleet.await_up("box2", is_up=False)
    fleet.await_running("box1", "m")
    with shell.screen("top", columns=120) as screen:
        screen.wait_for("box2 is out since ")
        screen.wait_for(lambda screen: re.search(r"box1/m +ready ", screen.text) is not None)
        screen.wait_for(lambda screen: re.search(r"own +stopped ", screen.text) is not None)
        screen.type("q")
        assert screen.end() == 0
    printed = shell.run("top").out
    assert re.search(r"^box2 is out since [\d:]+: connection refused$", printed, re.MULTILINE)
    assert re.search(r"^ +box1/m +ready +- +0 +0 ", printed, re.MULTILINE)
    told = shell.run("top", "--json").json()
    assert [row["up"] for row in told["peers"]] == [True, False]


def test_unload_all_leaves_boxes_alone_and_does_not_count_what_runs_there(fleet: Fleet) -> None:
    shell = Shell(fleet.front.port)
    assert [fleet.front.chat(name).status for name in ("own", "m")] == [200] * 2
    wait_until(lambda: len(fleet.front.states()) == 2, "the front knows of it")
    assert shell.run("unload", "--all", "--json").json() == {"unloaded": ["own"]}
    assert [name.rpartition("/")[2] for name in fleet.front.states()] == ["m"]
    assert shell.run("unload", "--all").out == "no model was loaded\n"
