"""Without `-workers` nothing of it is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_one_process_imports_none_of_it() -> None:
    source = (
        "import llamaswap_lib.main, sys; print([name for name in sys.modules if name.startswith('llamaswap_lib.w')])"
    )
    found = subprocess.run((sys.executable, "-c", source), cwd=ROOT, capture_output=True, text=True, check=True)
    assert "llamaswap_lib.wire" in found.stdout
    assert "llamaswap_lib.workers" not in found.stdout
