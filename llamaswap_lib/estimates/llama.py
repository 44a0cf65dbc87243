"""What llama-server takes of the GPUs and of the machine's memory, by its options and the layout of its model. Pure.

By what its documentation says of the options, and by how it places layers: the last `--n-gpu-layers` of them go to the
GPUs, the one behind the last is the output, and the table of tokens stays in the machine's memory. What `--fit`, which
is on unless set, does to options that nobody has set is foreseen as well as it can be: it makes do with what there is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import NamedTuple

from llamaswap_lib.estimates.flags import ALL, Flags
from llamaswap_lib.estimates.layout import Kept, Layout, layer_of

MB = 1 << 20
PROCESS = 64 * MB  # of the machine: the program and its libraries
PROCESS_WITH_GPU = 512 * MB  # the same with a driver's
CONTEXT_OF_DRIVER = 512 * MB  # of each GPU
PROJECTOR_WORK = 512 * MB  # beside the weights of a projector: an image that is being read
TOKEN = 300  # bytes for each token that a model knows: the tables of the tokenizer
CELLS = 256  # by which a context is rounded up
SLOTS = 4  # at once, where nobody says how many
EXPERTS = re.compile(r"\.ffn_(up|down|gate|gate_up)_(ch|)exps")
FEED_FORWARD = re.compile(r"\.ffn_(up|down|gate|gate_up)\.")
CACHE_BYTES = {  # of 32 values, by --cache-type-k and -v
    **dict.fromkeys(("f16", "bf16"), 64),
    **dict.fromkeys(("q4_0", "iq4_nl"), 18),
    "f32": 128,
    "q8_0": 34,
    "q5_1": 24,
    "q5_0": 22,
    "q4_1": 20,
}
# Kinds of tensors that a processor wants in another order, so they are there twice: Q4_0, Q2_K, Q4_K, IQ4_NL, MXFP4;
# on others than those of Intel and AMD Q8_0, Q5_K and Q6_K too.
REPACKED = frozenset((2, 10, 12, 20, 39))
REPACKED_ON_ARM = REPACKED | {8, 13, 14}
ON_X86 = ("x86_64", "amd64")


class Room(NamedTuple):
    """What a server may use: how many GPUs it sees, and bytes of all of them together that models may have."""

    gpus: int = 0
    bytes: int = 0
    machine: str = os.uname().machine.lower()


class Split(NamedTuple):
    """Bytes on the GPUs together and in the machine's memory."""

    gpu: int
    ram: int

    def plus(self, other: Split) -> Split:
        return Split(self.gpu + other.gpu, self.ram + other.ram)


class Files(NamedTuple):
    """Of one command. `projector` is bytes."""

    model: Layout
    projector: int = 0
    draft: Layout | None = None


