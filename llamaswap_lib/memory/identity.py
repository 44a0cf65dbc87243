"""What a measured need belongs to: a digest of everything that moves it. `Digests` has those of a configuration.

That is the command and the variables without port and secrets, the devices, and size and time of each file
of a model that the command names. A changed `--ctx-size` is another digest, so nothing has to expire.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import partial

from llamaswap_lib.command_words import mask_variable, masked_words
from llamaswap_lib.config.command_check import model_files
from llamaswap_lib.config.schema import Config, Model
from llamaswap_lib.memory.files_apart import FilesApart, Look, folder_of, look_of, unseen

PORT_OPTIONS = frozenset(("--port", "-port", "--listen-port"))
DIGITS = 32
CHOSEN = ["the GPUs that were chosen"]
LOOK_AGAIN = 60.0  # seconds between two looks at the files of models


class Digests:
    """`now` has those of the last look, by model of the configuration. One thread."""

    def __init__(self, files: FilesApart) -> None:
        self.now: dict[str, str] = {}
        self._files = files
        self._seen: tuple[Config, tuple[str, ...], frozenset[int]] | None = None  # what these were made for
        self._look_at = 0.0

    def look(self, config: Config, devices: tuple[str, ...], runs: Iterable[int], now: float) -> bool:
        """Find them, where anything of them may have changed; whether that was so. `runs` are the ids of all runs."""
        seen, before = (config, devices, frozenset(runs)), self._seen
        if before is not None and now < self._look_at and before[0] is config and before[1:] == seen[1:]:
            return False
        self.now = self.of(config.models, devices)
        self._seen, self._look_at = seen, now + LOOK_AGAIN
        return True

    def of(self, models: Mapping[str, Model], devices: Collection[str]) -> dict[str, str]:
        """By name. Where its files do not answer it is that of the last look, if all else of it is as it was then;
        else that of a model without files.
        """
        folders: dict[str, list[str]] = {}
        for name, model in models.items():
            folders.setdefault(folder_of(model), []).append(name)
        found, none = dict[str, str](), dict[str, str]()
        for folder, names in folders.items():
            read = partial(_digests_by, self._files.look, {name: models[name] for name in names}, devices)
            found |= self._files.ask(folder, read, none)
        rest = _digests_by(unseen, {name: model for name, model in models.items() if name not in found}, devices)
        if rest and self._seen is not None:
            config, seen, _ = self._seen
            before = {name: config.models[name] for name in rest if name in config.models}
            same = [name for name, digest in _digests_by(unseen, before, seen).items() if digest == rest[name]]
            rest |= {name: self.now[name] for name in same}
        return rest | found


def _digests_by(look: Look, models: Mapping[str, Model], devices: Collection[str]) -> dict[str, str]:
    return {name: digest_of(model, devices, look) for name, model in models.items()}


def digest_of(model: Model, devices: Iterable[str], look: Look = look_of) -> str:
    """Any thread. `devices` are the names of those that there are; of a model whose GPUs are chosen any will do."""
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
