"""A model on the GPUs that were chosen for it: the variables and macros that tell its server. Pure.

What a run is given is a mapping of texts, which goes from one process of ours to the next one at an upgrade: variables
for its environment, and in lower case what these came from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from llamaswap_lib.typed_yaml.secrets import changed

from .schema import Model

SAID = "said"  # what the file says of its GPUs

Given = Mapping[str, str]


def asked(model: Model) -> str:
    """What the file says of its GPUs; '' for nothing."""
    return "" if model.gpus is None else ", ".join(model.gpus.named) or str(model.gpus)


def placed(model: Model, given: Given) -> Model:
    """The model as it is started with this; where nothing was chosen for it, the macros mean no GPU."""
    if model.gpus is None:
        return model
    values = {"${GPUS}": given.get("gpus", ""), "${GPU_COUNT}": given.get("gpu_count", "0")}

    def replaced(part: str) -> str:
        for macro, value in values.items():
            part = part.replace(macro, value)
        return part

    def told(text: str) -> str:
        return changed(text, replaced) if "${" in text else text

    variables = tuple(f"{name}={value}" for name, value in given.items() if name.isupper())
    return replace(
        model,
        cmd=told(model.cmd),
        argv=tuple(map(told, model.argv)),
        cmd_stop=told(model.cmd_stop),
        stop_argv=tuple(map(told, model.stop_argv)),
        env=(*map(told, model.env), *variables),
        shown=model.shown._replace(cmd=told(model.shown.cmd)),
        unplaced=model,
    )
