"""Requests of one session go to one box: two fronts that know nothing of each other, and boxes that come and go."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.fleet import Fleet
from tests.e2e.program import Program, demo, models, wait_until

BOXES = 3
SESSIONS = [f"session-{number}" for number in range(12)]


def selectors(sticky: str) -> dict[str, Any]:
    targets = [f"box{number}/m" for number in range(1, BOXES + 1)]
    return {"selectors": {"s": {"strategy": "spread", "targets": targets, "settings": {"sticky": sticky}}}}


def await_ready(front: Program, count: int) -> None:
    """Until the front knows that the model is ready on so many boxes."""

    def ready() -> int:
        peers = front.get("/api/peers").json()["peers"]
        return sum(model["state"] == "ready" for peer in peers for model in peer["models"])

    wait_until(lambda: ready() == count, f"the model is ready on {count} boxes")


def went(front: Program, **asked: Any) -> str:
    """The box that has answered."""
    headers = asked.pop("headers", {})
    body = {"model": "s", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 1, **asked}
    before = newest(front)
    answer = front.post("/v1/chat/completions", body, **headers)
    assert answer.status == 200, answer.text
    wait_until(lambda: newest(front) != before, "it has its row")
    return str(newest(front)["model"])


def newest(front: Program) -> dict[str, Any]:
    """Its last row."""
    rows: list[dict[str, Any]] = front.get("/api/metrics/activity?limit=1").json()["data"]
    return rows[0] if rows else {}


def test_a_session_stays_on_its_box_whichever_front_it_comes_by_and_moves_while_that_is_out(tmp_path: Path) -> None:
    with ExitStack() as stack:
        fleet = stack.enter_context(Fleet(tmp_path, [models(m=demo())] * BOXES, selectors("session")))
        (tmp_path / "second").mkdir()
        peers = {name: {"proxy": box.url, "models": "auto"} for name, box in fleet.boxes.items()}
        second = stack.enter_context(Program(tmp_path / "second", {"peers": peers, **selectors("session")}))
        for box in fleet.boxes.values():
            assert box.program.chat("m").status == 200
        for front in (fleet.front, second):
            await_ready(front, BOXES)

        homes = {name: went(fleet.front, headers={"X-Session-ID": name}) for name in SESSIONS}
        assert set(homes.values()) == {"box1/m", "box2/m", "box3/m"}
        assert {name: went(second, prompt_cache_key=name) for name in SESSIONS} == homes

        fleet.boxes["box2"].kill()
        fleet.await_up("box2", is_up=False)
        moved = {name: went(fleet.front, headers={"X-Session-ID": name}) for name in SESSIONS}
        assert {name: box for name, box in moved.items() if homes[name] != "box2/m"} == {
            name: box for name, box in homes.items() if box != "box2/m"
        }
        assert "box2/m" not in moved.values()

        fleet.boxes["box2"].start()
        assert fleet.boxes["box2"].program.chat("m").status == 200
        await_ready(fleet.front, BOXES)
        assert {name: went(fleet.front, headers={"X-Session-ID": name}) for name in SESSIONS} == homes


@pytest.mark.parametrize("more", [{}, {"tools": [[]] * 9_000}], ids=["small", "large"])
def test_a_conversation_stays_on_its_box_as_it_grows(tmp_path: Path, more: dict[str, Any]) -> None:
    with Fleet(tmp_path, [models(m=demo())] * BOXES, selectors("prefix")) as fleet:
        for box in fleet.boxes.values():
            assert box.program.chat("m").status == 200
        await_ready(fleet.front, BOXES)
        homes = set()
        for first in range(8):
            turns = [{"role": "system", "content": "be kind"}, {"role": "user", "content": f"conversation {first}"}]
            boxes = []
            for number in range(3):
                boxes.append(went(fleet.front, messages=turns, **(more if number else {})))
                turns += [{"role": "assistant", "content": "yes"}, {"role": "user", "content": f"and {number}"}]
            assert len(set(boxes)) == 1, boxes
            homes.add(boxes[0])
        assert len(homes) == BOXES
