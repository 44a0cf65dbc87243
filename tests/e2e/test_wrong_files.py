"""A file with a mistake: `check`, the start and a reload say the same of it, and none ends in a traceback."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.e2e.conftest import RunProgram
from tests.e2e.program import COMMAND, DEADLINE, demo, environment, models

MODEL = "models: {a: {cmd: 'x ${PORT}'"
# text -> what is said, behind the name of the file
WRONG = {
    'models: {a: "llama-server --port ${PORT}"}\n': ':1: models.a: expected a mapping, got "llama-server',
    "models: {a: [x]}\ngroups: {g: [a]}\n": ":2: groups.g: expected a mapping, got a list",
    "models: {a: {cmd: x --port 9999}}\n": ":1: models.a.cmd: llamaswap has to know the port of the server: ",
    "models:\n  a\n    cmd: x\n": ':2: a colon is missing after "a"',
    'models:\n  a:\n    name: "x\n    cmd: "y"\n': ':3: the quote " that opens here is not closed',
    f"{MODEL}, ttl: .nan}}}}\n": ":1: models.a.ttl: expected an integer",
    f"{MODEL}, ttl: {'9' * 5000}}}}}\n": ":1: models.a.ttl: expected an integer",
    f"{MODEL}, name: '${{env.NO_TEXT}}'}}}}\n": ":1: the environment variable NO_TEXT is not UTF-8 text",
    f"{MODEL}}}}}\nstore: {{path: {'a' * 5000}}}\n": ":2: store.path: expected a file that can be written: ",
    f"{MODEL}}}}}\nrouting: {{router: {{use: '~nobody-at-all/p.py:P'}}}}\n": ":2: routing.router.use: there is no ",
    "".join(
        f"x{n}: &x{n} {'[' * 90}{f'*x{n - 1}' if n else 'x'}{']' * 90}\n" for n in range(20)
    ): "nested more than 100 levels deep",
}


def test_check_start_and_reload_say_the_same(run_program: RunProgram, tmp_path: Path) -> None:
    file = tmp_path / "wrong.yaml"
    variables = environment({"NO_TEXT": "\udcff"})

    def said_by(*arguments: str) -> str:
        argv = (*COMMAND, *arguments, "-c", str(file))
        done = subprocess.run(argv, env=variables, capture_output=True, text=True, timeout=DEADLINE, check=False)
        assert done.returncode == 1, done.stdout
        return done.stdout + done.stderr

    with run_program(models(a=demo()), env={"NO_TEXT": "\udcff"}) as program:
        for text, said in WRONG.items():
            file.write_text(text)
            program.config_path.write_text(text)
            answer = program.post("/api/config/reload", None)
            assert answer.status == 400
            for told in (said_by("check"), said_by(), answer.message):
                assert said in told, text[:60]
                assert "Traceback" not in told
        assert program.chat("a").status == 200
        assert program.stderr == ""
