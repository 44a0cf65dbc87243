"""What the documentation tells people to type is typed, in a clone of its own, as it stands; `pages` says what is not.

The one thing that is replaced is the port 8080, in the way that the README names, since it may be taken here; commands
that ask a server take it from LLAMASWAP_URL.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import pytest

from tests.e2e.pages import PAGES, ROOT, Block, blocks, console, is_shown, name_of, of_language
from tests.e2e.ports import PortBlock
from tests.e2e.program import DEADLINE, HELLO, Program, demo, wait_until
from tests.e2e.talk import ask

INSTALLING = 900.0  # seconds for pip and venv, which take minutes of a busy machine
ENDLESS = "runs until Ctrl-C"
NETWORK = "needs the network"
NOT_RUN = ("takes minutes", "needs ")
NO_REGISTRY = re.compile(r"No matching distribution|Could not find a version|NewConnectionError|ConnectTimeout")
NEEDED = ("curl", "git", "openssl")
SHELLS = ("sh", "console")
PORTS = ("8080", "8081", "8443", "9000")  # that the pages use
SERVES = re.compile(
    r"(llamaswap\.py (?:-c|-config) \S+)(?! -listen)(?=$| )", re.MULTILINE
)  # where nothing else is said
STUBS = (  # that configurations on the pages name
    *("llama-server", "whisper-server", "docker", "vllm", "curl"),
    *("srun", "sbatch", "scancel", "ssh", "ray", "kubectl"),
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(any(shutil.which(name) is None for name in NEEDED), reason=f"one of {NEEDED} is missing"),
]


class Refused(Exception):
    """No registry of packages can be reached."""


class Clone:
    """A clone of the repository with a virtual environment, in which the commands of one page are typed in order."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "llamaswap"
        self._folder = folder
        self._here = folder
        self._ports = PortBlock()
        self.port = self._ports.first
        self._running: list[tuple[subprocess.Popen[bytes], Path]] = []
        self.refused: list[Block] = []  # for want of a registry

    def __enter__(self) -> Clone:
        return self

    def __exit__(self, *_: object) -> None:
        for process, _log in self._running:
            os.killpg(process.pid, signal.SIGTERM)
        for process, _log in self._running:
            process.wait(DEADLINE)
            wait_until(partial(is_over, process.pid), "all that it started ends")
        self._ports.close()

    # -- making it --

    def copy(self) -> None:
        """The working tree, over what is there: what has changed since the last commit is tested too."""
        left_out = shutil.ignore_patterns(
            ".git", ".venv", "dist", "build", "__pycache__", ".*_cache", ".hypothesis", "*.egg-info", "node_modules"
        )
        shutil.copytree(ROOT, self.root, ignore=left_out, dirs_exist_ok=True)
        with (self.root / "config.yaml").open("a") as config:  # other tests start models at the same time
            config.write(f"\nstartPort: {self.port + len(PORTS)}\n")
        self._here = self.root

    def make_environment(self, *flags: str) -> None:
        """A virtual environment that has PyYAML without a registry: it sees what runs this test."""
        environment = self.root / ".venv"
        subprocess.run((sys.executable, "-m", "venv", "--clear", *flags, environment), check=True, timeout=INSTALLING)
        [packages] = (environment / "lib").glob("python*/site-packages")
        (packages / "outer.pth").write_text(sysconfig.get_path("purelib") + "\n")

    # -- typing --

    def type(self, text: str, timeout: float = DEADLINE) -> str:
        """The output of the commands, which have to succeed. A `cd` lasts for those that follow."""
        checked = re.sub(r"(?<!\\)\n", "\n[ $? = 0 ] || exit 1\n", self._adapted(text).rstrip("\n") + "\n")
        argv = ("sh", "-c", f"{checked}pwd > '{self._folder}/here'")
        ended = subprocess.run(
            argv, cwd=self._here, env=self._environment(), capture_output=True, text=True, timeout=timeout, check=False
        )
        if NO_REGISTRY.search(ended.stderr):
            raise Refused(ended.stderr[-500:])
        assert ended.returncode == 0, f"{text}\n{ended.stdout}{ended.stderr}"
        self._here = Path((self._folder / "here").read_text().strip())
        return ended.stdout

    def start(self, text: str) -> None:
        """The command, beside the rest. Waits until it listens, or else has printed something."""
        log = self._folder / f"log{len(self._running)}"
        with log.open("wb") as output:
            process = subprocess.Popen(
                ("sh", "-c", self._adapted(text)), cwd=self._here, env=self._environment(), start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip
        self._running.append((process, log))
        wanted = b" listening on " if "llamaswap.py -c" in text else b""

        def has_begun() -> bool:
            said = log.read_bytes()
            return bool(said) and wanted in said

        wait_until(lambda: has_begun() or process.poll() is not None, f"{text} prints what it does")
        assert process.poll() is None, log.read_text()

    def serve_demo(self) -> None:
        self.start(".venv/bin/python llamaswap.py -c config.yaml\n")

    @property
    def log(self) -> str:
        return self._running[0][1].read_text()

    @property
    def is_serving(self) -> bool:
        return bool(self._running)

    def _adapted(self, text: str) -> str:
        """With the address of the clone, and with ports that are free here."""
        text = text.replace("git clone ADDRESS", f"git clone --quiet {ROOT}")
        text = at_8080(text)
        text = text.replace("-listen :", "-listen 127.0.0.1:")
        return re.sub(rf"\b({'|'.join(PORTS)})\b", lambda match: str(self.port + PORTS.index(match[1])), text)

    def _environment(self) -> dict[str, str]:
        """Nothing of ours but where programs lie, and what pip needs to reach its registry."""
        kept = {name: value for name, value in os.environ.items() if re.match(r"PIP_|SSL_|\w+_PROXY$|\w+_proxy$", name)}
        path = f"{self._folder / 'bin'}:{os.environ.get('PATH', os.defpath)}"
        kept["LLAMASWAP_URL"] = f"localhost:{self.port}"
        return {**kept, "PATH": path, "HOME": str(self._folder), "LANG": "C.UTF-8", "GIT_CONFIG_NOSYSTEM": "1",
                "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}  # fmt: skip


def at_8080(text: str) -> str:
    """With the address that is meant where none is given."""
    return SERVES.sub(r"\1 -listen :8080", text)


def is_over(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def stub(folder: Path, *names: str, text: str = "#!/bin/sh\n") -> None:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Clone]:
    # As the pages say, `llamaswap` stands for the way in which it is started.
    stub(tmp_path / "bin", "llamaswap", text='#!/bin/sh\nexec .venv/bin/python llamaswap.py "$@"\n')
    with Clone(tmp_path) as made:
        yield made


# -- what is typed --


def test_the_readme_from_top_to_bottom(clone: Clone) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("this is no clone")
    for block in blocks(ROOT / "README.md"):
        follow(clone, block)
        if block.text.startswith("git clone"):
            clone.copy()
    assert clone.is_serving
    tell_refused(clone)


@pytest.mark.parametrize("page", PAGES[1:], ids=lambda page: str(page.name))
def test_the_commands_of_a_page(clone: Clone, page: Path) -> None:
    found = [block for block in blocks(page) if block.language in SHELLS and is_run(block)]
    if not found:
        pytest.skip("nothing to type")
    clone.copy()
    clone.make_environment(*() if any(block.note == NETWORK for block in found) else ("--without-pip",))
    if not any(block.note == ENDLESS and "-listen :8080" in at_8080(block.text) for block in found):
        clone.serve_demo()
        clone.type("curl -s localhost:8080/upstream/small/health")
    for block in blocks(page):
        follow(clone, block)
    tell_refused(clone)


def tell_refused(clone: Clone) -> None:
    if clone.refused:
        pytest.skip(f"all but {', '.join(map(name_of, clone.refused))}: no registry of packages can be reached")


def is_run(block: Block) -> bool:
    return block.note == NETWORK or not block.note.startswith(NOT_RUN)


def follow(clone: Clone, block: Block) -> None:
    """Do what the block says, and compare what it shows."""
    if block.language == "yaml" and (file := saved_as(block)):
        (clone.root / file).write_text(block.text)
    elif block.note == "the log":
        await_log(clone, block.text.splitlines())
    elif block.language not in SHELLS or not is_run(block):
        return
    elif block.note == NETWORK:
        try:
            clone.type(block.text, INSTALLING)
        except Refused:
            clone.refused.append(block)
            clone.copy()
            clone.make_environment("--without-pip")
    elif block.note == ENDLESS:
        clone.start(block.text)
    elif block.language == "console":
        for command, output in console(block.text):
            found = clone.type(command)
            assert is_shown(output, found), f"{name_of(block)}: {command}\n{found}"
    else:
        clone.type(block.text)


def await_log(clone: Clone, lines: Sequence[str]) -> None:
    """Wait until the log of the page's server has these lines, in this order."""

    def has_all() -> bool:
        told = iter(clone.log.splitlines())
        return all(any(is_shown(line, found) for found in told) for line in lines)

    wait_until(has_all, f"the log has {lines}")


def saved_as(block: Block) -> str:
    """The name under which the text below the block says to keep it."""
    rest = block.page.read_text().splitlines()[block.line - 1 + block.text.count("\n") :]
    named = re.match(r"Write that to `(\S+)`", next(filter(None, rest[1:]), ""))
    return named[1] if named else ""


def test_every_note_is_known() -> None:
    for block in of_language(*SHELLS, "text", "yaml"):
        known = block.note in ("", ENDLESS, "the log") or block.note.startswith(NOT_RUN)
        assert known, name_of(block)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.name))
