"""Break it on purpose: each mistake in `mutants.txt` is noticed, and the same tests find the core itself sound."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.core.mutants import ROOT, Mutant, judge, read_mutants, try_all

MUTANTS = read_mutants()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_each_mutant_still_fits_the_core(mutant: Mutant, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "llamaswap_lib" / "core", tmp_path / "core")
    mutant.apply(tmp_path)


@pytest.mark.slow
def test_without_a_mutant_nothing_is_noticed() -> None:
    commands = {tuple(mutant.command(worlds=20)) for mutant in MUTANTS}
    with ThreadPoolExecutor(2) as pool:
        for is_noticed, said in pool.map(lambda command: judge(None, list(command)), commands):
            assert not is_noticed, said


@pytest.mark.slow
def test_every_mutant_is_noticed() -> None:
    alive = [verdict.mutant.name for verdict in try_all(MUTANTS) if not verdict.is_caught]
    assert not alive
