"""Completion: what may follow on a line, and how bash, zsh and fish themselves put it into the line."""

from __future__ import annotations

import shlex
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaswap_lib.commands.completing import escaped, split
from tests.client.answers import answering, reply
from tests.commands.conftest import Serve
from tests.commands.terminal import Screen, Shell
from tests.e2e.program import COMMAND, demo

CONFIG = {
    "models": {
        "qwen:7b": {"cmd": demo(), "aliases": ["quick"]},
        "qwen:14b": {"cmd": demo()},
        "odd $(touch x) name": {"cmd": demo().replace("${MODEL_ID}", "odd")},
    },
    "selectors": {"any": {"strategy": "warm", "targets": ["qwen:7b"]}},
    "peers": {"box": {"proxy": "http://127.0.0.1:1", "models": ["far"]}},
    "profiles": {"day": {"description": "for work", "pins": {"default": "qwen:7b"}}},
}
SHELLS = {
    "bash": (("bash", "--norc", "--noprofile", "-i"), 'PS1="> "; bind "set enable-bracketed-paste off"'),
    "zsh": (("zsh", "-f", "-i"), "PS1='> '; autoload -Uz compinit; compinit -u -D; unset zle_bracketed_paste"),
    "fish": (("fish", "--no-config", "-i"), "function fish_prompt; echo '> '; end"),
}


def words(shell: Shell, *line: str) -> dict[str, str]:
    """What may follow, and what is said of it."""
    ended = shell.run("__complete", "words", "llamaswap", *line)
    assert (ended.code, ended.err) == (0, ""), ended
    [kind, *found] = ended.out.splitlines()
    assert kind == ":words"
    return {name: about for name, _, about in (pair.partition("\t") for pair in found)}


def test_commands_flags_and_topics(shell: Shell) -> None:
    assert list(words(shell, "unl")) == ["unload"]
    assert {"ps", "ls", "list", "load", "serve", "help"} <= words(shell, "").keys()
    assert words(shell, "load", "--j") == {"--json": "print the result as JSON"}
    assert "--url" in words(shell, "ps", "-")
    assert list(words(shell, "-watch")) == ["-watch-config"]
    assert list(words(shell, "-c", "x.yaml", "--li")) == ["--listen"]
    assert {"exit-codes", "load"} <= words(shell, "help", "").keys()
    assert list(words(shell, "completion", "")) == ["bash", "zsh", "fish"]
    assert words(shell, "no-such-command", "") == {}


@pytest.mark.parametrize(
    ("line", "kind"),
    [(("-c", ""), ":files"), (("check", ""), ":files"), (("-config-dir", ""), ":folders"), (("-c=", ), ":words")],
)  # fmt: skip
def test_files_and_folders_are_left_to_the_shell(shell: Shell, line: tuple[str, ...], kind: str) -> None:
    if line[0].endswith("="):
        kind = ":files"
    assert shell.run("__complete", "words", "llamaswap", *line).out.splitlines()[0] == kind


def test_names_come_from_the_server(serve: Serve) -> None:
    with serve(CONFIG) as shell:
        assert words(shell, "load", "q") == {"quick": "an alias of qwen:7b", "qwen:14b": "", "qwen:7b": ""}
        assert "any" not in words(shell, "load", "")
        assert {"any", "box/far"} <= words(shell, "show", "").keys()
        assert words(shell, "profile", "") == {"day": "for work"}
        assert list(words(shell, "load", "quick", "qu")) == []  # it is on the line already
        assert words(shell, "unload", "") == {}
        shell.program.chat("qwen:7b")
        assert words(shell, "unload", "") == {"qwen:7b": "ready"}
        there, elsewhere = f"--url=http://127.0.0.1:{shell.program.port}", Shell()
        assert words(elsewhere, "load", there, "qu") == {"quick": "an alias of qwen:7b"}


