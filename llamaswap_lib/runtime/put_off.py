"""Modules of Python that other modules of Python import, and few servers need, are loaded when somebody uses them.

Above all `ssl`: OpenSSL takes 4.7 MB of memory, and `http.client` imports it whether anything is encrypted or not.
`put_off` comes first: before anything is imported that imports these, at the start, while there is one thread. `load`
comes before TLS is used; any thread. A use without that loads the module, too.
"""

from __future__ import annotations

import sys
import threading
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

TLS, OPENSSL_HASHES = "ssl", "_hashlib"
UNUSED = (
    "bz2",
    "calendar",
    "html",
    "lzma",
    "mimetypes",
)  # of shutil, email.utils and http.server, for what nobody calls here
OWN_HASHES = ("_md5", "_sha1", "_sha3", "_blake2", "_sha2" if sys.version_info >= (3, 12) else "_sha256")
_HASHES = ("hashlib", "hmac")
_lock = threading.RLock()  # one may need another


class _PutOff(ModuleType):
    """Stands for the module of its name, and loads it when something is taken from it."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)  # those who look at all modules do not mean this one
        load(self.__name__)
        return getattr(sys.modules[self.__name__], name)


def put_off() -> None:
    """Do so for those that are not there yet; and have `hashlib` and `hmac` go without OpenSSL."""
    for name in (TLS, *UNUSED):
        if name not in sys.modules and (spec := find_spec(name)) is not None:
            sys.modules[name] = module = _PutOff(name)
            module.__spec__ = spec
            if spec.submodule_search_locations is not None:
                module.__path__ = spec.submodule_search_locations
    if not sys.modules.keys() & {OPENSSL_HASHES, *_HASHES} and all(map(find_spec, OWN_HASHES)):
        _import_hashes()


def _import_hashes() -> None:
    """With the code that Python has for them itself. Some distributions have left it out."""
    sys.modules[OPENSSL_HASHES] = None  # type: ignore[assignment] # it counts as missing, as in a Python without it
    try:
        for name in _HASHES:
            import_module(name)
    except ImportError:
        pass  # there are some that do not go without: they are imported later, with it
    finally:
        del sys.modules[OPENSSL_HASHES]


def load(name: str = TLS) -> None:
    """Now, and not at its first use. Raises ImportError, OSError or MemoryError, and may be tried again then."""
    with _lock:
        module = sys.modules.get(name)
        if isinstance(module, _PutOff):
            del sys.modules[name]
            try:
                loaded = import_module(name)
            except BaseException:
                sys.modules[name] = module
                raise
            vars(loaded).update({**vars(module), **vars(loaded)})  # modules within it, which came before
            vars(module).update(vars(loaded))  # there are others that have this one
