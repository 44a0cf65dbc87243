"""Runs the program for the benchmark `activity`: its first argument is `on`, or `off` to note nothing of a request.

It imports nothing else, so that the memory of the process is that of the program.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from llamaswap_lib.runtime.put_off import put_off

OFF = "off"

if __name__ == "__main__":
    put_off()  # before the imports of the rest, as in the program
    if sys.argv[1] == OFF:
        untraced = import_module("llamaswap_lib.server.trace").UNTRACED
        vars(import_module("llamaswap_lib.endpoints.proxied"))["InFlight"] = lambda *_, **__: untraced
    sys.exit(import_module("llamaswap_lib.cli").main(sys.argv[2:]))
