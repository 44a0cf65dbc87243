"""What is wrong with an answer, and where."""

from __future__ import annotations

from typing import Any

import pytest

from llamaswap_lib.client.shapes import wrong_in_answer, wrong_in_event

RUN = {"model": "m", "state": "ready"}


@pytest.mark.parametrize(
    ("path", "answer", "wrong"),
    [
        ("/running", {"running": [RUN, {**RUN, "memory": None, "ttl": 3.5, "new": object}]}, ""),
        ("/running?x=1", {}, "there is no 'running'"),
        ("/running", {"running": 5}, "expected a list at running, got a number,"),
        ("/running", {"running": ["m"]}, "expected an object at running[0], got a text,"),
        ("/running", {"running": [RUN, {"model": "m"}]}, "there is no 'running[1].state'"),
        ("/running", {"running": [{**RUN, "pid": True}]}, "expected a number at running[0].pid, got true or false,"),
        ("/running", {"running": [{**RUN, "model": None}]}, "expected a text at running[0].model, got null,"),
        ("/api/memory", {"router": "x", "devices": [], "models": [{"model": "m"}]}, "there is no 'models[0].need'"),
        ("/api/models/org/m/plan", {"evicts": "x"}, "expected a list at evicts, got a text,"),
        ("/v1/models/m", [], "expected an object at its top, got a list,"),
        ("/api/profiles", {"active": "x", "profiles": [{"id": "x", "pins": {"a": 1}}]},
         "expected a text at profiles[0].pins.a, got a number,"),
        ("/somewhere/else", 5, ""),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place(path: str, answer: Any, wrong: str) -> None:
    assert wrong_in_answer(path, answer) == wrong


def test_events_of_types_that_are_not_known_have_nothing_wrong() -> None:
    assert wrong_in_event("weather", 5) == ""
    assert wrong_in_event("queue", {"queue": []}) == ""
    assert wrong_in_event("queue", {}) == "there is no 'queue'"
