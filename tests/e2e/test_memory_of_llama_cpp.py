"""Models that stay as long as they fit: a real llama.cpp behind the real program, in the memory of the machine."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import RunProgram
from tests.e2e.program import Program, models, wait_until

missing = [name for name in ("xllamacpp", "gguf", "numpy") if find_spec(name) is None]
pytestmark = pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}: pip install -e '.[llama]'")

MB = 1 << 20
NAMES = ("a", "b", "c")
SHORT = {"max_tokens": 2, "seed": 1, "ignore_eos": True}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three models of 130 MB."""
    from tests.e2e.tiny_gguf import Shape, write_model  # noqa: PLC0415 - gguf may be missing

    folder = tmp_path_factory.mktemp("models")
    for place, name in enumerate(NAMES):
        write_model(folder / f"{name}.gguf", Shape(place + 1, layers=8, width=512, heads=8, feed_forward=2048))
    return {name: folder / f"{name}.gguf" for name in NAMES}


@pytest.fixture
def large_file(tmp_path: Path) -> Iterator[Path]:
    """A model of 1.1 GB."""
    from tests.e2e.tiny_gguf import Shape, write_model  # noqa: PLC0415 - gguf may be missing

    path = tmp_path / "large.gguf"
    write_model(path, Shape(9, layers=4, width=2048, heads=16, feed_forward=8448))
    yield path
    path.unlink()  # pytest keeps the folder


Configure = Callable[..., dict[str, Any]]


@pytest.fixture
def configure(files: dict[str, Path], tmp_path: Path) -> Configure:
    """A configuration whose models may have so many bytes of the machine."""
    launcher = Path(__file__).with_name("llama_launcher.py")

    def make(capacity: int, **entries: Any) -> dict[str, Any]:
        commands = {
            name: {"cmd": shlex.join((sys.executable, str(launcher), str(file))) + " ${PORT}", "unloadTimeout": 3}
            for name, file in files.items()
        }
        memory = {"minResidency": 0, "devices": {"ram": {"capacity": f"{capacity // MB}MB", "reserve": 0}}}
        return {
            **models(**{**commands, **entries}),
            "store": {"path": str(tmp_path / "rows.db")},
            "shutdownTimeout": 5,
            "routing": {"router": {"use": "memory", "settings": {"memory": memory}}},
        }

    return make


def need(program: Program, model: str) -> dict[str, Any]:
    rows = program.get("/api/memory").json()["models"]
    found: dict[str, Any] = next(row["need"] for row in rows if row["model"] == model)
    return found


def is_measured(program: Program, model: str) -> bool:
    return bool(need(program, model)["source"] == "measured")


def load(program: Program, model: str) -> None:
    answer = program.chat(model, **SHORT)
    assert answer.status == 200, answer.body


