"""Macros cannot make more text than there is room for."""

from __future__ import annotations

import pytest

from llamaswap_lib.config.load import inspect_text
from tests.batches import samples

BOMB = "".join(f"  m{n}: '${{m{n - 1}}}${{m{n - 1}}}'\n" for n in range(1, 60))


@pytest.mark.parametrize(
    "text",
    samples(
        [
            f"macros:\n  m0: x\n{BOMB}models: {{a: {{cmd: '${{m59}}'}}}}\n",
            f"macros:\n  m0: x\n{BOMB}apiKeys: ['${{m40}}']\n",
            "models:\n  a:\n    cmd: x\n    filters: {setParamsByID: {'${m59}': {}}}\n    macros:\n      m0: x\n"
            + "".join(f"    {line}\n" for line in BOMB.splitlines()),
            f"macros:\n  big: {'x' * 900_000}\nmodels:\n"
            + "".join(f"  m{n}: {{cmd: 'a ${{big}} ${{PORT}}'}}\n" for n in range(60)),
        ],
        4,
    ),
    ids=["in a model", "at top level", "in a key", "many large ones"],
)
def test_macros_that_double_each_other_are_an_error(text: str) -> None:
    (problem,) = inspect_text(text, environment={}).problems.errors
    assert "macros would make more than" in problem.message
    assert problem.place is not None
