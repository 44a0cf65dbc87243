"""`llamaswap systemd` and `llamaswap launchd`: files for this installation, and how to install them.

Runs on the main thread, once. Reads the configuration to know how long a stop may take and which programs are needed;
writes no file, and prints nothing.
"""

from __future__ import annotations

import getpass
import grp
import ipaddress
import os
import pwd
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from llamaswap_lib.command_words import own_words
from llamaswap_lib.config.editor import refuse_open_editing
from llamaswap_lib.config.for_workers import why_not_with_workers
from llamaswap_lib.config.load import load
from llamaswap_lib.config.schema import Config
from llamaswap_lib.errors import ConfigError
from llamaswap_lib.service.launchd import LABEL, agent_plist
from llamaswap_lib.service.systemd import Service, service_unit, socket_unit

SERVICE, SOCKET = "llamaswap.service", "llamaswap.socket"
GPU_GROUPS = ("render", "video")  # whose members may open the GPUs of AMD and Intel
OWN_FOLDERS = ("/tmp/", "/var/tmp/")  # noqa: S108 - of which the service does not see what others have there
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # what systemd sets


class Installation(NamedTuple):
    """A file of a service manager."""

    text: str
    how: Sequence[str]  # lines that say how to install it


def service(
    files: Sequence[Path],
    flags: Sequence[str],
    address: tuple[str, int],
    folder: Path,
    *,
    is_user: bool,
    run_as: str | None,
) -> Installation:
    """The service for a configuration that can be served, to run in `folder`; raises ConfigError.

    `flags` are those of the server; `is_user`: for the user's own manager; `run_as`: a user, None for who asks.
    """
    host, port = address
    config = _servable(files, flags, host)
    owner = None if is_user else _user(run_as)
    unit = service_unit(
        Service(
            command=(*own_words(), *flags),
            folder=str(folder),
            end_seconds=config.end_seconds,
            run_as=owner,
            port=port,
            groups=_groups(),
            path=_path_needed(config),
            nvidia_modprobe=shutil.which("nvidia-modprobe", path=SYSTEM_PATH) or "",
        )
    )
    how = [*_how_to_install("service", is_user=is_user), f"    {_systemctl(is_user)} enable --now {SERVICE}"]
    if is_user:
        how.append("So that it runs while you are not logged in: loginctl enable-linger")
    if owner is not None and any(word.startswith(OWN_FOLDERS) for word in flags):
        private = "The service has a /tmp and a /var/tmp of its own (PrivateTmp)"
        how.append(f"{private}: put the files of the command elsewhere.")
    if owner == "root":
        how.append("It runs as root, and so does every model; -run-as NAME names another user.")
    return Installation(unit, how)


def socket(host: str, port: int, *, is_user: bool) -> Installation:
    """The socket for the service; raises ConfigError for a host that systemd takes for something else."""
    manage = _systemctl(is_user)
    how = (
        *_how_to_install("socket", is_user=is_user),
        " && ".join((f"    {manage} stop {SERVICE}", f"{manage} enable --now {SOCKET}", f"{manage} start {SERVICE}")),
        "It takes the place of -listen in the service, whose text stays as it is.",
    )
    return Installation(socket_unit(_listen_stream(host, port)), how)


def agent(files: Sequence[Path], flags: Sequence[str], host: str, folder: Path, home: Path) -> Installation:
    """The property list for a configuration that can be served, to run in `folder`; raises ConfigError."""
    config = _servable(files, flags, host)
    log = home / "Library" / "Logs" / "llamaswap.log"
    command, path = (*own_words(), *flags), os.environ.get("PATH", SYSTEM_PATH)
    text = agent_plist(command, str(folder), config.end_seconds, path, str(log))
    place = f"~/Library/LaunchAgents/{LABEL}.plist"
    how = (
        f"To install it: put `> {place}` behind this command, then",
        f"    launchctl bootstrap gui/$(id -u) {place}",
        f"To end it for good: launchctl bootout gui/$(id -u)/{LABEL}",
    )
    return Installation(text, how)


def _servable(files: Sequence[Path], flags: Sequence[str], host: str) -> Config:
    """The configuration, if it can be served with these flags; raises ConfigError."""
    config = load(files)
    if "-allow-config-edit" in flags:
        refuse_open_editing(config.api_keys, host)
    if "-workers" in flags and (why := why_not_with_workers(config)):
        raise ConfigError(why)
    return config


def _how_to_install(kind: str, *, is_user: bool) -> tuple[str, str]:
    folder = "~/.config/systemd/user" if is_user else "/etc/systemd/system"
    tee = f"(mkdir -p {folder} && tee {folder}/llamaswap.{kind})" if is_user else f"sudo tee {folder}/llamaswap.{kind}"
    return f"To install it: put `| {tee}` behind this command, then", f"    {_systemctl(is_user)} daemon-reload"


def _systemctl(is_user: bool) -> str:
    return "systemctl --user" if is_user else "sudo systemctl"


def _user(run_as: str | None) -> str:
    """A user of this machine: the one that is named, or who asks, behind `sudo` too; raises ConfigError."""
    name = run_as or os.environ.get("SUDO_USER") or _asking_user()
    try:
        return pwd.getpwnam(name).pw_name
    except KeyError:
        raise ConfigError(f"-run-as: there is no user {name!r} on this machine") from None


def _asking_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # which of them is told by the version of Python
        raise ConfigError(f"-run-as: the user {os.getuid()} has no name on this machine; name another one") from None


def _groups() -> list[str]:
    found = []
    for name in GPU_GROUPS:
        with suppress(KeyError):
            found.append(grp.getgrnam(name).gr_name)
    return found


def _path_needed(config: Config) -> str:
    """Our own PATH, if some model's program is found there and not where systemd looks; else ''."""
    programs = {model.argv[0] for model in config.models.values() if model.argv}
    own_path = os.environ.get("PATH", "")
    is_needed = any(shutil.which(name) and not shutil.which(name, path=SYSTEM_PATH) for name in programs)
    return own_path if is_needed else ""


def _listen_stream(host: str, port: int) -> str:
    """As `ListenStream=` has it; a name would be taken for the path of another kind of socket."""
    if not host:
        return str(port)
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise ConfigError(f"-listen: a socket unit needs an IP address or none, got {host!r}") from None
    return f"[{host}]:{port}" if address.version == 6 else f"{host}:{port}"
