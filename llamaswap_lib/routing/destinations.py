"""Where a name leads: the model, what it is called there, and what is changed in a body on the way.

Pure, any thread. Made once from the configuration, so that a request costs one look-up.
"""

from __future__ import annotations

from itertools import chain
from typing import NamedTuple

from llamaswap_lib.config.schema import Config, Model
from llamaswap_lib.config.sections import Filters
from llamaswap_lib.routing.filters import BodyFilter, changes_of
from llamaswap_lib.routing.remote_model import Remote, remote_of


class Destination(NamedTuple):
    """A model, by one of its names."""

    model: Model | Remote
    sent_name: str  # what the model is called in the body; '' as it was asked for
    body_filter: BodyFilter | None  # of a JSON body


def destinations_of(config: Config) -> dict[str, Destination]:
    """By name: local models, their aliases, and models of peers where nothing of ours has the name."""
    found: dict[str, Destination] = {}
    for name, model_id in chain(((name, name) for name in config.models), config.aliases.items()):
        model = config.models[model_id]
        found.setdefault(name, Destination(model, model.use_model_name, _filter_of(model.filters, name)))
    for name in config.peer_models:
        offered = config.resolve_peer(name)
        if offered is not None and name not in config.selectors:
            body_filter = _filter_of(config.peers[offered.peer].filters, name)
            found[name] = Destination(remote_of(config, offered), offered.model, body_filter)
    return found


def _filter_of(filters: Filters, name: str) -> BodyFilter | None:
    changes = changes_of(filters, name)
    return BodyFilter(changes) if changes else None
