"""What each run holds of each device, and the most that it has held since it is ready. Pure.

Of the machine's memory a run holds its share of it (PSS), the files that it has mapped among them: a model that is read
from its file is as slow as the disk once they are dropped. The machine counts such files as free, so what is `own` of
the memory in use is that share without them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from llamaswap_lib.core.eviction.devices import Need, NeedSource
from llamaswap_lib.core.snapshot import RunView
from llamaswap_lib.hardware.readings import RunMemory
from llamaswap_lib.memory.devices import RAM, Measured, takes_of_ram


class Taken(NamedTuple):
    """Of one run, in bytes by device. What is not known is not in it; `unseen` are devices of which nobody tells."""

    model: str
    digest: str
    is_ready: bool
    held: Mapping[str, int]
    own: Mapping[str, int]
    peaks: Mapping[str, int]
    unseen: tuple[str, ...] = ()
    ended_at: float = 0.0

    def used(self, device: str, need: Need | None) -> int:
        """What of the use of a device is its own; what it needs, where nobody tells."""
        if device in self.own or device == RAM or need is None or need.source is NeedSource.UNKNOWN:
            return self.own.get(device, 0)
        return need.devices.get(device, 0)

    def most(self, device: str, need: Need | None) -> int:
        """The same, or what it may take of it until it has loaded."""
        return max(self.used(device, need), 0 if need is None else need.devices.get(device, 0))


def taken(
    run: RunView,
    memory: RunMemory | None,
    before: Taken | None,
    digest: str,
    devices: Mapping[str, Measured],
    sees: Collection[str],
) -> Taken:
    """As of this reading; `before` is the one before it. `sees`: GPUs; of others it takes nothing, if nobody tells."""
    held, own = _sums(memory, devices)
    peaks = dict(before.peaks) if before is not None else {}
    if run.ready_at is not None and run.state == "ready" and held:
        peaks = {name: max(held.get(name, 0), peaks.get(name, 0)) for name in {*held, *peaks}}
    told = memory.unseen if memory is not None else tuple(devices)
    unseen = tuple(name for name in told if name == RAM or name in sees)
    return Taken(run.model, digest, run.is_settled, held, own, peaks, unseen)


def unread_run(model: str, ended_at: float) -> Taken:
    """One that came and went between two readings: what it took may be as much as it needs."""
    return Taken(model, "", False, {}, {}, {}, (), ended_at)


def _sums(memory: RunMemory | None, devices: Mapping[str, Measured]) -> tuple[dict[str, int], dict[str, int]]:
    held: dict[str, int] = {}
    own: dict[str, int] = {}
    for usage in memory.usages if memory is not None else ():
        if usage.bytes is None:
            continue
        one = devices.get(usage.device)
        names: Collection[str] = (usage.device,) if one is not None else ()
        if usage.device != RAM and (one is None or one.gpu is None or takes_of_ram(one.gpu)):
            names = (*names, RAM)
        for name in names:
            held[name] = held.get(name, 0) + usage.bytes + (usage.mapped_bytes or 0)
            own[name] = own.get(name, 0) + usage.bytes
    return held, own


def others(device: str, used: int, runs: Collection[Taken], needs: Mapping[str, Need], settled: int | None) -> int:
    """What is used of a device by what is no model of ours.

    `runs` are those that there are, and those that have just ended. `settled`: what it was before one of them loaded or
    ended; None if none does.
    """
    known = [(run, needs.get(run.model)) for run in runs]
    found = max(0, used - sum(run.used(device, need) for run, need in known if not run.ended_at))
    if settled is None:
        return found
    is_any_unknown = any(
        not run.is_ready and (need is None or need.source is NeedSource.UNKNOWN) for run, need in known
    )
    least = 0 if is_any_unknown else max(0, used - sum(run.most(device, need) for run, need in known))
    return max(least, min(found, settled))
