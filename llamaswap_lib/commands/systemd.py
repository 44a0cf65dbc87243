"""`llamaswap systemd`: a unit for this installation."""

from __future__ import annotations

import argparse

from llamaswap_lib.commands.arguments import (
    UsageError,
    add_config_file,
    add_server_flags,
    config_files,
    server_address,
    server_words,
    take_config_file,
)
from llamaswap_lib.commands.program import print_text, working_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_file(parser)
    add_server_flags(parser)
    add = parser.add_argument
    add("-user", "--user", action="store_true", help="for your own user manager, not for the system's")
    add("-run-as", "--run-as", metavar="NAME", help="the user of the service (default: you)")
    add("-socket", "--socket", action="store_true", help="print the socket unit: a restart then refuses no connection")


def run(options: argparse.Namespace) -> int:
    take_config_file(options)
    host, port = server_address(options)
    if options.user and options.run_as:
        raise UsageError("-run-as: your own user manager runs everything as you")
    folder = working_folder()
    files = config_files(options)
    from llamaswap_lib.service.commands import service, socket  # noqa: PLC0415 - after the arguments

    if options.socket:
        made = socket(host, port, is_user=options.user)
    else:
        words = server_words(options)
        made = service(files, words, (host, port), folder, is_user=options.user, run_as=options.run_as)
    print_text(made.text.rstrip("\n"), notes=made.how)
    return 0
