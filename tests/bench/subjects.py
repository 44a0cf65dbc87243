"""What is measured side by side: the upstream itself, the proxies that are installed, and checkouts of llamaswap.

Each is started anew for every measurement, in front of one upstream, and asked over HTTP alone.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench.rig import Usage, free_port, is_ok, load_tool, running, wait_until

PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
KEY = "a-key-of-the-benchmark"


@dataclass(frozen=True)
class Setup:
    """What a row wants: HTTPS towards clients, HTTPS towards the model, and which of `CONFIGS` llamaswap is given."""

    is_client_tls: bool = False
    is_model_tls: bool = False
    config: str = "plain"


@dataclass(frozen=True)
class Place:
    """A folder with certificate.pem, key.pem and both.pem, and the upstream's URLs without and with TLS."""

    folder: Path
    plain: str
    tls: str

    def model(self, setup: Setup) -> str:
        return self.tls if setup.is_model_tls else self.plain


@dataclass(frozen=True)
class Target:
    """What listens: its URL, the one of its WebSocket echo, its process, and the seconds that its start took."""

    url: str
    echo: str
    pid: int = 0
    start_seconds: float = 0.0
    has_workers: bool = False

    def usage(self) -> Usage:
        """Of the program, without the models that it has started."""
        return Usage.of(self.pid, has_workers=self.has_workers)


@dataclass(frozen=True)
class Subject:
    """`kind` is `direct`, `proxy`, `swapper` (a proxy that starts models) or `ours`. `start` lasts for its block."""

    name: str
    kind: str
    version: str
    start: Callable[[Place, Setup], AbstractContextManager[Target]]


@contextmanager
def direct(place: Place, setup: Setup) -> Iterator[Target]:
    """The upstream; with TLS if it is on either side, so that TLS is not what the ratio shows."""
    url = place.tls if setup.is_client_tls or setup.is_model_tls else place.plain
    yield Target(url, f"{url}/echo")


@contextmanager
def listening(
    command: Sequence[str],
    port: int,
    setup: Setup,
    echo: str = "/echo",
    env: Mapping[str, str] | None = None,
    *,
    has_workers: bool = False,
) -> Iterator[Target]:
    """The command runs and serves at the port. AssertionError, with what it said, if it does not."""
    begun = time.monotonic()
    with TemporaryDirectory() as folder, running(command, env, errors := Path(folder) / "errors") as process:
        # A self-signed certificate is not worth a look here: it is enough that somebody listens.
        is_up = (lambda: accepts(port)) if setup.is_client_tls else (lambda: is_ok(f"http://127.0.0.1:{port}/health"))
        try:
            wait_until(is_up, f"{Path(command[0]).name} serves", process)
        except AssertionError as error:
            raise AssertionError(f"{error}: {errors.read_text().strip()}") from None
        seconds = time.monotonic() - begun
        url = f"{'https' if setup.is_client_tls else 'http'}://127.0.0.1:{port}"
        yield Target(url, url + echo, process.pid, seconds, has_workers)


def accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def subjects(trees: Sequence[Path]) -> tuple[list[Subject], list[str]]:
    """(those that can be measured, the names of rivals that are missing). The checkouts come last, in their order."""
    found, missing = [Subject("direct", "direct", "", direct)], []
    for name, look in (("nginx", nginx), ("HAProxy", haproxy), ("llama-swap", go_program)):
        subject = look(name)
        found += [subject] if subject else []
        missing += [] if subject else [name]
    names = [tree.name for tree in trees]
    for tree in trees:
        name = "llamaswap" if len(trees) == 1 else tree.name if names.count(tree.name) == 1 else str(tree)
        found.append(swapper(name, "ours", version_of(tree), (sys.executable, str(tree / "llamaswap.py"))))
    return found, missing


def version_of(tree: Path) -> str:
    """The version, and the commit where there is git, with a + if files were changed since."""
    found = re.search(r'__version__ = "(.*)"', (tree / "llamaswap_lib" / "__init__.py").read_text())
    assert found is not None, f"{tree} has no version"
    git = ("git", "-C", str(tree))
    try:
        named = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
        changed = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return found[1]
    return f"{found[1]} at {named.stdout.strip()}{'+' if changed.stdout.strip() else ''}"


def version(*command: str) -> str:
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"\d+(\.\d+)*", said.stdout + said.stderr)
    return found[0] if found else ""


# -- nginx and HAProxy, set up to collect nothing and to keep their connections to the upstream --

NGINX = """
daemon off;
pid <folder>/nginx.pid;
worker_processes auto;
events { worker_connections 9000; }
http {
    access_log off;
    keepalive_requests 1000000;
    client_max_body_size 0;
    client_body_temp_path <folder>/body;
    proxy_temp_path <folder>/proxy;
    fastcgi_temp_path <folder>/fastcgi;
    uwsgi_temp_path <folder>/uwsgi;
    scgi_temp_path <folder>/scgi;
    map $http_upgrade $connection_of_upgrade { default upgrade; '' ''; }
    upstream model { server <model>; keepalive 256; keepalive_requests 1000000; }
    server {
        listen 127.0.0.1:<port> <ssl> backlog=4096;
        ssl_certificate <folder>/certificate.pem;
        ssl_certificate_key <folder>/key.pem;
        location / {
            proxy_pass <scheme>://model;
            proxy_http_version 1.1;
            proxy_set_header Host $host;
            proxy_set_header Connection $connection_of_upgrade;
            proxy_set_header Upgrade $http_upgrade;
            proxy_buffering off;
            proxy_request_buffering off;
        }
    }
}
"""
HAPROXY = """
global
    maxconn 9000
defaults
    mode http
    timeout connect 5s
    timeout client 600s
    timeout server 600s
    timeout tunnel 600s
    option http-no-delay
frontend clients
    bind 127.0.0.1:<port> <ssl> backlog 4096
    default_backend model
backend model
    http-reuse always
    server model <model> <ssl-of-model>
"""


