"""The table of errors in `docs/http.md`: status, code, whether and when to ask again, and when there is one.

Owns the form and its place in the page; all that is said of an error comes from its class in `errors.py`. Reads the
page, to put the table into it; the rest of it is written by hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from llamaswap_lib import errors
from llamaswap_lib.errors import LONGEST_RETRY_AFTER, HttpError, LoadFailed

PAGE = Path(__file__).parents[1] / "docs" / "http.md"
BEGIN = "<!-- made from llamaswap_lib/errors.py by python -m tools.generate -->\n\n"
END = "\n<!-- until here -->\n"
HEAD = "| status | code | `x-should-retry` | `Retry-After` | when |\n|---|---|---|---|---|\n"


def text() -> str:
    """The whole page, with the table as it ought to be."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    return f"{before}{BEGIN}{HEAD}{''.join(map(_row, known_errors()))}{END}{rest.partition(END)[2]}"


def known_errors() -> list[type[HttpError]]:
    """Every error that a client may be told, by status; a class of which others are made stands before them."""
    return sorted(_family(HttpError), key=lambda error: error.status)


def _family(error: type[HttpError]) -> Iterator[type[HttpError]]:
    if error.__module__ == errors.__name__ and error.__doc__:
        yield error
    for child in error.__subclasses__():
        yield from _family(child)


def _row(error: type[HttpError]) -> str:
    retry = "" if error.should_retry is None else str(error.should_retry).lower()
    after = "" if error.retry_after is None else str(error.retry_after)
    if issubclass(error, LoadFailed):
        after = f"1 to {LONGEST_RETRY_AFTER}"  # see `retry_in`
    when = " ".join((error.__doc__ or "").strip().partition("\n\n")[0].split())
    return f"| {error.status} | `{error.code}` | {retry} | {after} | {when} |\n"
