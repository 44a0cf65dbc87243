"""What answers in place of a model, a selector or a pool that cannot: `fallback`, made once from the configuration.

Pure, any thread.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

from llamaswap_lib.config.fallbacks import chain_of, same
from llamaswap_lib.config.schema import Config


class Fallbacks:
    """By every name of this server that a request may have."""

    def __init__(self, config: Config) -> None:
        self._config = config
        names = chain(config.models, config.aliases, config.selectors, config.pools)
        self.by_name = {name: found for name in names if (found := chain_of(name, config))}

    def of(self, name: str, asked: Iterable[str], *, is_sent_on: bool = False) -> list[str]:
        """The names of the models, the first one first, without those that are `asked` before.

        `is_sent_on`: another llamaswap has chosen this one for the request, so it goes to no peer.
        """
        config, found = self._config, self.by_name.get(name, ())
        before = {same(one, config) for one in asked} if found else set()
        return [
            other
            for other in found
            if same(other, config) not in before and not (is_sent_on and config.resolve(other) is None)
        ]
