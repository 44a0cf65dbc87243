"""How much context a model gets, and whether all of it goes to the GPUs: by the estimate of what it will take.

A model that is made for 262,144 tokens would fill a GPU with room for them, and no other one would fit beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from llamaswap_lib.estimates.flags import ALL, Flags
from llamaswap_lib.estimates.layout import layout_of
from llamaswap_lib.estimates.llama import Files, Room, need
from llamaswap_lib.model_files.gguf import parts, read_header
from llamaswap_lib.model_files.opening import Unreadable

CONTEXTS = (32_768, 16_384, 8_192)  # tokens; the largest that fits. Agents want the first one
USABLE = 0.95  # of the GPUs: what `use: memory` leaves to models
ROOM = 1.15  # what a model needs in a GPU, as a multiple of its file, where its header tells nothing: a guess


class Fit(NamedTuple):
    """`context` in tokens, None where it needs no bound; `made_for`, 0 where that is not known."""

    is_on_gpus: bool
    context: int | None = None
    made_for: int = 0


def fit(path: Path, size: int, projector: int, gpus: Sequence[int]) -> Fit:
    """Of the model in this file, whose header is read. Bytes of all its parts, of its projector, of each GPU."""
    room = int(USABLE * sum(gpus))
    try:
        layout = layout_of([read_header(str(part)) for part in parts(path)])
    except Unreadable:
        return Fit(size * ROOM <= room)
    made_for = layout.context or CONTEXTS[-1]
    wanted = sorted({min(context, made_for) for context in CONTEXTS}, reverse=True)
    files, cards = Files(layout, projector), Room(max(1, len(gpus)), 1 << 60)
    fitting = (context for context in wanted if need(files, Flags(context=context, layers=ALL), cards).gpu <= room)
    found = next(fitting, None)
    context = wanted[-1] if found is None else found
    return Fit(found is not None, context if context < made_for else None, made_for)
