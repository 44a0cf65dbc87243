#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = ["pyyaml"]
# ///
"""Model hot-swapping for local AI servers: `python llamaswap.py -c config.yaml`."""

import gc
import sys

gc.disable()  # nothing that start-up makes is garbage; `serve` turns it on again when all is made

if sys.version_info < (3, 10):  # noqa: UP036 - an older Python gets a clear answer
    sys.exit("llamaswap needs Python 3.10 or later, this is " + sys.version.split()[0])

from llamaswap_lib.cli import main  # noqa: E402 - after the two above

if __name__ == "__main__":
    sys.exit(main())
