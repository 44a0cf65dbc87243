"""The stream of events: how things are, then what changes, until somebody leaves."""

from __future__ import annotations

import json
import socket
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llamaswap_lib.activity.feed import GATHER_SECONDS
from llamaswap_lib.core.eviction.devices import GB, MB, Device, Memory, Need, NeedSource
from llamaswap_lib.core.snapshot import TicketView
from llamaswap_lib.endpoints.events import LOG_PIECE
from llamaswap_lib.runtime.changes import Topic
from llamaswap_lib.runtime.logs.monitor import READER_BYTES, RING_BYTES
from llamaswap_lib.server.limits import Limits
from tests.events import START, EventReader
from tests.web.test_log_streams import read_chunk
from tests.web.world import DEADLINE, OK, Peer, Running, World, answers, get

CONFIG = """
ui: {activity: {session_id: [X-Mine]}}
models:
  zed:
    cmd: server
    proxy: PROXY
    unlisted: true
    name: The last
    description: of all
  m:
    cmd: server
    proxy: PROXY
    aliases: [al, more]
    capabilities: {in: [text, image], out: [text], tools: true, context: 4096}
peers:
  p: {proxy: http://127.0.0.1:1, models: [y, x]}
  another: {proxy: http://127.0.0.1:1, models: [org/z]}
selectors:
  sel: {strategy: pin, targets: [m]}
profiles:
  night: {pins: {new: m}}
"""
LOOKS_OFTEN = Limits(telling_interval=0.05)
SILENCE = 0.3  # in which nothing comes that should not


def follow(client: Peer) -> EventReader:
    """A reader whose head is read and found right."""
    client.send(get("/api/events"))
    head = client.read_until(b"\r\n\r\n").lower()
    assert head.startswith(b"http/1.1 200 ")
    for line in (
        b"content-type: text/event-stream",
        b"cache-control: no-cache",
        b"x-accel-buffering: no",
        b"x-content-type-options: nosniff",
        b"transfer-encoding: chunked",
    ):
        assert head.count(b"\r\n" + line + b"\r\n") == 1, line
    return EventReader(lambda: read_chunk(client))


def activate(world: World, name: str | None) -> None:
    body = json.dumps({"name": name}).encode()
    head = b"PUT /api/profiles/active HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    assert world.ask(head + body)[0].startswith(b"HTTP/1.1 200 ")


def is_silent(client: Peer, seconds: float = SILENCE) -> bool:
    assert client.rest == b""
    client.sock.settimeout(seconds)
    try:
        client.rest = client.sock.recv(65536)
    except TimeoutError:
        return True
    finally:
        client.sock.settimeout(DEADLINE)
    return False


def states(rows: Any) -> dict[str, str]:
    return {row["id"]: row["state"] for row in rows}


# -- how things are --


def test_first_it_tells_how_everything_is() -> None:
    with World(answers(OK), config=CONFIG) as world, world.connect() as client:
        world.logs.proxy.write(b"ours\n")
        world.logs.model_output("m")(b"the model's\n")
        world.controller.running = [Running("m", 1, "starting")]
        world.controller.queue = [TicketView(7, "m", 1, time.monotonic() - 2.0, "loading", 3.25)]
        world.app.profiles.activate("night")
        proxy, upstream, models, ui, profile, in_flight, queue, memory = (e.data for e in follow(client).start())
        assert proxy == {"source": "proxy", "data": "ours\n"}
        assert upstream == {"source": "upstream", "data": "the model's\n"}
        assert ui == {"activity": {"session_id": ["X-Mine"]}}
        assert profile == {"active": "night"}
        assert in_flight == {"operation": "snapshot", "requests": []}
        nothing = {"name": "", "description": "", "state": "", "unlisted": False}
        assert models == [
            {
                **nothing,
                "id": "m",
                "state": "starting",
                "peerID": "",
                "aliases": ["al", "more"],
                "context_length": 4096,
                "capabilities": {"vision": True, "function_calling": True},
            },
            {
                "id": "zed",
                "name": "The last",
                "description": "of all",
                "state": "stopped",
                "unlisted": True,
                "peerID": "",
            },
            {**nothing, "id": "another/org/z", "peerID": "another"},
            {**nothing, "id": "p/x", "peerID": "p"},
            {**nothing, "id": "p/y", "peerID": "p"},
        ]
        [row] = queue["queue"]
        [same] = json.loads(world.ask(get("/api/queue"))[1])["queue"]
        assert row.keys() == same.keys()
        assert 2.0 <= row.pop("waiting_seconds") <= same.pop("waiting_seconds")
        assert row == same
        need = {"source": "unknown", "devices": None}
        unknown = {"pinned": False, "need": need, "placement": None, "held": None}
        rows = [{"model": model, **unknown} for model in ("m", "zed")]
        assert memory == {"router": "group", "stale": False, "devices": [], "models": rows}


