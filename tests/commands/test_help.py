"""`llamaswap help`: the commands by what they are for, one of them, a topic; and a word that is none."""

from __future__ import annotations

import pytest

from llamaswap_lib.commands.table import COMMANDS, DOWNLOADS, MEANT, command_names, find_command
from llamaswap_lib.commands.topics import TOPICS
from tests.commands.terminal import Shell


@pytest.mark.parametrize("words", [("help",), ("-h",), ("--help",), ("-help",)])
def test_all_commands_and_topics_are_listed_and_the_flags_of_the_server(shell: Shell, words: tuple[str, ...]) -> None:
    ended = shell.run(*words)
    assert (ended.code, ended.err) == (0, "")
    first = {line.split()[0].rstrip(",") for line in ended.out.splitlines() if line.startswith("  ")}
    assert {command.name for command in COMMANDS} - first == {"serve"}
    assert {topic.name for topic in TOPICS} <= first
    assert {"-config-dir", "-listen", "-watch-config"} <= first


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_it_fits_the_terminal(shell: Shell, columns: int) -> None:
    for words in (("help",), ("help", "environment"), ("help", "server")):
        with shell.screen(*words, columns=columns, rows=200) as screen:
            assert screen.end() == 0
        assert max(len(line) for line in screen.lines) < columns


def test_a_command_and_a_topic_are_explained(shell: Shell) -> None:
    told = shell.run("help", "load").out
    assert told == shell.run("load", "-h").out
    assert "usage: llamaswap load " in told
    assert "examples:\n  llamaswap load small\n" in told
    assert "`" not in told
    assert "LLAMASWAP_URL" in shell.run("help", "environment").out
    for code in ("0", "1", "3", "4", "5", "6", "130"):
        assert f"\n  {code} " in shell.run("help", "exit-codes").out


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("status",), "there is no command 'status' (did you mean \"ps\"?) (llamaswap -h lists"),
        (("lod", "m"), "there is no command 'lod' (did you mean \"load\"?)"),
        (("pull", "m"), "there is no command 'pull': models are not downloaded here; llama-server does that, with -hf"),
        (("help", "exit-code"), "there is no command and no topic 'exit-code' (did you mean \"exit-codes\"?)"),
        (("xyzzy",), "there is no command 'xyzzy' (llamaswap -h lists the flags and commands)"),
        (("load",), "the following arguments are required: MODEL (llamaswap load -h lists the flags)"),
        (("ps", "--jsn"), "unrecognized arguments: --jsn (llamaswap ps -h lists the flags)"),
    ],
)
def test_a_word_that_is_none_is_told_with_what_is_near(shell: Shell, words: tuple[str, ...], wanted: str) -> None:
    ended = shell.run(*words)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith(f"llamaswap: {wanted}")


def test_words_of_other_programs_are_no_commands_of_ours() -> None:
    names = {name for command in COMMANDS for name in (command.name, *command.aliases)}
    assert names == set(command_names())
    assert not names & {*MEANT, *DOWNLOADS}
    assert all(find_command(name) is not None for name in names)
