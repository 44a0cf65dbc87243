"""A model as one run of it is started: the variables and macros that tell its server what is the run's own. Pure.

That are the GPUs that were chosen for it, and the token by which it says where it listens. What a run is given is a
mapping of texts, which goes from one process of ours to the next one at an upgrade: variables for its environment, and
in lower case what these came from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from llamaswap_lib.typed_yaml.secrets import changed

from .schema import Model

SAID = "said"  # what the file says of its GPUs
ANNOUNCE = "announce"  # of its announcements

Given = Mapping[str, str]


def asked(model: Model) -> str:
    """What the file says of its GPUs; '' for nothing."""
    return "" if model.gpus is None else ", ".join(model.gpus.named) or str(model.gpus)


def placed(model: Model, given: Given) -> Model:
    """The model as it is started with this; where nothing was chosen for it, the macros mean no GPU."""
    if model.gpus is None and not model.is_announced:
        return model
    values: dict[str, str] = {}
    if model.gpus is not None:
        values |= {"${GPUS}": given.get("gpus", ""), "${GPU_COUNT}": given.get("gpu_count", "0")}
    shown_cmd = _replaced(model.shown.cmd, values)
    if model.is_announced:  # it is not told to anybody else
        values |= {"${ANNOUNCE}": given.get(ANNOUNCE, "")}

    def told(text: str) -> str:
        return _replaced(text, values)

    variables = tuple(f"{name}={value}" for name, value in given.items() if name.isupper())
    return replace(
        model,
        cmd=told(model.cmd),
        argv=tuple(map(told, model.argv)),
        cmd_stop=told(model.cmd_stop),
        stop_argv=tuple(map(told, model.stop_argv)),
        env=(*map(told, model.env), *variables),
        sleep=model.sleep and model.sleep.with_commands(told),
        shown=model.shown._replace(cmd=shown_cmd),
        unplaced=model,
    )


def _replaced(text: str, values: Mapping[str, str]) -> str:
    def replaced(part: str) -> str:
        for macro, value in values.items():
            part = part.replace(macro, value)
        return part

    return changed(text, replaced) if "${" in text else text
