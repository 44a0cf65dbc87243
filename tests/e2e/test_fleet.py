"""A front and several boxes, all of them real: what the front knows, and where requests go."""

from __future__ import annotations

import threading
from pathlib import Path

from tests.e2e.fleet import Fleet, frozen
from tests.e2e.program import DEADLINE, Program, demo, models, wait_until

ABLE = {"capabilities": {"in": ["text", "image"], "out": ["text"], "context": 4096}, "aliases": ["al"]}
TWO = {"strategy": "failover", "targets": ["box1/m", "box2/m"]}
FAILOVER = {"strategy": "failover", "targets": ["box1/m", "box2/m", "box3/m"]}


def test_what_boxes_have_is_found_out_and_outlives_them(tmp_path: Path) -> None:
    one, two = models(m={"cmd": demo(), **ABLE}, only=demo()), models(m=demo())
    with Fleet(tmp_path, [one, two], models(own=demo(), m=demo())) as fleet:
        front = fleet.front
        listed = {entry["id"]: entry for entry in front.get("/v1/models").json()["data"]}
        assert {"box1/m", "box1/al", "box1/only", "box2/m", "own", "m"} == set(listed)
        assert listed["box1/m"]["capabilities"] == {"vision": True}
        assert (listed["box1/m"]["context_length"], listed["box1/m"]["meta"]["n_ctx"]) == (4096, 4096)
        assert [front.chat(name).status for name in ("only", "box1/al", "al", "box2/m", "own")] == [200] * 5
        fleet.await_running("box2", "m")

        box = fleet.boxes["box1"]
        box.kill()
        fleet.await_up("box1", is_up=False)
        assert "box1/only" in {entry["id"] for entry in front.get("/v1/models").json()["data"]}
        assert front.chat("only").status == 502
        box.config = models(only=demo(), new=demo())
        box.start()
        fleet.await_up("box1", is_up=True)
        wait_until(lambda: front.chat("new").status == 200, "its new model is known")
        assert "box1/m" not in {entry["id"] for entry in front.get("/v1/models").json()["data"]}


def test_a_request_goes_where_the_model_is_ready(tmp_path: Path) -> None:
    with Fleet(tmp_path, [models(m=demo()), models(m=demo())], {}) as fleet:
        for name in ("box2", "box1"):
            for box in fleet.boxes.values():
                box.program.post("/api/models/unload", None)
            wait_until(
                lambda: not any(fleet.peer(name)["models"] for name in fleet.boxes), "the front sees that nothing runs"
            )
            assert fleet.boxes[name].program.chat("m").status == 200
            fleet.await_running(name, "m")
            assert fleet.front.chat("m").status == 200
            assert {name: list(box.program.states()) for name, box in fleet.boxes.items()} == {
                other: ["m"] if other == name else [] for other in fleet.boxes
            }


def test_a_models_own_server_is_behind_the_path_of_the_front_and_that_of_its_box(tmp_path: Path) -> None:
    with Fleet(tmp_path, [models(m=demo())], {}) as fleet:
        assert fleet.front.get("/upstream/box1/m/upstream/m/props").status == 200
        assert fleet.boxes["box1"].program.states() == {"m": "ready"}
        assert fleet.front.get("/upstream/box1/m/running").json()["running"][0]["model"] == "m"  # the box's own


def test_boxes_that_have_each_other_as_peers_show_what_runs_where_and_do_not_echo(tmp_path: Path) -> None:
    own = models(own=demo("--tokens-per-second", "20"), sleeper=demo())
    with Fleet(tmp_path, [models(m={"cmd": demo(), "ttl": 300})], own) as fleet:
        front, box = fleet.front, fleet.boxes["box1"]
        box.close()
        box.config = {**box.config, "peers": {"front": {"proxy": f"http://127.0.0.1:{front.port}", "models": "auto"}}}
        box.start()
        fleet.await_up("box1", is_up=True)
        with front.stream("own") as wire:
            wire.read_head_and_first_chunk()
            assert front.chat("m").status == 200
            for program, names in ((front, ("box1/m", "own")), (box.program, ("front/own", "m"))):
                ready = dict.fromkeys(names, "ready")
                wait_until(lambda told=program, wanted=ready: told.states() == wanted, f"{names} are ready")  # type: ignore[misc]
            there = front.running("box1/m")
            assert (there["state"], there["peer"], there["ttl"], there["proxy"]) == ("ready", "box1", 300, "")
            wait_until(lambda: box.program.running("front/own")["in_flight"] == 1, "its request is seen")
            looked = front.get("/running", Via="1.1 llamaswap-0123456789abcdef").json()["running"]
            assert [(row["model"], "peer" in row) for row in looked] == [("own", False)]
            assert [row["model"] for row in fleet.peer("box1")["models"]] == ["m"]
            assert list(front.states()) == ["box1/m", "own"]
        front.post("/api/models/unload/own", None)
        wait_until(lambda: list(box.program.states()) == ["m"], "it is seen to have ended")


