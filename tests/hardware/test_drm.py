"""AMD's and Intel's GPUs by sysfs, KFD and fdinfo: folders of the shapes that drivers make. No real card is read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from llamaswap_lib.hardware.drm import Drm, GpuClient, open_drm, parse_fdinfo
from llamaswap_lib.hardware.readings import UNREADABLE, Held
from tests.hardware.folders import LINK, write

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
DEVICE = "class/drm/card1/device"
PCI = "0000:03:00.0"
CARD_METRICS, APU_METRICS = b"\x90\x00\x01\x03", b"\x90\x00\x02\x03"


def amd(metrics: bytes = CARD_METRICS, more: Mapping[str, str] = MappingProxyType({})) -> dict[str, str | bytes]:
    """A card as amdgpu shows it."""
    files: dict[str, str | bytes] = {
        "vendor": "0x1002\n",
        "device": "0x744c\n",
        "uevent": f"DRIVER=amdgpu\nPCI_CLASS=30000\nPCI_SLOT_NAME={PCI}\n",
        "product_name": "Radeon Test\n",
        "unique_id": "a1b2c3\n",
        "gpu_metrics": metrics,
        "mem_info_vram_total": f"{20 * GIB}\n",
        "mem_info_vram_used": f"{3 * GIB}\n",
        "mem_info_gtt_total": f"{60 * GIB}\n",
        "mem_info_gtt_used": f"{GIB}\n",
        "gpu_busy_percent": "42\n",
        "mem_busy_percent": "7\n",
        "hwmon/hwmon4/temp1_input": "51000\n",
        "hwmon/hwmon4/temp1_label": "edge\n",
        "hwmon/hwmon4/temp3_input": "66000\n",
        "hwmon/hwmon4/temp3_label": "mem\n",
        "hwmon/hwmon4/power1_average": "98000000\n",
        "hwmon/hwmon4/power1_cap": "303000000\n",
        "hwmon/hwmon4/pwm1": "51\n",
        "hwmon/hwmon4/pwm1_max": "255\n",
        **more,
    }
    return {f"{DEVICE}/{name}": content for name, content in files.items()}


def opened(tmp_path: Path, content: dict[str, str | bytes]) -> Drm:
    drm = open_drm(write(tmp_path / "sys", content), str(tmp_path / "proc"))
    assert drm is not None
    return drm


def client(pci: str = PCI, number: int = 7, **regions: str) -> str:
    """A file of fdinfo, as kernels since 5.19 write it; `memory_vram="5 KiB"`."""
    told = "".join(f"drm-{name.replace('_', '-')}:\t{size}\n" for name, size in regions.items())
    return f"pos:\t0\nflags:\t02100002\ndrm-driver:\tamdgpu\ndrm-client-id:\t{number}\ndrm-pdev:\t{pci}\n{told}"


def open_files(pid: int, **files: str) -> dict[str, str | bytes]:
    """A process with descriptors of a GPU: number -> fdinfo."""
    found: dict[str, str | bytes] = {f"{pid}/fd/0": LINK + "/dev/null", f"{pid}/fdinfo/0": client(memory_vram="9 GiB")}
    for name, text in files.items():
        found[f"{pid}/fd/{name[2:]}"] = LINK + "/dev/dri/renderD128"
        found[f"{pid}/fdinfo/{name[2:]}"] = text
    return found


# -- cards --


def test_a_card_tells_what_it_is_and_how_busy(tmp_path: Path) -> None:
    (gpu,) = opened(tmp_path, amd()).read()
    assert (gpu.key, gpu.name, gpu.uuid, gpu.vendor, gpu.driver) == (PCI, "Radeon Test", "GPU-a1b2c3", "amd", "amdgpu")
    assert (gpu.total_bytes, gpu.used_bytes, gpu.is_shared) == (20 * GIB, 3 * GIB, False)
    assert (gpu.temperature, gpu.memory_temperature, gpu.power, gpu.power_limit) == (51, 66, 98.0, 303.0)
    assert (gpu.utilization, gpu.memory_utilization, gpu.fan) == (42.0, 7.0, 20.0)


def test_an_apu_has_what_its_driver_may_take_of_the_machine(tmp_path: Path) -> None:
    (gpu,) = opened(tmp_path, amd(APU_METRICS)).read()
    assert (gpu.total_bytes, gpu.used_bytes, gpu.is_shared) == (80 * GIB, 4 * GIB, True)


def test_a_card_that_sleeps_is_not_woken_and_not_known(tmp_path: Path) -> None:
    (gpu,) = opened(tmp_path, amd(more={"power/runtime_status": "suspended\n"})).read()
    assert (gpu.name, gpu.total_bytes, gpu.temperature, gpu.utilization) == ("Radeon Test", None, None, None)


def test_what_a_card_does_not_tell_is_unknown_and_not_zero(tmp_path: Path) -> None:
    (gpu,) = opened(tmp_path, {f"{DEVICE}/vendor": "0x1002", f"{DEVICE}/uevent": f"PCI_SLOT_NAME={PCI}"}).read()
    assert gpu.name == "AMD GPU"
    assert {gpu.total_bytes, gpu.used_bytes, gpu.temperature, gpu.utilization, gpu.fan, gpu.power} == {None}


def test_a_card_of_intel_is_told_with_the_memory_of_its_tiles(tmp_path: Path) -> None:
    content: dict[str, str | bytes] = {
        f"{DEVICE}/vendor": "0x8086",
        f"{DEVICE}/uevent": f"DRIVER=xe\nPCI_SLOT_NAME={PCI}\n",
        f"{DEVICE}/tile0/physical_vram_size_bytes": hex(12 * GIB),
        f"{DEVICE}/tile1/physical_vram_size_bytes": hex(12 * GIB),
    }
    (gpu,) = opened(tmp_path, content).read()
    assert (gpu.name, gpu.total_bytes, gpu.used_bytes, gpu.is_shared) == ("Intel GPU", 24 * GIB, None, False)


def test_intels_graphics_in_the_processor_share_the_memory_of_the_machine(tmp_path: Path) -> None:
    content: dict[str, str | bytes] = {f"{DEVICE}/vendor": "0x8086", f"{DEVICE}/uevent": f"PCI_SLOT_NAME={PCI}\n"}
    (gpu,) = opened(tmp_path, content).read()
    assert (gpu.total_bytes, gpu.is_shared) == (None, True)


def test_connectors_and_cards_of_others_are_none(tmp_path: Path) -> None:
    content: dict[str, str | bytes] = {
        "class/drm/card0/device/vendor": "0x10de",
        "class/drm/card0-HDMI-A-1/device/vendor": "0x1002",
        "class/drm/renderD128/device/vendor": "0x1002",
    }
    assert open_drm(write(tmp_path, content)) is None
    assert open_drm(str(tmp_path / "missing")) is None


def test_a_card_that_is_taken_out_is_not_told_any_more(tmp_path: Path) -> None:
    drm = opened(tmp_path, amd())
    (tmp_path / "sys" / "class").rename(tmp_path / "gone")
    assert drm.read() == []


# -- processes, by fdinfo --


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (client(memory_vram="5348 KiB", memory_gtt="25258000 KiB", memory_cpu="0 KiB"), (5348 * KIB, 25258000 * KIB)),
        (client(total_vram0="9 GiB", resident_vram0="2 GiB", resident_vram1="1 GiB"), (3 * GIB, None)),
        (client(memory_vram="5 MiB", resident_vram="6 MiB", total_vram="7 MiB"), (6 * MIB, None)),
        (client(total_local0="4096", total_system="8 KiB"), (4096, 8 * KIB)),
        (client(resident_system0="3 MiB"), (None, 3 * MIB)),
        (client(), (None, None)),
        (client(memory_vram="many KiB", memory_gtt="5 TiB"), (None, None)),
        (f"pdev:\t{PCI}\ndrm-client-id:\t7\nvram mem:\t12 kB\ngtt mem:\t4 KiB\n", (None, 4 * KIB)),
    ],
)
def test_regions_are_read_as_each_driver_writes_them(text: str, expected: tuple[int | None, int | None]) -> None:
    assert parse_fdinfo(text) == GpuClient(PCI, "7", *expected)


@pytest.mark.parametrize("text", ["", "pos:\t0\n", "drm-driver:\tamdgpu\n", "drm-pdev:\t0000:03:00.0\n", ":::\n\0"])
def test_what_is_no_client_counts_for_nothing(text: str) -> None:
    assert parse_fdinfo(text) is None


def test_a_client_counts_once_however_many_descriptors_and_processes_have_it(tmp_path: Path) -> None:
    write(
        tmp_path / "proc",
        {
            **open_files(100, fd3=client(memory_vram="100 MiB"), fd4=client(memory_vram="100 MiB")),
            **open_files(101, fd9=client(memory_vram="100 MiB"), fd5=client(number=8, memory_vram="1 MiB")),
        },
    )
    drm = opened(tmp_path, amd())
    assert drm.held_by([100, 101, 102]) == {PCI: Held(101 * MIB, "fdinfo")}


def test_memory_of_the_machine_counts_on_an_apu_only(tmp_path: Path) -> None:
    write(tmp_path / "proc", open_files(100, fd3=client(memory_vram="1 MiB", memory_gtt="5 MiB")))
    assert opened(tmp_path, amd()).held_by([100]) == {PCI: Held(MIB, "fdinfo")}
    assert opened(tmp_path, amd(APU_METRICS)).held_by([100]) == {PCI: Held(6 * MIB, "fdinfo")}


def test_a_kernel_that_tells_no_memory_leaves_it_unknown(tmp_path: Path) -> None:
    write(tmp_path / "proc", open_files(100, fd3=client()))
    assert opened(tmp_path, amd()).held_by([100]) == {PCI: Held(None, "fdinfo")}


def test_a_client_of_another_card_is_not_of_this_one(tmp_path: Path) -> None:
    write(tmp_path / "proc", open_files(100, fd3=client("0000:99:00.0", memory_vram="1 MiB")))
    assert opened(tmp_path, amd()).held_by([100]) == {}


def test_what_processes_hold_whose_files_cannot_be_read_is_not_known(tmp_path: Path) -> None:
    write(tmp_path / "proc", {"100/fd": "as of another user", **open_files(101, fd3=client(memory_vram="1 MiB"))})
    drm = opened(tmp_path, amd())
    assert drm.held_by([100, 555]) == {PCI: UNREADABLE}
    assert drm.held_by([100, 101]) == {PCI: Held(MIB, "fdinfo")}
    assert drm.held_by([555]) == {}


# -- processes, by KFD --

KFD: dict[str, str | bytes] = {
    "class/kfd/kfd/topology/nodes/0/gpu_id": "0\n",
    "class/kfd/kfd/topology/nodes/0/properties": "cpu_cores_count 16\nlocation_id 0\ndomain 0\n",
    "class/kfd/kfd/topology/nodes/1/gpu_id": "57300\n",
    "class/kfd/kfd/topology/nodes/1/properties": f"simd_count 96\nlocation_id {3 << 8}\ndomain 0\n",
    "class/kfd/kfd/proc/100/vram_57300": "2815950848\n",
    "class/kfd/kfd/proc/100/pasid": "32770\n",
    "class/kfd/kfd/proc/100/vram_99999": "1\n",
    "class/kfd/kfd/proc/101/vram_57300": "152\n",
}


def test_rocm_is_seen_by_kfd_where_fdinfo_is_blind(tmp_path: Path) -> None:
    drm = opened(tmp_path, {**amd(), **KFD})
    assert drm.held_by([100, 101, 555]) == {PCI: Held(2815951000, "kfd")}


def test_the_larger_figure_of_the_two_counts(tmp_path: Path) -> None:
    write(tmp_path / "proc", open_files(100, fd3=client(memory_vram="4 GiB")))
    assert opened(tmp_path, {**amd(), **KFD}).held_by([100]) == {PCI: Held(4 * GIB, "fdinfo")}
    write(tmp_path / "proc", open_files(100, fd3=client(memory_vram="4 KiB")))
    assert opened(tmp_path, {**amd(), **KFD}).held_by([100]) == {PCI: Held(2815950848, "kfd")}
