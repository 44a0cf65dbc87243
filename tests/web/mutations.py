"""Inputs for the fuzzers: what clients and upstreams send, broken in the ways that parsers get wrong.

Pure. Every input follows from its seed and its number alone, so that one that was found bad can be made again.
"""

from __future__ import annotations

import itertools
import re
from random import Random

REQUESTS = (
    b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /upstream/m\xc3\xa4/x?y=\xff HTTP/1.1\r\nHost: x\r\n\r\n",
    (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x:80\r\nContent-Type: application/json\r\nContent-Length: 13\r\n"
        b'\r\n{"model":"m"}'
    ),
    (
        b"POST /v1/embeddings?a=b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive, x-a\r\n"
        b'X-A: 1\r\nContent-Type: application/json\r\n\r\nd;e=f\r\n{"model":"m"}\r\n0\r\nX-T: 1\r\n\r\n'
    ),
    b"GET http://x/upstream/m/p/a%2Fth?q=1&q=2 HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n",
    (
        b"GET /upstream/m/ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        b"\x81\x85\1\2\3\4abcde\x88\x80\1\2\3\4"
    ),
    (
        b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        b'Content-Length: 68\r\n\r\n--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n--b--\r\n   '
    ),
    (
        b"POST /completion HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        b"Content-Length: 7\r\nExpect: 100-continue\r\n\r\nmodel=m"
    ),
    b"HEAD /running HTTP/1.0\r\nConnection: keep-alive\r\nAccept: */*\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: x\r\nOrigin: http://y\r\nTE: trailers\r\nKeep-Alive: 5\r\n\r\n",
    b"POST /api/models/unload/m HTTP/1.1\r\nhost: x\r\nContent-Length: 0\r\nAuthorization: Bearer k\r\n\r\n",
)
ANSWERS = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"8\r\ndata: a\n\r\n0\r\n\r\n"
    ),
    b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\nKeep-Alive: 1\r\n\r\nok",
    b"HTTP/1.1 204 No Content\r\nX-A: b\r\nConnection: x-a, close\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: x\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    b"HTTP/1.1 500 \xe4h\r\nServer: x\r\n\r\nuntil the end",
)
CHUNKED = (
    b"5\r\nhello\r\n0\r\n\r\n",
    b"00a;x=y\r\n0123456789\r\n1\r\na\r\n0\r\nX-Trailer: b\r\n\r\nGET / HTTP/1.1\r\n",
    b"1\r\na\r\n" * 5 + b"000;\r\nA:\r\nB: c\r\n\r\n",
    b"1F\r\n" + b"\r\n0\r\n\r\n" * 4 + b"abc" + b"\r\n0\r\n\r\n",
)
FORMS = (
    b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n--b--\r\n',
    (
        b'before\r\n--b \t\r\nContent-Disposition: form-data; name="file"; filename="a\\"b"\r\nContent-Type: x/y\r\n'
        b"\r\n\r\n--bo\r\n--\x00\xff\r\n--b\r\ncontent-disposition: form-data; name=model\r\n\r\nal\r\n--b--after"
    ),
    (
        b'--b\r\n\r\nx\r\n--b\r\nContent-Disposition: form-data; name="model"\r\n\r\n\r\n--b\r\n'
        b'Content-Disposition: form-data; name="model"\r\n\r\nm\xc3\xa4\r\n--b--'
    ),
)
ENCODED = (b"model=m&a=b", b"a=%26&model=m%2Fn+o&model=&b", b"x;model=m&mode%6c=al&=&&model")
DOCUMENTS = (
    b'{"model":"m","n":[1,2.50,-0,1e5,{"model":"x"}],"s":"\\u00e4\\"\\\\ \xc3\xa4\xf0\x9f\x98\x80"}',
    b' {\n "a" : {} , "model" : "al" ,"mod\\u0065l":"m", "t":true,"z":null } \r\n',
    b'\xef\xbb\xbf{"messages":[{"role":"user","content":"[{"}],"model":"\xff","temperature":0.10}',
)
NAMES = (b"m", b"m/p", b"a%2Fm/p?q", b"%6d", b"a/b//c", b"%ff/%00/\xe4", b"/", b"")

