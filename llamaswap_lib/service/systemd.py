"""The units of systemd: the service, and the socket that lets a restart refuse no connection. Pure.

Hardened as far as GPUs allow. Left out on purpose: PrivateDevices, DevicePolicy and ProtectClock (they hide the GPUs),
MemoryDenyWriteExecute (CUDA and ROCm compile at run time), ProtectHome (models and their caches lie in homes),
RestrictNamespaces (podman and apptainer need them), RestrictRealtime (llama-server has --prio).
"""

from __future__ import annotations

from collections.abc import Sequence

STOP_MARGIN = 15  # seconds beyond what a stop may take, for what hangs in the kernel
PORT_OF_USERS = 1024
NAME = "llamaswap"

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


def service_unit(
    command: Sequence[str],
    stop_seconds: float,
    *,
    run_as: str | None,
    groups: Sequence[str] = (),
    port: int = 8080,
) -> str:
    """The text of llamaswap.service; `run_as` is its user, None for a unit of the user's own manager.

    `stop_seconds`: the longest that an orderly stop takes. `groups` own the devices of the GPUs.
    """
    is_system = run_as is not None
    network = "After=network-online.target\nWants=network-online.target\n" if is_system else ""
    return f"""\
[Unit]
Description=llamaswap: one address for all local AI servers
{network}
[Service]
Type=notify
NotifyAccess=main
ExecStart={" ".join(map(quoted, command))}
Restart=on-failure
RestartSec=2
# Restarted when its loop or its controller answers no more.
WatchdogSec=30
# SIGTERM for llamaswap alone: it lets requests in progress finish, and stops the models itself.
KillMode=mixed
# The longest orderly stop, by shutdownTimeout and the unloadTimeouts of the configuration.
TimeoutStopSec={int(stop_seconds) + STOP_MARGIN}
LimitNOFILE=65536
{_system_part(run_as, groups, port) if run_as is not None else ""}
[Install]
WantedBy={"multi-user.target" if is_system else "default.target"}
"""


def _system_part(run_as: str, groups: Sequence[str], port: int) -> str:
    lines = [f"User={run_as}"]
    if groups:
        lines.append(f"SupplementaryGroups={' '.join(groups)}")
    if port < PORT_OF_USERS:
        lines.append("AmbientCapabilities=CAP_NET_BIND_SERVICE")
    lines.append(f"CapabilityBoundingSet={'CAP_NET_BIND_SERVICE' if port < PORT_OF_USERS else ''}")
    return "\n".join([*lines, _HARDENING, ""])


def socket_unit(listen: str) -> str:
    """The text of llamaswap.socket; `listen` as systemd writes it: `8080`, `127.0.0.1:8080`, `[::1]:8080`."""
    return f"""\
[Unit]
Description=llamaswap: the port, kept open while the service restarts

[Socket]
ListenStream={listen}
Backlog=1024
NoDelay=yes

[Install]
WantedBy=sockets.target
"""


def quoted(word: str) -> str:
    """A word of ExecStart: `%` and `$` stand for themselves, blanks and quotes do not part it."""
    word = word.replace("\\", "\\\\").replace("%", "%%").replace("$", "$$")
    is_plain = word and not any(char.isspace() or char in "\"';" for char in word)
    return word if is_plain else '"' + word.replace('"', '\\"') + '"'
