"""A conversation: what was said, with pictures; how it is sent, saved and loaded.

Reads and writes the files that its user names; nothing else.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llamaswap_lib.errors import LlamaswapError

FORMAT = "llamaswap chat 1"
MOST_IMAGE_BYTES = 64 << 20
IMAGE_TYPES = (
    (b"\x89PNG\r\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"),
)
Message = dict[str, Any]


class Unusable(LlamaswapError):
    """A file that cannot be read, written, or is not what it should be; the text says why."""


@dataclass
class Conversation:
    """`messages` are questions and answers in turn; `pending` is a question that has no answer yet."""

    model: str
    system: str = ""
    messages: list[Message] = field(default_factory=list)
    pending: Message | None = None

    def ask(self, text: str, images: list[str]) -> None:
        """Make it the question that waits for an answer; `images` are data URLs."""
        parts = [{"type": "text", "text": text}] if text else []
        parts += [{"type": "image_url", "image_url": {"url": url}} for url in images]  # type: ignore[dict-item]
        self.pending = {"role": "user", "content": parts if images else text}

    def answered(self, text: str) -> None:
        """The question that waited has this answer."""
        if self.pending is not None:
            self.messages += [self.pending, {"role": "assistant", "content": text}]
        self.pending = None

    def take_back(self) -> bool:
        """Make the last question wait again, its answer forgotten; False if there is none."""
        if self.pending is None and len(self.messages) > 1:
            self.pending = self.messages[-2]
            del self.messages[-2:]
        return self.pending is not None

    def clear(self) -> None:
        """Forget what was said, but not the system prompt."""
        self.messages.clear()
        self.pending = None

    def body(self, more: Mapping[str, Any]) -> dict[str, Any]:
        """The request that asks the question."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        asked = [self.pending] if self.pending is not None else []
        return {"model": self.model, "messages": [*system, *self.messages, *asked], **more}

    def save(self, path: Path) -> None:
        """Write it, for its user alone; a file that is no saved chat is left as it is. Raises Unusable."""
        saved = {"format": FORMAT, "model": self.model, "system": self.system, "messages": self.messages}
        text = json.dumps(saved, ensure_ascii=False, indent=1).encode("utf-8", "backslashreplace")  # half a character
        try:
            if path.exists():
                _read_saved(path)
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
            path.write_bytes(text)
        except OSError as error:
            raise Unusable(f"{path} cannot be written: {error.strerror}") from None

    def load(self, path: Path) -> None:
        """Take what was saved, all but the model; raises Unusable."""
        saved = _read_saved(path)
        self.system, self.messages, self.pending = str(saved.get("system", "")), saved["messages"], None


def image_url(path: Path) -> str:
    """The picture as a data URL; raises Unusable."""
    try:
        with path.open("rb") as file:
            data = file.read(MOST_IMAGE_BYTES + 1)
    except OSError as error:
        raise Unusable(f"{path} cannot be read: {error.strerror}") from None
    kind = next((kind for begin, kind in IMAGE_TYPES if data.startswith(begin)), "")
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        kind = "image/webp"
    if not kind:
        raise Unusable(f"{path}: expected a picture (PNG, JPEG, WebP, GIF or BMP)")
    if len(data) > MOST_IMAGE_BYTES:
        raise Unusable(f"{path}: expected a picture of at most {MOST_IMAGE_BYTES >> 20} MB")
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _read_saved(path: Path) -> dict[str, Any]:
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Unusable(f"{path} cannot be read: {error.strerror}") from None
    except ValueError:
        saved = None
    messages = saved.get("messages") if isinstance(saved, dict) and saved.get("format") == FORMAT else None
    if not isinstance(messages, list) or not all(isinstance(it, dict) and "role" in it for it in messages):
        raise Unusable(f"{path}: expected a chat that /save has written")
    return dict(saved)
