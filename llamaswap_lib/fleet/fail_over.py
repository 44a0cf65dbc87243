"""A request that has several places to go to: where one cannot answer it, the next one is asked.

Thread `loop`, as a part of the life of the client's connection. `fleet/retrying.py` says when. Guarantees: no place is
asked twice; a request is never sent on once a byte of an answer has gone to the client, or has come of one that is
passed on; what the last place says is passed on as it is.
"""

from __future__ import annotations

from llamaswap_lib.errors import ConcurrencyLimit, HttpError, LoadFailed
from llamaswap_lib.fleet.retrying import RetryBudget, says_no
from llamaswap_lib.proxy.dispatch import Dispatcher, Order
from llamaswap_lib.proxy.no_answer import NoAnswer, SaidNo
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
        self._budget.note_request(clock())
        while True:
            may_say_no = bool(choice.rest) and not has_said_no and self._budget.has_room(clock())
            order.is_no = says_no if may_say_no else None
            try:
                await self._dispatcher.relay(exchange, order)
                return
            except HttpError as error:
                is_silent = isinstance(error, NoAnswer)
                is_no = may_say_no and _is_no(error)
                if not choice.rest or exchange.has_answered or not (is_silent or is_no):
                    raise
                has_said_no = has_said_no or is_no
                exchange.warn(f"{error.cause}; {choice.rest[0]} is asked")
            self._budget.note_retry(clock())
            choice.move_on()
            trace = exchange.trace
            trace.answer = trace.head_at = trace.sent_at = None
            trace.retries += 1
            order = await exchange.in_thread(again)  # the body is read anew, which may be a large one


def _is_no(error: HttpError) -> bool:
    """Whether it says of a model of ours, or of a peer, that it cannot serve the request now."""
    return isinstance(error, SaidNo | LoadFailed | ConcurrencyLimit) or error.status == 503
