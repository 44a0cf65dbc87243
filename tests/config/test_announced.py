"""`proxy: announced`: what is said of a model whose server says itself where it listens."""

from __future__ import annotations

import pytest

from llamaswap_lib.config.check import Listen, check_text
from llamaswap_lib.config.difference import is_same_process, keep_ports
from llamaswap_lib.config.load import load_text
from llamaswap_lib.config.placed import ANNOUNCE, placed
from llamaswap_lib.config.schema import Model
from llamaswap_lib.errors import ConfigError

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
