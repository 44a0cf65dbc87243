# client: `anthropic` (Python)
# pip: anthropic
"""Anthropic's SDK."""

from anthropic import Anthropic
from tried import HELLO, LARGE, SMALL, URL, WEATHER, holds, tried

client = Anthropic(base_url=URL, api_key="none")
TOOLS = [{"name": "weather", "input_schema": WEATHER}]

with tried("list"):
    holds(str([model.id for model in client.models.list()]), "small")
with tried("messages"):
    holds(client.messages.create(model="small", max_tokens=100, messages=HELLO).content[0].text, SMALL)
with tried("stream with a swap"):
    with client.messages.stream(model="large", max_tokens=100, messages=HELLO) as stream:
        holds("".join(stream.text_stream), LARGE)
with tried("tools"):
    holds(str(client.messages.create(model="tools", max_tokens=9, messages=HELLO, tools=TOOLS).content), "city")
with tried("streamed tools"):
    with client.messages.stream(model="tools", max_tokens=9, messages=HELLO, tools=TOOLS) as stream:
        holds(str(stream.get_final_message().content), "city")
with tried("count_tokens"):
    holds(str(client.messages.count_tokens(model="small", messages=HELLO).input_tokens > 0), "True")
