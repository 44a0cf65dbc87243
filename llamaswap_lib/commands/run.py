"""`llamaswap run M`: a chat in the terminal, or one question."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from llamaswap_lib.chat.conversation import Conversation, Unusable, image_url
from llamaswap_lib.chat.keyboard import Keyboard, state_folder
from llamaswap_lib.chat.orders import check_model, completions, obey
from llamaswap_lib.chat.session import Chat, Manner, figures, show
from llamaswap_lib.chat.shown import ShownAnswer
from llamaswap_lib.chat.typed import Question, expanded, order, question
from llamaswap_lib.chat.waiting import Waiting
from llamaswap_lib.client.completion import Completion
from llamaswap_lib.client.connection import Server
from llamaswap_lib.client.terminal import Style, Terminal
from llamaswap_lib.commands.arguments import UsageError
from llamaswap_lib.commands.remote import add_remote_flags, server_of
from llamaswap_lib.printable import printable

PROMPT = ">>> "
NOTES = """Into a pipe goes the answer alone. In a terminal the wait for the model is shown, reasoning is faint, and
without a PROMPT a chat begins: `/help` lists what can be typed. Ctrl-C stops the answer, and a second one ends the
chat. What fails is said in a line, and `/retry` asks again.

A picture goes with a question by its path (`/path/cat.png`, `./cat.png`, `~/cat.png`; in quotes where it has
blanks), or by `--image`. Lines can be edited, and the history of questions is kept in
`~/.local/state/llamaswap/history` (`XDG_STATE_HOME`), for its user alone. `--no-think` tells the template of the
model (`enable_thinking`); some models reason all the same.

With `--json` each line is a JSON object: `type` is `text`, `thought` or `loading` with a piece as `text`, and at
last `end` with the whole `text`, `finish_reason`, `first_token_seconds`, `tokens_per_second` and `usage`."""
EXAMPLES_NOTE = "needs a terminal"
EXAMPLES = """llamaswap run small
llamaswap run small "Why is the sky blue?"
git diff | llamaswap run small "Write a message for this commit"
llamaswap run large "What is on it?" --image photo.jpg"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", metavar="MODEL", help="the model, by its name or an alias")
    add("prompt", metavar="PROMPT", nargs="*", help="one question, with what comes on stdin before it; none: a chat")
    add("--system", "-system", metavar="TEXT", default="", help="the system prompt")
    add(
        "--image",
        "-image",
        metavar="FILE",
        type=str,
        action="append",
        default=[],
        help="a picture for the first question",
    )
    add("--no-think", "-no-think", action="store_true", help="ask a model that can reason not to")
    add("--hide-thinking", "-hide-thinking", action="store_true", help="do not show how it reasons")
    add("--verbose", "-verbose", action="store_true", help="after each answer: time to the first token, and speed")
    add("--no-wrap", "-no-wrap", action="store_true", help="leave long lines to the terminal")
    add("--no-history", "-no-history", action="store_true", help="neither read nor write the history of questions")
    add_remote_flags(parser)


def run(options: argparse.Namespace) -> int:
    server = server_of(options)
    conversation = Conversation(options.model, options.system)
    asked = _asked(options)
    if asked is not None:
        for missing in asked.remarks():
            Terminal(sys.stderr).line(printable(missing), Style.QUIET)
        conversation.ask(asked.text, [*_images(options.image), *_images(asked.images)])
        return _one_question(server, conversation, options)
    if options.json:
        raise UsageError("--json: expected a PROMPT, or text on stdin; a chat is for people")
    return _chat(server, conversation, options)


def _asked(options: argparse.Namespace) -> Question | None:
    """The one question; None where somebody sits there to type."""
    prompt = question(" ".join(options.prompt))
    if sys.stdin is not None and sys.stdin.isatty():
        return prompt if options.prompt else None
    try:
        given = "" if sys.stdin is None else sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError("stdin: expected text in UTF-8; a picture is given by --image FILE") from None
    asked = "\n\n".join(text for text in (given.strip("\n"), prompt.text) if text.strip())
    if not asked and not prompt.images:
        raise UsageError("nothing to ask: expected a PROMPT, text on stdin, or a terminal to chat in")
    return prompt._replace(text=asked)


def _images(paths: Iterable[str | Path]) -> list[str]:
    try:
        return [image_url(expanded(str(path))) for path in paths]
    except Unusable as error:
        raise UsageError(str(error)) from None


def _manner(options: argparse.Namespace) -> Manner:
    # The key by which templates of llama.cpp, vLLM and SGLang are told.
    more = (("chat_template_kwargs", {"enable_thinking": False}),) if options.no_think else ()
    return Manner(not options.hide_thinking, options.verbose, not options.no_wrap, more)


# -- one question --


def _one_question(server: Server, conversation: Conversation, options: argparse.Namespace) -> int:
    manner, terminal, told = _manner(options), Terminal(), Terminal(sys.stderr)
    completion = Completion(server, conversation.body(dict(manner.more)))
    waiting = Waiting(server, told, conversation.model)
    if options.json:
        return _print_json(completion, terminal)
    shown = ShownAnswer(terminal, shows_thoughts=manner.shows_thoughts, wraps=manner.wraps)
    try:
        show(completion, shown, waiting)
    finally:
        shown.end()
    if manner.is_verbose:
        told.line(figures(completion), Style.QUIET)
    return 0


def _print_json(completion: Completion, terminal: Terminal) -> int:
    """A line for each piece, and one with all of it at the end."""
    for piece in completion.pieces():
        terminal.json({"type": piece.kind.name.lower(), "text": piece.text}, is_one_of_many=True)
    whole: dict[str, Any] = {"type": "end", "text": completion.text, "finish_reason": completion.finish}
    whole |= {"first_token_seconds": completion.first_seconds, "tokens_per_second": completion.speed}
    terminal.json({**whole, "usage": completion.usage or None}, is_one_of_many=True)
    return 0


# -- a chat --


def _chat(server: Server, conversation: Conversation, options: argparse.Namespace) -> int:
    check_model(server, conversation.model)
    terminal = Terminal()
    chat = Chat(server, terminal, conversation, _manner(options))
    chat.images = _images(options.image)
    folder = None if options.no_history else state_folder(os.environ)
    history = folder and folder / "history"
    keyboard = Keyboard(terminal, history, lambda text: completions(server, text))
    terminal.line(f"{conversation.model} at {server.url}. /help lists what can be typed; /bye ends.", Style.QUIET)
    interrupts = 0  # by Ctrl-C, in a row
    while True:
        try:
            text = keyboard.ask(PROMPT)
        except KeyboardInterrupt:
            terminal.line()
            interrupts += 1
            if interrupts > 1:
                return 0
            chat.remark("Ctrl-C again, Ctrl-D or /bye ends the chat")
            continue
        if text is None:
            terminal.line()
            return 0
        if not _turn(chat, text):
            return 0
        interrupts = int(chat.was_stopped)


def _turn(chat: Chat, text: str) -> bool:
    """Do what was typed; False if it ends the chat."""
    chat.was_stopped = False
    told = order(text) if text.startswith("/") else None
    try:
        if told is not None:
            return obey(chat, *told)
        if text.strip():
            chat.ask(text.strip())
    except KeyboardInterrupt:
        chat.stopped()
    return True