def test_without_a_server_there_are_no_names_and_no_words_of_complaint(shell: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent_url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        for url in (silent_url, "http://127.0.0.1:1", "no address"):
            assert words(shell, "load", "--url", url, "") == {}
    with answering(reply('{"data": 3}')) as odd, answering(reply("<html>", kind="text/html")) as page:
        assert words(Shell(odd.url), "load", "") == words(Shell(page.url), "load", "") == {}


def test_what_cannot_be_seen_is_not_offered() -> None:
    with answering(reply('{"data": [{"id": "a\\u001b[2Jb"}, {"id": "ac"}]}')) as it:
        assert list(words(Shell(it.url), "load", "")) == ["ac"]


@given(st.text(st.characters(exclude_characters="\n\0", codec="utf-8"), min_size=1))
def test_a_word_is_read_as_it_is_escaped(word: str) -> None:
    assert split(f"llamaswap load {escaped(word)}")[0] == ["llamaswap", "load", word]
    assert split(f"llamaswap load {shlex.quote(word)}")[0] == ["llamaswap", "load", word]


@pytest.mark.parametrize(
    ("line", "read"),
    [
        ("a b", (["a", "b"], "b")),
        ("a ", (["a", ""], "")),
        ("  a  'b c", (["a", "b c"], "'b c")),
        ('a "b\\"c d" e\\ f', (["a", 'b"c d', "e f"], "e\\ f")),
        ("a ''", (["a", ""], "''")),
        ("a b\\", (["a", "b"], "b\\")),
    ],
)
def test_a_line_that_is_not_complete_is_read_as_a_shell_does(line: str, read: tuple[list[str], str]) -> None:
    assert split(line) == read


@contextmanager
def typing(name: str, shell: Shell, folder: Path) -> Iterator[Screen]:
    """A shell of that name, which completes."""
    argv, settings = SHELLS[name]
    if shutil.which(argv[0]) is None:
        pytest.skip(f"there is no {name} here")
    program = folder / "bin" / "llamaswap"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.join(COMMAND)} "$@"\n')
    program.chmod(0o755)
    env = {"PATH": f"{program.parent}:/usr/bin:/bin", "HOME": str(folder), "XDG_DATA_HOME": str(folder)}
    with shell.screen(command=argv, columns=100, env=env) as screen:
        enter(screen, name, settings)
        load = "llamaswap completion fish | source" if name == "fish" else f'eval "$(llamaswap completion {name})"'
        enter(screen, name, load)
        yield screen


def enter(screen: Screen, shell: str, line: str) -> None:
    """A command, until it has ended well and the shell itself reads what is typed.

    Before that the terminal would show keys where they are not, and the shell could not take them back.
    """
    status, word = "$status" if shell == "fish" else "$?", f"ended{len(screen.sent)}"
    screen.type(f"{line}; echo {word}-{status}\r")
    screen.wait_for(f"{word}-0")
    screen.wait_for(lambda screen: not screen.echoes)


@pytest.mark.parametrize("name", SHELLS)
def test_a_shell_completes(serve: Serve, tmp_path: Path, name: str) -> None:
    with serve(CONFIG) as shell, typing(name, shell, tmp_path) as screen:
        screen.type("llamaswap unlo\t")
        screen.wait_for("> llamaswap unload")
        screen.type("\x15llamaswap load qui\t")
        screen.wait_for("> llamaswap load quick")
        screen.type("\x15llamaswap load qwen:1\t")
        screen.wait_for("> llamaswap load qwen:14b")
        screen.type("\x15llamaswap load --js\t")
        screen.wait_for("> llamaswap load --json")
        screen.type("\x15llamaswap profile d\t")
        screen.wait_for("> llamaswap profile day")
        screen.type("\x15llamaswap load odd\t")
        screen.wait_for("name")
        screen.type("\r")
        screen.wait_for("odd $(touch x) name: ready after")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("name", SHELLS)
def test_a_shell_completes_files_and_shows_what_there_is(serve: Serve, tmp_path: Path, name: str) -> None:
    with serve(CONFIG) as shell, typing(name, shell, tmp_path) as screen:
        enter(screen, name, f"cd {tmp_path}; touch only-this.yaml")
        screen.type("llamaswap check only\t")
        screen.wait_for("> llamaswap check only-this.yaml")
        screen.type("\x15llamaswap load qwen\t\t\t")
        for shown in ("14b", "7b"):  # bash shows what stands behind the colon
            screen.wait_for(shown if name == "bash" else f"qwen:{shown}")


@pytest.mark.parametrize("name", ["bash", "fish"])
def test_a_server_that_is_gone_leaves_the_line_as_it_is(tmp_path: Path, name: str) -> None:
    with typing(name, Shell(1), tmp_path) as screen:
        screen.type("llamaswap load qui\tck\r")
        screen.wait_for("no server at http://127.0.0.1:1")
        assert "llamaswap load quick" in screen.text
