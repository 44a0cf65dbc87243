# client: Claude Code
# npm: @anthropic-ai/claude-code
# version: claude --version
"""Claude Code, without a terminal."""

from pathlib import Path

from tried import LARGE, LAUNCHED, SMALL, URL, command, holds, settings, tried

ENVIRONMENT = {
    "ANTHROPIC_BASE_URL": URL,
    "ANTHROPIC_AUTH_TOKEN": "none",
    "ANTHROPIC_DEFAULT_HAIKU_MODEL": "small",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
}

with tried("a prompt (`-p`)"):
    holds(command("claude", "--model", "small", "-p", "hello there", env=ENVIRONMENT), SMALL)
with tried("a prompt of 100 KB with a swap"):
    holds(command("claude", "--model", "large", "-p", input="hello there " * 9000, env=ENVIRONMENT), LARGE)
with tried("a tool call and its result"):
    holds(command("claude", "--model", "tools", "-p", "hello there", env=ENVIRONMENT), "this is tools")
with tried(LAUNCHED):
    settings("claude", "small")
    holds(command("claude", "--settings", str(Path.home() / ".claude" / "llamaswap.json"), "-p", "hello there"), SMALL)
