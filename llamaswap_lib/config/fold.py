"""Many findings of one kind told in few lines, for people: on the screen, and in the log.

Owns what counts as the same. For programs (`check -json`) and editors every finding stays, with its own place. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

from .problems import Path, Problem, dotted

MOST_OF_A_FAMILY = 5  # lines
MOST_NAMED = 3

_Line = list[Problem]  # told by its first one


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


def _names(paths: Sequence[Path]) -> str:
    named = ", ".join(dotted(path) or "the top level" for path in paths[:MOST_NAMED])
    return f"{named}, ..." if len(paths) > MOST_NAMED else named
