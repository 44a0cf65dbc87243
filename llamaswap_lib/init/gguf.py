"""GGUF files of models, in the folders in which programs keep them.

The look is bounded: DEPTH folders down, MOST_FOLDERS folders and MOST_FILES files in all. What cannot be read is
passed over.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from llamaswap_lib.model_files.gguf import MAGIC, part_of, parts
from llamaswap_lib.model_files.hub import PROJECTOR, caches
from llamaswap_lib.model_files.opening import Unreadable, open_file

DEPTH = 6
MOST_FOLDERS = 5_000
MOST_FILES = 50


class ModelFile(NamedTuple):
    """One model: the file that names it, the size in bytes of all its parts, and its projector if there is one."""

    path: Path
    size_bytes: int
    projector: Path | None


def folders(env: Mapping[str, str], home: Path, here: Path) -> list[Path]:
    """Where models may lie: the caches of llama.cpp, Hugging Face and LM Studio, and the usual folders."""
    cache = Path(env.get("XDG_CACHE_HOME") or home / ".cache")
    places = [
        *caches(env, home),
        *(home / ".lmstudio" / "models", cache / "lm-studio" / "models"),
        *(home / "models", here, Path("/models"), Path("/opt/models"), Path("/srv/models")),
    ]
    return list(dict.fromkeys(places))


def find(places: Iterable[Path]) -> list[ModelFile]:
    """The models in the folders and below, in the order in which they are found, each once wherever links lead."""
    found: dict[Path, ModelFile] = {}
    for path in _gguf_files(places):
        part = part_of(path)
        is_model = PROJECTOR not in path.name.lower() and (part is None or part[0] == 1)
        real = Path(os.path.realpath(path))  # which is no error where links lead in a circle
        if is_model and real not in found and _has_magic(real):
            found[real] = ModelFile(path, sum(map(size_of, parts(path))), _projector(path))
            if len(found) == MOST_FILES:
                break
    return list(found.values())


def _gguf_files(places: Iterable[Path]) -> Iterator[Path]:
    left = MOST_FOLDERS
    for place in places:
        for folder, names, files in os.walk(place):
            left -= 1
            if left < 0:
                return
            depth = len(Path(folder).parts) - len(place.parts)
            names[:] = sorted(name for name in names if not name.startswith(".")) if depth < DEPTH else []
            yield from (Path(folder, name) for name in sorted(files) if name.lower().endswith(".gguf"))


def _projector(path: Path) -> Path | None:
    """The one beside it; of another model's in a folder of many, as llama.cpp's cache, the name begins otherwise."""
    beside = sorted(other for other in path.parent.glob("*.gguf") if PROJECTOR in other.name.lower())
    begins = {other: other.name.lower().partition(PROJECTOR)[0] for other in beside}
    fitting = [other for other, begin in begins.items() if path.name.lower().startswith(begin)]
    return max(fitting, key=lambda other: len(begins[other]), default=None)


def size_of(path: Path) -> int:
    """Bytes; 0 where it cannot be seen."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _has_magic(path: Path) -> bool:
    try:
        file, _ = open_file(str(path))  # a pipe would be waited for
        with file:
            return file.read(len(MAGIC)) == MAGIC
    except (OSError, Unreadable):
        return False
