"""Tiny llama models with random weights, written as GGUF files.

A file is a complete model: a byte-level BPE tokenizer trained here on a few sentences, a ChatML chat template, and F32
tensors. A llama.cpp server loads it in milliseconds and answers every endpoint with real token counts and timings. The
text it writes is gibberish made of printable ASCII. The same arguments always give the same bytes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import gguf
import numpy as np

# Trains the BPE merges. Any English text will do.
CORPUS = """
The server loads a model when the first request for it arrives, and it keeps
the model in memory until another one is needed. When a second model is asked
for, the first process is stopped, its port is given back, and the other one is
started. A client should never have to know which of the two was running; it
sends the name of the model and waits for the answer. Some answers come back in
one piece and some come back as a stream of small events, one token after
another, until the model says that it has finished or the limit is reached.

What is the weather like in the north today? It's cold and there is a strong
wind from the sea, so they're staying inside with a book and a cup of tea. I've
been told that the rain will stop before the evening. You can walk to the old
harbour then, if you'd like, and we'll look at the boats and the little houses
on the other side of the water. Don't forget to bring the map, the key and the
letters that were left on the table in the kitchen.

for i in range(10): print(i, "hello", "world")
if total == 0 and count >= 12: return {"name": "test", "value": 3.14}
"""

# GPT-2's pre-tokenizer with its letter and number classes cut down to ASCII, which is all the corpus holds. llama.cpp
# applies the full one ("gpt-2").
WORDS = re.compile(r"'(?:s|t|re|ve|m|ll|d)| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+")

BOS, EOS, PAD, START = "<|endoftext|>", "<|im_end|>", "<|pad|>", "<|im_start|>"
SPECIAL = [BOS, EOS, PAD, START]

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

Word = tuple[str, ...]


@dataclass(frozen=True)
class Shape:
    """How large a model is; `is_embedder` makes it one that pools.

    `kind` is how its matrices are written, `F16`, `Q8_0`; `more_tokens` are tokens beside those of the text.
    """

    seed: int = 1
    layers: int = 2
    width: int = 64
    heads: int = 4
    feed_forward: int = 128
    context_tokens: int = 2048
    is_embedder: bool = False
    kind: str = "F32"
    more_tokens: int = 0


def write_model(path: Path, shape: Shape) -> None:
    """Write a model file."""
    tokens, types, merges = _vocabulary(256)
    tokens += [f"<{number}>" for number in range(shape.more_tokens)]
    types += [gguf.TokenType.NORMAL] * shape.more_tokens
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(path.stem)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_context_length(shape.context_tokens)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads)
    writer.add_rope_dimension_count(shape.width // shape.heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    if shape.is_embedder:
        writer.add_pooling_type(gguf.PoolingType.MEAN)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(tokens.index(BOS))
    writer.add_eos_token_id(tokens.index(EOS))
    writer.add_pad_token_id(tokens.index(PAD))
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)
    for name, tensor in _tensors(shape, tokens):
        _add_tensor(writer, name, tensor.astype(np.float32), gguf.GGMLQuantizationType[shape.kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_tensor(writer: Any, name: str, tensor: Any, kind: Any) -> None:
    if kind == gguf.GGMLQuantizationType.F32 or tensor.ndim == 1:
        writer.add_tensor(name, tensor)
    else:
        writer.add_tensor(name, gguf.quantize(tensor, kind), raw_dtype=kind)


# -- the vocabulary --


def _byte_alphabet() -> list[str]:
    """The character that stands for each byte in a GPT-2 style vocabulary.

    A byte with a visible Latin-1 character stands for itself. The others take the code points from 256 up, in order.
    """
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return [chr(byte) if byte in visible else chr(256 + hidden.index(byte)) for byte in range(256)]


def _train_bpe(text: str, limit: int) -> list[tuple[str, str]]:
    """At most `limit` merges, the most frequent pair first (ties: sort order)."""
    alphabet = _byte_alphabet()
    counts = Counter(WORDS.findall(text))
    words = Counter({tuple(alphabet[byte] for byte in word.encode()): count for word, count in counts.items()})
    merges: list[tuple[str, str]] = []
    while len(merges) < limit:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, count in words.items():
            for pair in pairwise(word):
                pairs[pair] += count
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        merged: Counter[Word] = Counter()
        for word, count in words.items():
            merged[_merge(word, best)] += count
        words = merged
    return merges


def _merge(word: Word, pair: tuple[str, str]) -> Word:
    out: list[str] = []
    position = 0
    while position < len(word):
        if word[position : position + 2] == pair:
            out.append("".join(pair))
            position += 2
        else:
            out.append(word[position])
            position += 1
    return tuple(out)


def _vocabulary(limit: int) -> tuple[list[str], list[Any], list[str]]:
    """Tokens, their types, and the merges as text."""
    merges = _train_bpe(CORPUS, limit)
    tokens = list(dict.fromkeys([*_byte_alphabet(), *(a + b for a, b in merges), *SPECIAL]))
    types = [gguf.TokenType.CONTROL if token in SPECIAL else gguf.TokenType.NORMAL for token in tokens]
    return tokens, types, [f"{a} {b}" for a, b in merges]


# -- the weights --


def _tensors(shape: Shape, tokens: list[str]) -> Iterator[tuple[str, Any]]:
    """(name, array); an array's shape is (rows out, columns in)."""
    random = np.random.default_rng(shape.seed)
    width = shape.width

    def weights(rows: int, columns: int, gain: float = 1.0) -> Any:
        return random.standard_normal((rows, columns)) * (gain / np.sqrt(columns))

    def into_residual(columns: int) -> Any:
        # Small enough that all layers together add about as much as the embedding did; row 0 leaves channel 0 alone.
        matrix = weights(width, columns, 1 / np.sqrt(2 * shape.layers))
        matrix[0] = 0
        return matrix

    # The architecture has no output bias, so channel 0 carries one: it is the same for every token, no layer writes to
    # it, and after the last norm it is still about 1. Column 0 of the output matrix is then the bias.
    table = random.standard_normal((len(tokens), width))
    table[:, 0] = np.sqrt(2)
    yield "token_embd.weight", table
    ones = np.ones(width)
    for layer in range(shape.layers):
        yield f"blk.{layer}.attn_norm.weight", ones
        yield f"blk.{layer}.attn_q.weight", weights(width, width)
        yield f"blk.{layer}.attn_k.weight", weights(width, width)
        yield f"blk.{layer}.attn_v.weight", weights(width, width)
        yield f"blk.{layer}.attn_output.weight", into_residual(width)
        yield f"blk.{layer}.ffn_norm.weight", ones
        yield f"blk.{layer}.ffn_gate.weight", weights(shape.feed_forward, width)
        yield f"blk.{layer}.ffn_up.weight", weights(shape.feed_forward, width)
        yield f"blk.{layer}.ffn_down.weight", into_residual(shape.feed_forward)
    yield "output_norm.weight", ones
    out = weights(len(tokens), width, gain=2.0)
    out[:, 0] = _output_bias(tokens)
    yield "output.weight", out


def _output_bias(tokens: list[str]) -> Any:
    """Rules out what would not print."""
    alphabet = _byte_alphabet()
    unprintable = {alphabet[byte] for byte in range(256) if not (0x20 <= byte < 0x7F or byte == 0x0A)}
    banned = unprintable | (set(SPECIAL) - {EOS})
    return np.array([-100.0 if token in banned else 0.0 for token in tokens])
