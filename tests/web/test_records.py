"""Each request that names a model leaves exactly one record, however it ends, and nothing in the table of requests."""

from __future__ import annotations

import gc
import gzip
import threading
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llamaswap_lib.activity.in_flight import SMALL_BYTES
from llamaswap_lib.activity.meter import row_of
from llamaswap_lib.activity.query import moment_of, text_of
from llamaswap_lib.activity.record import Ended, Record
from llamaswap_lib.errors import BadGateway, ClientGone, ConcurrencyLimit, HttpError, LoadFailed, ModelHung, RunNotDead
from llamaswap_lib.server.limits import Limits
from llamaswap_lib.server.request_body import RequestBody
from tests.web.upstreams import Teller, Thinker, always, ok_then, streaming, wait_until, warm
from tests.web.world import (
    CHUNKED_HEAD,
    DEADLINE,
    MODELS,
    OK,
    FakeQueue,
    Peer,
    Running,
    Script,
    World,
    answers,
    chat,
    get,
    sized,
)

CONFIG = """
ui: {activity: {session_id: [X-Mine, X-Other]}}
apiKeyNames: {named-key: laptop}
routing: {scheduler: {settings: {fifo: {priority: {m: 7}}}}}
upstream: {ignorePaths: ['^/assets/']}
models:
  m:
    cmd: server
    proxy: PROXY
    aliases: [al]
  strict:
    cmd: server
    proxy: PROXY
    filters: {setParams: {temperature: 1}}
peers:
  p: {proxy: PROXY, models: [far]}
selectors:
  sel: {strategy: pin, targets: [m]}
profiles:
  off: {pins: {m: ""}}
"""
CHUNKS = b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"


def post(path: str, body: bytes = b'{"model":"m"}', extra: bytes = b"") -> bytes:
    head = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n%b" % (path.encode(), extra)
    return head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


def only(world: World) -> Record:
    """The one record that there is; its request is in the table no more."""
    [record] = world.journal.wait_for(1)
    wait_until(lambda: not world.feed.table.entries)
    return record


def hang_up_now(_peer: Peer) -> None:
    """Without a word."""


def after_request(script: Callable[[Peer], None]) -> Script:
    """An upstream that reads a request and then does as `script` says."""

    def play(peer: Peer) -> None:
        peer.read_message()
        script(peer)

    return play


# -- what a record says --


def test_a_small_answer_is_recorded_with_all_that_is_known_of_it() -> None:
    extra = b"X-Other: session-1\r\nX-Forwarded-For: 9.9.9.9, 8.8.8.8\r\nAuthorization: Bearer some-key\r\n"
    with World(answers(sized(b"{}", b"Content-Type: application/json\r\n")), config=CONFIG) as world:
        world.ask(chat(b'{"model":"al"}', extra=extra))
        record = only(world)
    assert record.model == "m"
    assert (record.path, record.method, record.status) == ("/v1/chat/completions", "POST", 200)
    assert record.ended is Ended.COMPLETE
    assert record.content_type == "application/json"
    assert (record.error, record.retries, record.selector) == ("", 0, "")
    assert (record.request_bytes, record.response_bytes) == (14, 2)
    assert (record.priority, record.is_local) == ("7", True)
    assert (record.session, record.remote_ip) == ("session-1", "9.9.9.9")
    assert record.key.startswith("key-")
    assert "some-key" not in repr(record)
    assert (record.sample.head, record.sample.size_bytes, record.is_chunked) == (b"{}", 2, False)
    assert record.sent_at is not None
    assert record.head_at is not None
    assert 0 < record.sent_at <= record.head_at <= record.seconds
    assert record.sample.stamps == ((0, record.head_at),)


def test_the_moment_of_a_record_is_the_one_that_is_told() -> None:
    with World(answers(OK), config=CONFIG) as world:
        for count in range(1, 4):
            world.ask(chat())
            record = world.journal.wait_for(count)[-1]
            assert moment_of(text_of(record.timestamp)) == record.timestamp
    assert record.request_fields == record.response_fields == ""
    assert record.request_body is None


