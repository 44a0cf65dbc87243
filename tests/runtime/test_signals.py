"""Signals as something to wait for; the handlers that were there before come back."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from llamaswap_lib.runtime.signals import ENDING, HARMLESS, Signals
from llamaswap_lib.runtime.wakeup import Wakeup

CAUGHT = (*ENDING, signal.SIGHUP, *HARMLESS)


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


def nothing(_number: signal.Signals) -> None:
    """For a wait in which no other signal is expected to matter."""


@contextmanager
def handled_by(handler: Callable[[int, Any], None] | signal.Handlers, *numbers: signal.Signals) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


@contextmanager
def set_wakeup() -> Iterator[Wakeup]:
    """One that ends every wait for it."""
    wakeup = Wakeup()
    wakeup.set()
    try:
        yield wakeup
    finally:
        wakeup.close()


@pytest.mark.parametrize("number", ENDING)
def test_each_of_them_is_caught_and_named(number: signal.Signals) -> None:
    with Signals() as signals:
        send(number)
        assert signals.wait(nothing) is number


def test_one_that_comes_while_waiting_ends_the_wait() -> None:
    with Signals() as signals:
        timer = threading.Timer(0.05, send, (signal.SIGTERM,))
        timer.start()
        assert signals.wait(nothing) is signal.SIGTERM
        timer.join()


def test_each_signal_is_told_once_and_in_order() -> None:
    with Signals() as signals, set_wakeup() as wakeup:
        send(signal.SIGINT)
        send(signal.SIGTERM)
        assert [signals.wait(nothing), signals.wait(nothing)] == [signal.SIGINT, signal.SIGTERM]
        assert signals.wait(nothing, wakeup.fileno()) is None


def test_a_signal_counts_more_than_the_other_descriptor() -> None:
    with Signals() as signals, set_wakeup() as wakeup:
        send(signal.SIGTERM)
        assert signals.wait(nothing, wakeup.fileno()) is signal.SIGTERM
        assert signals.wait(nothing, wakeup.fileno()) is None


def test_sighup_and_sigusr2_are_reported_and_do_not_end_the_wait_for_a_signal() -> None:
    told: list[signal.Signals] = []
    with Signals() as signals, set_wakeup() as wakeup:
        send(signal.SIGHUP)
        send(signal.SIGUSR2)
        assert signals.wait(told.append, wakeup.fileno()) is None
        assert told == [signal.SIGHUP, signal.SIGUSR2]


def test_sigusr1_does_nothing() -> None:
    told: list[signal.Signals] = []
    with Signals() as signals, set_wakeup() as wakeup:
        send(signal.SIGUSR1)
        assert signals.wait(told.append, wakeup.fileno()) is None
        assert told == []


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT])
def test_what_was_ignored_before_stays_ignored(number: signal.Signals) -> None:
    told: list[signal.Signals] = []
    with handled_by(signal.SIG_IGN, number), Signals() as signals, set_wakeup() as wakeup:
        assert signal.getsignal(number) is signal.SIG_IGN
        send(number)
        assert signals.wait(told.append, wakeup.fileno()) is None
        assert told == []


def test_a_polite_end_is_heard_even_if_it_was_ignored_before() -> None:
    with handled_by(signal.SIG_IGN, signal.SIGTERM), Signals() as signals:
        send(signal.SIGTERM)
        assert signals.wait(nothing) is signal.SIGTERM


def test_a_mask_that_was_inherited_is_cleared_and_put_back() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        with Signals() as signals:
            send(signal.SIGTERM)
            assert signals.wait(nothing) is signal.SIGTERM
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()).issuperset(ENDING)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_a_storm_of_signals_blocks_nobody() -> None:
    told: list[signal.Signals] = []
    with Signals() as signals:
        for _ in range(2000):
            send(signal.SIGHUP)
        with set_wakeup() as wakeup:
            assert signals.wait(told.append, wakeup.fileno()) is None
    assert told


def test_what_was_there_before_comes_back() -> None:
    caught: list[int] = []
    with handled_by(lambda number, _: caught.append(number), *CAUGHT):
        with Signals():
            pass
        for number in CAUGHT:
            send(number)
        assert caught == list(CAUGHT)
        assert signal.set_wakeup_fd(-1) == -1
