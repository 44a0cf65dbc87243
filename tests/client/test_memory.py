"""How needs and devices are told."""

from __future__ import annotations

from typing import Any

import pytest

from llamaswap_lib.client import memory

GB = 1 << 30
TOLD = {
    "router": "memory",
    "devices": [{"device": "GPU-1", "name": "GPU 0"}, {"device": "ram", "name": "RAM"}],
    "models": [{"model": "a", "need": {"source": "measured", "devices": {"GPU-1": 4 * GB}}}],
}


def need(source: str, devices: dict[str, int] | None) -> dict[str, Any]:
    return {"source": source, "devices": devices}


@pytest.mark.parametrize(
    ("row", "short", "full"),
    [
        (
            need("measured", {"GPU-1": 18 * GB, "ram": 2 * GB}),
            "18 GB measured",
            "18 GB on GPU 0 and 2.0 GB on RAM, measured",
        ),
        (need("declared", {"ram": 2 * GB}), "2.0 GB declared", "2.0 GB on RAM, declared"),
        (need("measured", {"GPU-1": 0, "ram": 2 * GB}), "2.0 GB measured", "2.0 GB on RAM, measured"),
        (need("estimated", {"GPU-2": GB}), "1.0 GB estimated", "1.0 GB on GPU-2, estimated"),
        (need("measured", {}), "measured", "nothing, measured"),
        (need("unknown", None), "unknown", "unknown: it is loaded alone, once"),
    ],
)
def test_a_need_says_where_its_figure_comes_from(row: dict[str, Any], short: str, full: str) -> None:
    assert (memory.need(row), memory.need_in_full(row, TOLD)) == (short, full)


def test_a_server_that_tells_nothing_is_no_error() -> None:
    assert memory.need(None) == "-"
    assert (memory.needs({}), memory.device({}, ("ram",)), memory.is_decisive({})) == ({}, {}, False)
    assert memory.needs(TOLD)["a"]["source"] == "measured"
    assert memory.device(TOLD, ("0", "GPU-1"))["name"] == "GPU 0"
