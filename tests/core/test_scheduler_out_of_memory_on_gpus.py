"""The scheduler and models that run out of memory on a GPU that was chosen for them: where they are tried next."""

from __future__ import annotations

from llamaswap_lib.core.effects import DropRun, Effect, Fault, Refuse, ShutIfIdle, StartProcess, StopProcess
from llamaswap_lib.core.eviction import Placement
from llamaswap_lib.core.eviction.devices import GB, Device, Memory, Movable, NeedSource
from llamaswap_lib.core.eviction.manners import Manners
from llamaswap_lib.core.eviction.memory import MemoryPolicy
from tests.core.story import Story

WHERE = {"g0": "GPU 0", "g1": "GPU 1"}
DIED = "exited with code 1"


class Cards:
    """Two GPUs of these sizes in GB. Needs in GB; each model goes where it suits, on `count` of them."""

    def __init__(self, first: int, second: int, count: int = 1, **needs: int) -> None:
        sizes = {"g0": first, "g1": second}
        devices = {name: Device(size * GB, label=WHERE[name]) for name, size in sizes.items()}
        moves = {name: Movable(("g0", "g1"), count, size * GB, NeedSource.DECLARED) for name, size in needs.items()}
        alone = {model: one.need_on(one.choices()[0], devices) for model, one in moves.items()}
        memory = Memory(devices, alone, movable=moves)
        self.story = Story(max_wait=60.0, rules=MemoryPolicy(lambda: memory, Manners()).rules())

    def load(self, model: str, ticket: int, run_id: int, gpu: str) -> None:
        assert self.story.arrive(ticket, model) == [start(run_id, model, gpu)]
        self.story.ready(run_id)

    def fail(self, run_id: int) -> list[Effect]:
        return self.story.exited(run_id, DIED, out_of_memory="cudaMalloc failed: out of memory")


def start(run_id: int, model: str, *gpus: str) -> StartProcess:
    return StartProcess(run_id, model, Placement(gpus, " and ".join(WHERE[gpu] for gpu in gpus)))


def test_where_a_gpu_was_too_small_though_it_was_empty_a_larger_one_is_taken() -> None:
    cards = Cards(10, 24, B=8)
    assert cards.story.arrive(1, "B") == [start(1, "B", "g0")]
    assert cards.fail(1)[-1] == start(2, "B", "g1")


def test_it_is_not_put_on_another_gpu_where_less_is_free() -> None:
    cards = Cards(24, 20, A=4, C=12, B=8)
    cards.load("C", 1, 1, "g1")
    cards.story.inside = {1: (1, 0.0)}
    cards.load("A", 2, 2, "g1")  # where 4 GB are left
    cards.story.inside = {1: (1, 0.0), 2: (1, 0.0)}
    assert cards.story.arrive(3, "B") == [start(3, "B", "g0")]
    cards.story.inside = {1: (0, 0.0), 2: (0, 0.0)}
    (refused,) = [effect for effect in cards.fail(3) if isinstance(effect, Refuse)]
    assert refused.fault is Fault.OUT_OF_MEMORY  # all of GPU 0 was not enough, and GPU 1 is smaller


def test_more_goes_on_the_gpu_that_can_have_enough() -> None:
    cards = Cards(24, 40, A=16, C=26, B=9)
    cards.load("A", 1, 1, "g0")
    cards.load("C", 2, 2, "g1")
    assert cards.story.arrive(3, "B") == [start(3, "B", "g1")]
    question = ShutIfIdle((2,))
    assert cards.fail(3)[-1] == ShutIfIdle((1,))  # 14 GB were free on GPU 1, so 16 are needed: GPU 0 has them without A
    assert cards.story.answer(ShutIfIdle((1,)), 0) == [StopProcess(1, "swap", "to make room for B")]
    assert cards.story.exited(1) == [DropRun(1), start(4, "B", "g0")]
    assert cards.fail(4)
    cards.story.now = 2.0
    assert cards.story.arrive(4, "B") == [question]  # and now more than 24


def test_as_few_gpus_as_will_do_may_be_more_than_at_first() -> None:
    cards = Cards(24, 24, 0, B=8)
    assert cards.story.arrive(1, "B") == [start(1, "B", "g0")]
    assert cards.fail(1)[-1] == start(2, "B", "g0", "g1")


def test_where_all_were_too_small_it_is_loaded_later_on_the_largest_with_nobody_beside() -> None:
    cards = Cards(10, 24, A=4, B=8)
    cards.story.arrive(1, "B")
    cards.fail(1)
    assert [effect.fault for effect in cards.fail(2) if isinstance(effect, Refuse)] == [Fault.OUT_OF_MEMORY]
    cards.story.now = 2.0
    assert cards.story.arrive(2, "B") == [start(3, "B", "g1")]
    cards.fail(3)
    cards.story.now = 10.0
    cards.load("A", 3, 4, "g0")
    assert cards.story.arrive(4, "B") == [start(5, "B", "g1")]
