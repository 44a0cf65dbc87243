"""The playground with a real llama.cpp: what it tells of its speed, reading its answers, and stopping them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.program import Program, models, wait_until
from tests.e2e.test_llama_cpp import llama
from tests.ui.conftest import Watched, playwright
from tests.ui.test_playground import ended, say

missing = [name for name in ("xllamacpp", "gguf", "numpy") if find_spec(name) is None]
pytestmark = pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}: pip install -e '.[llama]'")
expect = playwright.expect


@pytest.fixture
def llamas(tmp_path: Path, run_server: Callable[..., Program]) -> Iterator[Program]:
    """A llamaswap with two tiny models of llama.cpp: `talk`, which goes on for seconds, and `embed`."""
    from tests.e2e.tiny_gguf import Shape, write_model  # noqa: PLC0415 - gguf may be missing

    talk, embed = tmp_path / "talk.gguf", tmp_path / "embed.gguf"
    write_model(talk, Shape(seed=4, layers=12, width=512, heads=8, feed_forward=2048))
    write_model(embed, Shape(3, is_embedder=True))
    with run_server(models(talk=llama(talk), embed=llama(embed, "embeddings"))) as program:
        yield program


def set_up(page: Any, tokens: int) -> None:
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("Max tokens").fill(str(tokens))
    page.get_by_label("More, as JSON").fill('{"ignore_eos": true}')


def test_a_chat_has_the_figures_that_llama_cpp_tells(llamas: Program, watch: Callable[..., Watched]) -> None:
    page = watch(llamas).open("playground/chat?model=talk")
    set_up(page, 20)
    answer = ended(say(page, "hello"))
    figures = answer.locator(".answer-figures")
    expect(figures).to_contain_text(
        re.compile(r"first token .* tokens/s 20 tokens prompt \d+ at .*cut: max tokens reached")
    )
    expect(figures).not_to_contain_text("seen")


def test_a_stop_frees_the_slot_of_llama_cpp(llamas: Program, watch: Callable[..., Watched]) -> None:
    page = watch(llamas).open("playground/chat?model=talk")
    set_up(page, 1500)
    answer = say(page, "hello")
    expect(answer).to_have_attribute("aria-busy", "true")
    expect(answer.locator(".meanwhile")).to_have_count(0)
    page.get_by_role("textbox", name="Message").press("Escape")
    expect(ended(answer)).to_contain_text("Stopped")
    wait_until(
        lambda: not any(slot["is_processing"] for slot in llamas.get("/upstream/talk/slots").json()), "a free slot"
    )


def test_its_embeddings_become_a_table(llamas: Program, watch: Callable[..., Watched]) -> None:
    page = watch(llamas).open("playground/embeddings?model=embed")
    page.get_by_role("button", name="Compare").click()
    expect(page.locator(".heat tbody td")).to_have_count(9)
    expect(page.locator(".heat tbody td").first).to_have_text("1.00")
