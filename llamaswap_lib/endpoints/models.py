"""The list of models that clients may ask for, and how each of them is doing.

A handler thread. Clients drop entries with a false or an empty capability, so there is never one.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from typing import Any

from llamaswap_lib.app import App
from llamaswap_lib.config.schema import Model
from llamaswap_lib.config.sections import NOT_STICKY, Capabilities, Selector
from llamaswap_lib.endpoints.failures import failures_of
from llamaswap_lib.endpoints.memory import need_of
from llamaswap_lib.fleet.offers import Offer
from llamaswap_lib.fleet.states import UNKNOWN
from llamaswap_lib.routing.names import Reach
from llamaswap_lib.routing.routes import Route
from llamaswap_lib.server.exchange import Exchange


def serve_list(app: App, exchange: Exchange, _route: Route) -> None:
    """GET /v1/models, /models."""
    data = sorted(list_models(app), key=lambda entry: str(entry["id"]))
    exchange.answer_json({"object": "list", "data": data})


def serve_entry(app: App, exchange: Exchange, route: Route) -> None:
    """GET /v1/models/{id}: the one entry, also of what the list leaves out."""
    name = route.argument
    pins = app.profiles.pins()
    is_listed = is_known(app, name) or name in pins  # of thousands the list takes longer than to find that out
    entries = {entry["id"]: entry for entry in list_models(app, is_whole=True)} if is_listed else {}
    if name not in entries:
        raise app.names.unknown(name, Reach.ANY, pins)
    exchange.answer_json(entries[name])


def list_models(app: App, *, is_whole: bool = False) -> Iterator[dict[str, Any]]:
    """An entry for each listed name: models, their aliases, peers' models, selectors, what the active profile adds.

    `is_whole`: unlisted ones and aliases too, whatever the configuration says.
    """
    config = app.config
    loaded, failures, memory = {run.model for run in app.controller.runs()}, failures_of(app), app.memory.now
    for model in config.models.values():
        if model.unlisted and not is_whole:
            continue
        failure = {"failure": failures[model.id]} if model.id in failures else {}
        need = need_of(memory, model.id)
        known = {"memory": need} if need["devices"] is not None else {}
        about: dict[str, Any] = {"type": "model", **known, **failure}
        if model.aliases:
            about["aliases"] = list(model.aliases)
        yield describe(app, model, model.id, about, model.id in loaded)
        if config.include_aliases_in_list or is_whole:
            for alias in filter(str.strip, model.aliases):
                if alias in config.models:
                    continue  # the id wins
                about = {"type": "alias", "modelID": model.id, **known, **failure}
                yield describe(app, model, alias, about, model.id in loaded)
    yield from _of_peers(app, loaded)
    for name, selector in config.selectors.items():
        if is_whole or not selector.unlisted:
            yield describe_selector(app, name, selector, is_loaded(app, name, loaded))
    for name, target in app.profiles.pins().items():
        if target and not is_known(app, name):
            yield describe_plain(app, name, {"type": "profile"}, is_loaded(app, target, loaded))


def _of_peers(app: App, loaded: Container[str]) -> Iterator[dict[str, Any]]:
    """The models of peers, and the names that several boxes have and none of our models."""
    said: dict[str, Offer] = {}  # by the full name and, of the first that has it, by the bare one
    states = app.peers.states()
    for peer_id, peer in app.config.peers.items():
        offers = {offer.name: offer for offer in states.get(peer_id, UNKNOWN).offers or ()}
        for name in dict.fromkeys(peer.models):
            about: dict[str, Any] = {"type": "peer", "peerID": peer_id}
            offer = offers.get(name)
            if offer is not None:
                said.setdefault(name, offer)
                if offer.alias_of:
                    about["modelID"] = offer.alias_of
            entry = describe_plain(app, f"{peer_id}/{name}", about, runs_there(app, f"{peer_id}/{name}"))
            yield {**entry, "name": f"{peer_id}: {name}"} | _said_of(offer, entry)
    for name, pool in app.config.pools.items():
        if name not in app.destinations:
            about = {"type": "pool", "targets": list(pool.targets)}
            entry = describe_plain(app, name, about, is_loaded(app, name, loaded))
            yield entry | _said_of(said.get(name), entry)


def _said_of(offer: Offer | None, entry: Mapping[str, Any]) -> dict[str, Any]:
    """What a peer says of a model, for the entry of it."""
    if offer is None:
        return {}
    meta = {"meta": {**entry["meta"], "n_ctx": offer.n_ctx}} if offer.n_ctx else {}
    return {**offer.about, **meta}


def is_known(app: App, name: str) -> bool:
    """Whether `name` leads somewhere without a profile."""
    return name in app.destinations or name in app.selectors


def is_loaded(app: App, name: str, loaded: Container[str]) -> bool:
    """Whether what `name` leads to, or for a selector may lead to, is among the `loaded` models."""
    selector = app.config.selectors.get(name) or app.config.pools.get(name)
    targets = selector.targets if selector is not None else (name,)
    return any(app.config.resolve(target) in loaded or runs_there(app, target) for target in targets)


def runs_there(app: App, name: str) -> bool:
    """Whether that is the model of a peer which said at the last look that it runs there."""
    offered = app.config.resolve_peer(name)
    state = app.peers.states().get(offered.peer) if offered is not None else None
    return offered is not None and state is not None and state.runs(offered.model)


def describe_selector(app: App, name: str, selector: Selector, is_loaded: bool) -> dict[str, Any]:
    """The entry of a selector."""
    about = {**selector.shown_metadata, "type": "selector", "strategy": selector.strategy}
    about["targets"] = list(selector.targets)
    if selector.strategy in ("spillover", "spread"):
        about["spillover"] = selector.settings.spillover
        about |= {"sticky": selector.settings.sticky} if selector.settings.sticky != NOT_STICKY else {}
    return describe_plain(app, name, about, is_loaded) | texts_of(selector)


def status_rows(app: App) -> list[dict[str, Any]]:
    """Every local model by id, unlisted ones too, then those of peers; the rows of event `modelStatus`."""
    states = {run.model: run.state for run in app.controller.runs()}
    peers = {f"{peer_id}/{name}": peer_id for peer_id, peer in app.config.peers.items() for name in peer.models}
    local = [_local_status(model, states.get(name, "stopped")) for name, model in sorted(app.config.models.items())]
    failures = failures_of(app)
    for row in local:
        if row["id"] in failures:
            row["failure"] = failures[row["id"]]
    return [*local, *(_status(name, peer=peer_id) for name, peer_id in sorted(peers.items()))]


def _local_status(model: Model, state: str) -> dict[str, Any]:
    row = _status(model.id, model.name, model.description, state, unlisted=model.unlisted)
    if model.aliases:
        row["aliases"] = list(model.aliases)
    can = describe_capabilities(model.capabilities)
    return {**row, **{key: can[key] for key in ("capabilities", "context_length") if key in can}}


def _status(
    listed_id: str, name: str = "", description: str = "", state: str = "", *, unlisted: bool = False, peer: str = ""
) -> dict[str, Any]:
    """What every row has."""
    texts = {"id": listed_id, "name": name, "description": description, "state": state}
    return {**texts, "unlisted": unlisted, "peerID": peer}


def texts_of(described: Model | Selector) -> dict[str, str]:
    """Name and description, where they say something."""
    texts = {"name": described.name.strip(), "description": described.description.strip()}
    return {key: text for key, text in texts.items() if text}


def describe(app: App, model: Model, listed_id: str, about: Mapping[str, Any], is_loaded: bool) -> dict[str, Any]:
    """One entry; `about` is what `meta.llamaswap` says beside the user's metadata."""
    can = describe_capabilities(model.capabilities)
    context = model.capabilities.context
    metadata = {key: value for key, value in model.shown.metadata.items() if key not in can}
    entry = describe_plain(app, listed_id, {**metadata, **about}, is_loaded)
    if context:
        entry["meta"]["n_ctx"] = context
    return entry | texts_of(model) | can


