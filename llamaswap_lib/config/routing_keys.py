"""The keys that say which models may run side by side, and which request is served first.

Owns their dataclasses, as `sections.py` does for the others; but for `Routing`, the one form to which `grouping.py`
brings both spellings of the `...Keys`.
"""

# ruff: noqa: RUF009 - `key` and `derived` make a `dataclasses.field`
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from llamaswap_lib.core.eviction import group
from llamaswap_lib.core.eviction.dsl import MatrixSet
from llamaswap_lib.typed_yaml.kinds import (
    Choice,
    Flag,
    Integer,
    ListOf,
    MapOf,
    Seconds,
    Section,
    Text,
    derived,
    key,
)
from llamaswap_lib.typed_yaml.sizes import Size, SizeOrShare

WHEN_QUEUED = (
    "what the others do while a member of it is queued elsewhere: `evict` unloads the one that has been idle longest,"
    " one after the other, until the job of the member starts (llamaswap only; see docs/clusters.md)"
)


@dataclass(frozen=True, slots=True)
class DeviceKeys:
    """How much of a device models may have."""

    capacity: int | None = key("capacity", Size(), "what there is of it; as measured unless set")
    reserve: float | None = key(
        "reserve", SizeOrShare(or_none=True), "what is left free, a size or a share of the capacity; 5% unless set"
    )
    yield_to: str = key(
        "yieldTo",
        Choice(("nobody", "others")),
        "`others`: when other programs leave less than the reserve, idle models go",
        "nobody",
    )


@dataclass(frozen=True, slots=True)
class MemoryKeys:
    """Models stay as long as they fit."""

    devices: Mapping[str, DeviceKeys] = key(
        "devices", MapOf(Section(DeviceKeys), "device"), "`ram`, or a GPU by its number or UUID"
    )
    min_residency: float = key(
        "minResidency",
        Seconds(),
        "seconds that a model stays after it was loaded, unless somebody has waited for `maxWait`",
        10.0,
    )
    settle_timeout: float = key(
        "settleTimeout",
        Seconds(maximum=60),
        "seconds for which a start waits at most until memory of a model that has ended is free; 0 for no wait",
        5.0,
    )


@dataclass(frozen=True, slots=True)
class Group(group.Group):
    """Models that share a rule about running together."""

    name: str = derived("")
    members: tuple[str, ...] = key("members", ListOf(Text()), "ids of models; a model is in one group")
    swap: bool = key("swap", Flag(), "one member at a time", True)
    exclusive: bool = key(
        "exclusive",
        Flag(),
        "a request for a member unloads the models of other groups; with false, other groups may still unload its "
        "members (docs/scheduling.md)",
        True,
    )
    persistent: bool = key("persistent", Flag(), "other groups never unload its members", False)
    when_queued: str = key("whenQueued", Choice(("wait", "evict")), WHEN_QUEUED, "wait")


@dataclass(frozen=True, eq=False, repr=False)
class MatrixKeys:
    """The matrix as it is written."""

    variables: Mapping[str, str] = key("vars", MapOf(Text(), "short name"), "short name -> id of a model")
    sets: Mapping[str, str] = key(
        "sets",
        MapOf(Text(), "set"),
        "name -> expression of `&`, `|`, `()`, `+set` and names: what may run together",
        required=True,
    )
    evict_costs: Mapping[str, int] = key(
        "evict_costs", MapOf(Integer(1), "model"), "the cost of unloading a model; 1 unless set"
    )


@dataclass(frozen=True, slots=True)
class Matrix:
    """The matrix, linked: each set is an expression over ids of models, in the order in which ties are broken."""

    sets: tuple[MatrixSet, ...] = ()
    evict_costs: Mapping[str, int] = derived(factory=dict)  # by id; a model not in it costs 1


@dataclass(frozen=True, slots=True)
class Routing:
    """Who may run beside whom, and who is served first.

    With router 'memory' groups and matrix are those that are written, and say what may not run together beside that.
    """

    router: str = "group"  # 'group', 'matrix', 'memory' or 'policy'
    groups: tuple[Group, ...] = ()  # every model is in exactly one, whatever the router, but for 'memory'
    matrix: Matrix | None = None  # with router 'matrix' or 'memory'
    memory: MemoryKeys = derived(factory=MemoryKeys)
    policy: str = ""  # with router 'policy': absolute path of the file, ':', name of the class
    fifo_priority: Mapping[str, int] = derived(factory=dict)  # by id; a model not in it has 0
    max_wait: float = 60.0  # seconds; 0 is never


@dataclass(frozen=True, eq=False, repr=False)
class RouterSettingsKeys:
    """The settings of each kind of router; only those of the kind in use count."""

    groups: Mapping[str, Group] = key("groups", MapOf(Section(Group), "group"), "with `use: group` or `memory`")
    matrix: MatrixKeys | None = key("matrix", Section(MatrixKeys, optional=True), "with `use: matrix` or `memory`")
    memory: MemoryKeys = key(
        "memory", Section(MemoryKeys), "devices, and with `use: memory` what it goes by (llamaswap only)"
    )


@dataclass(frozen=True, eq=False, repr=False)
class RouterKeys:
    """What decides which models must be unloaded."""

    use: str = key(
        "use",
        Text("group, matrix, memory or path/to/file.py:ClassName"),
        "`group`, `matrix`, `memory` (docs/memory.md), or `path/to/file.py:ClassName` for an eviction policy of your "
        "own (docs/policies.md)",
        "group",
    )
    settings: RouterSettingsKeys = key("settings", Section(RouterSettingsKeys), "settings of each kind of router")


@dataclass(frozen=True, eq=False, repr=False)
class FifoKeys:
    """The queue: which request is served next."""

    priority: Mapping[str, int] = key(
        "priority",
        MapOf(Integer(), "model"),
        "model (id or alias) -> integer; higher is served first; 0 unless set",
    )
    max_wait: float = key(
        "maxWait", Seconds(), "seconds after which a waiting request comes first, whatever its priority; 0 never", 60.0
    )


@dataclass(frozen=True, eq=False, repr=False)
class SchedulerSettingsKeys:
    """The settings of each kind of scheduler."""

    fifo: FifoKeys = key("fifo", Section(FifoKeys), "with `use: fifo`")


@dataclass(frozen=True, eq=False, repr=False)
class SchedulerKeys:
    """What decides which request is served next."""

    use: str = key("use", Text("fifo"), "`fifo`", "fifo")
    settings: SchedulerSettingsKeys = key(
        "settings", Section(SchedulerSettingsKeys), "settings of each kind of scheduler"
    )


@dataclass(frozen=True, eq=False, repr=False)
class RoutingKeys:
    """The section `routing` as it is written."""

    router: RouterKeys = key("router", Section(RouterKeys), "which models may run side by side")
    scheduler: SchedulerKeys = key("scheduler", Section(SchedulerKeys), "which request is served first")


@dataclass(frozen=True, eq=False, repr=False)
class RoutingInput:
    """The keys at top level that come to `Config.routing`: the section, and the older spelling beside it."""

    routing: RoutingKeys = key(
        "routing", Section(RoutingKeys), "which models may run side by side, and which request is served first"
    )
    groups: Mapping[str, Group] = key(
        "groups", MapOf(Section(Group), "group"), "older spelling of `routing.router.settings.groups`"
    )
    matrix: MatrixKeys | None = key(
        "matrix", Section(MatrixKeys, optional=True), "older spelling of `routing.router.settings.matrix`"
    )
