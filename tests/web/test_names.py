"""What is said of a name that leads nowhere: its neighbours, or what is wrong with it, at a cost with a bound."""

from __future__ import annotations

import json

import pytest

from llamaswap_lib.config.load import load_text
from llamaswap_lib.nearest import LONGEST, MOST_CHARACTERS, MOST_COMPARED, Nearest, likeness
from llamaswap_lib.routing.destinations import destinations_of
from llamaswap_lib.routing.names import Names, Reach
from tests.web.world import OK, World, answers, chat, get

MODELS = """
models:
  qwen3-8b: {cmd: "server ${PORT}", proxy: PROXY, aliases: [small, org/small]}
  qwen3-14b: {cmd: "server ${PORT}", proxy: PROXY}
peers:
  box: {proxy: PROXY, models: [gpt, both, alone], pooled: false}
  far: {proxy: PROXY, models: [both], pooled: false}
selectors:
  best: {strategy: pin, targets: [qwen3-14b, qwen3-8b]}
  away: {strategy: pin, targets: [gpt]}
profiles:
  day:
    pins: {default: small, picked: best, small: ~, gone: qwen3-8b}
"""
OF_BEST = "name one of its models: 'qwen3-14b' or 'qwen3-8b'"
PINS = {"default": "small", "picked": "best", "small": "", "gone": "nowhere"}


@pytest.fixture
def names() -> Names:
    config = load_text(MODELS.replace("PROXY", "http://localhost:1"))
    return Names(config, destinations_of(config))


# -- near names --


class Counted:
    """Compares, and remembers what."""

    def __init__(self) -> None:
        self.compared: list[tuple[str, str]] = []

    def __call__(self, name: str, other: str) -> float:
        self.compared.append((name, other))
        return likeness(name, other)


MANY = [f"qwen3-{number}b-{kind}-q4_k_m" for number in range(5_000) for kind in ("instruct", "coder")]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("qwen3-4711b-instruct-q4_k", "qwen3-4711b-instruct-q4_k_m"),
        ("QWEN3-4711B-Instruct-Q4_K_M", "qwen3-4711b-instruct-q4_k_m"),
        ("qwen3_4711b_coder_q4_k_m", "qwen3-4711b-coder-q4_k_m"),
        ("qwen-3-4711b-coder-q4_k_m", "qwen3-4711b-coder-q4_k_m"),
    ],
)
def test_of_ten_thousand_names_the_nearest_is_found_with_a_few_comparisons(name: str, found: str) -> None:
    counted = Counted()
    assert Nearest(MANY, counted).find(name)[0] == found
    assert 0 < len(counted.compared) <= MOST_COMPARED


def test_only_the_beginning_of_long_names_is_compared() -> None:
    counted = Counted()
    longs = ["a/" + "x-" * 149 + str(number) for number in range(2_000)]
    assert longs[7] in Nearest(longs, counted).find(longs[7].upper())
    assert {len(name) for pair in counted.compared for name in pair} == {MOST_CHARACTERS}
    assert len(counted.compared) <= MOST_COMPARED


@pytest.mark.parametrize("name", ["x" * (LONGEST + 1), "qwen3" * 200_000, "", "zzz"])
def test_what_is_no_slip_of_the_keyboard_is_compared_with_nothing(name: str) -> None:
    counted = Counted()
    assert Nearest(["qwen3-8b", "y" * 600], counted).find(name) == []
    assert counted.compared == []


def test_near_names_are_in_order_three_at_most_and_never_the_name_itself() -> None:
    nearest = Nearest(["abcdxx", "abcde", "Abcd", "abcdef", "zzz"])
    assert nearest.find("abcd") == ["Abcd", "abcde", "abcdxx"]
    assert nearest.find("Abcd") == ["abcde", "abcdxx", "abcdef"]
    assert nearest.find("abcd", first=2) == ["abcde", "abcdxx"]


@pytest.mark.parametrize("name", ["\ud800", "ß" * 300, "İ\0", "", "\U0001f600" * 200])
def test_any_text_has_near_names_or_none(name: str) -> None:
    assert isinstance(Nearest([name, "x"]).find(name + "y"), list)
    assert Nearest([]).find(name) == []


# -- what is wrong with a name --


@pytest.mark.parametrize(
    ("name", "reach", "said"),
    [
        ("qwen3-8", Reach.ANY, "model not found: 'qwen3-8'; did you mean 'qwen3-8b' or 'qwen3-14b'?"),
        ("QWEN3-8B", Reach.LOADS, "model not found: 'QWEN3-8B'; did you mean 'qwen3-8b' or 'qwen3-14b'?"),
        ("bets", Reach.ANY, "model not found: 'bets'; did you mean 'best'?"),
        ("bets", Reach.MODELS, "model not found: 'bets'"),
        ("gtp", Reach.MODELS, "model not found: 'gtp'; did you mean 'gpt'?"),
        ("box/gtp", Reach.MODELS, "model not found: 'box/gtp'; did you mean 'box/gpt', 'box/both' or 'box/alone'?"),
        ("box/gtp", Reach.LOADS, "model not found: 'box/gtp'; did you mean 'box/gpt', 'box/both' or 'box/alone'?"),
        ("zzz", Reach.ANY, "model not found: 'zzz'"),
        ("both", Reach.ANY, "'both' is offered by the peers 'box' and 'far': use 'box/both' or 'far/both'"),
        (
            "both",
            Reach.MODELS,
            "model not found: 'both' is offered by the peers 'box' and 'far': use 'box/both' or 'far/both'",
        ),
        (
            "both",
            Reach.LOADS,
            "model not found: 'both' is offered by the peers 'box' and 'far': use 'box/both' or 'far/both'",
        ),
        ("alone", Reach.ANY, "'alone' is offered by the peer 'box': use 'box/alone'"),  # in the list of models
        ("best", Reach.MODELS, f"model not found: 'best' is a selector; {OF_BEST}"),
        ("best", Reach.LOADS, f"model not found: 'best' is a selector; {OF_BEST}"),
        ("away", Reach.MODELS, "model not found: 'away' is a selector; name one of its models: 'gpt'"),
        ("away", Reach.LOADS, "model not found: 'away' is a selector; name one of its models: 'gpt'"),
    ],
)
def test_what_is_wrong_with_a_name_is_said(names: Names, name: str, reach: Reach, said: str) -> None:
    assert str(names.unknown(name, reach)) == said


