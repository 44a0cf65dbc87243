"""What a new configuration changes in the one that is in force."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llamaswap_lib.config.difference import Difference, difference, is_same_process, keep_ports
from llamaswap_lib.config.load import load_text
from llamaswap_lib.config.schema import Config
from llamaswap_lib.config.show import shown

SERVER = "server --port ${PORT}"


def loaded(models: dict[str, Any], **more: Any) -> Config:
    return load_text(json.dumps({"models": models, **more}))


def ports(config: Config) -> dict[str, int]:
    return {name: model.automatic_port.number for name, model in config.models.items() if model.automatic_port}


def test_the_same_configuration_changes_nothing() -> None:
    models = {"a": {"cmd": SERVER, "filters": {"strip_params": "x"}}}
    peers = {"p": {"proxy": "http://x", "models": ["m"]}}
    found = difference(loaded(models, peers=peers), loaded(models, peers=peers))
    assert not found
    assert found.text() == "nothing has changed"


def test_models_are_told_apart_by_what_happens_to_them() -> None:
    old = loaded({name: {"cmd": SERVER} for name in "abcd"})
    new = loaded(
        {"a": {"cmd": SERVER}, "b": {"cmd": f"{SERVER} -v"}, "c": {"cmd": SERVER, "ttl": 5}, "e": {"cmd": SERVER}}
    )
    found = difference(old, keep_ports(old, new, ()))
    assert found == Difference(added=("e",), removed=("d",), replaced=("b",), updated=("c",))
    assert found.text() == "added e; removed d; replaced b; updated c"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("logLevel", "debug"),
        ("apiKeys", ["k"]),
        ("startPort", 9000),
        ("peers", {"p": {"proxy": "http://x", "models": ["m"]}}),
        ("profiles", {"p": {"pins": {"x": "a"}}}),
        ("selectors", {"s": {"strategy": "pin", "targets": ["a"]}}),
        ("limits", {"connections": 7}),
        ("routing", {"scheduler": {"settings": {"fifo": {"maxWait": 7}}}}),
        ("routing", {"router": {"settings": {"groups": {"g": {"swap": False, "members": ["a"]}}}}}),
        ("shutdownTimeout", 3),
    ],
)
def test_a_changed_setting_is_named(key: str, value: Any) -> None:
    old, new = loaded({"a": {"cmd": SERVER}}), loaded({"a": {"cmd": SERVER}}, **{key: value})
    assert difference(old, keep_ports(old, new, ())).settings == (key,)


@pytest.mark.parametrize(
    ("change", "is_same"),
    [
        ({}, True),
        ({"cmd": "server   --port ${PORT}\n  # comment"}, True),
        ({"name": "n", "ttl": 7, "aliases": ["x"], "concurrencyLimit": 3, "unloadTimeout": 7}, True),
        ({"env": ["B=2", "A=1"]}, True),
        ({"env": ["A=1", "B=3"]}, False),
        ({"cmd": "server --port ${PORT} -v"}, False),
        ({"cmdStop": "stop ${PID}"}, False),
        ({"checkEndpoint": "/ready"}, False),
        ({"proxy": "http://127.0.0.1:${PORT}"}, False),
        ({"cmd": "server", "proxy": "http://localhost:5800"}, False),
    ],
    ids=str,
)
def test_a_process_is_the_same_if_it_would_be_started_reached_checked_and_stopped_the_same_way(
    change: dict[str, Any], is_same: bool
) -> None:
    before = {"cmd": SERVER, "env": ["A=1", "B=2"]}
    old, new = loaded({"m": before}), loaded({"a": {"cmd": SERVER}, "m": {**before, **change}})
    assert is_same_process(old.models["m"], new.models["m"]) is is_same


def test_a_new_model_moves_no_automatic_port() -> None:
    old = loaded({"b": {"cmd": SERVER}, "d": {"cmd": SERVER}})
    new = keep_ports(old, loaded({name: {"cmd": SERVER} for name in "abcd"}), ())
    assert ports(new) == {"a": 5802, "b": 5800, "c": 5803, "d": 5801}
    assert new.models["a"].argv == ("server", "--port", "5802")
    assert new.models["a"].proxy == "http://localhost:5802"


def test_a_new_model_gets_no_port_that_a_process_still_has() -> None:
    old = loaded({"a": {"cmd": SERVER}})
    assert ports(keep_ports(old, loaded({"b": {"cmd": SERVER}}), (5800,))) == {"b": 5801}


def test_with_another_start_port_all_are_counted_anew() -> None:
    old = loaded({"b": {"cmd": SERVER}})
    new = loaded({"a": {"cmd": SERVER}, "b": {"cmd": SERVER}}, startPort=7000)
    assert ports(keep_ports(old, new, ())) == {"a": 7000, "b": 7001}


def test_models_without_an_automatic_port_stay_as_they_are() -> None:
    fixed = {"cmd": "server", "proxy": "http://localhost:9000"}
    old = loaded({"a": fixed})
    assert keep_ports(old, loaded({"a": fixed, "b": fixed}), ()).models["b"].proxy == "http://localhost:9000"


def test_what_came_from_the_environment_stays_hidden_at_another_port() -> None:
    text = "models: {m: {cmd: 'server --port ${PORT} ${env.S}', cmdStop: 'x ${env.S}', env: ['A=${env.S}'],"
    text += " checkEndpoint: '/h?${env.S}', proxy: 'http://localhost:${PORT}/${env.S}'}}"
    new = load_text(text, environment={"S": "s3cr3t"})
    old = loaded({"a": {"cmd": SERVER}})
    moved = keep_ports(old, new, (5800,))
    assert ports(moved) == {"m": 5801}
    assert "s3cr3t" in moved.models["m"].cmd
    assert "s3cr3t" not in json.dumps(shown(moved), default=str)


def test_order_in_a_matrix_and_kinds_of_values_count() -> None:
    models = {name: {"cmd": SERVER} for name in "abc"}
    sets = [{"one": "a & b", "two": "a & c"}, {"two": "a & c", "one": "a & b"}]
    first, second = (loaded(models, matrix={"sets": one}) for one in sets)
    assert difference(first, second).settings == ("routing",)
    number, flag = (loaded({"a": {"cmd": SERVER, "filters": {"setParams": {"x": value}}}}) for value in (1, True))
    assert difference(number, flag).updated == ("a",)


def test_a_new_automatic_port_is_none_that_another_model_names() -> None:
    fixed = {"cmd": "server", "proxy": "http://localhost:5801"}
    old = loaded({"a": {"cmd": SERVER}})
    assert ports(keep_ports(old, loaded({"a": {"cmd": SERVER}, "b": fixed, "c": {"cmd": SERVER}}), ())) == {
        "a": 5800,
        "c": 5802,
    }
