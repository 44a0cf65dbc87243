"""Where a model's server is reached: the URL of it, and the port that its command and `${PORT}` have to agree about.

Owns what a good `proxy` is; and what to do about a `cmd` that does not use `${PORT}` though the address needs it: a
guess by the looks of usual options, for it is only advice. Pure except for what it reports.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from llamaswap_lib.typed_yaml.problems import KeyPath, quoted
from llamaswap_lib.typed_yaml.secrets import MASK, changed, visible

from .document import Document
from .sections import ANNOUNCED

SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
SCHEME_LIKE = re.compile(r"\s*(?P<scheme>https?)(?:://?|/{1,2}|:(?!\d+(?:/|\Z)))/?(?P<rest>.+)\Z", re.IGNORECASE)
PORT_ALONE = re.compile(r":?[0-9]+\Z")
PASSWORD = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*://)?[^:@]*:(?P<password>.+)@", re.DOTALL)  # also of no good URL
PORT = "${PORT}"
MAX_PORT = 65_535
EXAMPLE = f"llama-server --port {PORT} -m model.gguf"
# What people write who know macros from elsewhere.
NEAR = (
    r"\$\{\{?\s*port\s*(?:[:?][^}]{0,40})?\}{1,2}|\{\{?\s*[.$]?port\s*\}{1,2}|\$\(\s*port\s*\)|\$port\b\}?|\$\{port\b(?!\})"
    r"|%\{?port\}?%|%\{port\}|<port>|\[port\]|@port@|(?<=port[ =])port\b"
)
OPEN_MACRO = r"\$\{[\w-]{1,63}(?=[\s\"'/]|$)"
OPTION = (
    r"(?<!\S)(?P<option>--?(?:publish|p|[a-z.-]*port|listen|listen-addr(?:ess)?|bind|addr(?:ess)?|[a-z.-]*host|[blH]))"
    r"(?P<between>=| +)(?P<value>[\"']?\S+)"
)
FIRST = ("--publish", "-p")  # of a container: what its server listens on inside counts for nobody
LOOKED_AT = 10_000  # characters of a command
LETTERS = ("-b", "-l", "-H")
NUMBER = r"(?P<before>[\"']?(?:\S*?[:\]])??)(?P<port>\d{2,5})(?P<behind>(?::\d{1,5})?(?:/tcp)?[\"']?)$"


def address_of(proxy: str) -> tuple[str, int]:
    """Host and port of a URL; every name of this machine is `localhost`."""
    url = urllib.parse.urlsplit(proxy)
    host = url.hostname or ""
    port = url.port or (443 if url.scheme == "https" else 80)
    return "localhost" if host in ("127.0.0.1", "::1", "0.0.0.0", "::") else host, port


def leads_elsewhere(proxy: str) -> bool:
    """Whether its server may be on another machine: one that says itself where it listens, or has another address."""
    return proxy == ANNOUNCED or address_of(proxy)[0] != "localhost"


def _with_scheme(url: str) -> str:
    url = url.strip()
    match = SCHEME_LIKE.match(url)
    return "http://" + url.lstrip("/") if match is None else f"{match['scheme'].lower()}://{match['rest']}"


def _with_host(port: str) -> str:
    return "http://127.0.0.1:" + port.lstrip(":")


def check_url(url: str, path: KeyPath, document: Document) -> None:
    """Report a proxy that no request could be sent to."""
    if not url:
        document.error(path, "expected a URL such as http://localhost:8080, got nothing")
        return
    if SCHEME.match(url) is None:
        shown = _without_password(url, document)
        meant = quoted(changed(shown, _with_host if PORT_ALONE.match(url) else _with_scheme))
        document.error(path, f"expected a URL with its scheme, got {quoted(shown)} (did you mean {meant}?)")
        return
    beyond = ""
    try:
        parts = urllib.parse.urlsplit(url)
        usable = parts.scheme.lower() in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError as error:
        usable = False
        beyond = f"; the highest port is {MAX_PORT}" if "out of range" in str(error) else ""
    if not usable or any(char <= " " for char in url):
        shown = _without_password(url, document)
        document.error(path, f"expected a URL such as http://localhost:8080, got {quoted(shown)}{beyond}")


def has_braces_and_parses(url: str) -> bool:
    """Whether something like a macro stands in the URL (`http://h/${a b}`), and Go would take it, blanks and all."""
    if "${" not in url or any(char < " " for char in url):
        return False
    try:
        parts = urllib.parse.urlsplit(url)
        return (parts.port or 1) > 0 and " " not in parts.netloc and (bool(parts.netloc) or ":" not in url)
    except ValueError:
        return False


def _without_password(url: str, document: Document) -> str:
    """The URL as the error may show it, even if it is so malformed that `mask_text` finds no password in it."""
    shown: str = visible(url)
    match = PASSWORD.match(shown)
    if match is None:
        return url
    document.problems.keep_secret([match["password"]])
    return shown[: match.start("password")] + MASK + shown[match.end("password") :]


# -- what a command says of its port --


class Fixed(NamedTuple):
    """A port that a command has in itself."""

    written: str  # the option as it stands there
    port: int
    with_macro: str  # the same with ${PORT}


def fixed_port(command: str) -> Fixed | None:
    """The port that an option of the command names."""
    found = [fixed for match in re.finditer(OPTION, command) if (fixed := _fixed(match)) is not None]
    published = [fixed for fixed in found if fixed.written.startswith(FIRST)]
    return next(iter([*published, *found]), None)


def _fixed(match: re.Match[str]) -> Fixed | None:
    value = re.match(NUMBER, match["value"])
    if value is None or (value["behind"].startswith(":") and match["option"] not in FIRST):
        return None
    if match["option"] in LETTERS and ":" not in value["before"]:
        return None  # the batch size of llama-server, for one
    start = match["option"] + match["between"]
    with_macro = start + value["before"] + PORT + value["behind"]
    return Fixed(start + match["value"], int(value["port"]), with_macro)


def fixed_in_env(entries: Iterable[str]) -> int | None:
    """The port that a variable names: `PORT=9999`, `OLLAMA_HOST=127.0.0.1:9999`."""
    for entry in entries:
        match = re.match(r"\w*(?:PORT=|HOST=(?:\S*:))(\d{2,5})$", entry)
        if match is not None:
            return int(match[1])
    return None


class Cure(NamedTuple):
    """`text`: what to do; `spot`: the part of the command that it is about, '' for all of it."""

    text: str
    spot: str = ""


def port_cure(command: str, env: Sequence[str] = ()) -> Cure:
    """What to do with a command that does not use ${PORT}."""
    command = command[:LOOKED_AT]
    near = re.search(NEAR, command, re.IGNORECASE)
    if near is not None:
        return Cure(f"{near[0]} is not replaced; did you mean {quoted(PORT)}?", near[0])
    is_open = re.search(OPEN_MACRO, command)
    if is_open is not None:
        return Cure(f"{is_open[0]} has no }} at its end", is_open[0])
    fixed = fixed_port(command)
    if fixed is not None:
        address = quoted(f"proxy: http://127.0.0.1:{fixed.port}")
        return Cure(f"write {fixed.with_macro} in place of {fixed.written}, or add {address}", fixed.written)
    if any(PORT in entry for entry in env):
        return Cure(
            f"{PORT} in env counts only where cmd uses it too, such as {quoted(f'cmd: env PORT={PORT} ./run.sh')}"
        )
    port = fixed_in_env(env)
    if port is not None:
        return Cure(f"use {PORT} in cmd, or add {quoted(f'proxy: http://127.0.0.1:{port}')}")
    return Cure(f"add --port {PORT} to cmd, or say where it listens: {quoted('proxy: http://127.0.0.1:9999')}")
