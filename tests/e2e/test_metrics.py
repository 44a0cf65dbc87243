"""`/metrics` of the real program: what it counts of models that swap, and what judges of the format say."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open
from prometheus_client.parser import text_string_to_metric_families as parse_plain

from tests.e2e.conftest import RunProgram
from tests.e2e.program import DEADLINE, Program, demo, models, wait_until

OPEN = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="needs promtool: apt-get install prometheus"
)
missing = [name for name in ("xllamacpp", "gguf", "numpy") if find_spec(name) is None]
needs_llama_cpp = pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}: pip install -e '.[llama]'")


def value(program: Program, series: str) -> float | None:
    """Of one series, by its name and labels as they are written; None where it is not there."""
    for line in program.get("/metrics").text.splitlines():
        name, _, number = line.rpartition(" ")
        if name == series:
            return float(number)
    return None


def complaints(text: str) -> list[str]:
    """What promtool says of it."""
    done = subprocess.run(["promtool", "check", "metrics"], input=text, text=True, capture_output=True, check=False)
    return [line for line in (done.stdout + done.stderr).splitlines() if line]


def test_a_swap_is_counted_with_what_it_cost(run_program: RunProgram) -> None:
    with run_program(models(one=demo(), two=demo("--load-seconds", "0.2"), bad="false ${PORT}")) as program:
        assert value(program, 'llamaswap_model_state{model="one",state="stopped"}') == 1
        for name in ("one", "two", "one"):
            assert program.chat(name).status == 200
        assert program.chat("bad").status == 502
        assert value(program, 'llamaswap_swaps_total{model="two",reason="group"}') == 1
        assert value(program, 'llamaswap_evictions_total{model="one",reason="swap"}') == 2
        assert value(program, 'llamaswap_load_duration_seconds_count{model="one"}') == 2
        assert value(program, 'llamaswap_stop_duration_seconds_count{model="two"}') == 1
        assert (value(program, 'llamaswap_load_duration_seconds_sum{model="two"}') or 0) >= 0.2
        assert value(program, 'llamaswap_start_failures_total{model="bad"}') == 1
        assert value(program, 'llamaswap_model_failing{model="bad"}') == 1
        wait_until(lambda: value(program, "llamaswap_connections") == 1, "those before are closed, and this one counts")
        assert 0 <= (value(program, "llamaswap_loop_lag_seconds") or 0) < DEADLINE
        assert program.post("/api/models/unload", {}).status == 200
        assert (value(program, 'llamaswap_evictions_total{model="one",reason="unload"}') or 0) <= 1


def test_reloads_are_counted(run_program: RunProgram) -> None:
    with run_program(models(one=demo())) as program:
        assert program.post("/api/config/reload", {}).status == 200
        program.config_path.write_text("models: 7\n")
        assert program.post("/api/config/reload", {}).status == 400
        assert value(program, 'llamaswap_config_reloads_total{result="success"}') == 1
        assert value(program, 'llamaswap_config_reloads_total{result="failure"}') == 1


@needs_promtool
def test_promtool_accepts_it(run_program: RunProgram) -> None:
    with run_program(models(one=demo(), two=demo())) as program:
        for name in ("one", "two"):
            assert program.chat(name).status == 200
        assert complaints(program.get("/metrics").text) == []


@needs_llama_cpp
def test_the_metrics_of_llama_cpp_are_merged(run_program: RunProgram, tmp_path: Path) -> None:
    from tests.e2e.tiny_gguf import Shape, write_model  # noqa: PLC0415 - gguf may be missing

    entries = {}
    for number, name in enumerate(("one", "two"), 1):
        write_model(tmp_path / f"{name}.gguf", Shape(number))
        launcher = Path(__file__).with_name("llama_launcher.py")
        entries[name] = shlex.join((sys.executable, str(launcher), str(tmp_path / f"{name}.gguf"))) + " ${PORT}"
    together = {"groups": {"all": {"swap": False, "members": ["one", "two"]}}}
    ready = {f'llamaswap_model_state{{model="{name}",state="ready"}}' for name in entries}
    with run_program({**models(**entries), **together, "metrics": {"includeUpstreams": True}}) as program:
        assert "llamacpp:" not in program.get("/metrics").text
        assert program.states() == {}  # asking loads nobody
        for name in entries:
            assert program.chat(name, max_tokens=5, ignore_eos=True).status == 200
        wait_until(lambda: all(value(program, series) == 1 for series in ready), "both are ready")
        text, opened = program.get("/metrics").text, program.get("/metrics", accept=OPEN).text
        for name in entries:
            assert f'llamacpp:tokens_predicted_total{{model="{name}"}} 5.0' in text
        assert text.count("# TYPE llamacpp:tokens_predicted_total counter\n") == 1
        for families in (parse_plain(text), parse_open(opened)):  # type: ignore[no-untyped-call]
            assert "llamacpp:tokens_predicted" in {family.name for family in families}
        if shutil.which("promtool"):  # it parses all of it, and dislikes the colons of llama.cpp and its "total"s
            assert [line for line in complaints(text) if not line.startswith("llamacpp:")] == []
