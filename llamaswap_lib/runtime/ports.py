"""Ports for upstreams to listen on: whether another program has one, which program, and which port is free.

Any thread. A look is a few system calls on loopback. To find which program has a port, /proc is searched; that is done
only for an error, and while leftovers are being stopped. Hosts that may not be this machine are checked in
`processes/obstacles.py`; here no name is resolved. A look does not reserve the port: if another program takes it before
the upstream starts, the load fails with the upstream's own error.

A port does not count as taken while its last sockets are in TIME_WAIT: it is assumed that a server sets SO_REUSEADDR
or, as llama.cpp does, SO_REUSEPORT.
"""

from __future__ import annotations

import errno
import itertools
import os
import re
import socket
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from llamaswap_lib.runtime.ourselves import port_of

LAST_PORT = 65_535
_CONNECT_TIMEOUT = 0.2
_IS_LINUX = sys.platform == "linux"
_EVERYWHERE = ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::"))
_LOCALHOST = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
_LISTENING = "0A"  # in /proc/net/tcp

_Address = tuple[socket.AddressFamily, str]


class AutomaticPorts:
    """Chooses the port of each run whose model got one from the configuration. Controller thread only."""

    def __init__(
        self,
        given: Mapping[str, int],
        fixed: Collection[int],
        warn: Callable[[str], None],
        leftovers: Callable[[], Collection[int]],
    ) -> None:
        """`given`: model -> its port; `fixed`: ports that other models name themselves.

        `leftovers`: processes of an earlier run of llamaswap; no run starts before they have ended.
        """
        self.change(given, fixed)
        self._moved: dict[str, int] = {}  # models that got another port last: they may not listen on it yet
        self._warn = warn
        self._leftovers = leftovers

    def change(self, given: Mapping[str, int], fixed: Collection[int]) -> None:
        """Use the ports of another configuration for the next runs."""
        self._given = given
        self._reserved = {*given.values(), *fixed}

    def note(self, model: str, port: int | None) -> None:
        """A run of it that was taken over has this port."""
        if port is not None and port != self._given.get(model):
            self._moved[model] = port

    def choose(self, model: str) -> int | None:
        """The model's own port, or the next free one that no model has; its own port if there is none.

        None for a model that got no port from the configuration.
        """
        self._moved.pop(model, None)
        given = self._given.get(model)
        if given is None or given > LAST_PORT or is_free(given) or self._will_be_free(given):
            return given
        avoid = self._reserved.union(self._moved.values())
        free = (port for port in range(given + 1, LAST_PORT + 1) if port not in avoid and is_free(port))
        port = next(free, None)
        if port is None:
            return given
        self._moved[model] = port
        self._warn(f"{model}: port {given} is taken, using {port}")
        return port

    def _will_be_free(self, port: int) -> bool:
        """Whether it is free when the run starts: only leftovers have it now, or no process has it any more."""
        leftovers = set(self._leftovers())
        holders = _holders_of(_listeners(port)) if leftovers else []
        return leftovers.issuperset(holders) if holders else is_free(port)


class Obstacle(NamedTuple):
    """A program that listens where an upstream is to listen."""

    port: int
    holder: str
    """`process 123 (nginx)`, or what can be known."""

    def __str__(self) -> str:
        return f"port {self.port} is taken by {self.holder}"


def is_free(port: int) -> bool:
    """Whether no program has the port, on any address of this machine."""
    return not any(_is_taken(address, port) for address in _EVERYWHERE)


def find_obstacle(proxy: str, is_expected: Callable[[int], bool] | None = None) -> Obstacle | None:
    """What already listens where the URL leads, if that is on this machine; raises ValueError for a bad port.

    None if all processes that listen there can be seen, and `is_expected` (a test of a pid) is true for each of them.
    """
    url = urlsplit(proxy)
    port = port_of(url)
    taken = [address for address in _own_addresses(url.hostname or "") if _is_taken(address, port)]
    if not taken:
        return None
    found = list(_listeners(port))
    holders = _holders_of(found)
    if is_expected and holders and all(map(is_expected, holders)):
        return None
    return Obstacle(port, describe_holders(found, holders))


def is_told_to_listen(port: int, argv: Iterable[str]) -> bool:
    """Whether a command has the port as a word, or at its end: `--port 9000`, `--port=9000`, `-l 127.0.0.1:9000`.

    So does `docker run -p 9000:8000`, and so do the words of a line for a shell (`ssh box 'server --port 9000'`),
    except URLs. A number within a word may only be an address to connect to.
    """
    pattern = re.compile(rf"(?:.*[=:])?{port}(?::\d+)?(?:/tcp)?", re.DOTALL)
    return any(pattern.fullmatch(word) for line in argv for word in _words(line))


def _words(line: str) -> Iterator[str]:
    yield line
    words = re.split(r"[\s;&|()<>'\"]+", line)
    if len(words) > 1:
        yield from (word for word in words if "://" not in word)


# -- whether --


