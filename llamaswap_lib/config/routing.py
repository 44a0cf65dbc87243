"""Which models may run side by side and who goes first: the keys as users write them, and the one form they come to.

Owns `Routing`, the normalised form that the core is built from, and the `...Keys` dataclasses of both spellings in the
file. Frozen, so any thread may read them; `grouping.py` turns one into the other.
"""

# ruff: noqa: RUF009 - `key` and `derived` make a `dataclasses.field`
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from llamaswap_lib.core.eviction.dsl import MatrixSet

from .kinds import Flag, Integer, ListOf, MapOf, Seconds, Section, Text, derived, key


@dataclass(frozen=True, slots=True)
class Group:
    """Models that share a rule about running together."""

    id: str = derived("")
    swap: bool = key("swap", Flag(), "one member at a time", True)
    exclusive: bool = key(
        "exclusive",
        Flag(),
        "a request for a member unloads the models of other groups; false does not keep others from unloading its own "
        "(docs/scheduling.md)",
        True,
    )
    persistent: bool = key("persistent", Flag(), "other groups never unload its members", False)
    members: tuple[str, ...] = key("members", ListOf(Text()), "ids of models; a model is in one group")


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
        "evict_costs", MapOf(Integer(1), "model"), "how dear it is to unload a model; 1 where nothing is said"
    )


@dataclass(frozen=True, slots=True)
class Matrix:
    """The matrix, linked: each set is an expression over ids of models, in the order in which ties are broken."""

    sets: tuple[MatrixSet, ...] = ()
    evict_costs: Mapping[str, int] = derived(factory=dict)  # by id; a model not in it costs 1


@dataclass(frozen=True, slots=True)
class Routing:
    """Who may run beside whom, and who is served first."""

    router: str = "group"  # 'group', 'matrix' or 'policy'
    groups: tuple[Group, ...] = ()  # every model is in exactly one, whatever the router
    matrix: Matrix | None = None  # with router 'matrix'
    policy: str = ""  # with router 'policy': absolute path of the file, ':', name of the class
    fifo_priority: Mapping[str, int] = derived(factory=dict)  # by id; a model not in it has 0
    max_wait: float = 60.0  # seconds; 0 is never


@dataclass(frozen=True, eq=False, repr=False)
class RouterSettingsKeys:
    """The settings of each kind of router; that of the kind in use counts."""

    groups: Mapping[str, Group] = key("groups", MapOf(Section(Group), "group"), "with `use: group`")
    matrix: MatrixKeys | None = key("matrix", Section(MatrixKeys, optional=True), "with `use: matrix`")


@dataclass(frozen=True, eq=False, repr=False)
class RouterKeys:
    """What decides who must go."""

    use: str = key(
        "use",
        Text("group, matrix or path/to/file.py:ClassName"),
        "`group`, `matrix`, or `path/to/file.py:ClassName` for an eviction policy of your own (docs/policies.md)",
        "group",
    )
    settings: RouterSettingsKeys = key("settings", Section(RouterSettingsKeys), "settings of each kind of router")


@dataclass(frozen=True, eq=False, repr=False)
class FifoKeys:
    """The queue: whose turn it is."""

    priority: Mapping[str, int] = key(
        "priority",
        MapOf(Integer(), "model"),
        "model (id or alias) -> integer; higher is served first, 0 where nothing is said",
    )
    max_wait: float = key(
        "maxWait", Seconds(), "seconds after which a waiting request goes first whatever its priority; 0 never", 60.0
    )


@dataclass(frozen=True, eq=False, repr=False)
class SchedulerSettingsKeys:
    """The settings of each kind of scheduler."""

    fifo: FifoKeys = key("fifo", Section(FifoKeys), "with `use: fifo`")


@dataclass(frozen=True, eq=False, repr=False)
class SchedulerKeys:
    """What decides whose turn it is."""

    use: str = key("use", Text("fifo"), "`fifo`", "fifo")
    settings: SchedulerSettingsKeys = key(
        "settings", Section(SchedulerSettingsKeys), "settings of each kind of scheduler"
    )


@dataclass(frozen=True, eq=False, repr=False)
class RoutingKeys:
    """The section `routing` as it is written."""

    router: RouterKeys = key("router", Section(RouterKeys), "which models may run side by side")
    scheduler: SchedulerKeys = key("scheduler", Section(SchedulerKeys), "which request is served first")
