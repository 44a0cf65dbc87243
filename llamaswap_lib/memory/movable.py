"""Models whose GPUs are chosen for them: which they may get, and what they need there. Pure, any thread.

GPUs of one vendor are chosen, those with memory of their own if there are some: a server computes with the library of
one vendor. Which are meant where there are several, a list says; else those that have most memory together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from llamaswap_lib.config.gpu_keys import Gpus
from llamaswap_lib.core.eviction.devices import Movable, Need, NeedSource
from llamaswap_lib.memory.devices import RAM, Measured, declared, named_gpu
from llamaswap_lib.typed_yaml.secrets import visible

MOST_TOLD = 8


class Known(NamedTuple):
    """What is known of its needs: `said` as in the file, `peaks` of its last runs and a `guess`, both by device."""

    said: Mapping[str, int]
    peaks: Sequence[Mapping[str, int]] = ()
    guess: Mapping[str, int] | None = None


def movable(gpus: Gpus, usable: Sequence[str], devices: Mapping[str, Measured], known: Known) -> Movable | None:
    """None where nothing is to be chosen: `auto`, and there is no GPU.

    `usable`: the GPUs that our own environment lets servers see. What is said counts most, what is measured more than
    a guess; on which GPU it was measured does not matter.
    """
    among, fault = _among(gpus, usable, devices)
    if not among and not fault:
        return None
    sizes = declared(known.said, among, devices).sizes if known.said else {}
    on = {name: sizes[name] for name in among if name in sizes}
    most = max((peak.get(RAM, 0) for peak in known.peaks), default=0)
    beside = {RAM: sizes[RAM]} if RAM in sizes else {RAM: most} if most else {}
    if on:
        of_file = {tuple(on): on} if len(on) == gpus.count else {}
        return Movable(among, gpus.count, sum(on.values()), NeedSource.DECLARED, of_file, beside, fault)
    if known.peaks:
        size = max(_on_gpus(peak) for peak in known.peaks)
        return Movable(among, gpus.count, size, NeedSource.MEASURED, _measured_on(known.peaks, among), beside, fault)
    if known.guess is not None:
        beside = beside or ({RAM: known.guess[RAM]} if RAM in known.guess else {})
        return Movable(among, gpus.count, _on_gpus(known.guess), NeedSource.ESTIMATED, beside=beside, fault=fault)
    return Movable(among, gpus.count, fault=fault)


def _on_gpus(sizes: Mapping[str, int]) -> int:
    return sum(size for name, size in sizes.items() if name != RAM)


def need_on(one: Movable, runs_on: tuple[str, ...], devices: Mapping[str, Measured]) -> Need:
    """What it needs where it runs, or else on the fewest GPUs on which it fits alone."""
    seen = {name: measured.device for name, measured in devices.items()}
    if runs_on:
        return one.need_on(runs_on, seen)
    need = Need(dict(one.beside), one.source)
    for gpus in one.choices():  # the first one is mostly enough, and of eight GPUs there are 255
        need = one.need_on(gpus, seen)
        if all(need.devices.get(name, 0) <= seen[name].usable for name in one.among):
            break
    return need


def _among(gpus: Gpus, usable: Sequence[str], devices: Mapping[str, Measured]) -> tuple[tuple[str, ...], str]:
    """Names of those from which is chosen, and why nothing can be."""
    there = [name for name, one in devices.items() if one.gpu is not None]
    if gpus.named:
        found = {word: named_gpu(word, devices) for word in gpus.named}
        missing = [visible(word) for word, name in found.items() if name is None]
        if missing:
            return (), f"gpus names {' and '.join(missing)}, which is not there; {_told(there, devices)}"
        names = {name for name in found.values() if name is not None}
        if len(names) < len(found):
            return (), "gpus names a GPU twice"
        return tuple(name for name in there if name in names), ""
    among = _of_one_vendor([name for name in there if name in usable], devices)
    if gpus.count > len(among):
        asked = f"{gpus.count} GPU{'s' if gpus.count > 1 else ''}"
        return (), f"gpus asks for {asked}, and there {'is' if len(among) == 1 else 'are'} {len(among)} to choose from"
    return among, ""


def _told(names: Sequence[str], devices: Mapping[str, Measured]) -> str:
    if not names:
        return "there is no GPU whose memory can be read"
    told = [f"{devices[name].number} ({name})" for name in names[:MOST_TOLD]]
    return f"there {'is' if len(told) == 1 else 'are'} {', '.join(told)}"


def _of_one_vendor(names: Iterable[str], devices: Mapping[str, Measured]) -> tuple[str, ...]:
    by_vendor: dict[tuple[bool, str], list[str]] = {}
    for name in names:
        gpu = devices[name].gpu
        if gpu is not None:
            by_vendor.setdefault((not gpu.is_shared, gpu.vendor), []).append(name)

    def worth(kind: tuple[bool, str]) -> tuple[bool, int]:
        return kind[0], sum(devices[name].device.capacity for name in by_vendor[kind])

    return tuple(by_vendor[max(by_vendor, key=worth)]) if by_vendor else ()


def _measured_on(peaks: Sequence[Mapping[str, int]], among: Sequence[str]) -> dict[tuple[str, ...], dict[str, int]]:
    """The most that was taken of each GPU, by the GPUs that a run had."""
    found: dict[tuple[str, ...], dict[str, int]] = {}
    for peak in peaks:
        gpus = tuple(name for name in among if peak.get(name))
        if gpus:
            before = found.get(gpus, {})
            found[gpus] = {name: max(peak[name], before.get(name, 0)) for name in gpus}
    return found
