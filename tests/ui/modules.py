"""Modules of the page, called in the browser: for those parts of it that need no page."""

from __future__ import annotations

from typing import Any

_CALL = """async ([name, what, given]) => {
    const start = document.querySelector("script[type=module]").src;
    const module = await import(new URL(name, start).href);
    const value = module[what](...given);
    return typeof value?.next === "function" ? [...value] : value;
}"""


def call(page: Any, module: str, function: str, *arguments: Any) -> Any:
    """What `function` of a module (`parts/ansi.js`) returns, as JSON; a generator as a list."""
    return page.evaluate(_CALL, [module, function, list(arguments)])
