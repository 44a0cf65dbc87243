"""A chat in the terminal: questions and orders in turn, until it is ended.

Guarantees: whatever fails is said in a line, and the chat goes on; the question that failed can be asked again. Ctrl-C
stops an answer, and a second one right after it, or two at the prompt, end the chat.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llamaswap_lib.chat.conversation import Conversation, Unusable, image_url
from llamaswap_lib.chat.shown import ShownAnswer
from llamaswap_lib.chat.typed import question
from llamaswap_lib.chat.waiting import Waiting
from llamaswap_lib.client import words
from llamaswap_lib.client.completion import Completion, Kind
from llamaswap_lib.client.connection import Server, ServerError
from llamaswap_lib.client.terminal import Style, Terminal
from llamaswap_lib.printable import printable


@dataclass(frozen=True, slots=True)
class Manner:
    """How answers are asked for and shown. `more` goes into the body of each request."""

    shows_thoughts: bool = True
    is_verbose: bool = False
    wraps: bool = True
    more: tuple[tuple[str, Any], ...] = ()


@dataclass
class Totals:
    """Of the answers of this chat."""

    answers: int = 0
    tokens: int = 0
    prompt_tokens: int = 0
    last: str = ""  # what is said of the last one


class Chat:
    """One conversation with one server, shown on a terminal."""

    def __init__(self, server: Server, terminal: Terminal, conversation: Conversation, manner: Manner) -> None:
        self.server = server
        self.terminal = terminal
        self.conversation = conversation
        self.manner = manner
        self.totals = Totals()
        self.images: list[str] = []  # data URLs that go with the next question
        self.was_stopped = False  # the last turn, by Ctrl-C

    def ask(self, text: str) -> None:
        """Ask the question, and show the answer."""
        asked = question(text)
        for missing in asked.remarks():
            self.remark(missing)
        try:
            images = [image_url(path) for path in asked.images]
        except Unusable as error:
            self.say_failure(str(error))
            return
        for path in asked.images:
            self.remark(f"with the picture {path.name}")
        self.conversation.ask(asked.text, [*self.images, *images])
        self.images = []
        self.ask_pending()

    def ask_pending(self) -> None:
        """Ask the question that waits. Ctrl-C stops the answer, and what has come of it counts as the answer."""
        completion = Completion(self.server, self.conversation.body(dict(self.manner.more)))
        shown = ShownAnswer(self.terminal, shows_thoughts=self.manner.shows_thoughts, wraps=self.manner.wraps)
        is_whole = True
        try:
            show(completion, shown, Waiting(self.server, self.terminal, self.conversation.model))
        except ServerError as error:
            shown.end()
            self.say_failure(f"{error}\n/retry asks again")
            return
        except KeyboardInterrupt:
            is_whole = False
        shown.end()
        if is_whole or completion.text:
            self.conversation.answered(completion.text)
        if is_whole:
            self._count(completion)
        else:
            self.stopped()

    def stopped(self) -> None:
        """Ctrl-C has stopped what was going on."""
        self.was_stopped = True
        self.remark("stopped; Ctrl-C again ends the chat")

    def _count(self, completion: Completion) -> None:
        self.totals.answers += 1
        self.totals.tokens += completion.tokens
        self.totals.prompt_tokens += int(completion.usage.get("prompt_tokens") or 0)
        self.totals.last = figures(completion)
        if completion.finish == "length":
            self.remark("the answer was cut: the model may not say more, or its context is full")
        if self.manner.is_verbose:
            self.remark(self.totals.last)

    def remark(self, text: str) -> None:
        """Something about the chat that is no part of it."""
        self.terminal.line(printable(text), Style.QUIET)

    def say_failure(self, message: str) -> None:
        """What went wrong; its first line stands out."""
        first, *rest = message.split("\n")
        self.terminal.line(printable(first), Style.BAD)
        for line in rest:
            self.remark(line)


def show(completion: Completion, shown: ShownAnswer, waiting: Waiting) -> None:
    """Show the answer as it comes; raises ServerError and KeyboardInterrupt."""
    with waiting:
        for piece in completion.pieces():
            if piece.kind is Kind.LOADING:
                waiting.tell(piece.text)
            else:
                waiting.end()
                shown.add(piece)


def figures(completion: Completion) -> str:
    """How fast an answer was, in a line."""
    about = "" if completion.is_counted else "about "
    prompt = completion.usage.get("prompt_tokens")
    read = f", of a prompt of {words.counted(prompt, 'token')}" if isinstance(prompt, int) else ""
    speed = f", {words.number(completion.speed)} a second" if completion.speed else ""
    return (
        f"first token after {words.brief(completion.first_seconds)}{read}; "
        f"{about}{words.counted(completion.tokens, 'token')}{speed}"
    )
