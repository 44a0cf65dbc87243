"""The command line: arguments in, an exit code out. 0 after an orderly end, 1 where something is wrong.

Runs on the main thread. Whatever a user can get wrong here is told in one line on stderr, without a traceback; nothing
heavy is imported before the arguments are understood.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING

from llamaswap_lib import __version__
from llamaswap_lib.errors import ConfigError
from llamaswap_lib.runtime.signals import outlive_harmless

if TYPE_CHECKING:
    from llamaswap_lib.config.load import Sources

DESCRIPTION = "Model hot-swapping for local AI servers: one OpenAI-compatible address, the right server behind it."
PORT_MAX = 65535
NEXT_STEPS = """version {version}, and nothing to do yet.
  {program} init                    writes a config.yaml for what is on this machine
  {program} check -c config.yaml    says what is wrong with it
  {program} -c config.yaml          serves its models at http://localhost:8080
  {program} -h                      lists the flags"""


# What Go's `flag` package takes as the value of a switch, `-watch-config=true`; it is never a word of its own.
SWITCHED = {
    **dict.fromkeys(("1", "t", "T", "true", "True", "TRUE"), True),
    **dict.fromkeys(("0", "f", "F", "false", "False", "FALSE"), False),
}


class _Parser(argparse.ArgumentParser):
    """Exit code 1 for wrong arguments, as for everything else that is wrong; switches may have a value, as in Go."""

    def parse_args(self, arguments: Sequence[str]) -> argparse.Namespace:  # type: ignore[override]  # all that is used
        return super().parse_args(self._plain(arguments))

    def _plain(self, words: Sequence[str]) -> list[str]:
        """`-watch-config=true` is `-watch-config`, and nothing with `=false`."""
        switches = {name for action in self._actions if action.nargs == 0 for name in action.option_strings}
        plain = []
        for word in words:
            name, equals, value = word.partition("=")
            if not equals or name not in switches:
                plain.append(word)
            elif value not in SWITCHED:
                self.error(f"{name}: expected true or false, got {value!r}")
            elif SWITCHED[value]:
                plain.append(name)
        return plain

    def error(self, message: str) -> None:  # type: ignore[override]  # argparse says NoReturn, and exit() is
        self.exit(1, f"llamaswap: {message} (llamaswap -h lists the flags)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """The program; `argv` without its name, None for the process's own."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        if not arguments:
            return _fail(NEXT_STEPS.format(version=__version__, program=_program()))
        command = _COMMANDS.get(arguments[0])
        return _serve(arguments) if command is None else command(arguments[1:])
    except ModuleNotFoundError as error:
        if error.name != "yaml":
            raise
        return _fail(f"PyYAML is missing; install it with: {_interpreter()} -m pip install pyyaml")
    except ConfigError as error:
        return _fail(str(error))


def _serve(arguments: Sequence[str]) -> int:
    outlive_harmless()
    parser = _parser("llamaswap", DESCRIPTION)
    if not arguments[0].startswith("-"):
        parser.error(_no_command(arguments[0]))
    _add_server_flags(parser)
    parser.add_argument("-version", "--version", action="version", version=f"llamaswap {__version__}")
    parser.epilog = "`llamaswap check -c config.yaml` says what is wrong with a configuration."
    options = parser.parse_args(arguments)
    host, port = _address(parser, options)
    sources = _sources(options)
    from llamaswap_lib.building import Options  # noqa: PLC0415 - as above
    from llamaswap_lib.config.editor import ConfigEditor  # noqa: PLC0415 - after the check for PyYAML
    from llamaswap_lib.main import serve  # noqa: PLC0415 - after the arguments, and after the check for PyYAML
    from llamaswap_lib.runtime.supervisor import take_supervisor  # noqa: PLC0415 - as in the line above
    from llamaswap_lib.server.certificate import Certificate  # noqa: PLC0415 - as above

    certificate = Certificate(options.tls_cert_file, options.tls_key_file) if options.tls_cert_file else None
    supervisor = take_supervisor(os.environ, os.getpid())
    editor = ConfigEditor(options.config, options.config_dir) if options.allow_config_edit else None
    return serve(Options(sources, host, port, certificate, supervisor, options.watch_config, editor))


