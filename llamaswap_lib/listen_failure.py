"""Why the server cannot listen where it is told to, and what to do about it: one line for people.

Main thread, at the start, for an error only: reads through /proc to find who has the port. Says as much as can be
known: another user's process is known by its user alone. Secrets in a command line are not shown.
"""

from __future__ import annotations

import errno
import os
import shlex
import socket
from collections.abc import Sequence

from llamaswap_lib.command_words import mask_command
from llamaswap_lib.net.listening import address_text
from llamaswap_lib.printable import bounded, printable
from llamaswap_lib.runtime.ports import LAST_PORT, find_holder, is_free

MOST_COMMAND_BYTES = 300
FIRST_PORT_OF_USERS = 1024
PORTS_TRIED = 100
OUR_NAMES = ("llamaswap", "llamaswap.py", "llamaswap.pyz", "llamaswap_lib")


def why_not(host: str, port: int, error: OSError | UnicodeError) -> str:
    """What is said of an error of `listening.listen`."""
    return f"cannot listen on {address_text(host, port)}: {_reason(error)}{_remedy(host, port, error)}"


def _reason(error: OSError | UnicodeError) -> str:
    """Without the number in front, and without the address, which `socket.create_server` puts behind."""
    if not isinstance(error, OSError) or error.errno is None:
        return str(error)
    return str(error.strerror) if isinstance(error, socket.gaierror) else os.strerror(error.errno)


def _remedy(host: str, port: int, error: OSError | UnicodeError) -> str:
    number = error.errno if isinstance(error, OSError) and not isinstance(error, socket.gaierror) else None
    if number == errno.EADDRINUSE:
        other = address_text(host, _free_port(port))
        return f" by {_holder_text(port)}; stop it, or take another port: -listen {other}"
    if number == errno.EADDRNOTAVAIL:
        return f"; this machine does not have that address; -listen :{port} listens on all that it has"
    if number == errno.EACCES and port < FIRST_PORT_OF_USERS:
        higher = address_text(host, 8080)
        return f"; only some users may listen below port {FIRST_PORT_OF_USERS}; take a higher one: -listen {higher}"
    return ""


def _holder_text(port: int) -> str:
    """`another llamaswap, process 123 (python3 llamaswap.py -c config.yaml)`, or as much as can be known."""
    pid, known, words = find_holder(port)
    if not words:
        return known
    process = f"process {pid} ({command_text(words)})"
    return f"another llamaswap, {process}" if is_llamaswap(words) else process


def is_llamaswap(words: Sequence[str]) -> bool:
    """Whether the command is that of a server like us; `llamaswap demo` is the server of a model."""
    for word, following in zip(words[:4], [*words[1:4], ""], strict=False):
        if word.rpartition("/")[2] in OUR_NAMES:
            return following != "demo"
    return False


def command_text(words: Sequence[str]) -> str:
    """A command line as it may be shown; one that the program wrote itself (`nginx: master process`) is one word."""
    text = shlex.join(words) if len(words) > 1 else words[0]
    return bounded(printable(mask_command(text)), MOST_COMMAND_BYTES)


def _free_port(taken: int) -> int:
    """The next one that is free, as far as a few looks show."""
    candidates = range(taken + 1, min(taken + PORTS_TRIED, LAST_PORT) + 1)
    return next(filter(is_free, candidates), 8080)