def test_a_silent_server_tells_it_too_and_then_nothing() -> None:
    with World(answers(OK)) as world, world.connect() as client:
        events = [event.data for event in follow(client).start()]
        assert events[0] == {"source": "proxy", "data": ""}
        assert events[1] == {"source": "upstream", "data": ""}
        assert events[4:7] == [{"active": None}, {"operation": "snapshot", "requests": []}, {"queue": []}]
        assert is_silent(client)


@pytest.mark.parametrize("minor", [0, 1])
def test_http_1_0_and_head(minor: int) -> None:
    with World(answers(OK)) as world, world.connect() as client:
        client.send(b"GET /api/events HTTP/1.0\r\n\r\n")
        assert b"chunked" not in client.read_until(b"\r\n\r\n")
        EventReader(lambda: client.read_until(b"\n\n")).start()
        world.logs.close_streams()
        assert client.read_to_end() == b""
        with world.connect() as asker:
            asker.send(b"HEAD /api/events HTTP/1.%d\r\nHost: x\r\n\r\n" % minor)
            head = asker.read_until(b"\r\n\r\n")
            assert (b"chunked" in head) == bool(minor)
            assert b"\r\nContent-Type: text/event-stream\r\n" in head
            if minor:
                asker.send(get("/health"))
                assert asker.read_message()[1] == b"OK"


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (get("/api/events", method="POST"), b"405"),
        (get("/api/events/"), b"404"),
        (get("/api/events", extra=b"Sec-Fetch-Site: cross-site\r\nOrigin: http://evil.example\r\n"), b"401"),
        (get("/api/events", method="HEAD"), b"401"),
        (get("/api/events", extra=b"x-api-key: wrong\r\n"), b"401"),
    ],
)
def test_what_is_refused(request_: bytes, status: bytes) -> None:
    with World(answers(OK), config=CONFIG + "apiKeys: [k1]\n") as world, world.connect() as client:
        client.send(request_)
        head = client.read_until(b"\r\n\r\n")
        assert head.split(b" ")[1] == status
        if status == b"405":
            assert b"\r\nAllow: GET, HEAD\r\n" in head
        with world.connect() as allowed:
            allowed.send(get("/api/events", extra=b"x-api-key: k1\r\n"))
            assert b" 200 " in allowed.read_until(b"\r\n\r\n")


# -- what changes --


def test_every_state_of_a_model_is_told() -> None:
    with World(answers(OK), config=CONFIG) as world, world.connect() as client:
        events = follow(client)
        events.start()
        for state in ("starting", "ready", "stopping"):
            world.controller.running = [Running("zed", 1, state)]
            world.app.changes.note(Topic.RUNS)
            assert states(events.next_of("modelStatus")) == {
                "m": "stopped",
                "zed": state,
                "another/org/z": "",
                "p/x": "",
                "p/y": "",
            }
        world.controller.running = []
        world.app.changes.note(Topic.RUNS)
        assert states(events.next_of("modelStatus"))["zed"] == "stopped"
        world.app.changes.note(Topic.RUNS)  # something that is not to be seen in a row
        assert is_silent(client)


def test_a_change_of_profile_is_told_with_the_models() -> None:
    with World(answers(OK), config=CONFIG) as world, world.connect() as client:
        events = follow(client)
        events.start()
        for name in ("night", None):
            activate(world, name)
            kinds: dict[str, Any] = {}
            while len(kinds) < 2:
                if (event := events.next()) and event.type != "logData":
                    kinds[event.type] = event.data
            assert list(kinds) == ["profileChanged", "modelStatus"]
            assert kinds["profileChanged"] == {"active": name}


