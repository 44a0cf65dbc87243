"""Who goes though no model asks for room: for other programs, and for a model that has grown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from llamaswap_lib.core.eviction import NoRoom, Relief, RunningModel
from llamaswap_lib.core.eviction.devices import GB, MB, Device, Memory, Need, NeedSource
from llamaswap_lib.core.eviction.manners import Manners
from llamaswap_lib.core.eviction.memory import MemoryPolicy
from llamaswap_lib.core.eviction.pressure import is_pressed

YIELDS = Device(24 * GB, GB, label="GPU 0", yields=True)
Sizes = Mapping[str, int]


class Scene:
    """Models that hold what they need, are ready, and have been idle for 100 s, unless said otherwise; sizes in GB."""

    def __init__(
        self,
        held: Mapping[str, int | Sizes],
        device: Device = YIELDS,
        *,
        others: float = 0.0,
        grown: Mapping[str, int | Sizes] = {},
        pinned: str = "",
    ) -> None:
        sizes = {model: by_device(size) for model, size in held.items()}
        needs = {model: Need(size, NeedSource.MEASURED) for model, size in sizes.items()}
        devices = {"gpu": replace(device, others=int(others * GB))}
        more = {model: by_device(size) for model, size in grown.items()}
        self.memory = Memory(devices, needs, dict(sizes), grown=more)
        self.seen = {model: idle(model) for model in held}
        self.pinned = frozenset(pinned)

    def now(self, *seen: RunningModel) -> None:
        self.seen |= {one.model: one for one in seen}

    def relief(self, free: str | None = None) -> Relief | None:
        policy = MemoryPolicy(lambda: self.memory, Manners(self.pinned))
        policy.observe(self.seen.__getitem__, lambda _: False)
        return policy.relieve(tuple(self.seen), frozenset(self.seen if free is None else free))

    def goes(self, free: str | None = None) -> str:
        found = self.relief(free)
        return "" if found is None else "".join(found.models)

    def refusal(self, target: str) -> NoRoom | None:
        policy = MemoryPolicy(lambda: self.memory, Manners(self.pinned))
        policy.observe(self.seen.__getitem__, lambda _: False)
        return policy.refuse(target, ())

    def later(self) -> str:
        found = self.relief()
        return "" if found is None else "".join(found.later)


def by_device(size: int | Sizes) -> Sizes:
    return {name: one * GB for name, one in (size if isinstance(size, Mapping) else {"gpu": size}).items()}


def idle(model: str, seconds: float = 100.0, load: float = 10.0) -> RunningModel:
    return RunningModel(model, "ready", seconds, 0, load, 1000.0)


def busy(model: str) -> RunningModel:
    return RunningModel(model, "ready", 0.0, 1, 10.0, 1000.0)


def test_nobody_goes_while_there_is_as_much_left_as_the_reserve() -> None:
    assert Scene({"A": 10, "B": 10}, others=3).relief() is None


def test_the_cheapest_set_goes_that_restores_the_reserve() -> None:
    scene = Scene({"A": 4, "B": 8, "C": 8}, others=5)
    scene.now(idle("A", load=1.0), idle("B", load=5.0), idle("C", load=9.0))
    assert scene.goes() == "A"  # 2 GB are lacking
    scene.memory = replace(scene.memory, devices={"gpu": replace(YIELDS, others=9 * GB)})
    assert scene.goes() == "B"  # 6 are
    found = scene.relief()
    assert found is not None
    assert found.reason == "to make room on GPU 0 for other programs, which use 9.0 GB"
    assert found.kind == "yield"


def test_nobody_goes_for_others_where_it_was_not_said() -> None:
    assert Scene({"A": 10, "B": 10}, replace(YIELDS, yields=False), others=10).relief() is None


def test_nobody_goes_for_others_who_use_nothing() -> None:
    assert Scene({"A": 12, "B": 12}).relief() is None


def test_what_means_nothing_makes_nobody_go() -> None:
    scene = Scene({"A": 10, "B": 10}, others=3 + 60 / 1024)
    assert scene.goes() == ""
    scene.memory = replace(scene.memory, devices={"gpu": replace(YIELDS, others=3 * GB + 65 * MB)})
    assert scene.goes() == "A"


def test_who_serves_loads_or_is_pinned_stays_and_counts() -> None:
    scene = Scene({"A": 6, "B": 6, "C": 6, "P": 6}, others=10, pinned="P")
    scene.now(busy("A"), RunningModel("B"))
    assert scene.goes() == "C"
    assert scene.goes(free="AB") == ""
    assert scene.later() == "AB"  # C alone is not enough


def test_if_all_idle_ones_are_not_enough_those_go_that_help() -> None:
    scene = Scene({"A": 6, "B": 6, "C": 6}, others=20)
    scene.memory = replace(scene.memory, held={**scene.memory.held, "C": {"gpu": 20 * MB}})
    scene.now(busy("A"))
    assert scene.goes() == "B"
    assert scene.later() == "A"


def test_a_model_that_loads_counts_with_what_it_will_take() -> None:
    scene = Scene({"A": 10, "B": 10}, others=4)
    scene.memory = replace(scene.memory, held={"A": {"gpu": 10 * GB}, "B": {"gpu": GB}})
    assert scene.goes() == ""
    scene.now(RunningModel("B"))
    assert scene.goes() == "A"


def test_a_model_of_which_nobody_tells_counts_with_what_it_needs() -> None:
    scene = Scene({"A": 10, "B": 10}, others=4)
    scene.memory = replace(scene.memory, held={})
    assert scene.goes() == "A"


def test_only_who_holds_something_of_the_device_that_lacks_goes() -> None:
    scene = Scene({"A": {"ram": 10}, "B": 20}, others=4)
    scene.memory = replace(scene.memory, devices={**scene.memory.devices, "ram": Device(64 * GB)})
    scene.now(idle("A", load=0.1))
    assert scene.goes() == "B"


def test_each_device_gets_what_it_lacks_and_one_where_nothing_helps_takes_nobody() -> None:
    scene = Scene({"A": {"ram": 4}, "B": {"ram": 4, "gpu": 4}, "C": 12}, others=14)
    ram = Device(8 * GB, GB, 20 * GB, "RAM", yields=True)
    scene.memory = replace(scene.memory, devices={**scene.memory.devices, "ram": ram})
    scene.now(busy("C"), idle("B", load=60.0))
    assert scene.goes() == "AB"
    found = scene.relief()
    assert found is not None
    assert found.later == ("C",)
    assert found.reason.count(" on ") == 2


def test_idle_ones_go_for_a_model_that_has_grown_and_it_stays() -> None:
    scene = Scene({"A": 12, "B": 8, "C": 4}, replace(YIELDS, yields=False), grown={"A": 3})
    scene.now(busy("A"), idle("C", load=5.0))
    found = scene.relief()
    assert found is not None
    assert (found.kind, found.models) == ("growth", ("C",))
    assert found.reason == "to make room on GPU 0 for A, which has grown to 12.0 GB"
    scene.now(idle("A", load=0.1))
    assert scene.goes() == "C"


def test_one_that_has_grown_alone_stays() -> None:
    assert Scene({"A": 24}, replace(YIELDS, yields=False), grown={"A": 3}).goes() == ""


def test_what_was_let_in_with_less_than_the_reserve_left_is_no_growth() -> None:
    assert Scene({"A": 20, "B": 4}, replace(YIELDS, yields=False)).relief() is None


def test_of_several_that_have_grown_the_dearest_stays() -> None:
    scene = Scene({"A": 12, "B": 12}, replace(YIELDS, yields=False), grown={"A": 1, "B": 1})
    scene.now(idle("B", load=60.0))
    assert scene.goes() == "A"
    scene.now(busy("A"))
    assert scene.goes() == "B"


def test_others_come_before_one_that_has_grown_where_it_was_said() -> None:
    scene = Scene({"A": 12, "B": 8}, others=4, grown={"A": 3})
    scene.now(idle("A", load=0.1))
    found = scene.relief()
    assert found is not None
    assert (found.kind, found.models) == ("yield", ("A",))


def test_one_that_serves_goes_later_for_others_also_where_it_stays_as_it_has_grown_on_another_device() -> None:
    ram = Device(64 * GB, GB, label="RAM")
    scene = Scene({"A": {"gpu": 20, "ram": 60}, "B": {"ram": 4}}, others=10, grown={"A": {"ram": 3}})
    scene.memory = replace(scene.memory, devices={**scene.memory.devices, "ram": ram})
    scene.now(busy("A"))
    found = scene.relief()
    assert found is not None
    assert (found.kind, found.models, found.later) == ("growth", ("B",), ("A",))
    scene.now(busy("B"))
    assert scene.later() == "AB"


def test_where_others_come_first_the_reserve_is_lent_to_no_model() -> None:
    scene = Scene({"A": 23}, others=0.5)
    found = scene.refusal("A")
    assert found is not None
    said = "model A needs 23.0 GB on GPU 0 (measured), and other programs use 512 MB of that now"
    assert (found.message, found.is_final) == (said, False)
    scene.memory = replace(scene.memory, devices={"gpu": YIELDS})
    assert scene.refusal("A") is None
    scene.memory = replace(scene.memory, devices={"gpu": replace(YIELDS, yields=False, others=GB // 2)})
    assert scene.refusal("A") is None


def test_it_is_pressed_while_there_is_a_reason() -> None:
    scene = Scene({"A": 20}, others=10)
    assert is_pressed(scene.memory, {"A": True})
    assert not is_pressed(scene.memory, {})
    scene.memory = replace(scene.memory, devices={"gpu": replace(YIELDS, yields=False, others=10 * GB)})
    assert not is_pressed(scene.memory, {"A": True})
    assert is_pressed(replace(scene.memory, grown={"A": {"gpu": GB}}), {"A": True})
