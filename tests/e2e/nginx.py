"""nginx in front of a program, as people run it: `SETUPS` has the ways, each at a port of its own.

plain has its defaults, where it asks in HTTP/1.0, and so does not know where pieces of a stream end: it collects them
unless the answer says not to. kept keeps connections and tells host and address, and has it all below /llm/ too;
unbuffered collects nothing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from types import TracebackType

from tests.e2e.ports import PortBlock
from tests.e2e.program import DEADLINE, wait_until
from tests.e2e.talk import Reply, Wire, ask

NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

SETUPS = ("plain", "kept", "unbuffered")

_CONFIG = """
daemon off;
master_process off;
pid {folder}/pid;
error_log {folder}/error.log warn;
events {{ worker_connections 200; }}
http {{
    access_log off;
    client_max_body_size 0;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    proxy_http_version 1.0;
    upstream llamaswap {{ server 127.0.0.1:{backend}; keepalive 4; }}
    server {{
        listen 127.0.0.1:{plain};
        location / {{ proxy_pass http://127.0.0.1:{backend}; }}
    }}
    server {{
        listen 127.0.0.1:{kept};
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Host $host;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        location / {{ proxy_pass http://llamaswap; }}
        location /llm/ {{ proxy_pass http://llamaswap/; }}
    }}
    server {{
        listen 127.0.0.1:{unbuffered};
        proxy_http_version 1.1;
        proxy_buffering off;
        proxy_request_buffering off;
        location / {{ proxy_pass http://llamaswap; }}
    }}
}}
"""


class Nginx:
    """Its process for a `with` block; `ports` has one for each of `SETUPS`."""

    def __init__(self, folder: Path, backend: int) -> None:
        assert NGINX is not None
        self._folder = folder
        self._ports = PortBlock()
        self.ports = {setup: self._ports.first + number for number, setup in enumerate(SETUPS)}
        config = folder / "nginx.conf"
        config.write_text(_CONFIG.format(folder=folder, backend=backend, **self.ports))
        command = (NGINX, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(config))
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL)

    def __enter__(self) -> Nginx:
        wait_until(self._is_listening, "nginx listens")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(DEADLINE)
        self._ports.close()
        if kind is None:
            assert not self.complaints(), self.complaints()

    def _is_listening(self) -> bool:
        assert self._process.poll() is None, self.complaints()
        try:
            return ask(self.ports["plain"], "GET", "/health").status == 200
        except ConnectionRefusedError:
            return False

    def complaints(self) -> list[str]:
        """What it logged that is more than a body it wrote to a file."""
        lines = (self._folder / "error.log").read_text().splitlines()
        return [line for line in lines if "is buffered to a temporary file" not in line]

    def ask(self, setup: str, method: str, path: str, body: bytes | None = None, **headers: str) -> Reply:
        return ask(self.ports[setup], method, path, body, None, **headers)

    def wire(self, setup: str) -> Wire:
        return Wire(self.ports[setup])
