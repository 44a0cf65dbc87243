"""Which devices there are, which of them a model sees, and how what it is said to need is shared among them."""

from __future__ import annotations

import pytest

from llamaswap_lib.hardware.readings import Gpu, Memory
from llamaswap_lib.memory.devices import Measured, declared, measured, usable_by
from tests.hardware.machines import GIB, gpu

MACHINE = Memory(64 * GIB, 60 * GIB, 0, 0)
FIRST, SECOND = gpu("GPU-aaaa1111", 0, 24 * GIB), gpu("GPU-bbbb2222", 0, 8 * GIB)


def devices(*gpus: Gpu) -> dict[str, Measured]:
    return measured(enumerate(gpus), MACHINE, {})


@pytest.mark.parametrize(
    ("env", "seen"),
    [
        ({}, [FIRST, SECOND]),
        ({"CUDA_VISIBLE_DEVICES": "1"}, [SECOND]),
        ({"CUDA_VISIBLE_DEVICES": "GPU-bbbb"}, [SECOND]),
        ({"CUDA_VISIBLE_DEVICES": "1, 0"}, [SECOND, FIRST]),
        ({"CUDA_VISIBLE_DEVICES": ""}, []),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, []),
        ({"CUDA_VISIBLE_DEVICES": "0,7,1"}, [FIRST]),  # a driver stops at what it does not know
        ({"ROCR_VISIBLE_DEVICES": "0"}, [FIRST]),
        ({"ROCR_VISIBLE_DEVICES": "1", "HIP_VISIBLE_DEVICES": "0"}, [SECOND]),  # the latter counts what is left
        ({"ROCR_VISIBLE_DEVICES": "1,0", "HIP_VISIBLE_DEVICES": "0"}, [SECOND]),
        ({"ROCR_VISIBLE_DEVICES": "1", "HIP_VISIBLE_DEVICES": "0,1"}, [SECOND]),
        ({"ROCR_VISIBLE_DEVICES": "", "HIP_VISIBLE_DEVICES": "0"}, []),
        ({"ROCR_VISIBLE_DEVICES": "", "CUDA_VISIBLE_DEVICES": "1"}, [SECOND]),  # a card of NVIDIA beside others
    ],
)
def test_a_model_sees_the_gpus_that_its_variables_name(env: dict[str, str], seen: list[Gpu]) -> None:
    assert list(usable_by(env, devices(FIRST, SECOND))) == [one.key for one in seen]


def test_numbers_count_only_where_the_driver_counts_like_us() -> None:
    there = devices(FIRST, SECOND._replace(name="Other"))
    assert usable_by({"CUDA_VISIBLE_DEVICES": "1"}, there) == (FIRST.key, SECOND.key)
    assert usable_by({"CUDA_VISIBLE_DEVICES": "1", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, there) == (SECOND.key,)
    assert usable_by({"CUDA_VISIBLE_DEVICES": SECOND.uuid}, there) == (SECOND.key,)


def test_a_size_is_shared_by_how_large_the_gpus_are() -> None:
    there = devices(FIRST, SECOND)
    both = (FIRST.key, SECOND.key)
    assert declared({"": 8 * GIB}, both, there).sizes == {FIRST.key: 6 * GIB, SECOND.key: 2 * GIB}
    assert declared({"gpu": 8 * GIB, "ram": GIB}, both[1:], there).sizes == {SECOND.key: 8 * GIB, "ram": GIB}
    assert declared({"1": GIB, "GPU-aaaa": GIB}, both, there).sizes == {SECOND.key: GIB, FIRST.key: GIB}
    assert declared({"": 8 * GIB}, (), there).sizes == {"ram": 8 * GIB}
    assert declared({"gpu": 8 * GIB, "2": 1}, (), there) == ({}, ("2",))


def test_a_gpu_that_has_no_memory_of_its_own_is_no_device() -> None:
    unified = Gpu("GPU-1", "nvidia", "GB10", "GPU-1", is_shared=True)
    apple = Gpu("apple", "apple", "M4", total_bytes=64 * GIB, used_bytes=GIB, is_shared=True)
    pool = Gpu("0000:c5:00.0", "amd", "Strix", total_bytes=48 * GIB, used_bytes=GIB, is_shared=True)
    assert list(devices(unified, apple, pool)) == ["ram", pool.key]
