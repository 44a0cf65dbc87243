"""What a client is told when the machine that we run on refuses us something. Pure; any thread."""

from __future__ import annotations

import errno

from llamaswap_lib.errors import InsufficientStorage, MachineFault, OutOfResources

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


def fault_of(error: OSError, what: str) -> MachineFault:
    """The answer to an `error` that is neither the client's nor the upstream's; `what` says what could not be done."""
    message = f"{what}: {error.strerror or error}"
    if error.errno in NO_ROOM:
        return InsufficientStorage(message)
    if error.errno in SHORTAGES:
        return OutOfResources(message)
    return MachineFault(message)
