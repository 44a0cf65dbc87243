"""What the demo says, pure and deterministic: tokens, replies, embeddings.

A token is a word with the white space before it, so that pieces joined are the text.
"""

from __future__ import annotations

import re
import zlib
from array import array
from collections.abc import Iterator
from functools import lru_cache
from itertools import chain, cycle, islice

DIMENSIONS = 64
MAX_TOKENS = 100_000  # of one reply
TOKEN = re.compile(r"\s*\S+|\s+$")

MUSINGS = (
    " Somewhere a graphics card is resting because of me.",
    " I have no weights, so nothing weighs on me.",
    " My favourite temperature is zero; I always say the same.",
    " Ask me something else, or unload me: I take no offence.",
    " They say the next model is always the better one; I keep its seat warm.",
)


def split_tokens(text: str) -> list[str]:
    """The pieces of a text; joined they are the text."""
    return TOKEN.findall(text)


def reply(model: str, load_seconds: float, prompt: str) -> str:
    """What the model has to say to a prompt."""
    words = " ".join(prompt.split()[-12:])
    heard = f"Your last words were “{words}”" if words else "You said nothing"
    return (
        f"Hello, this is {model}. It took me {load_seconds:g} seconds to load, and you were worth the wait."
        f" {heard}, and I could not agree more."
    )


def reply_tokens(text: str, max_tokens: int | None, is_endless: bool) -> tuple[list[str], str]:
    """At most `max_tokens` tokens and the finish reason; an endless one muses on until they are used up."""
    tokens = split_tokens(text)
    if max_tokens is None:
        return tokens, "stop"
    source: Iterator[str] = chain(tokens, _musings()) if is_endless else iter(tokens)
    said = list(islice(source, min(max_tokens, MAX_TOKENS)))
    return said, "length" if is_endless or len(said) < len(tokens) else "stop"


def _musings() -> Iterator[str]:
    return chain.from_iterable(map(split_tokens, cycle(MUSINGS)))


def token_id(piece: str) -> int:
    """A number for a token, the same on every machine."""
    return zlib.crc32(piece.encode("utf-8", "replace")) % 32_000


def embed(text: str) -> array[float]:
    """A unit vector; texts that share words are near each other."""
    total = [0.0] * DIMENSIONS
    for word in text.lower().split() or [""]:
        for dimension, value in enumerate(_word_vector(word)):
            total[dimension] += value
    length = sum(value * value for value in total) ** 0.5 or 1.0
    return array("f", [value / length for value in total])


@lru_cache(maxsize=4096)
def _word_vector(word: str) -> tuple[float, ...]:
    seed = zlib.crc32(word.encode("utf-8", "replace")) << 32
    return tuple(_scatter(seed + dimension) / 2**63 - 1 for dimension in range(DIMENSIONS))


def _scatter(number: int) -> int:
    """64 bits that look random (splitmix64); checksums of numbers in a row are too alike."""
    number = (number + 0x9E3779B97F4A7C15) * 0xBF58476D1CE4E5B9 % 2**64
    number = (number ^ number >> 27) * 0x94D049BB133111EB % 2**64
    number = (number ^ number >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    return number ^ number >> 31
