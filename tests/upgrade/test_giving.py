"""The old process's side of an upgrade: whatever fails before the new one serves, all goes on as before."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence

import pytest

from llamaswap_lib.errors import MachineFault
from llamaswap_lib.runtime.logs.server_logs import Logs
from llamaswap_lib.upgrade.child import Child, Start, why_impossible
from llamaswap_lib.upgrade.giving import Upgrader
from llamaswap_lib.upgrade.link import MOST_DESCRIPTORS, Link, Message

pytestmark = pytest.mark.skipif(why_impossible() != "", reason="needs Linux")

# A new process that has read its configuration, and waits for the state.
PREPARED = """
import os, socket
link = socket.socket(fileno=int(os.environ["LLAMASWAP_UPGRADE"].partition(",")[0]))
said = b'{"kind": "prepared", "version": "9"}'
link.sendall(len(said).to_bytes(4, "big") + bytes(1) + said)
link.recv(1)
"""


class Household:
    """What is handed over: nothing but descriptors."""

    def __init__(self, listening: socket.socket, count: int, logs: Logs) -> None:
        self._listening = listening
        self._count = count
        self._logs = logs
        self.resumed = 0

    def why_not(self) -> str:
        return ""

    def patience(self) -> float:
        return 0.0

    def spawn(self) -> Child:
        start = Start(words=(sys.executable, "-c", PREPARED))
        return Child(start, self._listening, {}, self._logs.log.warn)

    def freeze(self) -> tuple[Message, Sequence[int]]:
        return {}, [os.dup(0) for _ in range(self._count)]

    def resume(self) -> None:
        self.resumed += 1

    def retire(self, pid: int, link: Link) -> None:
        raise AssertionError("the new process is never ready")

    def hear(self, message: Message) -> None: ...
    def note_alone(self) -> None: ...


def test_more_than_one_message_can_carry_leaves_all_as_it_was() -> None:
    logs = Logs(to_stdout="none")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        household = Household(listening, MOST_DESCRIPTORS + 1, logs)
        upgrader = Upgrader(household, logs.log)
        for number in (1, 2):
            with pytest.raises(MachineFault, match="what runs cannot be handed over: 251 descriptors are too many"):
                upgrader.upgrade("a test")
            assert household.resumed == number
        assert not upgrader.close()
    upgrader.has_retired.close()
    logs.close()
