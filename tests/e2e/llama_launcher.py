"""A real llama.cpp, from the wheel xllamacpp: `python llama_launcher.py MODEL.gguf PORT [embeddings|unmapped]`."""

from __future__ import annotations

import signal
import sys

import xllamacpp


def main(path: str, port: str, kind: str = "") -> None:
    params = xllamacpp.CommonParams()
    params.model.path = path
    params.hostnames = ["127.0.0.1"]
    params.port = int(port)
    params.n_ctx = 2048
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
