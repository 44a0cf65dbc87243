"""A front and several boxes, all of them real: what the front knows, and where requests go."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.fleet import Fleet
from tests.e2e.program import demo, models, wait_until

ABLE = {"capabilities": {"in": ["text", "image"], "out": ["text"], "context": 4096}, "aliases": ["al"]}


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