@pytest.mark.parametrize("name", ["night", ""])
def test_a_profile_that_is_active_already_is_no_news(name: str) -> None:
    with World(answers(OK), config=CONFIG) as world, world.connect() as client:
        world.app.profiles.activate(name)
        follow(client).start()
        world.app.profiles.activate(name)
        assert is_silent(client)


def test_who_joins_leaves_moves_up_or_waits_for_another_reason_is_told() -> None:
    first, second = TicketView(1, "m", 1, 0.0, "loading"), TicketView(2, "m", 2, 0.0, "loading")
    steps = [
        [first],
        [first, second],
        [second._replace(place=1)],
        [second._replace(place=1, reason="after zed")],
        [TicketView(3, "m", 1, 0.0, "after zed")],
        [],
    ]
    with World(answers(OK), config=CONFIG) as world, world.connect() as client:
        events = follow(client)
        events.start()
        for step in steps:
            world.controller.queue = step
            world.app.changes.note(Topic.QUEUE)
            told = [(row["ticket"], row["place"], row["reason"]) for row in events.next_of("queue")["queue"]]
            assert told == [(one.ticket, one.place, one.reason) for one in step]


def test_ages_and_estimates_are_no_news() -> None:
    with World(answers(OK), config=CONFIG, limits=LOOKS_OFTEN) as world, world.connect() as client:
        world.controller.queue = [TicketView(1, "m", 1, 0.0, "loading", 9.0)]
        events = follow(client)
        events.start()
        world.controller.queue = [TicketView(1, "m", 1, 0.0, "loading", 8.0)]
        for _ in range(3):
            world.app.changes.note(Topic.QUEUE)
            assert is_silent(client, 0.15)


def test_a_reason_that_changes_without_a_decision_is_seen_before_long() -> None:
    with World(answers(OK), config=CONFIG, limits=LOOKS_OFTEN) as world, world.connect() as client:
        world.controller.queue = [TicketView(1, "m", 1, 0.0, "waiting for zed: 1 request in progress")]
        events = follow(client)
        events.start()
        for count in (2, 3):
            world.controller.queue = [TicketView(1, "m", 1, 0.0, f"waiting for zed: {count} requests in progress")]
            assert f" {count} " in events.next_of("queue")["queue"][0]["reason"]
        world.controller.queue = []
        assert events.next_of("queue") == {"queue": []}
        world.controller.queue = [TicketView(2, "m", 1, 0.0, "loading")]
        assert is_silent(client)  # while nobody waits nobody looks, unless told


def test_a_rush_makes_few_events_and_the_last_is_true() -> None:
    with World(answers(OK), config=CONFIG) as world, world.connect() as client:
        events = follow(client)
        events.start()
        began = time.monotonic()
        for number in range(1, 20_001):
            world.controller.queue = [TicketView(number, "m", 1, 0.0, "loading")]
            world.app.changes.note(Topic.QUEUE)
        seen = 0
        while events.next_of("queue")["queue"][0]["ticket"] < 20_000:
            seen += 1
        assert seen <= 2 + (time.monotonic() - began) / GATHER_SECONDS


def see(world: World, others: int, held: int = 0) -> None:
    """What a reading of the memory has found."""
    devices = {"ram": Device(16 * GB, GB, others, "RAM")}
    needs = {"m": Need({"ram": held}, NeedSource.MEASURED)} if held else {}
    world.app.memory.now = Memory(devices, needs, {"m": {"ram": held}} if held else {})
    world.app.changes.note(Topic.MEMORY)


