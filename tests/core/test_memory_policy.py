"""The memory policy: who goes for whom, by what fits."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from llamaswap_lib.core.eviction import RunningModel
from llamaswap_lib.core.eviction.devices import GB, Device, Memory, Need, NeedSource
from llamaswap_lib.core.eviction.gaps import Gaps
from llamaswap_lib.core.eviction.group import Group, GroupPolicy
from llamaswap_lib.core.eviction.manners import Manners
from llamaswap_lib.core.eviction.memory import MemoryPolicy

GPU = {"gpu": Device(24 * GB, 1 * GB, label="GPU 0")}


class Scene:
    """Models that are ready and idle for 100 s, unless said otherwise; needs in GB."""

    def __init__(
        self, needs: Mapping[str, int | Mapping[str, int]], devices: Mapping[str, Device] = GPU, **manners: object
    ) -> None:
        self.memory = Memory(devices, {model: need_of(size) for model, size in needs.items()})
        self.seen: dict[str, RunningModel] = {}
        self.policy = MemoryPolicy(lambda: self.memory, Manners(**manners))  # type: ignore[arg-type]

    def now(self, *seen: RunningModel) -> None:
        self.seen |= {one.model: one for one in seen}

    def look(self, stands: Collection[str] = ()) -> None:
        self.policy.observe(self.view, lambda model: model in stands)

    def view(self, model: str) -> RunningModel:
        return self.seen.get(model, idle(model))

    def goes(self, target: str, running: str, stands: Collection[str] = ()) -> str:
        """Models of one letter."""
        self.look(stands)
        return "".join(sorted(self.policy.evict(target, tuple(running))))


def need_of(size: int | Mapping[str, int]) -> Need:
    sizes = size if isinstance(size, Mapping) else {"gpu": size}
    return Need({name: one * GB for name, one in sizes.items()}, NeedSource.DECLARED)


def idle(model: str, seconds: float = 100.0, load: float = 10.0, ready: float = 1000.0) -> RunningModel:
    return RunningModel(model, "ready", seconds, 0, load, ready)


def busy(model: str) -> RunningModel:
    return RunningModel(model, "ready", 0.0, 1, 10.0, 1000.0)


def test_nobody_goes_while_there_is_room() -> None:
    scene = Scene({"A": 8, "B": 8, "C": 7})
    assert scene.goes("C", "AB") == ""


def test_a_byte_too_much_is_too_much() -> None:
    scene = Scene({"A": 8, "B": 8, "C": 7})
    scene.memory = replace(scene.memory, devices={"gpu": replace(GPU["gpu"], others=1)})
    assert scene.goes("C", "AB") != ""


def test_no_more_goes_than_has_to() -> None:
    scene = Scene({"A": 4, "B": 6, "C": 12, "D": 6})
    assert scene.goes("D", "ABC") == "B"  # what it lacks is 5 GB


def test_who_is_idle_for_long_goes_before_who_was_just_used() -> None:
    scene = Scene({"A": 10, "B": 10, "C": 10})
    scene.now(idle("A", seconds=5.0), idle("B", seconds=3000.0))
    assert scene.goes("C", "AB") == "B"


def test_who_loads_fast_goes_before_who_loads_slowly() -> None:
    scene = Scene({"A": 10, "B": 10, "C": 10})
    scene.now(idle("A", load=60.0), idle("B", load=5.0))
    assert scene.goes("C", "AB") == "B"


def test_who_is_asked_for_often_stays() -> None:
    scene = Scene({"A": 10, "B": 10, "C": 10})
    scene.memory = replace(scene.memory, gaps={"A": 3600.0})
    assert scene.goes("C", "AB") == "A"


def test_each_step_of_priority_doubles_what_the_loss_counts() -> None:
    scene = Scene({"A": 10, "B": 10, "C": 10}, priorities={"A": 1})
    scene.now(idle("A", load=10.0), idle("B", load=19.0))
    assert scene.goes("C", "AB") == "B"
    scene.now(idle("B", load=21.0))
    assert scene.goes("C", "AB") == "A"


def test_a_busy_model_goes_only_if_all_idle_ones_are_not_enough() -> None:
    scene = Scene({"A": 10, "B": 6, "C": 6, "D": 10, "E": 16})
    scene.now(busy("A"))
    assert scene.goes("D", "ABC") == "BC"
    assert "A" in scene.goes("E", "ABC")


def test_a_loading_model_counts_as_busy_and_one_that_ends_costs_nothing() -> None:
    scene = Scene({"A": 10, "B": 10, "C": 10})
    scene.now(RunningModel("A"))
    assert scene.goes("C", "AB") == "B"
    scene.now(idle("A", seconds=3000.0), RunningModel("B", "stopping"))
    assert scene.goes("C", "AB") == "B"


def test_one_that_has_just_become_ready_goes_last() -> None:
    scene = Scene({"A": 10, "B": 10, "C": 10}, min_residency=10.0)
    scene.now(idle("A", load=1.0, ready=9.0), idle("B", load=100.0, ready=11.0))
    assert scene.goes("C", "AB") == "B"


def test_a_pinned_model_never_goes() -> None:
    scene = Scene({"A": 10, "B": 10, "C": 10}, pinned=frozenset("A"))
    scene.now(idle("A", seconds=9000.0), busy("B"))
    assert scene.goes("C", "AB") == "B"


def test_a_model_that_holds_more_than_it_needs_counts_with_what_it_holds() -> None:
    scene = Scene({"A": 10, "B": 10})
    assert scene.goes("B", "A") == ""
    scene.memory = replace(scene.memory, held={"A": {"gpu": 14 * GB}})
    assert scene.goes("B", "A") == "A"


def test_only_models_on_a_device_where_room_is_lacking_go() -> None:
    devices = {**GPU, "ram": Device(64 * GB, label="RAM")}
    scene = Scene({"A": {"ram": 40}, "B": {"gpu": 20, "ram": 10}, "C": {"gpu": 10, "ram": 5}}, devices)
    assert scene.goes("C", "AB") == "B"


def test_what_a_model_does_not_need_may_be_full() -> None:
    devices = {**GPU, "ram": Device(16 * GB, others=20 * GB)}
    scene = Scene({"A": {"ram": 10}, "B": {"gpu": 20}}, devices)
    assert scene.goes("B", "A") == ""


def test_a_model_of_unknown_need_is_loaded_alone_and_goes_for_others_until_it_is_known() -> None:
    scene = Scene({"A": 2, "B": 2, "P": 2}, pinned=frozenset("P"))
    assert scene.goes("U", "ABP") == "AB"
    assert scene.goes("A", "UP") == "U"
    known = {**scene.memory.needs, "U": Need({"gpu": 3 * GB}, NeedSource.MEASURED)}
    scene.memory = replace(scene.memory, needs=known)
    assert scene.goes("A", "UP") == ""


def test_unknown_need_on_one_device_leaves_the_others_alone() -> None:
    devices = {**GPU, "gpu1": Device(24 * GB)}
    scene = Scene({"A": 2, "B": {"gpu1": 2}}, devices)
    scene.memory = replace(scene.memory, needs={**scene.memory.needs, "U": Need({"gpu1": 0})})
    assert scene.goes("U", "AB") == "B"


def guessed(scene: Scene, **sizes: int) -> None:
    """These needs of models are estimates, in GB on the GPU."""
    guesses = {model: Need({"gpu": size * GB}, NeedSource.ESTIMATED) for model, size in sizes.items()}
    scene.memory = replace(scene.memory, needs={**scene.memory.needs, **guesses})


def test_an_estimate_counts_like_a_need_that_is_known() -> None:
    scene = Scene({"A": 8, "B": 8})
    guessed(scene, E=7)
    assert scene.goes("E", "AB") == ""
    assert scene.goes("A", "E") == ""
    guessed(scene, E=8)
    assert len(scene.goes("E", "AB")) == 1
    scene.look()
    assert str(scene.policy.explain("E", ("A", "B"))).startswith(
        "E needs 8.0 GB on GPU 0 (estimated), where 7.0 GB are free; "
    )


def test_an_estimate_that_cannot_fit_refuses_nothing_but_is_loaded_alone() -> None:
    devices = {**GPU, "ram": Device(64 * GB, label="RAM")}
    scene = Scene({"A": 8, "P": 4, "R": {"ram": 8}}, devices, pinned=frozenset("P"))
    for size, others, running, goes in ((24, 0, "APR", "A"), (20, 0, "APR", "A"), (19, 0, "R", ""), (19, 5, "AR", "A")):
        guessed(scene, E=size)
        scene.memory = replace(scene.memory, devices={**devices, "gpu": replace(GPU["gpu"], others=others * GB)})
        assert refusal(scene, "E", running) is None
        assert scene.goes("E", running) == goes
    scene.look()
    assert str(scene.policy.explain("E", ("A", "R"))) == (
        "E needs 19.0 GB on GPU 0 (estimated), where 10.0 GB are free; that may be too much, so it is loaded alone; "
        "A holds 8.0 GB on GPU 0"
    )


def test_one_that_was_estimated_too_large_goes_for_others_until_it_is_measured() -> None:
    scene = Scene({"A": 8})
    guessed(scene, E=30)
    assert scene.goes("A", "E") == "E"


def test_without_devices_one_model_runs_at_a_time() -> None:
    scene = Scene({}, devices={})
    assert scene.goes("A", "BC") == "BC"


def test_nobody_goes_for_a_model_that_runs() -> None:
    scene = Scene({"A": 20, "B": 20})
    assert scene.goes("A", "AB") == ""


def test_what_groups_do_not_allow_goes_first_and_memory_is_judged_for_what_stays() -> None:
    class Named(GroupPolicy):
        def names(self, model: str) -> bool:
            return model in "AB"

    together = Named([Group("one", ("A", "B"))])
    scene = Scene({"A": 2, "B": 20, "C": 2, "D": 10}, together=together)
    assert scene.goes("A", "BC") == "B"
    assert scene.goes("C", "AD") == ""  # C is in no group
    scene.look()
    assert "group one" in str(scene.policy.explain("A", ("B", "C")))


def test_an_answer_that_stands_is_kept_while_others_would_have_to_be_waited_for_too() -> None:
    scene = Scene({"A": 11, "B": 11, "C": 11})
    scene.now(replace(busy("A"), load_seconds=1.0), replace(busy("B"), load_seconds=2.0))
    assert scene.goes("C", "AB") == "A"
    scene.now(replace(busy("A"), load_seconds=3.0))
    assert scene.goes("C", "AB", stands="C") == "A"
    assert scene.goes("C", "AB") == "B"
    scene.now(idle("A"))
    assert scene.goes("C", "AB", stands="C") == "A"  # nobody has to be waited for


def test_an_answer_that_stands_goes_if_nobody_has_to_go_any_more() -> None:
    scene = Scene({"A": 12, "C": 11})
    scene.memory = replace(scene.memory, devices={"gpu": replace(GPU["gpu"], others=1 * GB)})
    assert scene.goes("C", "A", stands="C") == "A"
    scene.memory = replace(scene.memory, devices=GPU)
    assert scene.goes("C", "A", stands="C") == ""


def refusal(scene: Scene, target: str, running: str = "") -> tuple[str, bool] | None:
    scene.look()
    found = scene.policy.refuse(target, tuple(running))
    return None if found is None else (found.message, found.is_final)


def test_what_is_larger_than_the_device_less_its_reserve_never_fits() -> None:
    assert refusal(Scene({"A": 23}), "A") is None
    said = "model A needs 24.0 GB on GPU 0 (declared), and there are 24.0 GB, of which 1.0 GB are kept free"
    assert refusal(Scene({"A": 24}), "A") == (said, True)


def test_what_only_fits_if_a_pinned_model_went_never_fits_while_that_runs() -> None:
    scene = Scene({"A": 20, "P": 4}, pinned=frozenset("P"))
    assert refusal(scene, "A") is None
    found = refusal(scene, "A", "P")
    assert found is not None
    assert found[1]
    assert found[0].endswith("1.0 GB are kept free and P, which is pinned, holds 4.0 GB")


def test_what_has_been_measured_has_shown_that_it_runs_and_may_use_the_reserve() -> None:
    scene = Scene({"A": 5})
    scene.memory = replace(scene.memory, needs={"A": need_of(5), "M": Need({"gpu": 24 * GB}, NeedSource.MEASURED)})
    assert refusal(scene, "M") is None
    assert scene.goes("M", "A") == "A"
    scene.memory = replace(scene.memory, needs={"M": Need({"gpu": 25 * GB}, NeedSource.MEASURED)})
    assert refusal(scene, "M") is not None


def test_what_other_programs_use_keeps_a_model_out_for_now() -> None:
    scene = Scene({"A": 20})
    scene.memory = replace(scene.memory, devices={"gpu": replace(GPU["gpu"], others=6 * GB)})
    said = "model A needs 20.0 GB on GPU 0 (declared), and other programs use 6.0 GB of that now"
    assert refusal(scene, "A") == (said, False)


def test_unknown_need_is_never_refused() -> None:
    assert refusal(Scene({}), "A") is None


def test_it_explains_itself_with_numbers() -> None:
    scene = Scene({"A": 16, "B": 10})
    scene.look()
    why = scene.policy.explain("B", ("A",))
    assert str(why) == "B needs 10.0 GB on GPU 0, where 7.0 GB are free; A holds 16.0 GB on GPU 0"
    assert (why.kind, why.room, why.reasons) == ("memory", "3.0 GB on GPU 0", {"A": "holds 16.0 GB on GPU 0"})
    assert why.for_room == ("A",)


def test_rules_for_other_threads_know_what_ran_then_and_the_memory_of_now() -> None:
    scene = Scene({"A": 16, "B": 10})
    scene.look()
    rules = scene.policy.rules()
    assert rules.still is not None
    still = rules.still({"A": idle("A")})
    assert still.observe is None
    scene.now(RunningModel("A", "stopping"))
    scene.look()
    assert list(still.evict("B", ("A",))) == ["A"]
    assert "A holds 16.0 GB" in str(still.explain("B", ("A",)))
    scene.memory = replace(scene.memory, devices={"gpu": Device(100 * GB)})
    assert list(still.evict("B", ("A",))) == []
    scene.memory = replace(scene.memory, devices={"gpu": Device(9 * GB)})
    assert still.refuse is not None
    assert still.refuse("B", ()) is not None


def test_the_gaps_between_requests_are_averaged_in_favour_of_the_last_ones() -> None:
    gaps = Gaps()
    gaps.note("A", 100.0)
    assert gaps.now == {}
    gaps.note("A", 110.0)
    before = gaps.now
    assert before == {"A": 10.0}
    gaps.note("A", 160.0)
    gaps.note("B", 160.0)
    assert gaps.now == {"A": 20.0}
    assert before == {"A": 10.0}


def test_requests_that_are_told_out_of_order_make_no_gap_that_is_negative() -> None:
    gaps = Gaps()
    for at in (100.0, 110.0, 109.0):
        gaps.note("A", at)
    assert gaps.now["A"] > 0
