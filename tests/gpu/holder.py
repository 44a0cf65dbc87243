"""A server that takes memory of the first GPU that it sees, and answers every request: `python holder.py BYTES PORT`.

By the driver's own library, CUDA's or HIP's. It ends with 3 and a line on stderr where that cannot be done.
"""

from __future__ import annotations

import ctypes
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CUDA, HIP = "libcuda.so.1", "libamdhip64.so"


def take(size: int) -> str:
    """'' if it has the memory, else why not. It is given back when the process ends."""
    pointer = ctypes.c_void_p()
    try:
        cuda = ctypes.CDLL(CUDA)
    except OSError:
        try:
            code = ctypes.CDLL(HIP).hipMalloc(ctypes.byref(pointer), ctypes.c_size_t(size))
        except OSError:
            return f"neither {CUDA} nor {HIP} is here"
        return f"hipMalloc: error {code}" if code else ""
    device, context = ctypes.c_int(), ctypes.c_void_p()
    for name, arguments in (
        ("cuInit", (0,)),
        ("cuDeviceGet", (ctypes.byref(device), 0)),
        ("cuCtxCreate_v2", (ctypes.byref(context), 0, device)),
        ("cuMemAlloc_v2", (ctypes.byref(pointer), ctypes.c_size_t(size))),
    ):
        if code := getattr(cuda, name)(*arguments):
            return f"{name}: error {code}"
    return ""


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None: ...


def main(size: str, port: str) -> int:
    if problem := take(int(size)):
        sys.stderr.write(f"{problem}\n")
        return 3
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    ThreadingHTTPServer(("127.0.0.1", int(port)), Answer).serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
