"""How arguments are read: flags with one dash or two, as programs in Go have them; the same flag for the same thing.

Pure, but for the files of a folder that `config_files` lists, and what is said of a flag that does not count.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from llamaswap_lib.errors import LlamaswapError

if TYPE_CHECKING:
    from llamaswap_lib.config.load import Sources

PORT_MAX = 65535
MOST_WORKERS = 64
WORKERS_HELP = "processes that serve, for a configuration with peers only (default 1; see docs/fleet.md)"
# What Go's `flag` package takes as the value of a switch, `-watch-config=true`; it is never a word of its own.
SWITCHED = {
    **dict.fromkeys(("1", "t", "T", "true", "True", "TRUE"), True),
    **dict.fromkeys(("0", "f", "F", "false", "False", "FALSE"), False),
}


class UsageError(LlamaswapError):
    """The arguments cannot be used; the text says which one, and what was expected."""


class Parser(argparse.ArgumentParser):
    """Raises UsageError for wrong arguments; switches may have a value, as in Go."""

    def __init__(self, prog: str, description: str) -> None:
        super().__init__(prog=prog, description=description, allow_abbrev=False, formatter_class=_Formatter)
        self._positionals.title, self._optionals.title = "arguments", "flags"
        self.register("type", None, text_of)  # of each argument that names no other type

    def parse_args(self, arguments: Sequence[str]) -> argparse.Namespace:  # type: ignore[override]  # all that is used
        return super().parse_args(self._plain(arguments))

    def flags(self) -> list[argparse.Action]:
        return [action for action in self._actions if action.option_strings]

    def arguments(self) -> list[argparse.Action]:
        """Those without a flag."""
        return [action for action in self._actions if not action.option_strings]

    def _plain(self, words: Sequence[str]) -> list[str]:
        """The flags first: argparse takes no more arguments behind a flag that stands between two of them.

        `-watch-config=true` is `-watch-config`, and nothing with `=false`; what follows `--` is somebody else's.
        """
        actions = {name: action for action in self._actions for name in action.option_strings}
        flags: list[str] = []
        others: list[str] = []
        left = list(words)
        while left:
            word = left.pop(0)
            name, equals, value = word.partition("=")
            action = actions.get(name)
            if word == "--" or (action is not None and action.nargs == argparse.REMAINDER):
                return [*flags, *others, word, *left]
            if action is None:
                (flags if word[:2] in actions else others).append(word)  # `-n20`
            elif action.nargs == 0 and equals:
                if value not in SWITCHED:
                    self.error(f"{name}: expected true or false, got {value!r}")
                flags += [name] if SWITCHED[value] else []
            elif action.nargs == 0 or equals:
                flags.append(word)
            elif left:
                flags += [word, left.pop(0)]
            else:
                others.append(word)  # at the end, so that no other word is taken for its value
        return [*flags, *others]

    def error(self, message: str) -> None:  # type: ignore[override]  # argparse says NoReturn, and raising is
        raise UsageError(f"{message} ({self.prog} -h lists the flags)")


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Shows each flag once, though it may have one dash or two."""

    def _format_action_invocation(self, action: argparse.Action) -> str:
        return shown_flag(action) if action.option_strings else super()._format_action_invocation(action)


def spellings(action: argparse.Action) -> list[str]:
    """How a flag is written: `-n LINES`, `--lines LINES`. Of two that differ in their dashes the first one counts."""
    names = {name.lstrip("-"): name for name in reversed(action.option_strings)}
    value = "" if action.nargs == 0 else f" {action.metavar or action.dest.upper()}"
    return [f"{name}{value}" for name in reversed(names.values())]


def shown_flag(action: argparse.Action) -> str:
    return ", ".join(spellings(action))


def text_of(word: str) -> str:
    """What a word of the command line means: it is UTF-8, whatever the locale has made of it.

    What goes to the system again (a file, a command) has the type `str`, which keeps the bytes.
    """
    try:
        word.encode()
    except UnicodeEncodeError:  # bytes that the locale has no characters for
        return os.fsencode(word).decode("utf-8", "replace")
    return word


def path_of(text: str) -> Path:
    """A file or a folder, as the type of an argument."""
    if not text:  # a Path of it would be the working folder
        raise argparse.ArgumentTypeError("expected a path, got an empty one")
    return Path(text)


def count_of(text: str) -> int:
    """A number of things, as the type of an argument."""
    if not re.fullmatch(r"\d{1,9}", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"expected a number such as 20, got {text!r}")
    return int(text)


# -- the configuration --


