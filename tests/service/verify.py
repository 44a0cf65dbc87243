"""What `systemd-analyze` says of units."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

needs_systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze, of systemd")


def verify(folder: Path, *, is_user: bool) -> str:
    """All that is wrong with the units in the folder; '' for nothing."""
    units = [path for path in folder.iterdir() if path.suffix in (".service", ".socket")]
    command = ["systemd-analyze", "verify", "--man=no", *(["--user"] if is_user else [])]
    done = subprocess.run(
        [*command, *map(str, units)],
        capture_output=True, text=True, timeout=60, check=False, env={**os.environ, "XDG_RUNTIME_DIR": str(folder)},
    )  # fmt: skip
    return done.stdout + done.stderr + (f"exit code {done.returncode}" if done.returncode else "")
