"""The command line: arguments in, an exit code out. 0 after an orderly end, 1 where something is wrong.

Runs on the main thread. Whatever a user can get wrong here is told in one line on stderr, without a traceback; nothing
heavy is imported before the arguments are understood. `commands/table.py` lists the commands.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from llamaswap_lib import __version__
from llamaswap_lib.commands.arguments import UsageError
from llamaswap_lib.commands.parsers import parser_of
from llamaswap_lib.commands.program import fail, interpreter, leave_stdout, open_missing_streams, program
from llamaswap_lib.commands.table import DOWNLOADS, HELP, SERVE, Command, command_names, find_command, meant_by
from llamaswap_lib.errors import CannotPrint, LlamaswapError

COMPLETE = "__complete"  # what the scripts of `llamaswap completion` call; no command for people
HELP_FLAGS = ("-h", "-help", "--help")
INTERRUPTED = 130  # as shells have it for SIGINT
NEXT_STEPS = """version {version}, and nothing to do yet.
  {program} init                    writes a config.yaml for what is on this machine
  {program} check -c config.yaml    says what is wrong with it
  {program} -c config.yaml          serves its models at http://localhost:8080
  {program} -h                      lists the commands and flags"""


def main(argv: Sequence[str] | None = None) -> int:
    """The program; `argv` without its name, None for the process's own."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(arguments)
    except ModuleNotFoundError as error:
        if error.name != "yaml":
            raise
        return fail(f"PyYAML is missing; install it with: {interpreter()} -m pip install pyyaml")
    except CannotPrint as error:
        leave_stdout()
        return fail(str(error))
    except LlamaswapError as error:
        fail(str(error))
        return error.exit_code
    except BrokenPipeError:
        leave_stdout()
        return 0
    except KeyboardInterrupt:
        return INTERRUPTED


def _run(arguments: Sequence[str]) -> int:
    if not arguments:
        return fail(NEXT_STEPS.format(version=__version__, program=program()))
    first = arguments[0]
    if first == COMPLETE:
        from llamaswap_lib.commands import completing  # noqa: PLC0415 - for shells alone

        return completing.run(arguments[1:])
    if first in HELP_FLAGS:
        return _call(HELP, "help", ())
    if first.startswith("-"):
        return _call(SERVE, "", arguments)
    command = find_command(first)
    if command is None:
        raise UsageError(f"{_no_command(first)} (llamaswap -h lists the flags and commands)")
    return _call(command, first, arguments[1:])


def _call(command: Command, name: str, arguments: Sequence[str]) -> int:
    if command is SERVE:  # which has to know what it was started without
        from llamaswap_lib.runtime.put_off import put_off  # noqa: PLC0415 - for what runs for long

        put_off()  # now: to read arguments imports `shutil`
    else:
        open_missing_streams()
    return command.module().run(parser_of(command, name).parse_args(arguments))


def _no_command(word: str) -> str:
    """What is said of a first word that is neither a flag nor a command."""
    from llamaswap_lib.typed_yaml.problems import did_you_mean  # noqa: PLC0415 - only where something is wrong

    if word.endswith((".yaml", ".yml")):
        return f"to serve {word}, type -c in front of it: {program()} -c {word}"
    if word in DOWNLOADS:
        return f"there is no command {word!r}: models are not downloaded here; llama-server does that, with -hf"
    meant = meant_by(word)
    return f"there is no command {word!r}{did_you_mean(meant or word, [meant] if meant else command_names())}"
