# client: pydantic-ai
# pip: pydantic-ai-slim[openai]
"""pydantic-ai: an agent without and with a tool."""

import asyncio

from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from tried import LARGE, OPENAI, SMALL, holds, tried


def agent(model: str) -> Agent:
    return Agent(OpenAIChatModel(model, provider=OpenAIProvider(base_url=OPENAI, api_key="none")))


asked = []
helped = agent("tools")


@helped.tool_plain
def weather(city: str) -> str:
    """The weather in a city."""
    asked.append(city)
    return f"rain in {city}"


async def stream() -> str:
    async with agent("large").run_stream("hello there") as result:
        return "".join([text async for text in result.stream_text(delta=True)])


with tried("chat"):
    holds(agent("small").run_sync("hello there").output, SMALL)
with tried("stream with a swap"):
    holds(asyncio.run(stream()), LARGE)
with tried("an agent that calls a tool"):
    holds(helped.run_sync("hello there").output, "this is tools")
    holds(str(asked), "Oslo")
