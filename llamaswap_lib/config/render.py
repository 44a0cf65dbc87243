"""What `llamaswap check` prints: for people, or as JSON for programs.

Owns the wording around the findings. Pure: text out, nothing is printed here.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from .check import Report
from .fold import folded
from .problems import Problem, dotted
from .show import shown, to_yaml

MOST_ALIKE = 3  # errors with the same message: each of them is to be mended


def render(report: Report, *, show: bool = False, as_json: bool = False) -> str:
    """What the command prints, without the last line end."""
    return (json_of if as_json else text_of)(report, show=show).removesuffix("\n")


def text_of(report: Report, *, show: bool = False) -> str:
    """The findings with their lines, then how many there are, or with `show` the resolved configuration."""
    errors, warnings = folded(report.errors, MOST_ALIKE), folded(report.warnings)
    parts = [f"error: {problem.text()}\n" for problem in errors]
    parts += [f"{_rank(problem)}: {problem.text()}\n" for problem in warnings]
    if show and report.config is not None:
        found = [f"# {line}\n" for part in parts for line in part.splitlines()]
        return "".join([*found, to_yaml(shown(report.config))])
    models = None if report.config is None else len(report.config.models)
    more = "; -json lists each of them" if len(parts) < len(report.errors) + len(report.warnings) else ""
    return "".join([*parts, _summary(models, len(errors), [problem.is_hint for problem in warnings]), more, "\n"])


def json_of(report: Report, *, show: bool = False) -> str:
    """`{"ok", "errors": [...], "warnings": [...]}`, and with `show` the resolved configuration as "config"."""
    found = findings(report)
    if show:
        found["config"] = None if report.config is None else shown(report.config)
    return json.dumps(found, indent=2, ensure_ascii=False) + "\n"


def findings(report: Report) -> dict[str, Any]:
    """`{"ok", "errors": [...], "warnings": [...]}`."""
    return {
        "ok": not report.errors,
        "errors": [finding(problem) for problem in report.errors],
        "warnings": [finding(problem) for problem in report.warnings],
    }


def finding(problem: Problem) -> dict[str, Any]:
    """One of them: where it is, as far as that is known, and what it says."""
    place = problem.place
    return {
        "file": None if place is None else place.source.name,
        "line": None if place is None else place.line + 1,
        "column": None if place is None else place.source.written_column(place.line, place.column) + 1,
        "path": dotted(problem.path),
        "message": problem.message,
        "hint": problem.is_hint,
    }


def _summary(models: int | None, errors: int, warnings: Sequence[bool]) -> str:
    """The last line. `models` is None where there are errors; `warnings` are true for hints."""
    counts = [_count(errors, "error")] if models is None else [f"ok: {_count(models, 'model')}"]
    for number, noun in ((warnings.count(False), "warning"), (warnings.count(True), "hint")):
        counts += [_count(number, noun)] if number else []
    return ", ".join(counts)


def _rank(problem: Problem) -> str:
    return "hint" if problem.is_hint else "warning"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
