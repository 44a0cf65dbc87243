"""Which model a request names, where it names it, and how another name is put in its place.

Pure, any thread. A name is looked for in the JSON body, in the form, in the query or in the path, as `routes.py` says.
Guarantees: whatever is not the name stays byte for byte; all places that name the model are replaced together, so
that no receiver can read another name than we did; a form of any size passes in bounded memory. Every failure is a
BadRequest or a NotFound that a client can read, or an UnknownName, of which `names` can say more. Never looks at a body
under /upstream.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote, unquote

from llamaswap_lib.errors import BadRequest, HttpError, LlamaswapError, NotFound
from llamaswap_lib.printable import bounded, printable
from llamaswap_lib.wire.json_edit import (
    MOST_SMALL_BYTES,
    Member,
    Names,
    NotAnObject,
    RepeatedTooOften,
    encode,
    load_object,
    only_place,
    read_members,
)
from llamaswap_lib.wire.json_scan import NotJson
from llamaswap_lib.wire.multipart import BadForm, FormScanner, Value, find_pairs, parse_parameters
from llamaswap_lib.wire.splice import Edit, spliced

FIELD = "model"
ONLY_NAME = Names((FIELD,))
MAX_URLENCODED_BYTES = 10 << 20
_BLANKS = b" \t\n\r"  # of JSON
_MOST_SHOWN_BYTES = 100  # of a Content-Type that a client sent

Lookup = Callable[[str], "str | None"]


class Body(Protocol):
    """What is asked of a request's body."""

    size_bytes: int

    @property
    def memory(self) -> bytes | None:
        """All of it, None where it is in a file."""

    def read(self) -> bytes: ...

    def pieces(self) -> Iterator[bytes]: ...


@dataclass(slots=True)  # as fast to make as can be: one for each request
class Named:
    """The model that a request names, as the client wrote it, and the places in the body that say so."""

    name: str
    places: tuple[tuple[int, int], ...] = ()  # in a form with the blank line before each value among them
    json: bytes = b""  # the body, searched for places only when there is something to replace, unless they are known
    json_keys: Collection[str] | None = ()  # its top-level keys; None: of a large body only those asked for were read
    line_end: bytes = b""  # of a form
    values: Mapping[str, Any] | None = None  # of the JSON body, where it is not large
    members: Sequence[Member] = ()  # of a large one: where those asked for stand

    def edits(self, name: str) -> Sequence[Edit]:
        """What makes the body name `name`; in order, none overlaps another."""
        if self.json:
            new, places = name_in_json(name), self.places or _places_in_json(self.json)
        else:
            new, places = self.line_end + name.encode(), self.places
        return [Edit(start, end, new) for start, end in places]


@lru_cache(maxsize=256)
def name_in_json(name: str) -> bytes:
    """A model's name as JSON; of names there are few."""
    return encode(name).encode()


# -- the model of a model route --


def find_model(method: str, content_type: str, query: str, body: Body, names: Names = ONLY_NAME) -> Named:
    """The model that a request to a model route names; `query` may begin with its question mark.

    `names` has FIELD, and what else is to be known of a large JSON body: it is read but once.
    Raises BadRequest for a body that is not what `content_type` says, NotFound where no model is named.
    """
    if method in ("GET", "HEAD"):
        return _first_of(_query_values(query))
    if not is_json(content_type):
        try:
            return _find_in_form(content_type, query, body)
        except HttpError as error:
            if not _looks_like_json(body):
                raise
            raise type(error)(f"{error.message}: {_json_hint(content_type)}") from None
    data = body.read() if body.memory is None else body.memory
    try:
        values, members = load_object(data, names)
    except (NotJson, NotAnObject, RepeatedTooOften) as wrong:
        raise _refusal_of(data, wrong) from None
    name = values.get(FIELD)
    if name is None or name == "":
        raise no_model()
    if not isinstance(name, str):
        raise BadRequest(f"'model' must be a string of at most {MOST_SMALL_BYTES} bytes")
    if members is None:
        return Named(name, (), data, values, values=values)
    return Named(name, _values_of(members), data, None, members=members)


@lru_cache(maxsize=32)
def is_json(content_type: str) -> bool:
    """Whether a body of that type is read as JSON, and not as a form."""
    return "application/json" in content_type.lower()


