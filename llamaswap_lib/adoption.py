"""How the runs of another process are taken over, by the configuration of this one.

Main thread, before anything runs here. A run that would be started, reached or stopped otherwise now, or whose model is
not configured, is treated as at a reload: it is stopped when its requests have ended.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from llamaswap_lib.core.events import Event, ModelsChanged
from llamaswap_lib.launching import Launching
from llamaswap_lib.runtime.control.live_run import Upstream
from llamaswap_lib.runtime.processes.adopted import AdoptedProcess
from llamaswap_lib.scheduling import Standing, models_changed


class Adoption:
    """What `SuccessionController.adopt` asks."""

    def __init__(self, standing: Standing, launching: Launching) -> None:
        self._standing = standing
        self._launching = launching
        self._replaced: list[str] = []

    def adopt(
        self, described: Mapping[str, Any], read_end: int | None, post: Callable[[Event], None]
    ) -> tuple[AdoptedProcess, Upstream]:
        process, upstream, is_same = self._launching.adopt(described, read_end, post)
        if not is_same:
            self._replaced.append(upstream.model)
        return process, upstream

    def change(self, running: Mapping[str, str], former: Collection[str]) -> ModelsChanged:
        return models_changed(None, self._standing, self._replaced, running, former)