def share_of(pid: int) -> int:
    """Its PSS in bytes."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))


def test_a_model_is_measured_when_it_is_ready_and_stays_known_over_a_restart(
    run_program: RunProgram, configure: Configure
) -> None:
    with run_program(configure(4096 * MB)) as program:
        assert need(program, "a") == {"source": "unknown", "devices": None}
        load(program, "a")
        wait_until(lambda: is_measured(program, "a"), "a figure for a")
        found, share = need(program, "a")["devices"]["ram"], share_of(program.running("a")["pid"])
        assert abs(found - share) < 0.05 * share
        assert program.running("a")["memory_need"] == need(program, "a")
        listed = program.get("/v1/models/a").json()["meta"]["llamaswap"]["memory"]
        assert listed == need(program, "a")
    with run_program(configure(4096 * MB)) as program:
        assert program.states() == {}
        assert need(program, "a")["devices"]["ram"] == pytest.approx(found, rel=0.05)
        assert need(program, "b")["source"] == "unknown"


def test_a_file_counts_whether_it_is_mapped_or_read(
    run_program: RunProgram, configure: Configure, files: dict[str, Path]
) -> None:
    launcher = Path(__file__).with_name("llama_launcher.py")
    kinds = {"mapped": "", "unmapped": "unmapped"}
    argv = (sys.executable, str(launcher), str(files["a"]))
    entries = {name: {"cmd": f"{shlex.join(argv)} ${{PORT}} {kind}"} for name, kind in kinds.items()}
    with run_program(configure(4096 * MB, **entries)) as program:
        needs = {}
        for name in kinds:
            load(program, name)
            wait_until(lambda name=name: is_measured(program, name), f"a figure for {name}")  # type: ignore[misc]
            needs[name], share = need(program, name)["devices"]["ram"], share_of(program.running(name)["pid"])
            assert abs(needs[name] - share) < 0.05 * share
            maps = Path(f"/proc/{program.running(name)['pid']}/maps").read_text()
            assert (str(files["a"]) in maps) == (name == "mapped")
        assert min(needs.values()) > files["a"].stat().st_size


@pytest.mark.slow
def test_a_model_of_more_than_a_gigabyte_is_measured_as_well_and_only_who_is_in_its_way_goes(
    run_program: RunProgram, configure: Configure, large_file: Path
) -> None:
    command = shlex.join((sys.executable, str(Path(__file__).with_name("llama_launcher.py")), str(large_file)))
    entries = {"mapped": {"cmd": f"{command} ${{PORT}}"}, "unmapped": {"cmd": f"{command} ${{PORT}} unmapped"}}
    with run_program(configure(8192 * MB, **entries)) as program:
        for name in (*entries, "a"):
            load(program, name)
            wait_until(lambda name=name: is_measured(program, name), f"a figure for {name}")  # type: ignore[misc]
            size, share = need(program, name)["devices"]["ram"], share_of(program.running(name)["pid"])
            assert abs(size - share) < 0.05 * share
        size = max(need(program, name)["devices"]["ram"] for name in entries)
        assert size > large_file.stat().st_size > 1024 * MB
    with run_program(configure(int(1.5 * size), **entries)) as program:
        for name in ("mapped", "a", "unmapped"):
            load(program, name)
        assert set(program.states()) == {"a", "unmapped"}


def learned(run_program: RunProgram, configure: Configure) -> int:
    """What each of the three needs, when all are known."""
    with run_program(configure(4096 * MB)) as program:
        for name in NAMES:
            load(program, name)
            wait_until(lambda name=name: is_measured(program, name), f"a figure for {name}")  # type: ignore[misc]
        return int(max(need(program, name)["devices"]["ram"] for name in NAMES))


def test_one_goes_exactly_when_the_next_one_would_not_fit(run_program: RunProgram, configure: Configure) -> None:
    size = learned(run_program, configure)
    with run_program(configure(int(3.4 * size))) as program:
        for name in NAMES:
            load(program, name)
        assert program.states() == dict.fromkeys(NAMES, "ready")
    with run_program(configure(int(2.7 * size))) as program:
        load(program, "a")
        load(program, "b")
        assert program.states() == {"a": "ready", "b": "ready"}
        row = next(row for row in program.get("/api/memory").json()["models"] if row["model"] == "c")
        assert len(row["load"]["evicts"]) == 1
        load(program, "c")
        assert set(program.states()) == {*NAMES} - {*row["load"]["evicts"]}


def test_what_can_never_fit_is_refused_and_nothing_goes_for_it(run_program: RunProgram, configure: Configure) -> None:
    with run_program(configure(1024 * MB, huge={"cmd": "never ${PORT}", "memory": "2GB"})) as program:
        load(program, "a")
        answer = program.chat("huge", **SHORT)
        assert answer.status == 507
        assert answer.json()["error"]["code"] == "insufficient_memory"
        assert program.states() == {"a": "ready"}


@pytest.mark.skipif(sys.platform != "linux", reason="a limit of address space, and /proc")
def test_one_that_runs_out_of_memory_gets_more_room_once_and_is_refused_in_its_own_words(
    run_program: RunProgram, configure: Configure, files: dict[str, Path]
) -> None:
    launcher = (sys.executable, str(Path(__file__).with_name("llama_launcher.py")), str(files["b"]))
    starved = {"cmd": f"{shlex.join(launcher)} ${{PORT}} starved", "memory": {"ram": "100MB"}}
    with run_program(configure(4096 * MB, b=starved), is_hurt=True) as program:
        load(program, "a")
        wait_until(lambda: is_measured(program, "a"), "a figure for a")  # else it would be alone
        answer = program.chat("b", **SHORT)
        assert answer.status == 507
        assert answer.headers["x-should-retry"] == "false"
        error = answer.json()["error"]
        assert error["code"] == "insufficient_memory"
        said = (
            "(attempted to allocate 16384.00 MB); it needs more than the 4.0 GB that were free on RAM (100 MB declared)"
        )
        assert f"insufficient memory {said}\n" in error["message"]
        program.await_starts("b", 2)
        program.await_log("a: stopping, to make room for b")
        load(program, "a")


def test_a_pinned_model_never_goes(run_program: RunProgram, configure: Configure) -> None:
    size = learned(run_program, configure)
    config = configure(int(2.7 * size))
    config["models"]["a"]["pinned"] = True
    with run_program(config) as program:
        for name in ("a", "b", "c", "b", "c"):
            load(program, name)
            assert "a" in program.states()


def test_another_file_is_another_model(
    run_program: RunProgram, configure: Configure, files: dict[str, Path], tmp_path: Path
) -> None:
    with run_program(configure(4096 * MB)) as program:
        load(program, "a")
        wait_until(lambda: is_measured(program, "a"), "a figure for a")
    kept = (tmp_path / "rows.db.needs.json").stat()
    assert kept.st_mode & 0o777 == 0o600
    files["a"].touch()
    with run_program(configure(4096 * MB)) as program:
        assert need(program, "a")["source"] == "unknown"


OPTIONS = {"a": "-c 2048", "b": "-c 8192 -np 2 -ctk q8_0 -ctv q8_0", "c": "-c 4096 --no-mmap"}


def test_an_estimate_is_above_what_is_measured_and_not_far(
    run_program: RunProgram, configure: Configure, files: dict[str, Path], tmp_path: Path
) -> None:
    from tests.e2e.llama_server import install  # noqa: PLC0415 - xllamacpp may be missing

    server = install(tmp_path)
    commands = {
        name: {"cmd": f"{server} -m {files[name]} {options} --port ${{PORT}}", "unloadTimeout": 3}
        for name, options in OPTIONS.items()
    }
    with run_program(configure(4096 * MB, **commands)) as program:
        wait_until(lambda: need(program, "a")["source"] == "estimated", "an estimate")
        estimates = {name: need(program, name) for name in OPTIONS}
        assert [one["source"] for one in estimates.values()] == ["estimated"] * 3
        for name, estimate in estimates.items():
            load(program, name)
            wait_until(lambda name=name: is_measured(program, name), f"a figure for {name}")  # type: ignore[misc]
            load(program, name)
            size, share = estimate["devices"]["ram"], share_of(program.running(name)["pid"])
            assert share < size < 1.5 * share, f"{name}: {size / MB:.0f} MB estimated, {share / MB:.0f} MB taken"
