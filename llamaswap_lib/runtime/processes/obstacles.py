"""What keeps a model from being started: a command that cannot be executed, or a server where it is to listen.

`LaunchCheck` looks before other models are stopped for it, on the controller's thread. `await_free_address` looks right
before the start, on the thread `watch-M`, which blocks meanwhile; a stop or kill of the run ends that. Without this
look the first server that answers the health check would count as the model's own, and requests would go to another
user's process: two users of a cluster easily have the same port of the same node.

On this machine, a look at the port tells (`ports`). On others the health check is asked: a server that answers 200 and
still does so PATIENCE seconds later is an obstacle. If it is the server of the last run, which is ending, it stops
answering within that time, and then the start goes on at once. Not an obstacle: a load balancer that answers 502 or
503, and a server where the command is not told to listen (`sleep infinity` for a server that always runs). That is only
noted.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Sequence
from urllib.parse import urlsplit

from llamaswap_lib.runtime.forward_proxies import ForwardProxy
from llamaswap_lib.runtime.guard.table import has_living_owner, look_at, owner_of
from llamaswap_lib.runtime.health.check import HealthCheck, may_lead_elsewhere
from llamaswap_lib.runtime.health.look import Look, wait
from llamaswap_lib.runtime.ourselves import Ourselves, port_of
from llamaswap_lib.runtime.ports import find_obstacle, is_told_to_listen
from llamaswap_lib.runtime.processes.launch import LaunchSpec, check_command, describe_error
from llamaswap_lib.runtime.wakeup import Wakeup

PATIENCE = 5.0  # seconds to wait for a server that may be ending
_PAUSE = 0.075  # between looks
_LOOK_TIMEOUT = 1.0
_CURE = "use another port or host in `proxy` and `cmd`, or stop what listens there"
_NOT_REACHED = {"502", "503", "504"}  # what a load balancer answers if it has no server


def with_cure(where: str) -> str:
    """What is where, and what to do about it."""
    return f"{where}; {_CURE}"


def await_free_address(
    proxy: str,
    check_endpoint: str,
    argv: Sequence[str],
    ending: Wakeup,
    note: Callable[[str], None],
    through: ForwardProxy | None = None,
) -> str:
    """Why a run with the command `argv` cannot listen where `proxy` leads, '' if nothing is in its way.

    `through`: the proxy on the way to another machine. Raises ValueError for a `proxy` without a host, and
    `look.LookCancelled` once `ending` is set.
    """
    occupant = Occupant(proxy, check_endpoint, through)
    deadline, is_noted = time.monotonic() + PATIENCE, False
    while who := occupant.look(ending):
        where = f"{who} at {occupant.check.address}"
        if not is_told_to_listen(occupant.check.port, argv):
            note(f"{where} already")
            return ""
        if not occupant.may_be_leaving or time.monotonic() >= deadline:
            return with_cure(where)
        if not is_noted:
            note(f"{where}: waiting up to {PATIENCE:g} s for it to stop")
            is_noted = True
        wait(ending, time.monotonic() + _PAUSE)
    return ""


class Occupant:
    """The server that is already at the address of a `proxy`, if there is one; looked for again and again."""

    def __init__(self, proxy: str, check_endpoint: str, through: ForwardProxy | None = None) -> None:
        self._proxy = proxy
        self._has_check = check_endpoint != "none"
        # A model without a check is ready at once. Then almost any answer shows that another server is there.
        self.check = HealthCheck.at(proxy, check_endpoint if self._has_check else "/", through=through)
        self.may_be_leaving = True
        """Whether the server that was found may be that of the last run."""
        self._last = ""

    def look(self, ending: Wakeup) -> str:
        """What is there, '' for nothing. A server that has answered before and now takes too long is still there."""
        if obstacle := find_obstacle(self._proxy):
            self.may_be_leaving = may_lead_elsewhere(self._proxy)
            return str(obstacle)
        self.may_be_leaving = True
        try:
            addresses = self.check.resolve()
            with Look(ending, time.monotonic() + _LOOK_TIMEOUT) as look:
                self.check.ask(look, addresses)
                answer = look.read_status()
                look.finish()
        except TimeoutError:
            return self._last
        except OSError:
            return ""
        if self._has_check or self.check.through is not None:  # other answers may be those of the proxy in between
            is_there = answer == "200"
        else:
            is_there = answer.isdigit() and answer not in _NOT_REACHED
        self._last = "another server answers" if is_there else ""
        return self._last


class LaunchCheck:
    """Finds reasons why a model cannot be started, before other models are stopped for it.

    The controller thread calls it, and hardly has to wait: it takes a few looks at the file system and at one port of
    this machine, some 100 us. Only if another program may have the port, it looks up which one (60 ms among 4,000 open
    files). The start itself finds the rest, and what has changed since. Names are not resolved here, and an automatic
    port is not checked, because it is chosen at the start.
    """

    def __init__(
        self,
        spec_of: Callable[[str], LaunchSpec],
        automatic_port_of: Callable[[str], int | None],
        ourselves: Ourselves,
        has_group: Callable[[int], bool],
    ) -> None:
        """`automatic_port_of`: the port that the configuration gave a model. `has_group`: whether it is ours."""
        self._spec_of = spec_of
        self._automatic_port_of = automatic_port_of
        self._ourselves = ourselves
        self._has_group = has_group

    def __call__(self, model: str, running: Collection[str]) -> str:
        """Why it cannot be started, '' if no reason is known. `running`: the `proxy` of each run that exists."""
        spec = self._spec_of(model)
        try:
            check_command(spec.argv)
            if not spec.proxy:
                return ""
            HealthCheck.of(spec.proxy, spec.check_endpoint)
            return self._ourselves.loop_through(spec.proxy, may_resolve=False) or self._obstacle(model, spec, running)
        except (OSError, ValueError) as error:
            return describe_error(error)

    def _obstacle(self, model: str, spec: LaunchSpec, running: Collection[str]) -> str:
        """Another program at the model's port, if that is not an automatic one.

        If a run of ours uses this port, what listens there is taken for its server: the proxy of a container engine is
        not a child of ours, and models that share a port swap. At an address that may be elsewhere, the server of the
        last run may be ending; the start waits for that.
        """
        port = port_of(urlsplit(spec.proxy))
        is_fixed = port != self._automatic_port_of(model)
        if not is_fixed or may_lead_elsewhere(spec.proxy) or not is_told_to_listen(port, spec.argv):
            return ""
        if any(port == _port(proxy) for proxy in running):
            return ""
        obstacle = find_obstacle(spec.proxy, self._is_ours)
        return with_cure(f"{obstacle} at {HealthCheck.at(spec.proxy, '/').address}") if obstacle else ""

    def _is_ours(self, pid: int) -> bool:
        """Whether the process belongs to a run of ours, or was left by an earlier llamaswap, and is stopped before."""
        entry = look_at(pid)
        if entry is None or self._has_group(entry.group):
            return True
        if not entry.token:
            return False
        owner = owner_of(entry.token)
        owners = [] if owner is None else [found for found in [look_at(owner)] if found]
        return owner == os.getpid() or not has_living_owner(entry.token, owners)


def _port(proxy: str) -> int | None:
    try:
        return port_of(urlsplit(proxy))
    except ValueError:
        return None
