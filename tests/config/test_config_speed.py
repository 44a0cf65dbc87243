"""Loading is fast enough for a server that starts in a quarter of a second."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from llamaswap_lib.config.load import load_text

MODELS = 500


def many_models() -> str:
    lines = ["macros:", "  base: /opt/models", "  ctx: 8192", "  server: |"]
    lines += ["    llama-server --port ${PORT}", "    --ctx-size ${ctx}", "models:"]
    for n in range(MODELS):
        lines += [f"  org/model-{n}:", f"    name: Model {n} of ${{base}}", "    cmd: |", "      ${server}"]
        lines += [f"      --model ${{base}}/model-{n}.gguf \\", "      # a comment", "      --alias 'some name'"]
        lines += [
            f"    aliases: [m{n}]",
            "    ttl: 300",
            f"    macros: {{ctx: {n}}}",
            "    metadata: {port: '${PORT}'}",
        ]
    return "\n".join(lines)


@pytest.mark.slow
def test_five_hundred_models_with_macros_load_in_less_than_three_tenths_of_a_second() -> None:
    text = many_models()

    def seconds() -> float:
        start = time.process_time()
        assert len(load_text(text, environment={}).models) == MODELS
        return time.process_time() - start

    assert min(seconds() for _ in range(5)) < 0.3


def test_loading_does_not_import_what_only_check_and_the_documents_need() -> None:
    probe = "import sys, llamaswap_lib.config.load; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    imported = done.stdout.split()
    assert "llamaswap_lib.config.schema" in imported
    for name in ("check", "show", "render"):
        assert f"llamaswap_lib.config.{name}" not in imported
