"""The processor, the memory and each GPU as lines: how busy it is, and what fills its memory. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from llamaswap_lib.client import memory, words
from llamaswap_lib.client.terminal import Cell, Style, display_width, shortened
from llamaswap_lib.printable import printable
from llamaswap_lib.top.state import State

MB = 1 << 20
LABEL, FIGURE = 6, 5  # characters
SEGMENTS = (Style.GOOD, Style.NAME, Style.BUSY)  # of models, in turn
MAKERS = ("NVIDIA ", "GeForce ", "AMD ", "Radeon ", "Intel(R) ", "Intel ")
Row = Mapping[str, Any]
Line = list[Cell]


class Glyphs(NamedTuple):
    """What bars are made of."""

    models: tuple[str, str]  # in turn
    others: str
    free: str
    reserve: str  # what is kept free
    dot: str  # between two figures
    arrows: str


UNICODE = Glyphs(("█", "▓"), "▒", "·", "░", " · ", "↑↓")
ASCII = Glyphs(("#", "="), "+", ".", "-", ", ", "up/down")


class Part(NamedTuple):
    """Of a device's memory."""

    name: str
    size: float


def device_lines(state: State, width: int, glyphs: Glyphs) -> list[Line]:
    """A line for the processor, one for the memory, and one for each GPU."""
    room = min(max(width // 3, 8), 40)
    return [*_of_system(state, room, glyphs), *(_of_gpu(state, gpu, room, glyphs) for gpu in state.gpus)]


def _of_system(state: State, room: int, glyphs: Glyphs) -> Iterator[Line]:
    system = state.system
    if system is None:
        return
    cores = system.get("cpu_util_per_core") or []
    busy = sum(cores) / len(cores) if cores else None
    load = system.get("load_avg_1")
    told = [] if load is None else [f"load {load:.2f}"]
    told += [words.counted(len(cores), "core")] if cores else []
    bar = _bar([Part("", busy or 0)], None, 100, room, glyphs)
    yield _line("CPU", busy, bar, glyphs.dot.join(told))
    yield _of_memory(state, "RAM", system, None, ("ram",), [], room, glyphs)


def _of_gpu(state: State, gpu: Row, room: int, glyphs: Glyphs) -> Line:
    card: Row = next((one for one in state.accelerators if one.get("index") == gpu["id"]), {})
    names = [gpu.get("uuid"), card.get("uuid"), card.get("pci"), str(gpu["id"])]
    temperature, power = gpu.get("temp_c"), gpu.get("power_draw_w")
    told = [_short_name(str(gpu.get("name") or ""))]
    told += [] if temperature is None else [f"{temperature:.0f} °C" if glyphs is UNICODE else f"{temperature:.0f} C"]
    told += [] if power is None else [f"{power:.0f} W"]
    busy = gpu.get("gpu_util_pct")
    return _of_memory(
        state, f"GPU {gpu['id']}", gpu, busy, tuple(filter(None, names)), told, room, glyphs, has_use=True
    )


def _of_memory(
    state: State, label: str, row: Row, busy: float | None, names: Sequence[str], told: Sequence[str], room: int,
    glyphs: Glyphs, *, has_use: bool = False,
) -> Line:  # fmt: skip
    """A device with memory: `mem_used_mb` and `mem_total_mb` of the row. `names` are those that `/running` may use."""
    used, total = row.get("mem_used_mb"), row.get("mem_total_mb")
    parts = _parts(state, names)
    if not total:
        return _line(label, busy, [Cell(glyphs.free * room, Style.QUIET)], glyphs.dot.join(["memory unknown", *told]))
    ours = sum(part.size for part in parts)
    others = None if used is None else max(0.0, used * MB - ours)
    amount = f"{words.size(None if used is None else used * MB)} of {words.size(total * MB)}"
    shares = [f"{printable(part.name)} {words.size(part.size)}" for part in parts]
    shares += [f"others {words.size(others)}"] if others else []
    decisive = memory.device(state.memory, tuple(names)) if memory.is_decisive(state.memory) else {}
    free = decisive.get("free_bytes", None if used is None else (total - used) * MB)
    shares += [] if free is None else [f"free {words.size(free)}"]
    reserve = decisive.get("reserve_bytes", 0)
    shares += [f"reserve {words.size(reserve)}"] if reserve else []
    percent = busy if has_use else None if used is None else 100 * used / total
    bar_line = _bar(parts, others, total * MB, room, glyphs, reserve)
    return _line(label, percent, bar_line, glyphs.dot.join([amount, ", ".join(shares), *filter(None, told)]))


def _parts(state: State, names: Sequence[str]) -> list[Part]:
    """What our models take of a device, the largest first."""
    found = [
        Part(model, usage["bytes"])
        for model, run in state.runs.items()
        for usage in run.get("memory") or ()
        if usage.get("device") in names and usage.get("bytes")
    ]
    return sorted(found, key=lambda part: -part.size)


def _bar(
    parts: Sequence[Part], others: float | None, whole: float, room: int, glyphs: Glyphs, reserve: float = 0.0
) -> Line:
    """Parts of the whole, and what is left; each part that is there has a character, as far as there is room.

    `reserve` is what of the end is to stay free.
    """
    sizes = [part.size for part in parts] + [others or 0.0]
    ends, reached = [], 0.0
    for size in sizes:
        reached += size
        ends.append(min(room, round(reached / whole * room)) if whole else 0)
    cells, begun = [], 0
    for number, (size, end) in enumerate(zip(sizes, ends, strict=True)):
        is_others = number == len(parts)
        end = min(room, max(end, begun + (size > 0)))
        mark = glyphs.others if is_others else glyphs.models[number % len(glyphs.models)]
        cells.append(Cell(mark * (end - begun), Style.QUIET if is_others else SEGMENTS[number % len(SEGMENTS)]))
        begun = end
    kept = min(room - begun, round(reserve / whole * room)) if whole else 0
    return [*cells, Cell(glyphs.free * (room - begun - kept) + glyphs.reserve * kept, Style.QUIET)]


def _line(label: str, percent: float | None, bar: Line, text: str) -> Line:
    figure = words.UNKNOWN if percent is None else f"{percent:.0f} %"
    return [Cell(label.ljust(LABEL), Style.HEAD), Cell(figure.rjust(FIGURE) + " "), *bar, Cell(" " + text)]


def _short_name(name: str) -> str:
    """What differs between cards."""
    name = printable(name)
    for maker in MAKERS:
        name = name.removeprefix(maker)
    return name


def clipped(line: Sequence[Cell], width: int) -> Line:
    """The line in at most so many columns, with `…` where it was cut."""
    kept: Line = []
    for cell in line:
        taken = display_width(cell.text)
        if taken > width:
            kept.append(Cell(shortened(cell.text, width), cell.style))
            break
        kept.append(cell)
        width -= taken
    return kept
