"""The web page: its files, as they are sent. Everything in `assets/` was written here, and nothing is built.

Any thread. The files are read once, at the start, out of a folder or a zip: later another version may lie there. Which
files there are is found by following the names of modules from `main.js` on, and what `app.css` imports. They are
compressed when the first of them is asked for; until then all of them are kept in a fourth of their size, once the
server is there.
"""

from __future__ import annotations

import hashlib
import os
import re
import zlib
from functools import cache
from string import Template
from typing import NamedTuple

TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
DOCUMENT, START, STYLES, PAGES, ICON = "index.html", "main.js", "app.css", "pages.js", "favicon.svg"
_GZIP = 16 + zlib.MAX_WBITS
_END = "\0"  # of a name or a text: no file has one
_imports = re.compile(r'^(?:import|export) [^;]*?"(\.{1,2}/[^"]+\.js)";', re.MULTILINE | re.DOTALL)
_module = re.compile(r'"(\.{1,2}/[^"\s]+\.js)"')  # named in any way: imported, imported later, run by a worker
_style = re.compile(r'^@import "([^"]+\.css)";$', re.MULTILINE)
_page = re.compile(r'\bname: "([a-z]+)"')


class Asset(NamedTuple):
    """A file of the page: its content type, its bytes compressed by gzip, and its entity tag (quotes included)."""

    content_type: str
    compressed: bytes
    etag: str

    def plain(self) -> bytes:
        """Its bytes as they are."""
        return zlib.decompress(self.compressed, _GZIP)


class Site(NamedTuple):
    """All files of the page, by name (`pages/models.js`); `build` names this very set of them in addresses."""

    assets: dict[str, Asset]
    build: str
    pages: frozenset[str]  # the first segments below /ui/ that are pages
    document: Template
    preload: tuple[str, ...]  # the modules that are loaded with main.js, sorted
    more: dict[str, tuple[str, ...]]  # those that a page needs besides, by its name

    def page(self, depth: int, name: str = "") -> bytes:
        """The document of the page of this name, whose address has so many slashes below `/ui/`.

        It names all modules that the page needs, so that a browser fetches them together and not one after another.
        """
        folder = f"assets/{self.build}"
        names = (*self.preload, *self.more.get(name, ()))
        links = "\n    ".join(f'<link rel="modulepreload" href="{folder}/{each}" />' for each in names)
        return self.document.substitute(base="../" * depth or "./", assets=folder, preload=links).encode()


@cache
def site() -> Site:
    """The files of this installation. Raises OSError where they cannot be read."""
    parts = zlib.decompress(_packed()).decode().split(_END)
    texts = dict(zip(parts[::2], parts[1::2], strict=True))
    document = Template(texts.pop(DOCUMENT))
    assets = {name: asset_of(name, text.encode()) for name, text in sorted(texts.items())}
    listing = document.template + "".join(f"{name} {asset.etag}\n" for name, asset in assets.items())
    common = _follow(texts, START, _imports)
    pages = frozenset(_page.findall(texts[PAGES]))
    return Site(
        assets,
        build=hashlib.sha256(listing.encode()).hexdigest()[:12],
        pages=pages,
        document=document,
        preload=tuple(sorted(common - {START})),
        more={name: tuple(sorted(_follow(texts, f"pages/{name}.js", _imports) - common)) for name in pages},
    )


def read_files() -> None:
    """Now, and not when the first of them is asked for. Raises OSError where they cannot be read."""
    _texts()


def pack_files() -> None:
    """Keep what was read in less memory."""
    _packed()
    _texts.cache_clear()


@cache
def _packed() -> bytes:
    return zlib.compress(_END.join(part for item in _texts().items() for part in item).encode(), 1)


@cache
def _texts() -> dict[str, str]:
    """The files' texts, by name. Raises OSError where they cannot be read."""
    texts = {name: _read(name) for name in (DOCUMENT, "theme.js", ICON)}
    texts[STYLES] = _style.sub(lambda found: _read(found[1]), _read(STYLES))
    _follow(texts, START, _module)
    return texts


def asset_of(name: str, data: bytes) -> Asset:
    """A file with this name and this content."""
    compress = zlib.compressobj(9, zlib.DEFLATED, _GZIP)
    etag = f'"{hashlib.sha256(data).hexdigest()[:16]}"'
    return Asset(TYPES[name.rpartition(".")[2]], compress.compress(data) + compress.flush(), etag)


def _follow(texts: dict[str, str], start: str, names: re.Pattern[str]) -> set[str]:
    """The names of `start` and of what it names in this way, directly or not; their texts are put into `texts`."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        if name not in texts:
            texts[name] = _read(name)
        waiting += [_resolve(name, target) for target in names.findall(texts[name])]
    return found


def _resolve(module: str, target: str) -> str:
    """The name of what `module` imports as `target`: `../view.js` in `parts/clock.js` is `view.js`."""
    return os.path.normpath(f"{os.path.dirname(module)}/{target}").lstrip("/")  # noqa: PTH120 - a name, no path


def _read(name: str) -> str:
    """A file below assets/, also where the package is in a zip."""
    folder = os.path.dirname(__file__)  # noqa: PTH120 - the loader takes text
    data: bytes = __spec__.loader.get_data(os.path.join(folder, "assets", *name.split("/")))  # type: ignore[union-attr]  # noqa: PTH118
    return data.decode()
