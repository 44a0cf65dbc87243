"""The property list of launchd, for macOS. Pure."""

from __future__ import annotations

import plistlib
from collections.abc import Sequence
from math import ceil

LABEL = "llamaswap"
DESCRIPTORS = 65_536


def agent_plist(command: Sequence[str], folder: str, end_seconds: float, path: str, log: str) -> str:
    """The text of llamaswap.plist, to run `command` in `folder`.

    `path` is the PATH in which programs of models are looked for; `log` is the file that the output goes to.
    """
    limits = {"NumberOfFiles": DESCRIPTORS}
    return plistlib.dumps(
        {
            "Label": LABEL,
            "ProgramArguments": list(command),
            "WorkingDirectory": folder,
            "EnvironmentVariables": {"PATH": path},
            "RunAtLoad": True,
            "KeepAlive": {"SuccessfulExit": False},
            "ExitTimeOut": ceil(end_seconds),
            "SoftResourceLimits": limits,
            "HardResourceLimits": limits,
            "StandardOutPath": log,
            "StandardErrorPath": log,
        },
        sort_keys=False,
    ).decode()
