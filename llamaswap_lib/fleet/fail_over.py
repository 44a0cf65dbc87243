"""A request that has several places to go to: where one cannot answer it, the next one is asked.

Thread `loop`, as a part of the life of the client's connection. `fleet/retrying.py` says when. Guarantees: no place is
asked twice; a request is never sent on once a byte of an answer has gone to the client, or has come of one that is
passed on; what the last place says is passed on as it is. What stands under `fallback` comes behind all others, and is
no retry: it is asked whatever the budget has.
"""

from __future__ import annotations

from llamaswap_lib.errors import ConcurrencyLimit, HttpError, InsufficientMemory, LoadFailed
from llamaswap_lib.fleet.retrying import RetryBudget, says_no
from llamaswap_lib.proxy.dispatch import Dispatcher, Order
from llamaswap_lib.proxy.no_answer import NoAnswer, NotReached, SaidNo
from llamaswap_lib.server.exchange import Exchange


class FailOver:
    """The way to the models for requests that a selector has chosen a target for."""

    def __init__(self, dispatcher: Dispatcher, budget: RetryBudget) -> None:
        self._dispatcher = dispatcher
        self._budget = budget

    async def relay(self, exchange: Exchange, order: Order) -> None:
        """Have the first of the places serve the exchange that can; raises what the last one does."""
        choice, again, clock, has_said_no = order.choice, order.again, exchange.client.loop.clock, False
        if again is None:
            await self._dispatcher.relay(exchange, order)
            return
        if choice.rest:
            self._budget.note_request(clock())
        while True:
            may_retry = bool(choice.rest) and not has_said_no and self._budget.has_room(clock())
            order.is_no = says_no if may_retry or choice.fallback else None
            try:
                await self._dispatcher.relay(exchange, order)
                return
            except HttpError as error:
                is_silent, is_no = isinstance(error, NoAnswer | NotReached), _is_no(error)
                goes_on = bool(choice.rest) and (is_silent or (is_no and may_retry))
                falls_back = bool(choice.fallback) and (is_silent or is_no)
                if exchange.has_answered or not (goes_on or falls_back):
                    raise
                has_said_no = has_said_no or is_no
                cause = error.cause
            trace = exchange.trace
            if goes_on:
                self._budget.note_retry(clock())
                choice.move_on()
                trace.retries += 1
            else:
                choice.fall_back()
                exchange.fallback = choice.target
            exchange.warn(f"{cause}; {choice.target} is asked")
            trace.answer = trace.head_at = trace.sent_at = None
            order = await exchange.in_thread(again)  # the body is read anew, which may be a large one


def _is_no(error: HttpError) -> bool:
    """Whether it says of a model of ours, or of a peer, that it cannot serve the request now."""
    return isinstance(error, SaidNo | LoadFailed | InsufficientMemory | ConcurrencyLimit) or error.status == 503
