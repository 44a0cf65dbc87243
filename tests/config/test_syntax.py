"""Mistakes in the text itself: told in the line where they are, whichever parser gave up on them and where."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from llamaswap_lib.config.load import inspect_text

# text -> line: message
MISTAKES = {
    "models:\n  qwen\n    cmd: x\n": '2: a colon is missing after "qwen"',
    "models:\n  qwen 3\n    cmd: x\n": '2: a colon is missing after "qwen 3"',
    "models:\n  qwen:\n    cmd server\n    ttl: 5\n": '3: a colon is missing after "cmd"',
    "models:\n  qwen:\n    ttl: 5\n    cmd server\n    name: x\n": '4: a colon is missing after "cmd"',
    "models:\n  qwen:\n    ttl: 5\n    cmd server": '4: a colon is missing after "cmd"',
    "models\n  qwen:\n    ttl: 5\n": '1: a colon is missing after "models"',
    "models:\n  qwen:\n    cmd:server\n    ttl: 5\n": '3: a space is missing after "cmd:"',
    "models:\n  a:\n    ttl=5\n    name: q\n": '3: expected ": " after "ttl", not "="',
    "models:\n  a:\n    // why\n    name: q\n": "3: a comment begins with #, not with //",
    "models:\n  a:\n    ttl：5\n    name: q\n": (
        "3: this is not the colon of YAML; write an ordinary one, and a space after it"
    ),
    "apiKeys:\n  k: 1\n  my-own-key\nmodels: {}\n": "3: a colon is missing on this line",
    "a:\n  cmd: x\n    ttl: 5\n": "3: this line is indented by 4, its neighbours by 2",
    "m:\n  a:\n    cmd: x\n   ttl: 5\n": "4: this line is indented by 3, its neighbours by 4",
    "m:\n  a: [x]\n   b: 5\n": "3: this line is indented by 3, its neighbours by 2",
    "m:\n  cmd: |\n    x\n   y\n  ttl: 5\n": "4: this line is indented by 3, its neighbours by 4",
    "m:\n  cmd: |\n    x\n  y\n  ttl: 5\n": "4: this line is indented by 2, the lines of the text above it by 4",
    "l:\n  - a\n - b\n": "3: this line is indented by 1, its neighbours by 2",
    "l:\n  - a\n  b\n": '3: expected "- " here, as in the line above',
    "l:\n  - a\n  b: c\n": '3: expected "- " here, as in the lines above',
    "m:\n\ta: b\n": "2: a tab cannot be used to indent, use spaces",
    "m:\n  -\ta: b\n    c: d\n": "2: a tab is not allowed here, use spaces",
    "m:\n  a:\u00a0b\n  c: d\n": "2: a no-break space (U+00A0) is here, where YAML needs an ordinary space",
    "m:\n  a: “b: c”\n": '2: "“" is not a quote in YAML; write an ordinary one',
    'm:\n  name: "Qwen\n  ttl: 5\n': '2: the quote " that opens here is not closed',
    'm:\n  name: "Qwen\n  text: "fast"\n  ttl: 5\n': '2: the quote " that opens here is not closed',
    "m:\n  name: 'Qwen\n  text: 'fast'\n  ttl: 5\n": "2: the quote ' that opens here is not closed",
    "m: 'it's me'\n": "1: the ' before this ends the text; write '' for a ' inside it, or put \" around all of it",
    'm: "a" b\n': "1: the text in quotes ends before this; put ' around the whole value",
    'm: "C:\\models"\n': "1: in double quotes a backslash begins an escape; double the backslash or use single quotes",
    'm: "D:\\users"\n': "1: in double quotes a backslash begins an escape; double the backslash or use single quotes",
    "m:\n  l: [a, b\n  ttl: 5\n": "2: the bracket [ that opens here is not closed",
    "m: {a: {b: c}\nx: y\n": "1: the bracket { that opens here is not closed",
    "m: [a, b]]\n": "1: there is no [ that this ] closes",
    "m: [a, b}\n": "1: expected a comma or ] here",
    '{\n  "a": 1\n  "b": 2\n}\n': "2: a comma is missing after this",
    '{\n  // why\n  "b": 2\n}\n': "2: a comment begins with #, not with //",
    "m: {: x}\n": "1: a value is missing here",
    "m: [INST] x\n": "1: the [ ... ] ends before this; a text that begins with [ needs quotes",
    "m: {{b}} x\n": "1: a key must be text; text that begins with { needs quotes",
    "m: a: b\n": '1: a value with ": " in it needs quotes',
    "m: {a: b: c}\n": '1: a value with ": " in it needs quotes',
    "m:\n  cmd: x\n    -H a: b\n": (
        '3: this still belongs to the value of "cmd" on line 2, and a value with ": " in it needs quotes'
    ),
    "m:\n  cmd: x\n  --port 9\n": '3: this is not a key; to go on with the value of "cmd", indent this line further',
    "m:\n  cmd: x\n  -m y\n  ttl: 5\n": (
        '3: this is not a key; to go on with the value of "cmd", indent this line further'
    ),
    "m:\n  l:\n  -a\n  -b\n": '3: a space is missing after "-"',
    "m: {cmd: x ${PORT}, ttl: 5}\n": "1: a value with ${...} in it needs quotes inside { } or [ ]",
    "m: [x, ${PORT}]\n": "1: a value with ${...} in it needs quotes inside { } or [ ]",
    "m: @x\n": '1: a value that begins with "@" needs quotes',
    "m: `x`\n": '1: a value that begins with "`" needs quotes',
    "m: %x%\n": '1: a value that begins with "%" needs quotes',
    "m: **x**\n": '1: a value that begins with "*" needs quotes',
    "m: *x\n": "1: there is no anchor &x before this alias; text that begins with * needs quotes",
    "m: & x\n": '1: a value that begins with "&" needs quotes',
    "m: !a! x\n": '1: a value that begins with "!" needs quotes',
    "m: , x\n": '1: a value that begins with "," needs quotes',
    "%m: x\n": "1: a line that begins with % needs quotes",
    "m: > x\n": '1: the text of ">" begins on the next line; a value that begins with ">" needs quotes',
    "m: - x\n": '1: "-" cannot follow a key here; a list begins on the next line, and text with "-" needs quotes',
    "m:\n<<<<<<< HEAD\n  a: b\n=======\n  a: c\n>>>>>>> x\n": (
        "2: git left two versions of these lines here; keep one of them, without <<<<<<<, ======= and >>>>>>>"
    ),
    "m: x\0y\n": "1: the file has NUL bytes in it; save it as UTF-8 text",
}


@pytest.mark.parametrize("text", MISTAKES, ids=lambda text: text[:30])
def test_mistake_is_told_where_it_is(text: str) -> None:
    (error,) = inspect_text(text, "", {}).problems.errors
    assert str(error).removeprefix(":") == MISTAKES[text]


@pytest.mark.slow
def test_without_libyaml_the_mistakes_are_told_alike() -> None:
    if not hasattr(yaml, "CSafeLoader"):
        pytest.skip("this PyYAML has no libyaml")
    script = (
        "import yaml\n"
        "del yaml.CSafeLoader\n"
        "from llamaswap_lib.config.load import inspect_text\n"
        "from tests.config.test_syntax import MISTAKES\n"
        "for text, said in MISTAKES.items():\n"
        "    (error,) = inspect_text(text, '', {}).problems.errors\n"
        "    assert str(error).removeprefix(':') == said, (text, str(error))\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False, cwd=root)
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize("end", ["\r\n", "\r", "\u2028", "\x85"])
def test_lines_are_counted_whatever_ends_them(end: str) -> None:
    (error,) = inspect_text("models:\n  a:\n    ttl 5\n    name: q\n".replace("\n", end), "", {}).problems.errors
    assert str(error) == ':3: a colon is missing after "ttl"'


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("a: é\n".encode("latin-1"), '1: expected UTF-8 text, got the byte 0xe9 ("é" in Latin-1); save it as UTF-8'),
        ("a: b\n".encode("utf-16"), "1: expected UTF-8 text, got UTF-16; save it as UTF-8"),
        ("a: b\n".encode("utf-16-le"), "1: the file has NUL bytes in it; save it as UTF-8 text"),
        (b"\x1f\x8b\x08\0", "1: expected UTF-8 text, got the byte 0x8b; save it as UTF-8"),
    ],
)
def test_another_encoding_is_named(data: bytes, said: str) -> None:
    (error,) = inspect_text(data, "", {}).problems.errors
    assert str(error).removeprefix(":") == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "  logLevel: info\nmodels: {}\n",
            "2: from here on nothing is read: this line is indented by 0, the first one by 2",
        ),
        ('{"logLevel": "info"}}\n', "1: from here on nothing is read: what comes before is the whole file"),
    ],
)
def test_text_after_the_end_of_a_document_is_warned_of(text: str, said: str) -> None:
    problems = inspect_text(text, "", {}).problems
    assert not problems.errors
    assert [str(one).removeprefix(":") for one in problems.warnings] == [said]


def test_what_came_from_the_environment_is_not_quoted() -> None:
    (error,) = inspect_text("models:\n  a: ${env.V}\n", "", {"V": "hush: hush: 'x"}).problems.errors
    assert error.message == "this is no YAML, with what came from the environment"
    text = "models:\n  ${env.V}\n    cmd: x\n"
    assert not any("hush" in one.text() for one in inspect_text(text, "", {"V": "hush"}).problems.errors)


@pytest.mark.parametrize(
    "text",
    [
        "a:\n  b" + " " * 200_000 + "c\n  d: e\n",
        "a: '\n" + ("b" + " " * 2000 + "c\n") * 100 + "\nd: 'x'\n",
        "models: {a: {cmd: '" + "${nope} " * 30_000 + "'}}\n",
        "models: {a: {cmd: '" + "${port:" * 30_000 + "'}}\n",
        "models: {a: {cmd: '" + "--port x " * 30_000 + "'}}\n",
        "globalTTL: " + "9" * 200_000 + "\n",
        "? '" + " " * 200_000 + "x'\n: y\nmodels: 5\n",
    ],
    ids=["blanks", "quote", "macros", "ports", "options", "digits", "key"],
)
@pytest.mark.slow
def test_a_long_text_with_a_mistake_is_told_soon(text: str) -> None:
    start = time.process_time()
    assert inspect_text(text, "", {}).problems.errors
    assert time.process_time() - start < 5, "the square of its length would take minutes"
