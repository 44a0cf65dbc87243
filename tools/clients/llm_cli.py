# client: `llm` (command)
# pip: llm
"""The command `llm`."""

from pathlib import Path

from tried import LARGE, LAUNCHED, OPENAI, SMALL, command, holds, settings, tried

folder = Path.home() / ".config" / "io.datasette.llm"
folder.mkdir(parents=True, exist_ok=True)
(folder / "extra-openai-models.yaml").write_text(
    "".join(
        f"- {{model_id: {name}, model_name: {name}, api_base: '{OPENAI}', supports_tools: true}}\n"
        for name in ("small", "large", "tools")
    )
)
FUNCTION = 'def weather(city: str) -> str:\n    "The weather in a city."\n    return f"rain in {city}"\n'

with tried("chat"):
    holds(command("llm", "-m", "small", "--no-stream", "hello there"), SMALL)
with tried("stream with a swap"):
    holds(command("llm", "-m", "large", "hello there"), LARGE)
with tried("tools"):
    holds(command("llm", "-m", "tools", "--functions", FUNCTION, "hello there"), "this is tools")
with tried(LAUNCHED):
    (folder / "extra-openai-models.yaml").unlink()
    settings("llm", "small")
    holds(command("llm", "-m", "small", "hello there"), SMALL)
