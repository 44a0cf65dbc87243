"""A frame as text: what is on it, and that it fits into a screen of any size."""

from __future__ import annotations

import re

import pytest

from llamaswap_lib.client.shapes import EVENTS
from llamaswap_lib.client.terminal import Cell, Style
from llamaswap_lib.top.devices import ASCII, UNICODE, device_lines
from llamaswap_lib.top.drawing import View, frame, keys_of, whole
from llamaswap_lib.top.sections import Key
from llamaswap_lib.top.state import State
from tests.batches import samples
from tests.client.answers import emptiest
from tests.top.box import CARD, GB, busy_box, memory, model, run, sample, texts, waiting, widest

SIZES = [(80, 24), (40, 20), (200, 60), (120, 40), (20, 5), (10, 2), (1, 1)]


def screen(state: State, view: View | None = None, width: int = 80, height: int = 24, now: float = 0.0) -> str:
    return "\n".join(texts(frame(state, view or View(), width, height, now, UNICODE)))


def test_a_frame_has_all_that_is_known() -> None:
    assert screen(busy_box(), width=104) == (
        "llamaswap 1.2.3 · http://gpubox:8080 · profile work\n"
        "CPU    20 % ███████··························· load 0.52 · 2 cores\n"
        "RAM    25 % █▒▒▒▒▒▒▒·························· 16 GB of 64 GB · chat 1.0 GB, others 15 GB, free 48 GB\n"
        "GPU 0  87 % ████████████▓▓▓▓▓▒▒▒▒▒▒▒▒▒········ 18 GB of 24 GB · chat 8.2 GB, coder 4.1 GB, others 5.7 G…\n"
        "\n"
        "  MODEL   STATE    MEMORY  IN FLIGHT  QUEUE  TOK/S  UNTIL\n"
        "  chat    ready    8.2 GB        2/4      0   41.2  forever\n"
        "  coder   ready    4.1 GB          0      0      -  in 3 min\n"
        "  embed   queued        -          -      1      -  -\n"
        "  broken  failing       -          -      -      -  exited with code 3\n"
        "\n"
        "  QUEUE  MODEL  SINCE  ESTIMATE  WHY\n"
        "      1  embed  3.0 s         -  waiting for chat: 2 requests in progress\n"
        "\n"
        "  IN FLIGHT  PATH                         FOR    ANSWER  FROM\n"
        "  chat       POST /v1/chat/completions  1.5 s    2.0 KB  10.0.0.7\n"
        "  chat       POST /v1/chat/completions  1.5 s  none yet  10.0.0.7\n"
        "\n\n\n\n\n\n"
        "q quit   ↑↓ select   l load   u unload   ? help"
    )


def test_of_many_peers_that_are_out_the_first_are_told() -> None:
    state = busy_box()
    state.peers = [
        {"peer": f"b{number}", "up": number < 1, "since": "", "last_error": "x", "models": []} for number in range(8)
    ]
    told = [f"b{number} is out: x" for number in range(1, 5)]
    assert screen(state).splitlines()[1:6] == [*told, "and 3 more are out"]
    assert "b5" not in screen(state)


def test_with_use_memory_it_has_needs_and_what_is_kept_free() -> None:
    state = busy_box()
    card = {"device": CARD, "name": "GPU 0", "reserve_bytes": 3 * GB, "free_bytes": 2 * GB}
    needs = {"chat": ("measured", {CARD: 9 * GB}), "coder": ("declared", {CARD: 5 * GB}), "embed": ("unknown", None)}
    models = [{"model": name, "need": {"source": how, "devices": sizes}} for name, (how, sizes) in needs.items()]
    state.take_event("memory", {"router": "memory", "devices": [card], "models": models}, 0.0)
    told = screen(state, width=140)
    assert f"GPU 0  87 % {'█' * 14}{'▓' * 6}{'▒' * 10}{'·' * 5}{'░' * 5} 18 GB of 24 GB" in told
    assert "free 2.0 GB, reserve 3.0 GB" in told
    assert "  MODEL   STATE    MEMORY  NEED             IN FLIGHT" in told
    assert "  chat    ready    8.2 GB  9.0 GB measured        2/4" in told
    assert "  embed   queued        -  unknown                  -" in told
    assert "-  -                        -" in told  # of `broken` nothing is said
    assert "NEED" not in screen(state, width=60)
    state.take_event("memory", {"router": "group", "devices": [card], "models": models}, 0.0)
    told = screen(state, width=140)
    assert "NEED" not in told
    assert "reserve" not in told


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("models", [0, 4, 300])
@pytest.mark.parametrize("gpus", [0, 1, 8])
def test_it_fits_into_a_screen_of_any_size(width: int, height: int, models: int, gpus: int) -> None:
    state = busy_box(models, gpus) if models else State("http://x")
    for shows_help in (False, True):
        lines = frame(state, View(shows_help=shows_help), width, height, 0.0, UNICODE)
        assert len(lines) == height
        assert widest(lines) <= width


