"""GPUs of which a test tells the driver that it plays what is on them, by the models that run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.e2e.program import Program, wait_until


class ToldCards:
    """`told` is the file that the driver reads; `tell` says what is on the cards."""

    def __init__(self, told: Path) -> None:
        self.told = told
        self.tell({})

    def tell(self, pids: Mapping[str, int]) -> None:
        """These models run, by the number of their process."""
        raise NotImplementedError

    def write(self, lines: Sequence[str]) -> None:
        """All that the driver says from now on."""
        new = self.told.with_suffix(".new")
        new.write_text("\n".join([*lines, ""]))
        new.replace(self.told)

    def follow(self, program: Program) -> None:
        """The models that run have their memory, and those that do not have given it back."""
        rows = program.get("/running").json()["running"]
        self.tell({row["model"]: row["pid"] for row in rows if row["pid"]})

    def chat(self, program: Program, name: str) -> None:
        """A request is answered; the memory of who goes for it is free as soon as it has gone, and no later."""
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(program.chat, name)

            def is_answered() -> bool:
                self.follow(program)
                return answer.done()

            wait_until(is_answered, f"{name} answers")
        assert answer.result().status == 200, answer.result().text