def nginx(name: str) -> Subject | None:
    program = shutil.which("nginx", path=PATH)
    if program is None:
        return None

    def start(place: Place, setup: Setup) -> AbstractContextManager[Target]:
        port, folder = free_port(), place.folder
        scheme, _, model = place.model(setup).partition("://")
        path = filled(
            folder / "nginx.conf",
            NGINX,
            port=port,
            model=model,
            scheme=scheme,
            ssl="ssl" if setup.is_client_tls else "",
        )
        command = (program, "-p", f"{folder}", "-e", f"{folder}/nginx.log", "-c", f"{path}")
        return listening(command, port, setup, has_workers=True)

    return Subject(name, "proxy", version(program, "-v"), start)


def haproxy(name: str) -> Subject | None:
    program = shutil.which("haproxy", path=PATH)
    if program is None:
        return None

    def start(place: Place, setup: Setup) -> AbstractContextManager[Target]:
        port, folder = free_port(), place.folder
        values = {
            "model": place.model(setup).partition("://")[2],
            "ssl-of-model": "ssl verify none" if setup.is_model_tls else "",
            "ssl": f"ssl crt {folder}/both.pem" if setup.is_client_tls else "",
        }
        path = filled(folder / "haproxy.cfg", HAPROXY, port=port, **values)
        return listening((program, "-db", "-q", "-f", f"{path}"), port, setup)

    return Subject(name, "proxy", version(program, "-v"), start)


def filled(path: Path, text: str, **values: object) -> Path:
    """The file has the text, with the values in place of `<folder>`, which is the file's, and of `<name>`."""
    for name, value in {"folder": path.parent, **values}.items():
        text = text.replace(f"<{name}>", str(value))
    path.write_text(text)
    return path


# -- what starts models: llamaswap, and llama-swap in Go, which reads the same configuration --

CONFIGS = {
    "plain": """
models:
  model1: {cmd: sleep 1000000, checkEndpoint: none, proxy: '<model>', concurrencyLimit: 100000}
""",
    # As many connections as a row has, where the default is lower.
    "wide": """
limits: {connections: 6000}
models:
  model1: {cmd: sleep 1000000, checkEndpoint: none, proxy: '<model>', concurrencyLimit: 100000}
""",
    # All that is kept of requests.
    "full": """
store: {path: '<folder>/activity-<port>.db'}
captureBuffer: 5
models:
  model1: {cmd: sleep 1000000, checkEndpoint: none, proxy: '<model>', concurrencyLimit: 100000}
""",
    # Each request is renamed twice, by the active profile and by the selector, and filtered.
    "configured": """
apiKeys: [another-key, <key>]
models:
  m:
    cmd: sleep 1000000
    checkEndpoint: none
    proxy: '<model>'
    filters: {stripParams: 'top_k, seed', setParams: {temperature: 0.5, min_p: 0.1}}
selectors:
  any: {strategy: warm, targets: [m]}
profiles:
  work: {pins: {model1: any}}
""",
    # Its model takes three seconds to load.
    "loading": """
models:
  model1:
    cmd: '<tool> upstream -addr 127.0.0.1:${PORT} -loading 3s'
    proxy: 'http://127.0.0.1:${PORT}'
    concurrencyLimit: 100000
""",
}


def go_program(name: str) -> Subject | None:
    """The Go program, not ours under the same name, which is a script."""
    for folder in PATH.split(os.pathsep):
        program = Path(folder) / "llama-swap"
        if os.access(program, os.X_OK) and program.read_bytes()[:2] != b"#!":
            return swapper(name, "swapper", version(str(program), "-version"), (str(program),))
    return None


def swapper(name: str, kind: str, its_version: str, command: Sequence[str]) -> Subject:
    """A program that reads llama-swap's configuration. Its model is ready, or not started yet where it takes time."""

    @contextmanager
    def start(place: Place, setup: Setup) -> Iterator[Target]:
        port, folder = free_port(), place.folder
        path = filled(
            folder / "config.yaml",
            CONFIGS[setup.config],
            model=place.model(setup),
            tool=load_tool(),
            key=KEY,
            port=port,
        )
        tls = ("-tls-cert-file", f"{folder}/certificate.pem", "-tls-key-file", f"{folder}/key.pem")
        argv = (*command, "-config", f"{path}", "-listen", f"127.0.0.1:{port}", *(tls if setup.is_client_tls else ()))
        # What Python compiles goes into our folder, not into a checkout that may be somebody else's.
        env = {
            "SSL_CERT_FILE": f"{folder}/certificate.pem",
            "PYTHONPYCACHEPREFIX": f"{folder}/compiled",
            "PYTHONDONTWRITEBYTECODE": "",
        }
        with listening(argv, port, setup, "/upstream/model1/echo", env) as target:
            if setup.config == "configured":
                activate(target.url, "work")
            yield target

    return Subject(name, kind, its_version, start)


def activate(url: str, profile: str) -> None:
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    body = json.dumps({"name": profile}).encode()
    request = urllib.request.Request(f"{url}/api/profiles/active", body, headers, method="PUT")
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200, answer.status
