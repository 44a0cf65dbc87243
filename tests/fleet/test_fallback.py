"""`fallback`: another model answers in place of one that cannot, at servers with real sockets."""

from __future__ import annotations

import json
import sys

import pytest

from llamaswap_lib.config.fallbacks import chain_of
from llamaswap_lib.config.load import load_text
from llamaswap_lib.errors import ConcurrencyLimit, ConfigError, InsufficientMemory, LoadFailed, ModelHung
from llamaswap_lib.fleet.retrying import ALWAYS
from tests.fleet.test_fail_over import NOT_LOADED, Says, code_of, status, two_boxes
from tests.web.world import CHUNKED_HEAD, OK, World, chat, get

CONFIG = """
models:
  m: {cmd: server, proxy: PROXY, aliases: [al], fallback: [two/b, spare], filters: {setParams: {at: m}}}
  spare: {cmd: server, proxy: PROXY, fallback: [one/a], filters: {setParams: {at: spare}}}
  open: {cmd: server, proxy: "http://127.0.0.1:9", checkEndpoint: none, fallback: [two/b]}
peers:
  one: {proxy: ONE, models: [a, c], filters: {setParams: {at: one}}}
  two: {proxy: TWO, models: [b], filters: {setParams: {at: two}}}
selectors:
  pin: {strategy: pin, targets: [one/a], fallback: [two/b, spare]}
  both: {strategy: failover, targets: [one/a, one/c], fallback: [one/c, two/b]}
  of-m: {strategy: pin, targets: [m]}
"""
HEADER = b"\r\nX-Llamaswap-Fallback: "


def ask(world: World, model: str, extra: bytes = b"") -> tuple[int, str, bytes]:
    """The status, the model that is named as the fallback, and the body."""
    head, body = world.ask(chat(json.dumps({"model": model}).encode(), extra=extra))
    return code_of((head, body)), head.partition(HEADER)[2].partition(b"\r\n")[0].decode(), body


@pytest.mark.parametrize("answer", [b"", status(503), status(429), NOT_LOADED])
def test_the_next_model_answers_and_is_named(answer: bytes) -> None:
    one, two = Says(answer), Says()
    with two_boxes(one, two, config=CONFIG) as world:
        assert ask(world, "pin") == (200, "two/b", b"ok")
        [record] = world.journal.wait_for(1)
        assert (record.model, record.selector, record.status) == ("two/b", "pin", 200)
        assert "; two/b is asked\n" in world.log
    assert [two.bodies, len(one.bodies)] == [[{"model": "b", "at": "two"}], 1]


@pytest.mark.parametrize("code", [400, 404, 413, 500, 502, 504])
def test_an_error_that_another_model_cannot_help_is_passed_on(code: int) -> None:
    two = Says()
    with two_boxes(Says(status(code)), two, config=CONFIG) as world:
        assert ask(world, "pin") == (code, "", b"body")
    assert two.bodies == []


def test_after_a_byte_of_an_answer_no_other_model_is_asked() -> None:
    two = Says()
    with two_boxes(Says(CHUNKED_HEAD + b"3\r\ncut"), two, config=CONFIG) as world, world.connect() as client:
        client.send(chat(b'{"model":"pin"}'))
        assert HEADER not in client.read_until(b"\r\n\r\n")
        world.journal.wait_for(1)
    assert two.bodies == []


@pytest.mark.parametrize(
    "refusal", [LoadFailed("it cannot"), InsufficientMemory("too large"), ConcurrencyLimit("full")]
)
@pytest.mark.parametrize("name", ["m", "al", "of-m"])
def test_a_model_of_ours_that_cannot_be_loaded_or_is_full_is_replaced(name: str, refusal: Exception) -> None:
    two = Says()
    with two_boxes(Says(), two, config=CONFIG) as world:
        world.controller.refusal = refusal
        assert ask(world, name) == (200, "two/b", b"ok")
        [record] = world.journal.wait_for(1)
        assert (record.model, record.selector) == ("two/b", "of-m" if name == "of-m" else "m")
    assert two.bodies == [{"model": "b", "at": "two"}]


def test_a_model_of_ours_that_hung_is_not() -> None:
    with two_boxes(Says(), Says(), config=CONFIG) as world:
        world.controller.refusal = ModelHung("it hung")
        assert ask(world, "m")[:2] == (504, "")


def test_what_follows_behind_a_fallback_is_asked_too_and_the_last_word_is_passed_on() -> None:
    one, two = Says(status(503)), Says(b"")
    with two_boxes(one, two, config=CONFIG) as world:
        world.controller.refusal = LoadFailed("it cannot")
        assert ask(world, "m") == (503, "one/a", b"body")
    assert [body["model"] for body in two.bodies + one.bodies] == ["b", "a"]