class _Last(argparse.Action):
    """Of several the last one counts, so that another can follow the one of an image's entry point; it is said."""

    def __call__(self, _: object, options: argparse.Namespace, value: object, flag: str | None = None) -> None:
        before = getattr(options, self.dest)
        if before not in (None, value):
            cure = "several files belong in a folder, for -config-dir"
            sys.stderr.write(f"llamaswap: {flag} {before} does not count, since {flag} {value} follows; {cure}\n")
        setattr(options, self.dest, value)


def add_config_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("-c", "-config", "--config", metavar="FILE", type=path_of, action=_Last, help="the configuration")
    add(
        "-config-dir",
        "--config-dir",
        metavar="DIR",
        type=path_of,
        action=_Last,
        help="a folder whose *.yml and *.yaml are merged, by their names",
    )


def add_config_file(parser: argparse.ArgumentParser) -> None:
    """The configuration with or without `-c`, for a command that has no other words."""
    add_config_flags(parser)
    parser.add_argument("file", metavar="FILE", nargs="*", type=path_of, help="the same as -c FILE")


def take_config_file(options: argparse.Namespace) -> None:
    """Have `options.config` name the one FILE, however it was given."""
    if options.file and options.config is not None:
        raise UsageError(f"FILE and -c FILE mean the same: give only one of {options.file[0]} and {options.config}")
    if len(options.file) > 1:
        raise UsageError("give only one FILE; for several files that make one configuration use -config-dir DIR")
    if options.file:
        options.config = options.file[0]


def config_sources(options: argparse.Namespace) -> Sources:
    from llamaswap_lib.config.load import Sources  # noqa: PLC0415 - after the arguments, and the check for PyYAML

    return Sources(options.config, options.config_dir)


def config_files(options: argparse.Namespace) -> list[Path]:
    return config_sources(options).files()


# -- the server --


def add_server_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("-listen", "--listen", metavar="ADDRESS", help="[host]:port or port (default :8080, with TLS :8443)")
    add("-tls-cert-file", "--tls-cert-file", metavar="FILE", type=path_of, help="certificate (PEM): serve HTTPS")
    add("-tls-key-file", "--tls-key-file", metavar="FILE", type=path_of, help="its key (PEM)")
    add("-watch-config", "--watch-config", action="store_true", help="take the configuration again when it changes")
    add("-workers", "--workers", metavar="N", type=worker_count, default=1, help=WORKERS_HELP)
    edit_help = "let clients read and replace the configuration's files, and so have any command run"
    add("-allow-config-edit", "--allow-config-edit", action="store_true", help=edit_help)


def worker_count(text: str) -> int:
    """How many processes serve, as the type of an argument."""
    count = count_of(text)
    if not 1 <= count <= MOST_WORKERS:
        raise argparse.ArgumentTypeError(f"expected a number from 1 to {MOST_WORKERS}, got {text!r}")
    return count


def server_address(options: argparse.Namespace) -> tuple[str, int]:
    """Where the server listens by its flags: host, '' for every address, and port."""
    is_tls = options.tls_cert_file is not None
    if is_tls != (options.tls_key_file is not None):
        raise UsageError("-tls-cert-file and -tls-key-file: give both, or neither")
    return parse_address((":8443" if is_tls else ":8080") if options.listen is None else options.listen)


def server_words(options: argparse.Namespace) -> list[str]:
    """The flags with which the server does the same from any folder."""
    files = {"-c": options.config, "-config-dir": options.config_dir}
    files |= {"-tls-cert-file": options.tls_cert_file, "-tls-key-file": options.tls_key_file}
    words = [word for flag, path in files.items() if path is not None for word in (flag, str(path.absolute()))]
    flags = {"-watch-config": options.watch_config, "-allow-config-edit": options.allow_config_edit}
    words += [flag for flag, is_given in flags.items() if is_given]
    if options.workers > 1:
        words += ["-workers", str(options.workers)]
    return words if options.listen is None else [*words, "-listen", options.listen]


def parse_address(text: str) -> tuple[str, int]:
    """Host ('' for every address) and port of `:8080`, `127.0.0.1:8080`, `[::1]:8080` or `8080`; raises UsageError.

    `0.0.0.0` and `::` are every address too, of both families.
    """
    match = re.fullmatch(r"(?:\[([^][]+)\]:|([^][:]*):)?(\d{1,5})", text, re.ASCII)
    if match is None or int(match[3]) > PORT_MAX:
        raise UsageError(f"-listen: expected [host]:port or a port of at most {PORT_MAX}, got {text!r}")
    from llamaswap_lib.ip_addresses import is_every, plain_ip  # noqa: PLC0415 - as in config_sources

    host = match[1] or match[2] or ""
    return "" if is_every(host) else plain_ip(host), int(match[3])
