"""What peers have, over a restart: what is in the file, whose it is, and what becomes of one that is damaged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from llamaswap_lib.config.load import load_text
from llamaswap_lib.config.schema import Config
from llamaswap_lib.fleet.kept_lists import KeptLists
from llamaswap_lib.fleet.offers import Offer, entries_of, lists_file
from llamaswap_lib.fleet.peers import Peers
from llamaswap_lib.runtime.logs.server_logs import Logs
from tests.fleet.boxes import Box, running
from tests.web.upstreams import wait_until
from tests.web.world import DEADLINE, Upstream, sized

MANY = (
    Offer("m", "", {"capabilities": {"vision": True}, "description": "ä \U0001f600"}, 4096),
    Offer("al", "m", {}, 0),
)
ONE = (Offer("x", "", {}, 0),)


def config_of(store: Path | str = "", **peers: Any) -> Config:
    rows = {name: {"models": "auto", **row} for name, row in peers.items()}
    return load_text(json.dumps({"peers": rows, **({"store": {"path": str(store)}} if store else {})}))


def kept_at(config: Config) -> KeptLists:
    """Those of a program that has just started."""
    kept = KeptLists(pytest.fail)
    kept.change(config)
    return kept


def test_lists_are_those_of_the_last_run_without_a_key(tmp_path: Path) -> None:
    store = tmp_path / "activity.db"
    proxy = "http://user:secret1@h:8080/path?token=secret2"
    config = config_of(store, a={"proxy": proxy, "apiKey": "secret3"}, b={"proxy": "http://h:81"})
    kept = kept_at(config)
    assert (kept.of("a"), list(tmp_path.iterdir())) == (None, [])
    kept.keep("a", config.peers["a"], MANY)
    kept.keep("b", config.peers["b"], ONE)
    again = kept_at(config)
    assert (again.of("a"), again.of("b"), again.of("c")) == (MANY, ONE, None)
    [file] = tmp_path.iterdir()
    assert (file.name, "secret" in file.read_text(), file.stat().st_mode & 0o077) == (
        "activity.db.peers.json",
        False,
        0,
    )


@pytest.mark.parametrize(
    "row",
    [{"proxy": "http://h:82"}, {"proxy": "https://h:81"}, {"proxy": "http://h:81", "models": ["x"]}, None],
)
def test_a_peer_that_has_left_or_moved_or_has_a_list_is_forgotten_at_a_reload_and_at_a_start(
    tmp_path: Path, row: Any
) -> None:
    store = tmp_path / "activity.db"
    both = config_of(store, a={"proxy": "http://h:80"}, b={"proxy": "http://h:81"})
    later = config_of(store, a={"proxy": "http://h:80"}, **({"b": row} if row else {}))
    for is_start in (False, True):
        kept = kept_at(both)
        for name, peer in both.peers.items():
            kept.keep(name, peer, ONE)
        kept = kept_at(later) if is_start else kept
        kept.change(later)
        assert (kept.of("a"), kept.of("b")) == (ONE, None)
        kept.keep("b", both.peers["b"], ONE)  # a look that was on its way
        assert list(json.loads((tmp_path / "activity.db.peers.json").read_text())["peers"]) == ["a"]


@pytest.mark.parametrize("store", ["", ":memory:"])
def test_without_a_store_nothing_is_kept(store: str) -> None:
    config = config_of(store, a={"proxy": "http://h:80"})
    kept = kept_at(config)
    kept.keep("a", config.peers["a"], ONE)
    assert (kept.of("a"), kept_at(config).of("a"), lists_file(store)) == (ONE, None, None)


def test_another_store_gets_all_that_is_known(tmp_path: Path) -> None:
    config = config_of(a={"proxy": "http://h:80"})
    kept = kept_at(config)
    kept.keep("a", config.peers["a"], ONE)
    moved = config_of(tmp_path / "other.db", a={"proxy": "http://h:80"})
    kept.change(moved)
    assert kept_at(moved).of("a") == ONE


@pytest.mark.parametrize(
    "said",
    [
        [],
        {"version": 2, "peers": {}},
        {"version": 1, "peers": []},
        {"version": 1, "peers": {"a": 1}},
        {"version": 1, "peers": {"a": {"address": "http://h:80", "models": "x"}}},
        {"version": 1, "peers": {"a": {"address": 1, "models": []}}},
    ],
)
def test_one_that_is_damaged_is_set_aside_with_a_warning(tmp_path: Path, said: Any) -> None:
    file = tmp_path / "activity.db.peers.json"
    file.write_text(json.dumps(said))
    told: list[str] = []
    kept, config = KeptLists(told.append), config_of(tmp_path / "activity.db", a={"proxy": "http://h:80"})
    kept.change(config)
    kept.keep("a", config.peers["a"], ONE)
    [line] = told
    assert line.endswith(
        "; it is now called activity.db.peers.json.damaged, and peers are asked anew for what they have"
    )
    assert kept_at(config).of("a") == ONE
    assert json.loads((tmp_path / "activity.db.peers.json.damaged").read_text()) == said


def test_while_it_pauses_nothing_is_written_and_all_of_it_afterwards(tmp_path: Path) -> None:
    config = config_of(tmp_path / "s", a={"proxy": "http://h:80"}, b={"proxy": "http://h:81"})
    kept = kept_at(config)
    kept.keep("a", config.peers["a"], MANY)
    kept.pause(DEADLINE)
    kept.keep("a", config.peers["a"], ONE)
    kept.keep("b", config.peers["b"], ONE)
    kept.change(config)
    heir = kept_at(config)
    assert (heir.of("a"), heir.of("b"), kept.of("a")) == (MANY, None, ONE)
    kept.go_on()
    assert (kept_at(config).of("a"), kept_at(config).of("b")) == (ONE, ONE)


def test_a_pause_that_changed_nothing_writes_nothing(tmp_path: Path) -> None:
    config = config_of(tmp_path / "s", a={"proxy": "http://h:80"})
    kept = kept_at(config)
    kept.keep("a", config.peers["a"], MANY)
    kept.pause(DEADLINE)
    lists_file(str(tmp_path / "s")).unlink()  # type: ignore[union-attr]
    kept.go_on()
    assert list(tmp_path.iterdir()) == []


def test_a_pause_does_not_wait_for_a_disk_that_hangs(tmp_path: Path) -> None:
    config = config_of(tmp_path / "s", a={"proxy": "http://h:80"})
    kept = kept_at(config)
    with kept._lock, pytest.raises(TimeoutError):
        kept.pause(0.01)
    kept.keep("a", config.peers["a"], ONE)
    assert kept_at(config).of("a") == ONE


def test_what_does_not_parse_as_a_name_in_it_is_left_out(tmp_path: Path) -> None:
    models = [{"id": "x"}, {"id": "\x1b[2J"}, 1, {"id": ""}]
    peers = {"a": {"address": "http://h", "models": models}}
    (tmp_path / "s.peers.json").write_text(json.dumps({"version": 1, "peers": peers}))
    assert kept_at(config_of(tmp_path / "s", a={"proxy": "http://h:80"})).of("a") == ONE


def names_of(peers: Peers) -> list[str]:
    return peers.offers()["a"]


@contextmanager
def a_box_with_a_kept_list(folder: Path, box: Box, offers: tuple[Offer, ...]) -> Iterator[tuple[Config, Logs]]:
    """The peer `a`, of which this is kept."""
    logs, upstream = Logs(to_stdout="none", stdout=None), Upstream(box)
    config = config_of(folder / "s", a={"proxy": upstream.proxy})
    kept_at(config).keep("a", config.peers["a"], offers)
    try:
        yield config, logs
    finally:
        upstream.close()
        logs.close()


def test_the_last_list_counts_from_the_start_until_the_peer_says_its_own(tmp_path: Path) -> None:
    box = Box(running=running())
    with a_box_with_a_kept_list(tmp_path, box, ONE) as (config, logs):
        with closing(Peers(logs.log)) as peers:
            peers.change(config)
            assert names_of(peers) == ["x"]
            wait_until(lambda: peers.is_llamaswap("a"))
            assert names_of(peers) == ["x"]  # it has no list that could be read
        box.answers["/v1/models"] = sized(b'{"data": [{"id": "y"}]}')
        with closing(Peers(logs.log)) as again:
            again.change(config)
            wait_until(lambda: names_of(again) == ["y"])
            wait_until(lambda: kept_at(config).of("a") == (Offer("y", "", {}, 0),))


def test_other_names_of_models_are_known_from_the_start_too(tmp_path: Path) -> None:
    """A list that stays the same is not heard as a new one."""
    said = json.dumps({"data": entries_of(MANY)}).encode()
    box = Box(running=running(m={"state": "ready"}), **{"v1/models": sized(said)})
    with a_box_with_a_kept_list(tmp_path, box, MANY) as (config, logs), closing(Peers(logs.log)) as peers:
        peers.change(config)
        peers.wait_for_lists(DEADLINE)
        assert [peers.states()["a"].runs(name) for name in ("m", "al", "x")] == [True, True, False]


def test_where_there_are_no_peers_at_the_start_there_is_no_list_either(tmp_path: Path) -> None:
    config, logs = config_of(tmp_path / "s", a={"proxy": "http://h:80"}), Logs(to_stdout="none", stdout=None)
    kept_at(config).keep("a", config.peers["a"], ONE)
    Peers(logs.log).change(config_of(tmp_path / "s"))
    logs.close()
    assert list(tmp_path.iterdir()) == []
