"""How the configured models are started, reached and looked at.

Controller thread, but for `__init__` and `launched`. Goes by one configuration until it is given another one, at the
moment at which the scheduler is.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Collection, Iterable, Mapping
from hmac import compare_digest
from typing import Any
from urllib.parse import urlsplit

from llamaswap_lib.config.command_check import model_files
from llamaswap_lib.config.placed import ANNOUNCE, SAID, asked, placed
from llamaswap_lib.config.schema import Config, Model
from llamaswap_lib.config.sections import ANNOUNCED
from llamaswap_lib.config.sleep_keys import Sleep
from llamaswap_lib.core.events import Event
from llamaswap_lib.core.snapshot import RunView
from llamaswap_lib.hardware.readings import Gpu
from llamaswap_lib.hardware.sampler import SamplerSettings
from llamaswap_lib.hardware.visibility import variables_of
from llamaswap_lib.runtime.control.live_run import Upstream
from llamaswap_lib.runtime.forward_proxies import ForwardProxies, ForwardProxy
from llamaswap_lib.runtime.guard.guardian import Guardian
from llamaswap_lib.runtime.health.check import HealthCheck, may_lead_elsewhere
from llamaswap_lib.runtime.logs.server_logs import Logs
from llamaswap_lib.runtime.ourselves import Ourselves
from llamaswap_lib.runtime.ports import AutomaticPorts
from llamaswap_lib.runtime.processes.adopted import AdoptedProcess
from llamaswap_lib.runtime.processes.announcements import VARIABLE, new_token
from llamaswap_lib.runtime.processes.launch import LaunchSpec
from llamaswap_lib.runtime.processes.obstacles import LaunchCheck
from llamaswap_lib.runtime.processes.process import Process

_MOST_TOLD = 10


class Launching:
    """The runs of one server, from their configuration."""

    def __init__(
        self, config: Config, logs: Logs, guardian: Guardian, ourselves: Ourselves, proxies: ForwardProxies
    ) -> None:
        self._models = config.models
        self._logs = logs
        self._guardian = guardian
        self._ourselves = ourselves
        self._proxies = proxies
        self._ports = AutomaticPorts(_given_ports(config), _fixed_ports(config), logs.log.warn, guardian.leftovers)
        self.launched: dict[int, Model] = {}  # run id -> the model as it was started; any thread may read
        self._processes: dict[int, Process] = {}
        self.gpus: Callable[[], Iterable[tuple[int, Gpu]]] = tuple  # all that there are, with their numbers
        self.check = LaunchCheck(self._spec_of, self._automatic_port_of, ourselves, guardian.has)

    def change(self, config: Config, replaced: Collection[str]) -> None:
        """Start models as this configuration says from now on. Those that run keep to theirs if they are `replaced`."""
        self._models = config.models
        for process in self._processes.values():
            model = config.models.get(process.model)
            if model is not None and process.model not in replaced:
                process.change(model.unload_timeout, *(model.sleep.manners if model.sleep else (0.0, "")))
        self._ports.change(_given_ports(config), _fixed_ports(config))

    def launch(
        self, run_id: int, model: str, gpus: tuple[str, ...], post: Callable[[Event], None]
    ) -> tuple[Process, Upstream]:
        """The process of a run, not yet started, and where it will listen. `gpus`: the names of those chosen for it."""
        configured, port = self._models[model], self._ports.choose(model)
        given = self._given(configured, gpus)
        launched = placed(configured if port is None else configured.at_port(port), given)
        output = self._logs.model_output(model)
        spec = self._launch_spec(launched, given)
        way_to = self._proxies.way_to_url
        process = Process(run_id, spec, post, output, self._guardian, self._ourselves, output.note, way_to)
        self.launched[run_id], self._processes[run_id] = launched, process
        return process, Upstream(run_id, model, spec.proxy, port, given)

    def announce(self, token: str, address: str, state: str) -> str | None:
        """The run with that token says that it listens there, or what it waits for; '' for neither. Any thread.

        The address that it has told last, '' for none; None if there is no such run. Raises ValueError for what is no
        address.
        """
        for run in [process.announcements for process in tuple(self._processes.values())]:
            if run.token and compare_digest(run.token.encode(), token.encode()):
                if address:
                    run.announce(address)
                if state:
                    run.tell_state(state)
                return run.address
        return None

    def adopt(
        self, described: Mapping[str, Any], read_end: int | None, post: Callable[[Event], None]
    ) -> tuple[AdoptedProcess, Upstream, bool]:
        """The process of a run that another process of ours has started, where it listens, and whether it stays.

        It does not if it would be started otherwise now. As `SuccessionController` has it described; main thread.
        """
        run_id, name, port = described["run_id"], described["model"], described["port"]
        given = {str(key): str(value) for key, value in described.get("given", {}).items()}
        spec = LaunchSpec.read(described["spec"])
        model = self._models.get(name)
        if model is not None and port is not None:
            model = model.at_port(port)
        if model is not None and given.get(SAID, "") == asked(model):
            model = placed(model, given)
        is_same = (
            model is not None
            and (model.automatic_port is None) == (port is None)
            and self._launch_spec(model, given).is_same_process(spec)
        )
        if model is None or not is_same:
            model = _as_started(name, spec)
        output = self._logs.model_output(name)
        common = (self._launch_spec(model, given), post, output, self._guardian, self._ourselves, output.note)
        process = AdoptedProcess(run_id, *common, described, read_end, self._proxies.way_to_url)
        self.launched[run_id], self._processes[run_id] = model, process
        self._ports.note(name, port)
        return process, Upstream(run_id, name, described["proxy"], port, given), is_same

    def check_of(self, upstream: Upstream) -> tuple[HealthCheck | None, float]:
        """The health check of a run, and its `hungAfter`."""
        launched = self.launched[upstream.run_id]
        configured = self._models.get(upstream.model, launched)
        through = self._proxies.way_to_url(upstream.proxy)
        return HealthCheck.of(upstream.proxy, launched.check_endpoint, through=through), configured.hung_after

    def lost_after_of(self, upstream: Upstream) -> float:
        """`lostAfter` of a run; 0 on this machine."""
        configured = self._models.get(upstream.model, self.launched[upstream.run_id])
        return configured.lost_after if may_lead_elsewhere(upstream.proxy) else 0.0

    def keep_only(self, runs: Iterable[RunView]) -> None:
        """Forget what is known of all other runs."""
        kept = {run.run_id for run in runs}
        for run_id in [run_id for run_id in self.launched if run_id not in kept]:
            del self.launched[run_id], self._processes[run_id]

    def _given(self, model: Model, gpus: tuple[str, ...]) -> dict[str, str]:
        """What tells it of these GPUs and what it was that the file asked for, and of a token to announce by."""
        given = {}
        if model.gpus is not None:
            given = {SAID: asked(model), **variables_of(gpus, [gpu for _, gpu in self.gpus()], os.environ)}
        if model.is_announced:
            given[ANNOUNCE] = given[VARIABLE] = new_token()
        return given

    def _spec_of(self, model: str) -> LaunchSpec:
        return self._launch_spec(self._models[model], {})

    def _launch_spec(self, model: Model, given: Mapping[str, str]) -> LaunchSpec:
        """What is started for it; a `proxy` that is to be announced is not known yet."""
        return LaunchSpec(
            model=model.id,
            argv=model.argv,
            stop_argv=model.stop_argv,
            status_argv=model.status_argv,
            env=model.variables,
            proxy="" if model.is_announced else model.proxy,
            check_endpoint=model.check_endpoint,
            health_timeout=model.health_check_timeout,
            unload_timeout=model.unload_timeout,
            token=given.get(ANNOUNCE, ""),
            through=self._proxies.way_to_url(model.proxy),
            shown_programs=model.shown.programs,
            **_sleep_of(model),
        )

    def _automatic_port_of(self, model: str) -> int | None:
        given = self._models[model].automatic_port
        return None if given is None else given.number


def _as_started(name: str, spec: LaunchSpec) -> Model:
    """What is known of a model that is configured otherwise now, or not any more."""
    return Model(
        id=name,
        argv=spec.argv,
        stop_argv=spec.stop_argv,
        env=spec.env,
        proxy=spec.proxy or ANNOUNCED,
        check_endpoint=spec.check_endpoint,
        health_check_timeout=spec.health_timeout,
        unload_timeout=spec.unload_timeout,
        sleep=_sleep_as_started(spec),
    )


def _sleep_as_started(spec: LaunchSpec) -> Sleep | None:
    if not (spec.sleep_path or spec.sleep_argv):
        return None
    commands = shlex.join(spec.sleep_argv), shlex.join(spec.wake_argv)
    return Sleep(spec.sleep_path, 0, spec.wake_path, spec.sleep_timeout, *commands, spec.sleep_check)


def _sleep_of(model: Model) -> dict[str, Any]:
    sleep = model.sleep
    if sleep is None:
        return {}
    orders = {
        "sleep_path": sleep.target,
        "wake_path": sleep.wake,
        "sleep_argv": sleep.argv,
        "wake_argv": sleep.wake_argv,
    }
    return {**orders, "sleep_timeout": sleep.timeout, "sleep_check": sleep.check}


def _given_ports(config: Config) -> dict[str, int]:
    return {name: model.automatic_port.number for name, model in config.models.items() if model.automatic_port}


def _fixed_ports(config: Config) -> set[int]:
    fixed = [model for model in config.models.values() if not (model.automatic_port or model.is_announced)]
    return {urlsplit(model.proxy).port or 0 for model in fixed}


def ways_told(config: Config, proxies: ForwardProxies) -> list[str]:
    """For the log: who is asked through a proxy."""
    named = [(f"peer {name}", peer.proxy) for name, peer in config.peers.items()]
    named += [(name, model.proxy) for name, model in config.models.items() if not model.is_announced]
    found: dict[ForwardProxy, list[str]] = {}
    for name, url in named:
        if (proxy := proxies.way_to_url(url)) is not None and not proxy.fault:
            found.setdefault(proxy, []).append(name)
    return [
        f"asked through the proxy {proxy}, for no_proxy does not name them: {', '.join(who[:_MOST_TOLD])}"
        + (f" and {len(who) - _MOST_TOLD} more" if len(who) > _MOST_TOLD else "")
        for proxy, who in found.items()
    ]


def hardware_settings(config: Config) -> SamplerSettings:
    """How often the machine is measured, and where models lie: in the folders of the files that the commands name."""
    named = {file for model in config.models.values() for _, file in model_files(model.argv)}
    folders = {os.path.dirname(file) for file in named if os.path.isabs(file)}  # noqa: PTH117, PTH120 - names alone
    is_gone_by = config.routing.router == "memory"
    return SamplerSettings(config.performance.every, config.performance.disabled, tuple(sorted(folders)), is_gone_by)
