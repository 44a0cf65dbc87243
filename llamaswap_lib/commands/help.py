"""`llamaswap help`: the commands by what they are for, one command, or a topic."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterable, Iterator

from llamaswap_lib.commands.arguments import UsageError, shown_flag
from llamaswap_lib.commands.parsers import parser_of, plain, width, wrapped
from llamaswap_lib.commands.program import print_text
from llamaswap_lib.commands.table import COMMANDS, DESCRIPTION, SERVE, Command, Topic, command_names, find_command
from llamaswap_lib.commands.topics import TOPICS, HelpTopic, find_topic

EXAMPLES = "llamaswap help\nllamaswap help load\nllamaswap help environment"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("topic", metavar="TOPIC", nargs="?", help="a command, or one of the topics; without it, all")


def run(options: argparse.Namespace) -> int:
    print_text(_asked_for(options.topic) if options.topic is not None else overview())
    return 0


def _asked_for(name: str) -> str:
    command, topic = find_command(name), find_topic(name)
    if command is not None:
        return parser_of(command, name).format_help().rstrip("\n")
    if topic is None:
        from llamaswap_lib.typed_yaml.problems import did_you_mean  # noqa: PLC0415 - only where something is wrong

        known = [*command_names(), *(topic.name for topic in TOPICS)]
        raise UsageError(
            f"there is no command and no topic {name!r}{did_you_mean(name, known)} (llamaswap help lists them)"
        )
    return "\n".join(topic_lines(topic))


def overview() -> str:
    """All commands by topic, the topics, and the flags of the server."""
    parts: list[tuple[str, list[tuple[str, str]]]] = [
        (
            topic.value.capitalize(),
            [(shown_command(it), it.summary) for it in COMMANDS if it.topic is topic and it is not SERVE],
        )
        for topic in Topic
    ]
    parts.append(("Topics of llamaswap help", [(topic.name, topic.summary) for topic in TOPICS]))
    flags = [(shown_flag(action), action.help or "") for action in parser_of(SERVE).flags()]
    parts.append(("Flags of llamaswap -c config.yaml, and of llamaswap serve, which is the same", flags))
    usage = (("llamaswap -c config.yaml", "serves its models"), ("llamaswap COMMAND ...", "does what is listed here"))
    lines = [wrapped(DESCRIPTION), "", *_rows(usage)]
    first = max(len(name) for _, pairs in parts for name, _ in pairs)
    for title, pairs in parts:
        if pairs:
            lines += ["", wrapped(f"{title}:"), *_rows(pairs, first)]
    return "\n".join([*lines, "", wrapped("llamaswap COMMAND -h shows the flags of a command.")])


def shown_command(command: Command) -> str:
    return ", ".join((command.name, *command.aliases))


def topic_lines(topic: HelpTopic) -> Iterator[str]:
    yield wrapped(f"{topic.name}: {topic.summary}")
    for paragraph in topic.text.split("\n\n"):
        yield ""
        yield wrapped(plain(paragraph))
    if topic.rows:
        yield ""
        yield from _rows((name, plain(meaning)) for name, meaning in topic.rows)


def _rows(pairs: Iterable[tuple[str, str]], least: int = 0) -> Iterator[str]:
    """What something is called and what it does, in two columns; where these are too narrow, under each other.

    `least`: how wide the first column is, at least.
    """
    told = list(pairs)
    first = min(max(least, *(len(name) for name, _ in told)), max(10, width() // 3))
    room = max(20, width() - first - 4)
    for name, meaning in told:
        lines = textwrap.wrap(meaning, room, break_on_hyphens=False, break_long_words=False) or [""]
        if len(name) > first:
            yield f"  {name}"
            name = ""
        for line in lines:
            yield f"  {name:<{first}}  {line}".rstrip()
            name = ""
