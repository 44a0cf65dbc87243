"""The processes of this machine, as one look finds them: their parents, and which have our marker.

Every process of ours is started with LLAMASWAP_RUN=TOKEN/RUN in its environment and hands it down to its children,
wherever they go: out of the group, out of the session, to another parent. The token names us, RUN is the number of the
model's run. A process that has taken over from us is our heir: it was started with LLAMASWAP_HEIR=TOKEN in its
environment, and owns what has the token. /proc shows it; where there is none (macOS) `ps` does, but for programs that
the system protects. A pid names a process only together with its start, here always a text.

The guardian imports this file, so it imports nothing that takes time or memory. Any thread may look; nothing is kept.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # typing itself would cost the guardian a third of its memory
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

MARKER = "LLAMASWAP_RUN"
_RUN_FOLLOWS = "/"  # no token holds it
GUARDIAN_MARKER = "LLAMASWAP_GUARDIAN"
HEIR_MARKER = "LLAMASWAP_HEIR"
HAS_PROC = os.path.exists("/proc/self/stat")  # noqa: PTH110 - pathlib would cost the guardian 5 ms
_PS_COLUMNS = "pid=,ppid=,pgid=,uid=,stat=,lstart=,command="
_PS_TIMEOUT = 5.0


class ProcessEntry:
    """One process. `start` is comparable with that of the same pid only."""

    __slots__ = (
        *(
            "group",
            "guards",
            "heir_of",
            "is_dead",
            "is_stopped",
            "parent",
            "pid",
            "run",
            "session",
            "start",
            "token",
        ),
        "uid",
    )

    def __init__(self, pid: int, parent: int, group: int, session: int, start: str, is_dead: bool = False) -> None:
        self.pid = pid
        self.parent = parent
        self.group = group
        self.session = session
        self.start = start
        self.is_dead = is_dead  # a zombie
        self.is_stopped = False  # by a signal, until it is continued; known where there is a /proc
        self.token = ""  # of its marker; '' without one
        self.run = ""  # of its marker; '' without one, or with one that names no run
        self.heir_of = ""  # the token whose owner it has taken over from, or is about to
        self.guards = ""  # the token whose processes it stops; '' if it is no guardian
        self.uid = -1  # known only of those that have a token

    @property
    def is_guardian(self) -> bool:
        return self.guards != ""


def look() -> list[ProcessEntry]:
    """Every process that can be seen, zombies included."""
    return list(_from_proc({}) if HAS_PROC else from_ps(run_ps()))


def who_is_there() -> dict[int, int]:
    """Every process: pid -> what tells it from any other that has had or will have the pid. Needs a /proc.

    That is the inode of its folder. It costs 1 us for each process where a look costs 20. (Should the kernel run out of
    memory and forget an inode, the process seems to be another one.)
    """
    with os.scandir("/proc") as folders:
        return {int(folder.name): folder.inode() for folder in folders if folder.name.isdigit()}


def look_at_others(known: Mapping[int, int]) -> list[ProcessEntry]:
    """A look at every process except those in `known`, by `who_is_there`. Needs a /proc."""
    return list(_from_proc(known))


def look_at(pid: int) -> ProcessEntry | None:
    """One process, or None when there is none."""
    return _entry(pid) if HAS_PROC else next((entry for entry in look() if entry.pid == pid), None)


def command_of(pid: int) -> str:
    """Its command line, or its name; '' when it has ended or may not be seen."""
    try:
        if not HAS_PROC:
            return _output_of("ps", "-o", "command=", "-p", str(pid)).strip()
        return (_read(pid, "cmdline").replace(b"\0", b" ").strip() or _read(pid, "comm").strip()).decode(
            errors="replace"
        )
    except OSError:
        return ""


def new_token() -> str:
    """A new token that names us as the owner: the machine and PID namespace, our pid, its start, a random number."""
    me = look_at(os.getpid())
    return f"{_world()}.{os.getpid()}.{me.start if me else ''}.{os.urandom(4).hex()}"


def mark_of(token: str, run: int) -> str:
    """The marker's value for the processes of one run."""
    return f"{token}{_RUN_FOLLOWS}{run}"


def parts_of(mark: str) -> tuple[str, str]:
    """Token and run of a marker's value; '' for a run that it does not name."""
    token, _, run = mark.partition(_RUN_FOLLOWS)
    return token, run


def owner_of(token: str) -> int | None:
    """The pid that the token names, on the machine and in the namespace that it names."""
    owner = _parts(token)[1]
    return int(owner) if owner.isdigit() else None


def _parts(token: str) -> tuple[str, str, str]:
    """Machine, pid and start of the owner, '' for what is missing; a start may hold dots, the random number is last."""
    world, _, rest = token.partition(".")
    owner, _, rest = rest.partition(".")
    return world, owner, rest.rpartition(".")[0]


