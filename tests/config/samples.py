"""The small files beside the tests, and the environment in which they are loaded."""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).parent
INVALID = sorted((HERE / "invalid").glob("*.yaml"))
VALID = sorted((HERE / "valid").glob("*.yaml"))
ENVIRONMENT = {
    "SECRET": "s3cret",
    "NAME": "from-env",
    "TWO_LINES": "a\nb",
    "PORT_TEXT": "nope",
    "QUOTES": 'he said "a\\b"',
}


def name_of(file: Path) -> str:
    return file.stem


def programs_in(folder: Path) -> str:
    """A PATH with a few programs that people start, and no others."""
    for name in ("llama-server", "docker", "sudo", "env", "nice", "vllm", "nohup", "sh", "bash"):
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    return str(folder)
