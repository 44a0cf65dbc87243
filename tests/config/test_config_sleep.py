"""`sleep`: vLLM by its name, or the paths of another server, and what does not go together with it."""

from __future__ import annotations

import pytest

from llamaswap_lib.config.difference import is_same_process
from llamaswap_lib.config.load import load_text
from llamaswap_lib.config.placed import placed
from llamaswap_lib.config.schema import Model
from llamaswap_lib.config.show import shown
from llamaswap_lib.config.sleep_keys import VLLM, Sleep
from llamaswap_lib.errors import ConfigError


def model(keys: str = "") -> Model:
    return load_text(f"models: {{m: {{cmd: 'python3 --port ${{PORT}}', {keys}}}}}", environment={}).models["m"]


def test_a_model_does_not_sleep_unless_it_says_so() -> None:
    assert model().sleep is None
    assert model("sleep: null").sleep is None


@pytest.mark.parametrize(
    ("text", "value", "target"),
    [
        ("vllm", VLLM, "/sleep?level=1"),
        ("VLLM", VLLM, "/sleep?level=1"),
        ("{url: /nap, wake: /up}", Sleep("/nap", 0, "/up", 60.0), "/nap"),
        ("{url: '/nap?tag=a', level: 2, wake: /up, timeout: 1m30s}", Sleep("/nap?tag=a", 2, "/up", 90.0), None),
    ],
)
def test_it_names_vllm_or_two_paths(text: str, value: Sleep, target: str | None) -> None:
    found = model(f"sleep: {text}").sleep
    assert found == value
    assert found is not None
    assert found.target == (target or "/nap?tag=a&level=2")


def test_commands_have_the_macros_of_the_command_that_stops_it() -> None:
    found = model("sleep: {cmd: 'nap ${PORT} ${MODEL_ID} ${PID}', wakeCmd: 'up ${GPUS} \"a b\"'}, gpus: auto")
    at = placed(found.at_port(7001), {"gpus": "GPU-1", "gpu_count": "1"}).sleep
    assert at is not None
    assert at.argv == ("nap", "7001", "m", "${PID}")
    assert at.wake_argv == ("up", "GPU-1", "a b")


def test_secrets_in_commands_are_not_shown() -> None:
    keys = "sleep: {cmd: 'curl -H \"Authorization: Bearer abc\" x', wakeCmd: 'up --api-key s3cret'}"
    config = load_text(f"models: {{m: {{cmd: 'python3 --port ${{PORT}}', {keys}}}}}", environment={})
    told = str(shown(config))
    assert "wakeCmd" in told
    assert "abc" not in told
    assert "s3cret" not in told


@pytest.mark.parametrize(
    "text",
    [
        "{cmd: nap, wakeCmd: 'up now'}",
        "vllm",
        "{url: /nap, wake: /up}",
        "{url: /nap, wake: /up, level: 2, timeout: 90}",
    ],
)
def test_what_is_shown_means_the_same(text: str) -> None:
    config = load_text(f"models: {{m: {{cmd: x, proxy: 'http://localhost:1', sleep: {text}}}}}", environment={})
    told = shown(config)["models"]["m"]["sleep"]
    assert model(f"sleep: {told}").sleep == config.models["m"].sleep


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ollama", "expected vllm, or a mapping such as {url: /sleep, wake: /wake_up}, got"),
        ("[vllm]", "expected vllm, or a mapping"),
        ("{url: /nap}", "sleep.wake: expected a path of its server, such as /wake_up"),
        ("{wake: /up}", "sleep.url: expected a path of its server, such as /wake_up, or cmd, a command"),
        ("{cmd: nap}", "sleep.wake: expected a path of its server, such as /wake_up, or wakeCmd, a command"),
        ("{cmd: nap, url: /nap, wake: /up}", "sleep.cmd: cmd and url are for the same: leave one of them out"),
        ("{url: /nap, wake: /up, wakeCmd: up}", "sleep.wakeCmd: wakeCmd and wake are for the same"),
        ("{url: '/nap/${PID}', wake: /up}", "sleep.url: expected a path of its server"),
        (
            "{cmd: 'nap ${GPUS}', wake: /up}",
            "${GPUS} can be used only in cmd, cmdStop, sleep and env of a model with gpus",
        ),
        ("{url: /nap, wake: /up, check: nap}", "sleep.check: expected a path of its server, such as /is_sleeping"),
        ("{url: nap, wake: /up}", 'expected a path of its server, such as /wake_up, got "nap"'),
        ("{url: /nap, wake: /up, timeout: 0}", "expected an integer of at least 1"),
    ],
)
def test_anything_else_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        model(f"sleep: {text}")
    assert message in str(refused.value)


def test_a_sleeper_shares_its_address_with_nobody() -> None:
    text = "models: {{a: {{cmd: x, proxy: 'http://localhost:9000', sleep: vllm}}, b: {{cmd: y, proxy: '{}'}}}}"
    load_text(text.format("http://localhost:9001"), environment={})
    with pytest.raises(ConfigError, match='"b" has the same address, and could not start while this one sleeps'):
        load_text(text.format("http://localhost:9000"), environment={})


def test_a_server_that_says_where_it_listens_does_not_sleep() -> None:
    text = "models: {a: {cmd: x, proxy: announced, sleep: vllm}}"
    with pytest.raises(ConfigError, match="a server that says itself where it listens cannot be put to sleep"):
        load_text(text, environment={})


def test_another_way_to_sleep_is_another_process() -> None:
    assert is_same_process(model("sleep: vllm"), model("sleep: {url: /sleep, level: 1, wake: /wake_up}"))
    assert not is_same_process(model("sleep: vllm"), model())
    assert not is_same_process(model("sleep: {cmd: a, wake: /up}"), model("sleep: {cmd: b, wake: /up}"))
    assert not is_same_process(model("sleep: {cmd: a, wake: /up}"), model("sleep: {cmd: a, wakeCmd: up}"))


def test_another_time_to_fall_asleep_is_the_same_process() -> None:
    assert is_same_process(model("sleep: {cmd: a, wake: /up}"), model("sleep: {cmd: a, wake: /up, timeout: 9}"))
    assert is_same_process(model("sleep: vllm"), model("sleep: {url: /sleep, level: 1, wake: /wake_up, timeout: 9}"))
    assert model("sleep: {url: /sleep, level: 1, wake: /wake_up, check: /is_sleeping}") == model("sleep: vllm")