def test_a_stream_is_sampled_with_its_framing_and_the_time_of_each_piece() -> None:
    with World(answers(CHUNKED_HEAD + CHUNKS)) as world, world.connect() as client:
        client.send(chat())
        client.read_until(b"0\r\n\r\n")
        record = only(world)
    assert (record.sample.head, record.sample.tail, record.is_chunked) == (CHUNKS, b"", True)
    assert record.content_type == "text/event-stream"
    assert record.response_bytes == len(CHUNKS)
    assert record.sample.first_at is not None


def test_a_client_of_http_1_0_gets_no_chunks_and_so_none_are_sampled() -> None:
    with World(answers(CHUNKED_HEAD + CHUNKS)) as world, world.connect() as client:
        client.send(chat(version=b"1.0"))
        client.read_to_end()
        record = only(world)
    assert (record.sample.head, record.is_chunked) == (b"hello world", False)


def test_a_capture_has_the_headers_of_both_ways_and_what_was_sent() -> None:
    body = b'{"model":"strict","n":1}'
    answer = gzip.compress(b"x" * 50_000)
    with (
        World(answers(sized(answer, b"Content-Encoding: gzip\r\n")), config=CONFIG) as world,
        world.connect() as client,
    ):
        world.journal.captures = True
        client.send(chat(body))
        client.read_message()
        record = only(world)
    assert record.captures
    assert "Host: x\r\n" in record.request_fields
    assert "Content-Encoding: gzip\r\n" in record.response_fields
    assert record.request_body is not None
    assert b'"temperature":1' in record.request_body
    assert record.request_bytes == len(record.request_body)
    assert (record.content_encoding, record.sample.head) == ("gzip", answer)


JSON_IN_CHUNKS = CHUNKED_HEAD.replace(b"text/event-stream", b"application/json")
USED = b'{"usage":{"prompt_tokens":3,"completion_tokens":4}}'.rjust(2_000)


@pytest.mark.parametrize(
    ("room_bytes", "captures", "tokens"), [(5_000, True, 3), (2_000, False, 3), (1_999, False, 0), (0, False, 0)]
)
@pytest.mark.parametrize("answer", [sized(USED), JSON_IN_CHUNKS + b"7d0\r\n" + USED + b"\r\n0\r\n\r\n"])
def test_where_too_much_waits_the_capture_goes_first_and_then_what_the_answer_says(
    answer: bytes, room_bytes: int, captures: bool, tokens: int
) -> None:
    body = b'{"model":"m"}'.ljust(2_000)
    framing_bytes = 12 if b"chunked" in answer else 0
    with World(answers(answer)) as world:
        world.journal.captures, world.journal.room_bytes = True, room_bytes + framing_bytes
        world.ask(chat(body))
        record = only(world)
    assert (record.captures, record.request_body) == (captures, body if captures else None)
    assert (row_of(record).input_tokens, record.sample.size_bytes) == (tokens, len(USED) + framing_bytes)
    assert record.sample.first_at is not None


def test_there_is_always_room_for_small_bodies() -> None:
    body = b'{"model":"m"}'.ljust(SMALL_BYTES - 2)
    with World(answers(OK)) as world:
        world.journal.captures, world.journal.room_bytes = True, 0
        world.ask(chat(body))
        record = only(world)
    assert (record.captures, record.request_body) == (True, body)


@pytest.mark.parametrize(
    ("body", "model", "is_local", "selector"),
    [
        (b'{"model":"m"}', "m", True, ""),
        (b'{"model":"al"}', "m", True, ""),
        (b'{"model":"sel"}', "m", True, "sel"),
        (b'{"model":"far"}', "far", False, ""),
        (b'{"model":"p/far"}', "p/far", False, ""),
    ],
)
def test_the_model_is_the_one_that_was_asked(body: bytes, model: str, is_local: bool, selector: str) -> None:
    with World(answers(OK), config=CONFIG) as world:
        world.ask(chat(body))
        record = only(world)
    assert (record.model, record.is_local, record.selector) == (model, is_local, selector)
    assert record.priority == ("7" if is_local else None)


