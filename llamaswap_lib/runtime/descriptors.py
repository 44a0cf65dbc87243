"""What our own parent left open for us, and no child of ours is to get.

Any thread that starts a process, before it does.
"""

from __future__ import annotations

import functools
import os
from contextlib import suppress
from pathlib import Path


@functools.cache
def keep_inherited_descriptors() -> None:
    """Close on exec what our own parent left open for us (a lock, a socket); Python does it for all we open."""
    for path in list(Path("/dev/fd").iterdir()):
        if int(path.name) > 2:
            with suppress(OSError):  # the listing's own is closed already
                os.set_inheritable(int(path.name), False)
