"""What was never measured is estimated where models go by memory, says so, and gives way to the first measurement."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from llamaswap_lib.config.load import load_text
from llamaswap_lib.core.eviction.devices import NeedSource
from llamaswap_lib.estimates.estimator import Estimator
from llamaswap_lib.hardware.readings import Gpu
from llamaswap_lib.memory.estimated import estimated, estimated_where_it_runs
from llamaswap_lib.memory.picture import MemoryPicture, Surroundings
from tests.estimates.test_estimator import model, weights
from tests.hardware.machines import GIB, MIB, gpu
from tests.memory.test_devices import devices
from tests.memory.test_picture import CARD, RAM, World

CONFIG = """
models:
  a: {{cmd: "llama-server --port ${{PORT}} -m {folder}/a.gguf -c 4096 -ngl 99"}}
  b: {{cmd: "llama-server --port ${{PORT}} -m {folder}/b.gguf -c 4096 -ngl 99"}}
store: {{path: {folder}/rows.db}}
routing: {{router: {{use: {use}}}}}
"""


class EstimatedWorld(World):
    """The same, with models whose files are there."""

    def __init__(self, folder: Path, config: str, estimator: Estimator | None = None) -> None:
        self.estimator = estimator or Estimator({}, folder)
        super().__init__(folder, config)

    def start(self) -> MemoryPicture:
        warn = self.log.warnings.append
        picture = MemoryPicture(self.config, warn, lambda: self.now, lambda: self.now, self.estimator, self.files)
        launched = {run: self.config.models["ab"[run - 1]] for run in (1, 2)}
        around = Surroundings(
            self.hardware, lambda: list(self.details.values()), launched, lambda: self.is_awaited, self.wake
        )
        picture.connect(around)
        return picture


def world_of(folder: Path, use: str = "memory") -> EstimatedWorld:
    return EstimatedWorld(folder, CONFIG.format(folder=folder, use=use))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[EstimatedWorld]:
    weights(tmp_path / "a.gguf")
    world = world_of(tmp_path)
    yield world
    world.files.close()


def test_an_estimate_is_marked_and_replaced_by_the_first_measurement(world: EstimatedWorld) -> None:
    world.turn()
    need = world.picture.now.need("a")
    assert need.source is NeedSource.ESTIMATED
    assert need.devices.keys() == {RAM, CARD}
    assert GIB < need.devices[CARD] < 3 * GIB
    assert world.source("b") is NeedSource.UNKNOWN  # there is no such file
    world.run(1, ready=True)
    world.take(1, GIB, GIB)
    world.turn()
    need = world.picture.now.need("a")
    assert (need.source, need.devices) == (NeedSource.MEASURED, {RAM: GIB, CARD: GIB})


def test_a_file_that_comes_later_is_found(world: EstimatedWorld, tmp_path: Path) -> None:
    world.turn()
    weights(tmp_path / "b.gguf")
    world.turn(61.0)
    assert world.source("b") is NeedSource.ESTIMATED


def test_where_models_do_not_go_by_memory_no_file_is_read(tmp_path: Path) -> None:
    weights(tmp_path / "a.gguf")
    world = world_of(tmp_path, "group")
    world.turn()
    assert world.source("a") is NeedSource.UNKNOWN


def test_what_is_declared_counts(tmp_path: Path) -> None:
    weights(tmp_path / "a.gguf")
    text = CONFIG.format(folder=tmp_path, use="memory").replace('-ngl 99"}', '-ngl 99", memory: 5GB}')
    world = EstimatedWorld(tmp_path, text)
    world.turn()
    assert world.picture.now.need("a").devices == {CARD: 5 * GIB}
    assert world.source("a") is NeedSource.DECLARED


def test_with_many_files_some_are_read_at_the_next_reading(tmp_path: Path) -> None:
    for name in "ab":
        weights(tmp_path / f"{name}.gguf")
    looks = itertools.count()
    world = EstimatedWorld(
        tmp_path,
        CONFIG.format(folder=tmp_path, use="memory"),
        Estimator({}, tmp_path, lambda: float(next(looks)), patience=1.5),  # each look at the clock takes a second
    )
    world.turn()
    assert [world.source(name) for name in "ab"] == [NeedSource.ESTIMATED, NeedSource.UNKNOWN]
    world.turn(1.0)
    assert [world.source(name) for name in "ab"] == [NeedSource.ESTIMATED] * 2


def test_another_capacity_is_another_estimate(tmp_path: Path) -> None:
    file = weights(tmp_path / "m.gguf")
    command = model(f"llama-server -m {file} -ngl 99")  # so it takes as much context as fits
    estimator = Estimator({}, tmp_path)
    found = []
    for size in (6, 12):
        there = devices(gpu("GPU-1", total=size * GIB))
        sizes, _ = estimated(estimator, command, ["GPU-1"], there)
        assert sizes is not None
        found.append(sizes["GPU-1"] / there["GPU-1"].device.usable)
    assert found == [pytest.approx(1, abs=0.02)] * 2


def test_what_a_gpu_takes_of_the_machine_counts_there_too(tmp_path: Path) -> None:
    file = weights(tmp_path / "m.gguf")
    command = model(f"llama-server -m {file} -c 4096 -ngl 99")
    estimator = Estimator({}, tmp_path)
    own, _ = estimated(estimator, command, ["GPU-1"], devices(gpu("GPU-1")))
    shared, _ = estimated(estimator, command, ["GPU-1"], devices(gpu("GPU-1")._replace(vendor="amd", is_shared=True)))
    assert own is not None
    assert shared is not None
    assert shared == {**own, RAM: own[RAM] + own["GPU-1"]}


def test_several_gpus_have_it_by_how_large_they_are(tmp_path: Path) -> None:
    file = weights(tmp_path / "m.gguf")
    there = devices(gpu("GPU-1", total=24 * GIB), gpu("GPU-2", total=8 * GIB))
    sizes, _ = estimated(Estimator({}, tmp_path), model(f"llama-server -m {file} -c 4096"), list(there)[1:], there)
    assert sizes is not None
    assert sizes["GPU-1"] == pytest.approx(3 * sizes["GPU-2"], abs=MIB)


@pytest.mark.parametrize(
    ("gpus", "size", "on"),
    [
        ("auto", 2, ["GPU-1"]),  # the largest one is enough
        ("auto", 30, ["GPU-1", "GPU-3"]),
        ("auto", 90, ["GPU-1", "GPU-2", "GPU-3"]),
        ("2", 2, ["GPU-1", "GPU-3"]),
        ("[GPU-2]", 2, ["GPU-2"]),
        ("['0000:03:00.0']", 2, ["0000:03:00.0"]),
    ],
)
def test_where_gpus_are_chosen_it_is_for_as_few_as_will_do(tmp_path: Path, gpus: str, size: int, on: list[str]) -> None:
    file = weights(tmp_path / "m.gguf", size * GIB)
    text = f"m: {{cmd: 'llama-server -m {file} -c 4096 -ngl 99 --port ${{PORT}}', gpus: {gpus}}}"
    named = load_text(f"models: {{{text}}}", environment={}).models["m"]
    bare = Gpu("0000:03:00.0", "amd", "RX", "", "0000:03:00.0", 0, 8 * GIB)  # one whose driver knows no UUID
    there = devices(gpu("GPU-1"), gpu("GPU-2", total=8 * GIB), gpu("GPU-3", total=16 * GIB), bare)
    usable = ["GPU-1", "GPU-2", "GPU-3"]
    sizes, _ = estimated_where_it_runs(Estimator({}, tmp_path), named, usable, there)
    assert sizes is not None
    assert sorted(sizes.keys() - {RAM}) == on


def test_where_gpus_are_chosen_it_is_for_one_that_may_be_chosen(tmp_path: Path) -> None:
    file = weights(tmp_path / "m.gguf", 2 * GIB)  # without -c its server fills what it gets
    text = f"m: {{cmd: 'llama-server -m {file} --port ${{PORT}}', gpus: auto}}"
    named = load_text(f"models: {{{text}}}", environment={}).models["m"]
    pool = Gpu("0000:c5:00.0", "amd", "Strix", "", "0000:c5:00.0", 0, 96 * GIB, is_shared=True)
    there = devices(gpu("GPU-1", total=12 * GIB), pool)
    sizes, _ = estimated_where_it_runs(Estimator({}, tmp_path), named, ["GPU-1", pool.key], there)
    assert sizes is not None
    assert sorted(sizes.keys() - {RAM}) == ["GPU-1"]
    assert sizes["GPU-1"] < 12 * GIB


def test_what_cannot_be_told_says_why(tmp_path: Path) -> None:
    assert estimated(Estimator({}, tmp_path), model("server"), [], devices()) == (
        None,
        "the options of server are not known",
    )
