"""What the file says of a server that can sleep. Frozen, so any thread may read it; it holds no logic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from llamaswap_lib.command_words import mask_command, split
from llamaswap_lib.typed_yaml.kinds import MACRO, Integer, Seconds, Section, Text, key
from llamaswap_lib.typed_yaml.nodes import MappingNode, Node, ScalarNode, is_null
from llamaswap_lib.typed_yaml.problems import KeyPath
from llamaswap_lib.typed_yaml.reader import Reader, Schema
from llamaswap_lib.typed_yaml.secrets import text_of

VLLM_WORD = "vllm"
COMMAND = Text("a command", "command", mask_command)
COMMAND_KEYS = ("cmd", "wakeCmd")


@dataclass(frozen=True, slots=True)
class Sleep:
    """How a server is put to sleep, and woken: each by a path or by a command."""

    url: str = key("url", Text(), "path of its server; a POST to it has it sleep", "")
    level: int = key("level", Integer(0), "with N > 0 the path gets `level=N` as its query", 0)
    wake: str = key("wake", Text(), "path of its server; a POST to it has it wake", "")
    timeout: float = key("timeout", Seconds(1), "seconds it may take to fall asleep; then it is stopped", 60.0)
    cmd: str = key("cmd", COMMAND, "in place of `url`: run to have it sleep, as `cmdStop` is; may use `${PID}`", "")
    wake_cmd: str = key("wakeCmd", COMMAND, "in place of `wake`: run to have it wake; may use `${PID}`", "")
    check: str = key(
        "check", Text(), 'path of its server that answers `{"is_sleeping": true}` while it sleeps, if it has one', ""
    )

    @property
    def target(self) -> str:
        """The path with the level."""
        if not self.level:
            return self.url
        return f"{self.url}{'&' if '?' in self.url else '?'}level={self.level}"

    @property
    def argv(self) -> tuple[str, ...]:
        return split(self.cmd)

    @property
    def wake_argv(self) -> tuple[str, ...]:
        return split(self.wake_cmd)

    @property
    def commands(self) -> tuple[str, str]:
        """As `COMMAND_KEYS` names them; '' for none."""
        return self.cmd, self.wake_cmd

    @property
    def orders(self) -> tuple[object, ...]:
        """What is the same of two ways to sleep that do the same; `manners` are no part of it."""
        return self.target, self.wake, self.argv, self.wake_argv

    @property
    def manners(self) -> tuple[float, str]:
        """What may change while it runs: how long it may take, and where it says whether it was done."""
        return self.timeout, self.check

    def with_commands(self, changed: Callable[[str], str], commands: tuple[str, str] | None = None) -> Sleep:
        """The same with its commands, or these, changed."""
        cmd, wake_cmd = map(changed, commands or self.commands)
        return replace(self, cmd=cmd, wake_cmd=wake_cmd)


VLLM = Sleep("/sleep", 1, "/wake_up", check="/is_sleeping")


def commands_in(node: Node | None) -> tuple[str, str]:
    """The texts of the commands in what stands under `sleep`."""
    entries = node.entries if isinstance(node, MappingNode) else {}
    found = [entries[name].value if name in entries else None for name in COMMAND_KEYS]
    cmd, wake_cmd = (
        text_of(value.text, value.shown) if isinstance(value, ScalarNode) and not is_null(value) else ""
        for value in found
    )
    return cmd, wake_cmd


class SleepChoice(Section):
    """The name of a server whose paths are known, or the paths or commands."""

    expected = "vllm, or a mapping such as {url: /sleep, wake: /wake_up}"
    summary = "`vllm`, or see below"

    def __init__(self) -> None:
        super().__init__(Sleep, optional=True)

    def schema(self) -> Schema:
        return {"anyOf": [{"const": VLLM_WORD}, super().schema(), MACRO]}

    def _value(self, node: Node, path: KeyPath, reader: Reader) -> Any:
        if isinstance(node, ScalarNode) and node.text.strip().lower() == VLLM_WORD:
            return VLLM
        return super()._value(node, path, reader)

    def show(self, value: Any, *, mask: bool) -> Any:
        return VLLM_WORD if value == VLLM else super().show(value, mask=mask)
