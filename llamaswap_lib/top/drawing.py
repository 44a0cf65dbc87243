"""A frame: what is known, as lines that fit into a screen of any size. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from llamaswap_lib.client import words
from llamaswap_lib.client.peers import troubles
from llamaswap_lib.client.terminal import Cell, Style, Table, display_width
from llamaswap_lib.printable import printable
from llamaswap_lib.top.devices import Glyphs, Line, clipped, device_lines
from llamaswap_lib.top.sections import Key, Section, sections
from llamaswap_lib.top.state import State

MARK = "> "  # in front of what is selected
MANY = 200  # rows, up to which columns are as wide as all of them need
MOST_TROUBLES = 5  # lines of them
LEAST_ROWS = 8  # of the screen, that devices leave for the rest
HELP = (
    "The screen shows how a running llamaswap is. Nothing on it changes anything, but for these keys:",
    "",
    "  up, down, k, j       select a model or a request",
    "  page up, page down   the same in larger steps",
    "  l                    load the selected model",
    "  u                    unload it, when its requests have ended; it asks first",
    "  c                    cancel the selected request, waiting or not; it asks first",
    "  q, Ctrl-C            leave",
    "  ?                    this text, and back",
    "",
    "MEMORY is that of the GPUs, where a model uses any. TOK/S is the mean of its last ten requests,",
    "of ten minutes at most. Bars of memory have our models first, then what others use, then what is free.",
)


@dataclass(slots=True)
class View:
    """What the user has chosen to see."""

    selected: Key | None = None
    shows_help: bool = False
    message: Cell = field(default=Cell(""))  # in the last line, in place of the keys


def frame(state: State, view: View, width: int, height: int, now: float, glyphs: Glyphs) -> list[Line]:
    """As many lines as the screen has, none wider than it."""
    foot = _foot(view, width, glyphs)
    body = [[Cell(line)] for line in HELP] if view.shows_help else _body(state, view, width, height - 2, now, glyphs)
    lines = [_head(state, width, now, glyphs), *body[: max(0, height - 2)]]
    lines += [[]] * (height - 1 - len(lines))
    return [clipped(line, width) for line in [*lines[: height - 1], foot]]


def whole(state: State, width: int, now: float, glyphs: Glyphs) -> list[Line]:
    """Everything, for a pipe: as many lines as it takes, without keys."""
    lines = [_head(state, 0, now, glyphs), *device_lines(state, 90, glyphs), *_troubles(state)]
    for section in sections(state, now):
        lines += [[], *_section_lines(section, None, width, len(section.rows))]
    return lines


def keys_of(state: State, now: float) -> list[Key]:
    """What can be selected, from top to bottom."""
    return [key for section in sections(state, now) for key, _ in section.rows]


def _head(state: State, width: int, now: float, glyphs: Glyphs) -> Line:
    told = [f"llamaswap {state.version}".strip(), printable(state.url)]
    told += [f"profile {printable(state.profile)}"] if state.profile else []
    left = Cell(glyphs.dot.join(told), Style.HEAD)
    if state.lost_at is None:
        return [left]
    gone = Cell(f"the server is gone, for {words.duration(now - state.lost_at)}; trying again", Style.BAD)
    blanks = max(2, width - display_width(left.text) - display_width(gone.text))
    if display_width(left.text) + 2 + display_width(gone.text) > width > 0:
        return [gone]
    return [left, Cell(" " * blanks), gone]


def _troubles(state: State) -> list[Line]:
    """The peers that are out: the first of them."""
    told = list(troubles(state.peers))
    if len(told) > MOST_TROUBLES:
        told[MOST_TROUBLES - 1 :] = [f"and {len(told) - MOST_TROUBLES + 1} more are out"]
    return [[Cell(printable(line), Style.BAD)] for line in told]


def _foot(view: View, width: int, glyphs: Glyphs) -> Line:
    if view.message.text:
        return [Cell(printable(view.message.text), view.message.style)]
    if view.shows_help:
        return [Cell("? back   q quit", Style.QUIET)]
    is_request = view.selected is not None and view.selected.is_cancellable
    told = ["q quit", f"{glyphs.arrows} select", "l load", "u unload", *(["c cancel"] if is_request else []), "? help"]
    text = "   ".join(told)
    short = " ".join(one for one in told if not one.endswith("select"))
    return [Cell(text if display_width(text) <= width else short, Style.QUIET)]


def _body(state: State, view: View, width: int, height: int, now: float, glyphs: Glyphs) -> list[Line]:
    devices = [*_troubles(state), *device_lines(state, width, glyphs)][: max(0, height - LEAST_ROWS)]
    shown = sections(state, now)
    room = height - len(devices)
    if sum(max(1, len(section.rows)) + 1 for section in shown) > room:  # one that is empty has nothing to say
        shown = [section for section in shown if section.rows]
    has_gaps = sum(len(section.rows) for section in shown) + 2 * len(shown) + 2 <= room
    counts = _shares([len(section.rows) for section in shown], room - len(shown) * (2 if has_gaps else 1))
    lines = devices
    for section, count in zip(shown, counts, strict=True):
        lines += [[]] if has_gaps else []
        lines += _section_lines(section, view.selected, width, count)
    return lines


def _shares(wanted: Sequence[int], room: int) -> list[int]:
    """How many lines each gets: those that want few get them all, and the others share what is left."""
    given = [0] * len(wanted)
    while room > 0 and any(have < want for have, want in zip(given, wanted, strict=True)):
        for number, want in enumerate(wanted):
            if room > 0 and given[number] < want:
                given[number] += 1
                room -= 1
    return given


def _section_lines(section: Section, selected: Key | None, width: int, count: int) -> list[Line]:
    """The head and `count` rows, so that the selected one is among them."""
    titles: list[str | Cell] = [Cell(column.title, Style.HEAD) for column in section.columns]
    if not section.rows:
        return [[Cell(f"  {section.name.upper()}", Style.HEAD), Cell(f"  {section.empty}", Style.QUIET)]]
    place = next((number for number, (key, _) in enumerate(section.rows) if key == selected), None)
    first = 0 if place is None else max(0, min(place - count // 2, len(section.rows) - count))
    seen = section.rows[first : first + count]
    left = len(section.rows) - len(seen)
    measured = section.rows if len(section.rows) <= MANY else seen  # of thousands only what is seen
    table = Table(section.columns).lines([titles, *(cells for _, cells in measured)], width - len(MARK))
    begun = 1 + (first if measured is section.rows else 0)
    head, rows = table[0], table[begun : begun + len(seen)]
    lines: list[Line] = [[Cell("  "), *head, *([Cell(f"  ({left} more)", Style.QUIET)] if left else [])]]
    for (key, _), cells in zip(seen, rows, strict=True):
        if key == selected:
            lines.append([Cell(MARK, Style.CHOSEN), *(Cell(cell.text, Style.CHOSEN) for cell in cells)])
        else:
            lines.append([Cell("  "), *cells])
    return lines
