"""`llamaswap launchd`: a property list for this installation."""

from __future__ import annotations

import argparse

from llamaswap_lib.commands.arguments import (
    add_config_file,
    add_server_flags,
    config_files,
    server_address,
    server_words,
    take_config_file,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_file(parser)
    add_server_flags(parser)


def run(options: argparse.Namespace) -> int:
    take_config_file(options)
    server_address(options)
    from llamaswap_lib.service.commands import print_launchd  # noqa: PLC0415 - after the arguments

    print_launchd(config_files(options), server_words(options))
    return 0
