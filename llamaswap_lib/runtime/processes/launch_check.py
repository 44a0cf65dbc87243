"""Finds reasons why a model cannot be started, before other models are stopped for it.

The controller thread asks, and is hardly held up: a few looks at the file system and at one port of this machine, some
100 us. Only if another program may have the port, it looks up which one (60 ms among 4,000 open files). The start
itself finds the rest, and what has changed since: names are not resolved here, and an automatic port is not looked at,
for it is chosen then.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from urllib.parse import urlsplit

from llamaswap_lib.runtime.guard.table import has_living_owner, look_at, owner_of
from llamaswap_lib.runtime.health.check import HealthCheck
from llamaswap_lib.runtime.ourselves import Ourselves
from llamaswap_lib.runtime.ports import find_obstacle, is_told_to_listen, port_of
from llamaswap_lib.runtime.processes.group import describe_error
from llamaswap_lib.runtime.processes.occupants import may_lead_elsewhere, with_cure
from llamaswap_lib.runtime.processes.process import LaunchSpec
from llamaswap_lib.runtime.processes.programs import check_command


class LaunchCheck:
    """Answers for the models of the configuration."""

    def __init__(
        self,
        spec_of: Callable[[str], LaunchSpec],
        automatic_port_of: Callable[[str], int | None],
        ourselves: Ourselves,
        has_group: Callable[[int], bool],
    ) -> None:
        """`automatic_port_of`: which port the configuration gave a model. `has_group`: of one of our runs."""
        self._spec_of = spec_of
        self._automatic_port_of = automatic_port_of
        self._ourselves = ourselves
        self._has_group = has_group

    def __call__(self, model: str, running: Collection[str]) -> str:
        """Why it cannot be started, '' where nothing is known. `running`: the proxies of all runs that there are."""
        spec = self._spec_of(model)
        try:
            check_command(spec.argv)
            HealthCheck.of(spec.proxy, spec.check_endpoint)
            return self._ourselves.loop_through(spec.proxy, may_resolve=False) or self._obstacle(model, spec, running)
        except (OSError, ValueError) as error:
            return describe_error(error)

    def _obstacle(self, model: str, spec: LaunchSpec, running: Collection[str]) -> str:
        """A stranger at a fixed port of the model's own.

        Where a run of ours is at this port, whoever listens there is taken for its server, as the proxy of a container
        engine is, which is no child of ours: models that share a port swap. At an address that may be elsewhere the
        last run's own server may be on its way out; the start waits for that.
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
        """Whether the process belongs to a run of ours, or to what an earlier life left, which is ended before."""
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