@pytest.mark.parametrize(
    ("name", "reach", "said"),
    [
        ("defualt", Reach.ANY, "model not found: 'defualt'; did you mean 'default'?"),
        ("smal", Reach.ANY, "model not found: 'smal'; did you mean 'org/small'?"),  # it is switched off
        ("smal", Reach.LOADS, "model not found: 'smal'; did you mean 'small' or 'org/small'?"),
        ("gone", Reach.ANY, "the active profile leads 'gone' to 'nowhere', and there is no such model"),
        ("small", Reach.MODELS, "model not found: 'small' is switched off by the active profile"),
        (
            "picked",
            Reach.MODELS,
            f"model not found: the active profile leads 'picked' to the selector 'best'; {OF_BEST}",
        ),
        (
            "default",
            Reach.LOADS,
            "model not found: 'default' is a name of the active profile; name the model that it leads to: 'small'",
        ),
    ],
)
def test_what_the_active_profile_has_to_do_with_it_is_said(names: Names, name: str, reach: Reach, said: str) -> None:
    assert str(names.unknown(name, reach, PINS)) == said


def test_of_many_peers_and_targets_the_first_are_named() -> None:
    peers = "".join(f"  p{number}: {{proxy: 'http://h', models: [m], pooled: false}}\n" for number in range(100))
    config = load_text(f"peers:\n{peers}")
    said = str(Names(config, destinations_of(config)).unknown("m", Reach.ANY))
    assert said == (
        "'m' is offered by the peers 'p0', 'p1', 'p2', 'p3', 'p4', …: use 'p0/m', 'p1/m', 'p2/m', 'p3/m', 'p4/m', …"
    )


@pytest.mark.parametrize("name", ["\ud800", "\udcff\r\nX: y", "x" * 10_000_000, "\0\x1b[2J", "<script>"])
@pytest.mark.parametrize("reach", Reach)
def test_a_hostile_name_makes_a_short_plain_message(names: Names, name: str, reach: Reach) -> None:
    message = str(names.unknown(name, reach, {name: "small"}))
    assert len(message.encode()) < 1000
    assert message.isprintable()


# -- on each route --


def refusal(world: World, request: bytes) -> str:
    head, body = world.ask(request)
    assert head.startswith(b"HTTP/1.1 404 "), head
    return str(json.loads(body)["error"]["message"])


@pytest.mark.parametrize("method", ["load", "unload"])
def test_load_and_unload_name_the_model_and_its_neighbours(method: str) -> None:
    with World(answers(OK), config=MODELS) as world:
        said = refusal(world, get(f"/api/models/{method}/qwen3-8", method="POST"))
        assert said == "model not found: 'qwen3-8'; did you mean 'qwen3-8b' or 'qwen3-14b'?"
        assert "is a selector" in refusal(world, get(f"/api/models/{method}/best", method="POST"))
        assert "did you mean 'box/gpt'" in refusal(world, get(f"/api/models/{method}/box%2Fgtp", method="POST"))
        assert (world.controller.loaded, world.controller.unloaded) == ([], [])


def test_a_name_of_two_peers_is_no_unknown_one_in_a_first_request_or_a_later_one() -> None:
    with World(answers(OK, OK), config=MODELS) as world, world.connect() as client:
        for _ in range(2):
            client.send(chat(b'{"model":"both"}'))
            head, body = client.read_message()
            assert head.startswith(b"HTTP/1.1 404 ")
            said = json.loads(body)["error"]["message"]
            assert said == "'both' is offered by the peers 'box' and 'far': use 'box/both' or 'far/both'"


def test_below_upstream_a_selector_is_told_its_models_and_in_the_list_a_peers_model_its_full_name() -> None:
    with World(config=MODELS) as world:
        assert refusal(world, get("/upstream/best/x")).startswith("model not found: 'best' is a selector; name one")
        assert refusal(world, get("/v1/models/alone")) == "'alone' is offered by the peer 'box': use 'box/alone'"


def test_every_name_of_the_list_has_an_entry_those_of_peers_of_selectors_and_of_the_active_profile_too() -> None:
    with World(config=MODELS) as world:
        world.app.profiles.activate("day")
        _, body = world.ask(get("/v1/models"))
        names = {entry["id"] for entry in json.loads(body)["data"]}
        assert names >= {"qwen3-8b", "box/gpt", "far/both", "best", "default"}
        for name in names | {"small", "org/small"}:
            head, body = world.ask(get(f"/v1/models/{name}"))
            assert (head[:12], json.loads(body)["id"]) == (b"HTTP/1.1 200", name)
        assert "did you mean 'qwen3-8b'" in refusal(world, get("/v1/models/qwen3-8"))
