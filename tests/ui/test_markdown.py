"""The Markdown reader: CommonMark's own examples, texts that grow, floods, and what must never become a link."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.ui.conftest import DEADLINE, Watched, playwright

expect = playwright.expect
HERE = Path(__file__).parent
PROBE = (HERE / "markdown_probe.js").read_text()
LOAD = """
const base = document.querySelector("script[type=module]").src;
const reader = await import(new URL("parts/markdown.js", base));
"""
EXAMPLES = "import('commonmark-spec').then((spec) => console.log(JSON.stringify(spec.default.tests)))"

# The examples of CommonMark 0.31.2 that look otherwise here, and why.
DIFFERENT = {
    "HTML stays text, so it neither becomes elements nor keeps Markdown from being read": (
        {*range(148, 192)} - {168}
        | {21, 31, 201, 308, 309, 344, 475, 476, 477, 491, 494, 524, 536, 642, 643}
        | {*range(613, 633)} - {618, 619, 620, 621, 622, 624}
    ),
    "only the entities that are used in answers are known": {25},
    "an address of another kind than http, https and mailto is no link": {596, 598, 599, 601},
    "a bare address is a link, as on GitHub": {608, 611},
}
ATOMS = [
    *(
        "a",
        "b ",
        "\n",
        "\n\n",
        "- ",
        "1. ",
        "> ",
        "  ",
        "    ",
        "```",
        "```js\n",
        "~~~",
        "*",
        "**",
        "_",
        "`",
        "[",
        "]",
        "(",
    ),
    *(
        ")",
        "[a]: http://x.y\n",
        "[a]",
        "|",
        "|-|-|\n",
        "| a | b |\n",
        "# ",
        "===\n",
        "---\n",
        "$$\n",
        "$",
        "\\[",
        "\\]",
    ),
    *("<br>", "https://a.b ", "\t", "!", "~~", "[ ] ", "[x] ", "\\", "漢", "&amp;", "'", "//"),
]
DOT = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5E"
    "rkJggg=="
)
MOST_ELEMENTS = 70_000
DEEPEST = 90
FLOODS = {
    "one line of one letter": "'a'.repeat(1e6)",
    "one line of words": "'word '.repeat(2e5)",
    "lines": "'a\\n'.repeat(5e5)",
    "paragraphs": "'a\\n\\n'.repeat(3e5)",
    "nested quotes": "'>'.repeat(10000) + 'a'",
    "nested lists on one line": "'- '.repeat(10000) + 'a'",
    "nested lists": "Array.from({length: 1400}, (_, depth) => ' '.repeat(2 * depth) + '- a').join('\\n')",
    "backticks": "'`'.repeat(100000)",
    "backticks in runs of all lengths": "Array.from({length: 1400}, (_, n) => '`'.repeat(n) + 'a').join('')",
    "brackets that open": "'['.repeat(1e6)",
    "brackets that open and close": "'['.repeat(5e5) + ']'.repeat(5e5)",
    "the same beside a label": "'[x]: y\\n\\n' + '['.repeat(5e5) + ']'.repeat(5e5)",
    "links without an end": "'[a]('.repeat(2.5e5)",
    "links without an end in angles": "'[a](<b'.repeat(1.6e5)",
    "titles without an end": "'[a](b \\'t\" (t'.repeat(8e4)",
    "stars": "'*'.repeat(5e5) + 'a' + '*'.repeat(5e5)",
    "emphasis that is never closed": "'*a _b '.repeat(1.6e5)",
    "emphasis": "'*a* '.repeat(2.5e5)",
    "angles": "'<a '.repeat(3e5)",
    "addresses": "'http://a'.repeat(1.2e5)",
    "an address and parentheses": "'http://a' + ')'.repeat(1e6)",
    "dollars": "'$a'.repeat(5e5)",
    "math without an end": "'\\\\('.repeat(5e5)",
    "labels": "Array.from({length: 50000}, (_, n) => `[a${n}]: http://x.y/${n}`).join('\\n')",
    "headings": "'# a\\n'.repeat(2.5e5)",
    "rules": "'---\\n'.repeat(2.5e5)",
    "items": "'- a\\n'.repeat(2.5e5)",
    "tasks": "'- [ ] a\\n'.repeat(1e5)",
    "rows": "'|a|b|\\n|-|-|\\n' + '|a|b|\\n'.repeat(1.6e5)",
    "columns": "'|' + 'a|'.repeat(1e5) + '\\n|' + '-|'.repeat(1e5)",
    "blocks of code": "'```js\\na\\n```\\n'.repeat(7e4)",
    "one line of code": "'```js\\n' + \"const a = 'b'; \".repeat(6e4)",
    "lines of code": "'```py\\n' + '\\n'.repeat(1e6)",
    "strings without an end": "'```js\\n' + '\"a\\\\'.repeat(3e5)",
    "marks that turn the direction": "'\\u202e\\u2066x'.repeat(3e5)",
}


def in_page(page: Any, body: str, given: Any = None) -> Any:
    """What a function with this body returns in the page; it has the reader, the probe and `given`."""
    return page.evaluate("async (given) => {" + PROBE + LOAD + body + "}", given)


def show(page: Any, text: str) -> Any:
    """The text as Markdown, in the place of the page."""
    in_page(page, "show(reader.markdown(given));", text)
    return page.locator("main .markdown")


@pytest.fixture(scope="session")
def examples() -> list[dict[str, Any]]:
    """CommonMark's examples: markdown, html, section, number."""
    if not (HERE / "node_modules" / "commonmark-spec").is_dir():
        pytest.skip("CommonMark's examples are not installed: tests/ui/check installs them")
    done = subprocess.run(["node", "-e", EXAMPLES], cwd=HERE, capture_output=True, text=True, check=True, timeout=60)
    found: list[dict[str, Any]] = json.loads(done.stdout.replace("→", "\\t"))
    return found


