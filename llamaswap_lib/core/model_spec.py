"""What the configuration says of a model, as far as decisions go by it. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """`ttl` in seconds, 0 for never; `unload_timeout` in seconds.

    `is_announced`: a run is queued until it says where it listens, for `queue_timeout` seconds at most; 0: no bound.
    `can_sleep`: its server can be put to sleep in place of being stopped; no model is both.
    `engine`: what it shares with others that run elsewhere, as it does, '' for nothing. `makes_room`: if it is idle it
    goes for one of them that is queued. `lost_after`: seconds for which its server, on another machine, may be out of
    reach; 0: it is not looked at.
    """

    priority: int = 0
    ttl: float = 0.0
    unload_timeout: float = 10.0
    is_announced: bool = False
    queue_timeout: float = 0.0
    can_sleep: bool = False
    engine: str = ""
    makes_room: bool = False
    lost_after: float = 0.0
