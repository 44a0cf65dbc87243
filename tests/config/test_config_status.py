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


def test_it_has_the_port_and_no_comments_as_cmd_stop_has() -> None:
    commands = "".join(
        f"    {name}: |\n      docker {word} m-${{PORT}}\n      # ${{nothing}}\n      now\n"
        for name, word in (("cmd", "run"), ("cmdStop", "stop"), ("cmdStatus", "inspect"))
    )
    model = load_text(f"models:\n  m:\n{commands}", environment={}).models["m"]
    for port, one in ((5800, model), (5900, model.at_port(5900))):
        assert one.stop_argv == ("docker", "stop", f"m-{port}", "now")
        assert one.status_argv == ("docker", "inspect", f"m-{port}", "now")
        assert one.cmd_status == f"docker inspect m-{port}\nnow\n"


def test_its_program_is_hidden_where_it_came_from_the_environment() -> None:
    commands = "cmdStop: /bin/true, cmdStatus: '${env.TOOL} x'"
    model = load_text(f"models: {{m: {{{JOB}, {commands}}}}}", environment={"TOOL": "/opt/s3c"}).models["m"]
    assert model.shown.programs == (("/opt/s3c", "[hidden]"),)


@pytest.mark.parametrize("stop", ["", ", cmdStop: 'kill ${PID}'"])
def test_without_a_stop_command_that_finds_what_is_left_it_is_refused(stop: str) -> None:
    with pytest.raises(
        ConfigError, match=r"cmdStatus needs a cmdStop without \$\{PID\}: nothing else ends what it finds"
    ):
        load_text(f"models: {{m: {{{JOB}, cmdStatus: 'true'{stop}}}}}", environment={})
