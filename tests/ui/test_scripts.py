"""The scripts and styles of the web page: format, style and types, by the tools of their field."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent


def test_scripts_and_styles_are_formatted_and_their_types_fit() -> None:
    if not (FOLDER / "node_modules").exists():
        pytest.skip("the tools are not installed: npm install --prefix tests/ui")
    done = subprocess.run([FOLDER / "check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
