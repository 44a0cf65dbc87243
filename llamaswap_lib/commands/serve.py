"""`llamaswap -c config.yaml`: the server."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace

from llamaswap_lib import __version__
from llamaswap_lib.commands.arguments import add_config_flags, add_server_flags, config_sources, server_address
from llamaswap_lib.runtime.signals import outlive_harmless


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_flags(parser)
    add_server_flags(parser)
    parser.add_argument(
        "-version", "--version", action="version", version=f"llamaswap {__version__}", help="show the version"
    )
    parser.epilog = "`llamaswap check -c config.yaml` says what is wrong with a configuration."


def run(options: argparse.Namespace) -> int:
    outlive_harmless()
    host, port = server_address(options)
    sources = config_sources(options)
    from llamaswap_lib.building import Options  # noqa: PLC0415 - after the arguments, and after the check for PyYAML
    from llamaswap_lib.config.editor import ConfigEditor  # noqa: PLC0415 - as above
    from llamaswap_lib.main import serve  # noqa: PLC0415 - as above
    from llamaswap_lib.runtime.supervisor import take_supervisor  # noqa: PLC0415 - as above
    from llamaswap_lib.server.certificate import Certificate  # noqa: PLC0415 - as above
    from llamaswap_lib.upgrade.child import Start, take_inheritance  # noqa: PLC0415 - as above
    from llamaswap_lib.upgrade.taking import Predecessor  # noqa: PLC0415 - as above

    certificate = Certificate(options.tls_cert_file, options.tls_key_file) if options.tls_cert_file else None
    inheritance = take_inheritance(os.environ)
    predecessor = None if inheritance is None else Predecessor(inheritance)
    start = Start()
    supervisor = take_supervisor(os.environ, os.getpid(), None if inheritance is None else inheritance.listening)
    editor = ConfigEditor(options.config, options.config_dir) if options.allow_config_edit else None
    given = Options(sources, host, port, certificate, supervisor, options.watch_config, editor, start, predecessor)
    return serve(replace(given, workers=options.workers))
