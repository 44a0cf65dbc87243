"""A server as `top` knows it, made of rows as its routes give them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llamaswap_lib.client.terminal import display_width
from llamaswap_lib.top.devices import Line
from llamaswap_lib.top.state import State

GB = 1 << 30
CARD = "GPU-5a1c"


def run(model: str, **more: Any) -> dict[str, Any]:
    """A row of `/running`."""
    row = {
        "model": model, "state": "ready", "ttl": 0, "in_flight": 0, "concurrency_limit": None, "ttl_remaining": None,
        "waiting": 0, "memory": None,
    }  # fmt: skip
    return {**row, **more}


def memory(gigabytes: float, device: str = CARD) -> dict[str, Any]:
    """What a run takes of a device."""
    kind = "ram" if device == "ram" else "gpu"
    return {"device": device, "name": device, "kind": kind, "bytes": int(gigabytes * GB), "peak_bytes": None}


def model(name: str, state: str = "stopped", failure: str = "") -> dict[str, Any]:
    """A row of the event `modelStatus`."""
    row = {"id": name, "name": "", "description": "", "state": state, "unlisted": False, "peerID": ""}
    return {**row, "failure": {"message": failure}} if failure else row


def waiting(model: str, place: int, **more: Any) -> dict[str, Any]:
    """A row of the queue."""
    row = {
        "ticket": place, "request": str(100 + place), "model": model, "place": place, "waiting_seconds": 3.0,
        "reason": "loading", "estimate_seconds": None,
    }  # fmt: skip
    return {**row, **more}


def request(number: int, model: str, **more: Any) -> dict[str, Any]:
    """A request in progress."""
    row = {
        "id": str(number), "model": model, "method": "POST", "req_path": "/v1/chat/completions",
        "remote_ip": "10.0.0.7", "resp_bytes": 0, "elapsed_ms": 1500,
    }  # fmt: skip
    return {**row, **more}


def sample(gpus: int = 1) -> dict[str, Any]:
    """An answer of `/api/performance`: a machine with 64 GB, and GPUs with 24."""
    system = {
        "timestamp": "t", "cpu_util_per_core": [10.0, 30.0], "mem_total_mb": 64 * 1024, "mem_used_mb": 16 * 1024,
        "load_avg_1": 0.52,
    }  # fmt: skip
    card = {
        "timestamp": "t", "name": "NVIDIA GeForce RTX 3090", "temp_c": 61, "gpu_util_pct": 87, "power_draw_w": 281.4,
        "mem_used_mb": 18 * 1024, "mem_total_mb": 24 * 1024,
    }  # fmt: skip
    cards = [{**card, "id": number, "uuid": f"GPU-{number}" if number else CARD} for number in range(gpus)]
    return {"sys_stats": [system], "gpu_stats": cards}


def busy_box(models: int = 4, gpus: int = 1) -> State:
    """Two models run, one is waited for, one fails, and the rest is stopped."""
    state = State("http://gpubox:8080", "1.2.3")
    names = ["chat", "coder", "embed", "broken", *(f"m{number}" for number in range(4, models))]
    states = {"chat": "ready", "coder": "ready"}
    state.take_event(
        "modelStatus",
        [model(name, states.get(name, "stopped"), "exited with code 3" if name == "broken" else "") for name in names],
        0.0,
    )
    state.take_running(
        [
            run("chat", in_flight=2, concurrency_limit=4, memory=[memory(8.2), memory(1.0, "ram")]),
            run("coder", ttl=300, ttl_remaining=200.0, memory=[memory(4.1)]),
        ],
        0.0,
    )
    state.take_event("profileChanged", {"active": "work"}, 0.0)
    state.take_event("queue", {"queue": [waiting("embed", 1, reason="waiting for chat: 2 requests in progress")]}, 0.0)
    requests = [request(1, "chat", resp_bytes=2048), request(2, "chat"), request(101, "embed")]
    state.take_event("inflight", {"operation": "snapshot", "requests": requests}, 0.0)
    state.take_performance(sample(gpus))
    state.take_rows([{"id": 1, "model": "chat", "tokens": {"tokens_per_second": 41.25}}], 0.0)
    return state


def texts(lines: Sequence[Line]) -> list[str]:
    """What stands in lines."""
    return ["".join(cell.text for cell in line).rstrip() for line in lines]


def widest(lines: Sequence[Line]) -> int:
    return max(sum(display_width(cell.text) for cell in line) for line in lines)
