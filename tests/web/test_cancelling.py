"""The list of requests in flight, and ending one of them by hand, at each moment of its life."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from llamaswap_lib.activity.record import Ended
from llamaswap_lib.activity.row import Row
from llamaswap_lib.server.limits import Limits
from tests.events import EventReader
from tests.web.test_events import follow, is_silent
from tests.web.upstreams import Teller, Thinker, always, ok_then, streaming, wait_until, warm
from tests.web.world import (
    CHUNKED_HEAD,
    DEADLINE,
    MODELS,
    OK,
    FakeQueue,
    Peer,
    World,
    answers,
    chat,
    get,
)

EMPTY = Row._make([0] * len(Row._fields))
UPGRADE = b"GET /upstream/m/ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


def rows(world: World) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(world.ask(get("/api/inflight"))[1])["requests"]
    return found


def one_in_flight(world: World) -> str:
    """The id of the one request that there is."""
    wait_until(lambda: len(world.feed.table.entries) == 1)
    [row] = rows(world)
    return str(row["id"])


def cancel(world: World, number: str, extra: bytes = b"") -> tuple[int, Any]:
    request = get(f"/api/inflight/{number}/cancel", method="POST", extra=b"Content-Length: 0\r\n" + extra)
    head, body = world.ask(request)
    return int(head.split(b" ")[1]), json.loads(body)


def assert_told(client: Peer) -> None:
    """The client was told that its request was cancelled, in an error that it will not repeat."""
    head, body = client.read_message()
    assert head.startswith(b"HTTP/1.1 409 ")
    assert b"\r\nx-should-retry: false\r\n" in head
    assert json.loads(body)["error"]["code"] == "cancelled"


def test_what_is_in_flight_is_listed_as_clients_know_it() -> None:
    thinker = Thinker()
    extra = b"Authorization: Bearer secret\r\nX-Two: 1\r\nX-Two: 2\r\nX-Real-IP: 7.7.7.7\r\n"
    with World(ok_then(thinker.hear_hang_up)) as world, warm(world) as client:
        client.send(chat(b'{"model":"al"}', extra=extra))
        assert thinker.asked.wait(DEADLINE)
        [row] = rows(world)
        assert row.pop("id").isdigit()
        assert row.pop("timestamp").endswith("Z")
        assert row.pop("elapsed_ms") >= 0
        headers = row.pop("req_headers")
        assert headers["Authorization"] == "[REDACTED]"
        assert headers["X-Two"] == "1"
        assert row == {
            "model": "m",
            "req_path": "/v1/chat/completions",
            "method": "POST",
            "remote_ip": "7.7.7.7",
            "resp_headers": {},
            "resp_bytes": 0,
            "metadata": {"fifo_priority": "0"},
        }


@pytest.mark.parametrize("number", ["0", "99999", "x", "-1", "%00", "1" * 5000, "%D9%A1"])
def test_what_is_not_there_cannot_be_cancelled(number: str) -> None:
    with World(answers(OK)) as world:
        status, body = cancel(world, number)
        assert status == 404
        assert body["error"]["message"] == "inflight request not found"


def test_a_page_of_another_site_cannot_cancel() -> None:
    with World(answers(OK)) as world:
        assert cancel(world, "1", b"Sec-Fetch-Site: cross-site\r\nOrigin: http://evil.example\r\n")[0] == 403


def test_a_request_that_waits_for_its_model_is_cancelled() -> None:
    with World(always(OK)) as world, world.connect() as client:
        queue = world.controller.waiting = FakeQueue()
        client.send(chat())
        assert cancel(world, one_in_flight(world)) == (200, {"msg": "ok"})
        assert_told(client)
        [record] = world.journal.wait_for(1)
        assert (record.status, record.ended) == (409, Ended.CANCELLED)
        world.controller.waiting = None
        client.send(chat())  # the connection goes on
        assert client.read_message()[1] == b"ok"
        queue.is_over.close()
        wait_until(lambda: "cancelled by POST" in world.log)
        assert " 409 " in world.log


def test_a_request_that_its_upstream_thinks_about_is_cancelled_and_the_upstream_told_at_once() -> None:
    thinker = Thinker()
    with World(ok_then(thinker.hear_hang_up), always(OK)) as world, warm(world) as client:
        client.send(chat())
        assert thinker.asked.wait(DEADLINE)
        assert cancel(world, one_in_flight(world))[0] == 200
        assert thinker.go.wait(DEADLINE)
        assert_told(client)
        world.controller.wait_empty()
        client.send(chat())
        assert client.read_message()[1] == b"ok"
        assert [record.ended for record in world.journal.wait_for(3)][1] is Ended.CANCELLED


def test_a_stream_is_cut_and_its_client_sees_that() -> None:
    teller = Teller()
    with World(ok_then(teller.answer)) as world, streaming(world, teller) as client:
        assert cancel(world, one_in_flight(world))[0] == 200
        with pytest.raises(ConnectionError):
            client.read_to_end()
        teller.words.put(b"")
        assert teller.was_left.wait(DEADLINE)
        _, record = world.journal.wait_for(2)
        assert (record.status, record.ended) == (200, Ended.CANCELLED)
        world.controller.wait_empty()


def test_a_stream_whose_client_reads_nothing_is_cut() -> None:
    def flood(peer: Peer) -> None:
        peer.read_message()
        peer.send(CHUNKED_HEAD)
        try:
            while True:
                peer.send(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
        except OSError:
            pass

    with World(flood, limits=Limits(write_timeout=DEADLINE)) as world, world.connect() as client:
        client.send(chat())
        number = one_in_flight(world)
        wait_until(lambda: world.feed.table.current()[0].response_bytes > 100_000)
        assert cancel(world, number)[0] == 200
        world.controller.wait_empty()
        [record] = world.journal.wait_for(1)
        assert record.ended is Ended.CANCELLED


def test_a_web_socket_is_cut() -> None:
    switched = threading.Event()

    def switch(peer: Peer) -> None:
        peer.read_message()
        peer.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        switched.set()
        peer.wait_for_hang_up()

    with World(switch) as world, world.connect() as client:
        client.send(UPGRADE)
        client.read_until(b"\r\n\r\n")
        assert switched.wait(DEADLINE)
        assert cancel(world, one_in_flight(world))[0] == 200
        client.wait_for_hang_up()
        world.controller.wait_empty()
        assert world.journal.records == []


def test_a_request_whose_body_is_still_on_its_way_is_cancelled() -> None:
    with World(answers(OK)) as world, world.connect() as client:
        client.send(b"POST /upstream/m/v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nhalf")
        assert cancel(world, one_in_flight(world))[0] == 200
        assert_told(client)
        assert client.read_to_end() == b""
        [record] = world.journal.wait_for(1)
        assert record.ended is Ended.CANCELLED


def test_a_stream_that_tells_of_a_load_is_cut() -> None:
    with World(answers(OK), config=MODELS + "sendLoadingState: true\n") as world, world.connect() as client:
        queue = world.controller.waiting = FakeQueue()
        client.send(chat(b'{"model":"m","stream":true}'))
        client.read_until(b"Loading m")
        assert cancel(world, one_in_flight(world))[0] == 200
        with pytest.raises(ConnectionError):
            client.read_to_end()
        [record] = world.journal.wait_for(1)
        assert (record.status, record.ended, record.content_type) == (200, Ended.CANCELLED, "text/event-stream")
        queue.is_over.close()


def test_a_client_that_has_left_is_not_told() -> None:
    """Cancelled, and gone before what serves it has ended."""
    with World(answers(OK)) as world:
        queue = world.controller.waiting = FakeQueue()
        with world.connect() as client:
            client.send(chat())
            number = one_in_flight(world)
        assert cancel(world, number)[0] in (200, 404)
        [record] = world.journal.wait_for(1)
        assert record.ended in (Ended.CANCELLED, Ended.CLIENT_LEFT)
        queue.is_over.close()
        assert world.server.wait_idle(DEADLINE)


# -- the stream of events --


def in_flight(events: EventReader) -> Any:
    return events.next_of("inflight")


def test_a_request_is_told_from_its_beginning_to_its_end() -> None:
    teller = Teller()
    with World(ok_then(teller.answer)) as world, world.connect() as listener:
        with streaming(world, teller) as client:
            number = one_in_flight(world)
            events = follow(listener)
            snapshot = next(event.data for event in events.start() if event.type == "inflight")
            assert snapshot["operation"] == "snapshot"
            assert [row["id"] for row in snapshot["requests"]] == [number]
            assert snapshot["requests"][0]["resp_headers"]["Content-Type"] == "text/event-stream"
            teller.words.put(b"5\r\nhello\r\n")
            told = in_flight(events)
            assert (told["operation"], told["request"]["id"]) == ("upsert", number)
            assert told["request"]["resp_bytes"] == len(b"5\r\ndata:\r\n5\r\nhello\r\n")
            teller.words.put(b"0\r\n\r\n")
            client.read_until(b"0\r\n\r\n")
            while (told := in_flight(events))["operation"] == "upsert":
                assert told["request"]["id"] == number
            assert told == {"operation": "remove", "id": number}
        assert is_silent(listener)


def test_the_head_of_an_answer_is_told() -> None:
    go = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_message()
        assert go.wait(DEADLINE)
        peer.send(CHUNKED_HEAD)
        peer.wait_for_hang_up()

    with World(script) as world, world.connect() as listener, world.connect() as client:
        events = follow(listener)
        events.start()
        client.send(chat())
        told = in_flight(events)["request"]
        assert (told["resp_headers"], told["resp_bytes"]) == ({}, 0)
        go.set()
        same = in_flight(events)["request"]
        assert (same["id"], same["resp_headers"]["Content-Type"]) == (told["id"], "text/event-stream")
        client.close()
        assert in_flight(events) == {"operation": "remove", "id": told["id"]}


def test_a_request_that_is_alone_is_told_however_short_it_is() -> None:
    with World(answers(OK)) as world, world.connect() as listener:
        events = follow(listener)
        events.start()
        world.ask(chat())
        first, second = in_flight(events), in_flight(events)
        assert (first["operation"], second["operation"]) == ("upsert", "remove")
        assert first["request"]["id"] == second["id"]
        assert is_silent(listener)


def test_requests_that_come_and_go_between_two_events_are_told_too() -> None:
    with World(always(OK)) as world, world.connect() as listener:
        events = follow(listener)
        events.start()
        for _ in range(5):
            world.ask(chat())
        told = [in_flight(events) for _ in range(10)]
        begun = [each["request"]["id"] for each in told if each["operation"] == "upsert"]
        ended = [each["id"] for each in told if each["operation"] == "remove"]
        assert sorted(begun) == sorted(ended)
        assert len({*begun}) == 5


def test_a_get_for_a_model_is_told_under_its_path_and_what_is_none_is_not() -> None:
    with World(answers(OK)) as world, world.connect() as listener:
        events = follow(listener)
        events.start()
        world.ask(get("/health"))
        world.ask(get("/upstream/m/some/page"))
        told = in_flight(events)["request"]
        assert (told["req_path"], told["method"], told["model"]) == ("/some/page", "GET", "m")


def test_a_rush_makes_few_events_for_each_listener_and_leaves_nobody_in_the_list() -> None:
    with World(always(OK)) as world, world.connect() as listener, world.connect() as client:
        events = follow(listener)
        events.start()
        for _ in range(1_000):
            client.send(chat())
            client.read_message()
        known: set[str] = set()
        count = 0
        last = str(next(world.feed.table.numbers) - 1)
        while True:
            told = in_flight(events)
            count += 1
            if told["operation"] == "upsert":
                known.add(told["request"]["id"])
            elif told["operation"] == "remove":
                known.discard(told["id"])
                if told["id"] == last:
                    break
            else:
                known = {row["id"] for row in told["requests"]}
        assert not known
        assert count <= 2_000


def test_what_is_noted_is_told_to_all_and_rows_by_their_ids() -> None:
    with World(answers(OK)) as world, world.connect() as one, world.connect() as two:
        listeners = [follow(one), follow(two)]
        for listener in listeners:
            listener.start()
        world.feed.note("swap", [{"to": "m"}])
        world.feed.note_rows([EMPTY._replace(id=7), EMPTY._replace(id=8)])
        for listener in listeners:
            assert listener.next_of("swap") == {"to": "m"}
            assert [listener.next_of("activity"), listener.next_of("activity")] == [{"id": 7}, {"id": 8}]
