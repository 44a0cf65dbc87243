"""What one scheduler has come to, for another one that goes on in its place: that of a process which takes over.

Pure data. What gates and checks say is not in it: the other one asks again. Times are monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from llamaswap_lib.core.failures import Record
from llamaswap_lib.core.model_spec import ModelSpec
from llamaswap_lib.core.run import Run
from llamaswap_lib.core.waiting import Orphan, Ticket


@dataclass(frozen=True, slots=True)
class State:
    """Between two decisions. `former` are models that are not configured any more, and still run.

    `claims` are the models for whose oldest ticket a swap has begun; `unloads`: ticket -> runs that have yet to exit;
    `ended`: model -> when its last run was gone; `second_tries`: models that ran out of memory and are started again;
    `floors`: what such models are taken to need, in bytes by device.
    """

    models: Mapping[str, ModelSpec]
    former: Mapping[str, ModelSpec]
    blocked: Mapping[str, frozenset[str]]
    runs: tuple[Run, ...]
    next_run_id: int
    incarnations: Mapping[str, int]
    load_times: Mapping[str, float]
    cut_short: Mapping[str, int]
    hung: Mapping[str, tuple[int, str]]
    failures: Mapping[str, Record]
    preload: tuple[str, ...]
    tickets: tuple[Ticket, ...]
    orphans: tuple[Orphan, ...]
    claims: frozenset[str]
    unloads: Mapping[int, frozenset[int]]
    ended: Mapping[str, float] = field(default_factory=dict)
    second_tries: frozenset[str] = frozenset()
    floors: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    wake_times: Mapping[str, float] = field(default_factory=dict)
