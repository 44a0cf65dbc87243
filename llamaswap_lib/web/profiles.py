"""Which profile is active: names that lead elsewhere while it is.

Any thread. One attribute says it, replaced whole, so a request sees one profile or the other and never a mixture. None
is active after start.
"""

from __future__ import annotations

from collections.abc import Mapping

from llamaswap_lib.config.schema import Profile
from llamaswap_lib.errors import NotFound
from llamaswap_lib.web.changes import Changes, Topic


class Profiles:
    """The profiles of the configuration, of which one is active or none."""

    def __init__(self, profiles: Mapping[str, Profile], changes: Changes) -> None:
        self._profiles = profiles
        self._changes = changes
        self._active: str | None = None

    @property
    def active(self) -> str | None:
        return self._active

    def activate(self, name: str | None) -> None:
        """Make `name` the active one, None or '' for none; raises NotFound."""
        if name and name not in self._profiles:
            raise NotFound(f'profile "{name}" not found')
        before, self._active = self._active, name or None
        if self._active != before:
            self._changes.note(Topic.PROFILE)

    def pins(self) -> Mapping[str, str]:
        """Of the active profile: name -> where it leads, '' for a name that is switched off."""
        active = self._active
        return {} if active is None else self._profiles[active].pins
