"""`python -m tools.generate`: writes what comes from `schema.py`, `errors.py` and the commands.

Owns which file holds what, from the root of the repository. A test compares them with what they ought to hold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from tools import command_reference, config_reference, config_schema, error_reference

ROOT = Path(__file__).parents[1]
FILES: Mapping[str, Callable[[], str]] = {
    "config-schema.json": config_schema.text,
    "docs/command-line.md": command_reference.text,
    "docs/configuration.md": config_reference.text,
    "docs/http.md": error_reference.text,
    "llamaswap_lib/ui/assets/pages/config/keys.js": config_schema.module,
}


def write(root: Path) -> None:
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text(), encoding="utf-8")


if __name__ == "__main__":
    write(ROOT)
