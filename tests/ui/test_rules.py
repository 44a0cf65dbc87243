"""Which models may run together, as the page reads it from the configuration."""

from __future__ import annotations

from typing import Any

from tests.ui.modules import call


def test_models_of_a_set_may_have_any_name(page: Any) -> None:
    sets = {"all": "constructor & valueOf | x", "more": "+all"}
    for text in sets.values():
        assert call(page, "pages/models/rules.js", "allows", text, ["constructor", "valueOf"], sets, {"x": "y"})
    assert call(page, "pages/models/rules.js", "allows", "x", ["y"], sets, {"x": "y"})
