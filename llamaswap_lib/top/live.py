"""Brings the server, the screen and the keys together. Main thread.

Nothing is drawn more than four times a second, and without news once a second, for the ages of what is there.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from llamaswap_lib.client.connection import NoRoute, Server, in_path
from llamaswap_lib.client.follow import Failed, Item, Lost, News
from llamaswap_lib.client.terminal import Cell, Style, Terminal, display_width
from llamaswap_lib.top.devices import ASCII, UNICODE, Glyphs, Line
from llamaswap_lib.top.drawing import View, frame, keys_of, whole
from llamaswap_lib.top.screen import ERASE_REST, Screen
from llamaswap_lib.top.sections import Key
from llamaswap_lib.top.sources import Done, Sources, Told
from llamaswap_lib.top.state import State

FRAME_SECONDS = 0.25
TICK_SECONDS = 1.0
MESSAGE_SECONDS = 6.0
PAGE = 10  # rows


class Live:
    """The screen, until its user leaves."""

    def __init__(self, server: Server, terminal: Terminal, screen: Screen, state: State) -> None:
        self._terminal = terminal
        self._screen = screen
        self._state = state
        self._view = View()
        self._glyphs = glyphs_of(terminal)
        self._sources = Sources(server, screen.wake)
        self._message_until = 0.0
        self._question: tuple[str, str, str] | None = None  # what `do` gets if the answer is yes

    def run(self) -> None:
        """Raises ServerError where the server does not want to be asked, and OSError where the terminal is gone."""
        self._sources.start()
        drawn_at, is_new = -TICK_SECONDS, True
        while True:
            now = time.monotonic()
            due = drawn_at + (FRAME_SECONDS if is_new else TICK_SECONDS)
            if now >= due:
                self._draw(now)
                drawn_at, is_new = now, False
                due = now + TICK_SECONDS
            try:
                keys = self._screen.wait(due - now)
            except EOFError:
                return
            while not self._sources.news.empty():
                self._take(self._sources.news.get(), time.monotonic())
                is_new = True
            for key in keys:
                is_new = True
                if not self._press(key, time.monotonic()):
                    return
            is_new = is_new or self._screen.was_resized()

    def _draw(self, now: float) -> None:
        if now > self._message_until and self._question is None:
            self._view.message = Cell("")
        keys = keys_of(self._state, now)
        if self._view.selected not in keys:
            self._view.selected = _nearest(keys, self._view.selected)
        width, height = self._screen.size()
        lines = frame(self._state, self._view, width, height, now, self._glyphs)
        self._screen.show([self._text(line, width) for line in lines])

    def _text(self, line: Line, width: int) -> str:
        is_full = sum(display_width(cell.text) for cell in line) >= width
        return self._terminal.styled_line(line) + ("" if is_full else ERASE_REST)

    # -- news --

    def _take(self, news: News | Told | Done, now: float) -> None:
        if isinstance(news, Told):
            take_told(self._state, news, now)
        elif isinstance(news, Done):
            self._say(news.text, Style.GOOD if news.is_good else Style.BAD, now)
            self._sources.poke()
        elif isinstance(news, Lost):
            self._state.lose(now)
        elif isinstance(news, Failed):
            if not isinstance(news.error, NoRoute):
                raise news.error
            self._say("this server tells no events: requests and queue are not shown", Style.BUSY, now)
        else:
            self._take_event(news, now)

    def _take_event(self, item: Item, now: float) -> None:
        kind, data = item.value
        if kind == "open":
            if self._state.lost_at is not None:
                self._state.find()
                self._sources.forget()
        else:
            self._state.take_event(kind, data, now)
        if kind in ("open", "modelStatus", "activity"):
            self._sources.poke()

    def _say(self, text: str, style: Style, now: float) -> None:
        self._view.message = Cell(text, style)
        self._message_until = now + MESSAGE_SECONDS

    # -- keys --

    def _press(self, key: str, now: float) -> bool:
        """Whether to go on."""
        if self._question is not None:
            (what, method, path), self._question = self._question, None
            self._view.message = Cell("")
            if key in ("y", "Y"):
                self._do(what, method, path, now)
            return True
        if key == "q":
            return False
        if key == "?" or (self._view.shows_help and key == "escape"):
            self._view.shows_help = not self._view.shows_help
        elif key in ("up", "down", "page up", "page down"):
            self._move({"up": -1, "down": 1, "page up": -PAGE, "page down": PAGE}[key], now)
        elif self._view.selected is not None and not self._view.shows_help:
            self._act(key, self._view.selected, now)
        return True

    def _move(self, steps: int, now: float) -> None:
        keys = keys_of(self._state, now)
        if not keys:
            return
        with suppress(ValueError):
            place = keys.index(self._view.selected) if self._view.selected is not None else -1
            self._view.selected = keys[max(0, min(len(keys) - 1, place + steps))]

    def _act(self, key: str, selected: Key, now: float) -> None:
        model = selected.model
        if key == "l":
            self._do(f"load {model}", "POST", f"/api/models/load/{in_path(model)}", now)
        elif key == "u":
            busy = (self._state.runs.get(model) or {}).get("in_flight") or 0
            after = f", after {busy} in flight" if busy else ""
            self._ask(f"unload {model}{after}?", f"unload {model}", f"/api/models/unload/{in_path(model)}")
        elif key == "c" and selected.is_cancellable:
            what = f"cancel the request for {model}"
            self._ask(f"{what}?", what, f"/api/inflight/{in_path(selected.request)}/cancel")
        elif key == "c":
            self._say("select a request to cancel it; a load by hand ends with u: unload", Style.BUSY, now)

    def _ask(self, question: str, what: str, path: str) -> None:
        self._question = (what, "POST", path)
        self._view.message = Cell(f"[y/n] {question}", Style.BUSY)

    def _do(self, what: str, method: str, path: str, now: float) -> None:
        self._say(f"{what} ...", Style.PLAIN, now + 3600)  # until it is done
        self._sources.do(what, method, path)


def take_told(state: State, told: Told, now: float) -> None:
    """An answer of the server."""
    value: Any = told.value
    if told.kind == "running":
        state.take_running(value, now)
    elif told.kind == "peers":
        state.peers = value
    elif told.kind == "performance":
        state.take_performance(value)
    elif told.kind == "memory":
        state.take_event("memory", value, now)
    elif told.kind == "hardware":
        state.accelerators = value
    else:
        state.take_rows(value, now)


def glyphs_of(terminal: Terminal) -> Glyphs:
    return UNICODE if terminal.is_unicode else ASCII


def once(state: State, terminal: Terminal, now: float) -> Sequence[Line]:
    """All of it, as wide as the terminal."""
    return whole(state, terminal.width, now, glyphs_of(terminal))


def _nearest(keys: Sequence[Key], gone: Key | None) -> Key | None:
    """What is selected in place of something that is gone: the same model, or else the first."""
    same = (key for key in keys if gone is not None and key.model == gone.model)
    return next(same, keys[0] if keys else None)
