"""What `check` says of memory: what can never fit, and what nothing can measure."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from llamaswap_lib.config.load import inspect_text
from llamaswap_lib.estimates.estimator import Estimator
from llamaswap_lib.hardware.readings import Gpu
from llamaswap_lib.hardware.sampler import Hardware, Roots
from llamaswap_lib.memory import prospects
from llamaswap_lib.memory.identity import digest_of
from llamaswap_lib.memory.learned import Learned
from tests.estimates.test_estimator import weights
from tests.hardware.folders import write
from tests.hardware.machines import GIB, Cards, gpu
from tests.memory.test_devices import devices
from tests.memory.test_picture import meminfo

CARD = "GPU-1"
NEVER = "can never be loaded: it needs"


class Check:
    """A machine of 64 GB with a card of 24 GB, on which `measured` models have taken so much."""

    def __init__(self, folder: Path, *gpus: Gpu) -> None:
        self.folder = folder
        self.devices = devices(*(gpus or (gpu(CARD),)))
        self.learned = Learned(lambda _: None, lambda: 0.0)
        self.sees_host = True

    def warnings(self, models: str, settings: str = "", **measured: dict[str, int]) -> list[str]:
        router = f"{{use: memory, settings: {{memory: {{{settings}}}}}}}"
        loaded = inspect_text(f"models:\n{models}routing: {{router: {router}}}\n".encode(), "c.yaml", {})
        assert not loaded.problems.errors
        before = len(loaded.problems.warnings)
        for name, sizes in measured.items():
            self.learned.note(digest_of(loaded.config.models[name], self.devices), name, 1, sizes)
        estimator = Estimator({}, self.folder)
        prospects.warn(loaded.config, loaded.document, self.devices, self.learned, estimator, sees_host=self.sees_host)
        return [str(one) for one in loaded.problems.warnings[before:]]


@pytest.fixture
def check(tmp_path: Path) -> Check:
    return Check(tmp_path)


def entry(name: str, more: str = "", cmd: str = "server") -> str:
    return f"  {name}: {{cmd: '{cmd} --port ${{PORT}}'{', ' if more else ''}{more}}}\n"


def test_what_fits_is_not_mentioned(check: Check) -> None:
    models = entry("a", "memory: 20GB") + entry("b", "memory: {gpu: 20GB, ram: 50GB}") + entry("c")
    assert check.warnings(models, c={CARD: 20 * GIB}) == []


def test_what_is_more_than_models_may_have_can_never_be_loaded(check: Check) -> None:
    assert check.warnings(entry("a", "memory: 23GB") + entry("b", "memory: {ram: 64GB}")) == [
        f"c.yaml:2: models.a.memory: {NEVER} 23.0 GB on GPU 0 (declared), and models may have 22.8 GB there",
        f"c.yaml:3: models.b.memory: {NEVER} 64.0 GB on RAM (declared), and models may have 60.8 GB there",
    ]


def test_where_gpus_are_chosen_it_has_to_fit_on_those_that_it_may_get(tmp_path: Path) -> None:
    check = Check(tmp_path, gpu(CARD), gpu("GPU-2", total=8 * GIB))
    models = entry("a", "memory: 23GB, gpus: auto") + entry("b", "memory: 20GB, gpus: 1") + entry("c", "memory: 40GB")
    assert len(check.warnings(models)) == 1  # c: on both, and more than both have
    (said,) = check.warnings(entry("a", "memory: 23GB, gpus: 1"))
    assert said.startswith(f"c.yaml:2: models.a.memory: {NEVER}")


def test_what_was_measured_may_have_the_reserve_too(check: Check) -> None:
    assert check.warnings(entry("a"), a={CARD: 24 * GIB}) == []
    assert check.warnings(entry("a"), a={CARD: 25 * GIB}) == [
        f"c.yaml:2: models.a: {NEVER} 25.0 GB on GPU 0 (measured), and models may have 24.0 GB there"
    ]


def test_what_only_fits_without_a_pinned_one_says_which(check: Check) -> None:
    pinned = entry("p", "memory: 4GB, pinned: true") + entry("q", "memory: 2GB, pinned: true")
    (said,) = check.warnings(entry("a", "memory: 20GB") + pinned)
    assert said == (
        "c.yaml:2: models.a.memory: cannot be loaded while these run: it needs 20.0 GB on GPU 0 (declared), "
        "and models may have 22.8 GB there, less the 6.0 GB of p and q, which are pinned"
    )
    assert check.warnings(entry("a", "memory: 16GB") + pinned) == []
    assert check.warnings(entry("a", "memory: 20GB") + entry("p", "pinned: true")) == []  # who knows what that needs


def test_an_estimate_is_a_reason_to_look_and_no_verdict(check: Check, tmp_path: Path) -> None:
    file = weights(tmp_path / "m.gguf", 30 * GIB)
    (said,) = check.warnings(entry("a", cmd=f"llama-server -m {file} -c 4096 -ngl 99"))
    assert said.startswith("c.yaml:2: models.a: may not fit: it needs 3")
    assert "GB on GPU 0 (estimated), and models may have 22.8 GB there; it is loaded alone" in said


def test_a_device_that_is_not_there_is_named(check: Check) -> None:
    assert check.warnings(entry("a", 'memory: {"7": 1GB}')) == [
        "c.yaml:2: models.a.memory: names the device 7, which is not there"
    ]


def test_settings_of_a_device_that_is_not_there_are_told(check: Check) -> None:
    models = entry("a")
    assert check.warnings(models, 'devices: {ram: {reserve: 1GB}, "0": {reserve: 1GB}, GPU-1: {reserve: 1GB}}') == []
    said = check.warnings(models, 'devices: {gpu: {reserve: 1GB}, "1": {yieldTo: others}}')
    at, does_nothing = "routing.router.settings.memory.devices", "there is no such device here, so it does nothing"
    assert [line.partition(": ")[2] for line in said] == [f"{at}.gpu: {does_nothing}", f"{at}.1: {does_nothing}"]


def test_a_driver_that_does_not_tell_of_processes_is_a_hint_to_say_it(tmp_path: Path) -> None:
    check = Check(tmp_path, gpu(CARD, sees=False), gpu("GPU-2"))
    (said,) = check.warnings(entry("a") + entry("b", "memory: 1GB") + entry("c", "env: [CUDA_VISIBLE_DEVICES=GPU-2]"))
    assert said.startswith("c.yaml:2: models.a: what it takes of GPU 0 is not told for each process")
    assert check.warnings(entry("a"), a={CARD: GIB}) == []


def test_a_container_that_cannot_be_seen_into_asks_for_memory(check: Check) -> None:
    models = entry("a", cmd="docker run image") + entry("b", "memory: 1GB", cmd="docker run image")
    assert check.warnings(models) == []
    check.sees_host = False
    (said,) = check.warnings(models)
    assert said.startswith("c.yaml:2: models.a: what its container takes cannot be seen from in here (--pid=host)")


def look(folder: Path, use: str, cards: Cards, *, memory: bool = True) -> list[str]:
    text = (
        f"models:\n{entry('a', 'memory: 30GB')}store: {{path: {folder}/rows.db}}\nrouting: {{router: {{use: {use}}}}}\n"
    )
    loaded = inspect_text(text.encode(), "c.yaml", {})
    before = len(loaded.problems.warnings)
    write(folder / "proc", {"meminfo": meminfo(64 * GIB, 60 * GIB) if memory else ""})
    roots = Roots(str(folder / "proc"), str(folder / "sys"), str(folder / "etc"))
    hardware = Hardware(roots=roots, platform="linux", open_sources=[partial(lambda cards: cards, cards)])
    prospects.look(loaded.config, loaded.document, hardware)
    return [one.message for one in loaded.problems.warnings[before:]]


def test_the_machine_is_asked_and_the_drivers_are_closed(tmp_path: Path) -> None:
    cards = Cards(gpu(CARD))
    (said,) = look(tmp_path, "memory", cards)
    assert said.startswith("can never be loaded: it needs 30.0 GB on GPU 0")
    assert cards.ends == 1


def test_nobody_is_asked_where_models_do_not_go_by_memory(tmp_path: Path) -> None:
    cards = Cards(gpu(CARD))
    assert look(tmp_path, "group", cards) == []
    assert cards.readings == 0


def test_a_machine_of_which_nothing_can_be_read_says_so(tmp_path: Path) -> None:
    said = look(tmp_path, "memory", Cards(), memory=False)
    assert said == ["no memory of this machine can be read, so one model runs at a time"]


def test_a_file_of_needs_that_cannot_be_read_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "rows.db.needs.json").write_text("{")
    said = look(tmp_path, "memory", Cards(gpu(CARD)))
    assert [one.endswith("; what models need is measured anew") for one in said] == [True, False]


def test_gpus_that_are_named_and_not_there_are_told(tmp_path: Path) -> None:
    check = Check(tmp_path, gpu(CARD), gpu("GPU-2"))
    models = entry("a", "gpus: [5], memory: 1GB") + entry("b", "gpus: 3") + entry("c", "gpus: [0, GPU-2]")
    assert [line.partition(": ")[2] for line in check.warnings(models)] == [
        "models.a.gpus: gpus names 5, which is not there; there are 0 (GPU-1), 1 (GPU-2)",
        "models.b.gpus: gpus asks for 3 GPUs, and there are 2 to choose from",
    ]


def test_a_model_whose_gpus_are_chosen_never_fits_only_if_it_fits_nowhere(tmp_path: Path) -> None:
    check = Check(tmp_path, gpu(CARD), gpu("GPU-2"))
    models = entry("a", "gpus: auto, memory: {gpu: 40GB}") + entry("b", "gpus: 1, memory: {gpu: 40GB}")
    (line,) = check.warnings(models)
    assert f"models.b.memory: {NEVER} 40.0 GB on GPU 1 (declared)" in line
