"""`Estimator`: what the model of a command will need, from its files and options, or why that cannot be told.

One thread at a time; it reads files. A file is read once, until its size or its time is another one; one that could
not be read, each time. `patience` bounds the seconds for which one round reads: what is left is `is_behind`, and done
in the next one.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from llamaswap_lib.config.schema import Model
from llamaswap_lib.config.wrappers import name_of, started
from llamaswap_lib.estimates import llama, vllm
from llamaswap_lib.estimates.flags import Flags, flags_of
from llamaswap_lib.estimates.layout import Layout, layout_of
from llamaswap_lib.model_files import gguf, hub, safetensors
from llamaswap_lib.model_files.opening import Unavailable, Unreadable

LLAMA_SERVER = "llama-server"
MOST_MODELS = 500  # of which it is known what their files say
DEVICE = re.compile(r"[A-Za-z]+(\d{1,3})")  # CUDA0, ROCm1, Vulkan2

_Look = tuple[str, int, int]  # of a file: its path, size and time


class Estimate(NamedTuple):
    """Bytes by device, as `memory` of a model says them: `ram`, `gpu` for all that it sees, or a GPU's key.

    None where they cannot be told; `reason` says why, in words that follow `its need cannot be estimated: `.
    """

    sizes: Mapping[str, int] | None
    reason: str = ""


class _Later(Exception):
    """There was no time left to read."""


class Estimator:
    """`env` is what models inherit."""

    def __init__(
        self,
        env: Mapping[str, str] | None = None,
        home: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
        patience: float = float("inf"),
    ) -> None:
        self._env = os.environ if env is None else env
        self._home = home
        self._clock = clock
        self._patience = patience
        self._until = float("inf")
        self._read: dict[tuple[_Look, ...], Layout | int | str] = {}  # what files say, or what is wrong with them
        self.is_behind = False

    def begin(self) -> None:
        """Another round."""
        self._until, self.is_behind = self._clock() + self._patience, False

    def estimate(self, model: Model, gpus: Mapping[str, int]) -> Estimate:
        """`gpus`: bytes that models may have of each that it sees, by key."""
        try:
            return self._estimate(model, gpus)
        except Unreadable as error:
            return Estimate(None, str(error))
        except _Later:
            self.is_behind = True
            return Estimate(None, "its file has not been read yet")

    def _estimate(self, model: Model, gpus: Mapping[str, int]) -> Estimate:
        words = [str(word) for word in model.at_port(0).argv]
        starts = started(words)
        if not starts.programs or not starts.is_here or starts.script is not None:
            raise Unreadable("what its command starts is not seen here")
        place = starts.programs[-1]
        program, words = name_of(words[place]), words[place + 1 :]
        env = {**self._env, **dict(str(entry).partition("=")[::2] for entry in model.variables)}
        if program.startswith(LLAMA_SERVER):
            flags = flags_of(words, env)
            used = _used(flags.device, gpus)
            room = llama.Room(len(used), sum(used.values()))
            found = llama.need(self._files(flags, env), flags, room)
            return Estimate(_on_devices(found, flags, used, is_all=len(used) == len(gpus)))
        server = _server(program, words)
        if server is None:
            raise Unreadable(f"the options of {program} are not known")
        asked = vllm.asked_of(words, env)
        sizes = vllm.need(asked, server, gpus, self._safetensors(asked.model, env))
        if sizes is None:
            raise Unreadable(f"its options do not say how much {server} takes")
        return Estimate(sizes)

    # -- files --

    def _files(self, flags: Flags, env: Mapping[str, str]) -> llama.Files:
        path, projector = flags.model, flags.projector
        if path is None and flags.repository is not None:
            path, found = self._downloaded(flags.repository, flags.repository_file, env)
            if projector is None and flags.finds_projector and (seen := hub.projector_of(found)) is not None:
                projector = str(seen)
        if path is None:
            raise Unreadable("its command names no file of a model")
        draft = flags.draft
        if draft is None and flags.draft_repository is not None:
            draft, _ = self._downloaded(flags.draft_repository, None, env)
        beside = None if draft is None else self._layout(draft)
        return llama.Files(self._layout(path), self._size(projector) if projector else 0, beside)

    def _downloaded(self, name: str, file: str | None, env: Mapping[str, str]) -> tuple[str, list[Path]]:
        """The model of a repository, `user/model:KIND`, and all that is there of it; raises Unreadable."""
        repository, _, kind = name.partition(":")
        found = hub.gguf_files(repository, self._caches(env))
        model = hub.model_of(found, kind, file)
        if model is None:
            raise Unreadable(f"{repository} has not been downloaded yet")
        return str(model), found

    def _caches(self, env: Mapping[str, str]) -> list[Path]:
        try:
            home = self._home or Path.home()
        except RuntimeError:  # there is none
            home = Path("/")
        return hub.caches(env, home)

    def _layout(self, path: str) -> Layout:
        first = Path(path)
        part = gguf.part_of(first)
        if part is not None and part[0] != 1:
            raise Unreadable(f"{path} is not the first part of its model")
        looks = tuple(_look_of(str(one)) for one in gguf.parts(first))
        found = self._known(looks, lambda: layout_of([gguf.read_header(name) for name, _, _ in looks]))
        if not isinstance(found, Layout):
            raise Unreadable(f"{path} {found}")
        return found

    def _size(self, path: str) -> int:
        """Of a file beside the model."""
        return _look_of(path)[1]

    def _safetensors(self, model: str, env: Mapping[str, str]) -> int | None:
        """Bytes of the tensors of the model with this name or in this folder; None where they are not found."""
        folder = model if os.path.isdir(model) else hub.snapshot(model, self._caches(env))  # noqa: PTH112
        if folder is None:
            return None
        try:
            looks = tuple(_look_of(path) for path in safetensors.files(str(folder)))
        except Unreadable:
            return None
        found = self._known(looks, lambda: sum(safetensors.weights(name) for name, _, _ in looks))
        return found if isinstance(found, int) else None

    def _known(self, looks: tuple[_Look, ...], read: Callable[[], Layout | int]) -> Layout | int | str:
        """What these files say, or what is wrong with them; `read` where that is not known yet."""
        found = self._read.get(looks)
        if found is None:
            if self._clock() >= self._until:
                raise _Later
            try:
                found = read()
            except Unavailable as error:
                return str(error)
            except Unreadable as error:
                found = str(error)
            while len(self._read) >= MOST_MODELS:
                del self._read[next(iter(self._read))]
            self._read[looks] = found
        return found


def _look_of(path: str) -> _Look:
    """Raises Unreadable where there is no such file."""
    try:
        found = os.stat(path)  # noqa: PTH116 - a name that is too long is an OSError here
    except (OSError, ValueError) as error:
        raise Unreadable(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    return path, found.st_size, found.st_mtime_ns


def _server(program: str, words: Sequence[str]) -> str | None:
    """`vllm` or `sglang`: `vllm serve`, `python -m vllm.entrypoints...`, `python3 -m sglang.launch_server`."""
    module = words[1] if words[:1] == ["-m"] and len(words) > 1 else ""
    for server in vllm.SHARES:
        if program == server or module == server or module.startswith(f"{server}."):
            return server
    return None


def _used(device: str, gpus: Mapping[str, int]) -> dict[str, int]:
    """Those that `--device` names, as `CUDA1,CUDA0`, in that order; all, where it is not sure which those are."""
    words = device.split(",")
    numbers = dict.fromkeys(int(found[1]) for word in words if (found := DEVICE.fullmatch(word)))
    if len(numbers) != len(words) or max(numbers) >= len(gpus):
        return dict(gpus)
    names = list(gpus)
    return {names[number]: gpus[names[number]] for number in numbers}


def _on_devices(found: llama.Split, flags: Flags, gpus: Mapping[str, int], *, is_all: bool) -> dict[str, int]:
    """On the GPUs that it uses by how large they are, unless the options say which one has how much."""
    if not found.gpu:
        return {"ram": found.ram}
    shares = flags.shares[: len(gpus)]
    if flags.split == "none":
        shares = tuple(float(number == flags.main_gpu) for number in range(len(gpus)))
    if not (sum(shares) or is_all):
        shares = tuple(map(float, gpus.values()))
    if not sum(shares):
        return {"gpu": found.gpu, "ram": found.ram}
    sizes = {gpu: int(found.gpu * share / sum(shares)) for gpu, share in zip(gpus, shares, strict=False) if share}
    return {**sizes, "ram": found.ram}
