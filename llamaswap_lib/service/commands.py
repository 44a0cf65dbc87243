"""`llamaswap systemd` and `llamaswap launchd`: files for this installation on stdout, how to install them on stderr.

Runs on the main thread, once. Reads the configuration to know how long a stop may take; writes no file.
"""

from __future__ import annotations

import getpass
import grp
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from llamaswap_lib.config.load import load
from llamaswap_lib.config.own_command import own_words
from llamaswap_lib.service.launchd import agent_plist
from llamaswap_lib.service.systemd import service_unit, socket_unit

GPU_GROUPS = ("render", "video")  # whose members may open the GPUs of AMD and Intel


def print_systemd(
    files: Sequence[Path], flags: Sequence[str], listen: str, *, is_user: bool, run_as: str | None, is_socket: bool
) -> None:
    """Print the service, or with `is_socket` the socket, for a configuration that loads; raises ConfigError."""
    seconds = load(files).stop_seconds
    if is_socket:
        _print(socket_unit(listen.removeprefix(":")))
        kind = "socket"
    else:
        owner = None if is_user else run_as or os.environ.get("SUDO_USER") or getpass.getuser()
        port = int(listen.rpartition(":")[2])
        command = (*own_words(), *flags)
        _print(service_unit(command, seconds, run_as=owner, groups=_groups(), port=port))
        kind = "service"
    folder = "~/.config/systemd/user" if is_user else "/etc/systemd/system"
    manage = "systemctl --user" if is_user else "sudo systemctl"
    tee = f"mkdir -p {folder} && tee" if is_user else "sudo tee"
    _tell(
        f"To install it: put `| {tee} {folder}/llamaswap.{kind}` behind this command, then",
        f"    {manage} daemon-reload && {manage} enable --now llamaswap.{kind}",
    )
    if is_user:
        _tell("So that it runs while you are not logged in: loginctl enable-linger")


def print_launchd(files: Sequence[Path], flags: Sequence[str]) -> None:
    """Print the property list for a configuration that loads; raises ConfigError."""
    log = Path.home() / "Library" / "Logs" / "llamaswap.log"
    _print(agent_plist((*own_words(), *flags), load(files).stop_seconds, str(log)))
    place = "~/Library/LaunchAgents/llamaswap.plist"
    _tell(f"To install it: put `| tee {place}` behind this command, then", f"    launchctl load -w {place}")


def _groups() -> list[str]:
    found = []
    for name in GPU_GROUPS:
        with suppress(KeyError):
            found.append(grp.getgrnam(name).gr_name)
    return found


def _print(text: str) -> None:
    sys.stdout.write(text)


def _tell(*lines: str) -> None:
    sys.stderr.write("".join(f"{line}\n" for line in lines))
