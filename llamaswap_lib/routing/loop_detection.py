"""Requests that go round in a circle: llamaswaps whose peers lead back to them.

Pure, any thread. Each llamaswap adds its entry to the `Via` header of what it sends to a peer (RFC 9110, 7.6.3), behind
those that are there. A server that finds its own name there, or too many of them, ends it before anything is loaded. A
header that says nothing of us costs one look-up.
"""

from __future__ import annotations

import re

from llamaswap_lib.errors import LoopDetected
from llamaswap_lib.wire.heads import RequestHead

MOST_NAMED = 20  # of the names on a way
_find_names = re.compile(r"(?<![\w-])llamaswap-[0-9a-f]{16}(?![\w-])").findall


def is_sent_on(head: RequestHead) -> bool:
    """Whether another llamaswap has sent the request here."""
    return "via" in head.first and bool(_names_in(head))


def _names_in(head: RequestHead) -> list[str]:
    found: list[str] = _find_names(",".join([value for name, value in head.headers if name.lower() == "via"]))
    return found


def refuse_loop(head: RequestHead, own_name: str, most_hops: int) -> None:
    """Raise LoopDetected for a request that has been here, or has been through more than `most_hops` llamaswaps."""
    if "via" not in head.first:
        return
    names = _names_in(head)
    way = " -> ".join([*names[:MOST_NAMED], *(["…"] if len(names) > MOST_NAMED else []), own_name])
    if own_name in names:
        raise LoopDetected(f"this request goes round in a circle of peers: {way}")
    if len(names) > most_hops:
        raise LoopDetected(f"this request has come through more than {most_hops} llamaswaps (limits.hops): {way}")
