"""OpenSSL, which takes 4 MB of memory and a tenth of the start, is loaded only where something is encrypted.

`put_off` comes first: before anything is imported that imports `ssl` or `hashlib`, at the start, while there is one
thread. `load` comes before a configuration is in force that needs TLS; any thread. Whoever uses `ssl` all the same gets
it then.
"""

from __future__ import annotations

import sys
import threading
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

TLS, OPENSSL_HASHES = "ssl", "_hashlib"
_HASHES = ("hashlib", "hmac")
OWN_HASHES = ("_md5", "_sha1", "_sha3", "_blake2", "_sha2" if sys.version_info >= (3, 12) else "_sha256")
_lock = threading.Lock()


class _PutOff(ModuleType):
    """Stands for the module of its name, and loads it when something is taken from it."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)  # those who look at all modules do not mean this one
        load()
        return getattr(sys.modules[self.__name__], name)


def put_off() -> None:
    """Have `ssl` loaded at its first use, and `hashlib` and `hmac` go without OpenSSL, where they are not there yet."""
    if TLS not in sys.modules and find_spec(TLS) is not None:
        sys.modules[TLS] = _PutOff(TLS)
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


def load() -> None:
    """Now, and not at its first use. Raises ImportError, OSError or MemoryError, and may be tried again then."""
    with _lock:
        put_off = sys.modules.get(TLS)
        if isinstance(put_off, _PutOff):
            del sys.modules[TLS]
            try:
                vars(put_off).update(vars(import_module(TLS)))  # there are modules that have this one
            except BaseException:
                sys.modules[TLS] = put_off
                raise
