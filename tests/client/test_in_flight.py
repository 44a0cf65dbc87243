"""The requests in progress, by what events tell of them."""

from __future__ import annotations

from typing import Any

from llamaswap_lib.client.in_flight import InFlight


def request(number: int, elapsed_ms: int = 0, **more: Any) -> dict[str, Any]:
    return {"id": str(number), "model": "m", "elapsed_ms": elapsed_ms, **more}


def ages(in_flight: InFlight, now: float) -> dict[str, float]:
    return {told["id"]: age for told, age in in_flight.current(now)}


def test_a_request_is_there_from_its_beginning_to_its_end() -> None:
    in_flight = InFlight()
    in_flight.take({"operation": "snapshot", "requests": [request(1, 2000)]}, 10.0)
    in_flight.take({"operation": "upsert", "request": request(2)}, 11.0)
    assert ages(in_flight, 12.0) == {"1": 4.0, "2": 1.0}
    assert [told["id"] for told, _ in in_flight.current(12.0)] == ["1", "2"]
    in_flight.take({"operation": "remove", "id": "1"}, 12.0)
    in_flight.take({"operation": "remove", "id": "1"}, 12.0)
    assert len(in_flight) == 1


def test_its_age_does_not_jump_when_it_is_told_of_again() -> None:
    in_flight = InFlight()
    in_flight.take({"operation": "upsert", "request": request(1, 0)}, 0.0)
    in_flight.take({"operation": "upsert", "request": request(1, 900, resp_bytes=7)}, 1.0)
    assert ages(in_flight, 2.0) == {"1": 2.0}
    assert in_flight.current(2.0)[0][0]["resp_bytes"] == 7


def test_a_snapshot_replaces_all_and_another_server_s_words_are_passed_over() -> None:
    in_flight = InFlight()
    in_flight.take({"operation": "upsert", "request": request(1)}, 0.0)
    in_flight.take({"total": 3}, 0.0)
    assert len(in_flight) == 1
    in_flight.take({"operation": "snapshot", "requests": []}, 0.0)
    assert len(in_flight) == 0
