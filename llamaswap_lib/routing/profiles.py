"""Which profile is active: names that lead elsewhere while it is.

Any thread. One attribute says it, replaced whole, so a request sees one profile or the other and never a mixture. None
is active after start. After a reload the active one stays, if it is still there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from llamaswap_lib.config.sections import Profile
from llamaswap_lib.errors import NotFound


class Activation:
    """The name of the active profile, for the profiles of every configuration."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self.name: str | None = None

    def change(self, name: str | None) -> None:
        before, self.name = self.name, name
        if name != before:
            self._on_change()


class Profiles:
    """The profiles of one configuration, of which one is active or none."""

    def __init__(self, profiles: Mapping[str, Profile], activation: Activation) -> None:
        self._profiles = profiles
        self._activation = activation

    def with_profiles(self, profiles: Mapping[str, Profile]) -> Profiles:
        """Those of another configuration."""
        return Profiles(profiles, self._activation)

    @property
    def active(self) -> str | None:
        name = self._activation.name
        return name if name in self._profiles else None

    def activate(self, name: str | None) -> None:
        """Make `name` the active one, None or '' for none; raises NotFound."""
        if name and name not in self._profiles:
            raise NotFound(f'profile "{name}" not found')
        self._activation.change(name or None)

    def forget_missing(self) -> None:
        """These are the profiles from now on: none is active if the active one is not among them."""
        if self.active is None:
            self._activation.change(None)

    def pins(self) -> Mapping[str, str]:
        """Of the active profile: name -> where it leads, '' for a name that is switched off."""
        active = self._activation.name
        profile = None if active is None else self._profiles.get(active)
        return {} if profile is None else profile.pins
