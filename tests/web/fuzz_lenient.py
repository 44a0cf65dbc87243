"""Fuzzing of a model's answers: whatever it sends, what goes on to the client means one thing to h11, or breaks off.

`try_lenient_answer` makes one answer by chance, fails where a promise is broken, and says whether it was taken whole.
"""

from __future__ import annotations

from random import Random

import h11

from llamaswap_lib.errors import BadGateway
from llamaswap_lib.wire.body_framing import body_of, missing_end
from llamaswap_lib.wire.chunked import LAST_CHUNK, BadChunk
from llamaswap_lib.wire.headers import answer_lines
from llamaswap_lib.wire.heads import BodyKind, ResponseHead
from llamaswap_lib.wire.lenient_heads import AnswerHeadReader
from tests.web.fuzz_heads import check_answerable, read_on
from tests.web.mutations import ANSWERS, CHUNKED, cut, mutate

_CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
SLIPS = (
    *ANSWERS,
    *(_CHUNKED_HEAD + body for body in CHUNKED),
    *((_CHUNKED_HEAD + body).replace(b"\r\n", b"\n") for body in CHUNKED),
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\nX: a\r\n b\r\nX Y: z\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\nTransfer-Encoding: chunked\r\n\r\n8  \r\n{'ok':1}\r\n0\r\n\r\n",
    b"\r\nhttp/1.1  200 \nContent-Length : 2, 2\nX:\xc3\xa4\x01\n\nok",
    b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n 2\r\nok\n0;x\nX: y\n z\n\n",
    b"HTTP/1.1 103 Early Hints\nLink: x\n\nHTTP/1.1 200 OK\nConnection: close\n\nuntil the end",
)


def try_lenient_answer(chance: Random) -> bool:
    """An answer and its end; whether it was taken whole."""
    data = mutate(chance, chance.choice(SLIPS), SLIPS)
    method = chance.choice(("GET", "GET", "HEAD"))
    outcome = _pass_on([data], method)
    assert _meaning(_pass_on(cut(chance, data), method), method) == _meaning(outcome, method)
    return outcome is not None and outcome[1]


def _pass_on(pieces: list[bytes], method: str) -> tuple[bytes, bool, bool] | None:
    """What goes to a client, whether it is whole, and whether its connection's end ends it; None: 502."""
    reader, data, searched, unread = AnswerHeadReader(lenient=True), b"", 0, list(pieces)
    try:
        while (head := reader.read(data, searched)) is None or head.status < 200:
            if head is not None:
                data, searched = data[reader.end :], 0
                if head.status == 101:
                    return None
            elif unread:
                searched, data = len(data), data + unread.pop(0)
            else:
                return None
    except BadGateway as refusal:
        check_answerable(refusal)
        return None
    return _pass_body_on(head, [data[reader.end :], *unread], method)


def _pass_body_on(head: ResponseHead, pieces: list[bytes], method: str) -> tuple[bytes, bool, bool] | None:
    framing = head.body(method)
    body, decoded = body_of(framing, lenient=True), body_of(framing, lenient=True, decoded=True)
    sent, payload = b"", b""
    ends_by_close = framing.kind is BodyKind.UNTIL_CLOSE
    try:
        for piece in pieces:
            if not body.done and piece:
                sent += body.take(piece)
                payload += decoded.take(piece)
        if missing := missing_end(body):
            assert missing_end(decoded) == missing
            sent += body.take(missing)
            payload += decoded.take(missing)
    except BadChunk:
        pass  # where the slip is in the first piece, it is a 502; here it is as if it came later
    message = f"{answer_lines(head)}\r\n".encode("latin-1") + sent
    is_whole = ends_by_close or body.done
    if is_whole:
        assert decoded.done == body.done
        assert _payload(message, method, ends_by_close=ends_by_close) == payload
    return message, is_whole, ends_by_close


def client_reading(method: str) -> h11.Connection:
    """A strict client that has sent its request."""
    client = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    client.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
    client.send(h11.EndOfMessage())
    return client


def _payload(message: bytes, method: str, *, ends_by_close: bool) -> bytes:
    """What a strict client reads of a whole answer, with nothing behind it."""
    client = client_reading(method)
    client.receive_data(message)
    if ends_by_close:
        client.receive_data(b"")
    answer = client.next_event()
    assert isinstance(answer, h11.Response), answer
    payload, behind = read_on(client)
    assert behind == b""
    return payload


def _meaning(outcome: tuple[bytes, bool, bool] | None, method: str) -> object:
    """What a strict client takes it for: what is not whole must not seem so."""
    if outcome is None:
        return None
    message, is_whole, ends_by_close = outcome
    if is_whole:
        return message.partition(b"\r\n\r\n")[0], _payload(message, method, ends_by_close=ends_by_close)
    assert not message.endswith(b"\r\n" + LAST_CHUNK) or not _seems_whole(message, method)
    return message.partition(b"\r\n\r\n")[0]


def _seems_whole(message: bytes, method: str) -> bool:
    client = client_reading(method)
    client.receive_data(message)
    while True:
        event = client.next_event()
        if event is h11.NEED_DATA or isinstance(event, h11.EndOfMessage):
            return event is not h11.NEED_DATA
