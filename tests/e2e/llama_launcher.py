"""A real llama.cpp, from the wheel xllamacpp: `python llama_launcher.py MODEL.gguf PORT [embeddings|unmapped|starved]`.

One that is `starved` wants 16 GB for its context, and may have 2 GB of address space.
"""

from __future__ import annotations

import resource
import signal
import sys
from pathlib import Path

import xllamacpp

LITTLE = 2 << 30


def starve() -> None:
    has = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (has + LITTLE, has + LITTLE))


def main(path: str, port: str, kind: str = "") -> None:
    if kind == "starved":
        starve()
    params = xllamacpp.CommonParams()
    params.model.path = path
    params.hostnames = ["127.0.0.1"]
    params.port = int(port)
    params.n_ctx = 1 << 20 if kind == "starved" else 2048
    params.n_parallel = 2
    params.cpuparams.n_threads = 1
    params.cpuparams_batch.n_threads = 1
    params.endpoint_slots = True
    params.endpoint_metrics = True
    params.embedding = kind == "embeddings"
    if kind == "unmapped":  # else as llama.cpp has it, which is mapped
        params.load_mode = xllamacpp.llama_load_mode.LLAMA_LOAD_MODE_NONE
    server = xllamacpp.Server(params)
    print(f"listening on {server.listening_address}", flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    main(*sys.argv[1:])
