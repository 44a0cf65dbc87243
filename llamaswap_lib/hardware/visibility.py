"""How a server is told which GPUs it may use: by variables, each for the devices of which it can be right. Pure.

- NVIDIA: CUDA_VISIBLE_DEVICES takes UUIDs, in any order
  (https://docs.nvidia.com/cuda/cuda-c-programming-guide/#cuda-environment-variables).
- AMD: ROCR_VISIBLE_DEVICES takes UUIDs and numbers; HIP_VISIBLE_DEVICES numbers alone, which count what the other has
  left, so they are 0, 1, ... (https://rocm.docs.amd.com/en/latest/conceptual/gpu-isolation.html).
- Intel: ONEAPI_DEVICE_SELECTOR takes numbers, by PCI address with ZE_ENABLE_PCI_ID_DEVICE_ORDER
  (https://github.com/intel/llvm/blob/sycl/sycl/doc/EnvironmentVariables.md,
  https://oneapi-src.github.io/level-zero-spec/level-zero/latest/core/PROG.html#environment-variables).
- Vulkan: GGML_VK_VISIBLE_DEVICES of llama.cpp takes the numbers of Vulkan's loader, which has GPUs with memory of their
  own first and then goes by PCI address (docs/LoaderApplicationInterface.md of KhronosGroup/Vulkan-Loader), if Mesa's
  layer does not put another one first, which NODEVICE_SELECT turns off (VkLayer_MESA_device_select.json). They are
  known only where all such GPUs are of one vendor: the loader sees those alone for which a driver is installed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from llamaswap_lib.hardware.readings import Gpu

# Set by somebody who wants another order of GPUs for Vulkan.
REORDERS_VULKAN = ("VK_LOADER_DEVICE_SELECT", "MESA_VK_DEVICE_SELECT")


def variables_of(chosen: Sequence[str], gpus: Iterable[Gpu], environment: Mapping[str, str]) -> dict[str, str]:
    """For the GPUs with these keys, of all that there are; and in lower case what macros stand for.

    `gpus`: how a container is told of them, their UUIDs where they have some; `gpu_count`: how many. Empty if none
    is chosen, or none of them is there any more.
    """
    there = sorted(gpus, key=lambda gpu: gpu.pci)
    by_key = {gpu.key: gpu for gpu in there}
    mine = [by_key[key] for key in chosen if key in by_key]
    found: dict[str, str] = {}
    names: list[str] = []
    for vendor in dict.fromkeys(gpu.vendor for gpu in mine):
        of_vendor = [gpu for gpu in mine if gpu.vendor == vendor]
        own, said = _of_vendor(vendor, of_vendor, [gpu for gpu in there if gpu.vendor == vendor])
        found |= said
        names += own
    if mine and not any(name in environment for name in REORDERS_VULKAN):
        found |= _of_vulkan(mine, there)
    return {**found, "gpus": ",".join(names), "gpu_count": str(len(mine))} if mine else {}


def _of_vendor(vendor: str, mine: Sequence[Gpu], there: Sequence[Gpu]) -> tuple[list[str], dict[str, str]]:
    """How these are named, and the variables. `there`: all of this vendor, by PCI address."""
    uuids = [gpu.uuid for gpu in mine if gpu.uuid]
    names = uuids if len(uuids) == len(mine) else [str(there.index(gpu)) for gpu in mine]
    told = ",".join(names)
    if vendor == "nvidia":
        return names, {"CUDA_VISIBLE_DEVICES": told}
    if vendor == "amd":
        return names, {"ROCR_VISIBLE_DEVICES": told, "HIP_VISIBLE_DEVICES": ",".join(map(str, range(len(mine))))}
    if vendor == "intel":
        return names, {"ONEAPI_DEVICE_SELECTOR": f"level_zero:{told}", "ZE_ENABLE_PCI_ID_DEVICE_ORDER": "1"}
    return names, {}


def _of_vulkan(mine: Sequence[Gpu], there: Sequence[Gpu]) -> dict[str, str]:
    """Nothing, where the numbers are not known."""
    counted = there if any(gpu.is_shared for gpu in mine) else [gpu for gpu in there if not gpu.is_shared]
    if len({gpu.vendor for gpu in counted}) > 1 or not all(gpu.pci for gpu in counted):
        return {}
    order = sorted(counted, key=lambda gpu: gpu.is_shared)  # those of each kind stay in the order of their addresses
    return {"GGML_VK_VISIBLE_DEVICES": ",".join(str(order.index(gpu)) for gpu in mine), "NODEVICE_SELECT": "1"}
