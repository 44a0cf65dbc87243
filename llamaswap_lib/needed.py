"""What only some configurations need of the program: imported where one does, before it is in force.

`Needed.bring` is the one place where the program imports something of its own once it serves: the thread that reloads
calls it before anything has changed, and the main thread at the start; never the loop, and no child. Guarantees: where
it raises ConfigError, all is as it was; what is imported is as it was when the program was started, for files that have
changed since may be those of another version.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import NamedTuple, NoReturn

from llamaswap_lib.config.schema import Config
from llamaswap_lib.errors import ConfigError
from llamaswap_lib.runtime.put_off import load

OTHER_FILES = (
    "the program's files have changed since it was started: upgrade llamaswap (`llamaswap upgrade`), or restart it"
)

Files = frozenset[tuple[str, int, int, int]]  # path, inode, size and time of each


class Part(NamedTuple):
    """`what` it is for, in words; its modules, which import the rest of it; and whether a configuration needs it."""

    what: str
    modules: tuple[str, ...]
    is_needed_by: Callable[[Config], bool]


def _speaks_tls(config: Config) -> bool:
    """Whether a connection to a model or a peer may be encrypted."""
    urls = [model.proxy for model in config.models.values()] + [peer.proxy for peer in config.peers.values()]
    is_announced = any(model.is_announced for model in config.models.values())  # nobody knows which address it will be
    return is_announced or any(url.lower().startswith("https:") for url in urls)


PARTS = (
    Part("peers", ("llamaswap_lib.fleet.watching",), lambda config: bool(config.peers)),
    Part(
        "routing by memory",
        ("llamaswap_lib.core.eviction.memory", "llamaswap_lib.memory.estimated"),
        lambda config: config.routing.router == "memory",
    ),
)


def bring_tls(config: Config) -> None:
    """Have OpenSSL there, if the configuration needs it. Raises ConfigError where that cannot be."""
    if _speaks_tls(config):
        try:
            load()
        except Exception as error:
            raise ConfigError(_failed("TLS", error)) from error


class Needed:
    """What has been imported for configurations so far."""

    def __init__(self, parts: Collection[Part] = PARTS, look: Callable[[], Files] | None = None) -> None:
        """`look`: how the files of the program are now, which is how they are imported, or not at all; see `Files`."""
        self._parts = parts
        self._look = look or files_of_program
        self._files: Files = frozenset()
        with suppress(OSError):  # then they count as changed
            self._files = self._look()

    def bring(self, config: Config) -> None:
        """Have all there that the configuration needs. Raises ConfigError where that cannot be."""
        for part in self._parts:
            missing = [name for name in part.modules if name not in sys.modules]
            if missing and part.is_needed_by(config):
                self._import(part.what, missing)
        bring_tls(config)

    def _import(self, what: str, names: Collection[str]) -> None:
        before = set(sys.modules)
        try:
            self._refuse_changed(what)
            for name in names:
                import_module(name)
            self._refuse_changed(what)
        except ConfigError:
            _forget(before, names)
            raise
        except Exception as error:
            _forget(before, names)
            raise ConfigError(_failed(what, error)) from error

    def _refuse_changed(self, what: str) -> None:
        if self._look() != self._files:
            raise ConfigError(f"{_not_there(what)}, and {OTHER_FILES}")


def _not_there(what: str) -> str:
    return f"the configuration needs a part of llamaswap that is not loaded yet ({what})"


def _failed(what: str, error: Exception) -> str:
    why = "not enough memory" if isinstance(error, MemoryError) else getattr(error, "strerror", None) or error
    return f"{_not_there(what)}, and it cannot be loaded: {why}; try again, or restart llamaswap"


def _forget(before: Collection[str], names: Collection[str]) -> None:
    """All that has come since, of the packages of these modules: who needs them next has them imported anew."""
    packages = {name.partition(".")[0] for name in names}
    for name in [name for name in sys.modules if name not in before and name.partition(".")[0] in packages]:
        module, (parent, _, last) = sys.modules.pop(name), name.rpartition(".")
        if getattr(sys.modules.get(parent), last, None) is module:
            delattr(sys.modules[parent], last)


def files_of_program() -> Files:
    """The modules, or the zip that they are in. Those that are gone are not in it; raises OSError for a shortage."""
    archive = getattr(__spec__.loader, "archive", None)
    paths = [archive] if archive else _modules_below(Path(__file__).parent)
    found = set()
    with suppress(FileNotFoundError, NotADirectoryError):
        for path in paths:
            stat = os.stat(path)  # noqa: PTH116 - hundreds of them
            found.add((str(path), stat.st_ino, stat.st_size, stat.st_mtime_ns))
    return frozenset(found)


def _modules_below(folder: Path) -> Iterator[str]:
    for place, folders, names in os.walk(folder, onerror=_tell):
        folders[:] = [name for name in folders if name not in ("__pycache__", "assets")]
        yield from (f"{place}/{name}" for name in names if name.endswith(".py"))


def _tell(error: OSError) -> NoReturn:
    raise error
