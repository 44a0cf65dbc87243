"""The command line: whatever a user gets wrong is one clear line on stderr and exit code 1, never a traceback."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from llamaswap_lib import __version__
from llamaswap_lib.cli import main
from tests.e2e.conftest import RunProgram
from tests.e2e.program import COMMAND, DEADLINE, IS_CHECKOUT, ROOT, SCRIPT, demo, environment, wait_until
from tests.e2e.talk import ask

of_a_checkout = pytest.mark.skipif(not IS_CHECKOUT, reason="about the ways to start a checkout, none of another file")

GOOD = "models: {m: {cmd: 'sleep 1 --port ${PORT}'}}\n"


# Root without its capabilities: to read any file, and to have any port. CI runs as root.
DROPS = """
import ctypes, os, sys
for capability in range(64):
    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""
IS_ROOT = os.geteuid() == 0
WITHOUT_PRIVILEGES = (sys.executable, "-S", "-c", DROPS) if IS_ROOT else ()
without_privileges = pytest.mark.skipif(
    IS_ROOT and sys.platform != "linux", reason="root has privileges that only Linux takes away one by one"
)


def has_privileged_ports() -> bool:
    first = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
    return not first.exists() or int(first.read_text()) > 1


def run(
    *arguments: str, cwd: Path, interpreter: tuple[str, ...] = (), wrapper: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """The program, which is expected to end by itself; `wrapper` is a command that becomes it."""
    argv = (*wrapper, COMMAND[0], *interpreter, *COMMAND[1:], *arguments)
    return subprocess.run(
        argv, cwd=cwd, env=environment(), capture_output=True, text=True, timeout=DEADLINE, check=False
    )


def fails(*arguments: str, cwd: Path, interpreter: tuple[str, ...] = (), wrapper: tuple[str, ...] = ()) -> str:
    """What it says on stderr: one line."""
    ended = run(*arguments, cwd=cwd, interpreter=interpreter, wrapper=wrapper)
    assert (ended.returncode, ended.stdout) == (1, ""), ended
    assert ended.stderr.startswith("llamaswap: "), ended.stderr
    assert ended.stderr.endswith("\n")
    assert ended.stderr.count("\n") == 1, ended.stderr
    return ended.stderr


def fails_here(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The same in this process, which is faster; what it says on stderr."""
    try:
        code: object = main(arguments)
    except SystemExit as ended:
        code = ended.code
    told = capsys.readouterr()
    assert (code, told.out) == (1, "")
    assert told.err.startswith("llamaswap: "), told.err
    return told.err


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "good.yaml").write_text(GOOD)
    return tmp_path


def test_a_missing_configuration(folder: Path) -> None:
    assert "no.yaml" in fails("-c", "no.yaml", cwd=folder)
    assert "no-folder" in fails("-config-dir", "no-folder", cwd=folder)
    assert "no configuration: " in fails("-listen", ":0", cwd=folder)


def test_a_folder_where_a_file_belongs_and_a_file_where_a_folder_does(folder: Path) -> None:
    (folder / "folder").mkdir()
    assert "folder" in fails("-c", "folder", cwd=folder)
    assert "good.yaml" in fails("-config-dir", "good.yaml", cwd=folder)


def test_an_empty_folder_of_configurations(folder: Path) -> None:
    (folder / "folder").mkdir()
    assert "folder" in fails("-config-dir", "folder", cwd=folder)


@without_privileges
def test_an_unreadable_file(folder: Path) -> None:
    (folder / "good.yaml").chmod(0)
    assert "good.yaml: cannot read it: Permission denied" in fails(
        "-c", "good.yaml", cwd=folder, wrapper=WITHOUT_PRIVILEGES
    )


def test_a_file_that_cannot_be_read_to_its_end(folder: Path) -> None:
    assert "/proc/self/mem" in fails("-c", "/proc/self/mem", cwd=folder)


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (b"models: {a: {cmd: x\n", "bad.yaml:"),
        (b"models:\n\ta: 1\n", "bad.yaml:2"),
        (b"- a list\n", "bad.yaml:1"),
        (b"models: {a: {cmd: [1]}}\n", "models.a.cmd"),
        (b"models: {a: {cmd: x}}\nmodels: {}\n", "models"),
        (b"\xff\xfe\x00", "bad.yaml"),
        (b"startPort: zero\n", "startPort"),
        (b"healthCheckTimeout: -1x\n", "healthCheckTimeout"),
        (b"a: &a [*a]\n", "bad.yaml"),
        (b"[" * 100_000, "bad.yaml"),
        (b"\0", "bad.yaml"),
    ],
)
def test_a_bad_configuration_is_told_with_its_place(
    capsys: pytest.CaptureFixture[str], folder: Path, content: bytes, wanted: str
) -> None:
    (folder / "bad.yaml").write_bytes(content)
    assert wanted in fails_here(capsys, "-c", str(folder / "bad.yaml"))


def test_a_bad_configuration_leaves_no_traceback(folder: Path) -> None:
    (folder / "bad.yaml").write_bytes(b"startPort: zero\n")
    ended = run("-c", "bad.yaml", cwd=folder)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "bad.yaml:1" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_port_in_use(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        message = fails("-c", "good.yaml", "-listen", f"127.0.0.1:{port}", cwd=folder)
    start = f"llamaswap: cannot listen on 127.0.0.1:{port}: Address already in use by process {os.getpid()} ("
    assert message.startswith(start)
    assert re.search(r"\); stop it, or take another port: -listen 127\.0\.0\.1:\d+\n$", message)


@pytest.mark.parametrize("host", ["", "0.0.0.0", "[::]", "127.0.0.1"])
def test_a_port_that_another_llamaswap_has(folder: Path, run_program: RunProgram, host: str) -> None:
    with run_program({"models": {}}) as program:
        message = fails("-c", "good.yaml", "-listen", f"{host}:{program.port}", cwd=folder)
        who = f"Address already in use by another llamaswap, process {program.process.pid} ({shlex.join(COMMAND)} "
        assert who in message


@without_privileges
@pytest.mark.skipif(not has_privileged_ports(), reason="here every port is open to everybody")
def test_a_privileged_port(folder: Path) -> None:
    assert "cannot listen on 127.0.0.1:1: Permission denied" in fails(
        "-c", "good.yaml", "-listen", "127.0.0.1:1", cwd=folder, wrapper=WITHOUT_PRIVILEGES
    )


@pytest.mark.parametrize("address", ["host.invalid:8080", "203.0.113.7:8080", "[::ffff]:8080"])
def test_an_address_that_is_not_ours(folder: Path, address: str) -> None:
    assert f"cannot listen on {address}" in fails("-c", "good.yaml", "-listen", address, cwd=folder)


@pytest.mark.parametrize(
    "address",
    [
        "",
        ":",
        "x",
        "127.0.0.1",
        "127.0.0.1:",
        "1.2.3.4:99999",
        ":-1",
        ":80a",
        "::1:8080",
        "[::1]",
        ":٣",
        "[:80",
        "[]:80",
        ":" + "1" * 5000,
    ],
)
def test_a_listen_address_that_is_none(capsys: pytest.CaptureFixture[str], folder: Path, address: str) -> None:
    message = fails_here(capsys, "-c", str(folder / "good.yaml"), f"-listen={address}")
    assert "-listen: expected [host]:port" in message
    assert message.count("\n") == 1


def test_a_host_that_is_no_name_at_all(folder: Path) -> None:
    fails("-c", "good.yaml", "-listen", f"{'x' * 70}:0", cwd=folder)
    fails("-c", "good.yaml", "-listen", "a..b:0", cwd=folder)


@pytest.mark.parametrize(
    "arguments", [("-wrong",), ("--conf", "good.yaml"), ("-c",), ("-c", "good.yaml", "extra"), ("-listen",), ("surve",)]
)
def test_wrong_flags(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]) -> None:
    message = fails_here(capsys, *arguments)
    assert "llamaswap -h lists the flags" in message
    assert message.count("\n") == 1


@pytest.mark.parametrize("flag", ["-watch-config", "--watch-config", "-allow-config-edit"])
@pytest.mark.parametrize("value", ["", "on", "yes", "2", "true "])
def test_a_switch_is_true_or_false(capsys: pytest.CaptureFixture[str], flag: str, value: str) -> None:
    assert f"{flag}: expected true or false, got {value!r}" in fails_here(capsys, f"{flag}={value}")


@pytest.mark.parametrize("arguments", [("-version=1",), ("-version=true",), ("-watch-config=F", "--version=T")])
def test_a_switch_that_is_true_is_on(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert (ended.value.code, capsys.readouterr().out) == (0, f"llamaswap {__version__}\n")


def test_a_wrong_flag_leaves_no_traceback(folder: Path) -> None:
    assert "-wrong" in fails("-wrong", cwd=folder)


@pytest.mark.skipif(not IS_CHECKOUT, reason="another file has PyYAML inside")
def test_a_missing_pyyaml_is_told_with_how_to_install_it(folder: Path) -> None:
    message = fails("-c", "good.yaml", cwd=folder, interpreter=("-S",))
    interpreter = message.partition("install it with: ")[2].partition(" -m pip install pyyaml\n")[0]
    assert message == f"llamaswap: PyYAML is missing; install it with: {interpreter} -m pip install pyyaml\n"
    assert Path(shutil.which(interpreter) or "nowhere").parent == Path(sys.executable).parent


@of_a_checkout
@pytest.mark.parametrize(("path", "shown"), [("/nowhere", "venv/bin/python"), ("venv/bin", "python3")])
def test_what_to_type_next_names_the_python_that_was_typed(folder: Path, path: str, shown: str) -> None:
    (folder / "venv" / "bin").mkdir(parents=True)
    for name in ("python", "python3"):
        (folder / "venv" / "bin" / name).symlink_to(sys.executable)
    ended = subprocess.run(
        ("venv/bin/python", "-S", str(SCRIPT)), cwd=folder, env={"PATH": str(folder / path)}, capture_output=True,
        text=True, timeout=DEADLINE, check=False,
    )  # fmt: skip
    assert f"  {shown} {SCRIPT} init " in ended.stderr


@pytest.mark.parametrize("flag", ["-version", "--version"])
def test_the_version(folder: Path, flag: str) -> None:
    ended = run(flag, cwd=folder, interpreter=("-S",))
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"llamaswap {__version__}\n", "")


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_the_help(folder: Path, flag: str) -> None:
    ended = run(flag, cwd=folder)
    assert (ended.returncode, ended.stderr) == (0, "")
    for told in ("-c FILE", "-config-dir DIR", "-listen ADDRESS", "-version"):
        assert told in ended.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("-c", "good.yaml", "-listen", "127.0.0.1:0"),
        ("-c=good.yaml", "-listen=127.0.0.1:0"),
        ("-config", "good.yaml", "-listen", "localhost:0"),
        ("--config", "good.yaml", "--listen", "127.0.0.1:0"),
        ("--config=good.yaml", "--listen=127.0.0.1:0"),
        ("-listen", "[::1]:0", "-config=good.yaml"),
        ("-listen", "0", "-c", "good.yaml"),
        ("-listen", ":0", "-c", "good.yaml"),
        ("-config-dir", "parts", "-listen", ":0"),
        ("-watch-config=true", "-c", "good.yaml", "-listen", ":0"),
        ("--watch-config=0", "-allow-config-edit=f", "-c", "good.yaml", "-listen", ":0"),
        ("--config-dir=parts", "--config=good.yaml", "-listen", ":0"),
    ],
)
def test_every_spelling_starts_it_and_it_says_where_it_listens(folder: Path, arguments: tuple[str, ...]) -> None:
    (folder / "parts").mkdir()
    (folder / "parts" / "b.yaml").write_text(f"models: {{b: {{cmd: {demo()!r}}}}}\n")
    (folder / "parts" / "a.yml").write_text("logLevel: debug\n")
    out = folder / "stdout"
    with out.open("wb") as stdout:
        process = subprocess.Popen((*COMMAND, *arguments), cwd=folder, env=environment(), stdout=stdout)
        try:
            wait_until(lambda: b"listening on http://" in out.read_bytes(), "it listens")
            port = int(url_in(out.read_text()).rpartition(":")[2])
            if "[::1]:0" not in arguments:
                assert ask(port, "GET", "/health").text == "OK"
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(DEADLINE) == 0


def url_in(told: str) -> str:
    """Where it says that it listens: a word of its own."""
    return told.partition("listening on ")[2].split()[0]


def what_it_says_at_the_start(folder: Path, address: str, config: str, reached_at: Sequence[str] = ()) -> str:
    (folder / "config.yaml").write_text(config)
    out = folder / "stdout"
    with out.open("wb") as stdout:
        argv = (*COMMAND, "-c", "config.yaml", "-listen", address)
        process = subprocess.Popen(argv, cwd=folder, env=environment(), stdout=stdout)
        try:
            wait_until(lambda: b"listening on http://" in out.read_bytes(), "it listens")
            for host in reached_at:
                socket.create_connection((host, int(url_in(out.read_text()).rpartition(":")[2])), DEADLINE).close()
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(DEADLINE) == 0
    return out.read_text()


@pytest.mark.parametrize("address", [":0", "0.0.0.0:0", "[::]:0"])
def test_an_address_that_others_can_reach_is_told_with_a_way_out(folder: Path, address: str) -> None:
    told = what_it_says_at_the_start(folder, address, GOOD)
    port = url_in(told).rpartition(":")[2]
    assert "[WARN] other machines can reach it without a key" in told
    assert f"-listen 127.0.0.1:{port} keeps it to this machine" in told


def test_with_keys_it_is_told_and_no_warning(folder: Path) -> None:
    told = what_it_says_at_the_start(folder, ":0", f"apiKeys: [secret]\n{GOOD}")
    assert "[INFO] other machines can reach it with one of the apiKeys" in told
    assert "[WARN]" not in told


@pytest.mark.parametrize("address", [":0", "0.0.0.0:0", "[::]:0", "[0::0]:0", "[::ffff:0.0.0.0]:0"])
@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="IPv6 and IPv4 do not share a socket here")
def test_clients_of_both_families_reach_it_at_every_address(folder: Path, address: str) -> None:
    told = what_it_says_at_the_start(folder, address, GOOD, reached_at=("127.0.0.1", "::1", "localhost"))
    assert re.search(
        r" listening on http://localhost:\d+ \(every address of this machine\) with 1 model$", told, re.MULTILINE
    )


@pytest.mark.parametrize(
    ("config", "shown"),
    [
        ("models: {}\n", "0 models"),
        (GOOD.replace("}}", "}, b: {cmd: 'sleep 1 --port ${PORT}'}}"), "2 models"),
        (f"{GOOD}peers: {{p: {{proxy: 'http://127.0.0.1:3', models: [c, d, e]}}}}\n", "1 model and 3 of peers"),
    ],
)
def test_it_says_at_the_start_how_many_models_there_are(folder: Path, config: str, shown: str) -> None:
    told = what_it_says_at_the_start(folder, "127.0.0.1:0", config)
    line = next(line for line in told.splitlines() if "listening on" in line)
    assert line.endswith(f" listening on {url_in(told)} with {shown}")


@pytest.mark.parametrize("address", ["127.0.0.1:0", "localhost:0", "127.1.2.3:0", "[::1]:0", "[::ffff:127.0.0.1]:0"])
def test_an_address_of_this_machine_alone_is_not_worth_a_word(folder: Path, address: str) -> None:
    assert "other machines" not in what_it_says_at_the_start(folder, address, GOOD)


def test_without_arguments_it_says_in_five_lines_what_to_do_next(folder: Path) -> None:
    ended = run(cwd=folder)
    assert (ended.returncode, ended.stdout) == (1, "")
    lines = ended.stderr.splitlines()
    assert len(lines) == 5
    assert all(word in ended.stderr for word in (" init ", " check -c ", " -c config.yaml ", " -h "))


@of_a_checkout
@pytest.mark.parametrize("command", [("-m", "llamaswap_lib"), ("-m", "llamaswap"), (str(SCRIPT),)])
def test_the_next_steps_are_told_as_they_are_typed(command: tuple[str, ...]) -> None:
    ended = subprocess.run(
        (sys.executable, *command), cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    wanted = "llamaswap_lib" if "llamaswap_lib" in command else "llamaswap.py"
    assert f"{wanted} init " in ended.stderr


def test_a_first_configuration_is_written_once_and_is_right(folder: Path) -> None:
    env = environment({"HOME": str(folder), "XDG_CACHE_HOME": str(folder / "cache")})
    (folder / "it's a model.gguf").write_bytes(b"GGUF and more")
    for arguments, code in (
        (("init",), 0),
        (("check", "-c", "config.yaml"), 0),
        (("init",), 1),
        (("init", "b.yaml"), 0),
    ):
        ended = subprocess.run(
            (*COMMAND, *arguments), cwd=folder, env=env, capture_output=True, text=True, timeout=DEADLINE, check=False
        )
        assert ended.returncode == code, ended
    assert "it-s-a-model:" in (folder / "config.yaml").read_text()
    assert (folder / "config.yaml").read_text().count("cmd:") == 1
    assert "cannot write no/where.yaml" in fails("init", "no/where.yaml", cwd=folder)


def test_the_demo_is_a_command_of_its_own(folder: Path) -> None:
    ended = run("demo", "--exit-at-start", "3", cwd=folder)
    assert (ended.returncode, ended.stdout.splitlines()[-1]) == (3, "error: told to fail at the start")


@of_a_checkout
def test_it_starts_from_any_folder_and_by_its_own_name(folder: Path) -> None:
    for argv in ((str(SCRIPT),), ("-m", "llamaswap")):
        ended = subprocess.run(
            (sys.executable, *argv, "-version"), cwd=ROOT if argv[0] == "-m" else folder,
            capture_output=True, text=True, timeout=DEADLINE, check=True,
        )  # fmt: skip
        assert ended.stdout == f"llamaswap {__version__}\n"


def test_check_ends_quietly_when_its_reader_leaves(tmp_path: Path) -> None:
    entries = "".join(f"  m{number}: {{cmd: 'x ${{PORT}}'}}\n" for number in range(2000))
    (tmp_path / "c.yaml").write_text(f"models:\n{entries}")
    with subprocess.Popen(
        (*COMMAND, "check", "-show", "-c", "c.yaml"),
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as check:
        assert check.stdout is not None
        assert check.stderr is not None
        assert check.stdout.readline()
        check.stdout.close()
        assert check.stderr.read() == b""
        assert check.wait(DEADLINE) == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("words", [("check", "-show", "-c", "c.yaml"), ("systemd", "-c", "c.yaml"), ("version",)])
def test_a_command_says_when_its_result_cannot_be_written(tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "c.yaml").write_text(GOOD)
    with Path("/dev/full").open("wb") as full:
        argv = (*COMMAND, *words)
        ended = subprocess.run(
            argv, cwd=tmp_path, env=environment(), stdout=full, stderr=subprocess.PIPE, timeout=DEADLINE, check=False
        )
    assert (ended.returncode, ended.stderr) == (
        1,
        b"llamaswap: the result cannot be written: No space left on device\n",
    )


def test_a_command_does_its_work_without_anywhere_to_print() -> None:
    argv = ("sh", "-c", '"$@" >&- 2>&-', "sh", *COMMAND)
    for words, code in ((("version",), 0), (("ps", "--url", "127.0.0.1:1"), 3)):
        ended = subprocess.run((*argv, *words), env=environment(), timeout=DEADLINE, check=False)
        assert ended.returncode == code


@pytest.mark.skipif("-I" in COMMAND, reason="a Python that ignores its environment takes no encoding from there")
def test_check_escapes_what_the_terminal_cannot_show(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("models: {m\u00fc: {cmd: 'no-such-program ${PORT}'}}\n", encoding="utf-8")
    argv = (*COMMAND, "check", "-c", "c.yaml")
    env = environment({"PYTHONIOENCODING": "ascii"})
    ended = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, timeout=DEADLINE, check=False)
    assert ended.returncode == 0, ended
    assert rb"models.m\xfc.cmd" in ended.stdout


def test_check_says_what_can_never_fit_into_this_machine(tmp_path: Path) -> None:
    models = "a: {cmd: 'python3 ${PORT}', memory: {ram: 900TB}}, b: {cmd: 'python3 ${PORT}', memory: {ram: 1MB}}"
    (tmp_path / "c.yaml").write_text(f"models: {{{models}}}\nrouting: {{router: {{use: memory}}}}\n")
    argv = (*COMMAND, "check", "-json", "-c", "c.yaml")
    ended = subprocess.run(argv, cwd=tmp_path, capture_output=True, timeout=DEADLINE, check=False)
    assert ended.returncode == 0, ended
    said = [one["message"] for one in json.loads(ended.stdout)["warnings"] if "never be loaded" in one["message"]]
    assert [one.partition(" (declared)")[0] for one in said] == ["can never be loaded: it needs 921600.0 GB on RAM"]


@pytest.mark.parametrize("command", ["check", "systemd", "launchd"])
def test_the_file_may_stand_without_its_flag(folder: Path, command: str) -> None:
    with_flag, without = run(command, "-c", "good.yaml", cwd=folder), run(command, "good.yaml", cwd=folder)
    assert (without.returncode, without.stdout) == (with_flag.returncode, with_flag.stdout) != (1, "")
    before = run(command, "good.yaml", "-listen", ":1234", cwd=folder)
    assert before.stdout == run(command, "-listen", ":1234", "good.yaml", cwd=folder).stdout


@pytest.mark.parametrize("command", ["check", "systemd", "launchd"])
def test_a_file_too_many_is_told(capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert "give only one FILE; for several files that make one configuration use -config-dir DIR" in fails_here(
        capsys, command, "a.yaml", "b.yaml"
    )
    assert "FILE and -c FILE mean the same: give only one of b.yaml and a.yaml" in fails_here(
        capsys, command, "-c", "a.yaml", "b.yaml"
    )
    assert "no configuration: name a file" in fails_here(capsys, command)


def test_of_two_configurations_the_last_one_counts_and_that_is_said(folder: Path) -> None:
    of_one = run("check", "-c", "good.yaml", cwd=folder)
    both = run("check", "-config", "bad.yaml", "--config=good.yaml", cwd=folder)
    assert both.stdout == of_one.stdout
    assert both.stderr == (
        "llamaswap: --config bad.yaml does not count, since --config good.yaml follows; several files belong in a"
        " folder, for -config-dir\n"
    )
    assert run("check", "-c", "good.yaml", "-c", "good.yaml", cwd=folder).stderr == ""


@pytest.mark.parametrize(
    "command",
    [
        ["-config", ""],
        ["-config-dir="],
        ["check", "-c="],
        ["check", ""],
        ["systemd", "-config-dir", ""],
        ["-c", "a.yaml", "-tls-cert-file", "", "-tls-key-file", "b"],
        ["init", ""],
    ],
    ids=" ".join,
)
def test_an_empty_path_as_an_unset_variable_makes_it_is_refused(
    capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    """It would be the working folder, with all the configurations that lie there."""
    assert "expected a path, got an empty one" in fails_here(capsys, *command)


def test_a_first_word_that_is_no_command_is_told_with_what_is_meant(capsys: pytest.CaptureFixture[str]) -> None:
    assert "there is no command 'chek' (did you mean \"check\"?)" in fails_here(capsys, "chek", "-c", "x.yaml")
    told = fails_here(capsys, "config.yaml")
    assert "to serve config.yaml, type -c in front of it: " in told
    assert " -c config.yaml (" in told


def test_check_says_of_workers_what_the_start_says(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("models: {m: {cmd: 'true ${PORT}'}}")
    why = "-workers is for a configuration with peers only, and this one has models (m)"
    assert why in fails("-c", "c.yaml", "-workers", "2", cwd=tmp_path)
    checked = run("check", "-c", "c.yaml", "-workers", "2", cwd=tmp_path)
    assert (checked.returncode, f"error: c.yaml:1: models: {why}\n" in checked.stdout) == (1, True)
    for workers, models in (
        ("1", "models: {m: {cmd: 'true ${PORT}'}}"),
        ("2", "peers: {b: {proxy: 'http://[::1]:1', models: [m]}}"),
    ):
        (tmp_path / "c.yaml").write_text(models)
        assert run("check", "-c", "c.yaml", "-workers", workers, cwd=tmp_path).returncode == 0
