"""The units of systemd: the service, and the socket that lets a restart refuse no connection. Pure.

Hardened as far as GPUs and what starts models allow. Left out on purpose: PrivateDevices, DevicePolicy and ProtectClock
(they hide the GPUs), MemoryDenyWriteExecute (CUDA, ROCm and PyTorch compile at run time), ProtectHome (models and their
caches lie in homes), RestrictNamespaces and SystemCallFilter (containers), RestrictRealtime (llama-server has --prio).
NoNewPrivileges, which most of the others imply, keeps nvidia-modprobe from loading what CUDA needs when it is first
used, so that is done before the start.

`Type=notify`, not `notify-reload`: systemd has that since 253, Debian 12 has 252, and an unknown type would be ignored.
`RELOADING=1` is understood with both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

PORT_OF_USERS = 1024

_HARDENING = """\
NoNewPrivileges=yes
ProtectSystem=full
PrivateTmp=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
LockPersonality=yes
RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallArchitectures=native
UMask=0027"""


@dataclass(frozen=True, slots=True)
class Service:
    """What a unit is written for."""

    command: Sequence[str]
    folder: str  # to run in
    end_seconds: float  # the longest that an orderly end takes, by the configuration
    run_as: str | None = None  # its user; None for a unit of the user's own manager
    port: int = 8080
    groups: Sequence[str] = ()  # that own the devices of GPUs
    path: str = ""  # PATH, '' for what systemd sets
    nvidia_modprobe: str = ""  # where that program lies; '' for nowhere


def service_unit(service: Service) -> str:
    """The text of llamaswap.service."""
    is_system = service.run_as is not None
    network = "After=network-online.target\nWants=network-online.target\n" if is_system else ""
    env_file = "/etc/llamaswap.env" if is_system else "%h/.config/llamaswap.env"
    path = f"Environment={_quoted(f'PATH={service.path}')}\n" if service.path else ""
    return f"""\
[Unit]
Description=llamaswap: one address for all local AI servers
{network}
[Service]
Type=notify
NotifyAccess=all
WorkingDirectory=-{_percent(service.folder)}
{path}# Lines NAME=value, for ${{env.NAME}} in the configuration; the file may be missing.
EnvironmentFile=-{env_file}
ExecStart={" ".join(map(_command_word, service.command))}
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
RestartSec=2
# Restarted when one of the threads that everything depends on hangs.
WatchdogSec=30
# SIGTERM for llamaswap alone: it lets requests in progress finish, and stops the models itself.
KillMode=mixed
# The longest orderly end, by shutdownTimeout and the unloadTimeouts: print the unit again when you change them.
TimeoutStopSec={ceil(service.end_seconds)}
# A model that is killed for want of memory is started again by llamaswap; the others go on.
OOMPolicy=continue
LimitNOFILE=65536
LimitMEMLOCK=infinity
{_system_part(service) if is_system else ""}
[Install]
WantedBy={"multi-user.target" if is_system else "default.target"}
"""


def _system_part(service: Service) -> str:
    is_low = service.port < PORT_OF_USERS
    lines = [f"User={service.run_as}"]
    if service.groups:
        lines.append(f"SupplementaryGroups={' '.join(service.groups)}")
    if service.nvidia_modprobe:
        lines.append(f"ExecStartPre=-+{_command_word(service.nvidia_modprobe)} -c 0 -u")
    if is_low:
        lines.append("AmbientCapabilities=CAP_NET_BIND_SERVICE")
    lines.append(f"CapabilityBoundingSet={'CAP_NET_BIND_SERVICE' if is_low else ''}")
    return "\n".join([*lines, _HARDENING, ""])


def socket_unit(listen: str) -> str:
    """The text of llamaswap.socket; `listen` as systemd writes it: `8080`, `127.0.0.1:8080`, `[::1]:8080`."""
    return f"""\
[Unit]
Description=llamaswap: the port, kept open while the service restarts

[Socket]
ListenStream={listen}
BindIPv6Only=both
Backlog=1024
NoDelay=yes

[Install]
WantedBy=sockets.target
"""


def _command_word(word: str) -> str:
    """A word of ExecStart: `%` and `$` stand for themselves, blanks and quotes do not part it."""
    return _quoted(word.replace("$", "$$"))


def _quoted(word: str) -> str:
    word = _percent(word.replace("\\", "\\\\"))
    is_plain = word and not any(char.isspace() or char in "\"';" for char in word)
    return word if is_plain else '"' + word.replace('"', '\\"') + '"'


def _percent(text: str) -> str:
    return text.replace("%", "%%")
