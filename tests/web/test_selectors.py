"""Which target a selector chooses, how it counts, and that the request goes there under the target's name."""

from __future__ import annotations

import json
import threading
from contextlib import ExitStack

import pytest

from llamaswap_lib.config.load import load_text
from llamaswap_lib.routing.selectors import Selectors
from tests.web.world import DEADLINE, OK, Peer, Running, World, answers, chat, get

MODELS = """
groups: {g: {swap: false, members: [a, b, c]}}
models:
  a: {cmd: "server ${PORT}", proxy: PROXY, aliases: [al]}
  b: {cmd: "server ${PORT}", proxy: PROXY, filters: {setParams: {x: 1}}}
  c: {cmd: "server ${PORT}", proxy: PROXY, useModelName: real}
selectors:
  pin: {strategy: pin, targets: [b, a]}
  warm: {strategy: warm, targets: [al, b, c]}
  spill: {strategy: spillover, targets: [al, b, c], settings: {spillover: 2}}
"""


class Runs:
    """What runs, as the selectors are told."""

    def __init__(self, **states: str) -> None:
        self.states = states

    def __call__(self) -> tuple[Running, ...]:
        return tuple(Running(model, number, state) for number, (model, state) in enumerate(self.states.items()))


def selectors(runs: Runs) -> Selectors:
    return Selectors(load_text(MODELS.replace("PROXY", "http://localhost:1")), runs)


def take(chooser: Selectors, held: ExitStack, count: int) -> str:
    """The choices of `count` requests that stay."""
    return " ".join(held.enter_context(chooser.choose("spill")) for _ in range(count))


def test_pin_is_the_first_target_whatever_runs() -> None:
    with selectors(Runs(a="ready")).choose("pin") as target:
        assert target == "b"


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ({}, "al"),
        ({"b": "ready"}, "b"),
        ({"b": "ready", "a": "ready"}, "al"),
        ({"c": "ready", "a": "starting"}, "c"),
        ({"c": "starting", "a": "stopping"}, "c"),
        ({"b": "stopping"}, "al"),
    ],
)
def test_warm_is_the_first_that_is_ready_or_else_starting(states: dict[str, str], expected: str) -> None:
    with selectors(Runs(**states)).choose("warm") as target:
        assert target == expected


def test_spillover_fills_one_target_before_it_starts_the_next() -> None:
    runs = Runs()
    chooser = selectors(runs)
    with ExitStack() as held:
        assert take(chooser, held, 2) == "al al"  # nothing runs: what was chosen counts as active
        runs.states["a"] = "starting"
        assert take(chooser, held, 2) == "b b"
        runs.states["b"] = "ready"
        assert take(chooser, held, 2) == "c c"
        assert sorted(take(chooser, held, 3).split()) == ["al", "b", "c"]  # all full: the least busy take turns


def test_spillover_takes_the_least_busy_and_then_turns() -> None:
    chooser = selectors(Runs(a="ready", b="ready", c="ready"))
    chosen = []
    for _ in range(6):
        with chooser.choose("spill") as target:
            chosen.append(target)
    assert chosen == ["al", "b", "c"] * 2
    with ExitStack() as held, ExitStack() as brief:
        assert take(chooser, held, 1) == "al"
        assert take(chooser, brief, 1) == "b"
        assert take(chooser, held, 1) == "c"
        brief.close()
        assert take(chooser, held, 1) == "b"


def test_spillover_gives_its_place_back_when_the_request_fails() -> None:
    chooser = selectors(Runs())
    for _ in range(5):
        with pytest.raises(AssertionError, match="al"), chooser.choose("spill") as target:
            raise AssertionError(target)


def test_spillover_avoids_a_target_on_its_way_out() -> None:
    runs = Runs(a="stopping", b="ready")
    chooser = selectors(runs)
    with ExitStack() as held:
        assert take(chooser, held, 4) == "b b c c"
        runs.states = dict.fromkeys("abc", "stopping")
        assert take(chooser, held, 2) == "al al"


def test_spillover_counts_right_under_many_threads() -> None:
    chooser = selectors(Runs(a="ready", b="ready", c="ready"))
    seen: list[str] = []

    def work() -> None:
        for _ in range(300):
            with chooser.choose("spill") as target:
                seen.append(target)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    assert len(seen) == 2400
    with ExitStack() as held:
        assert sorted(take(chooser, held, 6).split()) == ["al", "al", "b", "b", "c", "c"]


