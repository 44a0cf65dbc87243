"""Macros in the keys of `filters.setParamsByID`: the only keys where they count."""

from __future__ import annotations

import pytest

from llamaswap_lib.config.load import load_text
from llamaswap_lib.typed_yaml.problems import InvalidConfig


def test_a_macro_and_the_port_are_replaced_in_a_key_as_in_a_value() -> None:
    text = "macros: {high: m:high}\nmodels:\n  m:\n    cmd: server ${PORT}\n    filters:\n      setParamsByID:\n"
    text += "        ${high}: {effort: high}\n        on-${PORT}: {url: 'at-${PORT}'}\n"
    found = load_text(text).models["m"].filters.set_params_by_id
    assert found == {"m:high": {"effort": "high"}, "on-5800": {"url": "at-5800"}}


def test_an_unknown_macro_in_a_key_is_an_error_at_its_line() -> None:
    text = "models:\n  m:\n    cmd: server ${PORT}\n    filters:\n      setParamsByID:\n"
    text += "        a: {}\n        x-${nope}: {}\n"
    with pytest.raises(InvalidConfig) as refusal:
        load_text(text, "c.yaml")
    [problem] = refusal.value.errors
    assert str(problem) == "c.yaml:7: models.m.filters.setParamsByID: unknown macro ${nope}; declare it in macros"
