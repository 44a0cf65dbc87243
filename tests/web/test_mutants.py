"""Break it on purpose: each mistake in `mutants.txt` is noticed, and the same tests find the product itself sound."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.trials import Trials
from tests.web.mutants import WARM_UP, Mutant, judge, read_mutants

MUTANTS = read_mutants()
PROMISES = {
    "a client that leaves is noticed": {"a client that leaves goes unseen"},
    "whatever is taken is given back": {"the place is not released", "a selector's choice is not given back"},
    "each request is answered once": {"a request is answered twice"},
    "no request is lost": {"the next request is lost when it comes with the one before"},
    "a mistake of ours costs one connection": {
        "a mistake of one ends all",
        "a mistake of one keeps the others from being served",
        "a mistake on the connection to an upstream leaves its client waiting",
    },
    "a request is tried again before a byte of its answer and never after": {
        "a connection that died without an answer is not tried again",
        "it is tried again behind a byte of its answer",
    },
}


@pytest.fixture(scope="module")
def trials() -> Iterator[Trials]:
    with Trials(*WARM_UP) as running:
        yield running


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_each_mutant_still_fits_the_product(mutant: Mutant) -> None:
    compile(mutant.applied(), mutant.file, "exec")  # what is no Python is no mutant


@pytest.mark.parametrize("promise", PROMISES)
def test_each_promise_has_mutants(promise: str) -> None:
    assert PROMISES[promise] <= {mutant.name for mutant in MUTANTS}


@pytest.mark.slow
def test_without_a_mutant_nothing_is_noticed(trials: Trials) -> None:
    is_noticed, said = judge(trials, None, sorted({mutant.by for mutant in MUTANTS}))
    assert not is_noticed, said


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_each_mutant_is_noticed(trials: Trials, mutant: Mutant) -> None:
    is_noticed, said = judge(trials, mutant, [mutant.by])
    assert is_noticed, said
