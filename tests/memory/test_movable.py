"""Which GPUs a model may be given, and what it is told to need there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from llamaswap_lib.config.device_keys import Gpus
from llamaswap_lib.config.load import load_text
from llamaswap_lib.config.placed import placed
from llamaswap_lib.core.eviction.devices import Movable, NeedSource
from llamaswap_lib.hardware.readings import Gpu, Memory
from llamaswap_lib.memory.devices import Measured, measured
from llamaswap_lib.memory.identity import digest_of
from llamaswap_lib.memory.movable import Known, movable, need_on
from llamaswap_lib.memory.needs import seen_by
from tests.hardware.machines import GIB, gpu

MACHINE = Memory(64 * GIB, 60 * GIB, 0, 0)
FIRST, SECOND = gpu("GPU-aaaa1111", 0, 24 * GIB), gpu("GPU-bbbb2222", 0, 8 * GIB)
BOTH = (FIRST.key, SECOND.key)
AMD = Gpu("0000:03:00.0", "amd", "RX", "", "0000:03:00.0", 0, 16 * GIB)
POOL = Gpu("0000:c5:00.0", "amd", "Strix", "", "0000:c5:00.0", 0, 96 * GIB, is_shared=True)


def devices(*gpus: Gpu) -> dict[str, Measured]:
    return measured(enumerate(gpus), MACHINE, {})


def choose(
    gpus: Gpus,
    *there: Gpu,
    said: Mapping[str, int] | None = None,
    peaks: Sequence[Mapping[str, int]] = (),
    guess: Mapping[str, int] | None = None,
    usable: Sequence[str] | None = None,
) -> Movable:
    seen = devices(*(there or (FIRST, SECOND)))
    names = [name for name, one in seen.items() if one.gpu is not None] if usable is None else usable
    found = movable(gpus, names, seen, Known(said or {}, peaks, guess))
    assert found is not None
    return found


def test_a_model_may_have_each_gpu_that_we_see_ourselves() -> None:
    assert choose(Gpus()).among == BOTH
    assert choose(Gpus(2)).choices() == (BOTH,)
    assert choose(Gpus(), usable=(SECOND.key,)).among == (SECOND.key,)


def test_a_variable_that_has_what_is_chosen_leaves_all_to_choose_from() -> None:
    text = "models: {m: {cmd: 'x --port ${PORT}', gpus: auto, env: ['CUDA_VISIBLE_DEVICES=${GPUS}']}}"
    one = load_text(text, environment={}).models["m"]
    assert seen_by(one, devices(FIRST, SECOND)) == BOTH
    assert seen_by(placed(one, {"gpus": SECOND.key}), devices(FIRST, SECOND)) == (SECOND.key,)


def test_the_name_of_a_variable_alone_hides_no_gpu() -> None:
    text = "models: {m: {cmd: 'x --port ${PORT}', gpus: %s, env: [CUDA_VISIBLE_DEVICES, =0]}}"
    for gpus in ("~", "auto"):
        assert seen_by(load_text(text % gpus, environment={}).models["m"], devices(FIRST, SECOND)) == BOTH


def test_a_list_names_just_these_in_the_order_of_their_numbers() -> None:
    assert choose(Gpus(1, ("1",))).choices() == ((SECOND.key,),)
    assert choose(Gpus(2, ("GPU-bbbb", "0"))).choices() == (BOTH,)
    assert choose(Gpus(1, (AMD.key,)), FIRST, AMD).choices() == ((AMD.key,),)


def test_a_list_may_name_pci_addresses_whatever_the_gpus_are_called_by() -> None:
    card = SECOND._replace(pci="0000:0a:00.0")
    assert choose(Gpus(1, ("0000:0A:00.0",)), FIRST, card).choices() == ((SECOND.key,),)
    longer = FIRST._replace(key=f"{SECOND.key}3", uuid=f"{SECOND.key}3")
    assert choose(Gpus(1, (SECOND.key,)), longer, SECOND).choices() == ((SECOND.key,),)


def test_what_is_named_and_not_there_is_said_with_what_is_there() -> None:
    assert choose(Gpus(2, ("0", "GPU-cccc"))).fault == (
        "gpus names GPU-cccc, which is not there; there are 0 (GPU-aaaa1111), 1 (GPU-bbbb2222)"
    )
    assert choose(Gpus(2, ("7", "8"))).fault.startswith("gpus names 7 and 8, which are not there;")
    assert choose(Gpus(2, ("0", "GPU-aaaa"))).fault == "gpus names a GPU twice"
    assert choose(Gpus(3)).fault == "gpus asks for 3 GPUs, and there are 2 to choose from"
    assert movable(Gpus(1, ("0",)), (), devices(), Known({})) is not None


def test_auto_chooses_nothing_where_there_is_no_gpu() -> None:
    assert movable(Gpus(), (), devices(), Known({})) is None


def test_gpus_of_one_vendor_are_chosen_those_with_memory_of_their_own_first() -> None:
    assert choose(Gpus(), FIRST, AMD).among == (FIRST.key,)
    assert choose(Gpus(), SECOND, AMD).among == (AMD.key,)
    assert choose(Gpus(), AMD, POOL).among == (AMD.key,)
    assert choose(Gpus(), POOL).among == (POOL.key,)


def test_what_the_file_says_counts_in_all() -> None:
    one = choose(Gpus(), said={"": 8 * GIB})
    assert (one.size, one.source, one.beside) == (8 * GIB, NeedSource.DECLARED, {})
    one = choose(Gpus(), said={"gpu": 8 * GIB, "ram": GIB}, peaks=[{FIRST.key: 2 * GIB, "ram": 3 * GIB}])
    assert (one.size, one.beside) == (8 * GIB, {"ram": GIB})
    one = choose(Gpus(2), said={"0": 6 * GIB, "1": GIB})
    assert one.need_on(BOTH, {}).devices == {FIRST.key: 6 * GIB, SECOND.key: GIB}


def test_what_was_measured_on_one_gpu_counts_on_another() -> None:
    one = choose(Gpus(), peaks=[{FIRST.key: 6 * GIB, "ram": GIB}, {SECOND.key: 7 * GIB, "ram": 2 * GIB}])
    assert (one.size, one.source, one.beside) == (7 * GIB, NeedSource.MEASURED, {"ram": 2 * GIB})
    there = {name: each.device for name, each in devices(FIRST, SECOND).items()}
    assert one.need_on((FIRST.key,), there).devices[FIRST.key] == 6 * GIB  # it is known there
    assert one.need_on(BOTH, there).devices[SECOND.key] == 7 * GIB // 4


def test_a_guess_counts_until_it_is_measured() -> None:
    guess = {FIRST.key: 6 * GIB, SECOND.key: 2 * GIB, "ram": GIB}
    one = choose(Gpus(), guess=guess)
    assert (one.size, one.source, one.beside) == (8 * GIB, NeedSource.ESTIMATED, {"ram": GIB})
    assert choose(Gpus(), guess=guess, peaks=[{FIRST.key: GIB}]).size == GIB
    assert choose(Gpus(), guess=guess, said={"": 3 * GIB}).size == 3 * GIB


def test_what_is_not_known_is_not_known_anywhere() -> None:
    one = choose(Gpus(2))
    assert (one.source, one.choices()) == (NeedSource.UNKNOWN, (BOTH,))
    assert choose(Gpus()).choices() == ((FIRST.key,), (SECOND.key,))


def test_the_need_is_told_for_where_it_runs_or_would_fit_alone() -> None:
    there = devices(FIRST, SECOND)
    one = choose(Gpus(), said={"": 12 * GIB})
    assert need_on(one, (SECOND.key,), there).devices == {SECOND.key: 12 * GIB}
    assert need_on(one, (), there).devices == {FIRST.key: 12 * GIB}
    assert need_on(choose(Gpus(), said={"": 28 * GIB}), (), there).devices == {FIRST.key: 21 * GIB, SECOND.key: 7 * GIB}
    assert need_on(choose(Gpus(1, ("7",)), said={"": GIB}), (), there).devices == {}


def test_figures_belong_to_no_gpu_where_these_are_chosen() -> None:
    text = "models: {{m: {{cmd: 'x --port ${{PORT}} {}', gpus: {}}}}}\nrouting: {{router: {{use: memory}}}}"
    one = load_text(text.format("-d ${GPUS}", "auto"), environment={}).models["m"]
    given = {"gpus": "GPU-1", "gpu_count": "1", "CUDA_VISIBLE_DEVICES": "GPU-1"}
    assert digest_of(placed(one, given), ["ram", "GPU-1"]) == digest_of(one, ["ram", "GPU-2"])
    two = load_text(text.format("-d ${GPUS}", "2"), environment={}).models["m"]
    assert digest_of(two, []) == digest_of(one, [])
    other = load_text(text.format("-c 9", "auto"), environment={}).models["m"]
    assert digest_of(other, []) != digest_of(one, [])
