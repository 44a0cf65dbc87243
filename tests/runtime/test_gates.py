"""Which gate a build of Python gets."""

from __future__ import annotations

import sysconfig

import pytest

from llamaswap_lib.core.gate import Gate, LockedGate, Notice
from llamaswap_lib.runtime.control.entrance import new_gate


def ignore(_notice: Notice) -> None:
    """Nobody listens."""


@pytest.mark.parametrize(("is_free_threaded", "kind"), [(True, LockedGate), (False, Gate)])
def test_only_a_build_with_an_interpreter_lock_has_the_gate_without_a_lock(
    is_free_threaded: bool, kind: type[Gate]
) -> None:
    gate = new_gate(1, ignore, lambda: 0.0, is_free_threaded=is_free_threaded)
    assert type(gate) is kind
    gate.shut = False
    assert gate.enter("a token")
    assert len(gate) == 1


def test_this_interpreter_gets_the_gate_of_its_build() -> None:
    has_lock = not sysconfig.get_config_var("Py_GIL_DISABLED")
    assert type(new_gate(1, ignore, lambda: 0.0)) is (Gate if has_lock else LockedGate)