def _find_in_form(content_type: str, query: str, body: Body) -> Named:
    kind, parameters = parse_parameters(content_type)
    if kind == "multipart/form-data":
        form = _scan_form(parameters.get("boundary", ""), body)
        # With the blank line that may be the value's own end.
        places = tuple((value.start - len(form.line_end), value.end) for value in form.values)
        return Named(_first_of(_query_values(query) + form.values).name, places, line_end=form.line_end)
    if kind == "application/x-www-form-urlencoded":
        if body.size_bytes > MAX_URLENCODED_BYTES:
            raise BadRequest(f"an urlencoded body may have {MAX_URLENCODED_BYTES} bytes at most")
        # No places: such a body goes on as it came. Existing upstreams get it so, and llama.cpp does not read it.
        return _first_of(chain(find_pairs(body.read(), FIELD), _query_values(query)))
    return _first_of(_query_values(query))


def names_model(query: str) -> bool:
    """Whether the query of a GET names a model; it may begin with its question mark."""
    return any(value.text for value in _query_values(query)[:1])


def _looks_like_json(body: Body) -> bool:
    """Whether it begins as a JSON object does."""
    return next(body.pieces(), b"").removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"{")


def _json_hint(content_type: str) -> str:
    kind = content_type.partition(";")[0].strip()
    sent = f"as {printable(bounded(kind, _MOST_SHOWN_BYTES))}" if kind else "without a Content-Type"
    return f"the body looks like JSON, but was sent {sent}; add -H 'Content-Type: application/json'"


def rename_in_query(query: str, name: str) -> str:
    """`query` with `name` as the model; the rest as it was."""
    mark = "?" if query.startswith("?") else ""
    edits = [Edit(value.start, value.end, quote(name, safe="").encode()) for value in _query_values(query)]
    return mark + spliced(query[len(mark) :].encode("latin-1"), edits).decode("latin-1")


def _query_values(query: str) -> list[Value]:
    return list(find_pairs(query.removeprefix("?").encode("latin-1"), FIELD))


def _first_of(values: Iterable[Value]) -> Named:
    for value in values:
        if value.text:
            return Named(value.text)
        break
    raise no_model()


def no_model() -> NotFound:
    """The error of a request that names no model, or one that is switched off."""
    return NotFound("no model id could be identified")


def _refusal_of(data: bytes, wrong: ValueError) -> HttpError:
    """The error for a body in which no name can be looked for; an empty one names none."""
    if isinstance(wrong, NotAnObject):
        return BadRequest("the body is JSON, but not an object")
    if isinstance(wrong, RepeatedTooOften):
        return BadRequest(f"the body is not usable: {wrong}")
    return BadRequest(f"the body is not JSON: {wrong}") if data.strip(_BLANKS) else no_model()


def _places_in_json(data: bytes) -> tuple[tuple[int, int], ...]:
    """Where the values of every top-level `model` stand."""
    only = only_place(data, FIELD)
    return _values_of(read_members(data, ONLY_NAME)) if only is None else (only,)


def _values_of(members: list[Member]) -> tuple[tuple[int, int], ...]:
    return tuple([(member.start, member.end) for member in members if member.key == FIELD])


def _scan_form(boundary: str, body: Body) -> FormScanner:
    """The scanner of a form that it has seen the end of."""
    if not boundary:
        raise BadRequest("the Content-Type of the form has no boundary")
    scanner = FormScanner(boundary, FIELD)
    try:
        for piece in body.pieces():
            scanner.feed(piece)
        scanner.finish()
    except BadForm as bad:
        raise BadRequest(f"the body is not a form: {bad}") from None
    return scanner


# -- the model of /upstream/{model}/{path} --


class UpstreamPath(NamedTuple):
    """What follows /upstream/: the model, its name as written, and the path for it; '' asks for the slash first."""

    model: str
    name: str
    path: str


class UnknownName(LlamaswapError):
    """No model has this name. (To look for those that are near to it takes a while.)"""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def find_upstream(rest: str, lookup: Lookup, most_slashes: int) -> UpstreamPath:
    """The model of `rest`, the raw path behind /upstream/: of all names that it begins with, the longest.

    A name ends at a raw slash or at the end; it may hold slashes itself, raw or encoded, `most_slashes` at most. Raises
    UnknownName.
    """
    found = longest_prefix(rest, lambda raw: lookup(unquote(raw)), most_slashes)
    if found is None:
        raise UnknownName(unquote(rest.partition("/")[0]))
    model, raw = found
    return UpstreamPath(model, unquote(raw), rest[len(raw) :])


def longest_prefix(path: str, lookup: Lookup, most_slashes: int) -> tuple[str, str] | None:
    """Of all names that `path` begins with, the longest: what it stands for, and how it is written there.

    A name ends at a slash or at the end of the path, and has `most_slashes` at most.
    """
    # Without that bound a path of 30,000 slashes would be worth 30,000 look-ups.
    segments = path.split("/")
    for count in range(min(most_slashes + 1, len(segments)), 0, -1):
        written = "/".join(segments[:count])
        model = lookup(written)
        if model is not None:
            return model, written
    return None