def test_the_server_of_a_model_that_says_it_is_busy_is_replaced() -> None:
    two = Says()
    with two_boxes(Says(status(503)), two, config=CONFIG) as world:
        world.controller.proxy = world.app.config.peers["one"].proxy
        assert ask(world, "m") == (200, "two/b", b"ok")


def test_one_without_a_check_that_takes_no_connection_is_replaced() -> None:
    two = Says()
    with two_boxes(Says(), two, config=CONFIG) as world:
        world.controller.proxy = "http://127.0.0.1:9"
        assert ask(world, "open") == (200, "two/b", b"ok")


def test_all_of_a_selector_comes_before_its_fallback() -> None:
    one, two = Says(status(503)), Says()
    with two_boxes(one, two, config=CONFIG) as world:
        assert ask(world, "both") == (200, "two/b", b"ok")
        record = world.journal.wait_for(1)[0]
        assert (record.model, record.retries) == ("two/b", 1)
    assert [body["model"] for body in one.bodies + two.bodies] == ["a", "c", "b"]


def test_a_fallback_is_asked_however_many_requests_need_it() -> None:
    one, two = Says(status(503)), Says()
    with two_boxes(one, two, config=CONFIG) as world:
        assert [ask(world, "both")[0] for _ in range(3 * ALWAYS)] == [200] * 3 * ALWAYS
    assert (len(one.bodies), len(two.bodies)) == (4 * ALWAYS, 3 * ALWAYS)


def test_a_request_of_another_llamaswap_goes_to_no_peer() -> None:
    two = Says()
    with two_boxes(Says(status(503)), two, config=CONFIG) as world:
        assert ask(world, "pin", b"Via: 1.1 llamaswap-%016x\r\n" % 7) == (200, "spare", b"ok")
    assert two.bodies == []


def test_upstream_and_the_name_of_one_box_have_no_fallback() -> None:
    two = Says()
    with two_boxes(Says(status(503)), two, config=CONFIG) as world:
        assert ask(world, "one/a")[:2] == (503, "")
        world.controller.refusal = LoadFailed("it cannot")
        assert code_of(world.ask(get("/upstream/m/v1/models"))) == 502
    assert two.bodies == []


def test_a_name_with_any_character_stands_in_the_header() -> None:
    config = "models:\n  m: {cmd: x, proxy: PROXY, fallback: [p/é 1]}\npeers: {p: {proxy: PROXY, models: [é 1]}}\n"
    with World(Says(OK), config=config) as world:
        world.controller.refusal = LoadFailed("it cannot")
        assert ask(world, "m") == (200, "p/%C3%A9 1", b"ok")


def test_a_chain_has_each_model_once() -> None:
    config = load_text(
        """
models:
  a: {cmd: x, proxy: "http://h", fallback: [b-too, p/m]}
  b: {cmd: x, proxy: "http://h", aliases: [b-too], fallback: [c, p/m]}
  c: {cmd: x, proxy: "http://h"}
  q: {cmd: x, proxy: "http://h", fallback: [c]}
peers: {p: {proxy: "http://h", models: auto}, r: {proxy: "http://h", models: [m, q]}}
selectors:
  s: {strategy: warm, targets: [c, a], fallback: [r/m, b]}
"""
    )
    assert {name: chain_of(name, config) for name in ("a", "b-too", "c", "q", "s")} == {
        "a": ("b-too", "c", "p/m"),
        "b-too": ("c", "p/m"),
        "c": (),
        "q": ("c",),
        "s": ("r/m", "b", "c", "p/m"),
    }
    assert "p/m" in config.peer_models


def in_a_row(count: int, last: str) -> str:
    models = [f'  m{n}: {{cmd: x, proxy: "http://h", fallback: [m{n + 1}]}}\n' for n in range(count)]
    return f"models:\n{''.join(models)}  m{count}: {{cmd: x, proxy: 'http://h', fallback: [{last}]}}\n"


def test_a_chain_may_have_any_length() -> None:
    count = sys.getrecursionlimit()
    config = load_text(in_a_row(count, ""))
    assert chain_of("m0", config) == tuple(f"m{n}" for n in range(1, count + 1))


def test_a_long_way_back_is_told_in_short() -> None:
    with pytest.raises(ConfigError) as raised:
        load_text(in_a_row(99, "m0"))
    first = str(raised.value).partition("\n")[0]
    assert first.startswith('config.yaml:2: models.m0.fallback: leads back to the model: "m0" -> "m1" -> "m2" -> ')
    assert first.endswith("…")
    assert len(first) < 600
