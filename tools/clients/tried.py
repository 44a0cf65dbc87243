"""What every script of this folder begins with: where the server is, and one line of output for each thing tried."""

from __future__ import annotations

import os
import shlex
import subprocess
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

URL = os.environ["LLAMASWAP_URL"]  # without a slash at its end
OPENAI = f"{URL}/v1"
HELLO: list[Any] = [{"role": "user", "content": "hello there"}]
SMALL, LARGE = "this is small", "this is large"  # what the demo models of config.yaml say
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
LAUNCHED = "a prompt with the settings that `launch --write` writes"
LIMIT = 400  # seconds for a command


@contextmanager
def tried(what: str) -> Iterator[None]:
    """Prints `ok WHAT`, or `failed WHAT: why`; what follows goes on either way."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - whatever a client raises is the finding
        traceback.print_exc()
        print(f"failed {what}: {type(error).__name__}: {' '.join(str(error).split())[:300]}", flush=True)
    else:
        print(f"ok {what}", flush=True)


def settings(agent: str, model: str) -> None:
    """Have `llamaswap launch` write the settings of an agent into the home of this client."""
    command(*shlex.split(os.environ["LLAMASWAP_COMMAND"]), "launch", agent, model, "--write")


def holds(text: str | None, expected: str) -> None:
    """Raises unless the text has what is expected in it."""
    if text is None or expected not in text:
        raise ValueError(f"no {expected!r} in {text!r}")


def command(*words: str, input: str | None = None, env: dict[str, str] | None = None) -> str:  # noqa: A002
    """The output of a command, which has to succeed."""
    return run(words, input, env).stdout


def run(
    words: Sequence[str], text: str | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """What a command printed; it has to succeed, and has no terminal."""
    ended = subprocess.run(
        words, input=text or "", env={**os.environ, **(env or {})}, capture_output=True, text=True, timeout=LIMIT,
        check=False,
    )  # fmt: skip
    if ended.returncode:
        raise ValueError(f"exit code {ended.returncode}: {(ended.stdout + ended.stderr)[-1500:]}")
    return ended
