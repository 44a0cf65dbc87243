"""What a run's server is asked: whether it is ready, to sleep, to wake.

To sleep, or to wake, it is told by an order: a POST and what it is answered with, or a command. `SleepCall` lives on
the thread `sleep-M`, from the order to sleep until it is answered or its time is over. A wake is a load: `WakeProbe`
stands where `Probe` does, on the thread `probe-M`, and looks for readiness after the POST. Both post one event at most,
and none after `cancel` has returned. What is asked may be asked twice: at an upgrade the new process asks again.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from functools import partial

from llamaswap_lib.core.events import Event, FellAsleep, ProcessReady, SleepFailed, WakeFailed
from llamaswap_lib.runtime.forward_proxies import ForwardProxy
from llamaswap_lib.runtime.health.check import HealthCheck, Probe
from llamaswap_lib.runtime.health.look import Look, Looker, Order, wait
from llamaswap_lib.runtime.ourselves import Ourselves
from llamaswap_lib.runtime.processes.launch import LaunchSpec
from llamaswap_lib.runtime.wakeup import Wakeup

_SAID = re.compile(rb'"is_sleeping"\s*:\s*(true|false)')  # as vLLM answers
_ASK_TIMEOUT, _PAUSE = 5.0, 0.1  # seconds for one answer, and between two questions


class ServerCalls:
    """Makes the calls of one run, and begins them: each is a thread that posts what came of it.

    The methods raise OSError, ValueError, RuntimeError or MemoryError.
    """

    def __init__(
        self,
        run_id: int,
        spec: LaunchSpec,
        post: Callable[[Event], None],
        ourselves: Ourselves,
        way_to: Callable[[str], ForwardProxy | None],
        command: Callable[[Sequence[str]], Order],
    ) -> None:
        """`way_to`: the proxy on the way to a URL that the process announces. `command`: the order that runs it."""
        self._run_id = run_id
        self._spec = spec
        self._post = post
        self._ourselves = ourselves
        self._way_to = way_to
        self._command = command
        self.sleep_timeout, self.sleep_check = spec.sleep_timeout, spec.sleep_check
        self.address = ""  # where it has said last that it listens

    def check(self) -> HealthCheck | None:
        """How it is asked whether it is ready; None if it is not."""
        spec, through = self._spec, self._spec.through
        if self.address:
            through = self._way_to(self.address)
        return HealthCheck.of(self.address or spec.proxy, spec.check_endpoint, self._ourselves.via, through)

    def look_for_readiness(self, check: HealthCheck | None, since: float | None = None) -> Looker | None:
        """None if that is not asked: then it is ready. `since`: when the load began, if not now."""
        if check is None:
            self._post(ProcessReady(self._run_id, self.address))
            return None
        probe = Probe(self._run_id, check, self._spec.health_timeout, self._post, address=self.address, since=since)
        probe.start(f"probe-{self._spec.model}")
        return probe

    def sleep(self) -> Looker:
        order = self._order(self._spec.sleep_path, self._spec.sleep_argv, is_asleep=True)
        call = SleepCall(self._run_id, order, self.sleep_timeout, self._post)
        call.start(f"sleep-{self._spec.model}")
        return call

    def wake(self) -> Looker:
        order, check = self._order(self._spec.wake_path, self._spec.wake_argv, is_asleep=False), self.check()
        where = check or self._at(self._spec.wake_path)
        probe = WakeProbe(
            self._run_id, order, where, self._spec.health_timeout, self._post, is_checked=check is not None
        )
        probe.start(f"probe-{self._spec.model}")
        return probe

    def _order(self, path: str, argv: Sequence[str], *, is_asleep: bool) -> Order:
        order = self._command(argv) if argv else post_order(self._at(path))
        return checked(order, self._at(self.sleep_check, "GET"), is_asleep=is_asleep) if self.sleep_check else order

    def _at(self, path: str, method: str = "POST") -> HealthCheck:
        return HealthCheck.at(self._spec.proxy, path, self._ourselves.via, self._spec.through, method=method)


def post_order(target: HealthCheck) -> Order:
    """A POST to there."""
    return partial(_send, target)


class SleepCall(Looker):
    """Has the server sleep within `timeout` seconds."""

    def __init__(self, run_id: int, order: Order, timeout: float, post: Callable[[Event], None]) -> None:
        super().__init__(post)
        self._run_id = run_id
        self._order = order
        self._timeout = timeout

    # -- thread sleep-M --

    def _search(self, ending: Wakeup) -> None:
        failure = self._order(ending, self._timeout)
        event = SleepFailed(self._run_id, failure) if failure else FellAsleep(self._run_id)
        self._tell(event, is_last=True)

    def _say_last_word(self) -> None:
        """Ignored, unless a mistake of ours has ended the call."""
        self._tell(SleepFailed(self._run_id, "the call failed"), is_last=True)


class WakeProbe(Probe):
    """Has the server wake, and then looks until it is ready; both within the health timeout."""

    def __init__(
        self,
        run_id: int,
        order: Order,
        check: HealthCheck,
        health_timeout: float,
        post: Callable[[Event], None],
        *,
        is_checked: bool,
    ) -> None:
        """Unless `is_checked` it is ready as soon as it is awake."""
        super().__init__(run_id, check, health_timeout, post)
        self._order = order
        self._is_checked = is_checked

    # -- thread probe-M --

    def _search(self, ending: Wakeup) -> None:
        if failure := self._order(ending, self._health_timeout):
            self._tell_once(WakeFailed(self._run_id, failure))
        elif self._is_checked:
            super()._search(ending)
        else:
            self._tell_once(ProcessReady(self._run_id))


def checked(order: Order, check: HealthCheck, *, is_asleep: bool, clock: Callable[[], float] = time.monotonic) -> Order:
    """The order, and the question whether it was carried out: not done is what the server says that it is not.

    It is asked before as well, for another process of ours may have given the order. A server that does not say, with
    404 for instance, is believed.
    """
    return partial(_carry_out, order, check, is_asleep, clock)


def _carry_out(
    order: Order, check: HealthCheck, is_asleep: bool, clock: Callable[[], float], ending: Wakeup, timeout: float
) -> str:
    deadline = clock() + timeout
    if _ask(check, ending, deadline) is is_asleep:
        return ""
    if failure := order(ending, max(0.0, deadline - clock())):
        return failure
    while _ask(check, ending, deadline) is (not is_asleep):
        if clock() >= deadline:
            return f"{check.asked} still says that it {'is awake' if is_asleep else 'sleeps'}"
        wait(ending, min(deadline, time.monotonic() + _PAUSE))
    return ""


def _ask(check: HealthCheck, ending: Wakeup, deadline: float) -> bool | None:
    """Whether it says that it sleeps; None if it does not say."""
    try:
        with Look(ending, min(deadline, time.monotonic() + _ASK_TIMEOUT)) as look:
            check.ask(look, check.resolve())
            if look.read_status() != "200":
                return None
            said = look.find(_SAID)
    except (OSError, MemoryError):
        return None
    return None if said is None else said[1] == b"true"


def _send(order: HealthCheck, ending: Wakeup, timeout: float) -> str:
    """Send it and await the answer; what is wrong with that, '' if nothing is."""
    try:
        with Look(ending, time.monotonic() + timeout) as look:
            order.ask(look, order.resolve())
            status = look.read_status()
            look.finish()
    except TimeoutError:
        return f"{order.asked} was not answered within {timeout:g} s"
    except OSError as error:
        return f"{order.asked}: {(error.strerror or str(error)).lower()}{order.shown_way}"
    except MemoryError:
        return f"{order.asked} was not sent, because memory is short"
    return "" if status.startswith("2") else f"{order.asked} was answered with {status}"
