"""Whatever a file holds, it loads or every error has a place; what loads can be shown and loaded again."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from llamaswap_lib.command_words import split
from llamaswap_lib.config.check import report
from llamaswap_lib.config.load import ONE_FILE_EACH, inspect_text, load_text
from llamaswap_lib.config.re2 import BadPattern, compiled
from llamaswap_lib.config.render import json_of, text_of
from llamaswap_lib.config.schema import TOP_LEVEL, Config, Model
from llamaswap_lib.config.show import shown, to_yaml
from llamaswap_lib.typed_yaml import scalars
from llamaswap_lib.typed_yaml.kinds import keys_of
from llamaswap_lib.typed_yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode, merge
from llamaswap_lib.typed_yaml.problems import Problems
from llamaswap_lib.typed_yaml.text import parse

WORDS = st.sampled_from(
    [
        *("a", "b", "a | b", "+s", "x ${PORT}", "${m}", "${n}", "${PID}", "yes", "5", "-1", "1e3", "010", "30s", "a/b"),
        *("http://h:1", "group", "matrix", "pin", "warm", "spillover", "fifo", "~", "<<", "text", "[[:alpha:]]", "("),
        *("p", "s", "${env.HOME}"),
    ]
)
PIECES = st.sampled_from(
    [
        *(
            "a: ",
            "- ",
            "  ",
            "\n",
            "\t",
            "&x ",
            "*x",
            "<<: ",
            "[",
            "]",
            "{",
            "}",
            "'",
            '"',
            "|",
            ">",
            "# ",
            "models:",
            "x",
        ),
        *("${env.HOME}", "${env.NO}", ",", "? ", "!!int ", "---\n", "...\n", "%"),
    ]
)


def texts(max_size: int) -> st.SearchStrategy[str]:
    return st.text(st.characters(codec="utf-8"), max_size=max_size)


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 70_000),
    st.integers(),
    st.floats(),
    WORDS,
    texts(12),
)
KEYS = st.one_of(
    st.sampled_from([known.name for cls in (*TOP_LEVEL, Model) for known in keys_of(cls)]),
    st.sampled_from(
        ["a", "b", "s", "p", "m", "n", "use", "settings", "router", "members", "sets", "vars", "targets", "pins"]
    ),
    texts(5),
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=25,
)
NOTHING: dict[str, st.SearchStrategy[Any]] = {}
MODELS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"cmd": st.sampled_from(["x ${PORT}", "run ${PORT} ${MODEL_ID}", "'open ${PORT}"])},
    optional={
        "ttl": st.one_of(st.integers(-1, 99), st.sampled_from(["90s", "1m30s", "0.25s", None])),
        "name": st.one_of(texts(20), st.floats(), st.booleans()),
        "metadata": st.dictionaries(texts(5), VALUES, max_size=3),
        "env": st.lists(st.sampled_from(["A=b", "C=", None]), max_size=2),
        "unlisted": st.sampled_from([True, False, "yes", "OFF", None]),
        "checkEndpoint": st.sampled_from(["none", "/health", "/v1/x y"]),
        "unloadTimeout": st.sampled_from([0, 5, "500ms"]),
        "filters": st.fixed_dictionaries(
            NOTHING,
            optional={
                "stripParams": st.sampled_from(["a, b", " model,", ""]),
                "setParams": st.dictionaries(KEYS, VALUES),
            },
        ),
    },
)
SOUND = st.fixed_dictionaries(
    {"models": st.dictionaries(st.sampled_from(["a", "b", "org/c:1", "d e", "é"]), MODELS, min_size=2, max_size=4)},
    optional={
        "globalTTL": st.integers(0, 500),
        "apiKeys": st.lists(st.sampled_from(["k1", "k2", None]), max_size=2),
        "logToStdout": st.sampled_from(["proxy", "none", None]),
        "startPort": st.integers(1, 60_000),
        "ui": st.sampled_from([None, {"activity": {"session_id": [" X ", "x", "Y"]}}]),
    },
)


def fails_with_places_only(text: str | bytes) -> Config | None:
    loaded = inspect_text(text, "config.yaml", {"HOME": "/home/me"})
    for problem in loaded.problems.errors:
        assert problem.place is not None, problem
        assert problem.text().startswith(f"config.yaml:{problem.place.line + 1}: "), problem
    checked = report(loaded, {})
    assert text_of(checked, show=True)
    assert json.loads(json_of(checked, show=True))["ok"] is (checked.config is not None)
    return checked.config


@given(VALUES)
def test_any_value_loads_or_has_errors_with_places(value: Any) -> None:
    fails_with_places_only(to_yaml(value) if isinstance(value, dict) else json.dumps(value))


@given(st.dictionaries(KEYS, VALUES, max_size=6), st.dictionaries(KEYS, VALUES, max_size=5))
def test_any_model_among_any_keys_loads_or_has_errors_with_places(top: dict[str, Any], model: dict[str, Any]) -> None:
    models = {"a": {**model, "cmd": "x ${PORT}"}, "b": model}
    fails_with_places_only(to_yaml({**top, "macros": {"m": 1, "n": "${m} ${n2}"}, "models": models}))


@given(st.one_of(st.binary(max_size=60), st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass"))))
def test_any_bytes_load_or_have_errors_with_places(data: bytes) -> None:
    fails_with_places_only(data)


@given(st.lists(PIECES, max_size=30))
def test_any_pieces_of_yaml_load_or_have_errors_with_places(pieces: list[str]) -> None:
    fails_with_places_only("".join(pieces))


@given(SOUND)
def test_what_is_shown_loads_to_the_same_configuration(value: dict[str, Any]) -> None:
    loaded = inspect_text(to_yaml(value), environment={})
    if loaded.problems.errors:
        assert "${" in to_yaml(value)  # only a macro among the random texts can make it wrong
        return
    config = load_text(to_yaml(value), environment={})
    again = load_text(to_yaml(shown(config, mask=False)), environment={})
    assert replace(again, warnings=()) == replace(config, warnings=())


@given(st.dictionaries(KEYS, VALUES, max_size=5))
def test_what_the_writer_writes_reads_as_the_same_values(value: dict[str, Any]) -> None:
    problems = Problems()
    node = parse(to_yaml(value).encode(), "x", problems, {"HOME": "/home/me"})
    assert "${env." in to_yaml(value) or not problems.errors
    assert "${env." in to_yaml(value) or repr(plain(node)) == repr(normal(value))


TREES = st.dictionaries(
    st.sampled_from(["a", "b", "models", "x"]),
    st.recursive(
        st.sampled_from([1, 2, "1", None]),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
        max_leaves=5,
    ),
    min_size=1,
    max_size=3,
)


@given(TREES, TREES, TREES)
def test_merging_is_associative(one: dict[str, Any], two: dict[str, Any], three: dict[str, Any]) -> None:
    a, b, c = (tree(value) for value in (one, two, three))
    left, right = Problems(), Problems()
    first = merge(merge(a, b, left, ONE_FILE_EACH), c, left, ONE_FILE_EACH)
    second = merge(a, merge(b, c, right, ONE_FILE_EACH), right, ONE_FILE_EACH)
    assert bool(left.errors) == bool(right.errors)
    if not left.errors:
        assert plain(first) == plain(second)


@given(st.text(st.sampled_from("ab \t\n\\'\"#$`"), max_size=30))
def test_splitting_a_command_never_fails_and_never_invents(command: str) -> None:
    words = split(command)
    assert sum(map(len, words)) <= len(command) + command.count("\\")
    if not set(command) & set("\\'\"#"):
        assert list(words) == command.split()


@given(st.text(st.sampled_from("ab[]()|*+?{}12,^$.\\:=!<>PdwsQEpLiUx-&~"), max_size=12))
def test_any_pattern_compiles_or_is_refused(pattern: str) -> None:
    found = compiled(pattern)
    if not isinstance(found, BadPattern):
        found.search("ab12")


def tree(value: dict[str, Any]) -> MappingNode:
    node = parse(to_yaml(value).encode(), "x", Problems(), {})
    assert isinstance(node, MappingNode)
    return node


def plain(node: Node | None) -> Any:
    """The values of a tree, typed as they would be read."""
    if isinstance(node, MappingNode):
        return {name: plain(value) for name, (_, value) in node.entries.items()}
    if isinstance(node, SequenceNode):
        return [plain(item) for item in node.items]
    assert isinstance(node, ScalarNode)
    return scalars.resolve(node.text) if node.plain else node.text


def normal(value: Any) -> Any:
    """Floats that are infinite are written as Python writes them, which is text to YAML."""
    if isinstance(value, dict):
        return {name: normal(item) for name, item in value.items()}
    if isinstance(value, list):
        return [normal(item) for item in value]
    return repr(value) if isinstance(value, float) and value - value != 0 else value
