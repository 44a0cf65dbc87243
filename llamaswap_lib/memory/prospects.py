"""`llamaswap check` with `use: memory`: what can never fit into this machine, and what nothing can measure here.

It asks the drivers once, reads what was learned and the headers of models' files, and starts nothing. A driver that
does not answer in time is one warning.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from llamaswap_lib.config.document import Document
from llamaswap_lib.config.schema import Config, Model
from llamaswap_lib.config.wrappers import name_of
from llamaswap_lib.core.eviction.devices import Need, NeedSource, in_words
from llamaswap_lib.estimates.estimator import Estimator
from llamaswap_lib.hardware.nvml import is_host_namespace
from llamaswap_lib.hardware.processes import CLIENTS
from llamaswap_lib.hardware.readings import Gpu
from llamaswap_lib.hardware.sampler import Hardware
from llamaswap_lib.memory.devices import Measured, measured, names_of
from llamaswap_lib.memory.estimated import estimated_where_it_runs
from llamaswap_lib.memory.identity import digest_of
from llamaswap_lib.memory.learned import Learned, file_of
from llamaswap_lib.memory.movable import Known, movable
from llamaswap_lib.memory.needs import need_of, seen_by
from llamaswap_lib.typed_yaml.secrets import visible

TIMEOUT = 5.0  # seconds; a hung driver must not hold up a check


class Prospect(NamedTuple):
    """Of one model. `strangers` are names of devices that are not there.

    `ways` are its needs on each choice of GPUs, where these are chosen for it, and `fault` why there is no choice.
    """

    model: Model
    need: Need
    strangers: tuple[str, ...] = ()
    ways: tuple[Need, ...] = ()
    fault: str = ""


def look(config: Config, document: Document, hardware: Hardware | None = None) -> None:
    """Warn of what is found; nothing, where models do not go by memory. `hardware` is started and closed."""
    if config.routing.router != "memory" or document.problems.is_text_only:
        return
    asked = hardware or Hardware()
    asked.start()
    try:
        is_read = asked.read_now(TIMEOUT)
        gpus, memory = asked.gpus(), asked.machine_memory()
    finally:
        asked.close()
    devices = measured(gpus, memory, config.routing.memory.devices)
    at = ("routing", "router", "use")
    if not is_read:
        document.warn(at, f"the drivers of GPUs have not answered within {TIMEOUT:.0f} s, so what fits is not known")
        return
    if not devices:
        document.warn(at, "no memory of this machine can be read, so one model runs at a time")
        return
    learned = Learned(lambda line: document.warn(at, line), lambda: 0.0)
    learned.use(file_of(config))
    warn(config, document, devices, learned, Estimator(), sees_host=is_host_namespace())


def warn(
    config: Config,
    document: Document,
    devices: Mapping[str, Measured],
    learned: Learned,
    estimator: Estimator,
    *,
    sees_host: bool = True,
) -> None:
    """The same for these devices. `sees_host`: processes of all containers are seen."""
    for name in config.routing.memory.devices:
        if not any(name in names_of(key, one) for key, one in devices.items()):
            at = ("routing", "router", "settings", "memory", "devices", name)
            document.warn(at, "there is no such device here, so it does nothing", at_key=True, family="no such device")
    prospects = [_prospect(model, devices, learned, estimator) for model in config.models.values()]
    for prospect in prospects:
        path = "models", prospect.model.id, *(("memory",) if prospect.model.memory else ())
        for name in prospect.strangers:
            document.warn(
                path, f"names the device {visible(name)}, which is not there", at_key=True, family="no such device"
            )
        if prospect.fault:
            document.warn(("models", prospect.model.id, "gpus"), prospect.fault, family="no such GPU")
        if words := _why_it_never_fits(prospect, prospects, devices):
            document.warn(path, words, at_key=True, family="never fits")
        _ask_for_memory(prospect, document, devices, sees_host=sees_host)


def _prospect(model: Model, devices: Mapping[str, Measured], learned: Learned, estimator: Estimator) -> Prospect:
    digest, usable = digest_of(model, devices), seen_by(model, devices)
    known, guess = learned.need(digest), None
    if known is None and not model.memory:
        guess, _ = estimated_where_it_runs(estimator, model, usable, devices)
    need, strangers = need_of(model, known, guess, devices)
    if model.gpus is not None:
        one = movable(model.gpus, usable, devices, Known(model.memory, learned.peaks(digest), guess))
        if one is not None:
            seen = {name: measured.device for name, measured in devices.items()}
            ways = tuple(one.need_on(choice, seen) for choice in one.choices())
            return Prospect(model, Need(source=one.source), strangers, ways, one.fault)
    return Prospect(model, need, strangers)


def _why_it_never_fits(prospect: Prospect, all_of_them: Iterable[Prospect], devices: Mapping[str, Measured]) -> str:
    """With the figures that the refusal of a load has; '' where it fits, with one choice of GPUs at least."""
    others = [one for one in all_of_them if one.model.pinned and one.model.id != prospect.model.id]
    said = [_why_it_does_not(need, others, devices) for need in prospect.ways or (prospect.need,)]
    return said[-1] if all(said) else ""


def _why_it_does_not(need: Need, others: Iterable[Prospect], devices: Mapping[str, Measured]) -> str:
    if need.source is NeedSource.UNKNOWN:
        return ""
    for name, size in need.devices.items():
        if name not in devices:
            continue
        device = devices[name].device
        usable = device.capacity if need.source is NeedSource.MEASURED else device.usable
        held = {one.model.id: _known_size(one, name) for one in others if _known_size(one, name)}
        if size > usable - sum(held.values()):
            of_which = f", less {_sum_of(held)}" if size <= usable else ""
            sizes = f"it needs {in_words(size)} on {device.label} ({need.source.value})"
            sizes += f", and models may have {in_words(usable)} there{of_which}"
            if need.source is NeedSource.ESTIMATED:
                return f"may not fit: {sizes}; it is loaded alone, unless memory: says what it needs"
            return f"{'cannot be loaded while these run' if of_which else 'can never be loaded'}: {sizes}"
    return ""


def _known_size(prospect: Prospect, device: str) -> int:
    return 0 if prospect.need.source is NeedSource.UNKNOWN else prospect.need.devices.get(device, 0)


def _sum_of(held: Mapping[str, int]) -> str:
    """`the 4.0 GB of a and b, which are pinned`."""
    verb = "is" if len(held) == 1 else "are"
    return f"the {in_words(sum(held.values()))} of {' and '.join(map(visible, held))}, which {verb} pinned"


def _ask_for_memory(
    prospect: Prospect, document: Document, devices: Mapping[str, Measured], *, sees_host: bool
) -> None:
    """Where nothing will measure it; a hint, where only the change of the device will."""
    if prospect.need.source in (NeedSource.DECLARED, NeedSource.MEASURED):
        return
    path = "models", prospect.model.id
    usable = seen_by(prospect.model, devices)
    blind = [one.device.label for name, one in devices.items() if name in usable and _is_blind(one.gpu)]
    if not sees_host and any(name_of(word) in CLIENTS for word in prospect.model.argv):
        message = "what its container takes cannot be seen from in here (--pid=host); say what it needs with memory:"
        document.warn(path, message, at_key=True, family="container")
    elif blind:
        message = (
            f"what it takes of {' and '.join(blind)} is not told for each process, so it is measured by what changes"
        )
        message += " while it loads, which others may falsify; it need not be, if memory: says what it needs"
        document.hint(path, message, at_key=True, family="not told")


def _is_blind(gpu: Gpu | None) -> bool:
    return gpu is not None and not gpu.shows_processes
