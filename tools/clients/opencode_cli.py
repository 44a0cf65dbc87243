# client: opencode
# npm: opencode-ai
# version: opencode --version
"""opencode, with the settings of docs/clients.md, without a terminal."""

import json
from pathlib import Path

from tried import LARGE, LAUNCHED, OPENAI, SMALL, command, holds, settings, tried

PROVIDER = {
    "npm": "@ai-sdk/openai-compatible", "name": "llamaswap", "options": {"baseURL": OPENAI},
    "models": {"small": {}, "large": {}, "tools": {}},
}  # fmt: skip
folder = Path.home() / ".config" / "opencode"
folder.mkdir(parents=True, exist_ok=True)
(folder / "opencode.json").write_text(
    json.dumps({"$schema": "https://opencode.ai/config.json", "provider": {"llamaswap": PROVIDER}})
)

with tried("a prompt (`run`)"):
    holds(command("opencode", "run", "-m", "llamaswap/small", "hello there"), SMALL)
with tried("a prompt with a swap"):
    holds(command("opencode", "run", "-m", "llamaswap/large", "hello there"), LARGE)
with tried("a tool call and its result"):
    holds(command("opencode", "run", "-m", "llamaswap/tools", "hello there"), "this is tools")
with tried(LAUNCHED):
    (folder / "opencode.json").unlink()
    settings("opencode", "small")
    holds(command("opencode", "run", "-m", "llamaswap/small", "hello there"), SMALL)
