"""The text of a first configuration. It reads the headers of models' files, and nothing else."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence

from llamaswap_lib.init.fitting import fit
from llamaswap_lib.init.gguf import ModelFile, size_of
from llamaswap_lib.init.gpus import Gpu
from llamaswap_lib.model_files.gguf import PART

EMBEDDING = re.compile(r"embed|(?:^|[-_.])(?:bge|gte|e5|minilm)(?:[-_.]|$)", re.IGNORECASE)
RERANKER = re.compile(r"rerank", re.IGNORECASE)
ALL_LAYERS = "-ngl 99"

HEAD = """\
# Written by `llamaswap init` for what it found on this machine. Change it as you like:
# every key is described in docs/configuration.md, and `llamaswap check -c {name}` says what is wrong with it.
#
{findings}

# Seconds a model may take to become ready.
healthCheckTimeout: 300

# Seconds without a request after which a model is unloaded; 0 is never.
globalTTL: 0

# Names of models as clients write them.
models:
"""

MEMORY = """\

# Models stay loaded as long as they fit into memory, which is measured: see docs/memory.md. Without this one of them
# runs at a time. `memory: 18GB` beside the cmd of a model says what it needs, `pinned: true` keeps it loaded.
routing:
  router:
    use: memory
"""

DEMO = """\
  # No model file was found. These two need nothing but Python, and show how models swap:
  small:
    cmd: ${LLAMASWAP} demo --port ${PORT} --model ${MODEL_ID} --tokens-per-second 100
  large:
    cmd: ${LLAMASWAP} demo --port ${PORT} --model ${MODEL_ID} --tokens-per-second 20 --load-seconds 3

  # A real one, which llama-server downloads when it is first asked for:
  # qwen3-4b:
  #   cmd: llama-server --port ${PORT} -hf unsloth/Qwen3-4B-GGUF:Q4_K_M
"""


def config_text(name: str, server: str | None, models: Sequence[ModelFile], gpus: Sequence[Gpu]) -> str:
    """The file `name`; `server` is where llama-server lies, None if it is not on PATH."""
    text = HEAD.format(name=_one_line(name), findings=_findings(server, models, gpus))
    entries = [_entry(model_id, model, gpus) for model_id, model in _named(filter(_is_writable, models))]
    return text + ("\n".join(entries) + MEMORY if entries else DEMO)


def _findings(server: str | None, models: Sequence[ModelFile], gpus: Sequence[Gpu]) -> str:
    lines = [f"GPU: {_one_line(gpu.name)}, {_gigabytes(gpu.memory_bytes)}" for gpu in gpus] or ["GPU: none found"]
    missing = "not on PATH; install llama.cpp, or write its full path into the commands below"
    lines += [f"llama-server: {_one_line(server) if server else missing}", f"model files: {len(models)}"]
    return "\n".join(f"# {line}" for line in lines)


def _entry(model_id: str, model: ModelFile, gpus: Sequence[Gpu]) -> str:
    flags = [f"-m {shlex.quote(str(model.path))}"]
    flags += [f"--mmproj {shlex.quote(str(model.projector))}"] if model.projector else []
    if RERANKER.search(model_id):
        flags.append("--reranking")
    elif EMBEDDING.search(model_id):
        flags.append("--embeddings")
    projector = size_of(model.projector) if model.projector else 0
    found = fit(model.path, model.size_bytes, projector, [gpu.memory_bytes for gpu in gpus])
    flags += [ALL_LAYERS] if found.is_on_gpus else []
    flags += [f"-c {found.context}"] if found.context is not None else []
    size = f"{_gigabytes(model.size_bytes)} on disk"
    why = "" if found.is_on_gpus or not gpus else f"; more than the GPU holds, so without {ALL_LAYERS}"
    why += f"; made for a context of {found.made_for} tokens, which takes more memory" if found.context else ""
    lines = "\n".join(f"      {flag}" for flag in flags)
    return f"  {model_id}:  # {size}{why}\n    cmd: |\n      llama-server --port ${{PORT}}\n{lines}\n"


def _named(models: Iterable[ModelFile]) -> Iterable[tuple[str, ModelFile]]:
    """Each with an id of its own, made of its file's name."""
    taken: set[str] = set()
    for model in models:
        stem = re.sub(r"[^a-z0-9._-]+", "-", PART.sub("", model.path.stem).lower()).strip("-.") or "model"
        model_id, number = stem, 1
        while model_id in taken:
            number += 1
            model_id = f"{stem}-{number}"
        taken.add(model_id)
        yield model_id, model


def _is_writable(model: ModelFile) -> bool:
    """Whether its paths can stand in a command: on one line, and without what looks like a macro."""
    return all(_is_plain(str(path)) for path in (model.path, model.projector) if path is not None)


def _is_plain(path: str) -> bool:
    return path.isprintable() and "${" not in path and "\\" not in path


def _one_line(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)


def _gigabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e8 else f"{size_bytes / 1e6:.1f} MB"
