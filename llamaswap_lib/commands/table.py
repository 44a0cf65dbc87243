"""Which commands there are, and where each of them is: the one list, which help, documents and completion go by."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from enum import Enum
from importlib import import_module
from typing import NamedTuple, Protocol, cast


class Topic(Enum):
    """What a command is about, in the words of the help."""

    SERVER = "start the server"
    LOOK = "see what a running server does"
    USE = "use its models"
    OPERATE = "tell it what to do"
    SETUP = "set it up"
    HELP = "find out more"


class CommandModule(Protocol):
    """A file of this room."""

    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]  # the exit code; raises UsageError and ConfigError


class Command(NamedTuple):
    """`summary` is a sentence for the list of commands and the head of its own help."""

    name: str
    topic: Topic
    summary: str
    module_name: str = ""  # in this room; '' where it is that of the command
    aliases: tuple[str, ...] = ()

    def module(self) -> CommandModule:
        """Its code, imported now."""
        return cast(CommandModule, import_module(f"{__package__}.{self.module_name or self.name}"))


DESCRIPTION = "Model hot-swapping for local AI servers: one OpenAI-compatible address, the right server behind it."

SERVE = Command("serve", Topic.SERVER, DESCRIPTION)
HELP = Command("help", Topic.HELP, "Shows the commands, one of them, or a topic such as the exit codes.")
COMMANDS = (
    SERVE,
    Command("check", Topic.SETUP, "Says everything that is wrong with a configuration; exit code 1 on errors."),
    Command("init", Topic.SETUP, "Writes a first configuration for what is found on this machine."),
    Command("systemd", Topic.SETUP, "Prints a unit of systemd for this installation, and how to install it."),
    Command("launchd", Topic.SETUP, "Prints a property list for macOS, and how to install it."),
    Command("ps", Topic.LOOK, "Lists the models that run: their state, memory, requests, and until when they stay."),
    Command("logs", Topic.LOOK, "Shows what the server and its models have said; with -f goes on with what they say."),
    Command("requests", Topic.LOOK, "Lists the requests to models that have ended, the newest last; with -f goes on."),
    Command("top", Topic.LOOK, "Shows live what the server does: the machine, models, the queue, requests; q leaves."),
    Command("run", Topic.USE, "Asks a model: one question, or a chat in the terminal."),
    Command("bench", Topic.USE, "Measures how fast models answer, at one and at several requests at a time, and swap."),
    Command("launch", Topic.USE, "Prints or writes the settings of a coding agent for this server, or starts it."),
    Command(
        "ls", Topic.LOOK, "Lists what can be asked for: models, aliases, selectors, models of peers.", aliases=("list",)
    ),
    Command(
        "show", Topic.LOOK, "Shows all that is known of one model: state, command, memory, what a load of it would do."
    ),
    Command("load", Topic.OPERATE, "Loads models, and shows how far each is."),
    Command(
        "unload", Topic.OPERATE, "Unloads models; they are loaded again when somebody asks for them.", aliases=("stop",)
    ),
    Command("profile", Topic.OPERATE, "Shows the profiles, or makes another one active."),
    Command("reload", Topic.OPERATE, "Has the server read its configuration again, and says what has changed."),
    Command("upgrade", Topic.OPERATE, "Has the version that is installed now take over from the running one."),
    Command("version", Topic.LOOK, "Shows the versions of this program and of the server."),
    Command(
        "there", Topic.SERVER, "Runs a model's server on another machine, for the llamaswap that starts it by a job."
    ),
    HELP,
    Command("completion", Topic.HELP, "Prints what completes commands, flags and names of models in your shell."),
    Command("demo", Topic.SETUP, "Runs a server without a real model, for experiments."),
)


def find_command(name: str) -> Command | None:
    """The command of that name, or with that alias."""
    return next((command for command in COMMANDS if name in (command.name, *command.aliases)), None)


# Words that people try, as other programs have them: the command that they mean here.
MEANT = {
    "status": "ps",
    **dict.fromkeys(("models", "tags", "list-models"), "ls"),
    **dict.fromkeys(("start", "server"), "serve"),
    **dict.fromkeys(("kill", "eject", "rm"), "unload"),
    "log": "logs",
    **dict.fromkeys(("info", "inspect"), "show"),
    **dict.fromkeys(("chat", "ask"), "run"),
    **dict.fromkeys(("validate", "test"), "check"),
    **dict.fromkeys(("use", "profiles"), "profile"),
    "restart": "reload",
    "benchmark": "bench",
}


DOWNLOADS = ("pull", "download", "get", "create", "push", "cp")


def meant_by(word: str) -> str:
    """The command that somebody means who types another program's word for it; '' for none."""
    name = MEANT.get(word, "")
    return name if name and find_command(name) else ""


def command_names() -> list[str]:
    return [name for command in COMMANDS for name in (command.name, *command.aliases)]
