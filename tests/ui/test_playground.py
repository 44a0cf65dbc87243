"""The playground: chats streamed, stopped, edited, retried, compared and kept; the other tabs; what harms nobody."""

from __future__ import annotations

import json
import re
import shlex
import sys
from base64 import b64decode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.program import Program, demo
from tests.ui.conftest import CONFIG, Watched, playwright
from tests.ui.held import Held
from tests.ui.talker import DOT

expect = playwright.expect
# The answer to a message that was said first in a conversation is in the database of the browser, whole.
IS_KEPT = """async (text) => {
    const done = (asked) => new Promise((resolve) => { asked.onsuccess = () => resolve(asked.result); });
    const database = await done(indexedDB.open("llamaswap.playground"));
    const bodies = await done(database.transaction("bodies").objectStore("bodies").getAll());
    database.close();
    return bodies.some(({ turns: [turn] }) => turn.text === text && turn.answers[0]?.state === "done");
}"""
TALKER = shlex.join((sys.executable, str(Path(__file__).with_name("talker.py")))) + " ${PORT}"


@pytest.fixture
def talking(run_server: Callable[..., Program]) -> Iterator[Program]:
    """A llamaswap with the demo models and one that says what a test wants, `talker`."""
    model = {"cmd": TALKER, "capabilities": {"in": ["text", "image"], "out": ["text"]}}
    groups = {**CONFIG["groups"], "beside": {"members": ["talker"], "swap": False, "exclusive": False}}
    with run_server({"models": {**CONFIG["models"], "talker": model}, "groups": groups}) as program:
        yield program


def say(page: Any, text: str) -> Any:
    """Send a message; the last answer."""
    box = page.get_by_role("textbox", name="Message")
    box.fill(text)
    box.press("Enter")
    expect(box).to_have_value("")
    return page.locator("article").last


def ended(answer: Any) -> Any:
    """The same answer, when it has ended."""
    expect(answer).to_have_attribute("aria-busy", "false")
    return answer


def test_an_answer_is_streamed_with_its_figures(watched: Watched) -> None:
    page = watched.open("playground/chat?model=small")
    answer = ended(say(page, "hello there"))
    expect(answer).to_contain_text("Hello, this is small.")
    expect(answer.locator(".answer-figures")).to_contain_text(
        re.compile(r"first token .*tokens/s.*\d+ tokens.*prompt 2.*in all")
    )
    expect(page).to_have_url(re.compile("model=small.*c="))


def test_what_the_server_does_meanwhile_is_said_and_the_answer_goes_on_elsewhere(
    watch: Callable[..., Watched], run_server: Callable[..., Program], tmp_path: Path
) -> None:
    held = Held(tmp_path)
    with run_server({"models": {"large": {"cmd": held.command()}}}) as server:
        page = watch(server).open("playground/chat?model=large")
        answer = say(page, "hello")
        expect(answer.locator(".meanwhile")).to_contain_text("large is loading")
        page.get_by_role("link", name="Logs").click()
        expect(page.get_by_role("heading", name="Logs")).to_be_visible()
        held.open()
        page.get_by_role("link", name="Playground").click()
        expect(ended(page.locator("article").last)).to_contain_text("Hello, this is large.")


def test_reasoning_is_folded_and_markdown_is_drawn(talking: Program, watch: Callable[..., Watched]) -> None:
    page = watch(talking).open("playground/chat?model=talker")
    answer = ended(say(page, "think"))
    reasoning = answer.locator("details.reasoning")
    expect(reasoning).not_to_have_attribute("open", "")
    expect(reasoning.locator(".markdown")).to_have_text("Let me see.")
    expect(answer.get_by_role("heading", name="Result")).to_be_visible()
    expect(answer.get_by_role("cell")).to_have_text(["x", "1"])
    expect(answer.locator("figure.code bdi")).to_have_text("python")
    expect(answer.locator(".answer-figures")).to_contain_text("pieces seen")
    answer = ended(say(page, "tags"))
    expect(answer.locator(".reasoning .markdown")).to_have_text("in secret")
    expect(answer.locator(".message-text")).to_have_text("in public")
    answer = ended(say(page, "tool"))
    answer.get_by_text("calls weather").click()
    expect(answer.locator("figure.code code")).to_contain_text('"city": "Rome"')


def test_an_answer_is_stopped_by_escape_and_by_its_button(talking: Program, watch: Callable[..., Watched]) -> None:
    page = watch(talking).open("playground/chat?model=talker")
    answer = say(page, "slow")
    expect(answer.locator(".message-text")).to_contain_text("word word")
    page.get_by_role("textbox", name="Message").press("Escape")
    expect(ended(answer)).to_contain_text("Stopped")
    answer = say(page, "slow")
    expect(answer.locator(".message-text")).to_contain_text("word word")
    page.get_by_role("button", name="Stop").click()
    expect(ended(answer)).to_contain_text("Stopped")
    expect(page.get_by_role("button", name="Send")).to_be_visible()


