"""A model whose command takes no port: the error points at the command and says what to write."""

from __future__ import annotations

import pytest

from llamaswap_lib.config.addresses import port_cure
from llamaswap_lib.config.check import Listen, check_text
from llamaswap_lib.config.load import inspect_text


def errors(model: str, environment: dict[str, str] | None = None) -> list[str]:
    text = f"models:\n  m:\n{model}"
    return [str(one).removeprefix(":") for one in inspect_text(text, "", environment or {}).problems.errors]


@pytest.mark.parametrize(
    ("option", "with_macro", "port"),
    [
        ("--port 9999", "--port ${PORT}", 9999),
        ("--port=9999", "--port=${PORT}", 9999),
        ("-port 9999", "-port ${PORT}", 9999),
        ("-p 9999", "-p ${PORT}", 9999),
        ("--port '9999'", "--port '${PORT}'", 9999),
        ("--http-port 9999", "--http-port ${PORT}", 9999),
        ("--bind 127.0.0.1:9999", "--bind 127.0.0.1:${PORT}", 9999),
        ("--listen :9999", "--listen :${PORT}", 9999),
        ("--host [::1]:9999", "--host [::1]:${PORT}", 9999),
        ("-b 0.0.0.0:9999", "-b 0.0.0.0:${PORT}", 9999),
        ("-p 9999:8080 image --port 8080", "-p ${PORT}:8080", 9999),
        ("--publish=127.0.0.1:9999:8080/tcp", "--publish=127.0.0.1:${PORT}:8080/tcp", 9999),
    ],
)
def test_a_port_of_its_own_is_named_with_both_cures(option: str, with_macro: str, port: int) -> None:
    (error,) = errors(f"    cmd: server {option}\n")
    assert error.startswith("3: models.m.cmd: llamaswap has to know the port of the server: ")
    assert f"write {with_macro} in place of {option.split(' image', maxsplit=1)[0]}" in error
    assert f'add "proxy: http://127.0.0.1:{port}"' in error


@pytest.mark.parametrize(
    "near",
    [
        *("{PORT}", "$PORT", "${ PORT }", "%PORT%", "{{PORT}}", "{{ .PORT }}", "$(PORT)", "<port>", "${PORT:-80}"),
        *("$port", "${PORT", "PORT"),
    ],
)
def test_another_way_to_write_the_macro_is_recognised(near: str) -> None:
    (error,) = errors(f"    cmd: server --port {near} -m x\n")
    assert f'{near} is not replaced; did you mean "${{PORT}}"?' in error


@pytest.mark.parametrize(
    "command", ["server", "server -b 2048", "server --portal 12", "server $PORTAL", "server -c 8192"]
)
def test_without_a_port_the_usual_option_is_told(command: str) -> None:
    assert port_cure(command).text.startswith("add --port ${PORT} to cmd, or say where it listens: ")


def test_a_port_in_the_environment_of_the_model_is_found() -> None:
    (error,) = errors("    cmd: server\n    env: [OLLAMA_HOST=127.0.0.1:9999]\n")
    assert 'use ${PORT} in cmd, or add "proxy: http://127.0.0.1:9999"' in error
    (error,) = errors("    cmd: ./run.sh\n    env: ['PORT=${PORT}']\n")
    assert '"cmd: env PORT=${PORT} ./run.sh"' in error


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("    cmd: server ${port}\n", '3: models.m.cmd: unknown macro ${port} (did you mean "${PORT}"?)'),
        ("    cmd: server\n    unlisted: 5\n", "4: models.m.unlisted: expected true or false, got 5"),
        ("    cmd: ${env.NONE}\n", "3: the environment variable NONE is not set"),
        (
            "    cmd: {a: b}\n",
            "3: models.m.cmd: expected a command, got a mapping; text with braces or a colon needs quotes",
        ),
    ],
)
def test_it_is_not_said_on_top_of_another_error_of_the_model(model: str, said: str) -> None:
    assert errors(model) == [said]


def test_an_error_of_another_model_does_not_hide_it() -> None:
    assert len(errors("    cmd: server\n  n:\n    cmd: server ${nope}\n")) == 2


def test_a_model_without_a_command_is_told_to_have_one() -> None:
    (error,) = errors("    name: x\n")
    assert error == (
        '2: models.m: expected cmd, the command that starts the server, such as "cmd: llama-server --port ${PORT} -m '
        'model.gguf"'
    )
    (error,) = errors("    command: server --port ${PORT}\n")
    assert error == '3: models.m.command: the model has no cmd, but "command" (did you mean "cmd"?)'


def test_what_is_near_to_the_macro_is_told_on_one_line() -> None:
    (error,) = errors('    cmd: "x --port ${PORT\\n}"\n')
    assert error.endswith('${PORT\\n} is not replaced; did you mean "${PORT}"?')


def test_what_is_too_long_for_a_macro_is_not_told_of_as_one() -> None:
    (error,) = errors(f"    cmd: x --port ${{{'n' * 5000}\n")
    assert len(error) < 300


def test_a_proxy_with_the_macro_points_at_the_command() -> None:
    (error,) = errors("    proxy: http://127.0.0.1:${PORT}\n    cmd: |\n      server\n      --port 9999\n")
    assert error.startswith("6: models.m.cmd: proxy uses ${PORT}, which has a value only if cmd uses it too: write ")


def test_a_command_from_the_environment_is_neither_quoted_nor_judged() -> None:
    text = "models: {m: {cmd: '${env.CMD}'}}\n"
    (error,) = inspect_text(text, "", {"CMD": "hush --port 9998"}).problems.errors
    assert "hush" not in error.text()
    assert "9998" not in error.text()
    found = check_text(text.encode(), ["CMD"], Listen())
    assert found.errors == ()


@pytest.mark.parametrize("proxy", ["http://h/${a b}", "http://h:80/x ${a b}?c=${", "https://h/${"])
def test_an_address_with_what_looks_like_a_macro_is_taken_as_it_is_where_go_takes_it(proxy: str) -> None:
    assert errors(f"    cmd: x\n    proxy: '{proxy}'\n") == []


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:${PORT", "http://${a b}/x", "http://h:${a b}/"])
def test_an_address_whose_host_or_port_is_broken_is_refused(proxy: str) -> None:
    (error,) = errors(f"    cmd: x\n    proxy: '{proxy}'\n")
    assert error.startswith("4: models.m.proxy: expected a URL such as http://localhost:8080, got ")


def test_the_other_name_of_cmd_is_told_once() -> None:
    problems = inspect_text("models:\n  m:\n    command: x --port ${PORT}\n", "", {}).problems
    assert [one.message for one in problems.errors] == ['the model has no cmd, but "command" (did you mean "cmd"?)']
    assert problems.warnings == []


def test_a_macro_that_is_refused_is_not_called_unknown_and_may_have_the_port() -> None:
    text = "macros:\n  s: [x]\nmodels:\n  m:\n    cmd: ${s} -m y\n"
    assert [str(one) for one in inspect_text(text, "", {}).problems.errors] == [
        ":2: macros.s: expected text, a number or a boolean as the macro's value"
    ]


def test_models_without_anything_are_refused_whatever_their_names_are() -> None:
    problems = inspect_text("models:\n  name:\n  a:\n", "", {}).problems
    assert sorted(str(one)[:35] for one in problems.errors) == [
        ":2: models.name: expected cmd, the ",
        ":3: models.a: expected cmd, the com",
    ]
