"""`llamaswap init`: a first configuration for this machine."""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path

from llamaswap_lib.client.words import counted
from llamaswap_lib.commands.arguments import path_of
from llamaswap_lib.commands.program import fail, home_folder, print_text, program, working_folder
from llamaswap_lib.errors import LlamaswapError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", nargs="?", type=path_of, default=Path("config.yaml"), help="default: config.yaml")


def run(options: argparse.Namespace) -> int:
    path = options.file
    try:
        home = home_folder()
    except LlamaswapError:
        home = Path("/")  # where the usual folders are not
    here = working_folder()
    from llamaswap_lib.init import gguf, gpus, text  # noqa: PLC0415 - after the arguments

    models = gguf.find(gguf.folders(os.environ, home, here))
    content = text.config_text(str(path), shutil.which("llama-server"), models, gpus.find())
    try:
        with path.open("x", encoding="utf-8") as file:  # never over one that is there
            file.write(content)
    except FileExistsError:
        return fail(f"{path} exists already; name another file: {program()} init other.yaml")
    except OSError as error:
        return fail(f"cannot write {path}: {error.strerror}")
    print_text(f"wrote {path}: {counted(len(models), 'model file')} found. Next: {program()} -c {path}")
    return 0
