"""`proxy: announced`: what is said of a model whose server says itself where it listens."""

from __future__ import annotations

import pytest

from llamaswap_lib.config.check import Listen, check_text
from llamaswap_lib.config.difference import is_same_process, keep_ports
from llamaswap_lib.config.load import load_text
from llamaswap_lib.config.placed import ANNOUNCE, placed
from llamaswap_lib.config.schema import Model
from llamaswap_lib.errors import ConfigError
from llamaswap_lib.scheduling import model_specs

GIVEN = {ANNOUNCE: "_17", "LLAMASWAP_ANNOUNCE": "_17"}


def model(keys: str = "", cmd: str = "srun serve") -> Model:
    return load_text(f"models: {{m: {{proxy: announced, cmd: '{cmd}', {keys}}}}}", environment={}).models["m"]


def warnings(text: str) -> list[str]:
    report = check_text(text.encode(), {}, Listen())
    assert report.errors == ()
    return [problem.message for problem in report.warnings]


def test_its_run_has_a_token_that_is_shown_to_nobody() -> None:
    one = model("cmdStop: 'end ${ANNOUNCE}', env: ['T=${ANNOUNCE}']", "ssh node serve ${ANNOUNCE}")
    started = placed(one, GIVEN)
    assert started.argv == ("ssh", "node", "serve", "_17")
    assert started.stop_argv == ("end", "_17")
    assert started.env == ("T=_17", "LLAMASWAP_ANNOUNCE=_17")
    assert started.shown.cmd == "ssh node serve ${ANNOUNCE}"
    assert is_same_process(started, one)
    assert not is_same_process(one, model())


@pytest.mark.parametrize(
    "keys", ["proxy: 'http://h', cmd: 'x ${ANNOUNCE}'", "proxy: announced, cmd: x, name: '${ANNOUNCE}'"]
)
def test_the_macro_has_a_value_only_where_the_address_is_announced(keys: str) -> None:
    with pytest.raises(ConfigError, match="can be used only in cmd, cmdStop and env of a model with proxy: announced"):
        load_text(f"models: {{m: {{{keys}}}}}", environment={})


def test_what_is_no_address_is_no_word_either() -> None:
    with pytest.raises(ConfigError, match="expected a URL with its scheme"):
        load_text("models: {m: {proxy: announce, cmd: x}}", environment={})


def test_two_such_models_share_no_port() -> None:
    text = "groups: {g: {swap: false, members: [a, b]}}\nmodels:\n"
    text += "".join(f"  {name}: {{proxy: announced, cmd: env serve}}\n" for name in "ab")
    assert warnings(text) == []
    config = load_text(text, environment={})
    assert keep_ports(config, config, ()).models == config.models


def test_a_time_to_be_queued_is_for_what_is_announced() -> None:
    assert warnings("models: {m: {proxy: announced, cmd: env serve, queueTimeout: 5}}") == []
    [warning] = warnings("models: {m: {proxy: 'http://h:1', cmd: env serve, queueTimeout: 5}}")
    assert warning == "does nothing without proxy: announced"


def test_a_check_of_nothing_is_warned_of() -> None:
    [warning] = warnings("models: {m: {proxy: announced, cmd: env serve, checkEndpoint: none}}")
    assert warning.startswith("with none, it counts as ready as soon as it says where it listens")


def engines(text: str) -> dict[str, tuple[str, bool]]:
    specs = model_specs(load_text(text, environment={}))
    return {name: (spec.engine, spec.makes_room) for name, spec in specs.items()}


ELSEWHERE = "proxy: announced, cmd: env serve"
THERE = "proxy: 'http://node1:8123', cmd: env serve"
HERE = "cmd: 'env serve ${PORT}'"
CLUSTER = "cluster: {swap: false, whenQueued: evict, members: [a, b, c]}"


def test_members_of_a_group_make_room_for_each_other_in_a_queue_if_they_run_elsewhere() -> None:
    models = f"models: {{a: {{{ELSEWHERE}}}, b: {{{THERE}}}, c: {{{HERE}}}, d: {{{ELSEWHERE}}}}}"
    shares = {"a": ("group cluster", True), "b": ("group cluster", True), "c": ("", False), "d": ("", False)}
    assert engines(f"groups: {{{CLUSTER}}}\n{models}") == shares
    by_memory = f"routing: {{router: {{use: memory, settings: {{groups: {{{CLUSTER}}}}}}}}}\n{models}"
    assert engines(by_memory) == shares
    assert not [message for message in warnings(f"groups: {{{CLUSTER}}}\n{models}") if "does nothing" in message]
    waits = CLUSTER.replace("evict", "wait")
    assert set(engines(f"groups: {{{waits}}}\n{models}").values()) == {("", False)}


def test_a_pinned_member_stays_though_another_one_is_queued() -> None:
    text = f"groups: {{{CLUSTER}}}\nmodels: {{a: {{{ELSEWHERE}, pinned: true}}, b: {{{ELSEWHERE}}}, c: {{{HERE}}}}}"
    assert engines(text) == {"a": ("group cluster", False), "b": ("group cluster", True), "c": ("", False)}


def test_models_of_a_pool_make_room_for_each_other_whatever_their_groups() -> None:
    text = "groups: {kept: {persistent: true, members: [b]}, c: {persistent: true, whenQueued: evict, members: [c]}}\n"
    models = {name: f"{name}: {{{ELSEWHERE}, pool: x}}" for name in "ab"} | {"c": f"c: {{{ELSEWHERE}}}"}
    text += f"models: {{{', '.join(models.values())}}}"
    assert engines(text) == {"a": ("pool x", True), "b": ("pool x", False), "c": ("group c", True)}
    assert not [message for message in warnings(text) if "does nothing" in message]


def test_who_makes_room_in_a_queue_in_which_nobody_is_ever_is_told_so() -> None:
    group = f"groups: {{{CLUSTER}}}\nmodels: {{a: {{{THERE}}}, b: {{{HERE}}}, c: {{{HERE}}}}}"
    assert "does nothing without a member with proxy: announced" in warnings(group)
    routed = "routing: {router: {settings: {groups: {g: {whenQueued: evict, members: [a]}}}}}"
    assert warnings(f"{routed}\nmodels: {{a: {{{THERE}}}}}") == ["does nothing without a member with proxy: announced"]
    assert warnings(f"models: {{a: {{{HERE}, pool: x}}}}") == ["does nothing: its proxy is on this machine"]
    assert warnings(f"models: {{a: {{{HERE}, lostAfter: 5}}}}") == ["does nothing: its proxy is on this machine"]
    alone = "does nothing without a model of this pool with proxy: announced"
    assert warnings(f"models: {{a: {{{THERE}, pool: x}}, b: {{{ELSEWHERE}, pool: y}}}}") == [alone]


def test_a_model_may_be_lost_if_it_runs_elsewhere_and_has_a_check() -> None:
    texts = {"a": ELSEWHERE, "b": THERE, "c": HERE, "d": f"{THERE}, checkEndpoint: none", "e": f"{THERE}, lostAfter: 0"}
    specs = model_specs(
        load_text(f"models: {{{', '.join(f'{n}: {{{t}}}' for n, t in texts.items())}}}", environment={})
    )
    assert {name: spec.lost_after for name, spec in specs.items()} == {"a": 10, "b": 10, "c": 0, "d": 0, "e": 0}