def test_a_key_with_a_name_is_told_by_that() -> None:
    with World(answers(OK, OK), config=CONFIG) as world, world.connect() as client:
        for key in (b"named-key", b"another"):
            client.send(chat(extra=b"x-api-key: %b\r\n" % key))
            client.read_message()
        first, second = world.journal.wait_for(2)
        assert first.key == "laptop"
        assert second.key == world.app.key_tags.tag(b"another")


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("/v/chat/completions", "/chat/completions"),
        ("/audioapi/v1/tasks/run", "/v1/tasks/run"),
        ("/upstream/m/v1/chat/completions", "/v1/chat/completions"),
        ("/upstream/al/props", "/props"),
    ],
)
def test_the_path_is_the_one_that_the_upstream_knows(path: str, sent: str) -> None:
    with World(answers(OK), config=CONFIG) as world:
        world.ask(post(path))
        record = only(world)
    assert (record.path, record.model, record.request_bytes) == (sent, "m", 13)


# -- how it ends --


def test_an_error_of_the_upstream_is_an_answer_like_any_other() -> None:
    with World(answers(b"HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\nno")) as world:
        world.ask(chat())
        record = only(world)
    assert (record.status, record.ended, record.error, record.sample.head) == (500, Ended.COMPLETE, "", b"no")


@pytest.mark.parametrize(
    ("refusal", "status", "ended"),
    [
        (ConcurrencyLimit(), 429, Ended.REFUSED),
        (LoadFailed("it died"), 502, Ended.FAILED),
        (ModelHung("it hung"), 504, Ended.UPSTREAM_BROKE),
        (BadGateway("no"), 502, Ended.UPSTREAM_BROKE),
        (HttpError("oh"), 500, Ended.FAILED),
        (RuntimeError("a mistake of ours"), 500, Ended.FAILED),
    ],
)
def test_a_request_that_never_gets_to_its_model_is_recorded(refusal: Exception, status: int, ended: Ended) -> None:
    with World(answers(OK)) as world:
        world.controller.refusal = refusal
        world.ask(chat())
        record = only(world)
    assert (record.status, record.ended) == (status, ended)
    assert record.error == (refusal.message if isinstance(refusal, HttpError) else "internal error")
    assert record.content_type == "application/json"
    assert record.sample.size_bytes == 0


def test_a_name_that_leads_nowhere_is_recorded_as_it_was_written() -> None:
    with World(answers(OK), config=CONFIG) as world:
        world.ask(chat(b'{"model":"zzz"}'))
        record = only(world)
    assert (record.model, record.is_local, record.priority) == ("zzz", False, None)
    assert (record.status, record.ended) == (404, Ended.REFUSED)
    assert "model not found" in record.error


REFUSED_BYTES = 100_003


def is_body_kept() -> bool:
    """Whether that of the refused request is in memory: what was made since the collector was here last is young."""
    young = gc.get_objects(generation=0)
    return any(isinstance(one, RequestBody) and one.size_bytes == REFUSED_BYTES for one in young)


@pytest.mark.parametrize(
    ("model", "refusal", "status"),
    [
        ("zzz", None, 404),
        ("m", ConcurrencyLimit, 429),
        ("m", partial(LoadFailed, "it died"), 502),
        ("m", None, 502),
        ("strict", None, 502),
        ("sel", None, 502),
        ("p/far", None, 502),
    ],
)
def test_nothing_of_a_request_that_fails_outlives_it_until_the_collector_comes(
    model: str, refusal: Callable[[], HttpError] | None, status: int
) -> None:
    body = b'{"model":"%b","pad":"%b"}' % (model.encode(), b"x" * REFUSED_BYTES)
    body = body[: REFUSED_BYTES - 2] + b'"}'
    gc.collect()
    gc.disable()
    try:
        with World(after_request(hang_up_now), config=CONFIG) as world, world.connect() as client:
            if refusal is not None:
                world.controller.refusal = refusal()
            client.send(post("/v1/chat/completions", body))
            assert client.read_message()[0].startswith(b"HTTP/1.1 %d " % status)
            assert only(world).status == status
            world.controller.refusal, world.controller.successor = None, RunNotDead()  # as they were raised
            world.journal.records.clear()
            wait_until(lambda: not is_body_kept())
    finally:
        gc.enable()


