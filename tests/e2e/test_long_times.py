"""Times so long that nothing waits for them: `9999999999` for never. The system takes no such waits, and we do."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.conftest import RunProgram
from tests.e2e.program import demo, models, wait_until

CENTURIES = 9_999_999_999  # seconds
A_MONTH = 30 * 86_400  # more than `poll` takes


@pytest.mark.parametrize("seconds", [A_MONTH, CENTURIES])
def test_times_longer_than_the_system_waits_are_as_good_as_never(run_program: RunProgram, seconds: int) -> None:
    times = dict.fromkeys(("ttl", "unloadTimeout", "healthCheckTimeout", "hungAfter"), seconds)
    timeouts = dict.fromkeys(("connect", "keepalive", "responseHeader", "tlsHandshake", "idleConn"), seconds)
    model: dict[str, Any] = {"cmd": demo(), "cmdStop": "kill ${PID}", "timeouts": timeouts, **times}
    config = {
        **models(a=model, b=model),
        **dict.fromkeys(("globalTTL", "unloadTimeout", "healthCheckTimeout", "shutdownTimeout"), seconds),
        "limits": dict.fromkeys(("idleTimeout", "headTimeout", "bodyTimeout", "writeTimeout"), seconds),
        "performance": {"every": f"{seconds}s"},
        "routing": {"scheduler": {"use": "fifo", "settings": {"fifo": {"maxWait": seconds}}}},
    }
    with run_program(config) as program:
        for name in ("a", "b", "a"):
            assert program.chat(name).status == 200
        wait_until(lambda: bool(program.get("/api/performance").json()["sys_stats"]), "there is a sample")
        assert program.post("/api/models/unload/a", {}).status == 200
        assert program.chat("b").status == 200
        assert not program.get("/api/performance").json()["sys_stats"][1:]
    assert "Traceback" not in program.stdout + program.stderr
    assert "unknown key" not in program.stdout


def test_workers_may_have_as_long_to_end(run_program: RunProgram) -> None:
    peers = {"box": {"proxy": "http://127.0.0.1:1", "models": ["m"]}}
    with run_program({"peers": peers, "shutdownTimeout": CENTURIES}, flags=("-workers", "2")) as program:
        assert program.get("/v1/models").status == 200
    assert "Traceback" not in program.stdout + program.stderr
