"""One choice among 50 boxes by the strategy `spread`, of which eight have the model ready: its median processor time.

Beside it the same with a session to hold to a box, and for a model that runs nowhere.
"""

from __future__ import annotations

import operator
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from llamaswap_lib.fleet.states import LLAMASWAP, ModelThere, PeerState
from llamaswap_lib.fleet.strategies import Counts, Fleet, Target
from tests.bench.rig import median, report

BOXES, READY, OTHERS = 50, 8, 3  # OTHERS: further models that run on each box
CHOICES = 1_000
MOST_US = 100.0


def main() -> int:
    with_model, elsewhere = Boxes(READY), Boxes(0)
    plain, kept, cold = with_model.choice(), with_model.choice("0123456789abcdef"), elsewhere.choice()
    figures = f"{plain:.0f} us, with a session {kept:.0f}, of a model that runs nowhere {cold:.0f}"
    return report("spreading", figures, *((one, operator.lt, MOST_US) for one in (plain, kept, cold)))


class Boxes:
    """What is known of them."""

    def __init__(self, ready: int) -> None:
        """On so many the model is ready."""
        others = {f"other{number}": ModelThere("ready", number, 0) for number in range(OTHERS)}
        model = {"m": ModelThere("ready", 1, 0)}
        self._states = {
            f"box{number}": PeerState(
                True, kind=LLAMASWAP, models={**others, **model} if number < ready else others, most_models=4
            )
            for number in range(BOXES)
        }
        targets = [Target(f"{box}/m", box, "m") for box in self._states]
        self._fleet = Fleet("m", targets, Counts(), "spread", 8)

    def choice(self, key: str = "") -> float:
        """What one takes in the median, in microseconds."""
        took = []
        for _ in range(CHOICES):
            begun = time.process_time_ns()
            target = self._fleet.begin({}, self._states, key)[0]
            took.append((time.process_time_ns() - begun) / 1000)
            self._fleet.free(target)
        return median(took)


if __name__ == "__main__":
    sys.exit(main())
