"""For how many connections the descriptors are enough; in processes of their own, whose limits a test may change."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PREPARE = """
import json, os, resource, signal, sys
from llamaswap_lib.runtime.descriptors import DescriptorCapacity, at_first_soft_limit
def limits(): return resource.getrlimit(resource.RLIMIT_NOFILE)
def tell(value): print(json.dumps(value))
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[2])))
"""


def run(source: str, soft: int, hard: int) -> Any:
    """What a process tells that was started with these limits."""
    done = subprocess.run(
        [sys.executable, "-c", PREPARE + source, str(soft), str(hard)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return json.loads(done.stdout)


GROW = """
capacity = DescriptorCapacity(wanted=1000, each=3, models=2)
before, soft_before = capacity.connections, limits()[0]
grown = capacity.grow()
tell([before, soft_before, grown, capacity.connections, capacity.most_connections, capacity.grow(), limits()[0]])
"""


def test_the_soft_limit_is_raised_when_it_is_needed_and_not_before() -> None:
    before, soft_before, has_grown, connections, most, has_grown_again, soft = run(GROW, 256, 4096)
    assert (soft_before, soft) == (256, 4096)
    assert 40 <= before <= 80
    assert (has_grown, connections, most, has_grown_again) == (True, 1000, 1000, False)


@pytest.mark.parametrize(("hard", "fewest", "most"), [(64, 8, 20), (256, 40, 80), (1024, 250, 340)])
def test_a_hard_limit_leaves_room_for_what_requests_and_models_need(hard: int, fewest: int, most: int) -> None:
    before, _, has_grown, connections, can_be, _, soft = run(GROW, hard, hard)
    assert fewest <= before == connections == can_be <= most
    assert (has_grown, soft) == (False, hard)


def test_a_limit_that_is_high_enough_is_left_alone() -> None:
    before, _, has_grown, connections, _, _, soft = run(GROW, 4000, 4096)
    assert (before, has_grown, connections, soft) == (1000, False, 1000, 4000)


SPAWN = """
os.environ["odd.name"] = "x"
for name in ("LC_ALL", "LC_CTYPE", "LANG"):
    os.environ.pop(name, None)
os.environ.update(LOCALE)
def told(name):
    look = 'ulimit -Sn; ulimit -Hn; echo "$0" "$1"; cat /proc/$$/environ; grep SigIgn /proc/$$/status'
    argv = [name, "-c", look, "me", "b c"]
    with at_first_soft_limit(argv, os.environ) as (program, arguments):
        reading, writing = os.pipe()
        pid = os.posix_spawnp(
            program, arguments, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, writing, 1)],
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
        )
    os.close(writing)
    with open(reading) as file:
        text = file.read()
    return text, os.waitpid(pid, 0)[1]
first = told("sh")
DescriptorCapacity(wanted=1000, each=3, models=2).grow()
second = told("sh")
try:
    told("no-such-program")
    fault = ""
except OSError as error:
    fault = error.strerror
tell([first, second, limits(), fault])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="it looks at itself in /proc")
@pytest.mark.parametrize("locale", [{}, {"LC_ALL": "C"}, {"LC_CTYPE": "C"}, {"LC_CTYPE": ""}], ids=str)
def test_a_child_gets_the_soft_limit_that_we_were_started_with_and_nothing_else_of_it_changes(
    locale: dict[str, str],
) -> None:
    (first, status), (second, second_status), own, fault = run(f"LOCALE = {locale}" + SPAWN, 300, 4096)
    assert first.splitlines()[:3] == ["300", "4096", "me b c"]
    assert "odd.name=x" in first
    assert second == first
    assert status == second_status == 0
    assert own == [4096, 4096]
    assert fault == "No such file or directory"
