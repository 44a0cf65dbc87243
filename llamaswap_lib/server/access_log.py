"""The access log: one line for each request, when it has ended.

Thread `loop`. No text of a client can begin a line of its own, end a field in quotes, or fill the log.
"""

from __future__ import annotations

import re

from llamaswap_lib.ip_addresses import plain_ip
from llamaswap_lib.printable import in_quotes
from llamaswap_lib.server.exchange import MOST_METHOD_BYTES, MOST_PATH_BYTES, Exchange, decoded_path

# Asked every few seconds by machines, or for show.
UNTOLD = ("/wol-health", "/api/performance", "/metrics", "/ui/assets/")
ANNOUNCEMENT = re.compile(r"(/api/+announce/+).*", re.DOTALL)  # what follows is secret
OWN_PAGE = "llamaswap"  # what our page says in X-Requested-With; it reads more than anybody wants to see in a log
GONE = 499  # of a client that left before its answer began
MOST_AGENT_BYTES = 512
MOST_IP_BYTES = 64
NANOSECONDS = 1_000_000_000  # of a second


def log_access(exchange: Exchange, seconds: float) -> None:
    """Log `Request IP "METHOD PATH PROTO" STATUS BYTES "USER-AGENT" DURATION`, unless none is due."""
    texts = exchange.memo.log_texts
    if texts is None:
        texts = exchange.memo.log_texts = _texts(exchange)
    before, behind = texts
    if before:
        line = f"{before}{exchange.status or GONE} {exchange.sent_bytes}{behind}{duration_text(seconds)}"
        exchange.settings.log.info(line)


def _texts(exchange: Exchange) -> tuple[str, str]:
    """What stands before the status and behind the bytes; '' where no line is due."""
    path = exchange.path
    if "%" in path:
        path = decoded_path(path)
    if "announce" in path:  # nearly every path is spared the pattern
        path = ANNOUNCEMENT.sub(r"\1***", path)
    head = exchange.head
    if path.startswith(UNTOLD) or (head.method == "GET" and head.first.get("x-requested-with") == OWN_PAGE):
        return "", ""
    method, ip = in_quotes(head.method, MOST_METHOD_BYTES), in_quotes(told_ip(exchange), MOST_IP_BYTES)
    path, agent = in_quotes(path, MOST_PATH_BYTES), in_quotes(head.first.get("user-agent", ""), MOST_AGENT_BYTES)
    return f'Request {ip} "{method} {path} HTTP/1.{head.minor}" ', f' "{agent}" '


def told_ip(exchange: Exchange) -> str:
    """Whose request it is: what proxies in front of us say, or else where its connection comes from."""
    first = exchange.head.first
    if "x-forwarded-for" in first or "x-real-ip" in first:
        told = first.get("x-forwarded-for", "").partition(",")[0].strip() or first.get("x-real-ip")
        return plain_ip(told) if told else exchange.client.client_ip
    return exchange.client.client_ip


def duration_text(seconds: float) -> str:
    """As Go prints a duration, to the nanosecond: `812.4µs`, `12.345678ms`, `4.5s`, `2m3.4s`, `1h0m0s`."""
    nanoseconds = round(seconds * NANOSECONDS)
    if nanoseconds < 1_000:
        return f"{nanoseconds}ns" if nanoseconds else "0s"
    if nanoseconds < 1_000_000:
        return f"{nanoseconds / 1e3:.6g}µs"
    if nanoseconds < NANOSECONDS:
        return f"{nanoseconds / 1e6:.9g}ms"
    minutes, rest = divmod(nanoseconds, 60 * NANOSECONDS)
    hours, minutes = divmod(minutes, 60)
    whole, fraction = divmod(rest, NANOSECONDS)
    text = f"{whole}.{fraction:09d}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text
