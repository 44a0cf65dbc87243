"""What `llamaswap check` prints: for people, or as JSON for programs; and the lines of it in the log.

Owns the wording around the findings, and what counts as the same: for people, many findings of one kind take few lines,
while for programs (`check -json`) and editors every finding stays, with its own place. Pure: text out, nothing is
printed here.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from llamaswap_lib.typed_yaml.problems import KeyPath, Problem, dotted

from .load import Report
from .show import shown, to_yaml

MOST_ALIKE = 3  # errors with the same message: each of them is to be mended
MOST_OF_A_FAMILY = 5  # lines
MOST_NAMED = 3

_Line = list[Problem]  # told by its first one


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


# -- many findings in few lines --


def worth_a_line(warnings: Sequence[Problem]) -> list[str]:
    """The lines that the log has of these warnings: few, and no hints."""
    return [str(problem) for problem in folded([problem for problem in warnings if not problem.is_hint])]


def folded(problems: Sequence[Problem], most_alike: int = 1) -> tuple[Problem, ...]:
    """The same in few lines and in the same order: a line that stands for more says for how many, and where.

    Up to `most_alike` with the same message stand on their own.
    """
    by_message: dict[tuple[str, str], _Line] = {}
    for problem in problems:
        by_message.setdefault((problem.family, problem.message), []).append(problem)
    families: dict[str, list[_Line]] = {}
    lines: list[_Line] = []
    for (family, _), alike in by_message.items():
        if family:
            families.setdefault(family, []).append(alike)
        else:
            lines += [[one] for one in alike] if len(alike) <= most_alike else [alike]
    for members in families.values():
        lines += members[: MOST_OF_A_FAMILY - 1]
        if rest := [problem for line in members[MOST_OF_A_FAMILY - 1 :] for problem in line]:
            lines.append(rest)
    order = {id(problem): number for number, problem in enumerate(problems)}
    return tuple(_told(line) for line in sorted(lines, key=lambda line: order[id(line[0])]))


def _told(line: _Line) -> Problem:
    """The first of a line, with what is to be said of the others."""
    first, others = line[0], line[1:]
    in_models = all(problem.path[:1] == ("models",) and len(problem.path) > 1 for problem in line)
    step = 2 if in_models else None
    places = dict.fromkeys(problem.path[:step] for problem in others)
    places.pop(first.path[:step], None)
    if not places:
        return first
    what = "model" if in_models else "place"
    names = _names([path[1:] if in_models else path for path in places])
    count = f"{len(places)} more {what}{'' if len(places) == 1 else 's'}"
    return first._replace(message=f"{first.message}; likewise in {count}: {names}")


def _names(paths: Sequence[KeyPath]) -> str:
    named = ", ".join(dotted(path) or "the top level" for path in paths[:MOST_NAMED])
    return f"{named}, ..." if len(paths) > MOST_NAMED else named
