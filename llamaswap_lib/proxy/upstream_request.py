"""The first half of one exchange with an upstream: the request sent, and the head of its answer read.

The http thread of the client runs it. The pump may begin (`ask_now`, which never blocks), and end it too or leave the
rest to the thread. Guarantees: (1) a client that leaves ends the upstream's work at once, at every moment; (2) a pooled
connection that dies before any byte of the answer is tried again once on a fresh one, never after a byte; NoAnswer says
that no byte came; (3) an upstream may answer before it has read the request: the rest is sent while the answer comes,
unless that is an error after which it closes; (4) an answer of a model's own server that is not strict HTTP is
understood where it means one thing only, and its connection closed behind it. Whatever else an upstream does wrong is
BadGateway.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from itertools import chain

from llamaswap_lib.config.schema import Model
from llamaswap_lib.errors import BadGateway, BadRequest, GatewayTimeout, HeadTooLarge
from llamaswap_lib.proxy.connection import Connection, Key
from llamaswap_lib.proxy.standing import Standing
from llamaswap_lib.proxy.upload import Upload
from llamaswap_lib.proxy.upstream_url import Origin, origin_of
from llamaswap_lib.routing.remote_model import Remote
from llamaswap_lib.server.exchange import Exchange
from llamaswap_lib.server.machine_faults import SHORTAGES, fault_of
from llamaswap_lib.server.request_body import OutgoingBody
from llamaswap_lib.wire.headers import request_fields, without_host
from llamaswap_lib.wire.heads import ResponseHead
from llamaswap_lib.wire.lenient_heads import AnswerHeadReader

READ_BYTES = 65_536
DONTWAIT = socket.MSG_DONTWAIT


class NoAnswer(BadGateway):
    """Not a byte of an answer came: another process may be asked."""

    was_cut = False  # by us, since the run hangs


class _UpstreamLost(Exception):
    """The connection ended before any byte of the answer."""


class Asking:
    """One request to an upstream."""

    __slots__ = (
        "_sent_at",
        "_upload",
        "body",
        "connection",
        "exchange",
        "forward_proxy",
        "is_read_by_proxy",
        "is_reusable",
        "key",
        "message",
        "model",
        "origin",
        "standing",
    )

    is_lenient = True  # with answers that are not strict HTTP: the server is the user's own
    connection: Connection
    message: bytes

    def __init__(self, exchange: Exchange, model: Model | Remote, key: Key, proxy: str, body: OutgoingBody) -> None:
        self.exchange = exchange
        self.model = model
        self.key = key
        self.body = body
        self.origin: Origin = origin_of(proxy)
        proxies = exchange.app.pool.proxies
        self.forward_proxy = proxies.way_to(self.origin.scheme, self.origin.host, self.origin.port)
        self.is_read_by_proxy = self.forward_proxy is not None and not (self.origin.is_secure or exchange.head.upgrade)
        self.is_reusable = True
        self.standing: Standing | None = None  # while the pump has the connection
        self._upload: Upload | None = None  # while some of the request is still to be sent
        self._sent_at: float | None = None  # when all of it was, where the answer has a deadline

    def _request_head(self, path: str, query: str) -> bytes:
        head = self.exchange.head
        has_body = head.chunked or head.content_length is not None
        fields = request_fields(head, self.exchange.client_ip, self.body.size_bytes if has_body else None)
        host = "" if "host" in head.first else f"Host: {self.origin.authority}\r\n"
        if self.is_read_by_proxy:  # which sends it on to the Host of the target: there is no other one
            host, fields = f"Host: {self.origin.authority}\r\n", without_host(fields)
        return f"{self._request_line(path, query)}{host}{fields}\r\n".encode("latin-1")

    def _request_line(self, path: str, query: str) -> str:
        """The request line, and the login of the proxy that is to read it."""
        target = self.origin.target(path, query)
        if self.forward_proxy is not None and self.is_read_by_proxy:
            return f"{self.exchange.head.method} {self.origin}{target} HTTP/1.1\r\n{self.forward_proxy.authorization}"
        return f"{self.exchange.head.method} {target} HTTP/1.1\r\n"

    def ask_now(self, path: str, query: str) -> bool:
        """Send the request, whole, on an idle connection; False if that cannot be. Never blocks."""
        app = self.exchange.app
        self.standing = standing = app.pool.take_standing(self.key, app.pump)
        if standing is None:
            return False
        self.connection = standing.connection
        is_sent = False
        try:
            self.message = self._request_head(path, query)
            data = self.message + self.body.read()
            is_sent = self.connection.sock.send(data, DONTWAIT) == len(data)
        except OSError:
            pass  # it has died
        finally:
            if not is_sent:  # nobody has heard it all, so it may be sent again
                self.close_now()
        return is_sent

    def leave_pump(self) -> None:
        """Behind `ask_now`: the rest is for the http thread, or a flow."""
        if self.standing is not None:
            self.standing.release()
            self.standing = None

    def close_now(self) -> None:
        """Behind `ask_now`: have the upstream stop, unless it has answered and was let go."""
        if self.standing is not None:
            self.standing.close()
            self.standing = None

    def _ask(self) -> tuple[ResponseHead, bytes]:
        """Send the request and read the head of its answer, on a second connection if a pooled one has died."""
        return self._ask_again_if_lost(lambda: self._ask_once(fresh=False))

    def _hear_out(self, early: bytes | None) -> tuple[ResponseHead, bytes]:
        """The same behind `ask_now`; `early` is what has come of the answer, None for nothing."""
        return self._ask_again_if_lost(lambda: self._converse(lambda: early))

    def _ask_again_if_lost(self, ask: Callable[[], tuple[ResponseHead, bytes]]) -> tuple[ResponseHead, bytes]:
        try:
            return ask()
        except _UpstreamLost as lost:
            if self.connection.is_fresh or self.connection.is_cut:
                raise self._lost(lost) from None
        try:
            return self._ask_once(fresh=True)
        except _UpstreamLost as lost:
            raise self._lost(lost) from None

    def _ask_once(self, *, fresh: bool) -> tuple[ResponseHead, bytes]:
        pool, timeouts = self.exchange.app.pool, self.model.timeouts
        try:
            is_tunnel = self.forward_proxy is not None and not self.is_read_by_proxy and not self.origin.is_secure
            self.connection = pool.take(self.key, self.origin, timeouts, fresh=fresh, tunnel=is_tunnel)
        except OSError as error:
            message = f"cannot connect to {self.model.id} at {self.origin}"
            if self.forward_proxy is not None and not self.forward_proxy.fault:
                message += f" through the proxy {self.forward_proxy}"
            if error.errno in SHORTAGES:
                raise fault_of(error, message) from error
            message += f": {error.strerror or error}"
            # Without a health check it may never have listened, and most likely lives: that is not worth the wait.
            is_unchecked = isinstance(self.model, Model) and self.model.check_endpoint == "none"
            says_nothing = is_unchecked or self.forward_proxy is not None  # of the server itself
            raise (BadGateway if says_nothing else NoAnswer)(message) from None
        return self._converse(self._send)

    def _converse(self, send: Callable[[], bytes | None]) -> tuple[ResponseHead, bytes]:
        """Have `send` send the request; the head of its answer, and what came of the body."""
        try:
            return self._receive_head(send())
        except BaseException:
            self.connection.close()
            raise

    def _send(self) -> None:
        """Send the request, head and body in one call if the kernel takes it; the rest of it is `_upload`."""
        body, data = self.body, self.message
        self._upload, self.is_reusable = None, True
        if body.is_in_memory:
            data += body.read()
        try:
            sent_bytes = self.connection.sock.send(data, DONTWAIT)
        except BlockingIOError:
            sent_bytes = 0
        except OSError:
            self.is_reusable = False  # it may have answered before it hung up
            return
        if sent_bytes == len(data) and body.is_in_memory:
            self._end_sending(is_whole=True)
        else:
            rest = iter((data[sent_bytes:],))
            self._upload = Upload(self.connection.sock, rest if body.is_in_memory else chain(rest, body.pieces()))

    def _end_sending(self, *, is_whole: bool) -> None:
        """Nothing more is sent; unless it was all, no other request can follow."""
        self._upload = None
        if not is_whole:
            self.is_reusable = False
        elif self.model.timeouts.response_header:
            self._sent_at = self.exchange.app.clock()

    def _receive_head(self, early: bytes | None) -> tuple[ResponseHead, bytes]:
        """The head of the final answer, and what came of its body; `early` is what is here of it, None for nothing."""
        data, searched_bytes, has_begun = b"", 0, early is not None
        reader = AnswerHeadReader(lenient=self.is_lenient)
        while True:
            data += early or self._receive_more(has_begun=has_begun)
            early, has_begun = None, True  # also where data is empty again behind an interim head
            while (head := self._read_head(reader, data, searched_bytes)) is not None:
                data, searched_bytes = data[reader.end :], 0
                if head.status >= 200:
                    if head.status >= 400 and not head.keep_alive and self._upload is not None:
                        self._end_sending(is_whole=False)
                    self._refuse_login(head)
                    return head if reader.is_strict else head._replace(keep_alive=False), data
                if head.status == 101:
                    self._check_switch(head)
                    return head, data
            searched_bytes = len(data)

    def _receive_more(self, *, has_begun: bool) -> bytes:
        """The next bytes of the head, never none; raises _UpstreamLost, BadGateway, GatewayTimeout or ClientGone."""
        reason = "it closed the connection without an answer"
        try:
            if data := self._receive(self.model.timeouts.response_header):
                return data
        except OSError as error:
            reason = error.strerror or "the connection broke"
        if has_begun and not self.connection.is_cut:
            raise self._broken("it broke off within the head of its answer")
        raise _UpstreamLost(reason)

    def _receive(self, patience: float = 0.0) -> bytes:
        """What comes from the upstream, b"" at its end; what is left of the request is sent meanwhile.

        Blocks, once all is sent for `patience` seconds if that is not 0; raises OSError, GatewayTimeout or ClientGone.
        """
        while True:
            flags = 0
            if self._upload is not None:
                self._upload.send_some()  # in turn with reading: neither way waits for the other
                if self._upload.is_over:
                    self._end_sending(is_whole=self._upload.is_whole)
                else:
                    flags = DONTWAIT
            try:
                return self.connection.sock.recv(READ_BYTES, flags)
            except BlockingIOError:
                self._look_out(patience)

    def _look_out(self, patience: float) -> None:
        """Block until there is something to read, or room to send; raises GatewayTimeout, and ClientGone."""
        mask, timeout, clock = select.POLLIN, None, self.exchange.app.clock
        if self._upload is not None:
            mask |= select.POLLOUT
        elif patience and self._sent_at is not None:
            timeout = self._sent_at + patience - clock()
        is_ready = self.exchange.watch.wait(self.connection.sock.fileno(), mask, timeout)
        if not is_ready and timeout is not None and timeout <= 0:
            raise GatewayTimeout(f"{self.model.id} did not begin to answer in time")

    def _read_head(self, reader: AnswerHeadReader, data: bytes, searched_bytes: int) -> ResponseHead | None:
        try:
            return reader.read(data, searched_bytes)
        except (BadRequest, HeadTooLarge) as bad:
            raise self._broken(bad.message) from None

    def _refuse_login(self, head: ResponseHead) -> None:
        """Raise BadGateway where the proxy in between wants a login: that is not for the client to answer."""
        if self.wants_login(head):
            where = f"{self.model.id} at {self.origin}"
            raise BadGateway(f"cannot ask {where}: the proxy {self.forward_proxy} wants a login (407)")

    def wants_login(self, head: ResponseHead) -> bool:
        """Whether the answer is that of the proxy in between, which wants a login."""
        return head.status == 407 and self.is_read_by_proxy

    def _check_switch(self, head: ResponseHead) -> None:
        """Whether the upstream switches to the protocol that was asked for; raises BadGateway."""
        protocol = head.first.get("upgrade", "").lower() if "upgrade" in head.connection else ""
        if not protocol or protocol != self.exchange.head.upgrade:
            raise self._broken("it switches protocols unasked")
        if self._upload is not None or not self.is_reusable:
            raise self._broken("it switches protocols within the request")

    def _lost(self, lost: _UpstreamLost) -> NoAnswer:
        no_answer = NoAnswer(f"the server of {self.model.id} did not answer: {lost}")
        no_answer.was_cut = self.connection.is_cut
        return no_answer

    def _broken(self, reason: str) -> BadGateway:
        return BadGateway(f"the server of {self.model.id} cannot be understood: {reason}")

    def _let_go(self, may_stay: bool) -> None:
        """Give the connection back, or close it unless another request may follow on it."""
        standing, self.standing = self.standing, None
        pool, may_stay = self.exchange.app.pool, may_stay and self.is_reusable and self._upload is None
        if standing is not None:
            pool.give_standing(standing) if may_stay else standing.close()
        else:
            pool.give(self.connection) if may_stay else self.connection.close()
