"""What a measured need belongs to: a digest of everything that moves it.

Any thread. That is the command and the variables without port and secrets, the devices, and size and time of each file
of a model that the command names. A changed `--ctx-size` is another digest, so nothing has to expire.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator

from llamaswap_lib.command_words import mask_variable, masked_words
from llamaswap_lib.config.command_check import model_files
from llamaswap_lib.config.schema import Model
from llamaswap_lib.memory.files_apart import Look, look_of

PORT_OPTIONS = frozenset(("--port", "-port", "--listen-port"))
DIGITS = 32
CHOSEN = ["the GPUs that were chosen"]


def digest_of(model: Model, devices: Iterable[str], look: Look = look_of) -> str:
    """`devices` are the names of those that there are; of a model whose GPUs are chosen it does not matter which."""
    at = (model.unplaced or model).at_port(0)
    said = [
        list(_without_ports(masked_words(list(map(str, at.argv))))),
        sorted(mask_variable(str(entry)) for entry in at.env),
        sorted(devices) if at.gpus is None else CHOSEN,
        [look(file) for _, file in model_files(at.argv)],
    ]
    return hashlib.sha256(json.dumps(said).encode("utf-8", "surrogatepass")).hexdigest()[:DIGITS]


def _without_ports(words: Iterable[str]) -> Iterator[str]:
    before = ""
    for word in words:
        name, _, value = word.partition("=")
        if before in PORT_OPTIONS or (value and name in PORT_OPTIONS):
            word = name if value else ""
        yield word
        before = word
