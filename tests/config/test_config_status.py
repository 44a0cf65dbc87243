"""`cmdStatus`: the command that says whether an earlier run has left something, which only cmdStop can end."""

from __future__ import annotations

import pytest

from llamaswap_lib.config.load import load_text
from llamaswap_lib.errors import ConfigError

JOB = "cmd: srun x, proxy: announced"


def test_it_is_split_into_words() -> None:
    text = f"models: {{m: {{{JOB}, cmdStop: scancel -n ls-m, cmdStatus: \"sh -c 'squeue -n ls-m | grep .'\"}}}}"
    model = load_text(text, environment={}).models["m"]
    assert model.status_argv == ("sh", "-c", "squeue -n ls-m | grep .")


@pytest.mark.parametrize("stop", ["", ", cmdStop: 'kill ${PID}'"])
def test_without_a_stop_command_that_finds_what_is_left_it_is_refused(stop: str) -> None:
    with pytest.raises(
        ConfigError, match=r"cmdStatus needs a cmdStop without \$\{PID\}: nothing else ends what it finds"
    ):
        load_text(f"models: {{m: {{{JOB}, cmdStatus: 'true'{stop}}}}}", environment={})
