"""Which container a process is in, and whose command started it. Pure.

`docker run` asks a service, so what runs in the container descends from that, and not from the command. What both have
is the end of their arguments: those behind the image's name are handed to the program inside.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

CLIENTS = frozenset(("docker", "podman", "nerdctl", "docker-compose", "podman-compose"))
LEAST_WORDS = 2  # that both ends must have in common; one alone (`serve`) may be the end of any command
# docker/ID, docker-ID.scope, libpod-ID.scope, cri-containerd-ID.scope, kubepods/.../ID, lxc.payload.NAME
_ID = re.compile(r"(?:^|[/-])([0-9a-f]{64})(?:\.scope)?(?:/|$)", re.MULTILINE)


def id_of(cgroup: str) -> str:
    """Of /proc/PID/cgroup; '' for a process in no container."""
    found = _ID.search(cgroup)
    return found[1] if found else ""


def is_client(argv: Sequence[str]) -> bool:
    """Whether the command has containers run by a service."""
    return bool(argv) and argv[0].rpartition("/")[2] in CLIENTS


def started_by(clients: Mapping[int, Sequence[str]], argv: Sequence[str]) -> int | None:
    """The one whose arguments end as those of the process; None where none does, or two do as well."""
    ends = sorted(((_common_end(client, argv), run) for run, client in clients.items()), reverse=True)
    if not ends or ends[0][0] < LEAST_WORDS or (len(ends) > 1 and ends[1][0] == ends[0][0]):
        return None
    return ends[0][1]


def _common_end(one: Sequence[str], other: Sequence[str]) -> int:
    """How many words, without the program's name, are the same at the end of both."""
    count = 0
    for word, same in zip(reversed(one[1:]), reversed(other[1:])):  # noqa: B905 - one may be longer
        if word != same:
            break
        count += 1
    return count
