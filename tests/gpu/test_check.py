"""The check that users run on their GPU, on a card that two libraries play: one the driver's meters, one CUDA."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hardware.nvml_library import compile_library, compile_source, environment, needs_compiler

pytestmark = [needs_compiler, pytest.mark.slow]

HERE = Path(__file__).parent
GIB = 1 << 30
DEADLINE = 300
CARD = f"""count 1
driver 580.95.05
0.uuid GPU-aaaa
0.name Card
0.memory {8 * GIB} {GIB // 2}
"""


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = compile_library(tmp_path_factory.mktemp("libraries"))
    compile_source(HERE / "fake_cuda.c", folder / "libcuda.so.1")
    return folder


class Machine:
    def __init__(self, libraries: Path, folder: Path, card: str, how: str = "") -> None:
        self.told = folder / "told"
        self.told.write_text(card)
        self._env = {**os.environ, **environment(libraries, self.told), "FAKE_CUDA": how, "TMPDIR": str(folder)}

    def check(self, *flags: str) -> tuple[int, str]:
        """Its exit code and what it says."""
        argv = (sys.executable, str(HERE / "check.py"), *flags)
        done = subprocess.run(argv, capture_output=True, text=True, check=False, env=self._env, timeout=DEADLINE)
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout + done.stderr


def test_a_card_whose_driver_is_right_passes(libraries: Path, tmp_path: Path) -> None:
    machine = Machine(libraries, tmp_path, CARD)
    code, said = machine.check()
    assert code == 0, said
    assert "GPU 0: Card, GPU-aaaa, 512 of 8192 MB in use" in said
    assert said.count("the need and the device's own change are close") == 3
    assert "for the last one goes, and no more: holds-" in said
    assert "\nall is as it should be\n" in said
    assert f"0.memory {8 * GIB} {GIB // 2}\n" in machine.told.read_text()  # all has been given back


def test_a_driver_that_does_not_tell_of_processes_is_measured_by_the_devices_own_change(
    libraries: Path, tmp_path: Path
) -> None:
    code, said = Machine(libraries, tmp_path, CARD, "hides").check()
    assert code == 0, said


def test_a_driver_that_tells_half_is_found_out(libraries: Path, tmp_path: Path) -> None:
    code, said = Machine(libraries, tmp_path, CARD, "lies").check()
    assert code == 1, said
    assert "WRONG  holds-" in said


@pytest.mark.skipif(Path("/sys/class/drm/card0").exists(), reason="there is a GPU here")
def test_without_a_gpu_it_says_so(libraries: Path, tmp_path: Path) -> None:
    code, said = Machine(libraries, tmp_path, "count 0\n").check()
    assert code == 2
    assert "no GPU" in said


def test_one_that_is_named_and_not_there_is_not_checked(libraries: Path, tmp_path: Path) -> None:
    code, said = Machine(libraries, tmp_path, CARD).check("--gpu", "GPU-bbbb")
    assert code == 2
    assert "no GPU GPU-bbbb that has memory of its own" in said


SERVER = f"""#!{sys.executable}
import sys
sys.path.insert(0, {str(HERE)!r})
import holder
said = dict(zip(sys.argv[1::2], sys.argv[2::2]))
assert said["-ngl"] == "99" and open(said["-m"])
sys.exit(holder.main(str(int(said["-c"]) * 131072), said["--port"]))
"""


def test_a_server_is_checked_with_several_contexts(libraries: Path, tmp_path: Path) -> None:
    file, server = tmp_path / "m.gguf", tmp_path / "llama-server"
    file.touch()
    server.write_text(SERVER)
    server.chmod(0o755)
    flags = ("--server", str(server), "--model", str(file), "--contexts", "4096", "8192")
    code, said = Machine(libraries, tmp_path, CARD).check(*flags)
    assert code == 0, said
    assert "context-4096                    612                612    0.0 %" in said
    assert "for the last one goes, and no more: context-4096" in said


def test_a_server_that_does_not_start_is_told_with_its_reason(libraries: Path, tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    file.touch()
    code, said = Machine(libraries, tmp_path, CARD).check("--server", "/nowhere/llama-server", "--model", str(file))
    assert code == 2
    assert "context-2048 cannot be loaded" in said
