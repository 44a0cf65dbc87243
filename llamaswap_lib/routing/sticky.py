"""What holds a request to one of several places: its session, or the beginning of its prompt.

Pure, any thread. The beginning of a prompt is what all requests of one conversation have in common: the system's
messages and the first one behind them. Of each text only the first FIRST characters count, so that it costs some
microseconds, and a prompt that is one text, and grows, keeps its beginning. Guarantees: a conversation has the same key
whether its body was read as values or, being large, only searched; of that only the items that count are read again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from itertools import islice
from typing import Any

from llamaswap_lib.routing.model_name import FIELD, Named
from llamaswap_lib.wire.json_edit import Names, encode
from llamaswap_lib.wire.json_scan import Scanner, skip_blanks

SESSION, PREFIX = "session", "prefix"
_LISTS = ("messages", "input", "prompt")  # chat; responses; completions
_SYSTEM = ("system", "instructions")  # what the system says, where that is no message
NAMES = Names((FIELD, "prompt_cache_key", "metadata", "user", *_LISTS, *_SYSTEM))  # what is looked at of a body
FIRST = 2_048  # characters of a text
MOST_ITEMS = 32  # of messages of the system, of parts of one message, and of tokens
MOST_ITEM_BYTES = 1 << 20  # of a large body; one that is longer counts as it is written

_decode = json.JSONDecoder(parse_int=float).decode


def key_of(sticky: str, selector: str, session: str, named: Named) -> str:
    """What holds the request to a place, for `by_key`; '' for nothing. `session`: what its headers say.

    `sticky`: SESSION or PREFIX.
    """
    texts = [session or _session_of(named)] if sticky == SESSION else [*_beginning(named)]
    if not any(texts):
        return ""
    digest = blake2b(selector.encode(), digest_size=12)
    for text in texts:
        digest.update(b"\0" + text.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _session_of(named: Named) -> str:
    """What a body says of its session, or else of its user, in the fields of OpenAI and Anthropic; '' for nothing."""
    about = _value(named, "metadata")
    user = about.get("user_id") if isinstance(about, dict) else None
    for one in (_value(named, "prompt_cache_key"), user, _value(named, "user")):
        if isinstance(one, str) and one:
            return one[:FIRST]
    return ""


def _beginning(named: Named) -> Iterator[str]:
    """The texts that the prompt begins with."""
    for name in _SYSTEM:
        yield from _texts(_value(named, name))
    for item in _first(next(filter(None, (_value(named, name) for name in _LISTS)), None)):
        if not isinstance(item, dict):
            yield from _texts(item)
            if isinstance(item, float):  # a prompt of tokens
                continue
            return
        yield str(item.get("role"))
        yield from _texts(item.get("content"))
        if item.get("role") not in ("system", "developer"):
            return


def _texts(content: Any) -> Iterator[str]:
    """The beginnings of the texts of a message, or of its parts."""
    for part in _first(content):
        if isinstance(part, dict) and isinstance(part.get("text"), str):
            yield part["text"][:FIRST]
        elif isinstance(part, str):
            yield part[:FIRST]
        elif isinstance(part, dict):  # `cache_control` moves on to later messages as a conversation grows
            yield _as_text({key: value for key, value in part.items() if key != "cache_control"})
        elif part is not None:
            yield _as_text(part)


def _first(value: Any) -> Iterable[Any]:
    """The first items of a list, or what is none."""
    return islice(value, MOST_ITEMS) if isinstance(value, list | Iterator) else (value,)


def _as_text(value: Any) -> str:
    try:
        return encode(value)[:FIRST]
    except RecursionError:
        return ""


# -- large bodies, of which only the places are known --


def _value(named: Named, name: str) -> Any:
    """The value, of a long list an iterator; None for what is not there. Of what is there twice the last one counts."""
    if named.values is not None:
        return named.values.get(name)
    start, end = next(((one.start, one.end) for one in reversed(named.members) if one.key == name), (0, 0))
    if named.json[start : start + 1] != b"[":
        return _item(named.json, start, end) if end else None
    start = skip_blanks(named.json, start + 1)
    return _read_items(named.json, start) if named.json[start : start + 1] != b"]" else None


def _read_items(data: bytes, at: int) -> Iterator[Any]:
    """The items of a list, the first of which stands at `at`."""
    scanner = Scanner(data)
    while data[at : at + 1] != b"]":
        end = scanner.skip_value(at)
        yield _item(data, at, end)
        at = skip_blanks(data, end)
        if data[at : at + 1] == b",":
            at = skip_blanks(data, at + 1)


def _item(data: bytes, start: int, end: int) -> Any:
    if end - start <= MOST_ITEM_BYTES:
        try:
            return _decode(data[start:end].decode("utf-8", "surrogateescape"))
        except RecursionError:
            pass
    return data[start : start + FIRST].decode("utf-8", "replace")
