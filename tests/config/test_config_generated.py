"""The files generated from the descriptions of keys, and that these descriptions say enough."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llamaswap_lib.config.load import inspect_text
from llamaswap_lib.config.schema import TOP_LEVEL
from llamaswap_lib.typed_yaml.kinds import Key, ListOf, MapOf, Section, keys_of
from llamaswap_lib.typed_yaml.reader import Kind
from tools import generate


def described(kinds: list[Kind]) -> Iterator[Key]:
    """Every key that can stand below values of these kinds."""
    for kind in kinds:
        while isinstance(kind, (ListOf, MapOf)):
            kind = kind.item
        if isinstance(kind, Section):
            for known in keys_of(kind.cls):
                yield known
                yield from described([known.kind])


def top_level() -> list[Key]:
    return [known for cls in TOP_LEVEL for known in keys_of(cls)]


@pytest.mark.parametrize("name", generate.FILES)
def test_generated_file_is_up_to_date(name: str) -> None:
    held = (generate.ROOT / name).read_text(encoding="utf-8")
    assert held == generate.FILES[name](), "run python -m tools.generate"


def test_files_are_written_where_they_are_kept(tmp_path: Path) -> None:
    generate.write(tmp_path)
    for name in generate.FILES:
        assert (tmp_path / name).read_text(encoding="utf-8") == (generate.ROOT / name).read_text(encoding="utf-8")


def test_every_key_has_a_sentence_and_a_row_in_the_reference() -> None:
    page = generate.FILES["docs/configuration.md"]()
    for known in [*top_level(), *described([known.kind for known in top_level()])]:
        assert known.doc
        assert f"| `{known.name}` |" in page


def test_schema_names_every_key_at_top_level_with_its_default() -> None:
    schema = json.loads(generate.FILES["config-schema.json"]())
    assert list(schema["properties"]) == [known.name for known in top_level()]
    assert schema["properties"]["startPort"]["default"] == 5800
    assert schema["properties"]["performance"]["properties"]["every"]["default"] == "5s"
    assert schema["properties"]["logToStdout"]["default"] == "proxy"


def test_every_property_of_the_schema_is_described_and_typed() -> None:
    schema = json.loads(generate.FILES["config-schema.json"]())
    for path, node in properties(schema, ""):
        assert isinstance(node, dict), path
        assert "description" in node, path
        assert any(key in node for key in ("type", "anyOf")) or set(node) <= {"description"}, path


def properties(schema: Any, path: str) -> Iterator[tuple[str, Any]]:
    for name, node in schema.get("properties", {}).items():
        yield f"{path}.{name}", node
        yield from properties(node, f"{path}.{name}")
        for inner in ("items", "additionalProperties"):
            if isinstance(node.get(inner), dict):
                yield from properties(node[inner], f"{path}.{name}")


def test_macro_pattern_of_the_schema_takes_what_the_loader_takes() -> None:
    schema = json.loads(generate.FILES["config-schema.json"]())
    patterns = [one["pattern"] for one in schema["properties"]["startPort"]["anyOf"] if "pattern" in one]
    assert any(re.match(pattern, "${port-of_mine}") for pattern in patterns)
    assert not any(re.match(pattern, "5800 ${x}") for pattern in patterns)


@pytest.mark.parametrize("word", ["yes", "Yes", "YES", "n", "Off", "ON"])
def test_the_schema_takes_words_for_a_boolean_that_the_loader_takes(word: str) -> None:
    """In YAML 1.2, which editors read, they are texts."""
    schema = json.loads(generate.FILES["config-schema.json"]())
    patterns = [one["pattern"] for one in schema["properties"]["sendLoadingState"]["anyOf"] if "pattern" in one]
    assert any(re.match(pattern, word) for pattern in patterns)
    for other in ("oN", "yess", "true", "", "x yes"):
        assert not any(re.match(pattern, other) for pattern in patterns)
        assert inspect_text(f"sendLoadingState: '{other}'").problems.errors
    assert not inspect_text(f"sendLoadingState: '{word}'").problems.errors
