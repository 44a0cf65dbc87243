"""`llamaswap bench`: what is measured, and what it says of that."""

from __future__ import annotations

from tests.commands.conftest import Serve
from tests.commands.terminal import Shell
from tests.commands.test_run import TALKS
from tests.e2e.program import demo, models

QUICK = ("--max-tokens", "4", "--requests", "2", "--parallel", "1,2")


def test_it_measures_each_level_and_the_swap(serve: Serve) -> None:
    with serve() as shell:
        ended = shell.run("bench", "small", *QUICK)
        assert shell.program.stats("small")["requests"] >= 1  # since it was loaded anew
    assert ended.code == 0
    rows = ended.rows()
    assert rows[1][:3] == ["AT", "A", "TIME"]
    assert [row[:2] for row in rows[2:4]] == [["1", "2"], ["2", "2"]]
    assert rows[-1][:2] == ["small", "anew"]
    assert "answers of 4" in ended.out


def test_two_models_are_swapped_to_and_fro(serve: Serve) -> None:
    with serve(models(a=demo(), b=demo())) as shell:
        told = shell.run("bench", "a", "b", *QUICK, "--json").json()
    assert [it["model"] for it in told["models"]] == ["a", "b"]
    assert [(it["from"], it["model"]) for it in told["swaps"]] == [(None, "a"), (None, "b"), ("a", "b"), ("b", "a")]
    assert all(it["total_seconds"] > 0 for it in told["swaps"])
    [first, second] = told["models"][0]["levels"]
    assert (first["parallel"], first["requests"], first["failed"]) == (1, 2, 0)
    assert [sample["tokens"] for sample in second["samples"]] == [4, 4]


def test_no_request_has_the_prompt_of_another(serve: Serve) -> None:
    with serve(models(m=demo())) as shell:
        [level] = shell.run("bench", "m", *QUICK, "--parallel", "2", "--no-swap", "--json").json()["models"][0][
            "levels"
        ]
    assert level["requests"] == 2
    assert all(200 < sample["prompt_tokens"] < 300 for sample in level["samples"])


def test_nothing_is_unloaded_where_that_is_not_wanted(serve: Serve) -> None:
    with serve() as shell:
        shell.program.chat("small")
        before = shell.program.run_ids()
        assert shell.run("bench", "small", *QUICK, "--no-swap").code == 0
        assert shell.program.run_ids() == before


def test_a_server_that_knows_no_endless_answers_is_measured_all_the_same(serve: Serve) -> None:
    with serve(models(m=TALKS)) as shell:
        ended = shell.run("bench", "m", *QUICK, "--no-swap", "--prompt-tokens", "20")
    assert ended.code == 0
    assert "each piece of the stream counts as one" in ended.out


def test_an_error_stands_on_a_line_of_its_own(serve: Serve) -> None:
    with serve() as shell, shell.screen("bench", "nobody") as screen:
        assert screen.end() == 4
        assert screen.lines == ["llamaswap: model not found: 'nobody'"]


def test_requests_that_fail_are_counted_and_said(serve: Serve) -> None:
    config = models(m={"cmd": demo("--tokens-per-second", "20"), "concurrencyLimit": 1})
    with serve(config) as shell:
        # Each answer takes five seconds: however busy the machine is, the others come while one is given.
        ended = shell.run("bench", "m", "--parallel", "3", "--requests", "3", "--max-tokens", "100", "--no-swap")
    assert "failed at 3 at a time" in ended.out


def test_what_cannot_be_measured_has_an_exit_code(serve: Serve, shell: Shell) -> None:
    with serve() as served:
        assert served.run("bench", "nope").code == 4
        assert served.run("bench", "broken").code == 6
    assert shell.run("bench", "small", "--url", f"http://127.0.0.1:{served.program.port}").code == 3
    for flags in (("--parallel", "0"), ("--parallel", "x"), ("--requests", "-1"), ("--max-tokens", "1.5")):
        ended = shell.run("bench", "small", *flags)
        assert ended.code == 1
        assert "expected a number" in ended.err or "expected one argument" in ended.err
