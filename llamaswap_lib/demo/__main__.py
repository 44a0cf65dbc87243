"""`python -m llamaswap_lib.demo`, or `python llamaswap_lib/demo` from any folder."""

from __future__ import annotations

import os
import sys

if not __package__:  # started as a folder, which then stands first in the path
    sys.path[0] = os.path.realpath(__file__).rsplit(os.sep, 3)[0]  # pathlib would cost 5 ms

from llamaswap_lib.demo.server import main

if __name__ == "__main__":
    main(sys.argv[1:])
