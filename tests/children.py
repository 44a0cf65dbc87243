"""Small programs that tests start as upstreams, as argument vectors for `python -S -c`."""

from __future__ import annotations

import sys


def python(source: str, *arguments: object) -> tuple[str, ...]:
    """A program in Python, started as fast as Python can."""
    return (sys.executable, "-S", "-c", source, *map(str, arguments))


def shell(command: str) -> tuple[str, ...]:
    return ("sh", "-c", command)


def health_server(port: int, status: int = 200, host: str = "127.0.0.1") -> tuple[str, ...]:
    """A server that answers every request with `status`; it ends on SIGTERM as any program."""
    return python(_HEALTH_SERVER, host, port, status)


def stubborn() -> tuple[str, ...]:
    """A program that ignores SIGTERM; it prints `stubborn PID` once it does."""
    return python(_STUBBORN)


def stubborn_orphan() -> tuple[str, ...]:
    """A program that exits with code 0 and leaves a child in its group that stays on SIGTERM.

    The child prints `member PID`, and `asked` at each SIGTERM.
    """
    return python(_STUBBORN_ORPHAN)


def daemon(then: str, *, stays_on_sigterm: bool = False) -> tuple[str, ...]:
    """A program that starts a daemon, which leaves group, session and parent, and then does what `then` says.

    The daemon prints `daemon PID`, and `asked` at each SIGTERM, on which it ends unless it stays.
    """
    return python(_DAEMON + then, int(stays_on_sigterm))


_DAEMON = """
import os, signal, sys
read, write = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    def asked(*_):
        print("asked", flush=True)
        if sys.argv[1] == "0":
            os._exit(0)
    signal.signal(signal.SIGTERM, asked)
    print("daemon", os.getpid(), flush=True)
    os.write(write, b"x")
    while True:
        signal.pause()
os.read(read, 1)
"""

_HEALTH_SERVER = """
import socket, sys
host, port, status = sys.argv[1], int(sys.argv[2]), sys.argv[3]
server = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
while True:
    client, _ = server.accept()
    client.recv(65536)
    client.sendall(f"HTTP/1.1 {status} X\\r\\nContent-Length: 0\\r\\nConnection: close\\r\\n\\r\\n".encode())
    client.close()
"""

_STUBBORN = """
import os, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("stubborn", os.getpid(), flush=True)
while True:
    signal.pause()
"""

_STUBBORN_ORPHAN = """
import os, signal
read, write = os.pipe()
if os.fork() == 0:
    signal.signal(signal.SIGTERM, lambda *_: print("asked", flush=True))
    os.write(write, b"x")
    print("member", os.getpid(), flush=True)
    while True:
        signal.pause()
os.read(read, 1)
"""
