"""Break it on purpose: each mistake in `mutants.txt` is noticed, and the same tests find the core itself sound."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.core.mutants import TOO_LONG, WARM_UP, Mutant, read_mutants, read_seeds, try_mutant
from tests.trials import Trials

MUTANTS = read_mutants()
PROMISES = {
    "each ticket is answered exactly once": {
        "who is admitted goes on waiting",
        "a failed load answers nobody",
        "who left is not answered",
    },
    "no run is stopped with somebody inside": {
        "the count in an answer is ignored",
        "a notice is trusted",
        "an unload skips the drain",
    },
    "the policy's sets are respected": {
        "a model starts before the others have exited",
        "who loaded is admitted whatever runs by now",
        "an open gate whatever the policy says",
    },
    "nobody waits past the bound, not even beside a hot model": {
        "max_wait is off",
        "max_wait has no deadline of its own",
        "priority goes before max_wait",
        "no place is held",
    },
    "a policy of one's own is shown what is true": {
        "a policy of one's own is shown what was true before",
        "who loaded is admitted before it is known who is inside the others",
        "who is let in does not count until the gates are asked",
    },
    "max_wait 0 is never": {"max_wait is on when it is 0"},
    "each swap is for the first in line": {
        "priority is ignored",
        "among equals the newest goes first",
        "the newest goes first",
        "a change of priorities is ignored",
        "a change of priorities is for those who come later",
        "a change loses the swap that has begun",
    },
    "nobody goes for a model that cannot be started": {
        "others go for a model that cannot be started",
        "an idle model goes unseen",
        "a load for nobody is stopped unseen",
        "what was seen before something happened still counts",
        "it is looked at though it is there",
    },
    "nobody goes for a model that is backing off": {
        "a model that is backing off is waited for",
        "who waits when a model begins to back off goes on waiting",
        "a model that cannot be started is tried again at once",
    },
    "no request is broken or forgotten by a change of the configuration": {
        "a retired run has as long as an unloaded one",
        "who waits for a model that has gone goes on waiting",
        "who waits for a model that has changed is turned away",
        "who has lost a run of a model that has gone waits for the news of its end",
    },
    "a change of the configuration is for what it changes, and at once": {
        "a run whose model has changed goes on as before",
        "a run whose model has gone goes on as before",
        "a run whose model did not change is retired",
        "the old rules stay",
        "a changed ttl counts from the next request on",
        "a changed max_wait is ignored",
        "failures of a model that was changed still count",
        "a change pardons everybody",
        "a crash of a retired run is a strike against the next one",
    },
    "nothing starts beside a retired run that may not": {
        "a policy is asked about models that it does not know",
        "what is blocked starts beside a retired run",
        "what comes after a run was retired starts beside it",
        "a second change frees what the first one has blocked",
    },
    "a retired run that hangs keeps nobody waiting for ever": {
        "nobody looks at a retired run",
        "a retired run that hangs is left to itself",
        "a retired run that hangs is stopped before anybody is overdue",
    },
    "nothing is forgotten by a process that takes over": {
        "who takes over forgets those whose run may live",
        "who takes over forgets what has failed",
        "who takes over has everybody arrive anew",
        "who takes over counts runs from one",
        "who takes over takes a shut gate for an open one",
    },
    "nothing is left over at the end": {
        "a load that timed out is not stopped",
        "nobody is killed",
        "a run that has exited is remembered",
        "what a retired run has blocked is remembered",
    },
    "models are never over the capacity of a device": {
        "what runs already counts with nothing",
        "the reserve is given away",
        "what other programs use does not count",
        "a model of unknown need starts beside others",
        "others start beside a model of unknown need",
        "a set that is not enough is taken",
        "a pinned model that ends is not waited for",
    },
    "nobody goes who need not": {"all go that may", "busy models go like idle ones", "a pinned model goes"},
    "nobody goes for what does not fit, and it does not wait for ever": {
        "what never fits is tried",
        "others go for what never fits",
        "what does not fit now waits for ever",
        "what does not fit now is turned away at once",
        "nobody looks again whether it fits",
    },
    "a guess refuses nothing, and what is known does": {
        "what is estimated to be too large is refused",
        "what is known to be too large is loaded all the same",
    },
    "a start waits until memory is really free, and no longer": {
        "a start does not wait until memory is free",
        "a start waits for memory for ever",
        "nobody looks whether the wait for memory is over",
        "one reading is enough",
        "readings from before the end are enough",
        "readings that are alike are enough",
        "a start waits though there is room",
        "what others are yet to take counts as free",
        "each end prolongs the wait",
    },
    "a model that runs out of memory is started once more, with more room": {
        "a model that ran out of memory is started again and again",
        "a model that ran out of memory is started once more beside the same",
        "a model that ran out of memory is started once more though nobody can go",
        "a model that ran out of memory is not started once more",
        "what a model was short of counts for ever",
        "what a model was short of makes that it never fits",
    },
    "a model stays for a while": {"a model goes as soon as it is loaded", "a model stays though somebody is overdue"},
    "idle models make room for other programs where that is said, and no others": {
        "a busy model is asked to make room for others",
        "a pinned model makes room for others",
        "a model makes room for others as soon as it is loaded",
        "a model that is waited for makes room for others",
        "models make room for others where nobody said so",
        "nobody makes room for others",
    },
    "all that others want is given, as soon as it can be": {
        "others get what is left, and no reserve",
        "who is not enough for others stays",
        "nobody looks when one that could make room is idle",
        "nobody looks when one that could make room has stayed long enough",
        "who could make room for others and has grown elsewhere is forgotten",
    },
    "idle models make room for one that is queued where they run, one at a time, and no others": {
        "nobody makes room for one that is queued elsewhere",
        "somebody makes room as soon as another one is queued",
        "the next one makes room as soon as the one before is gone",
        "several make room at a time",
        "one makes room as soon as it has loaded",
        "one that is to stay makes room in a queue",
        "one makes room for another one that loads",
        "one makes room for another one that nobody waits for",
        "one whose requests wait for the queued one stays in its way",
    },
    "a run out of reach is waited for and then lost, and nothing is sent to it twice": {
        "a model is open while its server is looked for",
        "who waits is let in while the server is looked for",
        "nobody looks for a server that a request did not reach",
        "a lost run goes on",
        "requests in a lost run are not broken off",
        "who lost a run is told that it lives while its server is looked for",
        "a request that may have been sent is sent once more",
        "a run that was retired is never lost",
        "one that is out of reach is told to sleep",
    },
    "nobody makes room who need not": {"all idle models make room for others", "what ends counts as there still"},
    "idle models make room for one that grows, and it stays": {
        "nobody makes room for one that grows",
        "the one that has grown goes itself",
        "models make room for one that has not grown",
        "what has grown once has grown for ever",
    },
    "who can sleep does, is in nobody's way, and is stopped if it does not or must not": {
        "a model that can sleep is stopped",
        "what sleeps is in the way of others",
        "one that does not fall asleep goes on",
        "one that does not wake goes on",
        "a sleeper that holds what others need sleeps on",
    },
    "the cheapest set is chosen, and ties as the contract says": {
        "what is kept twice is counted twice",
        "a later set wins a tie",
        "the alternative on the right counts most",
    },
}


@pytest.fixture(scope="module")
def trials() -> Iterator[Trials]:
    with Trials(*WARM_UP) as running:
        yield running


def test_each_mutant_still_fits_the_core() -> None:
    for mutant in MUTANTS:
        mutant.applied()  # fails where the text that it replaces is not there, or more than once


@pytest.mark.slow
def test_each_mutant_is_python() -> None:
    for mutant in MUTANTS:
        compile(mutant.applied(), f"{mutant.name}: {mutant.file}", "exec")


def test_the_seeds_are_of_mutants_that_worlds_notice() -> None:
    assert read_seeds().keys() <= {mutant.name for mutant in MUTANTS if mutant.is_for_worlds}


@pytest.mark.parametrize("promise", PROMISES)
def test_each_promise_has_mutants(promise: str) -> None:
    assert PROMISES[promise] <= {mutant.name for mutant in MUTANTS}


@pytest.mark.slow
@pytest.mark.parametrize("by", sorted({mutant.by for mutant in MUTANTS}))
def test_without_a_mutant_nothing_is_noticed(trials: Trials, by: str) -> None:
    """A few worlds and the quick tests: all of them are played, with nothing changed, by the other tests here."""
    argv = next(mutant for mutant in MUTANTS if mutant.by == by).command(worlds=3)
    ended = trials.run([*argv, "-m", "not slow"] if argv[0] == "pytest" else argv, {}, TOO_LONG)
    assert ended.code == 0 or (ended.code == pytest.ExitCode.NO_TESTS_COLLECTED and argv[0] == "pytest"), ended.said


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_each_mutant_is_noticed(trials: Trials, mutant: Mutant) -> None:
    assert try_mutant(trials, mutant).is_caught