def is_there(pid: int) -> bool:
    """Whether a process has the pid, also one that /proc hides from us."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        pass  # another user's
    return True


def has_living_owner(token: str, entries: Iterable[ProcessEntry], is_there: Callable[[int], bool] = is_there) -> bool:
    """Whether the process that the token names is alive, or one that has taken over from it.

    True if we cannot tell: it is of another machine or namespace, or hidden, or named in another way by an earlier
    version.
    """
    world, owner, start = _parts(token)
    if not world or world != _world() or not owner.isdigit() or not start:
        return True
    entries = list(entries)
    if any(one.heir_of == token and not one.is_dead for one in entries):
        return True
    known = [one for one in entries if one.pid == int(owner)]
    if known:
        return any(one.start == start and not one.is_dead for one in known)
    return is_there(int(owner))


def _world() -> str:
    """Where a pid means the same process: this boot of this machine, and the PID namespace; '' if that is unknown.

    The namespace alone is not enough: the first one has the same inode on every Linux machine, and batch systems and
    ssh may carry the environment to another machine. A container's processes can be seen from outside, under other
    pids: so the boot alone is not enough either.
    """
    global _our_world  # noqa: PLW0603 - it never changes, and on macOS it takes a process to find out
    if _our_world is None:
        boot = _boot()
        _our_world = f"{boot}-{_namespace()}" if boot else ""
    return _our_world


_our_world: str | None = None


def _boot() -> str:
    """A text that only this boot of this machine has, of letters, digits and dashes; '' if there is none."""
    try:
        if sys.platform == "darwin":
            text = _output_of("sysctl", "-n", "kern.bootsessionuuid")
        else:
            with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:  # noqa: PTH123 - as above
                text = file.read()
    except (OSError, ValueError):
        return ""
    return "".join(letter for letter in text if letter.isalnum() or letter == "-")


def _namespace() -> str:
    try:
        return "".join(filter(str.isdigit, os.readlink("/proc/self/ns/pid")))  # noqa: PTH115 - as above
    except OSError:
        return "0"


# -- /proc --


def _from_proc(known: Mapping[int, int]) -> Iterator[ProcessEntry]:
    for pid, inode in who_is_there().items():
        entry = _entry(pid) if known.get(pid) != inode else None
        if entry is not None:
            yield entry


def read_stat(pid: int) -> ProcessEntry | None:
    """What /proc says of a process to every user, so without its markers; None if there is no such process."""
    try:
        stat = _read(pid, "stat")
    except OSError:
        return None  # it ended between the listing and the look
    fields = stat[stat.rfind(b")") + 1 :].split()
    # The state of a process is its first thread's: others may live on behind a zombie (field 20 counts them).
    is_dead = fields[0] in (b"Z", b"X") and int(fields[17]) <= 1
    entry = ProcessEntry(pid, int(fields[1]), int(fields[2]), int(fields[3]), fields[19].decode(), is_dead)
    entry.is_stopped = fields[0] == b"T"
    return entry


def _entry(pid: int) -> ProcessEntry | None:
    entry = read_stat(pid)
    if entry is None:
        return None
    try:
        environment = b"\0" + _read(pid, "environ")
        entry.token, entry.run = parts_of(_value_in(environment, MARKER))
        entry.heir_of = _value_in(environment, HEIR_MARKER)
        entry.guards = _value_in(environment, GUARDIAN_MARKER)
        if entry.token:
            entry.uid = os.stat(f"/proc/{pid}").st_uid  # noqa: PTH116 - as above
    except OSError:
        pass  # another user's, or it ended
    return entry


def _value_in(environment: bytes, name: str) -> str:
    _, found, rest = environment.partition(f"\0{name}=".encode())
    return rest.partition(b"\0")[0].decode("ascii", "replace") if found else ""


def _read(pid: int, name: str) -> bytes:
    descriptor = os.open(f"/proc/{pid}/{name}", os.O_RDONLY)
    try:
        data = piece = os.read(descriptor, 65_536)
        while piece:
            piece = os.read(descriptor, 65_536)
            data += piece
        return data
    finally:
        os.close(descriptor)


# -- ps --


def run_ps() -> str:
    """Every process with its environment after the command. The option for that is another one on macOS."""
    return _output_of("ps", "-axEwwo" if sys.platform == "darwin" else "axewwo", _PS_COLUMNS)


def _output_of(*argv: str) -> str:
    import subprocess  # noqa: PLC0415 - the guardian goes without it where there is a /proc

    env = {**os.environ, "LC_ALL": "C", "TZ": "UTC0"}  # the same process has the same start for everybody who asks
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, env=env, timeout=_PS_TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace")


def from_ps(text: str) -> Iterator[ProcessEntry]:
    """The lines of `ps -o pid=,ppid=,pgid=,uid=,stat=,lstart=,command=`, environments behind the commands."""
    for line in text.splitlines():
        words = line.split(None, 10)
        if len(words) < 10 or not all(word.isdigit() for word in words[:3]):
            continue
        pid, parent, group = map(int, words[:3])
        # `sess` is an address on macOS: that a process is in the session of its group is taken for granted.
        entry = ProcessEntry(pid, parent, group, group, "_".join(words[5:10]), words[4].startswith("Z"))
        command = f" {words[10]}" if len(words) > 10 else ""
        entry.token, entry.run = parts_of(_word_in(command, MARKER))
        entry.guards = _word_in(command, GUARDIAN_MARKER)
        entry.uid = int(words[3]) if words[3].isdigit() else -1
        yield entry


def _word_in(command: str, name: str) -> str:
    """The value of the variable in what `ps` shows of a command and its environment; '' without one."""
    rest = command.partition(f" {name}=")[2]
    return rest.split(None, 1)[0] if rest.strip() else ""
