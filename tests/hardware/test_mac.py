"""The machine as the tools of macOS tell: parsers on texts of the shapes that they print. None of them runs here."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llamaswap_lib.hardware import mac
from llamaswap_lib.hardware.readings import Memory, Ram

GB = 1 << 30
VM_STAT = """Mach Virtual Memory Statistics: (page size of 16384 bytes)
Pages free:                               65536.
Pages active:                            400000.
Pages inactive:                           32768.
Pages speculative:                        16384.
Pages throttled:                              0.
Pages wired down:                        100000.
Pages purgeable:                          16384.
"Translation faults":                 123456789.
"""
NETSTAT = """Name       Mtu   Network       Address            Ipkts Ierrs     Ibytes    Opkts Oerrs     Obytes  Coll
lo0        16384 <Link#1>                           1000     0     200000     1000     0     200000     0
lo0        16384 127           127.0.0.1            1000     -     200000     1000     -     200000     -
en0        1500  <Link#11>   aa:bb:cc:dd:ee:ff      9000     0   12000000     8000     0    3000000     0
en0        1500  192.168.1     192.168.1.7          9000     -   12000000     8000     -    3000000     -
utun0*     1380  <Link#15>                             0     0          0        0     0          0     0
"""
IOREG = """+-o AGXAcceleratorG13X  <class AGXAcceleratorG13X, id 0x1000003c5>
    {
      "PerformanceStatistics" = {"Tiler Utilization %"=9,"Device Utilization %"=37,"In use system memory"=734003200}
    }
"""
PS = """    1     0     1  12000
  500     1   500   1024
  501   500   500 204800
  502   501   777   2048
  600     1   600   4096
"""
SYSCTL = {
    "hw.memsize": str(16 * GB),
    "vm.swapusage": "total = 2048.00M  used = 512.50M  free = 1535.50M  (encrypted)",
    "machdep.cpu.brand_string": "Apple M1 Max",
    "hw.physicalcpu": "10",
    "hw.logicalcpu": "10",
    "kern.hv_vmm_present": "0",
}


def tools(**said: str) -> Callable[[Sequence[str]], str]:
    """Programs by name; sysctl by what it is asked for."""

    def run(argv: Sequence[str]) -> str:
        return SYSCTL.get(argv[-1], "") if argv[0] == "sysctl" else said.get(argv[0], "")

    return run


def test_memory_is_what_pages_and_sysctl_say() -> None:
    free = (65536 + 32768 + 16384 + 16384) * 16384
    assert mac.read_memory(tools(vm_stat=VM_STAT)) == Memory(16 * GB, free, 2048 << 20, int(1535.5 * 2**20))
    assert mac.read_memory(lambda _: "") is None


def test_one_line_of_each_interface_tells_what_it_carried() -> None:
    traffic = mac.traffic(NETSTAT)
    assert traffic.names == ("lo0", "en0")
    assert list(traffic.counters) == [200000, 200000, 12000000, 3000000]
    assert mac.traffic("").names == ()


def test_the_gpu_shares_the_memory_of_the_machine() -> None:
    (gpu,) = mac.AppleGpu(tools(ioreg=IOREG)).read()
    assert (gpu.name, gpu.is_shared, gpu.used_bytes, gpu.total_bytes) == ("Apple M1 Max", True, 734003200, 16 * GB)
    assert gpu.utilization == 37.0
    assert gpu.temperature is None
    assert mac.AppleGpu(tools()).read()[0].used_bytes is None


def test_processes_of_a_run_are_found_with_their_resident_memory() -> None:
    processes = mac.MacProcesses(tools(ps=PS))
    assert processes.trees({7: 500, 8: 600, 9: 12345}) == {7: {500, 501, 502}, 8: {600}, 9: set()}
    assert processes.ram(7, [500, 501, 502]) == Ram((1024 + 204800 + 2048) << 10, None)
    assert processes.ram(9, []) is None


def test_the_machine_is_described() -> None:
    machine = mac.machine(tools(sw_vers="15.1\n"))
    assert (machine.cpu, machine.physical_cores, machine.memory, machine.vm) == ("Apple M1 Max", 10, 16 * GB, None)
    assert machine.system is not None
    assert machine.system["version"] == "15.1"


def test_a_tool_that_is_not_there_or_fails_has_said_nothing() -> None:
    assert mac.output_of(("/does/not/exist",)) == ""
    assert mac.output_of(("sh", "-c", "echo x; exit 3")) == ""
    assert mac.output_of(("echo", "said")) == "said\n"