def test_of_texts_without_measure_only_the_beginning_is_kept() -> None:
    name, long = b"n" * 900_000, b"l" * 20_000
    extra = b"X-Mine: %b\r\nX-Forwarded-For: %b\r\n" % (long, long)
    typed = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: 2\r\n\r\nhi" % long
    with World(answers(typed), config=CONFIG) as world:
        world.ask(post("/v1/chat/completions", b'{"model":"%b"}' % name, extra))
        world.ask(post(f"/upstream/{long.decode()}/v1/chat/completions", extra=extra))
        world.ask(post("/v1/chat/completions"))
        records = world.journal.wait_for(3)
    for record in records:
        for text in (record.model, record.path, record.session, record.remote_ip, record.content_type, record.error):
            assert len(text.encode()) <= 1_024
    assert records[0].model == f"{'n' * 1_021}…"


@pytest.mark.parametrize(
    ("request_", "status", "model"),
    [
        (chat(b'{"model":"strict","temperature":NaN,"temperature":1}'), 400, "strict"),
        (post("/upstream/zzz/v1/chat/completions"), 404, "zzz"),
        (post("/upstream/m/v1/embeddings", extra=b"Transfer-Encoding: chunked\r\n"), 0, ""),
    ],
)
def test_what_is_refused_behind_its_name_is_recorded(request_: bytes, status: int, model: str) -> None:
    with World(answers(OK), config=CONFIG) as world, world.connect() as client:
        client.send(request_)
        answered = int(client.read_until(b"\r\n\r\n").split(b" ")[1])
        if not status:  # both lengths: nothing of that head is believed
            assert answered == 400
            wait_until(lambda: "400" in world.log)
            assert world.journal.records == []
            return
        record = only(world)
    assert (record.status, record.model, record.ended) == (
        answered,
        model,
        Ended.REFUSED if answered >= 400 else record.ended,
    )


def test_an_upstream_that_is_not_there_or_talks_rubbish_has_broken() -> None:
    with World(answers(b"rubbish\r\n\r\n")) as world:
        world.ask(chat())
        record = only(world)
    assert (record.status, record.ended) == (502, Ended.UPSTREAM_BROKE)
    assert "is not HTTP" in record.error


def test_an_answer_that_breaks_off_keeps_the_status_that_was_sent() -> None:
    with World(answers(CHUNKED_HEAD + b"5\r\nhel")) as world, world.connect() as client:
        client.send(chat())
        client.read_to_end()
        record = only(world)
    assert (record.status, record.ended, record.sample.head) == (200, Ended.UPSTREAM_BROKE, b"5\r\nhel")


@pytest.mark.parametrize("leave", [Peer.close, Peer.end, Peer.reset])
def test_a_client_that_leaves_before_its_answer_has_no_status(leave: Callable[[Peer], None]) -> None:
    thinker = Thinker()
    with World(ok_then(thinker.hear_hang_up)) as world, warm(world) as client:
        client.send(chat())
        assert thinker.asked.wait(DEADLINE)
        leave(client)
        _, record = world.journal.wait_for(2)
    assert (record.status, record.ended, record.head_at) == (0, Ended.CLIENT_LEFT, None)


def test_a_client_that_leaves_within_its_answer_has_that_status() -> None:
    teller = Teller()
    with World(ok_then(teller.answer)) as world:
        with streaming(world, teller) as client:
            client.close()
        _, record = world.journal.wait_for(2)
        teller.words.put(None)
    assert (record.status, record.ended) == (200, Ended.CLIENT_LEFT)
    assert record.sample.size_bytes > 0


def test_a_client_that_leaves_while_it_waits_is_recorded_with_its_wait() -> None:
    with World(answers(OK)) as world:
        queue = world.controller.waiting = FakeQueue()
        world.controller.waited_for = "another"
        with world.connect() as client:
            client.send(chat())
            wait_until(lambda: bool(world.controller.leased))
            wait_until(lambda: bool(world.feed.table.entries))
        record = only(world)
    queue.is_over.close()
    assert (record.status, record.ended, record.spent.behind) == (0, Ended.CLIENT_LEFT, "another")
    assert record.spent.load == 0.0
    assert record.sent_at is None


def test_what_the_end_of_the_server_breaks_off_has_failed() -> None:
    thinker = Thinker()
    with World(ok_then(thinker.hear_hang_up)) as world, warm(world) as client:
        client.send(chat())
        assert thinker.asked.wait(DEADLINE)
        world.server.abort()
        _, record = world.journal.wait_for(2)
    assert (record.status, record.ended) == (503, Ended.FAILED)
    assert record.error == "the server is shutting down"


