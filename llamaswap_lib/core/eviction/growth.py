"""Which models have grown: hold more than they were let in with, and leave a device with less than its reserve.

Pure. One thread notes each reading of the memory. While a device has its reserve, all that models hold there is as it
should be; once it has not, what they hold more than before is what they have grown by.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from llamaswap_lib.core.eviction.devices import Memory, NeedSource
from llamaswap_lib.core.eviction.pressure import shortages


class Standing(NamedTuple):
    """The run of a model that is to stay."""

    run_id: int
    is_ready: bool
    is_asleep: bool = False


class Growth:
    """Of all runs that there are."""

    def __init__(self) -> None:
        self._fair: dict[int, dict[str, int] | None] = {}  # run -> what it may hold, by device; None: not known yet

    def note(self, memory: Memory, runs: Mapping[str, Standing]) -> dict[str, dict[str, int]]:
        """Of this reading, for `Memory.grown`. `runs` are by model."""
        lacks = shortages(memory, {model: run.is_ready for model, run in runs.items()})
        before, self._fair, grown = self._fair, {}, {}
        for model, (run_id, is_ready, is_asleep) in runs.items():
            held, need = memory.held.get(model, {}), memory.need(model)
            fair = before.get(run_id)
            if is_asleep:  # what it holds then says nothing of what it may hold awake
                self._fair[run_id] = fair
                continue
            if run_id not in before and need.source is not NeedSource.UNKNOWN:
                fair = dict(need.devices)
            elif fair is None and is_ready and held:
                fair = dict(held)
            if fair is not None and is_ready:
                more = {name: held.get(name, 0) - fair.get(name, 0) for name in lacks}
                grown[model] = {name: size for name, size in more.items() if size > 0}
                fair |= {name: max(size, fair.get(name, 0)) for name, size in held.items() if name not in lacks}
            self._fair[run_id] = fair
        return {model: sizes for model, sizes in grown.items() if sizes}
