"""The plain page: it shows what runs, leads nowhere that is not there, and escapes whatever it shows."""

from __future__ import annotations

import re
import shlex

import pytest

from tests.web.world import OK, Running, World, answers, get

CONFIG = """
models:
  '<b>&"x"</b>':
    cmd: server
    proxy: http://127.0.0.1:1
    description: '<script>alert(1)</script>'
  m: {cmd: server, proxy: 'http://127.0.0.1:1', name: Named}
  hidden: {cmd: server, proxy: 'http://127.0.0.1:1', unlisted: true}
"""


def at(host: bytes, extra: bytes = b"") -> bytes:
    """A request for the page at a host."""
    return b"GET /ui/ HTTP/1.1\r\nHost: " + host + b"\r\n" + extra + b"\r\n"


def page(world: World, request: bytes = get("/ui/")) -> str:
    head, body = world.ask(request)
    assert head.startswith(b"HTTP/1.1 200 "), head
    assert b"\r\nContent-Type: text/html; charset=utf-8\r\n" in head
    assert b"frame-ancestors 'none'" in head
    return body.decode()


def test_it_shows_each_listed_model_and_its_state() -> None:
    with World(answers(OK), config=CONFIG) as world:
        world.controller.running = [Running("m", 1, "ready")]
        text = page(world)
        assert '<tr><td>m</td><td class="ready">ready</td><td>Named</td></tr>' in text
        assert '<td class="stopped">stopped</td>' in text
        assert "hidden" not in text


def test_whatever_it_shows_is_escaped() -> None:
    with World(answers(OK), config=CONFIG) as world:
        text = page(world, at(b"a'b&c"))
        assert "http://a&#x27;b&amp;c/v1" in text
        assert "<script" not in text
        assert "<b>" not in text
        assert "&lt;b&gt;&amp;" in text


def test_a_configuration_without_models_has_a_page() -> None:
    with World(answers(OK), config="models: {}") as world:
        assert "the configuration names none" in page(world)


@pytest.mark.parametrize("path", ["/", "/ui", "/upstream"])
def test_every_redirect_to_it_ends_at_a_page(path: str) -> None:
    with World(answers(OK)) as world:
        for _ in range(5):
            head, _ = world.ask(get(path))
            found = re.search(rb"\r\nLocation: (\S+)\r\n", head)
            if found is None:
                break
            path = found[1].decode()
        assert head.startswith(b"HTTP/1.1 200 ")


def test_its_links_lead_to_what_is_there() -> None:
    with World(answers(OK)) as world:
        links = re.findall(r'href="([^"]+)"', page(world))
        assert links
        for link in links:
            with world.connect() as client:
                client.send(get(link))
                assert client.read_until(b"\r\n").startswith(b"HTTP/1.1 200 "), link


def test_its_command_asks_the_first_model_where_the_client_reached_us() -> None:
    with World(answers(OK)) as world:
        found = re.search(r"<pre>(.*?)</pre>", page(world, at(b"box.lan:81")), re.DOTALL)
        assert found is not None
        text = found[1].replace("&#x27;", "'").replace("&quot;", '"').replace("\\\n", "")
        words = shlex.split(text)
        assert words[:2] == ["curl", "http://box.lan:81/v1/chat/completions"]
        assert '"model": "m"' in words[-1]
        behind = at(b"box.lan", b"X-Forwarded-Proto: https\r\n")
        assert "https://box.lan/v1" in page(world, behind)


def test_what_is_not_there_is_not_found() -> None:
    with World(answers(OK)) as world:
        assert world.ask(get("/ui/nothing"))[0].startswith(b"HTTP/1.1 404 ")
