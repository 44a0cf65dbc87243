"""How a server is told which GPUs it may use: by which variables, with which names."""

from __future__ import annotations

from llamaswap_lib.hardware.readings import Gpu
from llamaswap_lib.hardware.visibility import variables_of


def nvidia(number: int) -> Gpu:
    return Gpu(f"GPU-{number}", "nvidia", "RTX", f"GPU-{number}", f"0000:0{number}:00.0")


def amd(number: int, uuid: str = "", *, shared: bool = False) -> Gpu:
    pci = f"0000:0{number}:00.0"
    return Gpu(pci, "amd", "RX", uuid, pci, is_shared=shared)


def intel(number: int, *, shared: bool = False) -> Gpu:
    pci = f"0000:0{number}:00.0"
    return Gpu(pci, "intel", "Arc", "", pci, is_shared=shared)


def told(*chosen: Gpu, there: list[Gpu], **environment: str) -> dict[str, str]:
    return variables_of([gpu.key for gpu in chosen], there, environment)


def test_nvidia_is_told_by_uuid_and_vulkan_by_number() -> None:
    gpus = [nvidia(1), nvidia(2), nvidia(3)]
    assert told(gpus[1], gpus[2], there=gpus) == {
        "CUDA_VISIBLE_DEVICES": "GPU-2,GPU-3",
        "GGML_VK_VISIBLE_DEVICES": "1,2",
        "NODEVICE_SELECT": "1",
        "gpus": "GPU-2,GPU-3",
        "gpu_count": "2",
    }


def test_amd_is_told_by_uuid_and_by_the_number_among_those_that_are_left() -> None:
    gpus = [amd(1, "GPU-aa"), amd(2, "GPU-bb")]
    found = told(gpus[1], there=gpus)
    assert (found["ROCR_VISIBLE_DEVICES"], found["HIP_VISIBLE_DEVICES"]) == ("GPU-bb", "0")
    assert found["gpus"] == "GPU-bb"
    assert "CUDA_VISIBLE_DEVICES" not in found


def test_a_card_of_amd_without_a_uuid_is_told_by_its_place_among_them() -> None:
    gpus = [amd(2), amd(1), nvidia(0)]
    found = told(gpus[0], there=gpus)
    assert (found["ROCR_VISIBLE_DEVICES"], found["HIP_VISIBLE_DEVICES"], found["gpus"]) == ("1", "0", "1")


def test_intel_is_told_by_number_with_the_order_that_it_counts_by() -> None:
    gpus = [intel(0, shared=True), intel(3), intel(4)]
    found = told(gpus[2], there=gpus)
    assert (found["ONEAPI_DEVICE_SELECTOR"], found["ZE_ENABLE_PCI_ID_DEVICE_ORDER"]) == ("level_zero:2", "1")
    assert found["GGML_VK_VISIBLE_DEVICES"] == "1"  # what has memory of its own comes first there


def test_vulkan_is_told_nothing_where_its_numbers_are_not_known() -> None:
    mixed = [nvidia(1), nvidia(2), amd(3)]
    assert "GGML_VK_VISIBLE_DEVICES" not in told(mixed[1], there=mixed)
    beside_a_small_one = [nvidia(1), nvidia(2), intel(0, shared=True)]
    assert told(beside_a_small_one[1], there=beside_a_small_one)["GGML_VK_VISIBLE_DEVICES"] == "1"
    apu = [amd(1, shared=True), intel(2)]
    assert "GGML_VK_VISIBLE_DEVICES" not in told(apu[0], there=apu)
    gpus = [nvidia(1), nvidia(2)]
    assert "GGML_VK_VISIBLE_DEVICES" not in told(gpus[1], there=gpus, MESA_VK_DEVICE_SELECT="10de:2204")
    assert "GGML_VK_VISIBLE_DEVICES" not in told(gpus[1], there=[gpu._replace(pci="") for gpu in gpus])


def test_gpus_of_several_vendors_are_told_each_in_its_way() -> None:
    gpus = [nvidia(1), amd(2, "GPU-bb")]
    found = told(*gpus, there=gpus)
    assert (found["CUDA_VISIBLE_DEVICES"], found["ROCR_VISIBLE_DEVICES"]) == ("GPU-1", "GPU-bb")
    assert (found["gpus"], found["gpu_count"]) == ("GPU-1,GPU-bb", "2")


def test_nothing_is_told_where_nothing_was_chosen_or_is_there() -> None:
    assert told(there=[nvidia(1)]) == {}
    assert told(nvidia(2), there=[nvidia(1)]) == {}
