"""A fleet in trouble: three boxes behind two fronts, while boxes are killed, frozen, started again and reloaded,
and fronts are reloaded.

No request is without an answer. What may end early is an answer that had begun, on a box that was killed. Three
troubles and eight clients unless `LLAMASWAP_FLEET_TROUBLES` and `LLAMASWAP_FLEET_CLIENTS` say otherwise; with
`pytest -s` figures are shown.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.ports import PortBlock
from tests.e2e.program import COMMAND, HELLO, Program, demo, environment, wait_until
from tests.e2e.talk import Cut, Wire, ask

pytestmark = pytest.mark.slow

TROUBLES = int(os.environ.get("LLAMASWAP_FLEET_TROUBLES", "3"))
CLIENTS = int(os.environ.get("LLAMASWAP_FLEET_CLIENTS", "8"))
SEED = int(os.environ.get("LLAMASWAP_FLEET_SEED", "1"))
DEADLINE = 120.0  # seconds, of each answer: many clients on few cores
BOXES = ("box1", "box2", "box3")
MODELS = ("a", "b", "c")
FROZEN = 1.0  # seconds
REQUESTS_BETWEEN = 10  # of each client, from one trouble to the next


class Box:
    """A llamaswap that may be killed and started again at the same address."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir()
        self.name = name
        self._ports = PortBlock()
        self.port = self._ports.first
        self._config = folder / "config.yaml"
        self._log = (folder / "log").open("wb")
        self._turn = 0
        self._write()
        self._process: subprocess.Popen[bytes] | None = None

    def _write(self) -> None:
        models = {name: {"cmd": demo("--tokens-per-second", "400"), "name": f"turn {self._turn}"} for name in MODELS}
        groups = {"two": {"swap": True, "exclusive": False, "members": ["a", "b"]}}
        self._config.write_text(json.dumps({"startPort": self.port + 1, "models": models, "groups": groups}))

    def start(self) -> None:
        self._process = subprocess.Popen(
            (*COMMAND, "-c", str(self._config), "-listen", f"127.0.0.1:{self.port}"),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env=environment(),
            start_new_session=True,
        )
        wait_until(self._answers, f"{self.name} listens")

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"{self.name} has ended"
        try:
            return ask(self.port, "GET", "/health").status == 200
        except OSError:
            return False

    def send(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def end(self, number: int = signal.SIGTERM) -> None:
        """Send it the signal and wait for its end."""
        self.send(number)
        assert self._process is not None
        self._process.wait(DEADLINE)

    def reload(self) -> None:
        """With a change that stops no model."""
        self._turn += 1
        self._write()
        answer = ask(self.port, "POST", "/api/config/reload")
        assert answer.status == 200, answer.text

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.send(signal.SIGCONT)
            self.end()
        self._log.close()
        self._ports.close()


@dataclass
class Storm:
    """What the clients do, and what comes of it."""

    ports: tuple[int, ...]
    answered: Counter[int] = field(default_factory=Counter)  # by number of the client
    cut: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    slowest: float = 0.0
    ending: threading.Event = field(default_factory=threading.Event)

    def ask_on(self, number: int, choice: random.Random) -> None:
        kinds: tuple[Callable[[random.Random], None], ...] = (self._kept, self._kept, self._stream)
        while not self.ending.is_set():
            kind = choice.choice(kinds)
            begun = time.monotonic()
            try:
                kind(choice)
            except (Cut, http.client.IncompleteRead) as error:
                self.cut.append(f"{kind.__name__}: {error}")
            except Exception as error:  # noqa: BLE001 - every one counts
                self.wrong.append(f"{kind.__name__}: {type(error).__name__}: {error}")
            self.slowest = max(self.slowest, time.monotonic() - begun)
            self.answered[number] += 1

    def _kept(self, choice: random.Random) -> None:
        """Some requests on one connection: a second answer to one of them would be taken for that to the next."""
        with closing(http.client.HTTPConnection("127.0.0.1", choice.choice(self.ports), timeout=DEADLINE)) as kept:
            for _ in range(choice.randint(1, 5)):
                model = choice.choice(MODELS)
                body = json.dumps({"model": model, **HELLO, "max_tokens": choice.randint(1, 40), "ignore_eos": True})
                kept.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
                answer = kept.getresponse()
                text = answer.read()
                assert answer.status == 200, f"{model}: {answer.status} {text[:300]!r}"
                assert json.loads(text)["model"] == model

    def _stream(self, choice: random.Random) -> None:
        with Wire(choice.choice(self.ports)) as wire:
            wire.sock.settimeout(DEADLINE)
            model = choice.choice(MODELS)
            body = {"model": model, **HELLO, "stream": True, "max_tokens": choice.randint(1, 200), "ignore_eos": True}
            wire.request("POST", "/v1/chat/completions", body)
            head = wire.head()
            assert head.startswith("HTTP/1.1 200 "), f"{model}: {head}"
            text = b"".join(wire.chunks())
            if not text.rstrip().endswith(b"data: [DONE]"):
                raise Cut(text[-100:])


def trouble(box: Box, front: Front, choice: random.Random) -> str:
    """One, which ends with a box that serves; what it was."""
    kind = choice.choice(("killed", "killed", "frozen", "started again", "reloaded", "front reloaded"))
    if kind == "killed":
        box.end(signal.SIGKILL)
        box.start()
    elif kind == "frozen":
        box.send(signal.SIGSTOP)
        threading.Event().wait(FROZEN)
        box.send(signal.SIGCONT)
    elif kind == "started again":
        box.end()
        box.start()
    elif kind == "reloaded":
        box.reload()
    else:
        front.reload()
    return kind


class Front:
    """A llamaswap that has the boxes as peers, and no models of its own."""

    def __init__(self, folder: Path, boxes: list[Box]) -> None:
        folder.mkdir()
        self._boxes = boxes
        self._turn = 0
        self.program = Program(folder, self._config())

    def _config(self) -> dict[str, Any]:
        """With a key that no box asks for, so that with another one each box counts as another server."""
        peer = {"models": list(MODELS), "apiKey": f"turn-{self._turn}"}
        return {
            "models": {},
            "peers": {box.name: {"proxy": f"http://127.0.0.1:{box.port}", **peer} for box in self._boxes},
        }

    def reload(self) -> None:
        """With a change by which nothing is known of any box until it is looked at."""
        self._turn += 1
        self.program.reload(self._config())


@contextmanager
def fleet(folder: Path) -> Iterator[tuple[list[Box], list[Front]]]:
    """Three boxes and two fronts, which know nothing of each other."""
    with ExitStack() as stack:
        boxes = [stack.enter_context(closing(Box(folder / name, name))) for name in BOXES]
        for box in boxes:
            box.start()
        fronts = [Front(folder / name, boxes) for name in ("front1", "front2")]
        for front in fronts:
            stack.enter_context(front.program)
        yield boxes, fronts


def is_whole(front: Front) -> bool:
    rows: list[dict[str, Any]] = front.program.get("/api/peers").json()["peers"]
    return all(row["up"] for row in rows)


def test_a_fleet_in_trouble_answers_every_request(tmp_path: Path) -> None:
    choice = random.Random(SEED)
    with fleet(tmp_path) as (boxes, fronts):
        storm = Storm(tuple(front.program.port for front in fronts))
        kinds: Counter[str] = Counter()
        whole: list[float] = []
        with ThreadPoolExecutor(CLIENTS) as pool:
            tasks = [pool.submit(storm.ask_on, number, random.Random(choice.random())) for number in range(CLIENTS)]
            try:
                for _ in range(TROUBLES):
                    before = Counter(storm.answered)
                    wait_until(
                        lambda before=before: sum((storm.answered - before).values()) >= REQUESTS_BETWEEN,  # type: ignore[misc]
                        "clients go on",
                        DEADLINE,
                    )
                    kinds[trouble(choice.choice(boxes), choice.choice(fronts), choice)] += 1
                    begun = time.monotonic()
                    wait_until(lambda: all(is_whole(front) for front in fronts), "the fleet is whole again")
                    whole.append(time.monotonic() - begun)
            finally:
                storm.ending.set()
            for task in tasks:
                task.result()
        told = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        print(
            f"\n{TROUBLES} troubles ({told}), {CLIENTS} clients, seed {SEED}: {sum(storm.answered.values())} answered, "
            f"{len(storm.cut)} cut in the middle, {len(storm.wrong)} failed, the slowest {storm.slowest:.1f} s, "
            f"whole again after at most {max(whole):.1f} s"
        )
        assert not storm.wrong, (len(storm.wrong), storm.wrong[:10])
        assert all(storm.answered[number] for number in range(CLIENTS))
        for front in fronts:
            for model in MODELS:
                assert front.program.chat(model, max_tokens=3).status == 200
