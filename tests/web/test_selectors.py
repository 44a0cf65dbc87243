"""Which target a selector chooses, how it counts, and that the request goes there under the target's name."""

from __future__ import annotations

import json
import threading
from contextlib import ExitStack

import pytest

from llamaswap_lib.config.load import load_text
from llamaswap_lib.fleet.states import ModelThere, PeerState
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


def test_spillover_wakes_none_that_sleeps_before_those_that_run_are_full() -> None:
    chooser = selectors(Runs(a="sleeping", b="ready"))
    with ExitStack() as held:
        assert take(chooser, held, 4) == "b b al al"


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
  s: {strategy: spillover, targets: [b, c], settings: {spillover: 3, sticky: prefix},
      name: " S ", metadata: {k: v, type: x}}
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
            "llamaswap": {
                "k": "v",
                "type": "selector",
                "strategy": "spillover",
                "targets": ["b", "c"],
                "spillover": 3,
                "sticky": "prefix",
            }
        },
    }
    assert listed["pin"]["status"] == {"value": "unloaded"}
    assert listed["pin"]["meta"]["llamaswap"] == {"type": "selector", "strategy": "pin", "targets": ["b", "a"]}
    assert listed["new"]["status"] == {"value": "loaded"}
    assert listed["new"]["meta"]["llamaswap"] == {"type": "profile"}


# -- targets on several boxes --

FLEET = """
models:
  here: {cmd: "server ${PORT}", proxy: "http://localhost:1"}
peers:
  one: {proxy: "http://localhost:2", models: [m]}
  two: {proxy: "http://localhost:3", models: [m]}
selectors:
  warm: {strategy: warm, targets: [here, one/m, two/m]}
  spill: {strategy: spillover, targets: [here, one/m, two/m]}
  spread: {strategy: spread, targets: [one/m, two/m], settings: {spillover: 2}}
  failover: {strategy: failover, targets: [one/m, here]}
  pin: {strategy: pin, targets: [one/m]}
  local: {strategy: warm, targets: [here]}
"""


def seen(is_up: bool = True, **models: str) -> PeerState:
    return PeerState(is_up, kind="llamaswap", models={name: ModelThere(state) for name, state in models.items()})


class Boxes:
    """What is known of the peers, as the selectors are told."""

    def __init__(self, **states: PeerState) -> None:
        self.states = states

    def __call__(self) -> dict[str, PeerState]:
        return dict(self.states)

    def selectors(self, **runs: str) -> Selectors:
        return Selectors(load_text(FLEET), Runs(**runs), peers=self)


@pytest.mark.parametrize(
    ("boxes", "runs", "expected"),
    [
        (Boxes(), {}, "here"),
        (Boxes(two=seen(m="ready")), {}, "two/m"),
        (Boxes(one=seen(m="starting"), two=seen(m="ready")), {}, "two/m"),
        (Boxes(one=seen(m="starting")), {}, "one/m"),
        (Boxes(one=seen(m="ready")), {"here": "ready"}, "here"),
    ],
)
def test_warm_takes_the_target_that_is_ready_on_whatever_box(boxes: Boxes, runs: dict[str, str], expected: str) -> None:
    assert boxes.selectors(**runs).choose("warm").target == expected


def test_spillover_goes_to_the_next_box_and_leaves_out_what_is_out() -> None:
    boxes = Boxes(one=seen(False))
    chooser = boxes.selectors()
    assert [chooser.choose("spill").target for _ in range(4)] == ["here", "two/m", "here", "two/m"]
    boxes.states["one"] = seen()
    assert chooser.choose("spill").target == "one/m"


def test_spread_counts_requests_of_all_names_that_lead_to_a_box() -> None:
    chooser = Boxes(one=seen(m="ready"), two=seen()).selectors()
    held = [chooser.choose("failover"), chooser.choose("spread")]
    assert [choice.target for choice in held] == ["one/m", "one/m"]
    assert chooser.preview("spread") == "two/m"
    third = chooser.choose("spread")
    assert third.target == "two/m"
    held[0].give_back()
    assert chooser.preview("spread") == "one/m"


def test_what_runs_at_peers_makes_no_room_on_this_machine() -> None:
    text = FLEET.replace("selectors:\n", "selectors:\n  mixed: {strategy: spread, targets: [here, one/m]}\n")
    text = text.replace("models:\n", "models:\n  other: {cmd: 'server ${PORT}', proxy: 'http://localhost:4'}\n", 1)
    text += "  busy: {strategy: failover, targets: [other]}\n"
    runs, boxes = Runs(other="ready"), Boxes(one=seen(m="ready", a="ready", b="ready"), two=seen(False))
    chooser = Selectors(load_text(text), runs, peers=boxes)
    chooser.choose("busy")
    assert {chooser.choose("mixed").target for _ in range(9)} == {"one/m"}, "the only model here is busy"
    runs.states = {"other": "ready", "idle": "ready"}
    assert chooser.preview("mixed") == "here"
    runs.states = {"other": "ready"}
    assert chooser.preview("mixed") == "here", "two were seen to run at the same time"


def test_failover_is_the_first_that_is_up() -> None:
    boxes = Boxes(one=seen())
    chooser = boxes.selectors()
    assert chooser.preview("failover") == "one/m"
    boxes.states["one"] = seen(False)
    assert chooser.preview("failover") == "here"


def test_the_others_follow_where_another_box_may_answer() -> None:
    chooser = Boxes(one=seen(False)).selectors()
    rest = {name: chooser.choose(name).rest for name in ("warm", "failover", "pin", "local")}
    assert rest == {"warm": ["two/m", "one/m"], "failover": ["one/m"], "pin": [], "local": []}


def test_a_request_that_moves_on_counts_where_it_went() -> None:
    chooser = Boxes().selectors()
    choice = chooser.choose("spread")
    first, second = choice.target, choice.rest[0]
    choice.move_on()
    assert (choice.target, choice.rest) == (second, [])
    assert chooser.preview("spread") == second, "it is warm there: a request of ours has it loaded"
    choice.give_back()
    assert chooser.preview("spread") == first


def test_a_request_of_another_llamaswap_gets_a_model_of_ours_if_there_is_one() -> None:
    chooser = Boxes(one=seen(m="ready")).selectors()
    targets = {name: chooser.choose(name, is_sent_on=True).target for name in ("warm", "spill", "spread", "failover")}
    assert targets == {"warm": "here", "spill": "here", "spread": "one/m", "failover": "here"}


def test_a_reload_goes_on_counting() -> None:
    chooser = Boxes(one=seen(m="ready")).selectors()
    held = [chooser.choose("spread"), chooser.choose("spread")]
    more = load_text(FLEET + "  more: {strategy: spread, targets: [one/m, two/m], settings: {spillover: 2}}\n")
    after = Selectors(more, Runs(), chooser, Boxes(one=seen(m="ready")))
    assert after.preview("more") == "two/m", "the first has as many as it should"
    for choice in held:
        choice.give_back()
    assert after.preview("more") == "one/m"


def test_a_reload_goes_on_counting_those_of_other_llamaswaps() -> None:
    text = FLEET.replace("models:\n", "models:\n  other: {cmd: 'server ${PORT}', proxy: 'http://localhost:4'}\n", 1)
    text += "  mine: {strategy: spillover, targets: [here, other, one/m], settings: {spillover: 1}}\n"
    chooser = Selectors(load_text(text), Runs())
    held = chooser.choose("mine", is_sent_on=True)
    after = Selectors(load_text(text), Runs(), chooser)
    assert (held.target, after.choose("mine", is_sent_on=True).target) == ("here", "other")
