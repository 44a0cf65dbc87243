"""Where programs keep the models that they download: the caches of Hugging Face and llama.cpp. Names alone are read."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

USUAL_KIND = "Q4_K_M"  # the quantization that llama-server takes where none is said
PROJECTOR = "mmproj"  # what makes a model see, in a file of its own beside it
NAME = re.compile(r"[\w.-]+/[\w.-]+")  # of a repository: user/model
MOST_FILES = 1000


def caches(env: Mapping[str, str], home: Path) -> list[Path]:
    """The folders of the caches, whether they are there or not: those that somebody has named, then the usual ones."""
    cache = Path(env.get("XDG_CACHE_HOME") or home / ".cache")
    hugging_face = Path(env.get("HF_HOME") or cache / "huggingface")
    return [
        *(Path(env[name]) for name in ("LLAMA_CACHE", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE") if env.get(name)),
        *(cache / "llama.cpp", home / "Library" / "Caches" / "llama.cpp", hugging_face / "hub"),
    ]


def gguf_files(repository: str, places: list[Path]) -> list[Path]:
    """All that is there of `user/model`, in its newest state, in the first of the caches that has some of it."""
    if NAME.fullmatch(repository) is None:
        return []
    flat = repository.replace("/", "_") + "_"
    for place in places:
        folder = snapshot(repository, [place])
        if folder is not None:
            found = [Path(at, name) for at, _, names in os.walk(folder) for name in names]
        else:
            try:
                found = [place / name for name in os.listdir(place) if name.startswith(flat)]  # noqa: PTH208
            except OSError:
                found = []
        if found := sorted(path for path in found if path.name.lower().endswith(".gguf"))[:MOST_FILES]:
            return found
    return []


def model_of(files: list[Path], kind: str, name: str | None) -> Path | None:
    """The one that llama-server takes: that of the `name`, or of the kind of quantization, or the only one."""
    models = [path for path in files if PROJECTOR not in path.name.lower()]
    if name is not None:
        return next((path for path in models if path.name == name or path.name.endswith(f"_{name}")), None)
    fitting = [path for path in models if (kind or USUAL_KIND).lower() in path.name.lower()]
    if fitting or kind:
        return fitting[0] if fitting else None
    return models[0] if models else None


def projector_of(files: list[Path]) -> Path | None:
    return next((path for path in files if PROJECTOR in path.name.lower()), None)


def snapshot(repository: str, places: list[Path]) -> Path | None:
    """The folder with the files of `user/model`, as Hugging Face keeps them; the newest one."""
    if NAME.fullmatch(repository) is None:
        return None
    user, _, model = repository.partition("/")
    for place in places:
        folder = place / f"models--{user}--{model}" / "snapshots"
        try:
            found = [(one.stat().st_mtime, one.name, one) for one in folder.iterdir() if one.is_dir()]
        except OSError:  # it is not there, or is being changed
            continue
        if found:
            return max(found)[2]
    return None
