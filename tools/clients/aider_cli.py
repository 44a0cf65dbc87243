# client: aider
# pip: aider-chat
"""aider, without a terminal and without a repository."""

from tried import LARGE, LAUNCHED, OPENAI, SMALL, command, holds, settings, tried

FLAGS = ("--no-git", "--yes-always", "--no-check-update", "--no-show-model-warnings", "--no-analytics")


def message(model: str) -> str:
    env = {"OPENAI_API_BASE": OPENAI, "OPENAI_API_KEY": "none"}
    return command("aider", *FLAGS, "--model", f"openai/{model}", "--message", "hello there", env=env)


with tried("a message (streamed)"):
    holds(" ".join(message("small").split()), SMALL)
with tried("a message with a swap"):
    holds(" ".join(message("large").split()), LARGE)
with tried(LAUNCHED):
    settings("aider", "small")
    holds(" ".join(command("aider", *FLAGS, "--message", "hello there").split()), SMALL)
