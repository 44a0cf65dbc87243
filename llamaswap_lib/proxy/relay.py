"""One exchange with an upstream: the request sent on, the answer passed back as it comes.

The http thread of the client runs it, inside the lease, but for what stands under `# -- pump thread only --`. Bodies
that flow on after the head ride the pump, unless they come with TLS. Guarantees, besides those of `Asking`: bodies pass
with the framing they came with, byte for byte (an HTTP/1.0 client gets chunks decoded); an answer that breaks off is
never ended as if it were whole. An upstream's fault before our head is BadGateway; after it, the client's connection is
cut. Where the upstream switches protocols as asked, a tunnel follows.
"""

from __future__ import annotations

from collections.abc import Callable

from llamaswap_lib.errors import BadGateway, BadRequest, ClientGone, HeadTooLarge, RunNotDead
from llamaswap_lib.net.flow import Ending, Flow
from llamaswap_lib.proxy.upgrade import tunnel
from llamaswap_lib.proxy.upstream_request import Asking, NoAnswer
from llamaswap_lib.runtime.interfaces import Lease, Upstream
from llamaswap_lib.wire.body_framing import Body, body_of, ends_clear, missing_end
from llamaswap_lib.wire.chunked import BadChunk
from llamaswap_lib.wire.cors_headers import allow_once
from llamaswap_lib.wire.headers import answer_lines
from llamaswap_lib.wire.heads import BodyKind, Framing, ResponseHead

SHORT_BYTES = 65_536  # an answer of a known length up to this stays on its own thread


def next_upstream(lease: Lease, no_answer: NoAnswer) -> Upstream:
    """Where to try once more, the process having died; raises `no_answer` if it lives."""
    try:
        return lease.move_on()
    except RunNotDead:
        raise no_answer from None


