"""Which server a command asks: its flags, then the environment, then the usual address."""

from __future__ import annotations

import subprocess
import sys

import pytest

from llamaswap_lib.commands import run, there
from llamaswap_lib.commands.arguments import Parser, UsageError
from llamaswap_lib.commands.remote import DEFAULT_URL, add_remote_flags, server_of
from tests.commands.terminal import Shell

ASKING = ("completing", "load", "ls", "profile", "ps", "reload", "show", "unload", "version")


def url_of(*arguments: str, **environ: str) -> str:
    parser = Parser("llamaswap ps", "")
    add_remote_flags(parser)
    return server_of(parser.parse_args(arguments), environ).url


@pytest.mark.parametrize(
    ("told", "url"),
    [
        ("", DEFAULT_URL),
        ("gpubox:9000", "http://gpubox:9000"),
        ("https://ai.example.org/llm/", "https://ai.example.org/llm"),
        ("http://gpubox:8080/v1", "http://gpubox:8080"),
        ("[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_the_environment_names_the_server(told: str, url: str) -> None:
    assert url_of(LLAMASWAP_URL=told) == url


def test_without_anything_it_is_the_usual_address() -> None:
    assert url_of() == DEFAULT_URL


@pytest.mark.parametrize(("word", "text"), [(b"wei\xc3\x9f", "weiß"), (b"wei\xdf", "wei\ufffd"), (b"a b\n", "a b\n")])
def test_words_are_text_in_utf_8_in_any_locale(word: bytes, text: str) -> None:
    as_ascii = word.decode("ascii", "surrogateescape")  # as Python reads them under LC_ALL=C without its UTF-8 mode
    parser = Parser("llamaswap run", "")
    run.add_arguments(parser)
    options = parser.parse_args([as_ascii, as_ascii, as_ascii, "--system", as_ascii, "--image", as_ascii])
    assert (options.model, options.prompt, options.system) == (text, [text, text], text)
    assert options.image == [as_ascii], "a file keeps its bytes"


def test_a_command_for_another_machine_keeps_its_bytes() -> None:
    parser = Parser("llamaswap there", "")
    there.add_arguments(parser)
    options = parser.parse_args(["--at-end", "\udcdf", "--", "\udcdf"])
    assert (options.at_end, options.command) == ("\udcdf", ["\udcdf"])


@pytest.mark.parametrize("words", [("logs",), ("logs", "-f"), ("requests", "-f"), ("top", "--json")])
def test_no_command_waits_for_a_server_that_its_certificates_keep_it_from(shell: Shell, words: tuple[str, ...]) -> None:
    ended = shell.run(*words, "--url", "https://127.0.0.1:1", "--ca-file", "no.pem")
    assert (ended.code, ended.err) == (1, "llamaswap: no.pem: cannot be used as --ca-file: No such file or directory\n")


def test_a_flag_counts_before_the_environment() -> None:
    assert url_of("--url", "http://here:2", LLAMASWAP_URL="http://elsewhere:1") == "http://here:2"


@pytest.mark.parametrize(
    "told", ["http://", "ftp://gpubox", "http://gpubox:0", "http://gpubox:x", "http://a/?b", "http://u:p@a"]
)
def test_what_is_no_address_is_refused(told: str) -> None:
    with pytest.raises(UsageError, match=r"^--url: "):
        url_of("--url", told)


def test_what_the_environment_has_is_told_by_its_name() -> None:
    with pytest.raises(UsageError, match=r"^LLAMASWAP_URL: expected an address"):
        url_of(LLAMASWAP_URL="http://")
    with pytest.raises(UsageError, match=r"^LLAMASWAP_API_KEY: expected printable ASCII"):
        url_of(LLAMASWAP_API_KEY="secret\r")
    with pytest.raises(UsageError, match=r"^--url: expected"):
        url_of("--url", "", LLAMASWAP_URL="http://here:2")


def test_commands_that_ask_do_not_import_what_takes_long_and_they_do_not_need() -> None:
    names = ", ".join(f"llamaswap_lib.commands.{name}" for name in ASKING)
    probe = f"import sys; had = {{*sys.modules}}; import llamaswap_lib.cli, {names}; print(*({{*sys.modules}} - had))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    imported = done.stdout.split()
    assert "llamaswap_lib.client.connection" in imported
    for name in ("dataclasses", "inspect", "yaml", "llamaswap_lib.config"):  # the first one imports the second
        assert name not in imported
