"""The page Configuration: what is in use, and the editor."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from tests.e2e.program import demo, wait_until
from tests.ui.conftest import CONFIG, Served, Watched, playwright
from tests.ui.modules import call

expect = playwright.expect
TEXT = f"""models:
  small:
    cmd: {demo()}
    ttl: 100
  large:
    cmd: {demo()}
"""


def at_end_of(page: Any, words: str) -> None:
    """Put the caret behind these words."""
    field = page.locator("textarea")
    field.evaluate(
        "(e, words) => { const at = e.value.indexOf(words) + words.length; e.focus(); e.setSelectionRange(at, at); }",
        words,
    )


def test_it_shows_what_is_in_use_with_secrets_hidden(
    watch: Callable[..., Watched], run_server: Callable[..., Served]
) -> None:
    config = {**CONFIG, "models": {**CONFIG["models"], "secretive": {"cmd": demo("--api-key", "sk-hidden-thing")}}}
    with run_server(config) as server:
        watched = watch(server)
        page = watched.open("config")
        shown = page.get_by_label("The resolved configuration")
        expect(shown).to_contain_text("--tokens-per-second 200")
        expect(shown).not_to_contain_text("sk-hidden-thing")
        expect(page.locator("dl.facts")).to_contain_text(str(server.config_path))


def test_without_the_flag_a_text_can_be_tried_and_nothing_saved(watched: Watched) -> None:
    page = watched.open("config/edit")
    expect(page.get_by_text("-allow-config-edit")).to_be_visible()
    expect(page.get_by_role("button", name="Save", exact=True)).to_have_count(0)
    page.locator("textarea").fill("models: {a: {cmd: 'x --port ${PORT}', tll: 3}}")
    expect(page.get_by_text('unknown key "tll" (did you mean "ttl"?)')).to_be_visible()


def test_the_field_stays_when_the_configuration_is_read_again(
    watch: Callable[..., Watched], run_server: Callable[..., Served]
) -> None:
    with run_server(flags=["-allow-config-edit"]) as server:
        page = watch(server).open("config/edit")
        field = page.locator("textarea")
        field.press("End")
        call(page, "live.js", "readAbout")
        expect(page.get_by_text("Nothing is wrong with it.")).to_have_count(1)
        expect(field).to_be_focused()


def test_keys_and_values_are_completed_with_what_they_are_for(watched: Watched) -> None:
    page = watched.open("config/edit")
    page.locator("textarea").fill("models:\n  m:\n    cmd: x --port ${PORT}\n    conc")
    at_end_of(page, "    conc")
    page.keyboard.type("u")
    expect(page.get_by_role("option").first).to_contain_text("concurrencyLimit")
    page.keyboard.press("Tab")
    expect(page.locator("textarea")).to_have_value(re.compile("    concurrencyLimit: $"))
    page.keyboard.type("3")
    page.keyboard.press("Enter")
    expect(page.locator("textarea")).to_have_value(re.compile("concurrencyLimit: 3\n    $"))
    page.locator("textarea").fill("logLevel: ")
    at_end_of(page, "logLevel: ")
    page.keyboard.press("Control+Space")
    expect(page.get_by_role("option")).to_have_text(["debug", "info", "warn", "error"])
    page.keyboard.press("Escape")
    expect(page.get_by_role("option")).to_have_count(0)
    page.keyboard.press("Tab")
    expect(page.locator("textarea")).not_to_be_focused()


def test_a_wrong_text_is_marked_and_cannot_be_saved_a_right_one_is_saved_and_reloaded(
    watch: Callable[..., Watched], run_server: Callable[..., Served]
) -> None:
    with run_server(flags=["-allow-config-edit"]) as server:
        server.config_path.write_text(TEXT)
        assert server.post("/api/config/reload", None).status == 200
        assert server.chat("small", max_tokens=1).status == 200
        watched = watch(server)
        page = watched.open("config/edit")
        save = page.get_by_role("button", name="Save and reload")
        expect(page.get_by_text("Nothing is wrong with it.").or_(page.get_by_text("warning"))).not_to_have_count(0)
        expect(save).to_be_disabled()
        field = page.locator("textarea")
        field.fill(TEXT.replace("ttl: 100", "ttl: soon"))
        expect(page.locator(".findings.fail")).to_contain_text("models.small.ttl")
        expect(page.locator(".editor-lines .wrong")).to_have_text("4")
        expect(save).to_be_disabled()
        page.get_by_role("button", name="line 4").click()
        expect(field).to_be_focused()

        field.fill(TEXT.replace("ttl: 100", "ttl: 200").replace("  large:", "  larger:"))
        effects = page.locator("section", has_text="What a reload would change")
        expect(effects).to_contain_text("Get other settings, without a restart")
        expect(effects.locator("dd").filter(has_text="larger")).to_have_count(1)
        save.click()
        expect(page.get_by_text("The new configuration is in use")).to_be_visible()
        wait_until(lambda: "larger" in server.get("/v1/models").text, "the new model is there")
        assert server.states() == {"small": "ready"}


def test_a_model_that_a_reload_would_start_again_is_named_before(
    watch: Callable[..., Watched], run_server: Callable[..., Served]
) -> None:
    with run_server(flags=["-allow-config-edit"]) as server:
        server.config_path.write_text(TEXT)
        assert server.post("/api/config/reload", None).status == 200
        assert server.chat("large", max_tokens=1).status == 200
        watched = watch(server)
        page = watched.open("config/edit")
        page.locator("textarea").fill(f"{TEXT.rstrip()} --load-seconds 0.1\n")
        effects = page.locator("section", has_text="What a reload would change")
        expect(effects).to_contain_text("Start again, when their requests have ended")
        expect(effects.locator("dd").first).to_have_text("large")


def test_what_somebody_else_has_changed_meanwhile_is_not_overwritten_unasked(
    watch: Callable[..., Watched], run_server: Callable[..., Served]
) -> None:
    with run_server(flags=["-allow-config-edit"]) as server:
        server.config_path.write_text(TEXT)
        watched = watch(server)
        watched.allow("412")
        page = watched.open("config/edit")
        field = page.locator("textarea")
        expect(field).to_have_value(TEXT)
        server.config_path.write_text(TEXT + "# theirs\n")
        field.fill(TEXT + "# mine\n")
        page.get_by_role("button", name="Save", exact=True).click()
        dialog = page.get_by_role("dialog", name=re.compile("changed by somebody else"))
        dialog.get_by_role("button", name="Cancel").click()
        expect(page.get_by_text("has been changed meanwhile").first).to_be_visible()
        assert server.config_path.read_text() == TEXT + "# theirs\n"
        page.get_by_role("button", name="Save", exact=True).click()
        dialog.get_by_role("button", name="Replace").click()
        expect(page.get_by_text("is saved")).to_be_visible()
        assert server.config_path.read_text() == TEXT + "# mine\n"


def test_what_was_typed_stays_while_another_page_is_shown(watched: Watched) -> None:
    page = watched.open("config/edit")
    page.locator("textarea").fill("models: {}  # mine\n")
    page.get_by_role("link", name="Queue").click()
    expect(page.locator("textarea")).to_have_count(0)
    page.go_back()
    expect(page.locator("textarea")).to_have_value("models: {}  # mine\n")


def test_files_that_cannot_be_used_are_told_of_on_every_page(
    watch: Callable[..., Watched], run_server: Callable[..., Served]
) -> None:
    with run_server() as server:
        watched = watch(server)
        server.config_path.write_text("models: [")
        assert server.post("/api/config/reload", None).status == 400
        page = watched.open("settings")
        page.get_by_role("link", name="What is wrong").click()
        expect(page.get_by_text("The changed files cannot be used")).to_be_visible()


def test_files_that_cannot_be_used_are_told_of_at_once_and_so_is_their_repair(
    watch: Callable[..., Watched], run_server: Callable[..., Served]
) -> None:
    with run_server() as server:
        page = watch(server).open("queue")
        warning = page.get_by_text("The changed configuration cannot be used")
        expect(page.locator("nav footer")).to_contain_text("0.")
        server.config_path.write_text("models: [")
        assert server.post("/api/config/reload", None).status == 400
        expect(warning).to_be_visible()
        server.reload({**CONFIG, "profiles": {"night": {"pins": {"x": "small"}}}})
        expect(warning).to_have_count(0)
        expect(page.get_by_label("Profile").locator("option", has_text="night")).to_be_attached()


def test_a_draft_that_was_left_does_not_overwrite_what_somebody_else_has_changed_since(
    watch: Callable[..., Watched], run_server: Callable[..., Served]
) -> None:
    with run_server(flags=["-allow-config-edit"]) as server:
        server.config_path.write_text(TEXT)
        watched = watch(server)
        watched.allow("412")
        page = watched.open("config/edit")
        page.locator("textarea").fill(TEXT + "# mine\n")
        page.get_by_role("link", name="Queue").click()
        expect(page.locator("textarea")).to_have_count(0)
        server.config_path.write_text(TEXT + "# theirs\n")
        page.go_back()
        expect(page.locator("textarea")).to_have_value(TEXT + "# mine\n")
        page.get_by_role("button", name="Save", exact=True).click()
        dialog = page.get_by_role("dialog", name=re.compile("changed by somebody else"))
        dialog.get_by_role("button", name="Cancel").click()
        assert server.config_path.read_text() == TEXT + "# theirs\n"
