"""What the log says of a swap."""

from __future__ import annotations

from tests.e2e.conftest import RunProgram
from tests.e2e.program import Program, demo, models, wait_until

FAST = demo("--tokens-per-second", "200")


def await_swaps(program: Program, *wanted: str) -> None:
    """Until these are all that the log says of swaps."""

    def told() -> list[str]:
        return [line.partition("] ")[2] for line in program.stdout.splitlines() if "swap to " in line]

    wait_until(lambda: told() == [*wanted], "the log says so")


def test_the_log_says_what_goes_in_a_swap_and_why(run_program: RunProgram) -> None:
    with run_program(models(small=FAST, large=FAST)) as program:
        for name in ("small", "large", "small"):
            assert program.chat(name).status == 200
        reason = "group (default) runs one model at a time"
        await_swaps(program, f"swap to large: stopping small; {reason}", f"swap to small: stopping large; {reason}")


def test_the_log_says_which_set_of_the_matrix_was_chosen_and_what_it_costs(run_program: RunProgram) -> None:
    matrix = {
        "vars": {"v": "vision"},
        "sets": {"coding": "(big | fast) & v", "alone": "huge"},
        "evict_costs": {"big": 5},
    }
    entries = models(**dict.fromkeys(("big", "fast", "vision", "huge", "odd"), FAST))
    with run_program({**entries, "matrix": matrix}) as program:
        for name in ("big", "vision", "fast", "huge", "odd"):
            assert program.chat(name).status == 200
        await_swaps(
            program,
            "swap to fast: stopping big; set coding = (big | fast) & v, cost 5",
            "swap to huge: stopping vision, fast; set alone = huge, cost 2",
            "swap to odd: stopping huge; odd is in no set and runs alone, cost 1",
        )
