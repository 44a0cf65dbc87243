"""The body of an answer on its way to its client, and the end of it where the upstream is done and the client is not.

Thread `loop` alone, as a part of the life of the client's connection. Guarantees: an answer that breaks off is cut for
its client too, behind all of it that has come; a client that leaves, or takes nothing for too long, is ClientGone. What
a client does not take while somebody waits for the run is spooled (`net/spool.py`), so that the connection to the
upstream and the place in the run can be given back before the client has all of it.
"""

from __future__ import annotations

from functools import partial

from llamaswap_lib.errors import ClientGone
from llamaswap_lib.net.flow import Ending, Flow
from llamaswap_lib.net.spool import Spool, Spools
from llamaswap_lib.proxy.connection import UpstreamConnection
from llamaswap_lib.proxy.upload import Upload
from llamaswap_lib.server.exchange import Exchange
from llamaswap_lib.wire.body_framing import Body

MOST_EVENTS_BYTES = 1 << 20  # of an event stream are spooled: who follows one wants to know how things are now


class Remainder:
    """What the client has still to read when the upstream is done; to be closed."""

    __slots__ = ("_exchange", "_resets", "_spool")

    def __init__(self, exchange: Exchange, spool: Spool, resets: bool | None) -> None:
        """`resets`: it broke off, and whether the client needs a reset to see that; None: all of it came."""
        self._exchange = exchange
        self._spool = spool
        self._resets = resets

    def append(self, data: bytes) -> None:
        """Put it behind the upstream's own words."""
        self._spool.append(data)

    async def send(self) -> None:
        """Send it, at the client's pace; raises ClientGone, and OSError where it cannot be read back."""
        while data := self._spool.take():
            await self._exchange.write(data)
        if self._resets is not None:
            _break_off(self._exchange, resets=self._resets)

    def close(self) -> None:
        """Drop what is left of it."""
        self._spool.close()


async def pass_body(
    exchange: Exchange,
    connection: UpstreamConnection,
    body: Body,
    upload: Upload | None,
    spools: Spools,
    run_id: int | None,
    *,
    is_events: bool,
    cuts_with_reset: bool | None,
) -> tuple[bool, Remainder | None]:
    """Pass on what is still to come; whether it came whole, and what is to be sent later; raises ClientGone.

    `upload` is what is still to be sent of the request. `run_id`: the run in which the exchange has a place that others
    may wait for. `cuts_with_reset`: whether the client needs a reset to see that it broke off; None: as `body` shows
    its end.
    """
    make_spool = partial(_make_spool, exchange, spools, run_id, is_events)
    flow = Flow(exchange.client.loop, connection.sock, exchange.client, body, upload, make_spool, exchange.trace.take)
    try:
        ending = await flow.run()
    except ClientGone:
        exchange.closes = True
        raise
    finally:
        exchange.sent_bytes += flow.sent_bytes
    if ending is Ending.COMPLETE and body.ends_by_close and connection.is_cut:
        ending = Ending.CUT  # a body that ends with its connection is not whole where we ended that
    if ending not in (Ending.COMPLETE, Ending.CUT):
        exchange.cut(reset=True)
        raise ClientGone
    resets = None
    if ending is Ending.CUT:
        resets = not body.shows_its_end if cuts_with_reset is None else cuts_with_reset
    if flow.unread is not None:
        return resets is None, Remainder(exchange, flow.unread, resets)
    if resets is not None:
        _break_off(exchange, resets=resets)
    return resets is None, None


def _make_spool(exchange: Exchange, spools: Spools, run_id: int | None, is_events: bool) -> Spool | None:
    """For what the client does not take; None where it holds nothing that others may wait for."""
    all_bytes = exchange.settings.limits.spool_bytes
    if run_id is None or not all_bytes:
        return None
    return Spool(spools, run_id, exchange.warn, all_bytes, MOST_EVENTS_BYTES if is_events else None)


def _break_off(exchange: Exchange, *, resets: bool) -> None:
    """Have the client see that this is not the whole answer, and leave that in the log."""
    exchange.trace.is_broken = True
    exchange.cut(reset=resets)
    exchange.warn(f"the answer broke off after {exchange.sent_bytes} bytes")