def test_a_wait_for_a_load_is_parted_into_loading_and_all_else() -> None:
    with World(answers(OK)) as world, world.connect() as client:
        queue = world.controller.waiting = FakeQueue()
        client.send(chat())
        wait_until(lambda: bool(world.feed.table.entries))
        [entry] = world.feed.table.current()
        begun = world.loop.clock()
        world.controller.running = [Running("m", 1, "ready", begun, begun + 0.001)]
        threading.Event().wait(0.002)
        queue.is_over.set()
        client.read_message()
        record = only(world)
    queue.is_over.close()
    assert record.spent.load == pytest.approx(0.001)
    assert record.spent.queue > 0.0
    assert record.spent.queue + record.spent.load <= record.seconds
    assert entry.started + record.seconds > begun


def test_a_request_that_is_sent_again_says_so() -> None:
    with World(ok_then(after_request(hang_up_now)), always(OK)) as world, warm(world) as client:
        client.send(chat())
        client.read_message()
        first, second = world.journal.wait_for(2)
    assert (first.ended, first.retries) == (Ended.COMPLETE, 0)
    assert (second.ended, second.retries) == (Ended.COMPLETE, 1)


UNKNOWN = b'{"model":"zzz"}'
CHUNKED = b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n"


@pytest.mark.parametrize(
    ("request_", "status", "size_bytes"),
    [
        (chat(UNKNOWN), 404, 15),
        (get("/v1/chat/completions", method="POST", extra=CHUNKED) + b"f\r\n%b\r\n0\r\n\r\n" % UNKNOWN, 404, 15),
        (post("/upstream/zzz/v1/chat/completions", b"x" * 70), 404, 70),
        (post("/upstream/m/v1/chat/completions", b"x" * 200), 413, 200),
        (chat(b'{"model":"m","pad":1}'), 429, 21),
    ],
)
def test_the_row_of_a_refused_request_has_the_size_of_what_was_sent(
    request_: bytes, status: int, size_bytes: int
) -> None:
    with World(answers(OK), config=CONFIG, limits=Limits(max_body_bytes=100)) as world:
        world.controller.refusal = ConcurrencyLimit()
        world.ask(request_)
        record = only(world)
    assert (record.status, record.request_bytes) == (status, size_bytes)


# -- what leaves none --


@pytest.mark.parametrize(
    "request_",
    [
        get("/props?model=m"),
        get("/upstream/m/v1/chat/completions"),
        post("/upstream/m/elsewhere"),
        chat(b"{}"),
        chat(b"{"),
        post("/v1/none"),
        get("/v1/chat/completions", method="OPTIONS"),
        get("/v1/chat/completions"),
        get("/health"),
    ],
)
def test_what_is_no_post_for_a_model_leaves_no_record(request_: bytes) -> None:
    with World(answers(OK), config=CONFIG) as world:
        world.ask(request_)
        wait_until(lambda: "Request 127.0.0.1" in world.log and not world.feed.table.entries)
        assert world.journal.records == []


def test_without_its_key_a_request_leaves_no_record() -> None:
    with World(answers(OK), config=MODELS + "apiKeys: [k]\n") as world:
        world.ask(chat())
        wait_until(lambda: " 401 " in world.log)
        assert world.journal.records == []


# -- whatever comes --


SCRIPTS: dict[str, Script] = {
    "whole": after_request(lambda peer: peer.send(OK)),
    "chunks": after_request(lambda peer: peer.send(CHUNKED_HEAD + CHUNKS)),
    "breaks off": after_request(lambda peer: peer.send(CHUNKED_HEAD + b"5\r\nhel")),
    "half a head": after_request(lambda peer: peer.send(b"HTTP/1.1 200")),
    "rubbish": after_request(lambda peer: peer.send(b"\0\1\2\r\n\r\n")),
    "until close": after_request(lambda peer: peer.send(b"HTTP/1.1 200 OK\r\n\r\nhello")),
    "nothing": after_request(hang_up_now),
    "reset": after_request(Peer.reset),
    "at once": hang_up_now,
}
RECORDED = [chat(), chat(b'{"model":"zzz"}'), post("/upstream/m/v1/embeddings"), chat(b'{"model":"sel"}')]
UNRECORDED = [get("/upstream/m/x"), chat(b"{}"), get("/health"), get("/props?model=m")]


