# client: Qwen Code
# npm: @qwen-code/qwen-code
"""Qwen Code, without a terminal."""

from tried import LARGE, OPENAI, SMALL, command, holds, tried


def prompt(model: str) -> str:
    env = {"OPENAI_BASE_URL": OPENAI, "OPENAI_API_KEY": "none", "OPENAI_MODEL": model}
    return command("qwen", "-p", "hello there", env=env)


with tried("a prompt (`-p`)"):
    holds(prompt("small"), SMALL)
with tried("a prompt with a swap"):
    holds(prompt("large"), LARGE)
