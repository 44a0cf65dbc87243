"""What a model needs, by what is said of it, what was measured, and what is estimated, in this order. Pure."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

from llamaswap_lib.config.schema import Model
from llamaswap_lib.core.eviction.devices import Need, NeedSource
from llamaswap_lib.memory.devices import RAM, VARIABLES, Measured, declared, usable_by

Sizes = Mapping[str, int]  # bytes by device


class Sized(NamedTuple):
    """`strangers` are names of devices in `memory` that lead to none."""

    need: Need
    strangers: tuple[str, ...] = ()


def seen_by(model: Model, devices: Mapping[str, Measured]) -> tuple[str, ...]:
    """The GPUs that its server sees, by what of its environment says so."""
    said = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    own = (str(entry).partition("=")[::2] for entry in model.variables)
    told = {name: value for name, value in own if name in VARIABLES and "${GPUS}" not in value}  # yet to be chosen
    return usable_by(said | told, devices)


def need_of(model: Model, known: Sizes | None, guess: Sizes | None, devices: Mapping[str, Measured]) -> Sized:
    """`known` as measured, `guess` as estimated; None where that is not so."""
    usable = seen_by(model, devices)
    if model.memory:
        said = declared(model.memory, usable, devices)
        has_gpu = any(one.gpu is not None for one in devices.values())
        need = Need({**(known or {}), **said.sizes}, NeedSource.DECLARED)
        return Sized(need, said.unknown if has_gpu else ())
    if known is not None:
        return Sized(Need(known, NeedSource.MEASURED))
    if guess is not None:
        return Sized(Need(guess, NeedSource.ESTIMATED))
    return Sized(Need({name: 0 for name in devices if name == RAM or name in usable}, NeedSource.UNKNOWN))
