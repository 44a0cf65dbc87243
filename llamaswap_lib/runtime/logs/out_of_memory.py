"""Words of a server's output that mean that a device had too little memory for it. Pure.

They are those of llama.cpp on CUDA, ROCm, Vulkan, SYCL and Metal, of PyTorch and vLLM, of C++, Python and the system.
A server may say such words and go on: it tries with less, or does without what it could not have. Those do not count.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from llamaswap_lib.printable import bounded, printable

MEANS_IT = re.compile(
    r"out[ _]?of[ _]?(?:device[ _]?|host[ _]?|gpu |video )?memory"
    r"|(?:cuda|hip)malloc(?:async)? failed|alloc_failed|failed to (?:re)?allocate|(?:re)?alloc(?:ation)? failed"
    r"|(?:not enough|insufficient) (?:device |free |gpu |video )?memory|cannot allocate memory|bad_alloc|memoryerror"
    r"|free memory on device .{1,200} is less than desired",
    re.IGNORECASE,
)
# The server does without: memory that the system may not swap, and buffers that the driver would reach faster.
DOES_WITHOUT = re.compile(r"mlock|pinned memory|host_malloc|falling back", re.IGNORECASE)
TRIES_AGAIN = re.compile(r"retrying without pipeline parallelism", re.IGNORECASE)
MOST_BYTES = 256  # of a line; it stands in the reason of a failure
LINES = 120  # of the output, the last ones: what was said long before the end is not why it ended


def out_of_memory(lines: Sequence[str]) -> str:
    """The first of the last lines that means it, fit to show; '' if none does.

    What came before another attempt does not count.
    """
    lines = lines[-LINES:]
    begin = max((place for place, line in enumerate(lines) if TRIES_AGAIN.search(line)), default=-1)
    for line in lines[begin + 1 :]:
        if MEANS_IT.search(line) and not DOES_WITHOUT.search(line):
            return bounded(printable(line.strip()), MOST_BYTES)
    return ""
