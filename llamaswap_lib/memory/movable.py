"""Models whose GPUs are chosen for them: which they may get, and what they need there. Pure, any thread.

GPUs of one vendor are chosen, those with memory of their own if there are some: a server computes with the library of
one vendor. Which are meant where there are several, a list says; else those that have most memory together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from llamaswap_lib.config.device_keys import Gpus
from llamaswap_lib.core.eviction.devices import Movable, Need, NeedSource
from llamaswap_lib.memory.devices import RAM, Measured, candidates, declared


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
    among, fault = candidates(gpus, usable, devices)
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


def _measured_on(peaks: Sequence[Mapping[str, int]], among: Sequence[str]) -> dict[tuple[str, ...], dict[str, int]]:
    """The most that was taken of each GPU, by the GPUs that a run had."""
    found: dict[tuple[str, ...], dict[str, int]] = {}
    for peak in peaks:
        gpus = tuple(name for name in among if peak.get(name))
        if gpus:
            before = found.get(gpus, {})
            found[gpus] = {name: max(peak[name], before.get(name, 0)) for name in gpus}
    return found
