# client: Continue (`cn`)
# npm: @continuedev/cli
"""Continue's command line, with the same provider that its editor extensions have."""

from pathlib import Path

from tried import LARGE, LAUNCHED, OPENAI, SMALL, command, holds, settings, tried


def config(model: str) -> str:
    path = Path.home() / f"{model}.yaml"
    path.write_text(
        "name: local\nversion: 0.0.1\nschema: v1\nmodels:\n"
        f"  - {{name: {model}, provider: openai, model: {model}, apiBase: '{OPENAI}', apiKey: none, roles: [chat]}}\n"
    )
    return str(path)


with tried("a prompt (`-p`)"):
    holds(command("cn", "-p", "--config", config("small"), "hello there"), SMALL)
with tried("a prompt with a swap"):
    holds(command("cn", "-p", "--config", config("large"), "hello there"), LARGE)
with tried(LAUNCHED):
    settings("continue", "small")
    holds(command("cn", "-p", "hello there"), SMALL)
