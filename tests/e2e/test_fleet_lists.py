"""What peers say that they have, over a reload that moves one, and over an upgrade: whose list counts, and is kept."""

from __future__ import annotations

import json
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from tests.e2e.conftest import RunProgram
from tests.e2e.held import Held
from tests.e2e.program import demo, models, wait_until
from tests.fleet.boxes import NOT_FOUND, Box, running
from tests.web.world import Peer, Upstream, sized


class TellsWhoAsked:
    """A box whose list has one name, which begins with the name of the llamaswap that asks for it."""

    def __init__(self) -> None:
        self.out_for: set[str] = set()  # it is out for these
        self.turn = 1

    def __call__(self, peer: Peer) -> None:
        head = peer.read_message()[0].decode()
        [via] = [line.split()[-1] for line in head.split("\r\n") if line.startswith("Via: ")]
        peer.send(NOT_FOUND if via in self.out_for else self.answer(head.split()[1], via))

    def answer(self, path: str, via: str) -> bytes:
        if path == "/running":
            return running()
        return sized(json.dumps({"data": [{"id": f"{via}-{self.turn}"}]}).encode())


def test_a_process_that_was_replaced_writes_no_list_any_more(run_program: RunProgram, tmp_path: Path) -> None:
    box, held, store = TellsWhoAsked(), Held(tmp_path), tmp_path / "activity.db"
    kept = Path(f"{store}.peers.json")
    with closing(Upstream(box)) as upstream:
        peers = {"box1": {"proxy": upstream.proxy, "models": "auto"}}
        config = {"peers": peers, "store": {"path": str(store)}, **models(m=held.command)}
        with run_program(config) as program, program.stream("m") as wire:

            def vias() -> list[str]:
                lines = program.stdout.splitlines()
                return [line.split()[-1] for line in lines if "its name in the Via header" in line]

            def is_kept(name: str) -> bool:
                return kept.exists() and f'"{name}"' in kept.read_text()

            def lists() -> int:
                return program.stdout.count("[INFO] peer box1 has 1 names of models")

            wire.read_head_and_first_chunk()
            program.upgrade()
            wait_until(lambda: len(vias()) == 2, "both have told their names")
            old, new = vias()
            wait_until(lambda: is_kept(f"{new}-1"), "the new process keeps its list")
            box.out_for.update((old, new))
            wait_until(lambda: program.stdout.count("[WARN] peer box1 is out") == 2, "both have seen that it is out")
            before, box.turn = lists(), 2
            box.out_for.remove(new)
            wait_until(lambda: is_kept(f"{new}-2") and lists() == before + 1, "the new process keeps the next list")
            box.out_for.remove(old)
            wait_until(lambda: lists() == before + 2, "the old process has the next list, too")
            assert is_kept(f"{new}-2")
            held.end(wire)


def test_what_is_known_of_a_peer_that_is_out_goes_along_at_an_upgrade(run_program: RunProgram) -> None:
    box = Box(running=running())
    box.answers["/v1/models"] = sized(json.dumps({"data": [{"id": "m"}]}).encode())
    upstream = Upstream(box)
    config = {"peers": {"box": {"proxy": upstream.proxy, "models": "auto"}}}
    with closing(upstream), run_program(config) as program:

        def row() -> dict[str, Any]:
            [found] = program.get("/api/peers").json()["peers"]
            return dict(found)

        def names() -> list[str]:
            return [model["id"] for model in program.get("/v1/models").json()["data"]]

        wait_until(lambda: names() == ["box/m"], "it has said its list")
        box.answers.clear()
        wait_until(lambda: row()["up"] is False, "it is out")
        before = row()
        program.upgrade()
        assert [row()[key] for key in ("up", "since", "kind")] == [before[key] for key in ("up", "since", "kind")]
        assert names() == ["box/m"]
        assert "peer box is in again" not in program.stdout


def test_a_list_belongs_to_the_address_that_has_said_it(run_program: RunProgram) -> None:
    boxes = {name: Box(running=running()) for name in ("first", "silent", "last")}
    for name in ("first", "last"):
        boxes[name].answers["/v1/models"] = sized(json.dumps({"data": [{"id": name}]}).encode())
    with ExitStack() as stack:
        at = {name: stack.enter_context(closing(Upstream(box))).proxy for name, box in boxes.items()}

        def config(name: str) -> dict[str, Any]:
            return {"peers": {"box": {"proxy": at[name], "models": "auto"}}, **models(own=demo())}

        program = stack.enter_context(run_program(config("first")))

        def names() -> list[str]:
            return [row["id"] for row in program.get("/v1/models").json()["data"]]

        wait_until(lambda: "box/first" in names(), "it has said its list")
        program.reload(config("silent"))
        assert names() == ["own"]
        program.reload(config("last"))
        wait_until(lambda: "box/last" in names(), "the new one has said its list")
        assert "box/first" not in names()
