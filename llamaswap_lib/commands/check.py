"""`llamaswap check`: what is wrong with a configuration."""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING

from llamaswap_lib.commands.arguments import (
    add_config_file,
    config_files,
    parse_address,
    take_config_file,
    worker_count,
)
from llamaswap_lib.commands.program import print_text

if TYPE_CHECKING:
    from llamaswap_lib.config.document import Document
    from llamaswap_lib.config.schema import Config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_file(parser)
    add = parser.add_argument
    add("-show", "--show", action="store_true", help="print the resolved configuration, secrets masked")
    add("-json", "--json", action="store_true", help="print findings and configuration as JSON")
    add("-listen", "--listen", metavar="ADDRESS", help="where it will listen, to find proxies to itself")
    add("-workers", "--workers", metavar="N", type=worker_count, default=1, help="processes that will serve")


def run(options: argparse.Namespace) -> int:
    take_config_file(options)
    told = None if options.listen is None else parse_address(options.listen)
    from llamaswap_lib.config import check, render  # noqa: PLC0415 - after the arguments, and the check for PyYAML

    listen = told and check.Listen(*told, is_told=True)
    report = check.check(config_files(options), listen=listen, also=partial(_look_further, options.workers))
    print_text(render.render(report, show=options.show, as_json=options.json))
    return 1 if report.errors else 0


def _look_further(workers: int, config: Config, document: Document) -> None:
    if workers > 1:
        from llamaswap_lib.config.for_workers import why_not_with_workers  # noqa: PLC0415 - most have none

        if why := why_not_with_workers(config):
            document.error(("models",), why, at_key=True)
    if config.routing.router == "memory":
        from llamaswap_lib.memory import prospects  # noqa: PLC0415 - nobody else pays for the drivers

        prospects.look(config, document)
