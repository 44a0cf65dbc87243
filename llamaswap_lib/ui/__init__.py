"""The web page: its files, as they are sent. Everything in `assets/` was written here, and nothing is built.

Any thread. The files are read at the first request for one of them, also out of a zip, and kept compressed.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
STYLES = "app.css"  # all of assets/styles in one file, in the order of their names
START = "main.js"
_IMPORT = re.compile(r'^(?:import|export) [^;]*?"(\.{1,2}/[^"]+\.js)";', re.MULTILINE | re.DOTALL)
_PAGES = re.compile(r'\bname: "([a-z]+)"')


@dataclass(frozen=True)
class Asset:
    """A file of the page: its content type, its bytes compressed by gzip, and its entity tag (quotes included)."""

    content_type: str
    compressed: bytes
    etag: str

    def plain(self) -> bytes:
        """Its bytes as they are."""
        return gzip.decompress(self.compressed)


@dataclass(frozen=True)
class Site:
    """All files of the page, by name (`pages/models.js`); `build` names this very set of them in addresses."""

    assets: dict[str, Asset]
    build: str
    pages: frozenset[str]  # the first segments below /ui/ that are pages
    document: Template
    preload: tuple[str, ...]  # the modules that main.js imports, directly or not

    def page(self, depth: int) -> bytes:
        """The document of a page whose address has so many slashes below `/ui/`."""
        base = "../" * depth or "./"
        folder = f"assets/{self.build}"
        links = "\n    ".join(f'<link rel="modulepreload" href="{folder}/{name}" />' for name in self.preload)
        return self.document.substitute(base=base, assets=folder, preload=links).encode()


@cache
def site() -> Site:
    """The files of this installation. Raises OSError where they cannot be read."""
    texts = dict(_texts(files(__name__) / "assets"))
    styles = sorted(name for name in texts if name.startswith("styles/"))
    texts[STYLES] = "\n".join(texts.pop(name) for name in styles)
    document = Template(texts.pop("index.html"))
    listing = "".join(f"{name}\0{text}\0" for name, text in sorted(texts.items())) + document.template
    assets = {name: asset_of(name, text.encode()) for name, text in texts.items()}
    build = hashlib.sha256(listing.encode()).hexdigest()[:12]
    return Site(assets, build, frozenset(_PAGES.findall(texts["pages.js"])), document, imports_of(START, texts))


def imports_of(start: str, texts: dict[str, str]) -> tuple[str, ...]:
    """The modules that are loaded with `start`, sorted; what it imports only when it is needed is not among them."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        name = waiting.pop()
        for target in _IMPORT.findall(texts[name]):
            module = _resolve(name, target)
            if module not in found:
                found.add(module)
                waiting.append(module)
    return tuple(sorted(found))


def _resolve(module: str, target: str) -> str:
    """The name of what `module` imports as `target`: `../view.js` in `parts/clock.js` is `view.js`."""
    parts = module.split("/")[:-1]
    for part in target.split("/"):
        if part == "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)


def _texts(folder: Traversable, prefix: str = "") -> list[tuple[str, str]]:
    found = []
    for entry in folder.iterdir():
        if entry.is_dir():
            found += _texts(entry, f"{prefix}{entry.name}/")
        elif entry.name.rpartition(".")[2] in TYPES:
            found.append((f"{prefix}{entry.name}", entry.read_text(encoding="utf-8")))
    return found


def asset_of(name: str, data: bytes) -> Asset:
    """A file with this content."""
    etag = f'"{hashlib.sha256(data).hexdigest()[:16]}"'
    return Asset(TYPES[name.rpartition(".")[2]], gzip.compress(data, 9, mtime=0), etag)