DICTIONARY = (
    b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\0",
    b" ", b"\t", b":", b";", b",", b'"', b"\\", b"%", b"=", b"&", b"--", b"/",
    b"#", b"*", b"?", b"0", b"-1", b"+5", b"5, 5", b"0x5", b"1e3", b"f" * 17, b"9" * 30, b"\xff", b"\x80", b"\xc3\xa4",
    b"\x85", b"\xa0", b"\x0b", b"\x0c", b"\x7f", b"\x1b", b"Content-Length: 5\r\n", b"Content-Length: 13\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip, chunked\r\n", b"Transfer-Encoding : chunked\r\n",
    b"Connection: close\r\n", b"Connection: content-length, host, x-forwarded-for, upgrade\r\n", b"Host: y\r\n",
    b"Upgrade: websocket\r\n", b"Upgrade: h2c, x\r\n", b"Connection: Upgrade\r\n", b"Expect: 100-continue\r\n",
    b"X-Forwarded-For: 9.9.9.9\r\n", b"X-Forwarded-For:\r\n", b" folded\r\n", b"chunked", b"identity", b"0\r\n\r\n",
    b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"http://", b"https://x", b"//", b"..",
    b"\r\n--b\r\n", b"\r\n--b--", b'name="model"', b'filename="f"', b"filename*=x", b'"model":', b'"model":"m",',
    b"model=",
    b"{", b"}", b"[", b"]", b"[" * 3000, b'{"a":' * 600, b"\\u", b"\\ud800", b"\\u006d", b"NaN",
    b"-Infinity", b"1" * 5000,
    b"x" * 5000, b"a:b\r\n" * 50, b"a=b&" * 300, b"\xef\xbb\xbf", b"true", b"\xed\xa0\x80", b"\xf0\x9f", b"al",
)  # fmt: skip
_find_words = re.compile(rb"[A-Za-z0-9]+|\r\n|.", re.DOTALL).finditer


def random_of(seed: int, number: int) -> Random:
    """The source of all that is by chance about one input."""
    return Random(seed * 1_000_000_007 + number)


def mutate(chance: Random, data: bytes, others: tuple[bytes, ...]) -> bytes:
    """`data`, changed in up to four places; now and then not at all."""
    for _ in range(chance.choice((0, 1, 1, 1, 2, 2, 3, 4))):
        data = _change(chance, data, others)
    return data


def _change(chance: Random, data: bytes, others: tuple[bytes, ...]) -> bytes:
    start, end = _piece(chance, data)
    piece = data[start:end]
    kind = chance.randrange(9)
    if kind == 0:
        piece = b""
    elif kind == 1:
        piece += piece * chance.choice((1, 1, 2, 40))
    elif kind <= 3:
        piece = chance.choice(DICTIONARY)
    elif kind <= 5:
        piece += chance.choice(DICTIONARY)
    elif kind == 6:
        piece = bytes([chance.randrange(256)]) + piece[1:]
    elif kind == 7:
        other = chance.choice(others)
        first, last = _piece(chance, other)
        piece = other[first:last]
    else:
        piece = piece.swapcase()
        if chance.randrange(4) == 0:
            return data[:start]
    return data[:start] + piece + data[end:]


def _piece(chance: Random, data: bytes) -> tuple[int, int]:
    """Where a line, a word or some bytes stand."""
    at = chance.randint(0, len(data))
    kind = chance.randrange(3)
    if kind == 0:
        start = data.rfind(b"\r\n", 0, at) + 2 if b"\r\n" in data[:at] else 0
        end = data.find(b"\r\n", at)
        return start, len(data) if end < 0 else end + 2
    if kind == 1:
        word = next(_find_words(data, at), None)
        return word.span() if word else (at, at)
    return at, min(len(data), at + chance.choice((0, 1, 2, 8, 30)))


def cut(chance: Random, data: bytes) -> list[bytes]:
    """`data` in pieces: a few, or many."""
    if len(data) < 2:
        return [data]
    count = chance.choice((1, 1, 2, 3, min(len(data) - 1, 30)))
    cuts = sorted({0, len(data), *(chance.randint(1, len(data) - 1) for _ in range(count))})
    return [data[start:end] for start, end in itertools.pairwise(cuts)]
