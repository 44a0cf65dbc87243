"""What `llamaswap check` prints: for people, or as JSON for programs.

Owns the wording around the findings. Pure: text out, nothing is printed here.
"""

from __future__ import annotations

import json
from typing import Any

from .check import Report
from .problems import Problem, dotted
from .show import shown, to_yaml


def render(report: Report, *, show: bool = False, as_json: bool = False) -> str:
    """What the command prints, without the last line end."""
    return (json_of if as_json else text_of)(report, show=show).removesuffix("\n")


def text_of(report: Report, *, show: bool = False) -> str:
    """Every finding with its line, then how many there are, or with `show` the resolved configuration."""
    parts = [f"error: {problem.text()}\n" for problem in report.errors]
    parts += [f"warning: {problem.text()}\n" for problem in report.warnings]
    if show and report.config is not None:
        found = [f"# {line}\n" for part in parts for line in part.splitlines()]
        return "".join([*found, to_yaml(shown(report.config))])
    return "".join([*parts, _summary(report)])


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
    }


def _summary(report: Report) -> str:
    if report.config is None:
        return f"{_count(len(report.errors), 'error')}, {_count(len(report.warnings), 'warning')}\n"
    models = _count(len(report.config.models), "model")
    if not report.warnings:
        return f"ok: {models}\n"
    return f"ok: {models}, {_count(len(report.warnings), 'warning')}\n"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
