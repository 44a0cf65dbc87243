"""What a load of a model would do now: who would go for it, and what it would wait for.

A handler thread. Told from what the controller published: no wait, nothing woken, nothing chosen or counted.
"""

from __future__ import annotations

from typing import Any

from llamaswap_lib.app import App
from llamaswap_lib.config.schema import Model
from llamaswap_lib.core.plan import Plan
from llamaswap_lib.endpoints.failures import failures_of
from llamaswap_lib.fleet.states import UNKNOWN
from llamaswap_lib.routing.model_name import no_model
from llamaswap_lib.routing.names import Reach
from llamaswap_lib.routing.remote_model import Remote
from llamaswap_lib.routing.routes import Route
from llamaswap_lib.server.exchange import Exchange


def serve_plan(app: App, exchange: Exchange, route: Route) -> None:
    """GET /api/models/{id}/plan."""
    model = _find(app, route.argument)
    if isinstance(model, Remote):
        state = app.peers.states().get(model.peer, UNKNOWN).state_of(model.id.removeprefix(f"{model.peer}/"))
        plan = {"model": model.id, "type": "peer", "state": state, "evicts": [], "waits_for": []}
        exchange.answer_json({**plan, "rule": None, "estimate_seconds": None})
    else:
        exchange.answer_json(_row(app, app.controller.plan(model.id)))


def _find(app: App, name: str) -> Model | Remote:
    """The model that a request for `name` would get now; raises NotFound."""
    pins = app.profiles.pins()
    pinned = pins.get(name, name)
    if not pinned:
        raise no_model()
    destination = None if pinned in app.config.pools else app.destinations.get(pinned)
    if destination is None and pinned in app.selectors:
        destination = app.destinations[app.selectors.preview(pinned)]
    if destination is None:
        raise app.names.unknown(name, Reach.ANY, pins)
    return destination.model


def _row(app: App, plan: Plan) -> dict[str, Any]:
    evicts = None
    if plan.evicts is not None:
        evicts = [
            {"model": victim.model, "state": victim.state, "in_flight": victim.inside, "reason": victim.reason}
            for victim in plan.evicts
        ]
    row: dict[str, Any] = {
        "model": plan.model,
        "type": "model",
        "state": plan.state,
        "evicts": evicts,
        "waits_for": [{"model": one.model, "for": one.kind, "in_flight": one.inside} for one in plan.waits_for],
        "rule": _rule(app, plan),
        "estimate_seconds": None if plan.estimate is None else round(plan.estimate, 3),
    }
    if plan.refusal:
        row["refusal"] = plan.refusal
    failures = failures_of(app)
    return {**row, "failure": failures[plan.model]} if plan.model in failures else row


def _rule(app: App, plan: Plan) -> dict[str, Any]:
    """What decides, and what it says; '' where it has nothing to say."""
    routing, why = app.config.routing, plan.why
    rule: dict[str, Any] = {"kind": routing.router, "text": str(why)}
    if routing.router == "group":
        rule["group"] = next((group.name for group in routing.groups if plan.model in group.members), "")
    elif routing.router == "matrix":
        rule |= {"set": why.set_name, "expression": why.expression, "cost": why.cost}
    return rule
