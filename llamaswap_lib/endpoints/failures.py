"""How models fail, as clients are shown it beside their state: in the list of models, in events and with the queue.

A handler thread. Made of what the controller published: no wait, nothing woken.
"""

from __future__ import annotations

from typing import Any

from llamaswap_lib.app import App


def failures_of(app: App) -> dict[str, dict[str, Any]]:
    """By model: of those whose last load failed, or that keep dying, until a load succeeds or they are unloaded."""
    now = app.clock()
    return {
        model: {
            "message": failure.message,
            "since": app.wall_clock.text(failure.since),
            "tries": failure.tries,
            "retry_in": round(max(0.0, failure.until - now), 3),
        }
        for model, failure in app.controller.failing().items()
    }