class Draws:
    """A script for each connection of an upstream, in turn."""

    def __init__(self, names: list[str]) -> None:
        self._names = iter(names * 50)
        self._lock = threading.Lock()

    def __call__(self, peer: Peer) -> None:
        with self._lock:
            name = next(self._names, "whole")
        try:
            SCRIPTS[name](peer)
        except (AssertionError, OSError):
            pass  # it was not asked, or hung up on


@settings(max_examples=40, deadline=None)
@given(
    names=st.lists(st.sampled_from(sorted(SCRIPTS)), min_size=1, max_size=4),
    requests=st.lists(
        st.tuples(st.sampled_from(RECORDED + UNRECORDED), st.sampled_from(["reads", "leaves", "resets", "ends"])),
        min_size=1,
        max_size=8,
    ),
)
def test_whatever_happens_there_is_one_record_for_each_and_nobody_is_left_in_flight(
    names: list[str], requests: list[tuple[bytes, str]]
) -> None:
    with World(Draws(names), config=CONFIG) as world:
        for request, what in requests:
            with world.connect() as client:
                client.send(request)
                if what == "reads":
                    read_any(client)
                elif what == "resets":
                    client.reset()
                elif what == "ends":
                    client.end()
                    read_any(client)
        assert world.server.wait_idle(DEADLINE)
        sent_whole = [request for request, what in requests if what in ("reads", "ends")]
        least, most = (sum(request in RECORDED for request in some) for some in (sent_whole, [r for r, _ in requests]))
        records = world.journal.wait_for(least)
        assert least <= len(records) <= most
        assert not world.feed.table.entries
        for record in records:
            assert record.seconds >= 0.0
            assert record.ended is not Ended.COMPLETE or record.status


def read_any(client: Peer) -> None:
    """An answer as far as it comes."""
    try:
        client.read_message()
    except (AssertionError, OSError):
        pass


def test_a_record_is_made_though_the_life_of_a_connection_breaks() -> None:
    with World(answers(OK)) as world:
        world.controller.fault_of_leaving = ValueError("a mistake")
        with world.connect() as client:
            client.send(chat())
            client.read_to_end()
        record = only(world)
    assert record.ended in (Ended.FAILED, Ended.COMPLETE)
    assert not isinstance(record.ended, ClientGone)


def test_nothing_of_a_body_outlives_its_record_until_the_collector_comes() -> None:
    chunk = b"8000\r\n" + bytes(0x8000) + b"\r\n"
    gc.disable()
    try:
        with World(answers(CHUNKED_HEAD + 3 * chunk + b"0\r\n\r\n")) as world, world.connect() as client:
            budget = world.feed.table.budget
            before = budget.left_bytes
            client.send(chat())
            client.read_until(b"0\r\n\r\n")
            assert only(world).sample.size_bytes > 3 * 0x8000
            world.journal.records.clear()
            wait_until(lambda: budget.left_bytes == before)
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("request_", "is_read"),
    [
        (post("/v1/chat/completions", extra=b"Accept-Encoding: br, gzip\r\n"), True),
        (post("/v1/chat/completions", b'{"model":"p/far"}', b"Accept-Encoding: br, gzip\r\n"), True),
        (post("/upstream/m/v1/chat/completions", extra=b"Accept-Encoding: br, gzip\r\n"), True),
        (post("/upstream/m/x", extra=b"Accept-Encoding: br, gzip\r\n"), False),
    ],
)
def test_an_answer_that_is_read_for_its_record_comes_in_a_coding_that_can_be_read(
    request_: bytes, *, is_read: bool
) -> None:
    seen: list[bytes] = []

    def script(peer: Peer) -> None:
        seen.append(peer.read_message()[0])
        peer.send(OK)

    with World(script, config=CONFIG) as world:
        for _ in range(2):
            assert world.ask(request_)[0].startswith(b"HTTP/1.1 200 ")
    assert len(seen) == 2
    for head in seen:
        assert (b"\r\nAccept-Encoding: gzip\r\n" if is_read else b"\r\nAccept-Encoding: br, gzip\r\n") in head
