"""Eight real llama.cpp models, one place, 64 clients, and kills at random: nothing is lost, nothing is left over.

Ten seconds unless `LLAMASWAP_CHURN_SECONDS` says otherwise; with `pytest -s` it shows its figures.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.e2e.churn import Churn
from tests.e2e.conftest import RunProgram
from tests.e2e.program import Program, models, wait_until

missing = [name for name in ("xllamacpp", "gguf", "numpy") if find_spec(name) is None]
pytestmark = [
    pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}: pip install -e '.[llama]'"),
    pytest.mark.slow,
]

SECONDS = float(os.environ.get("LLAMASWAP_CHURN_SECONDS", "10"))
SEED = int(os.environ.get("LLAMASWAP_CHURN_SEED", "1"))
NAMES = [f"m{number}" for number in range(8)]


def commands(folder: Path) -> dict[str, str]:
    from tests.e2e.tiny_gguf import Shape, write_model  # noqa: PLC0415 - gguf may be missing

    launcher = Path(__file__).with_name("llama_launcher.py")
    found = {}
    for seed, name in enumerate(NAMES):
        write_model(folder / f"{name}.gguf", Shape(seed))
        found[name] = shlex.join((sys.executable, str(launcher), str(folder / f"{name}.gguf"))) + " ${PORT}"
    return found


def footprint(program: Program) -> str:
    megabytes = program.resident_bytes() / 1e6
    return f"{megabytes:.1f} MB, {program.thread_count()} threads, {program.descriptor_count()} descriptors"


def test_nothing_is_lost_and_nothing_is_left_when_models_die_under_many_clients(
    run_program: RunProgram, tmp_path: Path
) -> None:
    with run_program(models(**commands(tmp_path))) as program:
        churn = Churn(program, NAMES, SEED)
        assert program.chat("m0", max_tokens=1).status == 200
        threads, descriptors = program.thread_count(), program.descriptor_count()
        before = footprint(program)
        churn.run(SECONDS)

        assert program.get("/unload").status == 200
        wait_until(lambda: program.thread_count() <= threads, "no thread is left")
        wait_until(lambda: program.descriptor_count() <= descriptors, "no descriptor is left")
        print(f"\n{SECONDS:.0f} s, seed {SEED}: {churn.summary()}; before {before}; after {footprint(program)}")

        assert not churn.unexplained()
        wait_until(lambda: not churn.not_logged_once(), "each is in the log once")
        assert churn.most_at_once == 1
        assert (program.states(), churn.servers()) == ({}, {})
        _, second, _, last = churn.resident_megabytes()
        assert last - second < 8.0
        kinds = Counter(outcome.kind for outcome in churn.outcomes)
        assert set(kinds) <= {"ok", "cut", "502", "503"}
        errors = [outcome for outcome in churn.outcomes if outcome.kind not in ("ok", "cut")]
        assert all(outcome.model in outcome.said for outcome in errors), "an error names its model"
        assert kinds["ok"] > 3 * SECONDS
        assert len(churn.kills) > SECONDS / 5
        assert program.chat("m0", max_tokens=1).status == 200
