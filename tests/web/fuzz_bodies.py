"""Fuzzing of bodies: chunked, forms, JSON, and of the names in them; each means the same however it is cut.

Each `try_` makes one input by chance, fails where a promise is broken, and says whether the input was taken.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from random import Random

import h11

from llamaswap_lib.errors import BadRequest, NotFound
from llamaswap_lib.routing.model_name import Named, UnknownName, find_model, find_upstream, rename_in_query
from llamaswap_lib.routing.names import Reach
from llamaswap_lib.wire.chunked import BadChunk, ChunkDecoder, ChunkScanner
from llamaswap_lib.wire.json_edit import Names, NotAnObject, load_object, read_members
from llamaswap_lib.wire.json_scan import NotJson
from llamaswap_lib.wire.multipart import parse_parameters
from llamaswap_lib.wire.splice import splice
from tests.web.fuzz_heads import KNOWN, check_answerable, read_on
from tests.web.mutations import CHUNKED, DOCUMENTS, ENCODED, FORMS, NAMES, cut, mutate

CONTENT_TYPES = ("multipart/form-data; boundary=b", 'Multipart/Form-Data; x=y;boundary="b"')


def try_chunks(chance: Random) -> bool:
    """A chunked body; whether it was taken, to its end."""
    data = mutate(chance, chance.choice(CHUNKED), CHUNKED)
    whole = _decode([data])
    assert _decode(cut(chance, data)) == whole
    assert _decode([data[at : at + 1] for at in range(min(len(data), 300))] + [data[300:]]) == whole
    if whole is None or not whole[2]:
        return False
    payload, used, _ = whole
    client = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
    client.send(h11.EndOfMessage())
    client.receive_data(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + data[:used] + b"HTTP/1.1")
    assert isinstance(client.next_event(), h11.Response)
    assert read_on(client) == (payload, b"HTTP/1.1")
    return True


def _decode(pieces: list[bytes]) -> tuple[bytes, int, bool] | None:
    """What a body says, how many bytes it has, whether it ended; None: it is malformed."""
    decoder, scanner = ChunkDecoder(), ChunkScanner()
    payload, used_bytes = b"", 0
    try:
        for piece in pieces:
            text, used = decoder.feed(piece)
            assert scanner.feed(memoryview(piece)) == used <= len(piece)
            assert scanner.done == decoder.done
            payload, used_bytes = payload + text, used_bytes + used
    except BadChunk:
        return None
    return payload, used_bytes, decoder.done


class Pieces:
    """A request's body, cut."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces
        self.size_bytes = sum(map(len, pieces))
        self.memory: bytes | None = None

    def read(self) -> bytes:
        return b"".join(self._pieces)

    def pieces(self) -> Iterator[bytes]:
        return iter(self._pieces)


def try_form(chance: Random) -> bool:
    """A form; whether a model was found."""
    kind = chance.choice(CONTENT_TYPES)
    if chance.randrange(4) == 0:
        kind = mutate(chance, kind.encode(), FORMS).decode("latin-1")
        parse_parameters(kind)
    data = mutate(chance, chance.choice(FORMS), FORMS)
    query = _some_query(chance)
    named = _find(kind, query, [data])
    assert named == _find(kind, query, cut(chance, data))
    if named is None:
        return False
    edited = b"".join(splice(cut(chance, data), named.edits("new")))
    again = _find(kind, "", [edited])
    if not named.places:
        assert edited == data
    elif b"b" in kind.encode() and "=b" in kind.replace('"', ""):
        assert again is not None
        assert again.name == "new", edited
        assert len(again.places) == len(named.places)
    return True


def _find(kind: str, query: str, pieces: list[bytes]) -> Named | None:
    try:
        return find_model("POST", kind, query, Pieces(pieces))
    except (BadRequest, NotFound) as refusal:
        check_answerable(refusal)
        return None


def _some_query(chance: Random) -> str:
    return "" if chance.randrange(3) else "?" + mutate(chance, chance.choice(ENCODED), ENCODED).decode("latin-1")


def try_encoded(chance: Random) -> bool:
    """An urlencoded body and a query; whether a model was found."""
    data = mutate(chance, chance.choice(ENCODED), ENCODED)
    query = data.decode("latin-1")
    found = _find("application/x-www-form-urlencoded", "", cut(chance, data))
    renamed = rename_in_query(query, "n/w ä")
    try:
        again = find_model("GET", "", renamed, Pieces([]))
    except NotFound:
        assert found is None
        return False
    assert again.name == "n/w ä"
    assert renamed == rename_in_query(renamed, "n/w ä")
    return found is not None


def try_document(chance: Random) -> bool:
    """A JSON body; whether a model was found."""
    data = mutate(chance, chance.choice(DOCUMENTS), DOCUMENTS)
    ours, theirs = _load(data), _load_by_json(data)
    assert ours == theirs
    named = _find("application/json; charset=utf-8", "", cut(chance, data))
    if named is None:
        return False
    assert ours is not None
    edited = b"".join(splice(cut(chance, data), named.edits("n\u00e4w\n")))
    pairs: list[tuple[str, object]] = json.loads(_text(edited), object_pairs_hook=_pairs, parse_int=float)
    before: list[tuple[str, object]] = json.loads(_text(data), object_pairs_hook=_pairs, parse_int=float)
    wanted = [(key, "n\u00e4w\n" if key == "model" else value) for key, value in before]
    assert repr(pairs) == repr(wanted)  # as text: a NaN is not equal to itself
    return True


def _pairs(pairs: list[tuple[str, object]]) -> object:
    return pairs


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape").removeprefix("\ufeff")


def _load(data: bytes) -> str | None:
    try:
        values, _ = load_object(data, Names(()))
        read_members(data, Names(()))  # as it would be, were it large
    except (NotJson, NotAnObject):
        return None
    return repr(values)


def _load_by_json(data: bytes) -> str | None:
    try:
        value = json.loads(_text(data), parse_int=float)
    except (json.JSONDecodeError, RecursionError):
        return None
    return repr(value) if isinstance(value, dict) else None


def try_upstream_path(chance: Random) -> bool:
    """What follows /upstream/; whether a model was found."""
    rest = mutate(chance, chance.choice(NAMES), NAMES).decode("latin-1")
    try:
        found = find_upstream(rest, {"m": "m", "m/p": "n", "a/b": "o"}.get, 1)
    except UnknownName as unknown:
        check_answerable(KNOWN.unknown(unknown.name, Reach.MODELS))
        return False
    assert rest.endswith(found.path)
    assert not found.path or found.path[0] == "/"
    return True
