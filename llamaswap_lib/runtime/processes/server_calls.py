"""What a run's server is asked: whether it is ready, to sleep, to wake."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llamaswap_lib.core.events import Event, ProcessReady
from llamaswap_lib.runtime.forward_proxies import ForwardProxy
from llamaswap_lib.runtime.health.check import HealthCheck, Probe
from llamaswap_lib.runtime.health.look import Looker
from llamaswap_lib.runtime.health.sleep import Order, SleepCall, WakeProbe, checked, post_order
from llamaswap_lib.runtime.ourselves import Ourselves
from llamaswap_lib.runtime.processes.launch import LaunchSpec


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

    def look_for_readiness(self, check: HealthCheck | None, health_timeout: float) -> Looker | None:
        """None if that is not asked: then it is ready."""
        if check is None:
            self._post(ProcessReady(self._run_id, self.address))
            return None
        probe = Probe(self._run_id, check, health_timeout, self._post, address=self.address)
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