def test_what_changes_of_memory_is_told_but_for_noise() -> None:
    with World(answers(OK), config=CONFIG, limits=LOOKS_OFTEN) as world, world.connect() as client:
        see(world, GB)
        events = follow(client)
        [device] = events.start()[-1].data["devices"]
        assert (device["others_bytes"], device["free_bytes"]) == (GB, 14 * GB)
        for size in range(1, 32):  # by little and little: less than 64 MB since it was told
            see(world, GB + size * MB)
        assert is_silent(client)
        see(world, GB + 65 * MB)
        assert events.next_of("memory")["devices"][0]["others_bytes"] == GB + 65 * MB
        see(world, GB + 65 * MB, held=MB)
        assert events.next_of("memory")["models"][0]["held"] == {"ram": MB}
        see(world, GB + 65 * MB, held=2 * MB)
        assert is_silent(client)
        see(world, GB + 65 * MB, held=2 * GB)
        told = events.next_of("memory")["models"][0]
        assert told == {
            "model": "m", "pinned": False, "placement": None, "held": {"ram": 2 * GB},
            "need": {"source": "measured", "devices": {"ram": 2 * GB}},
        }  # fmt: skip


def test_a_rush_in_memory_makes_few_events_and_the_last_is_true() -> None:
    with World(answers(OK), config=CONFIG, limits=Limits(telling_interval=0.5)) as world, world.connect() as client:
        events = follow(client)
        events.start()
        began, sizes = time.monotonic(), list[int]()
        for size in range(1, 2001):
            see(world, size * 100 * MB)
        while not sizes or sizes[-1] < 2000 * 100 * MB:
            sizes.append(events.next_of("memory")["devices"][0]["others_bytes"])
        assert len(sizes) <= 2 + (time.monotonic() - began) / 0.5


# -- logs --


def test_logs_are_told_as_they_come_each_under_its_name() -> None:
    with World(answers(OK)) as world, world.connect() as client:
        events = follow(client)
        events.start()
        for number in range(3):
            world.logs.proxy.write(f"ours {number}\n".encode())
            assert events.next_of("logData") == {"source": "proxy", "data": f"ours {number}\n"}
            world.logs.model_output("m")(f"the model's {number}\n".encode())
            assert events.next_of("logData") == {"source": "upstream", "data": f"the model's {number}\n"}


def test_a_character_that_comes_byte_by_byte_is_one_character() -> None:
    with World(answers(OK)) as world, world.connect() as client:
        text = 'ä€𝄞\u2028\0\x1b[31m\r\n"\\ end'
        data = text.encode()
        world.logs.proxy.write(data[:1])  # the first half of a character is the whole history
        events = follow(client)
        assert events.start()[0].data == {"source": "proxy", "data": ""}
        for byte in data[1:]:
            world.logs.proxy.write(bytes([byte]))
        assert events.text_to("proxy", "end") == text


@settings(max_examples=15)
@given(pieces=st.lists(st.binary(max_size=12) | st.sampled_from([b"\xf0\x9d", b"\x84\x9e", b"\xff\xfe", b"\n"])))
def test_whatever_is_logged_is_valid_text(pieces: list[bytes]) -> None:
    with World(answers(OK)) as world, world.connect() as client:
        events = follow(client)
        events.start()
        for piece in pieces:
            world.logs.upstream.write(piece)
        world.logs.upstream.write(b"<end>")
        whole = (b"".join(pieces) + b"<end>").decode("utf-8", "replace")
        said = events.text_to("upstream", "<end>")
        while len(said) < len(whole):
            said += events.text_to("upstream", "<end>")  # pieces may hold the mark themselves
        assert said == whole


def test_much_at_once_comes_in_lines_that_clients_can_bear() -> None:
    with World(answers(OK)) as world, world.connect() as client:
        events = follow(client)
        events.start()
        data = b"x" * (READER_BYTES - 3) + b"end"
        world.logs.proxy.write(data)
        pieces: list[str] = []
        while not pieces or "end" not in pieces[-1]:
            pieces.append(events.next_of("logData")["data"])
            assert len(pieces[-1]) <= LOG_PIECE
        assert "".join(pieces).encode() == data


def test_the_history_is_one_event_however_long() -> None:
    with World(answers(OK)) as world, world.connect() as client:
        world.logs.upstream.write(b"x" * 2 * RING_BYTES)
        assert follow(client).start()[1].data == {"source": "upstream", "data": "x" * RING_BYTES}


# -- slow readers, and the end --


