"""The routes of activity and captures, asked by clients; where the rows come from is other tests' business."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from llamaswap_lib.activity.journal import Journal, JournalSettings
from llamaswap_lib.activity.store import StoreSettings
from llamaswap_lib.wire.chunked import ChunkDecoder
from tests.activity.rows import BEGIN, record
from tests.web.world import DEADLINE, MODELS, OK, World, answers, get

ACTIVITY, STATS, SERIES = "/api/metrics/activity", "/api/metrics/stats", "/api/metrics/series"


@contextmanager
def journal_of(world: World, capture_bytes: int = 1 << 20) -> Iterator[Journal]:
    """That of the server, running."""
    journal = world.app.activity
    journal.start()
    journal.change(JournalSettings(StoreSettings(max_rows_in_memory=5_000), capture_bytes))
    try:
        yield journal
    finally:
        assert journal.close(DEADLINE)


def told(world: World, path: str, status: int = 200, **more: Any) -> Any:
    head, body = world.ask(get(path, **more))
    assert head.startswith(b"HTTP/1.1 %d " % status), (head, body)
    return json.loads(body)


def test_a_server_without_a_request_has_empty_answers() -> None:
    with World(answers(OK)) as world, journal_of(world):
        assert told(world, ACTIVITY) == {"data": [], "page": 1, "limit": 25, "total": 0, "total_pages": 0}
        assert told(world, STATS) == {
            "total_requests": 0,
            "total_input_tokens": 0,
            "total_output_tokens": 0,
            "total_cache_tokens": 0,
            "prompt_histogram": None,
            "gen_histogram": None,
        }
        facets = told(world, "/api/metrics/facets")
        assert facets.pop("capped") is False
        assert set(map(len, facets.values())) == {0}
        assert told(world, "/api/captures/1", 404)["error"]["message"] == "capture not found"


def test_a_request_that_has_ended_is_told_at_once() -> None:
    with World(answers(OK)) as world, journal_of(world) as journal:
        journal.append(partial(record, selector="s"))
        page = told(world, f"{ACTIVITY}?model=m")
        assert (page["total"], page["total_pages"]) == (1, 1)
        (row,) = page["data"]
        expected = {
            "id": 1,
            "timestamp": "2023-11-14T22:13:20.000Z",
            "model": "m",
            "req_path": "/v1/chat/completions",
            "resp_content_type": "application/json",
            "resp_status_code": 200,
            "duration_ms": 1500,
            "has_capture": True,
            "metadata": {"fifo_priority": "0", "selector": "s"},
        }
        assert {key: row[key] for key in expected} == expected
        assert "error_msg" not in row
        assert list(row["tokens"]) == [
            "cache_tokens", "draft_tokens", "draft_acc_tokens", "input_tokens", "output_tokens", "prompt_per_second",
            "tokens_per_second",
        ]  # fmt: skip
        assert told(world, f"{STATS}?model=m")["total_requests"] == 1
        assert told(world, f"{STATS}?model=n")["total_requests"] == 0
        assert told(world, "/api/metrics/facets")["model"] == [{"value": "m", "count": 1}]
        facets = told(world, "/api/metrics/facets?model=n")
        assert (facets["model"], facets["path"]) == ([{"value": "m", "count": 1}], [])
        assert told(world, "/api/metrics/facets?status=2", 400)["error"]["message"].startswith("status: ")


def test_pages_follow_one_another() -> None:
    with World(answers(OK)) as world, journal_of(world) as journal:
        for number in range(7):
            journal.append(partial(record, model=f"m{number}"))
        pages = [told(world, f"{ACTIVITY}?limit=3&page={number}") for number in (1, 2, 3, 4)]
        assert [[row["model"] for row in page["data"]] for page in pages] == [
            ["m6", "m5", "m4"], ["m3", "m2", "m1"], ["m0"], [],
        ]  # fmt: skip
        assert {(page["total"], page["total_pages"], page["limit"]) for page in pages} == {(7, 3, 3)}


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (f"{ACTIVITY}?limit=0", "limit"),
        (f"{ACTIVITY}?sort=zz", "sort"),
        (f"{ACTIVITY}?min_id=5&max_id=2", "min_id"),
        (f"{SERIES}?bucket=x", "bucket"),
        (f"{SERIES}?start=zz", "start"),
        ("/api/captures/x", "invalid capture ID"),
        ("/api/captures/-1", "invalid capture ID"),
        ("/api/captures/%D9%A3", "invalid capture ID"),
        ("/api/captures/" + "9" * 30, "invalid capture ID"),
    ],
)
def test_a_wrong_parameter_is_400_and_named(path: str, name: str) -> None:
    with World(answers(OK)) as world, journal_of(world):
        error = told(world, path, 400)["error"]
        assert error["code"] == "bad_request"
        assert error["message"].startswith(name)


def test_a_long_capture_is_told_in_pieces() -> None:
    body = os.urandom(1_000_000)
    with World(answers(OK)) as world, journal_of(world, capture_bytes=10_000_000) as journal:
        journal.append(partial(record, request_body=body))
        with world.connect() as client:
            client.send(get("/api/captures/1"))
            assert b"\r\nTransfer-Encoding: chunked\r\n" in client.read_until(b"\r\n\r\n")
            answer, _ = ChunkDecoder().feed(client.read_until(b"\r\n0\r\n\r\n"))
            assert base64.b64decode(json.loads(answer)["req_body"]) == body
            client.send(get("/api/captures/1", method="HEAD"))
            assert b"\r\nContent-Type: application/json\r\n" in client.read_until(b"\r\n\r\n")


def test_a_capture_is_told_until_it_is_evicted() -> None:
    with World(answers(OK)) as world, journal_of(world, capture_bytes=10_000) as journal:
        journal.append(record)
        capture = told(world, "/api/captures/1")
        assert list(capture) == ["id", "req_path", "req_headers", "req_body", "resp_headers", "resp_body"]
        assert capture["req_headers"] == {
            "Content-Type": "application/json",
            "Authorization": "[REDACTED]",
            "X-One": "1",
        }
        assert base64.b64decode(capture["resp_body"]) == b'{"answer": 1}'
        for _ in range(100):
            journal.append(record)
        assert told(world, "/api/captures/1", 404)["error"]["message"] == "capture not found"
        rows = told(world, f"{ACTIVITY}?limit=999")["data"]
        assert (rows[0]["has_capture"], rows[-1]["has_capture"]) == (True, False)


def test_figures_over_time_are_told_in_points() -> None:
    with World(answers(OK)) as world, journal_of(world) as journal:
        journal.wall = lambda: BEGIN + 3_000
        for seconds in (0, 10, 600):
            journal.append(partial(record, timestamp=BEGIN + seconds))
        series = told(world, f"{SERIES}?bucket=10m&start=2023-11-14T22:00:00Z")
        assert series["bucket_seconds"] == 600
        assert [(point["start"], point["requests"]) for point in series["data"]][:3] == [
            ("2023-11-14T22:00:00.000Z", 0), ("2023-11-14T22:10:00.000Z", 2), ("2023-11-14T22:20:00.000Z", 1),
        ]  # fmt: skip
        assert series["data"][-1]["start"] == "2023-11-14T23:00:00.000Z"


@pytest.mark.parametrize(("form", "kind"), [("csv", b"text/csv; charset=utf-8"), ("jsonl", b"application/jsonl")])
def test_an_export_is_a_file_in_chunks_with_every_row(form: str, kind: bytes) -> None:
    with World(answers(OK)) as world, journal_of(world) as journal:
        for number in range(450):
            journal.append(partial(record, model=f"m{number}"))
        with world.connect() as client:
            client.send(get(f"{ACTIVITY}?format={form}&limit=2"))
            head = client.read_until(b"\r\n\r\n")
            body, _ = ChunkDecoder().feed(client.read_until(b"\r\n0\r\n\r\n"))
            assert b"\r\nContent-Type: " + kind + b"\r\n" in head
            assert f'\r\nContent-Disposition: attachment; filename="activity.{form}"\r\n'.encode() in head
            assert b"\r\nTransfer-Encoding: chunked\r\n" in head
            lines = body.splitlines()
            assert len(lines) == 450 + (form == "csv")
            assert b"m449" in lines[form == "csv"]
            assert b"m0" in lines[-1]
            client.send(get(ACTIVITY, method="HEAD"))
            assert client.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 200 ")


def test_delete_empties_rows_and_captures_and_ids_go_on() -> None:
    with World(answers(OK)) as world, journal_of(world) as journal:
        for _ in range(3):
            journal.append(record)
        assert told(world, ACTIVITY, method="DELETE") == {"msg": "ok", "deleted": 3}
        assert told(world, ACTIVITY)["total"] == 0
        assert told(world, STATS)["total_requests"] == 0
        assert told(world, "/api/captures/3", 404)
        journal.append(record)
        assert told(world, ACTIVITY)["data"][0]["id"] == 4
        assert "the activity was cleared: 3 rows" in world.log


def test_a_page_of_another_site_may_not_delete_and_may_not_read() -> None:
    foreign = b"Origin: http://evil.example\r\nSec-Fetch-Site: cross-site\r\n"
    with World(answers(OK)) as world, journal_of(world) as journal:
        journal.append(record)
        told(world, ACTIVITY, 403, method="DELETE", extra=foreign)
        head, _ = world.ask(get(ACTIVITY, extra=foreign))
        assert b"Access-Control-Allow-Origin" not in head
        assert told(world, ACTIVITY)["total"] == 1


@pytest.mark.parametrize("path", [ACTIVITY, STATS, SERIES, "/api/metrics/facets", "/api/captures/1"])
def test_a_key_is_asked_for_where_there_are_keys(path: str) -> None:
    with World(answers(OK), config=f"{MODELS}apiKeys: [secret]\n") as world, journal_of(world):
        told(world, path, 401)
        head, _ = world.ask(get(path, extra=b"Authorization: Bearer secret\r\n"))
        assert not head.startswith(b"HTTP/1.1 401 ")


def test_a_store_that_cannot_be_read_is_503() -> None:
    with World(answers(OK)) as world:
        error = told(world, ACTIVITY, 503)["error"]
        assert (error["code"], error["message"]) == ("service_unavailable", "the store of activity is not open")
