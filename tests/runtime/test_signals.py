"""Signals as something to wait for; the handlers that were there before come back."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from llamaswap_lib.runtime.signals import ENDING, Signals
from llamaswap_lib.runtime.wakeup import Wakeup


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", ENDING)
def test_each_of_them_is_caught_and_named(number: signal.Signals) -> None:
    with Signals() as signals:
        send(number)
        assert signals.wait() is number


def test_one_that_comes_while_waiting_ends_the_wait() -> None:
    with Signals() as signals:
        timer = threading.Timer(0.05, send, (signal.SIGTERM,))
        timer.start()
        begun = time.monotonic()
        assert signals.wait() is signal.SIGTERM
        assert time.monotonic() - begun < 5
        timer.join()


def test_each_signal_is_told_once_and_in_order() -> None:
    with Signals() as signals:
        send(signal.SIGINT)
        send(signal.SIGTERM)
        assert [signals.wait(), signals.wait()] == [signal.SIGINT, signal.SIGTERM]
        wakeup = Wakeup()
        wakeup.set()
        assert signals.wait(wakeup.fileno()) is None
        wakeup.close()


def test_a_signal_counts_more_than_the_other_descriptor() -> None:
    wakeup = Wakeup()
    wakeup.set()
    with Signals() as signals:
        send(signal.SIGTERM)
        assert signals.wait(wakeup.fileno()) is signal.SIGTERM
        assert signals.wait(wakeup.fileno()) is None
    wakeup.close()


def test_other_signals_do_not_end_the_wait() -> None:
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    wakeup = Wakeup()
    try:
        with Signals() as signals:
            send(signal.SIGUSR1)
            timer = threading.Timer(0.05, wakeup.set)
            timer.start()
            assert signals.wait(wakeup.fileno()) is None
            timer.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
        wakeup.close()


def test_a_storm_of_signals_blocks_nobody() -> None:
    with Signals() as signals:
        for _ in range(2000):
            send(signal.SIGHUP)
        assert signals.wait() is signal.SIGHUP


def test_what_was_there_before_comes_back() -> None:
    caught: list[int] = []
    handlers = {number: signal.signal(number, lambda number, _: caught.append(number)) for number in ENDING}
    try:
        with Signals():
            pass
        for number in ENDING:
            send(number)
        assert caught == list(ENDING)
        assert signal.set_wakeup_fd(-1) == -1
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
