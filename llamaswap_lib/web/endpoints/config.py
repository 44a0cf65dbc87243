"""The configuration of the server.

Any http thread. It is read and taken over by `App.reload`, on the thread of the request.
"""

from __future__ import annotations

from llamaswap_lib.errors import BadRequest, ConfigError
from llamaswap_lib.web.answers import answer_not_found
from llamaswap_lib.web.exchange import Exchange
from llamaswap_lib.web.routes import Route


def serve_reload(exchange: Exchange, _route: Route) -> None:
    """POST /api/config/reload: reads the files again, and answers with what that changed."""
    reload = exchange.app.reload
    if reload is None:
        answer_not_found(exchange)
        return
    try:
        changed = reload()
    except ConfigError as error:
        raise BadRequest(f"the new configuration cannot be used, the old one goes on:\n{error}") from None
    exchange.answer_json(changed)
