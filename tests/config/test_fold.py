"""What is the same for many models is told once, with a count; what is not stays apart."""

from __future__ import annotations

from llamaswap_lib.config.check import report
from llamaswap_lib.config.load import Report, inspect_text
from llamaswap_lib.config.render import MOST_OF_A_FAMILY, folded, json_of, text_of, worth_a_line
from llamaswap_lib.typed_yaml.problems import Problem


def told(*problems: Problem) -> list[str]:
    return [str(problem) for problem in folded(problems)]


def of(model: str, message: str, family: str = "", key: str = "cmd") -> Problem:
    return Problem(None, ("models", model, key), message, family=family)


def test_one_message_is_told_once_with_the_models_that_it_is_true_of() -> None:
    assert told(of("a", "x")) == ["models.a.cmd: x"]
    assert told(of("a", "x"), of("b", "y"), of("c", "x")) == [
        "models.a.cmd: x; likewise in 1 more model: c",
        "models.b.cmd: y",
    ]
    assert told(*(of(model, "x") for model in "abcdef")) == ["models.a.cmd: x; likewise in 5 more models: b, c, d, ..."]
    assert told(of("a", "x"), of("a", "x", key="cmdStop")) == ["models.a.cmd: x"]


def test_places_that_are_no_models_are_told_by_their_paths() -> None:
    macros = [Problem(None, ("macros", name), "nothing uses this macro") for name in ("a", "b")]
    assert told(*macros) == ["macros.a: nothing uses this macro; likewise in 1 more place: macros.b"]
    assert told(macros[0], Problem(None, ("models", "m", "macros", "c"), "nothing uses this macro")) == [
        "macros.a: nothing uses this macro; likewise in 1 more place: models.m.macros.c"
    ]


def test_a_family_has_few_lines_whatever_its_messages_are() -> None:
    many = [of(f"m{number}", f"there is no file {number}", "file") for number in range(100)]
    lines = told(*many)
    assert len(lines) == MOST_OF_A_FAMILY
    assert lines[0] == "models.m0.cmd: there is no file 0"
    assert lines[-1] == "models.m4.cmd: there is no file 4; likewise in 95 more models: m5, m6, m7, ..."
    assert told(*(of(f"m{number}", f"no family {number}") for number in range(100))).__len__() == 100


def test_up_to_so_many_that_are_alike_may_stand_on_their_own() -> None:
    alike = [of(model, "x") for model in "abc"]
    assert len(folded(alike, 3)) == 3
    assert len(folded([*alike, of("d", "x")], 3)) == 1


def many_models() -> str:
    lines = ["macros: {unused: 1}", "models:"]
    for number in range(300):
        command = (
            f"llama-server --port ${{PORT}} -m /srv/models/{number}.gguf",
            f"docker run -p ${{PORT}}:8080 llama.cpp -m /models/{number}.gguf",
            f"~/llama.cpp/llama-server --port ${{PORT}} -m ~/models/{number}.gguf > /tmp/{number}.log",
            f"sh -c 'cd /srv && exec ./llama-server --port ${{PORT}} -m {number}.gguf'",
        )[number % 4]
        lines += [f"  model-{number}:", f'    cmd: "{command}"', *(["    context: 1"] if number % 3 else [])]
    return "\n".join([*lines, "groups: {g: {members: [model-0]}}\n"])


def checked(text: str) -> Report:
    return report(inspect_text(text, "config.yaml", {}), {"PATH": "/nowhere"})


def test_what_is_said_of_three_hundred_models_fits_on_a_screen() -> None:
    found = checked(many_models())
    text = text_of(found)
    assert len(found.warnings) > 900
    assert len(text.splitlines()) < 50
    for expected in (
        'the program "llama-server" is not on PATH; likewise in 74 more models: model-4, model-8, model-12, ...\n',
        'the program "docker" is not on PATH; likewise in 74 more models: ',
        'the program "sh" is not on PATH; likewise in 74 more models: ',
        'there is no file "/srv/models/0.gguf"\n',
        'unknown key "context" (did you mean "capabilities.context"?); likewise in 199 more models: ',
        "hint: config.yaml:5: models.model-1: is in no group; ",
        "which swaps and is exclusive; likewise in 298 more models: ",
    ):
        assert expected in text
    assert text.endswith("; -json lists each of them\n")
    assert json_of(found).count('"message"') == len(found.warnings)


def test_errors_stand_first_then_warnings_then_hints() -> None:
    found = checked("macros: {unused: 1}\nmodels: {a: {cmd: 'x ${PORT}', tll: 1}, b: {cmd: 'y ${PORT}'}}\n")
    ranks = [line.partition(":")[0] for line in text_of(found).splitlines() if not line.startswith(" ")]
    assert ranks == ["warning", "warning", "warning", "hint", "ok"]
    found = checked("startPort: 0\nmodels: {a: {cmd: 'x ${PORT}', tll: 1}}\n")
    ranks = [line.partition(":")[0] for line in text_of(found).splitlines() if not line.startswith(" ")]
    assert ranks == ["error", "warning", "1 error, 1 warning"]


def test_the_log_has_the_same_few_lines_and_no_hints() -> None:
    lines = worth_a_line(checked(many_models()).warnings)
    assert len(lines) < 16
    assert all("\n" not in line and "nothing uses this macro" not in line for line in lines)


def test_the_top_of_the_file_has_a_name_in_a_list_of_places() -> None:
    alike = [Problem(None, path, 'unknown key "enable"') for path in (("groups", "g"), ())]
    assert told(*alike) == ['groups.g: unknown key "enable"; likewise in 1 more place: the top level']
