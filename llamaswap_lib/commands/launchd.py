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
from llamaswap_lib.commands.program import home_folder, print_text, working_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_file(parser)
    add_server_flags(parser)


def run(options: argparse.Namespace) -> int:
    take_config_file(options)
    host, _ = server_address(options)
    folder = working_folder()
    from llamaswap_lib.service.commands import agent  # noqa: PLC0415 - after the arguments

    made = agent(config_files(options), server_words(options), host, folder, home_folder())
    print_text(made.text.rstrip("\n"), notes=made.how)
    return 0
