"""What a line that was typed means."""

from __future__ import annotations

from pathlib import Path

import pytest

from llamaswap_lib.chat.typed import expanded, order, question


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/help", ("help", "")),
        ("/system  Be brief\nand kind ", ("system", "Be brief\nand kind")),
        ("/?", ("?", "")),
        ("/path/cat.png what is it", None),
        ("/ what", None),
        ("what", None),
        ("/Tmp", None),
    ],
)
def test_orders_begin_with_a_slash_and_are_no_paths(text: str, expected: tuple[str, str] | None) -> None:
    assert order(text) == expected


@pytest.mark.parametrize("written", ["{}", "'{}'", '"{}"'])
def test_pictures_are_taken_out_of_the_question(written: str, tmp_path: Path) -> None:
    picture = tmp_path / "a.JPG"
    picture.touch()
    for text in ("What is {}", "{} What is", "What {} is"):
        found = question(text.format(written.format(picture)))
        assert (found.text, found.images) == ("What is", [picture])


def test_blanks_in_a_path_are_escaped_as_terminals_do(tmp_path: Path) -> None:
    picture = tmp_path / "my (cat).png"
    picture.touch()
    escaped = str(picture).replace(" ", r"\ ").replace("(", r"\(").replace(")", r"\)")
    assert question(f"What is {escaped}").images == [picture]


def test_a_home_that_nobody_has_stays_in_the_path() -> None:
    assert expanded("~no-such-user/x.json") == Path("~no-such-user/x.json")
    assert expanded("~/x.json").is_absolute()


def test_what_is_no_picture_stays(tmp_path: Path) -> None:
    text = f"see {tmp_path}/notes.txt and  http://x/a.png, a/b.png"
    assert question(text) == (text, [], [])
    missing = question("What is /nowhere/a.png")
    assert (missing.text, missing.missing) == ("What is /nowhere/a.png", ["/nowhere/a.png"])


def test_a_picture_that_cannot_be_looked_for_is_missing() -> None:
    path = f"/{'a' * 300}.png"  # a name that no file has
    assert question(f"What is {path}").missing == [path]
