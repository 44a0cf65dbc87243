"""What can be typed in a chat besides questions: `/help`, `/model M`. ORDERS is the list of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from llamaswap_lib.chat.conversation import Unusable
from llamaswap_lib.chat.session import Chat
from llamaswap_lib.chat.typed import expanded
from llamaswap_lib.client import words
from llamaswap_lib.client.connection import Server, ServerError, in_path
from llamaswap_lib.client.terminal import Column, Style

LEAST_WIDTH = 60  # columns, for help in two of them


class Order(NamedTuple):
    """`usage` is how it is typed, `does` what it does."""

    usage: str
    does: str
    run: Callable[[Chat, str], bool]  # False ends the chat


def _help(chat: Chat, _rest: str) -> bool:
    terminal = chat.terminal
    rows = [(order.usage, order.does) for order in ORDERS.values()]
    rows += [('"""', "begins and ends a question of several lines")]
    rows += [("/path/cat.png", "in a question: the picture goes with it")]
    rows += [("Ctrl-C", "stops the answer; twice ends the chat"), ("Ctrl-D", "ends the chat")]
    if terminal.width < LEAST_WIDTH:
        for typed, does in rows:
            terminal.line(f"{typed}\n  {does}")
        return True
    for line in terminal.table_lines((Column("TYPE"), Column("TO", may_shrink=True)), rows)[1:]:
        terminal.line(line)
    return True


def _clear(chat: Chat, _rest: str) -> bool:
    chat.conversation.clear()
    chat.remark("forgotten: the next question begins anew")
    return True


def _system(chat: Chat, rest: str) -> bool:
    if not rest:
        chat.remark(
            f"the system prompt: {chat.conversation.system}" if chat.conversation.system else "no system prompt"
        )
        return True
    chat.conversation.system = "" if rest == '""' else rest
    chat.remark("the system prompt is set; it counts from the next question on" if rest != '""' else "no system prompt")
    return True


def _model(chat: Chat, rest: str) -> bool:
    if not rest:
        for name in model_names(chat.server):
            is_ours = name == chat.conversation.model
            chat.terminal.line(f"{'*' if is_ours else ' '} {name}", Style.NAME if is_ours else Style.PLAIN)
        return True
    try:
        check_model(chat.server, rest)
    except ServerError as error:
        chat.say_failure(str(error))
        return True
    chat.conversation.model = rest
    chat.remark(f"{rest} answers from now on, and is told what was said so far")
    return True


def _save(chat: Chat, rest: str) -> bool:
    if not rest:
        chat.say_failure("/save: expected the name of a file, as in /save chat.json")
        return True
    chat.conversation.save(expanded(rest))
    chat.remark(f"saved: {words.counted(len(chat.conversation.messages) // 2, 'answer')} in {rest}")
    return True


def _load(chat: Chat, rest: str) -> bool:
    if not rest:
        chat.say_failure("/load: expected the name of a file that /save has written")
        return True
    chat.conversation.load(expanded(rest))
    chat.remark(f"loaded: {words.counted(len(chat.conversation.messages) // 2, 'answer')} from {rest}")
    return True


def _stats(chat: Chat, _rest: str) -> bool:
    totals = chat.totals
    if not totals.answers:
        chat.remark("no answer yet")
        return True
    chat.remark(f"the last answer: {totals.last}")
    sent = words.counted(totals.prompt_tokens, "token")
    count = words.counted(totals.answers, "answer")
    chat.remark(f"{count} of {words.counted(totals.tokens, 'token')} in all, for prompts of {sent}")
    return True


def _retry(chat: Chat, _rest: str) -> bool:
    if chat.conversation.take_back():
        chat.ask_pending()
    else:
        chat.remark("nothing was asked yet")
    return True


def _bye(_chat: Chat, _rest: str) -> bool:
    return False


ORDERS = {
    "help": Order("/help", "lists this", _help),
    "clear": Order("/clear", "forgets what was said", _clear),
    "system": Order("/system TEXT", 'sets the system prompt, "" for none; without TEXT shows it', _system),
    "model": Order("/model M", "goes on with another model; without M lists them", _model),
    "save": Order("/save FILE", "writes what was said to a file", _save),
    "load": Order("/load FILE", "goes on with what /save has written", _load),
    "stats": Order("/stats", "shows tokens and speeds", _stats),
    "retry": Order("/retry", "asks the last question again", _retry),
    "bye": Order("/bye", "ends the chat", _bye),
}
OTHER_NAMES = {"?": "help", "exit": "bye", "quit": "bye"}


def obey(chat: Chat, name: str, rest: str) -> bool:
    """Do what was typed; False if it ends the chat."""
    order = ORDERS.get(OTHER_NAMES.get(name, name))
    if order is None:
        chat.say_failure(f"there is no /{name}; /help lists what there is, and a blank in front sends it as a question")
        return True
    try:
        return order.run(chat, rest)
    except (Unusable, ServerError) as error:
        chat.say_failure(str(error))
        return True


def model_names(server: Server) -> list[str]:
    """The names of models that can be asked; raises ServerError."""
    return [str(row["id"]) for row in server.get("/v1/models")["data"]]


def check_model(server: Server, name: str) -> None:
    """Raise ServerError where the server says that it has no such model; another kind of server may not say."""
    server.find(f"/v1/models/{in_path(name)}")


def completions(server: Server, text: str) -> list[str]:
    """What the line may become: orders, models, files."""
    first, blank, rest = text.partition(" ")
    if not blank:
        return [f"/{name} " for name in ORDERS if f"/{name}".startswith(text)] if text.startswith("/") else []
    try:
        if first == "/model":
            return [f"{first} {name}" for name in model_names(server) if name.startswith(rest)]
        if first in ("/save", "/load"):
            return [f"{first} {path}" for path in _files(rest)]
    except ServerError:
        pass  # nothing to offer
    return []


def _files(begin: str) -> list[str]:
    folder, _, name = begin.rpartition("/")
    try:
        place = expanded(folder or ("/" if begin.startswith("/") else "."))
        names = sorted(path.name for path in place.iterdir())
    except OSError:
        return []
    prefix = begin[: len(begin) - len(name)]
    return [prefix + found for found in names if found.startswith(name) and (name or not found.startswith("."))]