@pytest.mark.parametrize(("width", "height"), samples([(80, 24), (40, 20), (200, 60)], 3))
def test_what_is_selected_is_on_the_screen_and_marked(width: int, height: int) -> None:
    state = busy_box(100, 4)
    for key in keys_of(state, 0.0):
        told = screen(state, View(selected=key), width, height)
        [marked] = [line for line in told.splitlines() if line.startswith("> ")]
        assert key.model in marked


def test_of_what_does_not_fit_it_is_told_how_much() -> None:
    for height in (24, 60):
        told = screen(busy_box(100), height=height)
        left = re.search(r"^  MODEL .*  \((\d+) more\)$", told, re.MULTILINE)
        assert left is not None
        assert int(left[1]) == 100 - 4 - told.count(" stopped ")


def test_ages_go_on_without_news() -> None:
    later = screen(busy_box(), width=120, now=10.0)
    assert re.search(r"1  embed +13 s", later)
    assert re.search(r"chat +POST /v1/chat/completions +12 s", later)
    assert "in 3 min" in later


def test_an_estimate_runs_out_and_never_below_nothing() -> None:
    state = busy_box()
    state.take_event("queue", {"queue": [waiting("embed", 1, estimate_seconds=4.0)]}, 0.0)
    assert "~4.0 s" in screen(state)
    assert "~0.0 s" in screen(state, now=9.0)


def test_a_load_says_for_how_long_it_has_been_seen() -> None:
    state = State("http://x")
    state.take_event("modelStatus", [model("m", "starting")], 5.0)
    assert "loads for 2.0 s" in screen(state, now=7.0)
    state.take_event("modelStatus", [model("m", "ready")], 8.0)
    assert "loads" not in screen(state, now=9.0)


def test_what_a_model_does_that_older_clients_do_not_know_stands_in_its_place() -> None:
    state = State("http://x")
    known = {"a": "stopped", "b": "stopped", "c": "starting", "d": "starting", "e": "ready"}
    phases = {"b": "sleeping", "c": "waking", "d": "moving"}
    state.take_event("modelStatus", [model(name, how) for name, how in known.items()], 0.0)
    state.take_running([run(name, state=known[name], phase=phase, ttl=60) for name, phase in phases.items()], 0.0)
    rows = [line.split()[:2] for line in screen(state).splitlines() if line.startswith("  ")]
    assert rows[1:6] == [["e", "ready"], ["c", "waking"], ["d", "moving"], ["b", "sleeping"], ["a", "stopped"]]


def test_a_server_that_is_gone_is_told_at_any_width_and_what_was_known_stays() -> None:
    state = busy_box()
    state.lose(100.0)
    for width in (40, 80, 200):
        told = screen(state, width=width, now=103.0)
        assert "the server is gone, for 3.0 s" in told
        assert "coder" in told
    assert "nobody waits" in told
    state.find()
    assert "gone" not in screen(state)


def test_text_of_others_cannot_move_the_cursor() -> None:
    evil = "a\x1b[2J\u009bb"
    state = State("http://x")
    state.take_event("modelStatus", [model(evil, "stopped", evil)], 0.0)
    state.take_running([run(evil, memory=[memory(1)])], 0.0)
    state.take_event("queue", {"queue": [waiting(evil, 1, reason=evil)]}, 0.0)
    state.take_event("profileChanged", {"active": evil}, 0.0)
    measured = sample()
    measured["gpu_stats"][0]["name"] = evil
    state.take_performance(measured)
    told = screen(state, View(message=Cell(evil)), 200, 60) + "\n".join(texts(whole(state, 10**6, 0.0, UNICODE)))
    assert not {"\x1b", "\u009b"} & set(told)


