"""Why models must be unloaded for another one, as data: what the log says of a swap.

Pure. Each kind of policy has an `explain` that makes one, beside its `evict`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Explanation:
    """`rule` is a clause for people, '' where nobody must go. The rest is the choice of a matrix.

    `set_name` '' is the model alone. `reasons` has a clause for each model that must go, where they differ.
    """

    rule: str
    set_name: str = ""
    expression: str = ""
    cost: int | None = None
    reasons: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def kind(self) -> str:
        """The kind of policy that says so: `matrix`, `group`, or `policy` for one of the user's own."""
        if self.cost is not None:
            return "matrix"
        return "group" if self.reasons else "policy"

    def __str__(self) -> str:
        return self.rule if self.cost is None else f"{self.rule}, cost {self.cost}"


def unexplained(target: str, running: tuple[str, ...]) -> Explanation:
    """Where nobody knows more than who goes."""
    del target, running
    return Explanation("decided by the policy")