def test_no_command_stands_outside_a_fence_where_nothing_runs_it(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    text = text.replace("    .venv/bin/pip install -e '.[test]' && .venv/bin/python -m pytest -n auto", "")  # this run
    indented = re.findall(r"^    (?:curl|git|llamaswap|python|docker|\.venv/|\$ ).*$", text, re.MULTILINE)
    assert not indented


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.name))
def test_every_script_that_is_named_in_a_sentence_is_there(page: Path) -> None:
    text = page.read_text()
    scripts = re.findall(r"`(?:\S*python3?|sh) ([\w./]+\.py)\b[^`]*`", text)
    made = re.findall(r"--print > ([\w./]+\.py)", text)
    assert [name for name in scripts if not (ROOT / name).is_file() and name not in made] == []


# -- configurations and programs --


@pytest.mark.parametrize("block", of_language("yaml"), ids=name_of)
def test_every_configuration_on_a_page_is_checked(tmp_path: Path, block: Block) -> None:
    """`check` finds no error, and warns of nothing but missing files and GPUs. A part of one gets models beside it."""
    stub(tmp_path / "bin", *STUBS)
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "a.yaml").write_text(block.text)
    for python in (other for other in blocks(block.page) if other.language == "python"):
        if python.text.startswith("from __future__"):
            (tmp_path / "config" / "lru.py").write_text(python.text)
    if not re.search(r"^models:", block.text, re.MULTILINE):
        names = ("chat", "embeddings")
        (tmp_path / "config" / "b.yaml").write_text(
            json.dumps({"models": {name: {"cmd": "true ${PORT}"} for name in names}})
        )
    ended = subprocess.run(
        (sys.executable, str(ROOT / "llamaswap.py"), "check", "-json", "-config-dir", str(tmp_path / "config")),
        env={**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "LLAMASWAP_KEY": "x"},
        capture_output=True, text=True, timeout=DEADLINE, check=False,
    )  # fmt: skip
    report = json.loads(ended.stdout)
    assert report["errors"] == []
    missing = re.compile(
        "there is no file|^there is no such device here|^gpus (asks for|names) .*there (are 0|is no GPU)"
    )
    assert [told for told in report["warnings"] if not missing.search(told["message"])] == []


