"""The warnings of `check` in the log of the program: at the start and at a reload, few and short."""

from __future__ import annotations

import signal

from tests.e2e.conftest import RunProgram
from tests.e2e.program import demo, models, wait_until

SLIPS = {"cmd": "nowhere-to-be-found --port ${PORT} > /dev/null", "env": ["PATH=$PATH:/opt"]}


def warned(log: str) -> list[str]:
    """What the warnings say, without time, place and path."""
    lines = [line for line in log.splitlines() if "[WARN]" in line and ": models." in line]
    return sorted(line.partition(": models.")[2].partition(": ")[2] for line in lines)


def test_the_log_has_them_at_the_start_and_at_a_reload(run_program: RunProgram) -> None:
    slips = {f"m{number}": SLIPS for number in range(20)}
    with run_program({**models(m=demo(), **slips), "groups": {"g": {"members": ["m"]}}}) as program:
        wait_until(lambda: "listening on" in program.stdout, "it listens")
        first = warned(program.stdout)
        assert [
            message.rpartition("; likewise in 19 more models: m1, m")[0].partition(", ")[0] for message in first
        ] == [
            '">" is passed to the program as a word',
            "$PATH is not expanded",
            'the program "nowhere-to-be-found" is not on PATH',
        ]
        told = program.get("/api/config").json()["warnings"]
        assert sum(one["hint"] for one in told) == 20  # in no group
        assert sum(not one["hint"] for one in told) == 60
        program.signal(signal.SIGHUP)
        wait_until(lambda: "configuration reloaded" in program.stdout, "it is reloaded")
        assert warned(program.stdout) == sorted(2 * first)
