"""The recorded cases beside the checkout, where there are any: what was refused there is refused here."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from llamaswap_lib.config.load import inspect_text

GOLDEN = Path(__file__).parents[3] / "shared" / "contract" / "golden"
UPSTREAM = "python3 -S upstream.py"
BASE = 21_001


def recorded(name: str) -> list[dict[str, Any]]:
    if not (GOLDEN / name).is_file():
        pytest.skip(f"no recorded cases in {GOLDEN}")
    found: list[dict[str, Any]] = json.loads((GOLDEN / name).read_text(encoding="utf-8"))
    return found


def test_every_recorded_configuration_is_taken_or_refused_as_recorded() -> None:
    answers = {answer["name"]: answer for answer in recorded("answers.json")}
    for case in recorded("cases.json"):
        loaded = inspect_text(filled(case["config"]), "config.yaml", case.get("env", {}))
        refused = bool(answers[case["name"]].get("refused"))
        assert bool(loaded.problems.errors) == refused, (case["name"], [str(p) for p in loaded.problems.errors])
        if not refused:
            shown = {name: row_of(model) for name, model in loaded.config.models.items()}
            for row in running(answers[case["name"]]["answers"]):
                assert shown[row["model"]] == {key: row[key] for key in shown[row["model"]]}, case["name"]


def filled(text: str) -> str:
    return text.replace("@UP@", UPSTREAM).replace("@BASE@", str(BASE))


def row_of(model: Any) -> dict[str, Any]:
    return {key: getattr(model, key) for key in ("cmd", "proxy", "ttl", "name", "description")}


def running(answers: list[Any]) -> list[dict[str, Any]]:
    """Every entry that `/running` showed, its ports made ours."""
    text = json.dumps([answer["body"]["running"] for answer in answers if is_running(answer)])
    text = re.sub(r"@BASE\+(\d+)@", lambda match: str(BASE + int(match[1])), text)
    text = text.replace("@PY@ -S @HERE@/upstream.py", UPSTREAM)
    return [row for rows in json.loads(text) for row in rows]


def is_running(answer: Any) -> bool:
    return isinstance(answer, dict) and isinstance(answer.get("body"), dict) and "running" in answer["body"]