def describe_plain(app: App, listed_id: str, about: Mapping[str, Any], is_loaded: bool) -> dict[str, Any]:
    """What every entry has."""
    return {
        "id": listed_id,
        "object": "model",
        "created": app.started_at,
        "owned_by": "llama-swap",
        "status": {"value": "loaded" if is_loaded else "unloaded"},
        "meta": {"llamaswap": dict(about)},
    }


def describe_capabilities(capabilities: Capabilities) -> dict[str, Any]:
    """What a model can do, in the keys that clients read."""
    inputs, outputs = capabilities.inputs, capabilities.outputs
    modalities: dict[str, Any] = {}
    if inputs:
        modalities["input_modalities"] = list(inputs)
    if outputs:
        modalities["output_modalities"] = list(outputs)
    if inputs and outputs:
        modalities["modality"] = f"{'+'.join(inputs)}->{'+'.join(outputs)}"
    able = {
        "vision": "image" in inputs,
        "audio_transcriptions": "audio" in inputs and "text" in outputs,
        "audio_speech": "text" in inputs and "audio" in outputs,
        "image_generation": "text" in inputs and "image" in outputs,
        "image_to_image": "image" in inputs and "image" in outputs,
        "function_calling": capabilities.tools,
        "reranker": capabilities.reranker,
    }
    said = {
        "architecture": modalities,
        "capabilities": {name: True for name, is_so in able.items() if is_so},
        "supported_parameters": ["tools", "tool_choice"] if capabilities.tools else [],
        "context_length": capabilities.context,
    }
    return {key: value for key, value in said.items() if value}
