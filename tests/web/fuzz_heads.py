"""Fuzzing of heads: what is taken and sent on is read the same by h11, framing included; what is refused, in words.

Each `try_` makes one input by chance, fails where a promise is broken, and says whether the input was taken.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sized
from random import Random

import h11

from llamaswap_lib.config.schema import Config
from llamaswap_lib.errors import BadGateway, BadRequest, HeadTooLarge, HttpError, NotImplementedByServer
from llamaswap_lib.proxy.connection import origin_of
from llamaswap_lib.routing.model_name import UnknownName, find_upstream
from llamaswap_lib.routing.names import Names, Reach
from llamaswap_lib.routing.routes import find_route
from llamaswap_lib.wire.headers import HOP_BY_HOP, request_fields, response_fields
from llamaswap_lib.wire.heads import NO_BODY, BodyKind, Framing, RequestHead, ResponseHead
from llamaswap_lib.wire.parser import head_end, parse_request_head, parse_response_head
from llamaswap_lib.wire.target import split_target
from tests.web.mutations import ANSWERS, REQUESTS, cut, mutate

NEXT = b"GET /next HTTP/1.1\r\nHost: x\r\n\r\n"
KNOWN = Names(Config(), ("m", "m/p", "a/b"))
SHORT_BYTES = 1000  # a body up to this is sent to h11 as well


def try_request(chance: Random) -> bool:
    """A request's head; whether it was taken."""
    data = mutate(chance, chance.choice(REQUESTS), REQUESTS)
    try:
        end = _end_of_head(chance, data, parse_request_head)
        if end < 0:
            return False
        head = parse_request_head(data[:end])
    except (BadRequest, HeadTooLarge, NotImplementedByServer) as refusal:
        check_answerable(refusal)
        return False
    path, query = split_target(head.target)
    _check_answerable_route(head.method, path)
    body_bytes = _length_as_sent(chance, head)
    origin = origin_of("http://up:81/base?x=y")
    fields = request_fields(head, "7.7.7.7", body_bytes)
    host = "" if "host" in head.first else "Host: up\r\n"
    message = f"{head.method} {origin.target(path, query)} HTTP/1.1\r\n{host}{fields}\r\n".encode("latin-1")
    with_body = body_bytes is not None and body_bytes <= SHORT_BYTES
    server = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    server.receive_data(message + (b"b" * body_bytes + NEXT if body_bytes is not None and with_body else b""))
    request = server.next_event()
    assert isinstance(request, h11.Request), request
    assert (request.method.decode(), request.target.decode()) == (head.method, origin.target(path, query))
    wanted = _sent_on(head, body_bytes)
    got = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw_items()]
    assert sorted(got) == sorted(wanted + ([] if "host" in head.first else [("Host", "up")])), (got, wanted)
    if with_body:
        payload, behind = read_on(server)
        assert (payload, behind) == (b"b" * (body_bytes or 0), NEXT)
    return True


def _end_of_head(chance: Random, data: bytes, parse: Callable[[bytes], Sized]) -> int:
    """What `head_end` says of the whole, which must be what is made of it when it comes in pieces."""
    whole, cuts = _outcome(lambda: head_end(data)), cut(chance, data)
    seen = b""
    for piece in cuts:
        start, seen = len(seen), seen + piece
        so_far = _outcome(lambda start=start, seen=seen: head_end(seen, start))  # type: ignore[misc]
        if so_far != -1:
            break
    if isinstance(so_far, str) and isinstance(whole, int):  # refused as soon as it was seen: so it is when it is whole
        assert isinstance(_outcome(lambda: len(parse(data[:whole]))), str), (so_far, whole)
    else:
        assert so_far == whole or isinstance(whole, str), (so_far, whole)
    return head_end(data)


def _outcome(step: Callable[[], int]) -> int | str:
    try:
        return step()
    except HttpError as error:
        return type(error).__name__


def _length_as_sent(chance: Random, head: RequestHead) -> int | None:
    """As the body was, or as it is after its model was renamed."""
    if head.framing == NO_BODY:
        return None
    return chance.choice((0, 3, 5)) if head.content_length is None else head.content_length + chance.choice((0, 0, 2))


