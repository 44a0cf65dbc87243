"""What our own parent left open for us, and no child of ours is to get.

Any thread that starts a process, before it does.
"""

from __future__ import annotations

import functools
import os
import resource
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_MOST = 65_536  # what a parent leaves open has low numbers


@functools.cache
def keep_inherited_descriptors() -> None:
    """Close on exec what our own parent left open for us (a lock, a socket); Python does it for all we open."""
    for descriptor in _open_descriptors():
        if descriptor > 2:
            with suppress(OSError):  # closed already, as the listing's own is
                os.set_inheritable(descriptor, False)


def _open_descriptors() -> Iterable[int]:
    """Every one that is open, and others."""
    try:
        return [int(path.name) for path in Path("/dev/fd").iterdir()]
    except OSError:  # on Linux it leads to /proc, which a sandbox may not have: then what there can be
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return range(_MOST if soft == resource.RLIM_INFINITY else min(soft, _MOST))