def _own_addresses(host: str) -> Sequence[_Address]:
    """The addresses of a host that is surely this machine; () for others."""
    if host == "localhost":
        return _LOCALHOST
    for family in (socket.AF_INET, socket.AF_INET6):
        with suppress(OSError):
            socket.inet_pton(family, host)
            return ((family, host),)
    return ()


def _is_taken(address: _Address, port: int) -> bool:
    """Whether a program listens at the address, or keeps a server away otherwise. False if it is not ours."""
    if _IS_LINUX and _can_bind(address, port, socket.SO_REUSEADDR):
        return False  # elsewhere one may bind beside a listener on another of our addresses
    return not _can_bind(address, port, socket.SO_REUSEPORT) or _is_listened_on(address, port)


def _can_bind(address: _Address, port: int, option: int) -> bool:
    """Whether a server that sets the option could have it; an error with another cause counts as yes."""
    family, host = address
    try:
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, option, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((host, port))
    except OSError as error:
        return error.errno != errno.EADDRINUSE
    return True


def _is_listened_on(address: _Address, port: int) -> bool:
    if _IS_LINUX:
        return any(_listeners(port))
    family, host = address
    try:
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.settimeout(_CONNECT_TIMEOUT)
            sock.connect((host, port))
    except TimeoutError:
        return True  # a server whose queue is full
    except OSError:
        return False
    return True


# -- who --


class Holder(NamedTuple):
    """The process that listens on a port."""

    pid: int | None
    """None if it cannot be known."""
    description: str
    """`process 123 (nginx)`, or as much as can be known."""
    words: tuple[str, ...]
    """Its command line, () if it cannot be known. There may be secrets in it."""


def find_holder(port: int) -> Holder:
    """The process that listens on the port, at any address; of several, the one with the lowest pid."""
    found = list(_listeners(port))
    holders = _holders_of(found)
    pid = holders[0] if holders else None
    return Holder(pid, describe_holders(found, holders), () if pid is None else _command_of(pid))


def describe_holders(found: Sequence[tuple[int, str]], holders: Sequence[int]) -> str:
    """For people: `process 123 (nginx)`, or what can be known. `found`: user and inode of the sockets."""
    if os.getpid() in holders:
        return "llamaswap itself"
    if holders:
        return f"process {holders[0]} ({_name_of(holders[0])})"
    return f"a process of the user {_user_name(found[0][0])}" if found else "another process"


def _listeners(port: int) -> Iterator[tuple[int, str]]:
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            yield from listeners(_read_listening(Path("/proc/net", table)), port)


def _read_listening(table: Path) -> str:
    """Its listening sockets: Linux lists them first, and there may be 100,000 others."""
    with table.open() as lines:
        return next(lines, "") + "".join(itertools.takewhile(_is_listening, lines))


def _is_listening(line: str) -> bool:
    return line.split(None, 4)[3] == _LISTENING


def listeners(table: str, port: int) -> Iterator[tuple[int, str]]:
    """User and inode of each socket in the text of /proc/net/tcp that listens on the port."""
    wanted = f":{port:04X}"
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 9 and fields[1].endswith(wanted) and fields[3] == _LISTENING:
            yield int(fields[7]), fields[9]


def listening_among(pids: Iterable[int], port: int) -> list[int]:
    """Those of the processes that listen on the port, as far as we may see it."""
    return _holders_of(_listeners(port), map(str, pids))


def _holders_of(found: Iterable[tuple[int, str]], pids: Iterable[str] | None = None) -> list[int]:
    """The processes, of `pids` or of all, that have one of the listening sockets open, as far as we may see it."""
    sockets = {f"socket:[{inode}]" for _, inode in found}
    if pids is None:
        pids = os.listdir("/proc") if sockets else ()  # noqa: PTH208 - `glob` looks at what has ended, and raises
    return sorted(_holders(sockets, pids)) if sockets else []


def _holders(sockets: Collection[str], pids: Iterable[str]) -> Iterator[int]:
    for pid in filter(str.isdigit, pids):
        with suppress(OSError), os.scandir(f"/proc/{pid}/fd") as entries:
            if any(_is_link_to(entry, sockets) for entry in entries):
                yield int(pid)


def _is_link_to(entry: os.DirEntry[str], targets: Collection[str]) -> bool:
    with suppress(OSError):  # closed meanwhile
        return os.readlink(entry.path) in targets  # noqa: PTH115 - there may be many thousands
    return False


def _name_of(pid: int) -> str:
    """The program's name. Not its arguments: they may hold secrets, and this is shown to clients."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return "?"


def _command_of(pid: int) -> tuple[str, ...]:
    with suppress(OSError):
        text = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
        return tuple(text.rstrip("\0").split("\0")) if text.strip("\0") else ()
    return ()


def _user_name(uid: int) -> str:
    import pwd  # noqa: PLC0415 - rarely needed

    with suppress(KeyError):
        return pwd.getpwuid(uid).pw_name
    return str(uid)
