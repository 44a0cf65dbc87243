"""`llamaswap demo`: a server without a real model."""

from __future__ import annotations

import argparse

from llamaswap_lib.demo.flags import Flags, add_flags


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_flags(parser)


def run(options: argparse.Namespace) -> int:
    from llamaswap_lib.demo import server  # noqa: PLC0415 - after the arguments

    server.run(Flags(**vars(options)))
    return 0
