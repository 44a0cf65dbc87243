"""A model made complete: what it takes from the global keys, its commands as words, its address checked.

Owns the rules of single models; collisions of names are the business of `names.py`. Pure except for what it reports.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from llamaswap_lib.command_words import mask_command, shown_words, split, without_comments
from llamaswap_lib.typed_yaml.nodes import MACRO
from llamaswap_lib.typed_yaml.problems import KeyPath, quoted
from llamaswap_lib.typed_yaml.secrets import changed, mask_text, mask_value

from .addresses import MAX_PORT, PORT, address_of, check_url, has_braces_and_parses
from .device_keys import names_devices
from .document import Document
from .schema import MINIMUM_HEALTH_CHECK_TIMEOUT, AutomaticPort, Config, Model, ShownModel
from .sections import Filters, ModelFilters
from .sleep_keys import Sleep

COMFYUI = "comfyui_auto"
COMFYUI_CONCURRENCY = 50
PROTECTED_PARAMETER = "model"


def complete(
    name: str, model: Model, config: Config, document: Document, automatic_port: AutomaticPort | None
) -> Model:
    """The model with everything resolved. `config` gives the global values."""
    path: KeyPath = ("models", name)
    is_known = model.is_announced or MACRO.search(model.proxy) or has_braces_and_parses(model.proxy)
    if automatic_port is not None and automatic_port.number > MAX_PORT and PORT in automatic_port.proxy:
        document.error(("startPort",), f"the ports that are counted from here go beyond {MAX_PORT}, the highest one")
    elif not is_known:  # a macro that is left has been reported
        check_url(model.proxy, (*path, "proxy"), document)
    if name == COMFYUI:
        model = replace(
            model,
            compat=replace(model.compat, ignore_websockets=True),
            concurrency_limit=max(model.concurrency_limit, COMFYUI_CONCURRENCY),
        )
    for index, entry in enumerate(model.env if model.gpus is not None else ()):
        if variable := names_devices(entry):
            cure = f"leave one of them out, or write {variable}=${{GPUS}}"
            document.error((*path, "env", index), f"{variable} and gpus both say which GPUs it gets; {cure}")
    if model.sleep is not None:
        _check_sleep(model.sleep, (*path, "sleep"), document)
    if model.cmd_status and (not model.cmd_stop or "${PID}" in model.cmd_stop):
        message = "cmdStatus needs a cmdStop without ${PID}: nothing else ends what it finds"
        document.error((*path, "cmdStatus"), message, at_key=True)
    loading = model.send_loading_state
    return replace(
        model,
        id=name,
        cmd=changed(model.cmd, without_comments),
        argv=split(model.cmd),
        cmd_stop=changed(model.cmd_stop, without_comments),
        stop_argv=split(model.cmd_stop),
        sleep=model.sleep and model.sleep.with_commands(lambda text: changed(text, without_comments)),
        cmd_status=changed(model.cmd_status, without_comments),
        status_argv=split(model.cmd_status),
        ttl=config.global_ttl if model.ttl < 0 else model.ttl,
        unload_timeout=model.unload_timeout or config.unload_timeout,
        health_check_timeout=_health_check_timeout(model, config),
        hung_after=config.hung_after if model.hung_after < 0 else model.hung_after,
        send_loading_state=config.send_loading_state if loading is None else loading,
        filters=model_filters(model.filters),
        automatic_port=automatic_port,
        shown=_shown(model, automatic_port),
    )


def _check_sleep(sleep: Sleep, path: KeyPath, document: Document) -> None:
    """Either a path or a command has it sleep, and wake."""
    for url_key, url, cmd_key, cmd in (
        ("url", sleep.url, "cmd", sleep.cmd),
        ("wake", sleep.wake, "wakeCmd", sleep.wake_cmd),
    ):
        if cmd and url:
            document.error((*path, cmd_key), f"{cmd_key} and {url_key} are for the same: leave one of them out")
        elif not cmd and (not url.startswith("/") or "${" in url):
            got = f", got {quoted(url)}" if url else f", or {cmd_key}, a command"
            document.error((*path, url_key), f"expected a path of its server, such as /wake_up{got}")
    if sleep.check and (not sleep.check.startswith("/") or "${" in sleep.check):
        document.error(
            (*path, "check"), f"expected a path of its server, such as /is_sleeping, got {quoted(sleep.check)}"
        )


def check_sleepers(config: Config, document: Document) -> None:
    """One that sleeps keeps its port, so another model with the same one could never start."""
    addresses = {name: _fixed_address(model) for name, model in config.models.items()}
    for name, model in config.models.items():
        if model.is_announced and model.sleep is not None:
            message = "a server that says itself where it listens cannot be put to sleep: leave out sleep"
            document.error(("models", name, "sleep"), message, at_key=True)
        address = addresses[name]
        if model.sleep is None or address is None:
            continue
        others = [other for other in addresses if other != name and addresses[other] == address]
        if others:
            message = f"{quoted(others[0])} has the same address, and could not start while this one sleeps"
            document.error(("models", name, "sleep"), message, at_key=True)


def _fixed_address(model: Model) -> tuple[str, int] | None:
    """None where a port is chosen or announced, or where what stands there has been refused."""
    try:
        return None if model.automatic_port or model.is_announced else address_of(model.proxy)
    except ValueError:
        return None


def _shown(model: Model, automatic_port: AutomaticPort | None) -> ShownModel:
    """What clients are told of the model."""
    if automatic_port is None:
        cmd, proxy = mask_command(changed(model.cmd, without_comments)), mask_text(model.proxy)
    else:
        cmd, proxy = automatic_port.shown_at(automatic_port.number)
    others = (model.cmd_stop, model.cmd_status, *(model.sleep.commands if model.sleep else ()))
    programs = [*_program(model.cmd, cmd), *(pair for one in others for pair in _program(one, mask_command(one)))]
    return ShownModel(cmd, proxy, mask_value(model.metadata), tuple(programs))


def _program(command: str, masked: str) -> Iterator[tuple[str, str]]:
    """The first word of a command, and what is told of it, where that is another."""
    if masked != command:
        words = split(command)
        yield from zip(words[:1], shown_words(words, masked)[:1], strict=True)


def _health_check_timeout(model: Model, config: Config) -> float:
    if not model.health_check_timeout:
        return config.health_check_timeout
    return max(model.health_check_timeout, MINIMUM_HEALTH_CHECK_TIMEOUT)


def model_filters(filters: ModelFilters) -> ModelFilters:
    """The filters with the older spelling folded in."""
    if filters.legacy_strip_params:
        strip = filters.strip_params or filters.legacy_strip_params
        filters = replace(filters, strip_params=strip, legacy_strip_params=())
    return protected(filters)


F = TypeVar("F", bound=Filters)


def protected(filters: F) -> F:
    """The filters without what they say about `model`."""
    said = (filters.strip_params, filters.set_params, *filters.set_params_by_id.values())
    if not any(PROTECTED_PARAMETER in names for names in said):
        return filters
    return replace(
        filters,
        strip_params=tuple(name for name in filters.strip_params if name != PROTECTED_PARAMETER),
        set_params=_without_model(filters.set_params),
        set_params_by_id={name: _without_model(values) for name, values in filters.set_params_by_id.items()},
    )


def _without_model(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name != PROTECTED_PARAMETER}
