# client: Codex CLI
# npm: @openai/codex
# version: codex --version
"""Codex, without a terminal."""

from pathlib import Path

from tried import LARGE, LAUNCHED, OPENAI, SMALL, command, holds, settings, tried

CONFIG = f"""
model_provider = "llamaswap"
[model_providers.llamaswap]
name = "llamaswap"
base_url = "{OPENAI}"
wire_api = "responses"
"""
(Path.home() / ".codex").mkdir(exist_ok=True)
(Path.home() / ".codex" / "config.toml").write_text(CONFIG)


def execute(model: str, prompt: str) -> str:
    return command("codex", "exec", "--skip-git-repo-check", "-m", model, prompt)


with tried("a prompt (`exec`)"):
    holds(execute("small", "hello there"), SMALL)
with tried("a prompt of 100 KB with a swap"):
    holds(execute("large", "hello there " * 9000), LARGE)
with tried(LAUNCHED):
    (Path.home() / ".codex" / "config.toml").unlink()
    settings("codex", "small")
    holds(command("codex", "exec", "--skip-git-repo-check", "--profile", "llamaswap", "hello there"), SMALL)