def _answer(front: Program, model: str) -> tuple[int, str]:
    """The status, 0 where there is no answer at all, and what it says."""
    try:
        answer = front.chat(model, max_tokens=2)
    except OSError as error:
        return 0, repr(error)
    return answer.status, answer.text


class Clients:
    """Some who ask for a model all the time, until told to stop; what each answer was."""

    def __init__(self, front: Program, model: str, count: int) -> None:
        self.answers: list[tuple[int, str]] = []
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(front, model)) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def _ask(self, front: Program, model: str) -> None:
        while not self._is_over.is_set():
            self.answers.append(_answer(front, model))

    def await_answers(self, count: int) -> None:
        """So many more."""
        wanted = len(self.answers) + count
        wait_until(lambda: len(self.answers) >= wanted, "the clients are answered")

    def close(self) -> list[tuple[int, str]]:
        """What was no answer of the model."""
        self._is_over.set()
        for thread in self._threads:
            thread.join(DEADLINE)
        return [answer for answer in self.answers if answer[0] != 200]


def test_no_request_is_lost_while_boxes_are_killed_and_come_back(tmp_path: Path) -> None:
    with Fleet(tmp_path, [models(m=demo())] * 3, {"selectors": {"s": FAILOVER}}) as fleet:
        clients = [Clients(fleet.front, name, 3) for name in ("m", "s")]
        try:
            for name, box in [*fleet.boxes.items(), *fleet.boxes.items()]:
                for each in clients:
                    each.await_answers(10)
                box.kill()
                for each in clients:
                    each.await_answers(10)
                fleet.await_up(name, is_up=False)
                box.start()
                fleet.await_up(name, is_up=True)
        finally:
            lost = [answer for each in clients for answer in each.close()]
        assert lost == []
        wait_until(lambda: fleet.front.stdout.count("is in again after") >= 6, "the log says so behind the peers' rows")


def test_a_box_that_ends_in_order_loses_nothing_either(tmp_path: Path) -> None:
    with Fleet(tmp_path, [models(m=demo("--load-seconds", "0.2"))] * 2, {}) as fleet:
        clients = Clients(fleet.front, "m", 4)
        try:
            for name, box in fleet.boxes.items():
                clients.await_answers(10)
                box.close()
                clients.await_answers(10)
                fleet.await_up(name, is_up=False)
                box.start()
                fleet.await_up(name, is_up=True)
        finally:
            lost = clients.close()
        assert lost == []


def test_where_all_boxes_are_down_they_are_tried_all_the_same(tmp_path: Path) -> None:
    with Fleet(tmp_path, [models(m=demo())] * 2, {}) as fleet:
        for name, box in fleet.boxes.items():
            box.kill()
            fleet.await_up(name, is_up=False)
        refused = fleet.front.chat("m")
        assert (refused.status, "cannot connect to box" in refused.message) == (502, True)
        fleet.boxes["box2"].start()
        assert fleet.front.chat("m").status == 200


def test_who_waits_at_a_box_that_is_frozen_is_sent_to_the_next(tmp_path: Path) -> None:
    with Fleet(tmp_path, [models(m=demo())] * 2, {"selectors": {"s": TWO}}) as fleet:
        assert fleet.front.chat("s").status == 200
        fleet.await_running("box1", "m")
        with frozen(fleet.boxes["box1"]):
            assert fleet.front.chat("s").status == 200
            assert fleet.peer("box1")["up"] is False
            assert fleet.front.chat("s").status == 200
        fleet.await_up("box1", is_up=True)