def test_commonmarks_examples_agree_but_for_those_that_are_meant_to_differ(
    page: Any, examples: list[dict[str, Any]]
) -> None:
    different = set(in_page(page, "return disagreeing(reader, given);", examples))
    print(f"{len(examples) - len(different)} of CommonMark's {len(examples)} examples agree")
    assert different == set().union(*DIFFERENT.values())


def test_a_text_that_comes_in_pieces_looks_as_if_it_had_come_at_once(page: Any, examples: list[dict[str, Any]]) -> None:
    given = {"texts": [each["markdown"] for each in examples], "atoms": ATOMS}
    assert in_page(page, "return piecewise(reader, given.texts, 1500, given.atoms);", given) == []


def test_what_has_been_drawn_stays_while_more_comes(page: Any) -> None:
    assert in_page(page, "return kept(reader);") == [True, True, True, True]


def test_a_flood_is_read_in_linear_time_and_makes_a_bounded_number_of_elements(page: Any) -> None:
    """Each within a deadline that a growth faster than linear would miss by far."""
    for name, flood in FLOODS.items():
        page.evaluate("void (async () => {" + PROBE + LOAD + "window.drawn = draw(reader, " + flood + "); })()")
        page.wait_for_function("() => window.drawn", timeout=DEADLINE)
        drawn = page.evaluate("() => { const { drawn } = window; window.drawn = null; return drawn; }")
        assert 0 < drawn["elements"] < MOST_ELEMENTS, name
        assert drawn["deepest"] < DEEPEST, name


def test_markup_stays_text_and_nothing_is_loaded_from_elsewhere(watched: Watched) -> None:
    page = watched.open()
    shown = show(
        page,
        "<script>window.bad = 1</script> <img src=x onerror='window.bad = 1'>\n\n<iframe src='https://example.org'>\n\n"
        "![a picture](https://example.org/a.png) ![b](javascript:alert(1)) ![c](data:text/html;base64,AAAA)\n\n"
        "| <svg onload=alert(1)> |\n|-|\n| <style>*{}</style> |\n\n```html\n<script>window.bad = 1</script>\n```",
    )
    expect(shown.locator("script, iframe, svg, style, img, [onerror], [onload]")).to_have_count(0)
    expect(shown).to_contain_text("<script>window.bad = 1</script>")
    expect(shown.get_by_role("link", name="a picture")).to_have_attribute("href", "https://example.org/a.png")
    assert page.evaluate("() => window.bad") is None


def test_only_addresses_of_other_hosts_by_http_https_and_mailto_are_links(watched: Watched) -> None:
    page = watched.open()
    unsafe = [
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        "data:text/html,x",
        "/unload",
        "unload",
        "//x",
        "file:///etc",
    ]
    unsafe += [f"{watched.base}/unload", "vbscript:x", "java&Tab;script:alert(1)", "&#106;avascript:alert(1)"]
    shown = show(page, "\n\n".join(f"[text]({each})" for each in unsafe))
    expect(shown.locator("p")).to_have_count(len(unsafe))
    expect(shown.locator("a")).to_have_count(0)
    shown = show(page, "[a](https://a.org) <b@c.org> http://d.org/e_f_(g). **www.h.org**")
    links = shown.locator("a[target=_blank][rel='noopener noreferrer nofollow']")
    addresses = links.evaluate_all("(all) => all.map((link) => link.href)")
    assert addresses == ["https://a.org/", "mailto:b@c.org", "http://d.org/e_f_(g)", "http://www.h.org/"]


def test_tables_tasks_struck_text_math_and_pictures_of_the_text_itself_are_shown(page: Any) -> None:
    table = "| a | b |\n|:-:|--:|\n| `x\\|y` | 2 |"
    tasks = "- [x] done\n- [ ] to do"
    others = f"~~gone~~ but ~ 5\n\n\\(a_1 * b_2 * c\\)\n\n![dot]({DOT})"
    shown = show(page, f"{table}\n\n{tasks}\n\n{others}")
    expect(shown.get_by_role("columnheader")).to_have_text(["a", "b"])
    expect(shown.get_by_role("cell").first).to_have_text("x|y")
    expect(shown.get_by_role("checkbox", name="done")).to_be_checked()
    expect(shown.get_by_role("checkbox", name="to do")).not_to_be_checked()
    expect(shown.locator("del")).to_have_text("gone")
    expect(shown.locator(".math")).to_have_text("\\(a_1 * b_2 * c\\)")
    expect(shown.get_by_role("img", name="dot")).to_be_visible()


def test_code_has_its_language_its_colours_and_a_button_that_copies_all_of_it(watched: Watched) -> None:
    watched.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = watched.open()
    code = 'def f(x):  # \'no text\'\n    return """two\nlines""" + 0x1f\n' + "x = 1\n" * 6000 + "admin\u202e = 1"
    shown = show(page, f"```python title=x\n{code}\n```")
    expect(shown.locator("figcaption bdi")).to_have_text("python")
    expect(shown.locator(".word").first).to_have_text("def")
    expect(shown.locator(".note")).to_have_text(["# 'no text'"])
    expect(shown.locator(".text")).to_have_text(['"""two', 'lines"""'])
    expect(shown.locator(".line")).to_have_count(5000)
    expect(shown.locator(".code-more")).to_contain_text("1,004 more lines")
    shown.get_by_role("button", name="Copy").click()
    page.wait_for_function("async (code) => (await navigator.clipboard.readText()) === code", arg=code)
    expect(show(page, "```\na\u202eb\n```").locator(".turn")).to_have_text("U+202E")
