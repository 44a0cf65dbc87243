"""NVIDIA's GPUs by nvidia-smi: documents of the shape that it prints, and a program of that name. None is real."""

from __future__ import annotations

import stat
from pathlib import Path
from xml.etree import ElementTree

import pytest

from llamaswap_lib.hardware.readings import Held, SourceLost
from llamaswap_lib.hardware.smi import NvidiaSmi, read_xml
from tests.hardware.folders import HOST, write

MIB = 1 << 20
CARD = """<?xml version="1.0" ?>
<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v12.dtd">
<nvidia_smi_log>
  <driver_version>550.54.14</driver_version>
  <attached_gpus>1</attached_gpus>
  <gpu id="00000000:65:00.0">
    <product_name>NVIDIA RTX Test</product_name>
    <product_architecture>Ada Lovelace</product_architecture>
    <uuid>GPU-1234</uuid>
    <fan_speed>30 %</fan_speed>
    <fb_memory_usage><total>16376 MiB</total><reserved>364 MiB</reserved><used>2000 MiB</used><free>14012 MiB</free>
    </fb_memory_usage>
    <utilization><gpu_util>73 %</gpu_util><memory_util>12 %</memory_util></utilization>
    <temperature><gpu_temp>41 C</gpu_temp><memory_temp>N/A</memory_temp></temperature>
    <gpu_power_readings><power_draw>66.51 W</power_draw><current_power_limit>320.00 W</current_power_limit>
    </gpu_power_readings>
    <processes>
      <process_info><gpu_instance_id>N/A</gpu_instance_id><compute_instance_id>N/A</compute_instance_id>
        <pid>100</pid><type>C</type><process_name>llama-server</process_name><used_memory>1005 MiB</used_memory>
      </process_info>
      <process_info><pid>100</pid><type>C+G</type><used_memory>1005 MiB</used_memory></process_info>
      <process_info><pid>200</pid><type>G</type><used_memory>N/A</used_memory></process_info>
    </processes>
  </gpu>
</nvidia_smi_log>
"""
DIVIDED = """<nvidia_smi_log><driver_version>535.1</driver_version>
  <gpu id="00000000:07:00.0"><product_name>NVIDIA A100</product_name><uuid>GPU-a100</uuid>
    <mig_devices>
      <mig_device><gpu_instance_id>1</gpu_instance_id><compute_instance_id>0</compute_instance_id>
        <fb_memory_usage><total>19968 MiB</total><used>1000 MiB</used></fb_memory_usage></mig_device>
      <mig_device><gpu_instance_id>2</gpu_instance_id><compute_instance_id>0</compute_instance_id>
        <fb_memory_usage><total>19968 MiB</total><used>20 MiB</used></fb_memory_usage></mig_device>
    </mig_devices>
    <fb_memory_usage><total>40960 MiB</total><used>N/A</used></fb_memory_usage>
    <processes><process_info><gpu_instance_id>1</gpu_instance_id><compute_instance_id>0</compute_instance_id>
      <pid>7</pid><type>C</type><used_memory>900 MiB</used_memory></process_info></processes>
  </gpu></nvidia_smi_log>
"""


def program(folder: Path, script: str) -> str:
    """A program that stands in the place of nvidia-smi."""
    path = folder / "nvidia-smi"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_a_card_and_its_processes_are_read() -> None:
    ((gpu, processes),) = read_xml(CARD)
    assert (gpu.key, gpu.name, gpu.pci) == ("GPU-1234", "NVIDIA RTX Test", "0000:65:00.0")
    assert (gpu.total_bytes, gpu.used_bytes) == (16376 * MIB, 2000 * MIB)
    assert (gpu.temperature, gpu.memory_temperature, gpu.fan) == (41, None, 30.0)
    assert (gpu.utilization, gpu.memory_utilization, gpu.power, gpu.power_limit) == (73.0, 12.0, 66.51, 320.0)
    assert gpu.driver_version == "550.54.14"
    assert processes == {100: 1005 * MIB, 200: None}


def test_a_card_in_parts_is_told_as_its_parts() -> None:
    (first, held), (second, nothing) = read_xml(DIVIDED)
    assert (first.key, first.used_bytes, held) == ("GPU-a100/1/0", 1000 * MIB, {7: 900 * MIB})
    assert (second.key, second.used_bytes, nothing) == ("GPU-a100/2/0", 20 * MIB, {})


def test_what_is_not_told_is_unknown_and_the_memory_is_then_that_of_the_machine() -> None:
    ((gpu, processes),) = read_xml("<log><gpu id='0'><product_name>GB10</product_name></gpu></log>")
    assert (gpu.total_bytes, gpu.used_bytes, gpu.is_shared) == (None, None, True)
    assert (gpu.temperature, gpu.utilization, gpu.power) == (None, None, None)
    assert processes == {}


@pytest.mark.parametrize("total", ["Unknown Error", "GPU is lost"])
def test_a_card_whose_memory_cannot_be_read_now_is_left_out(total: str) -> None:
    assert list(read_xml(CARD.replace("16376 MiB", total))) == []


def test_a_text_that_is_no_document_is_refused() -> None:
    with pytest.raises(ElementTree.ParseError):
        list(read_xml("NVIDIA-SMI has failed because it could not communicate with the driver"))


def test_the_program_is_asked_for_the_processes_of_a_run(tmp_path: Path) -> None:
    (tmp_path / "told.xml").write_text(CARD)
    proc = write(tmp_path / "proc", HOST)
    smi = NvidiaSmi(program(tmp_path, f'[ "$*" = "-q -x" ] && cat {tmp_path}/told.xml'), proc)
    assert [gpu.name for gpu in smi.read()] == ["NVIDIA RTX Test"]
    assert smi.held_by([100, 5]) == {"GPU-1234": Held(1005 * MIB, "nvidia-smi")}
    assert smi.held_by([200]) == {"GPU-1234": Held(None, "nvidia-smi")}
    assert smi.held_by([5]) == {}


def test_pids_mean_nothing_in_a_container(tmp_path: Path) -> None:
    (tmp_path / "told.xml").write_text(CARD)
    smi = NvidiaSmi(program(tmp_path, f"cat {tmp_path}/told.xml"), str(tmp_path / "no proc"))
    assert not smi.read()[0].shows_processes
    assert smi.held_by([100]) == {}


def test_a_program_that_fails_is_a_source_that_is_lost(tmp_path: Path) -> None:
    with pytest.raises(SourceLost, match="nvidia-smi failed"):
        NvidiaSmi(program(tmp_path, "exit 9")).read()
    with pytest.raises(SourceLost, match="nvidia-smi failed"):
        NvidiaSmi(str(tmp_path / "missing")).read()
    with pytest.raises(SourceLost, match="nvidia-smi failed"):
        NvidiaSmi(program(tmp_path, "echo no document")).read()
