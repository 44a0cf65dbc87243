"""One exchange with an upstream: the request sent on, the answer passed back as it comes.

The http thread of the client runs it, inside the lease, but for what ends in `_now`, which is the pump's. Bodies that
flow on after the head ride the pump, unless they come with TLS. Guarantees, besides those of `Asking`: bodies pass with
the framing they came with, byte for byte (an HTTP/1.0 client gets chunks decoded); an answer that breaks off is never
ended as if it were whole. An upstream's fault before our head is BadGateway; after it, the client's connection is cut.
Where the upstream switches protocols as asked, a tunnel follows.
"""

from __future__ import annotations

from llamaswap_lib.errors import BadGateway, BadRequest, ClientGone, HeadTooLarge, RunNotDead
from llamaswap_lib.web.app import Lease, Upstream
from llamaswap_lib.web.asking import Asking, NoAnswer
from llamaswap_lib.web.chunks import BadChunk
from llamaswap_lib.web.flow import Ending, Flow
from llamaswap_lib.web.forwarding import answer_lines
from llamaswap_lib.web.framings import Body, body_of
from llamaswap_lib.web.heads import BodyKind, Framing, ResponseHead
from llamaswap_lib.web.tunnel import tunnel

SHORT_BYTES = 65_536  # an answer of a known length up to this stays on its own thread


def next_upstream(lease: Lease, no_answer: NoAnswer) -> Upstream:
    """Where to try once more, the process having died; raises `no_answer` if it lives."""
    try:
        return lease.move_on()
    except RunNotDead:
        raise no_answer from None


class Relay(Asking):
    """One request to an upstream, and its answer."""

    __slots__ = ()

    def run(self, path: str, query: str) -> None:
        self.message = self._request_head(path, query)
        self._pass_back(*self._ask())

    def go_on(self, early: bytes | None) -> None:
        """The rest behind `ask_now`; `early` is what has come of the answer, None for nothing."""
        self._pass_back(*self._hear_out(early))

    def answer_now(self, data: bytes) -> bytes | None:
        """What the client is sent, if `data` is a whole answer and a short one; else None, and it is for `go_on`.

        Once that is sent, `let_go_now` lets go of the connection.
        """
        try:
            head, end = self.connection.answers.read(data)
        except (BadGateway, BadRequest, HeadTooLarge):
            return None
        if head is None or not self._is_whole(head, len(data) - end):
            return None
        self.is_reusable = head.keep_alive
        self.exchange.sent_bytes = len(data) - end
        return self.exchange.opening(head.status, answer_lines(head), data[end:])

    def let_go_now(self) -> None:
        self._let_go(may_stay=True)

    def _is_whole(self, head: ResponseHead, rest_bytes: int) -> bool:
        """Whether the body is here too, and there is one."""
        if not rest_bytes or rest_bytes != head.content_length:
            return False
        return head.is_followed_by_body(self.exchange.head.method)

    def _pass_back(self, head: ResponseHead, rest: bytes) -> None:
        if self._is_whole(head, len(rest)):
            self._let_go(head.keep_alive)  # before the client has its answer: its next request finds it idle
            self.exchange.begin(head.status, answer_lines(head), rest)
            return
        try:
            may_stay = self._deliver(head, rest)
        except BaseException:
            self.connection.close()
            raise
        self._let_go(may_stay)

    def _deliver(self, head: ResponseHead, rest: bytes) -> bool:
        """Pass the answer on as it comes; whether it was whole and another request may follow it."""
        exchange = self.exchange
        if head.status == 101:
            probes = self.model.timeouts.keepalive
            tunnel(exchange, self.connection.sock, answer_lines(head), rest, upstream_probes=probes)
            return False
        framing = head.body(exchange.head.method)
        is_decoded = head.chunked and not exchange.head.minor  # in the head of an answer to HEAD too
        body = body_of(framing, decoded=is_decoded)
        if not body.shows_its_end:
            exchange.closes = True
        try:
            first = body.take(rest) if rest else b""
        except BadChunk as bad:
            raise self._broken(str(bad)) from None
        exchange.begin(head.status, answer_lines(head, is_decoded=is_decoded), first)
        if not body.done:
            self._deliver_rest(framing, body)
        return head.keep_alive and body.done and not body.surplus

    def _deliver_rest(self, framing: Framing, body: Body) -> bool:
        """Pass on what is still to come; whether it came whole."""
        exchange = self.exchange
        if (framing.kind is BodyKind.LENGTH and framing.length <= SHORT_BYTES) or self.origin.is_secure:
            ending = self._pass_on_here(body)
        else:
            flow = Flow(self.connection.sock, exchange.sock, body)
            ending = flow.move(exchange.app.pump)
            exchange.sent_bytes += flow.sent_bytes
        if ending is Ending.CUT:
            self._cut(body)
        elif ending is not Ending.COMPLETE:
            exchange.closes = True
            raise ClientGone
        return ending is Ending.COMPLETE

    def _pass_on_here(self, body: Body) -> Ending:
        while not body.done:
            try:
                if not (data := self._receive(None)):
                    return Ending.COMPLETE if body.ends_by_close else Ending.CUT
                data = body.take(data)
            except (OSError, BadChunk):
                return Ending.CUT
            self.exchange.send(data)
        return Ending.COMPLETE

    def _cut(self, body: Body) -> None:
        self.exchange.cut(reset=not body.shows_its_end)
        self._log_cut()

    def _log_cut(self) -> None:
        self.exchange.app.logs.log.warn(f"{self.model.id}: the answer broke off after {self.exchange.sent_bytes} bytes")
