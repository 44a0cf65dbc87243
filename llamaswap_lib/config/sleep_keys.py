"""What the file says of a server that can sleep. Frozen, so any thread may read it; it holds no logic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llamaswap_lib.typed_yaml.kinds import MACRO, Integer, Seconds, Section, Text, key
from llamaswap_lib.typed_yaml.nodes import Node, ScalarNode
from llamaswap_lib.typed_yaml.problems import KeyPath
from llamaswap_lib.typed_yaml.reader import Reader, Schema

VLLM_WORD = "vllm"


@dataclass(frozen=True, slots=True)
class Sleep:
    """How a server is put to sleep, and woken."""

    url: str = key("url", Text(), "path of its server; a POST to it has it sleep", "")
    level: int = key("level", Integer(0), "with N > 0 the path gets `level=N` as its query", 0)
    wake: str = key("wake", Text(), "path of its server; a POST to it has it wake", "")
    timeout: float = key("timeout", Seconds(1), "seconds it may take to fall asleep; then it is stopped", 60.0)

    @property
    def target(self) -> str:
        """The path with the level."""
        if not self.level:
            return self.url
        return f"{self.url}{'&' if '?' in self.url else '?'}level={self.level}"


VLLM = Sleep("/sleep", 1, "/wake_up")


class SleepChoice(Section):
    """The name of a server whose paths are known, or the paths."""

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
