"""Eight models, one place, 64 clients, and kills at random: nothing is lost, nothing is mixed up, nothing is left over.

Once with real llama.cpp models, once with servers that name themselves in every byte, clients of all kinds, and kills
of the guardian. Ten seconds each unless `LLAMASWAP_CHURN_SECONDS` says otherwise; with `pytest -s` figures are shown.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.e2e.churn import GUARDIAN, Churn
from tests.e2e.churning_clients import AnyClient, LlamaClient
from tests.e2e.conftest import RunProgram
from tests.e2e.program import Program, models, wait_until

pytestmark = pytest.mark.slow
missing = [name for name in ("xllamacpp", "gguf", "numpy") if find_spec(name) is None]

SECONDS = float(os.environ.get("LLAMASWAP_CHURN_SECONDS", "10"))
SEED = int(os.environ.get("LLAMASWAP_CHURN_SEED", "1"))
NAMES = [f"m{number}" for number in range(8)]


def llama_commands(folder: Path) -> dict[str, str]:
    from tests.e2e.tiny_gguf import Shape, write_model  # noqa: PLC0415 - gguf may be missing

    launcher = Path(__file__).with_name("llama_launcher.py")
    found = {}
    for seed, name in enumerate(NAMES):
        write_model(folder / f"{name}.gguf", Shape(seed))
        found[name] = shlex.join((sys.executable, str(launcher), str(folder / f"{name}.gguf"))) + " ${PORT}"
    return found


def naming_commands() -> dict[str, str]:
    server = shlex.join((sys.executable, "-S", str(Path(__file__).with_name("naming_server.py"))))
    return {name: f"{server} ${{PORT}} {name}" for name in NAMES}


def footprint(program: Program) -> str:
    megabytes = program.resident_bytes() / 1e6
    return f"{megabytes:.1f} MB, {program.thread_count()} threads, {program.descriptor_count()} descriptors"


def rage(churn: Churn, most_growth_megabytes: float, least_left: float = -1) -> None:
    """Run it until it has been a storm, in which more than `least_left` clients left, and check what holds for each.

    The memory of the last quarter may be larger by `most_growth_megabytes` than that of the second.
    """
    program = churn.program
    assert program.post("/api/models/load/m0", {}).status == 200
    threads, descriptors = program.thread_count(), program.descriptor_count()
    before = footprint(program)

    def is_a_storm() -> bool:
        kinds = churn.kinds()
        has_killed = len(churn.kills) > SECONDS / 5
        if churn.kills_guardians:
            has_killed = has_killed and any(kill.model == GUARDIAN for kill in churn.kills)
        return has_killed and kinds["ok"] > 3 * SECONDS and kinds["left"] > least_left

    churn.run(SECONDS, is_a_storm)

    assert program.get("/unload").status == 200
    wait_until(lambda: program.thread_count() <= threads, "no thread is left")
    wait_until(lambda: program.descriptor_count() <= descriptors, "no descriptor is left")
    print(f"\n{SECONDS:.0f} s, seed {SEED}: {churn.summary()}; before {before}; after {footprint(program)}")

    assert not churn.unexplained()
    wait_until(lambda: not churn.not_logged_once(), "each is in the log once")
    assert churn.most_at_once == 1
    assert (program.states(), churn.servers()) == ({}, {})
    _, second, _, last = churn.resident_megabytes()
    assert last - second < most_growth_megabytes
    assert set(churn.kinds()) <= {"ok", "left", "cut", "502", "503"}
    errors = [outcome for outcome in churn.outcomes if outcome.answered.said]
    assert all(outcome.model in outcome.answered.said for outcome in errors), "an error names its model"
    assert is_a_storm()
    assert program.post("/api/models/load/m0", {}).status == 200


@pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}: pip install -e '.[llama]'")
def test_nothing_is_lost_and_nothing_is_left_when_models_die_under_many_clients(
    run_program: RunProgram, tmp_path: Path
) -> None:
    with run_program(models(**llama_commands(tmp_path))) as program:
        rage(Churn(program, NAMES, SEED, LlamaClient, re.compile(r"/(\w+)\.gguf")), 8.0)


def test_clients_of_all_kinds_get_their_own_answers_while_servers_and_guardians_are_killed(
    run_program: RunProgram,
) -> None:
    with run_program(models(**naming_commands())) as program:
        command = re.compile(r"naming_server\.py \d+ (\w+)")
        churn = Churn(program, NAMES, SEED, AnyClient, command, kills_guardians=True)
        rage(churn, 40.0, least_left=SECONDS)  # bodies of megabytes come and go
        wait_until(lambda: len(program.guardians()) == 1, "there is one guardian again")
