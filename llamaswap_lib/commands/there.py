"""`llamaswap there -- CMD`: a model's server on the machine where its job runs."""

from __future__ import annotations

import argparse
from importlib.util import find_spec

from llamaswap_lib import there
from llamaswap_lib.commands.program import print_text

NOTES = """For models that run [on other machines](clusters.md): `cmd` is the client of what starts jobs there, and
this command is the job. It takes a free port, puts it and the name of the machine in the place of the words `PORT` and
`HOST` in CMD (`--port=PORT`, `$PORT` and `${PORT}` too, but not `PORT=`), starts CMD, and tells llamaswap where it
listens: by the request that `--front` makes possible, or else by a line of its output. The model has
`proxy: announced`.

SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1 and SIGUSR2 go to the server's process group. It gets SIGKILL if it has not
ended `--grace` seconds after one of the first four. What is left of the group when the server ends gets SIGTERM, then
SIGKILL. The exit code is the server's, 128 + N after the signal N, 127 or 126 where CMD cannot be started.

With `--front http://front:8080`, the address of the llamaswap itself and not of a proxy before several, the server
ends when nobody there has known this run for `--lost-after` seconds: when that machine has lost its power, the network
is cut, or llamaswap was started anew. Under Slurm the job is cancelled then, for an allocation of `srun` would stay
without its processes. If the job has more in it than this server, say `--at-end ''`.

A machine without llamaswap needs one file and Python 3.8 or later. Print it, copy it there, and call it by
`python3 there.py` in the place of `llamaswap there`.

HOST is what is announced. Where the name of a machine means 127.0.1.1 on that machine itself, as on Debian, give CMD
`--host 0.0.0.0`."""
EXAMPLES = """llamaswap there --print > there.py
llamaswap there --token x -- echo --host HOST --port PORT"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    there.add_arguments(parser)
    print_help = "print this command as a file that runs where only Python is"
    parser.add_argument("--print", "-print", dest="is_printed", action="store_true", help=print_help)


def run(options: argparse.Namespace) -> int:
    if options.is_printed:
        print_text(_source().rstrip("\n"))
        return 0
    return there.run(options)


def _source() -> str:
    """Also where the program is one file."""
    spec = find_spec(there.__name__)
    source = spec.loader.get_source(there.__name__) if spec and spec.loader else None  # type: ignore[attr-defined]  # it has one
    assert isinstance(source, str), "it is a file of Python"
    return source
