"""Runs the program for the benchmark `activity`: its first argument is `on`, or `off` to note nothing of a request.

It imports nothing else, so that the memory of the process is that of the program.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from llamaswap_lib.cli import main
from llamaswap_lib.endpoints import proxied
from llamaswap_lib.server.trace import UNTRACED

OFF = "off"

if __name__ == "__main__":
    if sys.argv[1] == OFF:
        vars(proxied)["InFlight"] = lambda *_, **__: UNTRACED
    sys.exit(main(sys.argv[2:]))
