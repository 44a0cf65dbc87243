"""A fuzzer on a live server: `python tests/web/fuzz_live.py --inputs 20000 --seed 0`.

Mutated streams of requests, handshakes of WebSockets among them, in pieces, ended by half a close, a close or a reset,
to an upstream whose answers are mutated too. Nothing may hang, nothing of ours may fail, nothing may be left over, and
who comes afterwards is served.
"""

from __future__ import annotations

import argparse
import socket
import sys
import threading
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from llamaswap_lib.server.limits import Limits
from tests.web.fuzz_lenient import SLIPS
from tests.web.mutations import REQUESTS, cut, mutate, random_of
from tests.web.world import DEADLINE, OK, Peer, World, chat, length_of

CLIENTS = 4
ROUND = 200  # inputs between two looks at what must hold when nobody is there
LIMITS = Limits(idle_timeout=0.5, head_timeout=0.5, body_timeout=0.5, write_timeout=2.0, linger_timeout=0.2)
PATIENCE = 0.2  # of an upstream for the next request
CONFIG = """
models:
  m: {cmd: server, proxy: PROXY, aliases: [al], useModelName: other}
  m/p: {cmd: server, proxy: PROXY}
"""


def answer_oddly(peer: Peer) -> None:
    """A script for an upstream: what it answers follows from what it was asked; the half of it is as it should be."""
    try:
        while True:
            head = peer.read_until(b"\r\n\r\n")
            asked = head + peer.read(length_of(head))
            chance = Random(zlib.crc32(asked.rpartition(b"X-Forwarded-For")[0]))
            if b"/sane" in head or chance.randrange(2):
                peer.send(OK)
                continue
            for piece in cut(chance, mutate(chance, chance.choice(SLIPS), SLIPS)):
                peer.send(piece)
            if chance.randrange(8) == 0:
                peer.reset()
                return
            if chance.randrange(3):
                return
            peer.sock.settimeout(PATIENCE)  # what it sent may be half an answer, for which there is no time limit
    except (AssertionError, OSError, ValueError):
        pass  # it hung up, or was told something we do not play


def play(world: World, chance: Random) -> None:
    """One client with one input; raises TimeoutError where the server neither answers to the end nor hangs up."""
    data = b"".join(mutate(chance, chance.choice(REQUESTS), REQUESTS) for _ in range(chance.choice((1, 1, 2, 3))))
    with world.connect() as client:
        try:
            for piece in cut(chance, data) if chance.randrange(2) else [data]:
                client.send(piece)
            ending = chance.randrange(8)
            if ending == 0:
                client.reset()
            elif ending > 1:
                if ending > 2:
                    client.sock.shutdown(socket.SHUT_WR)
                while client.sock.recv(65536):
                    pass
        except TimeoutError:
            raise
        except OSError:
            pass  # it was cut off, as it deserved


def check(world: World) -> None:
    """What must hold when nobody is there."""
    assert world.ask(chat(b'{"model":"nobody"}'))[0].startswith(b"HTTP/1.1 404 ")
    head, body = world.ask(b"GET /upstream/m/sane HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), head
    assert body == b"ok"
    world.controller.wait_empty()
    _wait(lambda: world.server.count() == (0, 0), "the connections end")
    _wait(lambda: not [name for name in _names() if name.startswith("http-")], "their threads end")
    world.app.pool.forget(1)
    assert "Traceback" not in world.log, world.log
    assert " failed: " not in world.log, world.log


def _names() -> list[str]:
    return [thread.name for thread in threading.enumerate()]


def _wait(is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE
    while not is_so():
        assert time.monotonic() < deadline, f"never: {what}; {_names()}"
        threading.Event().wait(0.002)


def fuzz(seed: int, inputs: int) -> list[str]:
    """Play the inputs, several at a time; what was wrong with which."""
    bad: list[str] = []
    for first in range(0, inputs, ROUND):
        with World(answer_oddly, limits=LIMITS, config=CONFIG) as world, ThreadPoolExecutor(CLIENTS) as clients:
            before = _descriptors()
            numbers = range(first, min(first + ROUND, inputs))
            futures = {number: clients.submit(play, world, random_of(seed, number)) for number in numbers}
            for number, future in futures.items():
                if error := future.exception():
                    bad.append(f"input {number}: {error!r}")
            try:
                world.server.change(replace(world.server.settings, limits=Limits()))  # who looks has time
                check(world)
                _wait(partial(_has_no_more_descriptors_than, before), "the descriptors are given back")
            except AssertionError as wrong:
                bad.append(f"after input {numbers[-1]}: {str(wrong)[-3000:]}")
    return bad


def _has_no_more_descriptors_than(count: int) -> bool:
    return _descriptors() <= count


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    started = time.monotonic()
    bad = fuzz(arguments.seed, arguments.inputs)
    for line in bad[:20]:
        print(line)
    print(f"{arguments.inputs} inputs in {time.monotonic() - started:.0f} s: {len(bad)} bad")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