def need(files: Files, flags: Flags, room: Room) -> Split:
    """All of it."""
    if flags.device == "none":
        room = room._replace(gpus=0, bytes=0)
    asked = _context(files.model, flags)
    found = _need(files, flags, room, asked)
    if not room.gpus or flags.fit == "off" or found.gpu <= room.bytes:
        return found
    if flags.context is None:  # it makes the context smaller, as far as it may
        least = min(asked, flags.least_context)
        small = _need(files, flags, room, least)
        if small.gpu <= room.bytes:
            spare, whole = room.bytes - small.gpu, found.gpu - small.gpu
            return _need(files, flags, room, (least + (asked - least) * spare // whole) // CELLS * CELLS)
        found = small
    if flags.layers is None and found.gpu > room.bytes:  # and then leaves layers in the machine's memory
        return Split(room.bytes, found.ram + found.gpu - room.bytes)
    return found


def _need(files: Files, flags: Flags, room: Room, context: int) -> Split:
    found = _of_model(files.model, flags, room, context)
    if files.draft is not None:
        own = flags._replace(
            layers=flags.draft_layers if flags.draft_layers is not None else flags.layers,
            type_k=flags.draft_type_k,
            type_v=flags.draft_type_v,
            override="",
            cpu_experts=0,
            cpu_feed_forward=0,
            all_experts=False,
        )
        found = found.plus(_of_model(files.draft, own, room, flags.draft_context or context))
    if files.projector:
        size, is_on_gpu = files.projector + PROJECTOR_WORK, bool(room.gpus) and flags.offloads_projector
        found = found.plus(Split(size, 0) if is_on_gpu else Split(0, size))
    whole = Split(room.gpus * CONTEXT_OF_DRIVER, PROCESS_WITH_GPU if room.gpus else PROCESS)
    return found.plus(whole)


def _context(model: Layout, flags: Flags) -> int:
    """Tokens that are kept room for, of all slots together."""
    if flags.context is not None:
        return flags.context
    slots = 1 if flags.parallel is None or flags.unified else flags.parallel
    return max(model.context, flags.least_context) * slots


def _of_model(model: Layout, flags: Flags, room: Room, context: int) -> Split:
    first = _first_on_gpu(model, flags, room)
    cells = _whole_cells(context)
    weights = _weights(model, flags, room, first)
    cache = _cache(model, flags, cells, first)
    return weights.plus(cache).plus(_work(model, flags, room, cells, first))


def _first_on_gpu(model: Layout, flags: Flags, room: Room) -> int:
    """The number of the first layer there; that of the output is behind the last one, and one more is none."""
    layers = ALL if flags.layers is None else flags.layers
    return max(0, model.layers + 1 - layers) if room.gpus else model.layers + 1


# -- weights --


def _weights(model: Layout, flags: Flags, room: Room, first: int) -> Split:
    overridden = [word.partition("=")[::2] for word in flags.override.split(",") if "=" in word[1:]]
    patterns = [(found, where) for text, where in overridden if (found := _compiled(text)) is not None]
    has_output = any(tensor.name == "output.weight" for tensors in model.files for tensor in tensors)
    gpu = ram = 0
    for tensors in model.files:
        places = []
        for tensor in tensors:
            is_on_gpu = _is_on_gpu(tensor.name, model, flags, first)
            where = next((where for found, where in patterns if found.search(tensor.name)), None)
            if where is not None and room.gpus:
                is_on_gpu = not where.startswith("CPU")
            places.append(is_on_gpu)
            gpu += tensor.size if is_on_gpu else 0
            if not is_on_gpu and not room.gpus and _is_repacked(tensor.name, tensor.kind, flags, room):
                ram += tensor.size
            if tensor.name == "token_embd.weight" and not has_output and first <= model.layers:
                gpu += tensor.size  # it is the output too
        sizes = [tensor.size for tensor in tensors]
        ram += sum(size for size, _ in _in_ram(sizes, places, flags))
    return Split(gpu, ram)


def _in_ram(sizes: list[int], places: list[bool], flags: Flags) -> Iterator[tuple[int, bool]]:
    """Those in the machine's memory. A file is mapped from the first to the last of them."""
    here = [number for number, is_on_gpu in enumerate(places) if not is_on_gpu]
    for number in range(here[0], here[-1] + 1) if here and flags.maps_files else here:
        yield sizes[number], places[number]


def _is_on_gpu(name: str, model: Layout, flags: Flags, first: int) -> bool:
    layer = layer_of(name)
    if layer is None:
        return first <= model.layers and not name.startswith(
            ("token_embd", "position_embd", "token_types", "per_layer_")
        )
    if layer < first:
        return False
    if EXPERTS.search(name):
        return not flags.all_experts and layer >= flags.cpu_experts
    return not (layer < flags.cpu_feed_forward and FEED_FORWARD.search(name))


def _is_repacked(name: str, kind: int, flags: Flags, room: Room) -> bool:
    kinds = REPACKED if room.machine in ON_X86 else REPACKED_ON_ARM
    return flags.repacks and flags.maps_files and kind in kinds and not name.startswith("token_embd")


def _compiled(pattern: str) -> re.Pattern[str] | None:
    try:
        return re.compile(pattern)
    except (re.error, OverflowError, RecursionError):
        return None


# -- what is kept of tokens, and what it works with --


def _cache(model: Layout, flags: Flags, cells: int, first: int) -> Split:
    slots = flags.parallel or SLOTS
    gpu = ram = 0
    for layer, kept in enumerate(model.kept):
        size = _kept_bytes(kept, flags, cells, slots)
        if layer >= first and flags.offloads_cache:
            gpu += size
        else:
            ram += size
    return Split(gpu, ram)


def _kept_bytes(kept: Kept, flags: Flags, cells: int, slots: int) -> int:
    if kept.window and not flags.whole_window:
        is_one = flags.parallel is None or flags.unified  # one cache for all slots
        seen = (
            _whole_cells(slots * kept.window + flags.batch)
            if is_one
            else slots * _whole_cells(kept.window + flags.batch)
        )
        cells = min(cells, seen)
    of_32 = kept.k * _bytes_of_32(flags.type_k) + kept.v * _bytes_of_32(flags.type_v)
    return cells * of_32 // 32 + kept.state * slots


def _whole_cells(tokens: int) -> int:
    return -(-tokens // CELLS) * CELLS


def _bytes_of_32(kind: str) -> int:
    return CACHE_BYTES.get(kind, CACHE_BYTES["f16"])


def _work(model: Layout, flags: Flags, room: Room, cells: int, first: int) -> Split:
    """Buffers for one batch. A GPU has the largest one for itself from the start; memory is taken as it is used."""
    batch = flags.batch
    values = 4 * batch * (2 * model.feed_forward + 6 * model.width)
    mask = 6 * batch * cells
    scores = 4 * batch * cells * model.heads if flags.attention == "off" else 0
    inputs, tables = 4 * batch * cells, TOKEN * model.tokens
    if first > model.layers:
        at_gpu = room.gpus * (values + scores)  # large batches are computed there all the same
        return Split(at_gpu, values + mask + scores + tables)
    outputs = max(0, 4 * batch * model.tokens - mask - scores)  # when they are made, nothing is looked at any more
    return Split(room.gpus * (values + mask + scores) + outputs, values + inputs + tables)
