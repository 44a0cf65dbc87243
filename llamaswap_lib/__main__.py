"""`python -m llamaswap_lib`, as `python llamaswap.py`."""

from __future__ import annotations

import sys

from llamaswap_lib.cli import main

if __name__ == "__main__":
    sys.exit(main())
