"""Changing files of others: what was not to be changed stays to the letter."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from llamaswap_lib.agents import json_text, toml_text
from llamaswap_lib.agents.edits import json_edit, toml_tables, yaml_item, yaml_keys

COMMENTED = """{
  // which model
  "model": "a/b", /* mine */
  "provider": {
    "mine": {"options": {"baseURL": "http://x"}}, // stays
  },
}
"""


def test_a_value_is_put_into_json_with_comments() -> None:
    changed = json_text.with_value(COMMENTED, ("provider", "llamaswap", "name"), "llamaswap")
    assert changed == COMMENTED.replace(
        "// stays\n  },", '// stays\n    "llamaswap": {\n      "name": "llamaswap"\n    }\n  },'
    )
    assert json_text.with_value(COMMENTED, ("model",), "c") == COMMENTED.replace('"a/b"', '"c"')
    assert json_text.with_value(COMMENTED, ("model",), "a/b") == COMMENTED


@pytest.mark.parametrize("text", ["{}", "{ }\n", "{\n}\n", '{"a": {}}', '{"a": {"b": 1}, "c": []}', '{\n\t"c": 1\n}'])
def test_a_value_is_put_wherever_there_is_room(text: str) -> None:
    expected = json.loads(text)
    expected.setdefault("a", {})["new"] = {"x": [1, 2]}
    assert json.loads(json_text.with_value(text, ("a", "new"), {"x": [1, 2]})) == expected


@pytest.mark.parametrize("text", ["", "{", '{"a" 1}', "{'a': 1}", '{"a": 1} x', '{"a": 1, "a": 2}', "[1", '{"a": nul}'])
def test_what_is_no_json_is_not_changed(text: str) -> None:
    with pytest.raises(json_text.NotJson):
        json_text.with_value(text, ("b",), 1)


def test_a_way_that_leads_through_no_object_is_not_gone() -> None:
    with pytest.raises(TypeError):
        json_text.with_value('{"a": [1]}', ("a", "b"), 1)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=3), JSON, max_size=4), JSON, st.sampled_from([None, 1, "\t"]))
def test_any_object_keeps_what_it_had(value: dict[str, Any], new: Any, indent: Any) -> None:
    text = json.dumps(value, indent=indent)
    assert json_text.read(text) == value
    assert json_text.read(json_text.with_value(text, ("new name",), new)) == {**value, "new name": new}


def test_defaults_stay_where_something_is_there() -> None:
    edit = json_edit([(("a", "b"), 1)], [(("c",), 2)])
    assert json.loads(edit("")) == {"a": {"b": 1}, "c": 2}
    assert json.loads(edit('{"c": 3}')) == {"a": {"b": 1}, "c": 3}
    assert edit(edit("")) == edit("")


LIST = """# my models
models:
  - name: a   # the first

  # the second
  - name: b
    roles:
      - chat
other: 1 # stays
"""


def test_an_item_is_put_behind_the_last_one() -> None:
    edit = yaml_item("models", {"name": "c", "model": "c"}, "name")
    assert edit(LIST) == LIST.replace("      - chat\n", '      - chat\n  - name: "c"\n    model: "c"\n')
    assert edit(edit(LIST)) == edit(LIST)


@pytest.mark.parametrize(
    "text",
    [
        "", "# nothing yet\n", "other: 1", "models: []\n", "models: []\nother: 1\n",
        "models:\n- name: a\n- name: b\nother: 1\n", "models:\n  - {name: a}\n  - {name: b}",
        "models:\n  - name: a\n    text: |\n      long\n      text\n\n\nother: 1\n",
    ],
)  # fmt: skip
def test_an_item_is_put_into_every_kind_of_list(text: str) -> None:
    before = yaml.safe_load(text) or {}
    after = yaml.safe_load(yaml_item("models", {"name": "c"}, "name")(text))
    assert after == {**before, "models": [*(before.get("models") or []), {"name": "c"}]}


def test_a_list_is_the_whole_file() -> None:
    edit = yaml_item("", {"model_id": "c"}, "model_id")
    assert yaml.safe_load(edit("")) == [{"model_id": "c"}]
    assert edit("- model_id: a # mine\n") == '- model_id: a # mine\n- model_id: "c"\n'


@pytest.mark.parametrize(
    "text", ["models: [{name: a}]\n", "models: 3\n", "- a\n", "models:\n  - name: c\n    x: 1\n", "a: b: c"]
)
def test_what_cannot_be_added_to_safely_is_refused(text: str) -> None:
    with pytest.raises((ValueError, TypeError)):
        yaml_item("models", {"name": "c"}, "name")(text)


def test_keys_of_yaml_are_set_and_defaults_stay() -> None:
    edit = yaml_keys({"base": "http://x"}, {"model": "m"})
    assert edit("") == 'model: "m"\nbase: "http://x"\n'
    assert (
        edit("# mine\nmodel: sonnet # good\nbase: old # here\n")
        == '# mine\nmodel: sonnet # good\nbase: "http://x" # here\n'
    )
    with pytest.raises(ValueError, match="no plain value"):
        edit("base:\n  - 1\n")


CAN_READ_TOML = pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 cannot read TOML")
TOML = """# mine
model = "a"   # chosen

[model_providers.other]
base_url = "http://y"
"""


@CAN_READ_TOML
def test_keys_of_toml_are_set_in_their_tables() -> None:
    text = toml_text.with_keys(TOML, "", {"model": "b", "size": 3})
    assert text == TOML.replace('model = "a"   # chosen\n', 'model = "b"\nsize = 3\n')
    edit = toml_tables({"": {"model": "b"}, "model_providers.llamaswap": {"name": "x"}}, "written")
    assert edit("") == '# written\nmodel = "b"\n\n[model_providers.llamaswap]\nname = "x"\n'
    changed = edit(TOML)
    assert (
        changed == TOML.replace('model = "a"   # chosen', 'model = "b"') + '\n[model_providers.llamaswap]\nname = "x"\n'
    )
    assert edit(changed) == changed


@pytest.mark.parametrize(
    "text", ['model = """\na\n"""\n', "model_providers = 3\n", "[[model_providers.llamaswap]]\n", "a ="]
)
def test_toml_that_is_written_otherwise_is_refused(text: str) -> None:
    with pytest.raises((ValueError, TypeError)):
        toml_tables({"": {"model": "b"}, "model_providers.llamaswap": {"name": "x"}}, "written")(text)