def _sent_on(head: RequestHead, body_bytes: int | None) -> list[tuple[str, str]]:
    """The headers that an upstream must see, by another reading of the rules than `request_fields`."""
    dropped = HOP_BY_HOP | (head.connection - {"host", "content-length"}) | {"x-forwarded-for", "content-length"}
    sent = [(name, value) for name, value in head.headers if name.lower() not in dropped]
    told = [] if "x-forwarded-for" in head.connection else _all_of(head, "x-forwarded-for")
    sent.append(("X-Forwarded-For", ", ".join([*filter(None, told), "7.7.7.7"])))
    if head.upgrade:
        sent += [("Connection", "Upgrade"), ("Upgrade", head.first["upgrade"])]
    if body_bytes is not None:
        same = [(name, value) for name, value in head.headers if name.lower() == "content-length"]
        sent += same if body_bytes == head.content_length else [("Content-Length", str(body_bytes))]
    return sent


def _all_of(head: RequestHead, wanted: str) -> list[str]:
    return [value for name, value in head.headers if name.lower() == wanted]


def _check_answerable_route(method: str, path: str) -> None:
    try:
        route = find_route(method, path)
        find_upstream(route.upstream_path, {"m": "m", "m/p": "m"}.get, 1)
    except UnknownName as unknown:
        check_answerable(KNOWN.unknown(unknown.name, Reach.MODELS))


def check_answerable(refusal: HttpError) -> None:
    """Its body can be written, whatever of the input it quotes."""
    json.dumps(refusal.body(), ensure_ascii=False).encode()


def try_answer(chance: Random) -> bool:
    """An upstream's head; whether it was taken."""
    data = mutate(chance, chance.choice(ANSWERS), ANSWERS)
    try:
        end = _end_of_head(chance, data, parse_response_head)
        if end < 0:
            return False
        head = parse_response_head(data[:end])
    except (BadRequest, HeadTooLarge, BadGateway) as refusal:  # `relay.py` makes a BadGateway of what `head_end` says
        check_answerable(refusal)
        return False
    if head.status < 200:
        return False  # goes no further
    is_decoded = head.chunked and chance.randrange(2) == 0
    method = chance.choice(("GET", "HEAD"))
    fields = response_fields(head, is_decoded=is_decoded)
    message = f"HTTP/1.1 {head.status} {head.reason}\r\n{fields}\r\n".encode("latin-1")
    client = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    client.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
    client.send(h11.EndOfMessage())
    framing = head.body(method)
    if is_decoded and framing.kind is BodyKind.CHUNKED:
        framing = Framing(BodyKind.UNTIL_CLOSE)
    body, payload = _body_in(framing)
    client.receive_data(message + body)
    answer = client.next_event()
    assert isinstance(answer, h11.Response), answer
    assert (answer.status_code, answer.reason.decode("latin-1")) == (head.status, head.reason)
    _check_passed_back(head, answer)
    if framing.kind is BodyKind.UNTIL_CLOSE:
        client.receive_data(b"")
    if framing.length <= SHORT_BYTES:
        behind = b"" if framing.kind is BodyKind.UNTIL_CLOSE else b"HTTP/1.1"
        assert read_on(client) == (payload, behind), framing
    return True


def _check_passed_back(head: ResponseHead, answer: h11.Response) -> None:
    dropped = HOP_BY_HOP | (head.connection - {"host", "content-length"})
    ends = {"content-length"} if head.status == 204 else set()
    wanted = [(name.lower(), value) for name, value in head.headers if name.lower() not in dropped | ends]
    got = [(name.decode(), value.decode("latin-1")) for name, value in answer.headers if name != b"transfer-encoding"]
    assert got == wanted, (got, wanted)


def _body_in(framing: Framing) -> tuple[bytes, bytes]:
    """A body in that framing with the begin of the next answer behind it, and what it says."""
    if framing.kind is BodyKind.CHUNKED:
        return b"2\r\nhi\r\n0\r\n\r\nHTTP/1.1", b"hi"
    if framing.kind is BodyKind.UNTIL_CLOSE:
        return b"hi", b"hi"
    payload = b"b" * min(framing.length, SHORT_BYTES)
    return payload + b"HTTP/1.1", payload


def read_on(connection: h11.Connection) -> tuple[bytes, bytes]:
    """The body that h11 reads, and what it finds behind it."""
    payload = b""
    while not isinstance(event := connection.next_event(), h11.EndOfMessage):
        assert isinstance(event, h11.Data), event
        payload += bytes(event.data)
    return payload, connection.trailing_data[0]
