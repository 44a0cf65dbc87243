"""`MemoryPicture`: what models need, what they hold and what there is, as one value that is replaced.

Made on the thread `hardware` after each reading of memory, read by any thread at any time. Others are given what is in
use and not held by models of ours; while one loads, or has just ended, that cannot be told apart from what is its own,
and others count with what they had before, unless it is more than our models can have taken.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from llamaswap_lib.config.schema import Config, Model
from llamaswap_lib.core.eviction.devices import Device, Memory, Movable, Need, NeedSource, Reading, in_words
from llamaswap_lib.core.eviction.gaps import Gaps
from llamaswap_lib.core.eviction.growth import Growth, Standing
from llamaswap_lib.core.eviction.pressure import is_near, is_pressed
from llamaswap_lib.core.snapshot import RunView
from llamaswap_lib.hardware.sampler import Hardware
from llamaswap_lib.memory.devices import Measured, measured
from llamaswap_lib.memory.files_apart import FilesApart
from llamaswap_lib.memory.identity import Digests
from llamaswap_lib.memory.learned import Learned, file_of
from llamaswap_lib.memory.movable import Known, movable, need_on
from llamaswap_lib.memory.needs import need_of, seen_by
from llamaswap_lib.memory.runs import Taken, others, taken, unread_run
from llamaswap_lib.runtime.control.board import RunDetail
from llamaswap_lib.typed_yaml.secrets import visible

if TYPE_CHECKING:
    from llamaswap_lib.estimates.estimator import Estimator
    from llamaswap_lib.memory.estimated import Estimates

FREEING = 5.0  # seconds for which a driver may take to give back what a process had that has ended
PATIENCE = 10.0  # seconds from ready to the warning that nothing can measure the model


class Surroundings(NamedTuple):
    """What the picture is made from. `runs` and `launched` as of the controller; `wake` has it decide anew."""

    hardware: Hardware
    runs: Callable[[], Collection[RunDetail]]
    launched: Mapping[int, Model]
    is_awaited: Callable[[], bool]
    wake: Callable[[], None]
    is_freeing: Callable[[], bool] = lambda: False
    """Whether a start waits for memory to become free."""


class MemoryPicture:
    """`now` is the picture; empty until the memory was read."""

    def __init__(
        self,
        config: Config,
        warn: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        estimator: Estimator | None = None,
        files: FilesApart | None = None,
    ) -> None:
        self.now = Memory()
        self._lock = threading.Lock()  # protects a change of `now`: the one that is made of a reading stands
        self._gaps = Gaps()
        self._growth = Growth()
        self._config = config
        self._clock = clock
        self._warn = warn
        self._around: Surroundings | None = None
        self._learned = Learned(warn, wall)
        self._files = files or FilesApart(warn)
        self._digests = Digests(self._files)
        self._estimator = estimator
        self._estimates: Estimates | None = None  # until somebody goes by them
        self._estimate_for(config)
        self._file_of: Config | None = None  # the configuration that has said where the file is
        self._runs: dict[int, Taken] = {}
        self._ended: list[Taken] = []
        self._came: dict[int, str] = {}  # runs that there were since the last reading, and their models
        self._settled: dict[str, int] = {}  # what others had of each device when nothing loaded
        self._told: set[str] = set()
        self._exceeding: set[tuple[str, str]] = set()  # models and devices of which it was told
        self._listeners: list[Callable[[], None]] = []
        self._readings: tuple[Reading, ...] = ()  # the last two
        self.is_old = False  # of the last reading no picture could be made

    # -- any thread --

    def connect(self, around: Surroundings) -> None:
        """Make it after each reading from now on."""
        self._around = around
        around.hardware.listen(self.update)

    def expect(self) -> None:
        """Models of another process run already: nobody starts or goes before the first reading, or `do_without`."""
        self.now = Memory(is_read=False)

    def leave_file(self) -> None:
        """Another process writes the file of needs from now on."""
        self._learned.leave_file()

    def do_without(self) -> None:
        """The first reading was made, or takes too long: then one model runs at a time."""
        with self._lock:
            if not self.now.is_read:
                self.now = Memory()
        if self._around is not None:
            self._around.wake()

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever `now` is another picture, on the thread that makes it; it must be quick."""
        self._listeners.append(listener)

    def change(self, config: Config) -> None:
        """Go by another configuration from the next reading on, which is soon."""
        self._estimate_for(config)
        self._config = config
        if self._around is not None:
            self._around.hardware.note_change()

    def _estimate_for(self, config: Config) -> None:
        """Needs are estimated from now on, if anybody goes by them."""
        if config.routing.router == "memory" and self._estimates is None:
            from llamaswap_lib.estimates.estimator import Estimator  # noqa: PLC0415 - few go by it; see `needed.py`
            from llamaswap_lib.memory.estimated import PATIENCE as READING  # noqa: PLC0415 - as above
            from llamaswap_lib.memory.estimated import Estimates  # noqa: PLC0415 - as above

            self._estimates = Estimates(self._estimator or Estimator(patience=READING), self._files)

    def note_requests(self, requests: Iterable[tuple[str, float]]) -> None:
        """How often each model is asked for weighs in who goes: the model of each request, and when it came.

        Clients may ask for any name: only those that are configured are remembered. One thread calls it.
        """
        config = self._config
        if config.routing.router == "memory":
            for model, at in requests:
                if model in config.models:
                    self._gaps.note(model, at)

    def note_runs(self, runs: Iterable[RunView]) -> None:
        """What runs: one may come and go between two readings."""
        for run in runs:
            self._came[run.run_id] = run.model

    def note_queue(self) -> None:
        """Others wait, or fewer do. What decides when the next one fits is read soon, and again until none waits."""
        around = self._around
        if around is None or self._config.routing.router != "memory":
            return
        if around.is_awaited():
            around.hardware.note_change()
        if around.is_freeing():
            around.hardware.read_closely()

    # -- hardware thread only --

    def update(self) -> None:
        """The memory has been read. If the picture cannot be made of it, the last one stays, and the log says why."""
        try:
            self._make()
        except Exception:  # noqa: BLE001 - the readings go on, and the next one may do
            if not self.is_old:
                told = "the memory of models is not known anew, and what was known last is used until it is"
                self._warn(f"{told}\n{traceback.format_exc()}")
            self.is_old = True
        else:
            if self.is_old:
                self._warn("the memory of models is known again")
            self.is_old = False

    def _make(self) -> None:
        around, config, now = self._around, self._config, self._clock()
        if around is None:
            return
        if config is not self._file_of:
            self._learned.use(file_of(config))
            self._file_of = config
        came = {run_id: self._came.pop(run_id) for run_id in list(self._came)}  # before what runs is looked at
        hardware, details = around.hardware, list(around.runs())
        devices = measured(hardware.gpus(), hardware.machine_memory(), config.routing.memory.devices)
        is_anew = self._digests.look(config, tuple(devices), [detail.run.run_id for detail in details], now)
        self._note_runs(details, came, around, devices, now)
        estimates = self._estimates
        if estimates is not None and (is_anew or estimates.is_behind):
            self._estimate(estimates, config, devices, hardware)
        needs = {name: self._need(model, self._digests.now[name], devices) for name, model in config.models.items()}
        moves = self._movable(config, devices)
        runs_on = {detail.run.model: detail.run.gpus for detail in details}
        needs |= {name: need_on(one, runs_on.get(name, ()), devices) for name, one in moves.items()}
        stale = hardware.stale_gpus()
        free = {name: one.free for name, one in devices.items() if one.is_read and name not in stale}
        self._readings = (*self._readings[-1:], Reading(hardware.last_read, free))
        picture = Memory(
            self._with_others(devices, needs),
            needs,
            self._held(needs),
            self._gaps.now,
            movable=moves,
            readings=self._readings,
        )
        staying = [detail.run for detail in details if not detail.run.detail.is_leaving]
        standing = {
            run.model: Standing(run.run_id, run.ready_at is not None, run.phase == "sleeping") for run in staying
        }
        picture = replace(picture, grown=self._growth.note(picture, standing))
        ready = {model: run.is_ready for model, run in standing.items()}
        self._warn_of_growth(picture)
        self._publish(picture, ready, around)
        self._learned.write()
        self.note_queue()
        if config.routing.router == "memory" and is_close(picture, ready, details):
            hardware.look_again()

    def _estimate(
        self, estimates: Estimates, config: Config, devices: Mapping[str, Measured], hardware: Hardware
    ) -> None:
        """What those need of which nothing better is known, if anybody goes by it."""
        estimates.begin(self._digests.now)
        for name, model in config.models.items() if config.routing.router == "memory" else ():
            digest = self._digests.now[name]
            if not model.memory and self._learned.need(digest) is None:
                estimates.find(digest, model, seen_by(model, devices), devices)
        if estimates.is_behind:
            hardware.note_change()

    def _note_runs(
        self,
        details: Collection[RunDetail],
        came: Mapping[int, str],
        around: Surroundings,
        devices: Mapping[str, Measured],
        now: float,
    ) -> None:
        """`came`: the models of runs that there were before `details`, by number; they may have gone."""
        memories = around.hardware.memory_of_models()
        found = {}
        for detail in details:
            run_id, before = detail.run.run_id, self._runs.get(detail.run.run_id)
            digest, launched = before.digest if before is not None else "", around.launched.get(run_id)
            if not digest and launched is not None:
                digest = self._digests.of({detail.run.model: launched}, devices)[detail.run.model]
            sees = detail.run.gpus or (devices if launched is None else seen_by(launched, devices))
            found[run_id] = taken(detail.run, memories.get(run_id), before, digest, devices, sees)
            if found[run_id].peaks and digest:
                self._learn(detail, found[run_id], around, devices, now)
        freeing = max(FREEING, self._config.routing.memory.settle_timeout)
        self._ended = [run for run in self._ended if now - run.ended_at < freeing]
        self._ended += [run._replace(ended_at=now) for run_id, run in self._runs.items() if run_id not in found]
        unread = [model for run_id, model in came.items() if run_id not in found and run_id not in self._runs]
        self._ended += [unread_run(model, now) for model in unread]
        self._runs = found
        self._learned.forget_runs(found)

    def _learn(
        self, detail: RunDetail, run: Taken, around: Surroundings, devices: Mapping[str, Measured], now: float
    ) -> None:
        """Keep the peaks, if they are known of each device; else say so, once."""
        if not run.unseen:
            self._learned.note(run.digest, run.model, detail.run.run_id, run.peaks)
            return
        model, since = self._config.models.get(run.model), detail.run.ready_at
        is_known = model is None or bool(model.memory) or self._learned.need(run.digest) is not None
        is_asked = not is_known and self._config.routing.router == "memory"
        is_asked = is_asked and not around.hardware.stale_gpus().intersection(run.unseen)  # their turn is to come
        if is_asked and since is not None and now - since > PATIENCE:
            where = " and ".join(devices[name].device.label if name in devices else name for name in run.unseen)
            self._tell(f"{visible(run.model)}: what it takes of {where} cannot be measured; say it with memory:")

    def _need(self, model: Model, digest: str, devices: Mapping[str, Measured]) -> Need:
        found = need_of(model, self._learned.need(digest), self._estimated(digest), devices)
        for name in found.strangers:
            self._tell(f"{visible(model.id)}: memory names the device {visible(name)}, which is not there")
        return found.need

    def _estimated(self, digest: str) -> Mapping[str, int] | None:
        return None if self._estimates is None else self._estimates.need(digest)

    def _movable(self, config: Config, devices: Mapping[str, Measured]) -> dict[str, Movable]:
        """The models whose GPUs are chosen."""
        found = {}
        for name, model in config.models.items():
            if model.gpus is not None:
                digest = self._digests.now[name]
                known = Known(model.memory, self._learned.peaks(digest), self._estimated(digest))
                if (one := movable(model.gpus, seen_by(model, devices), devices, known)) is not None:
                    found[name] = one
        return found

    def _with_others(self, devices: Mapping[str, Measured], needs: Mapping[str, Need]) -> dict[str, Device]:
        is_settled = not self._ended and all(run.is_ready for run in self._runs.values())
        runs = [*self._runs.values(), *self._ended]
        found = {}
        for name, one in devices.items():
            settled = None if is_settled else self._settled.get(name)
            size = others(name, one.used, runs, needs, settled)
            if is_settled:
                self._settled[name] = size
            found[name] = replace(one.device, others=max(0, size - one.aside))
        return found

    def _held(self, needs: Mapping[str, Need]) -> dict[str, dict[str, int]]:
        found: dict[str, dict[str, int]] = {}
        for run in self._runs.values():
            sizes = found.setdefault(run.model, {})
            for name, size in run.held.items():
                sizes[name] = sizes.get(name, 0) + size
            need = needs.get(run.model)
            if run.is_ready and need is not None and need.source is not NeedSource.UNKNOWN:
                for name in need.devices.keys() - set(run.unseen):  # said to need some, and seen to hold none
                    sizes.setdefault(name, 0)
        return found

    def _publish(self, picture: Memory, ready: Mapping[str, bool], around: Surroundings) -> None:
        with self._lock:
            before, self.now = self.now, picture
        if around.is_freeing():  # each reading counts
            around.wake()
        if picture != replace(before, readings=picture.readings):
            for listener in self._listeners:
                listener()
            is_told = around.is_awaited() and is_news(before, picture)
            if is_told or (self._config.routing.router == "memory" and is_pressed(picture, ready)):
                around.wake()

    def _warn_of_growth(self, picture: Memory) -> None:
        """Of models that hold more than they are said to, and so much that others have to go: once."""
        for model, sizes in picture.grown.items() if self._config.routing.router == "memory" else ():
            for name in sizes if picture.need(model).source is NeedSource.DECLARED else ():
                said, held = picture.need(model).devices.get(name, 0), picture.held[model][name]
                told = (visible(model), name)
                if held > said + picture.devices[name].noise and told not in self._exceeding:
                    self._exceeding.add(told)
                    where = picture.devices[name].label
                    line = f"{told[0]}: holds {in_words(held)} on {where}, more than its memory: of {in_words(said)}"
                    self._warn(f"{line}; say more, for others are let in beside it and then go")

    def _tell(self, line: str) -> None:
        if line not in self._told:
            self._told.add(line)
            self._warn(line)


def is_close(picture: Memory, ready: Mapping[str, bool], details: Collection[RunDetail]) -> bool:
    """Whether each second counts: a model may have to go for other programs, or one that serves may grow too much."""
    if ready and any(device.yields for device in picture.devices.values()):
        return True
    return any(detail.in_flight for detail in details) and is_near(picture, ready)


def is_news(before: Memory, now: Memory) -> bool:
    """Whether the difference is more than noise."""
    if before.devices.keys() != now.devices.keys() or before.needs.keys() != now.needs.keys():
        return True
    if any(before.needs[name].source is not need.source for name, need in now.needs.items()):
        return True
    for name, device in now.devices.items():
        noise = device.noise
        pairs = [(before.devices[name].others, device.others)]
        pairs += [
            (before.needs[model].devices.get(name, 0), need.devices.get(name, 0)) for model, need in now.needs.items()
        ]
        models = {*before.held, *now.held}
        held = [(before.held.get(one, {}).get(name, 0), now.held.get(one, {}).get(name, 0)) for one in models]
        if any(abs(one - other) > noise for one, other in pairs + held):
            return True
        if any((one == 0) is not (other == 0) for one, other in held):  # the first that it takes, however little
            return True
    return False
