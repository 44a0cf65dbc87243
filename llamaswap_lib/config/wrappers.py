"""What a command really starts after `sudo`, `env A=b`, `nice -n 5` and the like; and where its words are read.

Owns what is known of such programs by name: which options of theirs take a word, which programs carry the rest of their
words to another place (a container, another machine), and which hand a word to a shell. Pure. An unknown program counts
as one of this machine that reads its own words.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from llamaswap_lib.command_words import is_command_option

ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
SHELLS = frozenset(("sh", "bash", "zsh", "dash", "ash", "ksh", "fish"))
# Their words mean something in a container or on another machine.
ELSEWHERE = frozenset(
    (
        *(
            "docker",
            "podman",
            "nerdctl",
            "docker-compose",
            "podman-compose",
            "lxc",
            "lxc-attach",
            "incus",
            "machinectl",
        ),
        *("apptainer", "singularity", "enroot", "udocker", "charliecloud", "ch-run", "kubectl", "oc", "crictl", "ctr"),
        *("ssh", "autossh", "mosh", "srun", "sbatch", "salloc", "wsl", "wsl.exe", "limactl", "multipass", "vagrant"),
        *("flatpak", "flatpak-spawn", "distrobox", "distrobox-enter", "toolbox", "chroot", "bwrap", "firejail"),
        *("systemd-nspawn", "nsenter", "adb"),
    )
)
# Their words are read by a shell after all: one of another machine, or of another system.
SHELLS_ELSEWHERE = frozenset(
    ("ssh", "autossh", "mosh", "wsl", "wsl.exe", "adb", "su", "cmd", "cmd.exe", "powershell", "powershell.exe", "pwsh")
)


class _Wrapper(NamedTuple):
    """A program that starts the one behind its own words."""

    with_word: frozenset[str] = frozenset()  # options behind which one more word belongs to it
    words: int = 0  # how many words it wants before the program


def _wrapper(with_word: str = "", words: int = 0) -> _Wrapper:
    return _Wrapper(frozenset(with_word.split()), words)


_WRAPPERS = {
    "sudo": _wrapper("-u --user -g --group -h --host -p --prompt -C -r -t -T -D --chdir -R --chroot"),
    "doas": _wrapper("-u -C"),
    "env": _wrapper("-u --unset -C --chdir"),
    "nice": _wrapper("-n --adjustment"),
    "ionice": _wrapper("-c --class -n --classdata"),
    "chrt": _wrapper("-T -P -D", words=1),
    "taskset": _wrapper(words=1),
    "numactl": _wrapper("-N --cpunodebind -C --physcpubind -m --membind -i --interleave -p --preferred -w"),
    "timeout": _wrapper("-s --signal -k --kill-after", words=1),
    "stdbuf": _wrapper("-i -o -e --input --output --error"),
    "time": _wrapper("-o --output -f --format"),
    "nohup": _wrapper(),
    "setsid": _wrapper(),
    "unbuffer": _wrapper(),
    "prlimit": _wrapper(),
    "sshpass": _wrapper("-p -f -d -P"),
    "cgexec": _wrapper("-g"),
    "systemd-run": _wrapper("-p --property -u --unit -M -E --setenv --slice --uid --gid --description"),
    "systemd-inhibit": _wrapper("--what --who --why --mode"),
}


class Started(NamedTuple):
    """What a command starts, by the numbers of its words."""

    programs: tuple[int, ...]
    """Words that name programs, each started by the one before."""
    script: int | None
    """The word that a shell reads, wherever that runs."""
    is_here: bool
    """Whether its other words name files of this machine."""
    has_shell: bool
    """Whether a shell elsewhere reads all of its words."""


def started(argv: Sequence[str]) -> Started:
    """What these words start."""
    programs: list[int] = []
    place = 0
    while place < len(argv):
        programs.append(place)
        wrapper = _WRAPPERS.get(name_of(argv[place]))
        if wrapper is None:
            break
        place = _behind(argv, place, wrapper)
    name = name_of(argv[programs[-1]]) if programs else ""
    is_here = not any(name_of(word) in ELSEWHERE for word in argv)  # also behind a program that is not known here
    return Started(tuple(programs), _script(argv), is_here, name in SHELLS_ELSEWHERE)


def name_of(program: str) -> str:
    """A program's name without its folder."""
    return program.rpartition("/")[2]


def _behind(argv: Sequence[str], place: int, wrapper: _Wrapper) -> int:
    """The number of the word behind those of the wrapper at `place`."""
    place += 1
    wanted = wrapper.words
    while place < len(argv):
        word = argv[place]
        if word.startswith("-") and len(word) > 1:
            place += 2 if word in wrapper.with_word else 1
        elif ASSIGNMENT.match(word):  # of `env` and `sudo`
            place += 1
        elif wanted:
            place, wanted = place + 1, wanted - 1
        else:
            break
    return place


def _script(argv: Sequence[str]) -> int | None:
    """The number of the word behind `sh -c`, also where the shell stands in a container: `-lc`, `--entrypoint sh`."""
    has_shell = False
    for place, word in enumerate(argv[:-1]):
        if has_shell and is_command_option(word):
            return place + 1
        has_shell = has_shell or name_of(word.rpartition("=")[2]) in SHELLS or name_of(word) in ("su", "runuser")
    return None
