"""What models that were never measured are estimated to need, by device; found out once for each digest.

One thread, `hardware`. Files of models are read for PATIENCE seconds at a time: with many of them the rest follows at
the next reading of the memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from llamaswap_lib.config.schema import Model
from llamaswap_lib.estimates.estimator import Estimate, Estimator
from llamaswap_lib.memory.devices import RAM, Measured, candidates, declared, takes_of_ram
from llamaswap_lib.memory.files_apart import FilesApart, folder_of

PATIENCE = 0.5  # seconds


def estimated(
    estimator: Estimator, model: Model, usable: Sequence[str], devices: Mapping[str, Measured]
) -> tuple[dict[str, int] | None, str]:
    """Bytes by device, `usable` being the GPUs that it sees; or None, and why."""
    found: Estimate = estimator.estimate(model, {name: devices[name].device.usable for name in usable})
    if found.sizes is None:
        return None, found.reason
    sizes = dict(declared(found.sizes, usable, devices).sizes)
    shared = (name for name in usable if (gpu := devices[name].gpu) is not None and takes_of_ram(gpu))
    if taken := sum(sizes.get(name, 0) for name in shared):
        sizes[RAM] = sizes.get(RAM, 0) + taken
    return {name: size for name, size in sizes.items() if name in devices}, ""


def estimated_where_it_runs(
    estimator: Estimator, model: Model, usable: Sequence[str], devices: Mapping[str, Measured]
) -> tuple[dict[str, int] | None, str]:
    """The same of a model whose GPUs may be chosen for it: on as few as will do, and what needs least room first.

    The more GPUs it gets the more it takes, and a server makes its context as large as those that it gets allow.
    """
    found: tuple[dict[str, int] | None, str] = None, ""
    for gpus in _choices(model, usable, devices):
        found = estimated(estimator, model, gpus, devices)
        sizes = found[0] or {}
        if all(sizes.get(name, 0) <= devices[name].device.usable for name in gpus):
            break
    return found


def _choices(model: Model, usable: Sequence[str], devices: Mapping[str, Measured]) -> Iterator[Sequence[str]]:
    """GPUs that it may get, the largest ones, fewest first; all that it sees, where none are chosen."""
    if model.gpus is None or not usable:
        yield usable
        return
    among, _ = candidates(model.gpus, usable, devices)
    if model.gpus.named:
        yield among
        return
    largest = sorted(among, key=lambda name: -devices[name].device.usable)
    for count in [model.gpus.count] if model.gpus.count else range(1, len(largest) + 1):
        chosen = largest[:count]
        yield [name for name in among if name in chosen]


class Estimates:
    """Of all models, by digest."""

    def __init__(self, estimator: Estimator, files: FilesApart) -> None:
        self._estimator, self._files = estimator, files
        self._held: set[str] = set()  # folders of which something was not read
        self._known: dict[str, tuple[object, Mapping[str, int]]] = {}  # for the room that there was

    def begin(self, digests: Mapping[str, str]) -> None:
        """Another round; what is in none of these digests, by model, is forgotten."""
        kept = set(digests.values())
        self._known = {digest: known for digest, known in self._known.items() if digest in kept}
        self._held = set()
        self._estimator.begin()

    @property
    def is_behind(self) -> bool:
        """Whether some files are still to be read, and can be."""
        return self._estimator.is_behind or any(not self._files.is_held(folder) for folder in self._held)

    def find(self, digest: str, model: Model, usable: Sequence[str], devices: Mapping[str, Measured]) -> None:
        """Have it known, if it can be."""
        room = [(name, devices[name].device.usable) for name in usable]
        if digest in self._known and self._known[digest][0] == room:
            return
        read = partial(estimated_where_it_runs, self._estimator, model, usable, devices)
        folder = folder_of(model)
        nothing: tuple[dict[str, int] | None, str] = None, ""
        sizes, _ = self._files.ask(folder, read, nothing)
        if self._files.is_held(folder):
            self._held.add(folder)
        if sizes is not None:
            self._known[digest] = room, sizes

    def need(self, digest: str) -> Mapping[str, int] | None:
        known = self._known.get(digest)
        return None if known is None else known[1]