def _no_command(word: str) -> str:
    """What is said of a first word that is neither a flag nor a command."""
    from llamaswap_lib.typed_yaml.problems import did_you_mean  # noqa: PLC0415 - as in _serve

    if word.endswith((".yaml", ".yml")):
        return f"to serve {word}, type -c in front of it: {_program()} -c {word}"
    return f"there is no command {word!r}{did_you_mean(word, _COMMANDS)}"


def _add_server_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("-listen", "--listen", metavar="ADDRESS", help="[host]:port or port (default :8080, with TLS :8443)")
    add("-tls-cert-file", "--tls-cert-file", metavar="FILE", type=Path, help="certificate (PEM): serve HTTPS")
    add("-tls-key-file", "--tls-key-file", metavar="FILE", type=Path, help="its key (PEM)")
    add("-watch-config", "--watch-config", action="store_true", help="take the configuration again when it changes")
    edit_help = "let clients read and replace the configuration's files, and so have any command run"
    add("-allow-config-edit", "--allow-config-edit", action="store_true", help=edit_help)


def _address(parser: argparse.ArgumentParser, options: argparse.Namespace) -> tuple[str, int]:
    """Where the server listens by its flags."""
    is_tls = options.tls_cert_file is not None
    if is_tls != (options.tls_key_file is not None):
        parser.error("-tls-cert-file and -tls-key-file: give both, or neither")
    return parse_address(parser, (":8443" if is_tls else ":8080") if options.listen is None else options.listen)


def _check(arguments: Sequence[str]) -> int:
    parser = _parser("llamaswap check", "Says everything that is wrong with a configuration; exit code 1 on errors.")
    parser.add_argument("-show", "--show", action="store_true", help="print the resolved configuration, secrets masked")
    parser.add_argument("-json", "--json", action="store_true", help="print findings and configuration as JSON")
    parser.add_argument(
        "-listen", "--listen", metavar="ADDRESS", help="where it will listen, to find proxies to itself"
    )
    options = _parsed(parser, arguments)
    told = None if options.listen is None else parse_address(parser, options.listen)
    from llamaswap_lib.config import check, render  # noqa: PLC0415 - as in _serve

    report = check.check(_files(options), listen=told and check.Listen(*told, is_told=True))
    try:
        _print(render.render(report, show=options.show, as_json=options.json))
    except OSError as error:
        return _fail(f"the result cannot be written: {error.strerror or error}")
    return 1 if report.errors else 0


def _init(arguments: Sequence[str]) -> int:
    parser = _Parser(
        prog="llamaswap init", description="Writes a first configuration for what is found on this machine."
    )
    parser.add_argument("file", nargs="?", type=Path, default=Path("config.yaml"), help="default: config.yaml")
    path = parser.parse_args(arguments).file
    from llamaswap_lib.init import gguf, gpus, text  # noqa: PLC0415 - as in _serve

    models = gguf.find(gguf.folders(os.environ, Path.home(), Path.cwd()))
    content = text.config_text(str(path), shutil.which("llama-server"), models, gpus.find())
    try:
        with path.open("x", encoding="utf-8") as file:  # never over one that is there
            file.write(content)
    except FileExistsError:
        return _fail(f"{path} exists already; name another file: {_program()} init other.yaml")
    except OSError as error:
        return _fail(f"cannot write {path}: {error.strerror}")
    _print(f"wrote {path}: {len(models)} model files found. Next: {_program()} -c {path}")
    return 0


