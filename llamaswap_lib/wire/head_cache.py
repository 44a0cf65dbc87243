"""The last head of a connection, remembered: the next one is mostly the same, but for its Content-Length.

One thread at a time; one instance for each direction of a connection. Guarantees: what comes out is what the parser
would have said. A head counts as the same only if every byte of it is, but for the digits of the one Content-Length
that a parsed head can have; reading those anew costs a fifth of reading all.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Generic, TypeVar, cast

from llamaswap_lib.wire.headers import answer_lines
from llamaswap_lib.wire.heads import RequestHead, ResponseHead
from llamaswap_lib.wire.parser import head_end, parse_response_head

Head = TypeVar("Head", bound=RequestHead | ResponseHead)

MAX_DIGITS = 18
MAX_REMEMBERED_BYTES = 4096
_LENGTH = r"(?i)\r\ncontent-length:[ \t]*([0-9]+)"
find_length = re.compile(_LENGTH.encode()).search  # in the bytes of a head
_find_length = re.compile(_LENGTH).search  # in its text


class Recall(Generic[Head]):
    """Reads heads, the same one at a fraction of the cost."""

    __slots__ = ("_after", "_before", "_digits", "_head", "_parse", "_text", "generation")

    _head: Head | None
    _parse: Callable[[bytes], Head]

    def __init__(self, parse: Callable[[bytes], Head]) -> None:
        self._parse = parse
        self._head = None
        self._text = self._before = self._digits = self._after = b""
        self.generation = 0  # another one for another head than the last: what follows from it may be remembered too

    def read(self, data: bytes) -> tuple[Head | None, int]:
        """The head that `data` begins with and where it ends, (None, -1) while it is not all there.

        Raises what `head_end` and the parser raise.
        """
        if self._head is not None and data.startswith(self._text):
            return self._head, len(self._text)
        if self._head is not None and data.startswith(self._before):
            start = len(self._before)
            stop = data.find(b"\r", start, start + MAX_DIGITS + 1)
            digits = data[start:stop]
            if digits.isdigit() and stop > start and data.startswith(self._after, stop):
                end = stop + len(self._after)
                self._head, self._digits = self._with_length(self._head, digits), digits
                self._text = data[:end]
                return self._head, end
        end = head_end(data)
        if end < 0:
            return None, -1
        head = self._parse(data[:end])
        self._remember(data[:end], head)
        return head, end

    def forget(self) -> None:
        """The next head is another one, whatever it says."""
        self.generation += 1
        self._head = None

    def _remember(self, text: bytes, head: Head) -> None:
        self.generation += 1
        self._head = None
        if head.content_length is None or len(text) > MAX_REMEMBERED_BYTES:
            return
        found = find_length(text)
        assert found is not None, "a length without its header"
        self._before, self._digits, self._after = text[: found.start(1)], found[1], text[found.end(1) :]
        self._text, self._head = text, head

    def _with_length(self, old: Head, digits: bytes) -> Head:
        """The head that is remembered, of another length."""
        text = digits.decode()
        end = len(old.fields) + len("\r\n") - len(self._after)
        fields = f"{old.fields[: end - len(self._digits)]}{text}{old.fields[end:]}"
        first = {**old.first, "content-length": text}
        return cast(Head, old._replace(content_length=int(text), fields=fields, first=first))


class AnswerRecall(Recall[ResponseHead]):
    """Of a connection to an upstream, with the lines that its heads are sent on as."""

    __slots__ = ("_lines", "_lines_for")

    def __init__(self) -> None:
        super().__init__(parse_response_head)
        self._lines_for = -1  # the generation that they are of
        self._lines = "", ""  # before and behind the length

    def lines_of(self, head: ResponseHead) -> str:
        """As `answer_lines` says, of the head that was read last; of the same again only the length is made anew."""
        if self.generation == self._lines_for:
            before, behind = self._lines
            return f"{before}{head.content_length}{behind}"
        lines = answer_lines(head)
        if (found := _find_length(lines)) is not None:
            self._lines_for = self.generation
            self._lines = lines[: found.start(1)], lines[found.end(1) :]
        return lines
