"""Which commands there are, and where each of them is: the one list, which help, documents and completion go by."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from importlib import import_module
from typing import Protocol, cast


class Topic(Enum):
    """What a command is about, in the words of the help."""

    SERVER = "start the server"
    SETUP = "set it up"
    LOOK = "see what a running server does"


class CommandModule(Protocol):
    """A file of this room."""

    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]  # the exit code; raises UsageError and ConfigError


@dataclass(frozen=True, slots=True)
class Command:
    """`summary` is a sentence for the list of commands and the head of its own help."""

    name: str
    topic: Topic
    summary: str
    module_name: str = ""  # in this room; '' where it is that of the command

    def module(self) -> CommandModule:
        """Its code, imported now."""
        return cast(CommandModule, import_module(f"{__package__}.{self.module_name or self.name}"))


DESCRIPTION = "Model hot-swapping for local AI servers: one OpenAI-compatible address, the right server behind it."

SERVE = Command("serve", Topic.SERVER, DESCRIPTION)
COMMANDS = (
    SERVE,
    Command("check", Topic.SETUP, "Says everything that is wrong with a configuration; exit code 1 on errors."),
    Command("init", Topic.SETUP, "Writes a first configuration for what is found on this machine."),
    Command("systemd", Topic.SETUP, "Prints a unit of systemd for this installation, and how to install it."),
    Command("launchd", Topic.SETUP, "Prints a property list for macOS, and how to install it."),
    Command("ps", Topic.LOOK, "Lists the models that run: their state, memory, requests, and until when they stay."),
    Command("demo", Topic.SETUP, "Runs a server without a real model, for experiments."),
)


def find_command(name: str) -> Command | None:
    """The command of that name."""
    return next((command for command in COMMANDS if command.name == name), None)


def command_names() -> list[str]:
    return [command.name for command in COMMANDS]
