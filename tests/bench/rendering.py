"""The results as text for the terminal, and as tables in Markdown for the pages. Functions of the results alone."""

from __future__ import annotations

from collections.abc import Iterator

from tests.bench.results import Results, Summary
from tests.bench.rows import Figure, Row

SHORT = ("one", "eight", "new-eight", "streams-300", "idle")  # the rows of the README
QUIET = 1.0  # load average up to which nothing else seems to run


def heading(results: Results) -> str:
    """The machine, who takes part, and who is missing."""
    who = [f"{each.name} {each.version}".strip() for each in results.subjects]
    lines = [
        f"{results.machine}; Python {results.python}; load average {results.load:g}",
        f"beside each other: {', '.join(who)}",
    ]
    lines += [f"{name} is not installed, and left out" for name in results.missing]
    return "\n".join(lines)


def block(results: Results, row: Row) -> str:
    """A row in full: each figure of each subject with its range, the ratio to direct and to the first checkout."""
    lines = [f"{row.name}: {row.what}"]
    for figure in row.figures:
        bound = f", must be {figure.bound}" if figure.bound else ""
        names = [subject.name for subject in results.subjects if subject.kind in row.kinds]
        if figure.is_detail:
            names = [name for name in names if results.summary(row, figure, name)]
        if names:
            lines.append(f"  {figure.unit}{bound}")
            lines += (line_of(results, row, figure, name) for name in names)
    return "\n".join(lines)


def line_of(results: Results, row: Row, figure: Figure, name: str) -> str:
    found = results.summary(row, figure, name)
    if found is None:
        return f"    {name:<16} {results.failures.get(row.name, {}).get(name, 'not measured')}"
    text = f"    {name:<16} {number(found.middle):>9}  ({number(found.low)} to {number(found.high)})".ljust(54)
    ours = [each.name for each in results.ours]
    if name != "direct" and (share := results.ratio(row, figure, name)):
        text += f"  {ranged(share)} of direct"
    if name in ours[1:] and (change := results.ratio(row, figure, name, ours[0])):
        text += f"  {ranged(change)} of {ours[0]}"
    return (text + ("  MISSED" if name in ours and not results.is_kept(row, figure, name) else "")).rstrip()


def ranged(ratio: Summary) -> str:
    return f"{share_of(ratio.middle)} ({share_of(ratio.low)} to {share_of(ratio.high)})"


def share_of(value: float) -> str:
    if value >= 10:
        return f"{value:.0f}"
    return f"{value:.3f}" if 0.9 < value < 1 else f"{value:.2f}"


def number(value: float) -> str:
    """Three digits that count, and no more than that matter."""
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def verdict(results: Results) -> str:
    """The last line: how many bounds there are, and which are missed."""
    bounds = sum(figure.bound is not None for row in results.rows for figure in row.figures) * len(results.ours)
    several = len(results.ours) > 1
    missed = [
        f"{row.name} {figure.unit}{f' of {ours.name}' if several else ''}" for row, figure, ours in results.missed()
    ]
    return f"{counted(bounds, 'bound')}, {len(missed)} missed{': ' if missed else ''}{', '.join(missed)}"


def counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


# -- Markdown --


def where(results: Results) -> str:
    """How often, on what and when it was measured."""
    version = results.ours[-1].version.partition(" ")[0]
    busy = f"; a busy machine, load average {results.load:g}" if results.load > QUIET else ""
    what = f"llamaswap {version}, Python {results.python}, {results.date}{busy}"
    return f"{counted(results.runs, 'run')} on {results.machine}; {what}"


def short_table(results: Results) -> str:
    """For the README: the rows of `SHORT`, a line each. Medians, and for ours the range of the runs."""
    names = ["direct", *rivals(results), results.ours[-1].name]
    lines = [
        f"Medians of {where(results)}. [More rows, ranges and bounds](docs/benchmarks.md).",
        "",
        f"| | directly | {' | '.join([*rivals(results).values(), 'llamaswap'])} |",
        "|---" * (len(names) + 1) + "|",
    ]
    for row in results.rows:
        if row.name in SHORT:
            told = (
                "; ".join(filter(None, (cell(results, row, figure, name) for figure in row.figures))) for name in names
            )
            lines.append(f"| {row.what} | {' | '.join(text or '–' for text in told)} |")
    return "\n".join(lines)


def cell(results: Results, row: Row, figure: Figure, name: str) -> str:
    """A median with its unit. For ours, what it is of direct's where its bound is of that kind, and the range."""
    found = results.summary(row, figure, name)
    if found is None or figure.is_detail:
        return ""
    text = f"{number(found.middle)} {figure.unit}"
    if name != results.ours[-1].name:
        return text
    if figure.bound and figure.bound.is_share and (share := results.ratio(row, figure, name)):
        return f"{text}, {ranged(share)} of direct"
    return f"{text} ({number(found.low)} to {number(found.high)})"


def full_table(results: Results) -> str:
    """For docs/benchmarks.md: each figure with the range of its runs, and its bound."""
    ours = results.ours[-1].name
    names = ["directly", *rivals(results).values(), "llamaswap", "of direct", "bound"]
    lines = [
        f"{where(results)}. Medians; in brackets the lowest and the highest of the runs.",
        "",
    ]
    lines += [f"| what | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for row in results.rows:
        figures = [figure for figure in row.figures if not figure.is_detail]
        lines += (f"| {' | '.join(cells(results, row, figure, ours))} |" for figure in figures)
    return "\n".join(lines)


def cells(results: Results, row: Row, figure: Figure, ours: str) -> Iterator[str]:
    yield f"`{row.name}`: {row.what}; {figure.unit}"
    for name in ("direct", *rivals(results), ours):
        found = results.summary(row, figure, name)
        yield f"{number(found.middle)} ({number(found.low)} to {number(found.high)})" if found else "–"
    share = results.ratio(row, figure, ours)
    yield ranged(share) if share else "–"
    yield f"{figure.bound}{'' if results.is_kept(row, figure, ours) else ' (missed)'}" if figure.bound else "–"


def rivals(results: Results) -> dict[str, str]:
    """Their names, and these with their versions."""
    kinds = ("proxy", "swapper")
    return {each.name: f"{each.name} {each.version}".strip() for each in results.subjects if each.kind in kinds}


def with_block(page: str, maker: str, text: str) -> str:
    """The page with the text between the mark of its maker and the next mark of an end."""
    begin_mark, end_mark = f"<!-- made by {maker} -->\n", "<!-- until here -->"
    begin = page.index(begin_mark) + len(begin_mark)
    return f"{page[:begin]}{text}\n{page[page.index(end_mark, begin) :]}"
