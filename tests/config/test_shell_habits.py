"""Commands as people write them for a shell: what is meant is not worth a word, and no secret is told.

What is said of each habit stands in mistakes.txt.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaswap_lib.config.check import report
from llamaswap_lib.config.load import inspect_text
from llamaswap_lib.config.render import text_of
from tests.config.samples import programs_in


@pytest.fixture
def path(tmp_path: Path) -> str:
    return programs_in(tmp_path)


MEANT = [
    r'llama-server -ot "blk\.(1|2)\.ffn_.*=CPU" --override-tensor .ffn_.*_exps.=CPU -ot blk\.[0-9]+\.ffn=CPU',
    """llama-server --chat-template-kwargs '{"enable_thinking": false}' --samplers top_k;top_p;min_p""",
    r'llama-server --chat-template-kwargs "{\"enable_thinking\": false}" --dry-sequence-breaker "\n"',
    "llama-server -p 'a > b & c | d; $HOME `x` ~/y # z' --alias 'Qwen – “3”' --reverse-prompt <|im_end|> -r </think>",
    "llama-server --color #ff0000 --mem 50% --logit-bias 29871+1 --tensor-split 1,1 --lora /x:0.5 --stop Qwen\\'s",
    "llama-server -hf org/repo:x.gguf --hf-file x.gguf -a model.gguf --model-url https://h/x.gguf --cors *",
    """docker run --gpus '"device=2,3"' -e TZ=Europe/Berlin -v .:/m --format {{.ID}} llama -m /m/x.gguf""",
    'docker exec -it box bash -lc "cd /x && exec llama-server -m $HOME/x.gguf > log 2>&1"',
    "sh -c 'cd /x && exec llama-server -m x.gguf $(cat flags) > ~/log 2>&1 & wait'",
    'sh -c "A=1 exec llama-server -m *.gguf"',
    "env A=1 nice -n 5 sudo -u me docker run llama -m /m/x.gguf",
    "sudo -E bash -c 'ulimit -l unlimited; exec llama-server'",
    'vllm serve org/model --allowed-origins \'["*"]\' --limit-mm-per-prompt {"image":1} --max-model-len 8192',
]


@pytest.mark.parametrize("command", MEANT)
def test_what_is_meant_is_not_worth_a_word(path: str, command: str) -> None:
    text = f"models:\n  m:\n    cmd: |\n      {command} --port ${{PORT}}\n"
    found = report(inspect_text(text, "config.yaml", {}), {"PATH": path})
    assert not found.errors
    assert [str(problem) for problem in found.warnings] == []


@pytest.mark.parametrize(
    "command",
    [
        "ssh box docker run llama -m ~/x.gguf && echo $HOME > log",
        "kubectl exec pod -- llama-server -m /models/x.gguf",
        "apptainer run --nv llama.sif -m /models/x.gguf",
        "singularity exec llama.sif llama-server -m /models/x.gguf",
        "docker compose run llama -m /models/x.gguf",
        "taskset -c 0-7 podman run llama -m /models/x.gguf",
        "timeout -k 5 600 srun -p gpu llama-server -m /models/x.gguf",
        "numactl --cpunodebind=0 -m 0 docker run llama -m /models/x.gguf",
        "env -u HOME X=1 nice ionice -c 3 wsl -d Ubuntu llama-server -m ~/x.gguf",
    ],
)
def test_of_what_runs_elsewhere_the_programs_are_looked_for_and_no_files(tmp_path: Path, command: str) -> None:
    found = report(
        inspect_text(f"models: {{m: {{cmd: '{command} ${{PORT}}'}}}}", "c.yaml", {}), {"PATH": str(tmp_path)}
    )
    missing = re.findall(r'the program "(\S+)" is not on PATH', "\n".join(str(problem) for problem in found.warnings))
    assert len(missing) == len(found.warnings), found.warnings
    expected = [word for word in command.split() if word in (*WRAPPERS, *ENGINES)]
    assert missing == expected[: len(missing)]
    assert missing[-1] in ENGINES


WRAPPERS = ("taskset", "timeout", "numactl", "env", "nice", "ionice")
ENGINES = ("ssh", "kubectl", "apptainer", "singularity", "docker", "podman", "srun", "wsl")


@given(st.text("ab1/.~$`'\"\\|&;<>#*?=-{}()%^ \n\u201c\u2013\u00a0", max_size=40))
def test_whatever_a_command_is_it_is_only_warned_of_and_in_one_line_each(command: str) -> None:
    text = json.dumps({"models": {"m": {"proxy": "http://h", "cmd": command, "cmdStop": command}}})
    found = report(inspect_text(text, "c.yaml", {}), {"PATH": ""})
    assert found.errors == ()
    for problem in found.warnings:
        assert str(problem).isprintable()
        assert problem.place is not None


def test_no_secret_is_told(path: str) -> None:
    secret = "s3cr3tw0rd"
    for command in (
        f"--api-key '{secret}",
        f"A_TOKEN={secret} llama-server",
        f"llama-server --api-key ${secret}",
        f"llama-server --api-key ~/{secret} > {secret}.log ; export HF_TOKEN={secret}",
        f"export HF_TOKEN={secret}; llama-server",
        f"llama-server –port 1 --api-key “{secret}” # --api-key {secret}",
        f"cd /x && HF_TOKEN=${secret} ./x",
        "x\n    proxy: 'http://${env.S}.example'\n    checkEndpoint: 'http://h/health'\n    cmdStop: x > y",
        "${env.S} && ${env.S}; ~/${env.S} $${env.S} `${env.S}` > ${env.S} '${env.S}",
    ):
        proxy = "" if "proxy:" in command else "    proxy: http://h\n"
        text = f"models:\n  m:\n{proxy}    cmd: |\n      {command}\n"
        text += f"    env: ['A_KEY=${secret}', '${{env.S}}']\n"
        shown = text_of(report(inspect_text(text, "config.yaml", {"S": f"A={secret}"}), {"PATH": path}))
        assert "warning" in shown
        assert secret not in shown.replace(f"{secret}.log", ""), shown


def test_the_line_that_is_shown_hides_what_another_line_makes_a_secret(path: str) -> None:
    text = "macros: {mine: s3cr3tw0rd, unused: 1}\nmodels: {m: {cmd: 'docker x ${PORT} --api-key ${mine}'}}\n"
    shown = text_of(report(inspect_text(text, "config.yaml", {}), {"PATH": path}))
    assert "macros.unused: nothing uses this macro" in shown
    assert "s3cr3tw0rd" not in shown