@pytest.mark.parametrize("block", of_language("json"), ids=name_of)
def test_every_json_on_a_page_is_json(block: Block) -> None:
    json.loads(block.text)


def test_the_programs_of_the_clients_page_get_answers(clone: Clone) -> None:
    clone.copy()
    clone.make_environment("--without-pip")
    clone.serve_demo()
    programs = [block.text for block in blocks(ROOT / "docs" / "clients.md") if block.language == "python"]
    assert len(programs) == 2
    for text in programs:
        adapted = text.replace("localhost:8080", f"127.0.0.1:{clone.port}")
        argv = (sys.executable, "-c", adapted)
        patience = 3 * DEADLINE  # an SDK takes seconds of CPU to import
        answer = subprocess.run(argv, capture_output=True, text=True, timeout=patience, check=True).stdout
        assert "Hello, this is small." in answer


# -- servers in front --


@pytest.fixture
def behind(clone: Clone) -> Clone:
    """One that serves, with the name that the pages use in its configuration."""
    clone.copy()
    clone.make_environment("--without-pip")
    with (clone.root / "config.yaml").open("a") as config:
        config.write("\nallowedHosts: [ai.example.org]\n")
    clone.serve_demo()
    return clone


def block_of(page: str, language: str) -> str:
    [block] = [block for block in blocks(ROOT / "docs" / page) if block.language == language]
    return block.text


