"""One exchange with an upstream: the request sent on, the answer passed back as it comes.

Thread `loop` alone, as a part of the life of the client's connection. Guarantees: (1) a client that leaves ends the
upstream's work at once, at every moment; (2) a pooled connection that dies before any byte of the answer is tried again
once on a fresh one, never after a byte; NoAnswer says that no byte came; (3) an upstream may answer before it has read
the request: the rest is sent while the answer comes, unless that is an error after which it closes; (4) an answer of a
model's own server that is not strict HTTP is understood where it means one thing only, and its connection closed behind
it; (5) bodies pass with the framing they came with, byte for byte (an HTTP/1.0 client gets chunks decoded); an answer
that breaks off is never ended as if it were whole. An upstream's fault before our head is BadGateway; after it, the
client's connection is cut. Where the upstream switches protocols as asked, two flows follow (`upgrade.py`).
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Generator
from types import coroutine
from typing import Any

from llamaswap_lib.config.schema import Model
from llamaswap_lib.errors import SHORTAGES, BadGateway, BadRequest, ClientGone, GatewayTimeout, HeadTooLarge, fault_of
from llamaswap_lib.net.loop import DUE, suspended
from llamaswap_lib.net.poller import IN, OUT
from llamaswap_lib.net.tls_stream import TlsStream
from llamaswap_lib.proxy import peer_headers
from llamaswap_lib.proxy.answer_body import Remainder, pass_body
from llamaswap_lib.proxy.connection import Key, UpstreamConnection
from llamaswap_lib.proxy.no_answer import NoAnswer, NoConnection, NotReached
from llamaswap_lib.proxy.pool import Pool
from llamaswap_lib.proxy.traffic import cut_off
from llamaswap_lib.proxy.upgrade import pass_both_ways
from llamaswap_lib.proxy.upload import MOST_JOINED_BYTES, Upload, send_both
from llamaswap_lib.routing.remote_model import Remote
from llamaswap_lib.runtime.forward_proxies import ForwardProxy
from llamaswap_lib.server.exchange import Exchange
from llamaswap_lib.server.request_body import OutgoingBody
from llamaswap_lib.wire.body_framing import Body, body_of, ends_clear
from llamaswap_lib.wire.chunked import BadChunk
from llamaswap_lib.wire.cors_headers import allow_once
from llamaswap_lib.wire.head_cache import find_length
from llamaswap_lib.wire.headers import answer_lines, request_fields, with_readable_codings, without_host
from llamaswap_lib.wire.heads import WITHOUT_BODY, ResponseHead
from llamaswap_lib.wire.lenient_heads import AnswerHeadReader

READ_BYTES = 65_536
_remove_encodings = re.compile(rb"(?im)^accept-encoding:[^\r]*\r\n").sub

Asking = Generator[None, Any, tuple[ResponseHead, bytes]]
Look = Callable[[ResponseHead, bytes], Awaitable[tuple[ResponseHead, bytes]]]  # at a head, and what came of the body


class _UpstreamLost(Exception):
    """The connection ended before any byte of the answer."""


class Relay:
    """One request to an upstream, and its answer."""

    connection: UpstreamConnection
    message: bytes
    # What most requests leave as it is costs them nothing.
    read_by: ForwardProxy | None = None  # the proxy that reads the request
    is_tunnel = False  # it goes through the proxy as if it were not there
    place: int | None = None  # id of the run in which the request has a place that others may wait for
    rest: Remainder | None = None  # what the client has still to read when the upstream is done
    look: Look | None = None  # may raise, where the answer is not to be passed on, or have another one passed on
    is_reusable = True  # all of the request was sent, so that another may follow behind the answer
    _awaits_head = True  # of the final answer
    _upload: Upload | None = None  # while some of the request is still to be sent

    def __init__(
        self, pool: Pool, exchange: Exchange, model: Model | Remote, key: Key, proxy: str, body: OutgoingBody
    ) -> None:
        self.pool = pool
        self.exchange = exchange
        self.client = exchange.client
        self.model = model
        self.timeouts = model.timeouts
        self.key = key
        self.body = body
        self.is_lenient = isinstance(model, Model)  # the server is the user's own; a peer's answer is not guessed at
        self.origin, self.forward_proxy = pool.way_to(proxy)
        if self.forward_proxy is not None and not self.origin.is_secure:
            self.is_tunnel = bool(exchange.head.upgrade)
            self.read_by = None if self.is_tunnel else self.forward_proxy

    def cut(self, *, if_silent: bool) -> None:
        """End it. `if_silent`: its upstream is gone; only where not a byte of an answer has come, which is none."""
        if hasattr(self, "connection") and (self._awaits_head or not if_silent):
            cut_off(self.connection)

    async def run(self, path: str, query: str) -> None:
        """Send the request on, and pass the answer back; raises HttpError and ClientGone."""
        head, rest = await self.ask(path, query)
        if self.look is not None:
            try:
                head, rest = await self.look(head, rest)
            except BaseException:
                self.connection.close()
                raise
        exchange, size_bytes = self.exchange, len(rest)
        has_body = head.status not in WITHOUT_BODY and exchange.head.method != "HEAD"
        if size_bytes and size_bytes == head.content_length and has_body:
            connection = self.connection  # given back before the client has its answer: its next request finds it idle
            self.pool.give(connection, may_stay=head.keep_alive and self.is_reusable)
            exchange.trace.piece = rest
            lines = connection.answers.lines_of(head)
            if exchange.reader or "origin" in exchange.head.first:
                lines = self._allow(lines, head)
            exchange.whole = exchange.opening(head.status, lines, rest)
            exchange.sent_bytes = size_bytes
            return
        try:
            may_stay = await self._deliver(head, rest)
        except BaseException:
            self.abort()
            raise
        self.pool.give(self.connection, may_stay=may_stay and self.is_reusable)

    # -- the request --

    @coroutine
    def ask(self, path: str, query: str, *, is_plain: bool = False) -> Asking:
        """Send the request; the head of the answer, and what came of its body. `is_plain`: of one without encoding.

        On a second connection if a pooled one has died. Then give the connection back, or close it.
        """
        client = self.client
        message = self._head(path, query)
        self.message = _remove_encodings(b"", message) if is_plain else message
        idle = None if self.is_tunnel else self.pool.take_idle(self.key, self.origin, client)
        self.connection = (yield from self._connect()) if idle is None else idle
        while True:
            connection = self.connection
            try:
                if client.is_gone:
                    raise ClientGone
                self._send()
                mask = yield
                try:  # most answers come at once and whole, and the request is sent: those do not go by `receive`
                    is_usual = mask != DUE and self._upload is None
                    data = connection.sock.recv(READ_BYTES) if is_usual else (yield from self.receive(mask))
                except BlockingIOError:
                    data = yield from self.receive()
                if not data:
                    raise _UpstreamLost("it closed the connection without an answer")
                try:
                    head, end = connection.answers.read(data)
                except (BadGateway, BadRequest, HeadTooLarge):
                    head, end = None, -1
                if head is not None and head.status >= 200:
                    data = data[end:]
                else:
                    connection.answers.forget()
                    head, data = yield from self._receive_slow_head(data)
                self._awaits_head = False
                trace = self.exchange.trace
                trace.answer, trace.head_at = head, client.loop.clock()
                if self.timeouts.response_header:
                    client.set_deadline(None)
                if head.status >= 400:
                    self._look_at_error(head)
                return head, data
            except BaseException as error:
                client.set_deadline(None)
                connection.close()
                if not isinstance(error, _UpstreamLost | OSError):
                    raise
                if idle is None or idle.is_cut:
                    raise self._lost(error) from None
            idle, self.connection = None, (yield from self._connect())
            self.exchange.trace.retries += 1  # now: where nobody listens any more, the next process is the one retry

    def _head(self, path: str, query: str) -> bytes:
        """The head of the request as the upstream gets it: a model's server, or a peer, which sees less of the client.

        Raises BadRequest where a peer would get a key of ours. For the same head and the same way only the length of
        the body is written anew.
        """
        exchange, origin, read_by = self.exchange, self.origin, self.read_by
        head, memo = exchange.head, exchange.memo
        length = self.body.size_bytes if head.chunked or head.content_length is not None else None
        whither = (origin, path, query, read_by, self.model)
        if memo.sent_on_for == whither and length is not None:
            before, behind = memo.sent_on
            return b"%b%d%b" % (before, length, behind)
        target, login = origin.target(path, query), ""
        if read_by is not None:
            target, login = f"{origin}{target}", read_by.authorization
        if isinstance(self.model, Remote):
            fields = peer_headers.request_fields(head, self.model, length)
            host = f"Host: {origin.authority}\r\n"
            fields += f"Via: {exchange.settings.via}\r\n"  # behind those that came with the request
        else:
            fields = request_fields(head, exchange.client.client_ip, length)
            host = "" if "host" in head.first else f"Host: {origin.authority}\r\n"
            if read_by is not None:  # which sends it on to the Host of the target: there is no other one
                host, fields = f"Host: {origin.authority}\r\n", without_host(fields)
        fields = with_readable_codings(fields) if exchange.trace.is_recorded else fields
        data = f"{head.method} {target} HTTP/1.1\r\n{login}{host}{fields}\r\n".encode("latin-1")
        if (found := find_length(data)) is not None:
            memo.sent_on_for, memo.sent_on = whither, (data[: found.start(1)], data[found.end(1) :])
        return data

    async def _connect(self) -> UpstreamConnection:
        self.client.check_client()  # it may have left while a handler thread was at work for it
        try:
            return await self.pool.connect(self.client, self.key, self.origin, self.timeouts, tunnel=self.is_tunnel)
        except OSError as error:
            message = f"cannot connect to {self.model.id} at {self.origin}"
            if self.forward_proxy is not None and not self.forward_proxy.fault:
                message += f" through the proxy {self.forward_proxy}"
            if error.errno in SHORTAGES:
                raise fault_of(error, message) from error
            message += f": {error.strerror or error}"
            # Without a health check it may never have listened, and most likely lives: that is not worth the wait.
            is_unchecked = isinstance(self.model, Model) and self.model.check_endpoint == "none"
            says_nothing = is_unchecked or (self.is_lenient and self.forward_proxy is not None)  # of the server itself
            raise (NotReached if says_nothing else NoConnection)(message) from None

    def _send(self) -> None:
        """Send the request, head and body in one call if the kernel takes it; the rest of it is `_upload`."""
        body, data, content = self.body, self.message, self.body.memory
        self._upload, self.is_reusable, self._awaits_head = None, True, True
        sock, sent_bytes = self.connection.sock, 0
        unsent: memoryview | bytes = data
        try:
            if content is not None and body.size_bytes > MOST_JOINED_BYTES:
                unsent = send_both(sock, data, content)
            else:
                if content is not None:
                    unsent = data = data + content
                sent_bytes = sock.send(data)
        except BlockingIOError:
            pass
        except OSError:
            self.is_reusable = False  # it may have answered before it hung up
            return
        if sent_bytes == len(unsent) and content is not None:
            self.exchange.trace.sent_at = self.client.loop.clock()
            if self.timeouts.response_header:
                self.client.set_deadline(self.timeouts.response_header)
        else:
            self.is_reusable = False  # until all is sent
            self._upload = Upload(sock, memoryview(unsent)[sent_bytes:], None if content is not None else body)
            self.connection.watch_for(IN | OUT)

    def _send_more(self) -> None:
        """Send what is left of the request, as far as the upstream takes it at once."""
        upload = self._upload
        if upload is not None:
            upload.send_some()
            if upload.is_over:
                self._end_sending(is_whole=upload.is_whole)

    def _end_sending(self, *, is_whole: bool) -> None:
        """Nothing more is sent; unless it was all, no other request can follow."""
        self._upload = None
        self.connection.watch_for(IN)
        self.is_reusable = is_whole
        if not is_whole:
            return
        self.exchange.trace.sent_at = self.client.loop.clock()
        if self._awaits_head and self.timeouts.response_header:
            self.client.set_deadline(self.timeouts.response_header)

    # -- the head of the answer --

    async def _receive_slow_head(self, data: bytes) -> tuple[ResponseHead, bytes]:
        """The same for one that comes in pieces, behind others, or is not strict."""
        reader, searched_bytes = AnswerHeadReader(lenient=self.is_lenient), 0
        while True:
            while (head := self._read_head(reader, data, searched_bytes)) is not None:
                data, searched_bytes = data[reader.end :], 0
                if head.status >= 200:
                    return head if reader.is_strict else head._replace(keep_alive=False), data
                if head.status == 101:
                    self._check_switch(head)
                    return head, data
            searched_bytes = len(data)
            try:
                more = await self.receive()
            except OSError:
                more = b""
            if not more:
                if self.connection.is_cut and self.is_lenient:  # a peer may still be at work
                    raise _UpstreamLost("it closed the connection without an answer")
                raise self.broken("it broke off within the head of its answer")
            data += more

    async def receive(self, mask: int | None = None) -> bytes:
        """What comes from the upstream, b"" at its end; raises OSError, GatewayTimeout and ClientGone.

        `mask`: what the life was just resumed with, None if it has to wait.
        """
        sock = self.connection.sock
        while True:
            if mask is None and not (isinstance(sock, TlsStream) and sock.is_ready):
                mask = await suspended()
            if mask == DUE:
                raise GatewayTimeout(f"{self.model.id} did not begin to answer in time")
            mask = None
            if self._upload is not None:
                self._send_more()  # in turn with reading: neither way waits for the other
            try:
                return sock.recv(READ_BYTES)
            except BlockingIOError:
                pass

    def _read_head(self, reader: AnswerHeadReader, data: bytes, searched_bytes: int) -> ResponseHead | None:
        try:
            return reader.read(data, searched_bytes)
        except (BadRequest, HeadTooLarge) as bad:
            raise self.broken(bad.message) from None

    def _look_at_error(self, head: ResponseHead) -> None:
        """An upstream that closes behind an error takes no more of the request.

        Raises BadGateway where the proxy in between wants a login: that is not for the client to answer.
        """
        if head.status == 407 and self.read_by is not None:
            where = f"{self.model.id} at {self.origin}"
            raise BadGateway(f"cannot ask {where}: the proxy {self.forward_proxy} wants a login (407)")
        if not head.keep_alive and self._upload is not None:
            self._end_sending(is_whole=False)

    def _check_switch(self, head: ResponseHead) -> None:
        """Whether the upstream switches to the protocol that was asked for; raises BadGateway."""
        protocol = head.first.get("upgrade", "").lower() if "upgrade" in head.connection else ""
        if not protocol or protocol != self.exchange.head.upgrade:
            raise self.broken("it switches protocols although it was not asked to")
        if not self.is_reusable:
            raise self.broken("it switches protocols before it has the whole request")

    def _lost(self, lost: Exception) -> NoAnswer:
        why = lost.strerror or "the connection broke" if isinstance(lost, OSError) else lost
        no_answer = NoAnswer(f"the server of {self.model.id} did not answer: {why}")
        no_answer.was_cut = self.connection.is_cut
        return no_answer

    def broken(self, reason: str) -> BadGateway:
        return BadGateway(f"the server of {self.model.id} cannot be understood: {reason}")

    # -- the body of the answer --

    async def _deliver(self, head: ResponseHead, rest: bytes) -> bool:
        """Pass the answer on as it comes; whether it was whole and another request may follow it."""
        exchange = self.exchange
        if head.status == 101:
            probes = self.timeouts.keepalive
            self.connection.mute()
            await pass_both_ways(exchange, self.connection, answer_lines(head), rest, upstream_probes=probes)
            return False
        is_decoded = head.chunked and not exchange.head.minor  # in the head of an answer to HEAD too
        body = body_of(head.body(exchange.head.method), decoded=is_decoded, lenient=self.is_lenient)
        try:
            first = body.take(rest) if rest else b""
        except BadChunk as bad:
            raise self.broken(str(bad)) from None
        if not body.shows_its_end:
            exchange.closes = True
        exchange.trace.observe(head, first, is_chunked=head.chunked and not is_decoded)
        lines = answer_lines(head, is_decoded=is_decoded)
        if exchange.reader or "origin" in exchange.head.first:
            lines = self._allow(lines, head)
        self.connection.mute()
        await exchange.write_first(exchange.opening(head.status, lines, first), len(first))
        self.connection.unmute()
        if not body.done:
            await self.move(body, is_events="text/event-stream" in head.first.get("content-type", ""))
        return head.keep_alive and ends_clear(body)

    def _allow(self, lines: str, head: ResponseHead) -> str:
        """The lines of our head, with the origin whose pages may read the answer."""
        exchange = self.exchange
        return allow_once(lines, head.first, "" if exchange.is_passthrough else exchange.reader)

    async def write(self, data: bytes) -> None:
        """Send the client what goes before or behind the upstream's own words, which wait; raises ClientGone."""
        if self.rest is not None:
            self.rest.append(data)
            return
        self.connection.mute()
        await self.exchange.write(data)
        self.connection.unmute()

    async def move(self, body: Body, *, is_events: bool, cuts_with_reset: bool | None = None) -> bool:
        """As `pass_body`; what its client has still to read is `rest` then."""
        upload, self._upload = self._upload, None
        way = (self.exchange, self.connection, body, upload, self.pool.spools, self.place)
        is_whole, self.rest = await pass_body(*way, is_events=is_events, cuts_with_reset=cuts_with_reset)
        if upload is not None:
            self.is_reusable = upload.is_whole
        return is_whole

    def abort(self) -> None:
        """Close the connection, and drop what the client has not read."""
        self.connection.close()
        if self.rest is not None:
            self.rest.close()
