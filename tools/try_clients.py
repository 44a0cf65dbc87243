"""Runs real clients against the real program, and prints the rows of the table in docs/clients.md.

    python tools/try_clients.py                  all of tools/clients
    python tools/try_clients.py openai aider     those whose file names begin so
    python tools/try_clients.py --folder /tmp/c  keeps what it installs there, and takes it from there the next time

Each client is a script in tools/clients. Comments at its top say what it is called and what it needs from the
registries of Python (`pip:`) and npm (`npm:`); both are installed into a folder of its own, nothing else is touched. A
script prints `ok WHAT` or `failed WHAT: WHY`. The program serves the demo models of config.yaml and a server that calls
tools; with the extra `llama`, a real llama.cpp too. A failure ends this with code 1.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
SCRIPTS = ROOT / "tools" / "clients"
HEADER = re.compile(r"^(?:#|//) (client|pip|npm|version|extra): (.+)$", re.MULTILINE)
ASKED = re.compile(r'^\[INFO\] Request \S+ "[A-Z]+ (/\S*) HTTP/1\.\d" (\d+) \d+ "(?!try_clients)', re.MULTILINE)
COMMAND = shlex.join((sys.executable, str(ROOT / "llamaswap.py")))  # with its own Python, whatever PATH says
INSTALLING, RUNNING = 900, 900  # seconds
SETTINGS = re.compile("OPENAI|ANTHROPIC|CLAUDE|CODEX|LITELLM")  # variables that would lead clients elsewhere


class Client(NamedTuple):
    """A script, and what its comments say."""

    script: Path
    title: str
    pip: list[str]
    npm: list[str]
    version: str  # a command that prints it; '' is that of the first package
    extra: str  # of this project, without which it is passed over


def clients(names: Sequence[str]) -> list[Client]:
    """Those whose file names begin with one of the names, or all."""
    found = []
    for script in sorted(SCRIPTS.iterdir()):
        said = dict(HEADER.findall(script.read_text())) if script.suffix in (".py", ".mjs") else {}
        if "client" in said and script.name.startswith(tuple(names) or ""):
            pip, npm = (said.get(kind, "").split() for kind in ("pip", "npm"))
            found.append(Client(script, said["client"], pip, npm, said.get("version", ""), said.get("extra", "")))
    return found


# -- a client --


class Place:
    """The folder of one client: its packages, its script, and a home of its own."""

    def __init__(self, folder: Path, client: Client) -> None:
        self.folder = folder / client.script.stem
        self.client = client
        self.python = self.folder / "venv" / "bin" / "python"

    def install(self) -> None:
        """What is there already is left as it is."""
        (self.folder / "home").mkdir(parents=True, exist_ok=True)
        for path in SCRIPTS.iterdir():
            if path.is_file():
                shutil.copy(path, self.folder)
        if not self.python.exists():
            self._run(sys.executable, "-m", "venv", "venv")
            if self.client.pip:
                self._run(str(self.python), "-m", "pip", "install", "-q", *self.client.pip)
        if self.client.npm and not (self.folder / "node_modules").exists():
            (self.folder / "package.json").write_text("{}")
            self._run("npm", "install", "--no-audit", "--no-fund", "--loglevel=error", *self.client.npm)

    def environment(self) -> dict[str, str]:
        """That of this program, with the client's commands first, and without the settings of who runs it."""
        own = {name: value for name, value in os.environ.items() if not SETTINGS.search(name)}
        path = f"{self.python.parent}:{self.folder / 'node_modules' / '.bin'}:{own['PATH']}"
        return {**own, "PATH": path, "HOME": str(self.folder / "home")}

    def version(self) -> str:
        if self.client.version:
            argv = shlex.split(self.client.version)
        elif self.client.pip:
            source = "import sys; from importlib.metadata import version; print(version(sys.argv[1]))"
            argv = [str(self.python), "-c", source, re.split(r"[\[=<>]", self.client.pip[0])[0]]
        else:
            argv = ["node", "-p", f"require('./node_modules/{self.client.npm[0]}/package.json').version"]
        text = self._run(*argv)
        return str(re.findall(r"\d+(?:\.\d+)+", text)[0])

    def try_it(self, url: str) -> list[str]:
        """What the script said of each thing it tried."""
        program = str(self.python) if self.client.script.suffix == ".py" else "node"
        env = {**self.environment(), "LLAMASWAP_URL": url, "LLAMASWAP_COMMAND": COMMAND}
        ended = subprocess.run(
            (program, self.client.script.name), cwd=self.folder, timeout=RUNNING, check=False,
            env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        told = [line for line in ended.stdout.splitlines() if line.startswith(("ok ", "failed "))]
        if ended.returncode or any(line.startswith("failed ") for line in told):
            sys.stderr.write(ended.stderr[-4000:])
        return told if ended.returncode == 0 else [*told, f"failed to end: exit code {ended.returncode}"]

    def _run(self, *argv: str) -> str:
        ended = subprocess.run(
            argv, cwd=self.folder, env=self.environment(), timeout=INSTALLING, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        if ended.returncode:
            raise OSError(f"{shlex.join(argv)}: {ended.stderr[-1500:]}")
        return ended.stdout


def row(client: Client, version: str, told: Sequence[str], routes: Sequence[str]) -> str:
    """Its row of the table."""
    worked = [line.partition(" ")[2] for line in told if line.startswith("ok ")]
    failed = [line.partition(" ")[2] for line in told if not line.startswith("ok ")]
    outcome = ", ".join(worked) or "nothing"
    if failed:
        outcome += f". **Failed**: {'; '.join(failed)}"
    shown = " ".join(f"`{route}`" for route in routes)
    return f"| {client.title} | {version} | {outcome.replace('|', chr(92) + '|')} | {shown} |"


def asked(log: str) -> list[str]:
    """The routes of an access log, and the status of those that nothing else but errors came from."""
    statuses: dict[str, set[int]] = {}
    for path, status in ASKED.findall(log):
        statuses.setdefault(path, set()).add(int(status))
    return [path if min(codes) < 400 else f"{path} {min(codes)}" for path, codes in sorted(statuses.items())]


# -- the program --


def configuration(folder: Path, port: int) -> str:
    """The demo models of config.yaml; one that calls tools; and where it is installed, llama.cpp."""
    server = shlex.join((sys.executable, str(SCRIPTS / "tool_server.py")))
    entries = {"tools": f"{server} ${{PORT}}"}
    if has_llama_cpp():
        from tests.e2e.tiny_gguf import Shape, write_model  # noqa: PLC0415 - needs gguf

        write_model(folder / "llama.gguf", Shape(1))
        launcher = ROOT / "tests" / "e2e" / "llama_launcher.py"
        entries["llama"] = shlex.join((sys.executable, str(launcher), str(folder / "llama.gguf"))) + " ${PORT}"
    models = "".join(f"  {name}:\n    cmd: {command}\n" for name, command in entries.items())
    groups = f"  beside:\n    swap: false\n    exclusive: false\n    members: [{', '.join(entries)}]\n"
    shipped = (ROOT / "config.yaml").read_text().partition("\n# --- real servers")[0]
    shipped = shipped.replace("aliases: [gpt-4o-mini]", "aliases: [gpt-4o-mini, claude-haiku-4-5]")
    text = shipped.replace("models:\n", f"models:\n{models}", 1).replace("\ngroups:\n", f"\ngroups:\n{groups}", 1)
    return f"startPort: {port + 1}\n{text}"


def has_llama_cpp() -> bool:
    """Whether the extra `llama` is installed."""
    return all(find_spec(name) for name in ("xllamacpp", "gguf", "numpy"))


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The URL of the program; its log is in the folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    path = folder / "config.yaml"
    path.write_text(configuration(folder, port))
    argv = (sys.executable, str(ROOT / "llamaswap.py"), "-c", str(path), "-listen", f"127.0.0.1:{port}")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(100):
            if process.poll() is not None:
                raise OSError((folder / "log").read_text())
            with suppress(OSError), urllib.request.urlopen(f"{url}/wol-health", timeout=5):  # noqa: S310 - http
                break
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(60)


def main(arguments: Sequence[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args(arguments)
    is_failed = False
    with tempfile.TemporaryDirectory() as scratch:
        folder = (given.folder or Path(scratch)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        with serving(folder) as url:
            log = folder / "log"
            print("| client | version | what worked | what it asked for |\n|---|---|---|---|")
            for client in clients(given.names):
                if client.extra and not has_llama_cpp():
                    sys.stderr.write(f"passed over, for want of the extra {client.extra}: {client.title}\n")
                    continue
                place, version, known = Place(folder, client), "?", log.stat().st_size
                try:
                    place.install()
                    version = place.version()
                    told = place.try_it(url)
                except (OSError, subprocess.SubprocessError, IndexError) as error:
                    told = [f"failed to run: {error}"]
                is_failed |= any(line.startswith("failed") for line in told) or not told
                print(
                    row(client, version, told, asked(log.read_bytes()[known:].decode("utf-8", "replace"))), flush=True
                )
    return int(is_failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