def test_a_message_is_edited_and_an_answer_is_asked_for_again(talking: Program, watch: Callable[..., Watched]) -> None:
    page = watch(talking).open("playground/chat?model=talker")
    ended(say(page, "first"))
    ended(say(page, "second"))
    expect(page.locator(".turn")).to_have_count(2)
    page.get_by_role("button", name="Edit").first.click()
    box = page.get_by_role("textbox", name="Edit the message")
    box.fill("another")
    box.press("Enter")
    expect(page.locator(".turn")).to_have_count(1)
    expect(ended(page.locator("article"))).to_contain_text('{"role": "user", "content": "another"}')
    page.get_by_role("button", name="Retry").click()
    expect(ended(page.locator("article"))).to_contain_text('{"role": "user", "content": "another"}')
    expect(page.locator("article")).to_have_count(1)


def test_what_is_set_is_sent(talking: Program, watch: Callable[..., Watched]) -> None:
    page = watch(talking).open("playground/chat?model=talker")
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("System prompt").fill("Be brief.")
    page.get_by_label("Temperature").fill("0.5")
    page.get_by_label("Max tokens").fill("7")
    page.get_by_label("More, as JSON").fill('{"top_k": 3}')
    dot = {"name": "dot.png", "mimeType": "image/png", "buffer": b64decode(DOT)}
    page.locator("input[type=file]").set_input_files(dot)
    expect(page.get_by_role("img", name="Picture 1")).to_be_visible()
    answer = ended(say(page, "look"))
    sent = json.loads(answer.locator(".message-text code").inner_text())
    assert sent["messages"][0] == {"role": "system", "content": "Be brief."}
    assert [part["type"] for part in sent["messages"][1]["content"]] == ["text", "image_url"]
    assert (sent["temperature"], sent["max_tokens"], sent["top_k"]) == (0.5, 7, 3)
    expect(page.locator(".turn .pictures img")).to_be_visible()
    page.get_by_label("More, as JSON").fill("{")
    page.get_by_role("textbox", name="Message").fill("more")
    page.get_by_role("textbox", name="Message").press("Enter")
    expect(page.get_by_role("log", name="Messages")).to_contain_text("is no JSON")
    expect(page.get_by_role("textbox", name="Message")).to_have_value("more")


def test_two_models_answer_side_by_side(watched: Watched) -> None:
    page = watched.open("playground/chat?model=small&with=embed")
    say(page, "hello")
    one, other = page.locator("article").nth(0), page.locator("article").nth(1)
    expect(ended(one)).to_contain_text("this is small")
    expect(ended(other)).to_contain_text("this is embed")
    tops = page.locator("article").evaluate_all("all => all.map((each) => each.getBoundingClientRect().top)")
    assert tops[0] == tops[1]  # at one moment: the page may still scroll to its end
    page.get_by_role("button", name="One model").click()
    ended(say(page, "alone"))
    expect(page.locator("article")).to_have_count(3)


def test_an_error_is_shown_in_its_place_with_what_to_do(talking: Program, watch: Callable[..., Watched]) -> None:
    watched = watch(talking)
    watched.allow("500")
    page = watched.open("playground/chat?model=talker")
    answer = ended(say(page, "fail"))
    alert = answer.get_by_role("alert")
    expect(alert).to_contain_text("500 out of memory on <b>GPU 0</b>")
    expect(alert).to_contain_text("log may say more")
    for _ in range(2):
        before = answer.element_handle()
        page.get_by_role("button", name="Try again").click()
        before.wait_for_element_state("hidden")  # another one is in its place
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(ended(page.locator("article"))).to_contain_text("heard")


def test_an_answer_that_breaks_off_keeps_what_has_come(talking: Program, watch: Callable[..., Watched]) -> None:
    page = watch(talking).open("playground/chat?model=talker")
    answer = ended(say(page, "break"))
    expect(answer.locator(".message-text")).to_have_text("half an")
    expect(answer.get_by_role("alert")).to_contain_text("broke off")


def test_each_endpoint_is_spoken(watched: Watched) -> None:
    page = watched.open("playground/chat?model=small")
    page.get_by_role("button", name="Settings").click()
    for name in ("messages", "responses", "chat/completions"):
        page.get_by_label("Endpoint").select_option(name)
        answer = ended(say(page, f"by {name}"))
        expect(answer).to_contain_text("Hello, this is small.")
        expect(answer.locator(".answer-figures")).to_contain_text(re.compile(r"\d tokens "))