def test_a_reader_that_does_not_read_holds_up_nobody_and_finds_the_latest() -> None:
    with World(answers(OK), config=CONFIG) as world, world.connect() as client:
        events = follow(client)
        events.start()
        line = b"x" * 99 + b"\n"
        for number in range(1, 501):  # 50 MB
            world.logs.upstream.write(line * 1000)
            world.controller.running = [Running("m", number, "starting" if number % 2 else "ready")]
            world.controller.queue = [TicketView(number, "m", 1, 0.0, "loading")]
            for topic in Topic:
                world.app.changes.note(topic)
        world.logs.upstream.write(b"the end\n")
        text, models, queue = "", 0, 0
        last: dict[str, Any] = {}
        while "the end" not in text or "queue" not in last or last["queue"]["queue"][0]["ticket"] < 500:
            event = events.next()
            assert event is not None
            last[event.type] = event.data
            text += event.data["data"] if event.type == "logData" else ""
            models += event.type == "modelStatus"
            queue += event.type == "queue"
        assert states(last["modelStatus"])["m"] == "ready"
        dropped = [int(part.rpartition("— ")[2]) for part in text.split(" bytes dropped —\n")[:-1]]
        kept = sum(len(said) + 1 for said in text.splitlines() if "bytes dropped" not in said)
        assert dropped
        assert 0 <= sum(dropped) + kept - 50_000_008 <= len(dropped)  # a marker in mid-line ends a line
        assert max(models, queue) < 500


@pytest.mark.slow
def test_a_reader_that_does_not_read_is_told_what_it_missed_while_others_miss_nothing() -> None:
    with World(answers(OK), config=CONFIG) as world, world.connect() as client, world.connect() as slow:
        slow.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow_events, events = follow(slow), follow(client)
        slow_events.start()
        events.start()
        read_bytes, written_bytes = 0, 0
        for number in range(20):  # each is told in one go: what comes behind it is gathered
            lines = b"%05d " % number + b"x" * 60_000 + b"\n" + b"y" * 60_000 + b"\n"
            world.logs.upstream.write(lines)
            written_bytes += len(lines)
            while read_bytes < written_bytes:
                text = events.next_of("logData")["data"]
                assert "dropped" not in text
                read_bytes += len(text)
        world.controller.running = [Running("m", 1, "ready")]
        world.app.changes.note(Topic.RUNS)
        assert states(events.next_of("modelStatus"))["m"] == "ready"
        text = ""
        last: dict[str, str] = {}
        while last.get("m") != "ready":
            event = slow_events.next()
            assert event is not None
            text += event.data["data"] if event.type == "logData" else ""
            last = states(event.data) if event.type == "modelStatus" else last
        dropped = [int(part.rpartition("— ")[2]) for part in text.split(" bytes dropped —\n")[:-1]]
        assert sum(dropped) > 1_000_000
        kept = len("".join(part.rpartition("— ")[0] for part in text.split(" bytes dropped —\n")))
        assert sum(dropped) + kept == written_bytes


def test_a_reader_that_leaves_is_noticed_though_nothing_happens() -> None:
    with World(answers(OK)) as world:
        with world.connect() as client:
            follow(client).start()
        assert world.server.wait_idle(DEADLINE)  # its handler thread is back
        assert world.logs.proxy.reader_count == 0
        for topic in Topic:
            world.app.changes.note(topic)


def test_the_stream_ends_in_good_order_with_the_server() -> None:
    with World(answers(OK)) as world, world.connect() as client:
        events = follow(client)
        events.start()
        world.logs.proxy.write(b"last words\n")
        world.logs.close_streams()
        assert events.next_of("logData") == {"source": "proxy", "data": "last words\n"}
        assert events.next() is None
        client.send(get("/health"))
        assert client.read_message()[1] == b"OK"


def test_the_end_of_one_log_is_not_the_end() -> None:
    with World(answers(OK)) as world, world.connect() as client:
        events = follow(client)
        events.start()
        world.logs.upstream.close()
        for word in ("still", "here"):
            world.logs.proxy.write(word.encode())
            assert events.next_of("logData") == {"source": "proxy", "data": word}


def test_the_first_events_are_those_that_are_promised() -> None:
    contract = ["logData", "logData", "modelStatus", "uiConfig", "profileChanged", "inflight"]
    assert [*contract, "queue", "memory"] == START
