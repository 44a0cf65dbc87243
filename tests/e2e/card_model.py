"""A model that takes memory of a card that a test plays: `card_model.py SOCKET BYTES COMMAND...`.

It asks for its memory, and then becomes the command, which holds the connection and with it the memory until it ends.
If it gets none it says what llama.cpp says, and exits.
"""

from __future__ import annotations

import os
import socket
import sys


def main(path: str, size: str, *command: str) -> None:
    card = socket.socket(socket.AF_UNIX)
    card.connect(path)
    card.sendall(f"{os.getpid()} {size}\n".encode())
    if card.recv(1) != b"y":
        allocating = f"allocating {int(size) / 2**20:.2f} MiB on device 0"
        sys.exit(f"ggml_backend_cuda_buffer_type_alloc_buffer: {allocating}: cudaMalloc failed: out of memory\nexiting")
    os.set_inheritable(card.fileno(), True)
    os.execv(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