def test_a_hostile_answer_harms_and_freezes_nothing(talking: Program, watch: Callable[..., Watched]) -> None:
    page = watch(talking).open("playground/chat?model=talker")
    answer = ended(say(page, "hostile"))
    expect(answer).to_contain_text("<script>window.bad = 1</script>")
    expect(answer.locator("script, img, [onerror], a[href^=javascript]")).to_have_count(0)
    assert page.evaluate("() => window.bad") is None
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    expect(ended(say(page, "still there"))).to_contain_text("heard")


def test_conversations_are_kept_over_a_reload_and_can_be_renamed_and_deleted(
    talking: Program, watch: Callable[..., Watched]
) -> None:
    page = watch(talking).open("playground/chat?model=talker")
    ended(say(page, "the first one"))
    page.get_by_role("button", name="New conversation").click()
    expect(page.locator("article")).to_have_count(0)
    ended(say(page, "the second one"))
    page.wait_for_function(IS_KEPT, arg="the second one")
    page.reload()
    expect(ended(page.locator("article"))).to_contain_text("the second one")
    kept = page.get_by_role("list", name="Conversations").get_by_role("listitem")
    expect(kept).to_have_count(2)
    kept.filter(has_text="the first one").locator(".title").click()
    expect(page.locator("article")).to_contain_text("the first one")
    page.get_by_role("button", name="More for the first one").click()
    page.get_by_label("Name").fill("renamed")
    page.get_by_role("button", name="Rename").click()
    expect(kept.filter(has_text="renamed")).to_have_count(1)
    page.get_by_role("button", name="More for renamed").click()
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save as Markdown").click()
    assert Path(saved.value.path()).read_text().startswith("# renamed\n\n## You\n\nthe first one\n\n## talker\n\nheard")
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Delete").click()
    expect(kept).to_have_count(1)
    expect(page.locator("article")).to_have_count(0)


def test_a_conversation_that_is_deleted_while_it_is_answered_does_not_come_back(
    talking: Program, watch: Callable[..., Watched]
) -> None:
    page = watch(talking).open("playground/chat?model=talker")
    answer = say(page, "slow")
    expect(answer.locator(".message-text")).to_contain_text("word word")
    page.get_by_role("button", name="More for slow").click()
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Delete").click()
    expect(page.locator("article")).to_have_count(0)
    ended(say(page, "another"))
    page.wait_for_function(IS_KEPT, arg="another")
    page.reload()
    kept = page.get_by_role("list", name="Conversations").get_by_role("listitem")
    expect(kept.locator("bdi")).to_have_text(["another"])


def test_an_answer_of_the_second_model_is_tried_again_though_one_model_is_left(
    talking: Program, watch: Callable[..., Watched]
) -> None:
    page = watch(talking).open("playground/chat?model=small&with=talker")
    ended(say(page, "hello"))
    page.get_by_role("button", name="One model").click()
    second = page.get_by_role("article", name="Answer of talker")
    before = second.element_handle()
    second.get_by_role("button", name="Retry").click()
    before.wait_for_element_state("hidden")
    expect(ended(second)).to_contain_text("heard")


def test_a_draft_survives_another_tab_and_another_page(watched: Watched) -> None:
    page = watched.open("playground/chat?model=small")
    page.get_by_role("textbox", name="Message").fill("not yet sent")
    page.get_by_role("link", name="Rerank").click()
    page.get_by_label("Question").fill("where?")
    page.get_by_role("link", name="Queue").click()
    page.get_by_role("link", name="Playground").click()
    expect(page.get_by_role("textbox", name="Message")).to_have_value("not yet sent")
    page.get_by_role("link", name="Rerank").click()
    expect(page.get_by_label("Question")).to_have_value("where?")


def test_a_completion_goes_on_and_can_be_taken_over(watched: Watched) -> None:
    page = watched.open("playground/completion?model=small")
    page.get_by_label("Text to continue").fill("Say it")
    page.get_by_role("button", name="Complete").click()
    expect(page.locator(".continuation")).to_contain_text("Say itHello, this is small.")
    page.get_by_role("button", name="Take it over").click()
    expect(page.get_by_label("Text to continue")).to_have_value(re.compile("^Say itHello"))


def test_embeddings_become_a_table_of_how_near_texts_are(watched: Watched) -> None:
    page = watched.open("playground/embeddings")
    expect(page.get_by_label("Model", exact=True)).to_have_value("embed")
    page.get_by_label("Texts").fill("a b c\na b d\nx y z")
    page.get_by_role("button", name="Compare").click()
    cells = page.locator(".heat tbody td")
    expect(cells).to_have_count(9)
    numbers = [float(text) for text in cells.all_inner_texts()]
    assert numbers[0] == numbers[4] == numbers[8] == 1.0
    assert numbers[1] == numbers[3] > numbers[2]


