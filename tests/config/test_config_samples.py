"""Files of `invalid/` are refused with the messages of their .txt, those of `valid/` become what their .shown says."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from llamaswap_lib.config.load import inspect_text, load, load_text
from llamaswap_lib.config.schema import Config
from llamaswap_lib.config.show import shown, to_yaml
from llamaswap_lib.typed_yaml.problems import InvalidConfig, in_order
from tests.config.samples import ENVIRONMENT, INVALID, VALID, name_of


def test_there_are_samples_of_both_kinds() -> None:
    assert len(INVALID) > 70
    assert len(VALID) > 15


@pytest.mark.parametrize("file", INVALID, ids=name_of)
def test_invalid_file_is_refused_with_every_expected_message(file: Path) -> None:
    with pytest.raises(InvalidConfig) as refusal:
        load_text(file.read_bytes(), "", ENVIRONMENT)
    said = [str(problem).removeprefix(":") for problem in refusal.value.errors]
    assert said == file.with_suffix(".txt").read_text().splitlines()


@pytest.mark.parametrize("file", INVALID, ids=name_of)
def test_refusal_quotes_the_line_of_the_file_with_a_caret_below(file: Path) -> None:
    loaded = inspect_text(file.read_bytes(), "config.yaml", ENVIRONMENT)
    for problem in loaded.problems.errors:
        assert problem.place is not None
        first, *excerpt = problem.text().split("\n")
        assert first.startswith(f"config.yaml:{problem.place.line + 1}: ")
        if problem.place.source.lines:
            number, _, carets = excerpt[0].split(" | ")[0], *excerpt[1].partition(" | ")[1:]
            assert int(number) == problem.place.line + 1
            assert set(carets.strip()) == {"^"}
            assert "s3cret" not in excerpt[0]


@pytest.mark.parametrize("value", ["", "s", "a much longer value than its name"])
def test_carets_are_in_the_right_column_after_environment_variables_of_any_length(value: str) -> None:
    line = "{globalTTL: no, x: '${env.V}', startPort: zero, y: '${env.V}${env.V}', logToStdout: bad}"
    loaded = inspect_text(line, "c.yaml", {"V": value})
    for problem, word in zip(in_order(loaded.problems.errors), ("no", "zero", "bad"), strict=True):
        _, shown_line, carets = problem.text().split("\n")
        start = carets.index("^")
        assert shown_line[start : start + carets.count("^")] == word


def test_caret_stands_below_the_variable_whose_value_is_wrong() -> None:
    loaded = inspect_text("a: ${env.V}\nstartPort: ${env.V} # here\n", "c.yaml", {"V": "hush"})
    (problem,) = loaded.problems.errors
    _, line, carets = problem.text().split("\n")
    assert carets.index("^") == line.index("${env.V}")


@pytest.mark.parametrize("file", VALID, ids=name_of)
def test_valid_file_becomes_the_expected_configuration(file: Path) -> None:
    loaded = inspect_text(file.read_bytes(), "", ENVIRONMENT)
    assert not loaded.problems.errors
    warnings = "".join(f"# {str(problem).removeprefix(':')}\n" for problem in in_order(loaded.problems.warnings))
    assert warnings + to_yaml(shown(loaded.config, mask=False)) == file.with_suffix(".shown").read_text()


@pytest.mark.parametrize("file", VALID, ids=name_of)
def test_what_is_shown_loads_to_the_same_configuration(file: Path) -> None:
    config = load_text(file.read_bytes(), "", ENVIRONMENT)
    again = load_text(to_yaml(shown(config, mask=False)), "", {})
    assert resolved(again) == resolved(config)
    assert [problem.message for problem in again.warnings if "logRequests" not in problem.path] == []


@pytest.mark.parametrize("file", VALID, ids=name_of)
def test_a_file_on_disk_is_read_like_its_text(file: Path) -> None:
    assert resolved(load([file], ENVIRONMENT)) == resolved(load_text(file.read_bytes(), "", ENVIRONMENT))


@pytest.mark.slow
def test_without_libyaml_a_file_means_the_same() -> None:
    script = (
        "import sys, yaml\n"
        "del yaml.CSafeLoader\n"
        "from llamaswap_lib.typed_yaml import nodes\n"
        "from tests.config.samples import ENVIRONMENT, VALID\n"
        "from llamaswap_lib.config.load import load_text\n"
        "from llamaswap_lib.config.show import shown, to_yaml\n"
        "assert nodes.PARSER is yaml.SafeLoader\n"
        "for file in VALID:\n"
        "    config = load_text(file.read_bytes(), '', ENVIRONMENT)\n"
        "    sys.stdout.buffer.write(to_yaml(shown(config, mask=False)).encode())\n"
    )
    if not hasattr(yaml, "CSafeLoader"):
        pytest.skip("this PyYAML has no libyaml")
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False, cwd=root)
    assert done.returncode == 0, done.stderr.decode()
    ours = [to_yaml(shown(load_text(file.read_bytes(), "", ENVIRONMENT), mask=False)) for file in VALID]
    assert done.stdout.decode() == "".join(ours)


def resolved(config: Config) -> Config:
    """Without what tells how it was written."""
    models = {name: replace(model, macros={}) for name, model in config.models.items()}
    return replace(config, models=models, macros={}, warnings=())
