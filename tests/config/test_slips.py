"""Slips of all kinds, each with everything that a person gets to read: `slips.txt` has them, to be read as a whole."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from llamaswap_lib.config.check import report
from llamaswap_lib.config.load import inspect_text
from llamaswap_lib.config.render import text_of
from tests.config.samples import HERE

PROGRAMS = ("llama-server", "docker", "sudo", "env", "vllm", "nohup", "sh", "bash")
SLIPS = re.findall(
    r"^=== (.+)\n\n((?:.*\n)+?)---\n((?:.*\n)+?)\n", (HERE / "slips.txt").read_text("utf-8"), re.MULTILINE
)


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A PATH with these programs and no others."""
    for name in PROGRAMS:
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    return str(tmp_path)


def test_no_slip_is_overlooked() -> None:
    assert len(SLIPS) == (HERE / "slips.txt").read_text("utf-8").count("=== ")
    assert len(SLIPS) > 35


@pytest.mark.parametrize(("name", "text", "told"), SLIPS, ids=[name for name, _, _ in SLIPS])
def test_a_person_reads_what_is_wrong_where_and_how_to_mend_it(path: str, name: str, text: str, told: str) -> None:
    assert text_of(report(inspect_text(text, "config.yaml", {}), {"PATH": path})) == told