def test_texts_are_ranked(watched: Watched) -> None:
    page = watched.open("playground/rerank?model=embed")
    page.get_by_label("Question").fill("blue sky")
    page.get_by_label("Texts").fill("green grass\nthe blue sky\nblue")
    page.get_by_role("button", name="Rank").click()
    rows = page.get_by_role("list", name="The best first").get_by_role("listitem")
    expect(rows).to_have_count(3)
    expect(rows.last).to_contain_text("green grass")


def test_pictures_and_sounds_are_made_and_heard(talking: Program, watch: Callable[..., Watched]) -> None:
    page = watch(talking).open("playground/images?model=talker")
    page.get_by_label("What is in the picture").fill("a dot")
    page.get_by_label("How many").fill("2")
    page.get_by_role("button", name="Generate").click()
    expect(page.get_by_role("img", name="a dot")).to_have_count(2)
    page.get_by_label("Route").select_option("sdapi")
    page.get_by_role("button", name="List LoRAs").click()
    page.get_by_role("button", name="ink").click()
    expect(page.get_by_label("What is in the picture")).to_have_value("a dot <lora:ink:1>")
    page.get_by_role("button", name="Generate").click()
    expect(page.get_by_role("img", name="a dot <lora:ink:1>")).to_have_count(1)
    page.get_by_role("link", name="Speech").click()
    page.get_by_role("button", name="List the voices").click()
    expect(page.get_by_text("2 voices")).to_be_visible()
    page.get_by_label("Text to read").fill("hello")
    page.get_by_label("Format").select_option("wav")
    page.get_by_role("button", name="Read aloud").click()
    sound = page.get_by_label("What was read")
    expect(sound).to_have_attribute("src", re.compile("^blob:"))
    page.get_by_role("link", name="Transcription").click()
    wav = {"name": "a.wav", "mimeType": "audio/wav", "buffer": b"x" * 2000}
    page.get_by_label("Sound").set_input_files(wav)
    page.get_by_role("button", name="Transcribe").click()
    expect(page.locator(".continuation")).to_have_text("heard True")


def test_the_load_test_draws_each_request_and_adds_up(watched: Watched) -> None:
    page = watched.open("playground/load?model=small")
    page.get_by_role("button", name="Add a model").click()
    page.get_by_label("Model 2", exact=True).select_option("embed")
    page.get_by_role("button", name="Model 2 earlier").click()
    expect(page.get_by_label("Model 1", exact=True)).to_have_value("embed")
    page.get_by_role("spinbutton", name="Requests").fill("8")
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_label("Totals")).to_contain_text("8 of 8")
    rows = page.get_by_role("region", name="Figures by model").locator("tbody tr")
    expect(rows.nth(0)).to_contain_text(re.compile("^embed40"))
    expect(rows.nth(1)).to_contain_text(re.compile("^small40"))
    expect(page.locator(".load-lines rect.content")).to_have_count(8)


def test_a_load_test_is_stopped(talking: Program, watch: Callable[..., Watched]) -> None:
    page = watch(talking).open("playground/load?model=talker")
    page.get_by_label("Prompt").fill("slow")
    page.get_by_role("button", name="Start").click()
    expect(page.locator(".load-lines rect.content")).to_have_count(4)
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("button", name="Start")).to_be_visible()
    expect(page.get_by_label("Totals")).to_contain_text("4 of 20")


def test_without_models_the_page_says_what_to_write(
    watch: Callable[..., Watched], run_server: Callable[..., Program]
) -> None:
    with run_server({"models": {}}) as server:
        watched = watch(server)
        page = watched.open("playground")
        expect(page.get_by_role("heading", name="There are no models yet")).to_be_visible()
        watched.close()


def test_models_made_for_something_else_come_last(
    watch: Callable[..., Watched], run_server: Callable[..., Program]
) -> None:
    painter = {"cmd": demo(), "capabilities": {"in": ["text"], "out": ["image"]}}
    with run_server({"models": {"a-painter": painter, "writer": {"cmd": demo()}}}) as server:
        watched = watch(server)
        page = watched.open("playground/chat")
        picker = page.get_by_label("Model", exact=True)
        expect(picker).to_have_value("writer")
        expect(picker.locator("optgroup")).to_have_attribute("label", "Made for something else")
        page.get_by_role("link", name="Images").click()
        expect(picker).to_have_value("a-painter")
        watched.close()
