"""One client's connection, from accept to close: `_live` is its life, read from top to bottom.

Thread `loop` alone. The life is a coroutine: it waits for the socket, for a time, or for a handler thread that it has
borrowed (`in_thread`), and whatever it waits for resumes it. Guarantees: requests are answered in their order, each
once; a client that leaves arrives as ClientGone wherever the life waits; whatever goes wrong, the socket is closed; a
client whose request was refused gets to see why before the connection ends. What is read and sent on the way is the
business of `ClientStream` and `RequestReader`.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol, TypeVar, cast

from llamaswap_lib.errors import (
    Cancelled,
    ClientGone,
    HttpError,
    MachineFault,
    OutOfResources,
    ServiceUnavailable,
    fault_of,
)
from llamaswap_lib.net.loop import Loop, suspended
from llamaswap_lib.net.stream import has_unread, reset_on_close, unsent_bytes
from llamaswap_lib.runtime.vital import report
from llamaswap_lib.server.access_log import log_access
from llamaswap_lib.server.answers import answer_error
from llamaswap_lib.server.client_stream import ClientStream, Site
from llamaswap_lib.server.connection_state import MOVES, State
from llamaswap_lib.server.exchange import Exchange, HeadMemo, Settings
from llamaswap_lib.server.handler import Job
from llamaswap_lib.server.request_reader import UNREADABLE, RequestReader

_T = TypeVar("_T")


class Server(Site, Protocol):
    """What a connection needs of its server."""

    settings: Settings  # of the requests that begin now

    def lend(self, job: Job) -> None:
        """Have a handler thread run it."""

    def note_lingering(self, connection: ClientConnection) -> None:
        """It has all that it will get, and is about to be closed: nobody waits for it."""

    def note_closed(self, connection: ClientConnection) -> None: ...


class ClientConnection(ClientStream):
    """One connection, and what it is owed."""

    __slots__ = (
        "_is_aborted",
        "_is_cancelled",
        "_last_words",
        "_life",
        "_memo",
        "_server",
        "client_ip",
        "job",
        "requests",
    )

    def __init__(self, server: Server, loop: Loop, stream: socket.socket, client_ip: str) -> None:
        """`stream` is not blocking; it is closed by the connection, once `begin` was called."""
        super().__init__(server, loop, stream, self)
        self._server = server
        self.client_ip = client_ip
        self.job: Job | None = None  # what a handler thread does for the exchange
        self.requests = RequestReader(self, server, self.in_thread)
        self._memo: HeadMemo | None = None  # of the head that came last
        self._is_aborted = False
        self._is_cancelled = False
        self._last_words = b""  # why it is not served
        self._life = self._live()
        self.resume = self.on_room = self._life.send
        self.throw = self._life.throw

    def begin(self, received: bytes = b"") -> None:
        """Serve it from now on. Raises OSError and MemoryError: then its socket is still the caller's to close.

        `received` is what was read of its first head already.
        """
        try:
            self._server.table.add(self)
            if received:
                self.requests.put_back(received)
            self._watch()
        except BaseException:
            self._server.table.remove(self)
            self._life.close()
            raise
        with suppress(StopIteration):  # its client has left already
            self.resume(None)

    def turn_away(self, why: bytes) -> None:
        """Tell its client why it is not served, and close it; raises OSError and MemoryError."""
        try:
            self._watch()
        except BaseException:
            self._life.close()
            raise
        self._leave_with(why)
        with suppress(StopIteration):
            self.resume(None)

    def _watch(self) -> None:
        self.loop.watch(self.stream, self.mask, self.resume, self)

    # -- the life --

    async def _live(self) -> None:  # noqa: C901 - in one piece, since each call costs every request
        """From the first byte to the last."""
        requests, heads, server, loop = self.requests, self.requests.heads, self._server, self.loop
        try:
            if self.tls is not None:
                await self.shake_hands(self.tls)
            if self._last_words:
                self.send_now(self._last_words)
            while not self._last_words and (head := await requests.read_head()) is not None:
                self.state = MOVES[self.state][State.SERVED]
                settings, memo = server.settings, self._memo
                if memo is None or memo.generation != heads.generation or memo.settings is not settings:
                    memo = self._memo = HeadMemo(settings, heads.generation, head)
                exchange = Exchange(settings, head, self, memo)
                loop.on_ready[self.stream.fileno()] = self.hear_while_busy
                try:
                    try:
                        if requests.refusal is not None:
                            raise requests.refusal
                        await (memo.serve or settings.serve)(exchange)
                    except ClientGone as gone:
                        self._tell_cancelled(exchange, gone)
                    except Exception as error:  # noqa: BLE001 - that is told, or logged
                        self._fail(exchange, error)
                    if answer := exchange.whole:
                        taken_bytes = self.send_now(answer)
                        exchange.whole = b""
                        if taken_bytes < len(answer):
                            await self._send_rest(exchange, memoryview(answer)[taken_bytes:])
                        answer = b""
                except ClientGone:
                    self._note_lost(exchange)
                finally:
                    seconds = loop.clock() - requests.started
                    log_access(exchange, seconds)
                    exchange.trace.end(exchange, seconds)
                    exchange.failure = None  # which keeps all that it went through, the exchange and its body too
                if exchange.closes or server.is_stopping or self.is_gone:
                    if head is UNREADABLE or (exchange.closes and not requests.will_be_clear()):
                        self.is_unfinished = True
                    break
                loop.on_ready[self.stream.fileno()] = self.resume
                del exchange  # and what is kept of its bodies, while the next one is waited for
        except ClientGone:
            pass
        except Exception:  # noqa: BLE001 - the top of the life
            self._report()
            self.is_unfinished = True
        finally:
            self._server.table.remove(self)
        await self._end()

    async def _end(self) -> None:
        try:
            await self._linger()
        finally:
            self._close()

    async def _send_rest(self, exchange: Exchange, rest: memoryview) -> None:
        """Of a whole answer, which is also for a client that has ended its direction."""
        sent_bytes, exchange.sent_bytes = exchange.sent_bytes, 0
        with self.awaiting_answer():
            await self.send(rest)
        exchange.sent_bytes = sent_bytes

    def _tell_cancelled(self, exchange: Exchange, gone: ClientGone) -> None:
        """Tell the client of a request that was cancelled; raises `gone` again where it is the client that has left."""
        if not self._is_cancelled or self.is_cut_off or not self.mask:
            raise gone
        self.is_gone = self._is_cancelled = False
        exchange.warn("cancelled by POST /api/inflight/{id}/cancel")
        if exchange.has_answered:
            exchange.cut(reset=True)
        else:
            self._fail(exchange, Cancelled("the request was cancelled by an operator of this server"))

    def _fail(self, exchange: Exchange, error: Exception) -> None:
        """Answer with the error, or cut off an answer that has begun. The details of our own mistakes go to the log."""
        if isinstance(error, OSError):  # what befalls a client's socket is ClientGone, an upstream's is BadGateway
            error = fault_of(error, "the request cannot be served")
        elif isinstance(error, MemoryError):
            error = OutOfResources("the request cannot be served: not enough memory")
        exchange.failure = error if isinstance(error, HttpError) else HttpError("internal error")
        if not isinstance(error, HttpError):
            self._report()
            self.is_unfinished = exchange.closes = True
            if not exchange.has_answered:
                answer_error(exchange, exchange.failure)
        elif not exchange.has_answered:
            answer_error(exchange, error)
        elif isinstance(error, MachineFault):
            exchange.warn(f"the answer broke off: {error.cause}")
            exchange.cut(reset=not exchange.whole)  # an orderly end could make what was sent look like all of it
        else:  # the endpoint's promise is broken: no second answer, no clean end
            exchange.cut(reset=False)
            self._report()

    def _note_lost(self, exchange: Exchange) -> None:
        """Its client has left before it had all of the answer; or the server ends, and has broken it off."""
        exchange.closes = exchange.has_lost_client = True
        if exchange.whole:
            exchange.note_unseen()
        if self._is_aborted:
            exchange.failure = ServiceUnavailable("the server is shutting down")
            if not exchange.has_answered:
                exchange.status = 503
                exchange.warn("503, broken off: the server is shutting down")

    def _report(self) -> None:
        report("loop", self._server.settings.log.error)

    def may_stay(self) -> bool:
        """Whether another request may follow the one in progress."""
        requests = self.requests
        ends = self._server.is_stopping or (self._server.on_idle is not None and self.tls is not None)
        return (requests.unread is None or requests.will_be_clear()) and not ends

    async def in_thread(self, function: Callable[[], _T]) -> _T:
        """Have a handler thread call it, and do meanwhile what that thread asks for.

        Raises what it raises; ClientGone only where it does, or before it is called.
        """
        if self.is_gone:
            raise ClientGone
        outer_job = self.job  # which waits for what we do
        self.job = job = Job(function, self.loop, self.resume)
        self._server.lend(job)
        while True:
            try:
                make = await suspended()
            except ClientGone:
                job.watch.note_gone()
                continue
            except Exception:  # noqa: BLE001 - the loop has told the log; what the thread takes has to be given back
                self.is_cut_off = self.is_gone = True
                job.watch.note_gone()
                continue
            if make is None:
                break
            try:
                answer = await make()
            except Exception as error:  # noqa: BLE001 - it is the thread's
                if isinstance(error, ClientGone):
                    job.watch.note_gone()
                job.refuse(error)
            else:
                if self.is_gone:  # only a thread that worked for this one was told
                    job.watch.note_gone()
                job.answer(answer)
        self.job = outer_job
        return cast(_T, job.result())

    def fail(self, error: Exception) -> None:
        """Something of ours broke while the connection was served."""
        try:
            self.throw(error)
        except StopIteration:
            pass
        except Exception:  # noqa: BLE001 - the life itself is at its end
            self._report()
            self._server.table.remove(self)
            self._close()

    # -- the end --

    @property
    def is_in_head(self) -> bool:
        return self.state is State.IN_HEAD

    def cut_off(self, farewell: bytes = b"", *, reset: bool = False) -> None:
        """End it at once, after `farewell` as far as that can be sent; with `reset`, so that its client sees that.

        Before TLS's handshake is over nothing can be sent: the farewell waits for it, and nobody for the client.
        """
        if farewell and self.state is State.SHAKING_HANDS and not self._last_words:
            self._server.table.remove(self)
            self._leave_with(farewell)
            return
        self.resets = self.resets or reset
        self._server.table.note_leaving(self)
        self.cut_off_now(farewell)
        self._end_life()

    def cancel(self) -> None:
        """End the request in progress: for who serves it, its client has left; its client is told."""
        self._is_cancelled = self.is_gone = True
        self._end_life()

    def abort(self) -> None:
        """Break the connection off, so that its client sees that."""
        self._is_aborted = self.is_cut_off = self.is_gone = self.resets = True
        self._end_life()

    def _end_life(self) -> None:
        with suppress(StopIteration):
            self.throw(ClientGone())

    def let_go(self) -> socket.socket:
        """Its socket, which is open and the caller's to serve: it is IDLE or IN_HEAD, and is served here no more."""
        self.state = MOVES[self.state][State.CLOSED]
        self._life.close()
        self.timer.close()
        self.loop.unwatch(self.stream)
        self._server.note_closed(self)
        return self.stream

    def _leave_with(self, last_words: bytes) -> None:
        """It is not served: its client is told why, and closes."""
        self._last_words = last_words
        self.is_unfinished = True
        self._server.note_lingering(self)

    async def _linger(self) -> None:
        """Let the client take its last bytes, and close, where closing at once would take them away from it.

        A socket that is closed with unread bytes behind it is reset, and a reset takes away what the client has not
        read of its answer. So our direction is ended first; what the client sends is read and dropped until it closes
        too, is silent for `linger_timeout` while nothing of the answer is under way, or has had its time.
        """
        stream = self.stream
        if self.resets or self.is_gone:
            return
        if self.tls is None and not (self.is_unfinished or has_unread(stream) or unsent_bytes(stream)):
            return
        self.state = MOVES[self.state][State.LINGERING]
        self._server.note_lingering(self)
        self.loop.on_ready[stream.fileno()] = self.resume
        with suppress(ClientGone):
            await self.end_sending()
            await self.drop_rest()

    def _close(self) -> None:
        if self.state is State.CLOSED:
            return
        if self.tls is not None and self.state is not State.SERVED and self.mask and not self.resets:
            with suppress(OSError):  # as far as that can be done at once
                self.tls.shutdown(socket.SHUT_WR)
        self.state = MOVES[self.state][State.CLOSED]
        self.timer.close()
        if self.mask:
            self.loop.unwatch(self.stream)
        if self.resets:
            reset_on_close(self.stream)
        self.stream.close()
        self._server.note_closed(self)
