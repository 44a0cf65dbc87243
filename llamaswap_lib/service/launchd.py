"""The property list of launchd, for macOS. Pure."""

from __future__ import annotations

import plistlib
from collections.abc import Sequence

LABEL = "llamaswap"
DESCRIPTORS = 65_536


def agent_plist(command: Sequence[str], stop_seconds: float, log: str) -> str:
    """The text of llamaswap.plist; `log` is the file that its output goes to."""
    limits = {"NumberOfFiles": DESCRIPTORS}
    return plistlib.dumps(
        {
            "Label": LABEL,
            "ProgramArguments": list(command),
            "RunAtLoad": True,
            "KeepAlive": {"SuccessfulExit": False},
            "ExitTimeOut": int(stop_seconds) + 15,
            "SoftResourceLimits": limits,
            "HardResourceLimits": limits,
            "StandardOutPath": log,
            "StandardErrorPath": log,
        },
        sort_keys=False,
    ).decode()
