# client: `openai` (Python)
# pip: openai
"""OpenAI's SDK."""

import asyncio
import base64
import io

from openai import AsyncOpenAI, NotFoundError, OpenAI
from tried import HELLO, LARGE, OPENAI, SMALL, WEATHER, holds, tried

client = OpenAI(base_url=OPENAI, api_key="none")
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": WEATHER}}]

with tried("list"):
    holds(str([model.id for model in client.models.list()]), "small")
with tried("chat"):
    holds(client.chat.completions.create(model="small", messages=HELLO).choices[0].message.content, SMALL)
with tried("stream with a swap"):
    chunks = client.chat.completions.create(
        model="large", messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    text = ""
    usage = None
    for chunk in chunks:
        text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
        usage = chunk.usage or usage
    holds(text, LARGE)
    if usage is None:
        raise ValueError("no usage")
with tried("tools"):
    call = client.chat.completions.create(model="tools", messages=HELLO, tools=TOOLS).choices[0].message.tool_calls[0]
    holds(call.function.arguments, "city")
with tried("streamed tools"):
    with client.chat.completions.stream(model="tools", messages=HELLO, tools=TOOLS) as stream:
        stream.until_done()
        holds(stream.get_final_completion().choices[0].message.tool_calls[0].function.arguments, "city")
with tried("responses"):
    holds(client.responses.create(model="small", input="hello there").output_text, SMALL)
with tried("streamed responses"):
    with client.responses.stream(model="small", input="hello there") as events:
        events.until_done()
        holds(events.get_final_response().output_text, SMALL)
with tried("completions"):
    holds(client.completions.create(model="small", prompt="hello there").choices[0].text, SMALL)
with tried("embeddings"):
    holds(str(len(client.embeddings.create(model="embed", input=["one", "two"]).data)), "2")
with tried("transcription"):
    audio = io.BytesIO(base64.b64decode("UklGRg=="))
    audio.name = "a.wav"
    holds(client.audio.transcriptions.create(model="small", file=audio).text, "small heard 4 bytes in a.wav")
with tried("an unknown model is NotFoundError"):
    try:
        client.chat.completions.create(model="no-such-model", messages=HELLO)
    except NotFoundError as error:
        holds(str(error), "no-such-model")
    else:
        raise ValueError("it was answered")


async def ask() -> None:
    async with AsyncOpenAI(base_url=OPENAI, api_key="none") as asynchronous:
        answers = [asynchronous.chat.completions.create(model="small", messages=HELLO) for _ in range(20)]
        for answer in await asyncio.gather(*answers):
            holds(answer.choices[0].message.content, SMALL)


with tried("20 at once (async)"):
    asyncio.run(ask())