def _print(text: str) -> None:
    """The text on stdout; what its encoding lacks is escaped. A reader that left is no error; other OSErrors are."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        print(text, flush=True)  # noqa: T201 - what the user asked for
    except OSError as error:
        with Path(os.devnull).open("wb") as nowhere:  # what is left in the buffer must not fail again at the end
            os.dup2(nowhere.fileno(), 1)
        if not isinstance(error, BrokenPipeError):
            raise


def _demo(arguments: Sequence[str]) -> int:
    from llamaswap_lib.demo.server import main as run  # noqa: PLC0415 - as in _serve

    run(arguments)
    return 0


def _parser(name: str, description: str) -> _Parser:
    parser = _Parser(prog=name, description=description, allow_abbrev=False)
    add = parser.add_argument
    add("-c", "-config", "--config", metavar="FILE", type=Path, help="the configuration")
    add("-config-dir", "--config-dir", metavar="DIR", type=Path, help="a folder whose *.yml and *.yaml are merged")
    return parser


def _parsed(parser: _Parser, arguments: Sequence[str]) -> argparse.Namespace:
    """The options of a command that takes the configuration with or without `-c`."""
    parser.add_argument("file", metavar="FILE", nargs="*", type=Path, help="the same as -c FILE")
    options = parser.parse_args(arguments)
    if options.file and options.config is not None:
        parser.error(f"FILE and -c FILE mean the same: give only one of {options.file[0]} and {options.config}")
    if len(options.file) > 1:
        parser.error("give only one FILE; for several files that make one configuration use -config-dir DIR")
    if options.file:
        options.config = options.file[0]
    return options


def _sources(options: argparse.Namespace) -> Sources:
    from llamaswap_lib.config.load import Sources  # noqa: PLC0415 - as in _serve

    return Sources(options.config, options.config_dir)


def _files(options: argparse.Namespace) -> list[Path]:
    return _sources(options).files()


def parse_address(parser: argparse.ArgumentParser, text: str) -> tuple[str, int]:
    """Host ('' for every address) and port of `:8080`, `127.0.0.1:8080`, `[::1]:8080` or `8080`.

    `0.0.0.0` and `::` are every address too, of both families.
    """
    match = re.fullmatch(r"(?:\[([^][]+)\]:|([^][:]*):)?(\d{1,5})", text, re.ASCII)
    if match is None or int(match[3]) > PORT_MAX:
        parser.error(f"-listen: expected [host]:port or a port of at most {PORT_MAX}, got {text!r}")
    from llamaswap_lib.ip_addresses import is_every, plain_ip  # noqa: PLC0415 - as in _serve

    host = match[1] or match[2] or ""
    return "" if is_every(host) else plain_ip(host), int(match[3])


def _program() -> str:
    """How to call this program, as it was called."""
    name = Path(sys.argv[0]).name
    if name == "__main__.py":
        return f"{_interpreter()} -m llamaswap_lib"
    return f"{_interpreter()} {sys.argv[0]}" if name.endswith((".py", ".pyz")) else name


def _interpreter() -> str:
    """This Python, as a person would type it: another one may lack PyYAML."""
    ours, usual = Path(sys.executable), shutil.which("python3")
    if usual is not None and Path(usual).parent == ours.parent:
        return "python3"
    try:
        return str(ours.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(ours)


def _systemd(arguments: Sequence[str]) -> int:
    parser = _parser("llamaswap systemd", "Prints a unit of systemd for this installation, and how to install it.")
    _add_server_flags(parser)
    add = parser.add_argument
    add("-user", "--user", action="store_true", help="for your own user manager, not for the system's")
    add("-run-as", "--run-as", metavar="NAME", help="the user of the service (default: you)")
    add("-socket", "--socket", action="store_true", help="print the socket unit: a restart then refuses no connection")
    options = _parsed(parser, arguments)
    host, port = _address(parser, options)
    if options.user and options.run_as:
        parser.error("-run-as: your own user manager runs everything as you")
    files = _files(options)
    from llamaswap_lib.service.commands import print_service, print_socket  # noqa: PLC0415 - as in _serve

    if options.socket:
        print_socket(host, port, is_user=options.user)
    else:
        print_service(files, _server_words(options), port, is_user=options.user, run_as=options.run_as)
    return 0


def _launchd(arguments: Sequence[str]) -> int:
    parser = _parser("llamaswap launchd", "Prints a property list for macOS, and how to install it.")
    _add_server_flags(parser)
    options = _parsed(parser, arguments)
    _address(parser, options)
    from llamaswap_lib.service.commands import print_launchd  # noqa: PLC0415 - as in _serve

    print_launchd(_files(options), _server_words(options))
    return 0


def _server_words(options: argparse.Namespace) -> list[str]:
    """The flags with which the server does the same from any folder."""
    files = {"-c": options.config, "-config-dir": options.config_dir}
    files |= {"-tls-cert-file": options.tls_cert_file, "-tls-key-file": options.tls_key_file}
    words = [word for flag, path in files.items() if path is not None for word in (flag, str(path.absolute()))]
    flags = {"-watch-config": options.watch_config, "-allow-config-edit": options.allow_config_edit}
    words += [flag for flag, is_given in flags.items() if is_given]
    return words if options.listen is None else [*words, "-listen", options.listen]


_COMMANDS = {"launchd": _launchd, "systemd": _systemd, "check": _check, "demo": _demo, "init": _init}


def _fail(message: str) -> int:
    sys.stderr.write(f"llamaswap: {message}\n")
    return 1
