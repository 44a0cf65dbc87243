"""Whether several processes (`-workers`) can serve a configuration. Pure."""

from __future__ import annotations

from llamaswap_lib.config.schema import Config

MOST_NAMED = 3  # models


def why_not_with_workers(config: Config) -> str:
    """Why they cannot, '' if they can."""
    if not config.models:
        return ""
    names = ", ".join(list(config.models)[:MOST_NAMED])
    return f"-workers is for a configuration with peers only, and this one has models ({names})"