class Relay(Asking):
    """One request to an upstream, and its answer."""

    __slots__ = ("_flow", "to_come")

    _flow: Flow
    to_come: Body | None  # behind `answer_now`: the rest of the body, if it has not all come

    def run(self, path: str, query: str) -> None:
        self.message = self._request_head(path, query)
        self._pass_back(*self._ask())

    def go_on(self, early: bytes | None) -> None:
        """The rest behind `ask_now`; `early` is what has come of the answer, None for nothing."""
        self._pass_back(*self._hear_out(early))

    def go_on_sending(self, unsent: bytes) -> None:
        """The rest behind `answer_now`; `unsent` is what the client has not taken of what that gave."""
        exchange, body = self.exchange, self.to_come
        body_bytes, exchange.sent_bytes = exchange.sent_bytes, 0  # unless the client takes all of it
        if body is None:
            exchange.send(unsent)
            exchange.sent_bytes = body_bytes
            return
        try:
            exchange.send(unsent)
            exchange.sent_bytes = body_bytes
            may_stay = self._is_complete(self._move(body), body) and ends_clear(body)
        except BaseException:
            self.connection.close()
            raise
        self._let_go(may_stay)

    # -- pump thread only --

    def answer_now(self, data: bytes) -> bytes | None:
        """What the client is sent of `data`, an answer or the beginning of one; None if it is for `go_on`.

        Then, if all of it is sent, `let_go_now`, or `flow_on` if there is something `to_come`; else `go_on_sending`.
        """
        try:
            head, end = self.connection.answers.read(data)
            if head is None or self.wants_login(head):
                return None
            lines, body, first = "", None, data[end:]
            if self._is_whole(head, len(first)):
                lines = self._answer_lines(head)
            elif head.status < 200:
                return None
            else:
                lines, body, first = self._begin_body(head, first)
        except (BadChunk, BadGateway, BadRequest, HeadTooLarge):
            return None
        self.is_reusable = head.keep_alive and not (body is not None and body.surplus)
        self.to_come = None if body is None or body.done else body
        self.exchange.sent_bytes = len(first)
        return self.exchange.opening(head.status, lines, first)

    def let_go_now(self) -> None:
        """Behind `answer_now`: the client has what it gave, or is gone."""
        self._let_go(may_stay=self.to_come is None)

    def flow_on(self, on_end: Callable[[], None]) -> None:
        """Pass on what is `to_come`; `on_end` is called when that has ended, and calls `end_flow`."""
        assert self.to_come is not None, "nothing is to come"
        self._flow = Flow(self.connection.sock, self.exchange.sock, self.to_come)
        self._flow.ride(self.exchange.app.pump, on_end)

    def end_flow(self) -> None:
        flow, body = self._flow, self._flow.body
        self.exchange.sent_bytes += flow.sent_bytes
        ending = self._true_ending(flow.ending, body)
        self._take_note(ending, body)
        self._let_go(may_stay=ending is Ending.COMPLETE and ends_clear(body))

    # -- either --

    def _is_whole(self, head: ResponseHead, rest_bytes: int) -> bool:
        """Whether the body is here too, and there is one."""
        if not rest_bytes or rest_bytes != head.content_length:
            return False
        return head.is_followed_by_body(self.exchange.head.method)

    def _pass_back(self, head: ResponseHead, rest: bytes) -> None:
        if self._is_whole(head, len(rest)):
            self._let_go(head.keep_alive)  # before the client has its answer: its next request finds it idle
            self.exchange.begin(head.status, self._answer_lines(head), rest)
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
        try:
            lines, body, first = self._begin_body(head, rest)
        except BadChunk as bad:
            raise self._broken(str(bad)) from None
        exchange.begin(head.status, lines, first)
        if not body.done:
            self._deliver_rest(head.body(exchange.head.method), body)
        return head.keep_alive and ends_clear(body)

    def _begin_body(self, head: ResponseHead, rest: bytes) -> tuple[str, Body, bytes]:
        """The lines of our head, what follows the body, and what is sent of its beginning; raises BadChunk."""
        exchange = self.exchange
        is_decoded = head.chunked and not exchange.head.minor  # in the head of an answer to HEAD too
        body = body_of(head.body(exchange.head.method), decoded=is_decoded, lenient=self.is_lenient)
        first = body.take(rest) if rest else b""
        if not body.shows_its_end:
            exchange.closes = True
        return self._answer_lines(head, is_decoded=is_decoded), body, first

    def _answer_lines(self, head: ResponseHead, *, is_decoded: bool = False) -> str:
        """The lines of our head; to a page of another origin with the one that may read it."""
        exchange, lines = self.exchange, answer_lines(head, is_decoded=is_decoded)
        if "origin" not in exchange.head.first:
            return lines
        return allow_once(lines, head.first, "" if exchange.is_passthrough else exchange.reader)

    def _deliver_rest(self, framing: Framing, body: Body) -> bool:
        """Pass on what is still to come; whether it came whole; raises ClientGone."""
        is_short = framing.kind is BodyKind.LENGTH and framing.length <= SHORT_BYTES
        stays_here = is_short or self.origin.is_secure
        ending = None
        if stays_here or self._upload is not None:
            ending = self._pass_on_here(body, until_sent=not stays_here)
        return self._is_complete(ending or self._move(body), body)

    def _move(self, body: Body) -> Ending:
        """Have the pump pass on what is to come; blocks."""
        flow = Flow(self.connection.sock, self.exchange.sock, body)
        ending = flow.move(self.exchange.app.pump)
        self.exchange.sent_bytes += flow.sent_bytes
        return ending

    def _is_complete(self, ending: Ending, body: Body) -> bool:
        """Whether the body came whole; raises ClientGone."""
        ending = self._true_ending(ending, body)
        self._take_note(ending, body)
        if ending not in (Ending.COMPLETE, Ending.CUT):
            raise ClientGone
        return ending is Ending.COMPLETE

    def _true_ending(self, ending: Ending, body: Body) -> Ending:
        """A body that ends with its connection is not whole where we ended that."""
        return Ending.CUT if body.ends_by_close and self.connection.is_cut and ending is Ending.COMPLETE else ending

    def _take_note(self, ending: Ending, body: Body) -> None:
        """See to it that the client's connection ends, unless the body came whole."""
        if ending is Ending.CUT:
            self._cut(body)
        elif ending is not Ending.COMPLETE:
            self.exchange.closes = True

    def _pass_on_here(self, body: Body, *, until_sent: bool) -> Ending | None:
        """Pass on what is to come; None if it has not ended and `until_sent`, and all of the request is sent now."""
        while not body.done:
            if until_sent and self._upload is None:
                return None
            try:
                if not (data := self._receive() or missing_end(body)):
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
        self.exchange.warn(f"the answer broke off after {self.exchange.sent_bytes} bytes")
