"""What llama-swap v250 made of configurations, as recorded: what it refused is refused, the rest means the same.

`recorded.json`: the text of each configuration, the variables that it names, whether it was refused, and the entries
that `/running` then showed, with the first port at 21001.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llamaswap_lib.config.load import inspect_text

RECORDED: list[dict[str, Any]] = json.loads(Path(__file__).with_name("recorded.json").read_text(encoding="utf-8"))
TAKEN = {"config/selector-warm-peer"}  # what llama-swap refuses, and is of use here: the looks say what is warm


def test_both_kinds_were_recorded() -> None:
    assert sum("refused" in case for case in RECORDED) > 15
    assert sum("running" in case for case in RECORDED) > 15


@pytest.mark.parametrize("case", RECORDED, ids=lambda case: case["name"])
def test_a_recorded_configuration_is_refused_or_means_what_was_recorded(case: dict[str, Any]) -> None:
    loaded = inspect_text(case["config"], "config.yaml", case.get("env", {}))
    assert bool(loaded.problems.errors) == (case.get("refused", False) and case["name"] not in TAKEN), [
        str(one) for one in loaded.problems.errors
    ]
    for row in case.get("running", []):
        model = loaded.config.models[row["model"]]
        assert {key: getattr(model, key) for key in row if key != "model"} == {
            key: value for key, value in row.items() if key != "model"
        }