def is_passed_on(port: int) -> bool:
    """Whether an operation, which is refused under unknown names, is done under that of the pages."""
    try:
        return ask(port, "POST", "/api/models/load/embed", b"", None, host="ai.example.org").status == 200
    except OSError:
        return False


@pytest.mark.skipif(shutil.which("nginx", path="/usr/sbin:/usr/bin") is None, reason="nginx is not installed")
def test_the_lines_for_nginx_pass_on_what_is_needed(behind: Clone, tmp_path: Path) -> None:
    port, lines = behind.port + 10, block_of("operations.md", "nginx").replace("8080", str(behind.port))
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {tmp_path}/pid; error_log {tmp_path}/error.log;\n"
        f"events {{}}\nhttp {{ access_log off; server {{ listen 127.0.0.1:{port};\n{lines}}} }}\n"
    )
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin")
    behind.start(f"echo started; exec {program} -p {tmp_path} -e {tmp_path}/error.log -c {tmp_path}/nginx.conf")
    wait_until(lambda: is_passed_on(port), "nginx passes it on")
    assert ask(port, "POST", "/api/models/unload/embed", b"", None, host="other.example").status == 403


@pytest.mark.skipif(shutil.which("caddy") is None, reason="Caddy is not installed")
def test_the_caddyfile_passes_on_what_is_needed(behind: Clone, tmp_path: Path) -> None:
    port, lines = behind.port + 10, block_of("operations.md", "caddyfile").replace("8080", str(behind.port))
    assert lines.startswith("ai.example.org {")
    plain = lines.replace("ai.example.org {", f"http://:{port} {{", 1)  # no certificate for that name is to be had here
    (tmp_path / "Caddyfile").write_text(f"{{\n    admin off\n}}\n{plain}")
    behind.start(f"exec caddy run --adapter caddyfile --config {tmp_path}/Caddyfile")
    wait_until(lambda: is_passed_on(port), "Caddy passes it on")
    assert ask(port, "POST", "/api/models/unload/embed", b"", None, host="other.example").status == 403


@pytest.mark.skipif(shutil.which("haproxy", path="/usr/sbin:/usr/bin") is None, reason="HAProxy is not installed")
def test_the_lines_for_haproxy_send_each_model_to_one_box_that_lives(tmp_path: Path) -> None:
    program = shutil.which("haproxy", path="/usr/sbin:/usr/bin")
    assert program is not None
    names = [f"m{number}" for number in range(8)]
    entry = {"models": {name: {"cmd": demo()} for name in names}, "groups": {"g": {"swap": False, "members": names}}}
    for box in ("box1", "box2"):
        (tmp_path / box).mkdir()
    with closing(PortBlock()) as ports, ExitStack() as stack:
        boxes = {box: stack.enter_context(Program(tmp_path / box, entry)) for box in ("box1", "box2")}
        text = block_of("clusters.md", "haproxy").replace("bind :8080", f"bind 127.0.0.1:{ports.first}")
        for box, serving in boxes.items():
            text = text.replace(f"{box}:8080", f"127.0.0.1:{serving.port}")
        (tmp_path / "haproxy.cfg").write_text(text)
        before = stack.enter_context(subprocess.Popen((program, "-f", str(tmp_path / "haproxy.cfg"), "-db")))
        stack.callback(before.terminate)

        def is_answered(model: str) -> bool:
            try:
                return ask_chat(ports.first, model) == 200
            except OSError:
                return False

        wait_until(lambda: is_answered("m0"), "HAProxy sends it on")
        for _ in range(2):
            assert all(is_answered(name) for name in names)
        homes = {name: [box for box, serving in boxes.items() if name in serving.states()] for name in names}
        assert all(len(found) == 1 for found in homes.values()), homes
        assert {box for found in homes.values() for box in found} == set(boxes)
        boxes["box1"].signal(signal.SIGKILL)
        assert boxes["box1"].wait() == -signal.SIGKILL
        assert all(is_answered(name) for name in names), "the next request finds the other box"
        assert set(boxes["box2"].states()) == set(names)


def ask_chat(port: int, model: str) -> int:
    body = json.dumps({"model": model, **HELLO}).encode()
    return ask(port, "POST", "/v1/chat/completions", body, None, content_type="application/json").status


def test_the_containerfile_names_what_is_there() -> None:
    text = (ROOT / "docs" / "Containerfile").read_text()
    for name in re.findall(r"/src/(\S+)", text):
        assert (ROOT / name).is_file()
    assert "nothing in this repository builds it" in text
