"""The file of a policy of the user's own: what is wrong with it is said with file and line, before anything runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from llamaswap_lib.config.check import check
from llamaswap_lib.config.own_policy import load_policy
from llamaswap_lib.errors import ConfigError

GOOD = """
from __future__ import annotations
from dataclasses import dataclass
from llamaswap_lib.core.eviction import RunningModel

@dataclass
class Policy:
    places: int = 2

    def evict(self, target: str, running: tuple[RunningModel, ...]) -> list[str]:
        return [one.model for one in running][self.places:]
"""

WRONG = {
    "class Policy:\n  def evict(self target, running): pass\n": r":2: SyntaxError: ",
    "class Policy:\n  def evict(self, target, running):\n": r":\d: IndentationError: ",
    "x = 1\nimport nowhere_at_all\n": r":2: ModuleNotFoundError: No module named 'nowhere_at_all'",
    "def f():\n  1 / 0\nf()\n": r":2: ZeroDivisionError: division by zero",
    "raise SystemExit(3)\n": r":1: SystemExit: 3",
    "class Polizy: pass\n": r": there is no class Policy \(did you mean .Polizy.\?\)$",
    "": r": there is no class Policy$",
    "Policy = 7\n": r": there is no class Policy$",
    "class Policy:\n  def __init__(self, places): pass\n": r": TypeError: .*places",
    "class Policy:\n  def __init__(self):\n    self.x = self.y\n": r":3: AttributeError: ",
    "class Policy: pass\n": r": Policy has no method evict; expected a method evict\(self, target, running\)",
    "class Policy:\n  evict = 3\n": r": Policy has no method evict; ",
    "class Policy:\n\n  def evict(self, target): pass\n": r":3: Policy.evict cannot be called \(too many",
    "class Policy:\n  def evict(self, target, running, more): pass\n": r":2: Policy.evict cannot be called .*'more'\)",
    "class Policy:\n  def evict(self, *, target, running): pass\n": r":2: Policy.evict cannot be called ",
    "class Policy:\n  async def evict(self, target, running): pass\n": r":2: Policy.evict is async or a generator",
    "class Policy:\n  def evict(self, target, running): yield 1\n": r":2: Policy.evict is async or a generator",
    "x = '\0'": r": .*null bytes",
    "# coding: nonsense\n": r"SyntaxError: ",
}


def written(folder: Path, source: str) -> str:
    file = folder / "mine.py"
    file.write_text(source)
    return f"{file}:Policy"


def test_a_policy_is_made_without_arguments_and_leaves_nothing_beside_its_file(tmp_path: Path) -> None:
    policy = load_policy(written(tmp_path, GOOD))
    assert policy.places == 2
    assert policy.evict("a", ()) == []
    assert [path.name for path in tmp_path.iterdir()] == ["mine.py"]


def test_a_function_that_takes_more_if_it_is_given_more_is_fine(tmp_path: Path) -> None:
    source = "class Base:\n  def evict(self, *args, loud=False): return ()\nclass Policy(Base): pass\n"
    assert load_policy(written(tmp_path, source)).evict("a", ()) == ()


@pytest.mark.parametrize("source", WRONG)
def test_what_is_wrong_with_it_is_said_with_its_place(tmp_path: Path, source: str) -> None:
    use = written(tmp_path, source)
    with pytest.raises(ConfigError) as caught:
        load_policy(use)
    assert str(caught.value).startswith(str(tmp_path / "mine.py"))
    assert re.search(WRONG[source], str(caught.value)), caught.value
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.py: No such file or directory"):
        load_policy(f"{tmp_path / 'none.py'}:Policy")


def test_check_says_it_with_the_line_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("class Policy:\n  evict\n")
    config = tmp_path / "config.yaml"
    config.write_text("models:\n  a: {cmd: 'true ${PORT}'}\nrouting:\n  router:\n    use: mine.py:Policy\n")
    report = check([config])
    [problem] = report.errors
    assert report.config is None
    assert f"{config}:5" in str(problem)
    assert f"{tmp_path / 'mine.py'}:2: NameError: name 'evict' is not defined" in str(problem)
    (tmp_path / "mine.py").write_text(GOOD)
    assert check([config]).errors == ()
