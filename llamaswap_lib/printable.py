"""Text of others as it may be shown on a terminal and in a log: nothing that cannot be seen, nothing endless.

Pure; used by every room.
"""

from __future__ import annotations

CUT = "…"
_IN_MARKUP = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"})
_IN_QUOTES = str.maketrans({'"': '\\"', "\\": "\\\\"})
TRACEBACK = "Traceback (most recent call last):"


def printable(text: str, keep: str = "") -> str:
    r"""The text with what cannot be seen written as in Python, a line end as `\n`; characters of `keep` stay."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in keep else _escaped(char) for char in text)


def printable_message(message: str) -> str:
    """A message for the log on one line, whatever names are in it, but for a traceback."""
    said, mark, trace = message.partition(TRACEBACK)
    end = "\n" if mark and said.endswith("\n") else ""
    return printable(said.removesuffix(end)) + end + mark + printable(trace, keep="\n")


def in_quotes(text: str, most_bytes: int) -> str:
    """A client's text as it may stand between quotes on one line, its end cut off where it is too long."""
    if len(text) <= most_bytes and text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return text
    return bounded(printable(text[: most_bytes + 1].translate(_IN_QUOTES)), most_bytes)


def in_markup(text: str) -> str:
    """As text, or as the value of an attribute, in HTML. `html.escape` does the same; to import that takes 0.5 MB."""
    return text.translate(_IN_MARKUP)


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def bounded(text: str, most_bytes: int) -> str:
    """The beginning of the text, with `…` at its end if it was cut: never more bytes of UTF-8 than that."""
    if len(text) <= most_bytes and (text.isascii() or len(text.encode("utf-8", "surrogatepass")) <= most_bytes):
        return text
    data = text[:most_bytes].encode("utf-8", "backslashreplace")[: most_bytes - len(CUT.encode())]
    return data.decode("utf-8", "ignore") + CUT