# -- through the server --


def test_the_request_goes_on_under_the_name_of_the_target() -> None:
    seen: list[tuple[bytes, bytes]] = []

    def script(peer: Peer) -> None:
        head, body = peer.read_message()
        seen.append((head.split(b" ")[1], body))
        peer.send(OK)

    config = MODELS + "profiles: {p: {pins: {fast: warm}}}\n"
    with World(script, config=config) as world:
        world.controller.running = [Running("c", 1, "ready")]
        world.ask(chat(b'{ "model":"pin"}'))
        world.ask(chat(b'{ "model":"warm"}'))
        world.controller.running = []
        world.ask(chat(b'{ "model":"warm"}'))
        world.ask(chat(b'{ "model":"spill"}'))
        world.ask(get("/props?x=%20&model=pin"))
        world.app.profiles.activate("p")
        world.ask(chat(b'{ "model":"fast"}'))
        leased = world.controller.leased
    path = b"/v1/chat/completions"
    assert seen == [
        (path, b'{ "model":"b","x":1}'),
        (path, b'{ "model":"real"}'),
        (path, b'{ "model":"al"}'),
        (path, b'{ "model":"al"}'),
        (b"/props?x=%20&model=b", b""),
        (path, b'{ "model":"al"}'),
    ]
    assert leased == ["b", "c", "a", "a", "b", "a"]


def test_spillover_counts_a_request_until_its_answer_has_gone_out() -> None:
    go_on = threading.Event()
    arrived = threading.Semaphore(0)

    def slow(peer: Peer) -> None:
        peer.read_message()
        arrived.release()
        assert go_on.wait(DEADLINE)
        peer.send(OK)

    with World(slow, slow, slow, answers(OK), config=MODELS) as world:
        with ExitStack() as clients:
            waiting = [clients.enter_context(world.connect()) for _ in range(3)]
            for client in waiting:
                client.send(chat(b'{"model":"spill"}'))
                assert arrived.acquire(timeout=DEADLINE)
            assert world.controller.leased == ["a", "a", "b"]
            waiting[2].reset()  # a client that leaves gives its place back
            world.controller.wait_inside(2)
            go_on.set()
            for client in waiting[:2]:
                assert client.read_message()[1] == b"ok"
        world.controller.wait_empty()
        world.ask(chat(b'{"model":"spill"}'))
        assert world.controller.leased[3:] == ["a"]


def test_a_selector_is_nothing_below_upstream() -> None:
    with World(config=MODELS) as world:
        head, body = world.ask(get("/upstream/pin/x"))
    assert head.startswith(b"HTTP/1.1 404 ")
    assert b"model not found" in body


def test_a_misspelt_selector_is_offered() -> None:
    with World(config=MODELS) as world:
        assert b"did you mean 'warm'" in world.ask(chat(b'{"model":"wram"}'))[1]


LISTED = """
  s: {strategy: spillover, targets: [b, c], settings: {spillover: 3}, name: " S ", metadata: {k: v, type: x}}
  hidden: {strategy: pin, targets: [a], unlisted: true}
profiles: {p: {pins: {new: s, b: warm, pin: a, off: ""}}}
"""


def test_selectors_and_pins_to_them_are_listed() -> None:
    with World(config=MODELS + LISTED) as world:
        world.controller.running = [Running("c", 1, "starting")]
        world.app.profiles.activate("p")
        listed = {entry["id"]: entry for entry in json.loads(world.ask(get("/v1/models"))[1])["data"]}
    assert list(listed) == ["a", "b", "c", "new", "pin", "s", "spill", "warm"]
    created = listed["s"].pop("created")
    assert created > 0
    assert listed["s"] == {
        "id": "s",
        "object": "model",
        "owned_by": "llama-swap",
        "name": "S",
        "status": {"value": "loaded"},
        "meta": {
            "llamaswap": {"k": "v", "type": "selector", "strategy": "spillover", "targets": ["b", "c"], "spillover": 3}
        },
    }
    assert listed["pin"]["status"] == {"value": "unloaded"}
    assert listed["pin"]["meta"]["llamaswap"] == {"type": "selector", "strategy": "pin", "targets": ["b", "a"]}
    assert listed["new"]["status"] == {"value": "loaded"}
    assert listed["new"]["meta"]["llamaswap"] == {"type": "profile"}
