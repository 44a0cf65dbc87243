"""A real llama.cpp that takes some options of llama-server, from the wheel xllamacpp."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
from pathlib import Path

import xllamacpp

CACHE_TYPES = {"f32": 0, "f16": 1, "q8_0": 8}
MAPS, READS = -1, 0  # how a file is loaded


def install(folder: Path) -> Path:
    """The program `llama-server` in this folder."""
    path = folder / "llama-server"
    path.write_text(
        f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(Path(__file__).resolve()))} "$@"\n'
    )
    path.chmod(0o755)
    return path


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("-m")
    parser.add_argument("-c", type=int, default=0)
    parser.add_argument("-np", type=int, default=1)
    parser.add_argument("-ctk", default="f16")
    parser.add_argument("-ctv", default="f16")
    parser.add_argument("--no-mmap", action="store_true")
    parser.add_argument("--port", type=int)
    options = parser.parse_args()
    params = xllamacpp.CommonParams()
    params.model.path = options.m
    params.hostnames = ["127.0.0.1"]
    params.port = options.port
    params.n_ctx = options.c
    params.n_parallel = options.np
    params.cache_type_k = CACHE_TYPES[options.ctk]
    params.cache_type_v = CACHE_TYPES[options.ctv]
    params.load_mode = READS if options.no_mmap else MAPS
    params.cpuparams.n_threads = 1
    params.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(params)
    print(f"listening on {server.listening_address}", flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    main()