def test_a_terminal_without_other_characters_gets_ascii_alone() -> None:
    assert "\n".join(texts(frame(busy_box(), View(), 200, 40, 0.0, ASCII))).isascii()


def test_a_bar_is_as_long_as_it_should_be_and_has_something_for_each_part() -> None:
    state = busy_box()
    state.take_running([run(f"m{number}", memory=[memory(0.001)]) for number in range(3)], 0.0)
    bar = texts(device_lines(state, 120, UNICODE))[2].split(" % ")[1].split(" ")[0]
    assert len(bar) == 40
    assert bar.startswith("█▓█▒")
    assert bar.endswith("·" * 9)


def test_what_is_not_known_is_not_shown_as_nothing() -> None:
    state = State("http://x")
    told = sample()
    told["gpu_stats"][0] |= {"mem_used_mb": None, "gpu_util_pct": None, "temp_c": None, "power_draw_w": None}
    told["sys_stats"][0] |= {"cpu_util_per_core": []}
    state.take_performance(told)
    cpu, _, gpu = texts(device_lines(state, 120, UNICODE))
    assert cpu.startswith("CPU       - ")
    assert gpu.startswith("GPU 0     - ")
    assert "- of 24 GB" in gpu
    assert "free" not in gpu


def test_a_request_that_waits_stands_in_the_queue_alone() -> None:
    assert [key.section for key in keys_of(busy_box(), 0.0) if key.model == "embed"] == ["models", "queue"]
    assert Key("queue", "embed", "101", is_cancellable=True) in keys_of(busy_box(), 0.0)


def test_a_pipe_gets_all_of_it_without_cuts() -> None:
    told = texts(whole(busy_box(100, 8), 10**9, 0.0, UNICODE))
    assert sum(" stopped " in line for line in told) == 96
    assert sum(line.startswith("GPU ") for line in told) == 8
    assert not any("…" in line for line in told)
    assert "others 5.7 GB" in told[3]


def test_the_speed_is_the_mean_of_the_newest_requests_of_late() -> None:
    state = State("http://x")
    rows = [{"id": number, "model": "m", "tokens": {"tokens_per_second": float(number)}} for number in range(1, 21)]
    state.take_rows(rows, 0.0)
    assert state.speed("m", 1.0) == sum(range(11, 21)) / 10
    assert state.speed("m", 601.0) is None
    state.take_rows([{"id": 21, "model": "m", "tokens": {"tokens_per_second": -1}, "seen_per_second": 5.0}], 601.0)
    assert state.speed("m", 601.0) == 5.0


def test_only_the_newest_sample_of_each_card_counts() -> None:
    state = State("http://x")
    told = sample(2)
    old = [{**row, "timestamp": "s", "mem_used_mb": 1} for row in told["gpu_stats"]]
    state.take_performance({**told, "gpu_stats": [*old, *told["gpu_stats"]]})
    assert [row["mem_used_mb"] * (1 << 20) for row in state.gpus] == [18 * GB] * 2
    state.take_performance({"sys_stats": [], "gpu_stats": []})
    assert len(state.gpus) == 2


def test_what_is_selected_looks_different_as_a_whole() -> None:
    [line] = [
        line
        for line in frame(busy_box(), View(selected=Key("models", "chat")), 80, 24, 0.0, UNICODE)
        if line and line[0].text == "> "
    ]
    assert {cell.style for cell in line} == {Style.CHOSEN}


@pytest.mark.parametrize("is_null", [True, False], ids=["null", "missing"])
@pytest.mark.parametrize("operation", ["snapshot", "upsert", "remove", "new"])
def test_an_event_may_lack_what_it_may_lack(operation: str, is_null: bool) -> None:
    state = State("url")
    for kind, shape in EVENTS.items():
        data = emptiest(shape, is_null=is_null)
        state.take_event(kind, {**data, "operation": operation} if kind == "inflight" else data, 1.0)
    assert "m" in screen(state)
