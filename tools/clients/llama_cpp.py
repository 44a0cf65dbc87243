# client: `openai` (Python), asking a real llama.cpp
# pip: openai
# extra: llama
"""OpenAI's SDK and a real llama.cpp behind the server, where the extra `llama` is installed."""

from openai import OpenAI
from tried import HELLO, OPENAI, holds, tried

client = OpenAI(base_url=OPENAI, api_key="none")
CITY = {"type": "object", "properties": {"city": {"enum": ["Oslo", "Rome"]}}, "required": ["city"]}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "place", "schema": CITY}}

with tried("chat with a JSON schema"):
    answer = client.chat.completions.create(model="llama", messages=HELLO, response_format=SCHEMA, max_tokens=200)
    holds(answer.choices[0].message.content, "city")
with tried("stream with usage"):
    options = {"include_usage": True}
    chunks = list(
        client.chat.completions.create(
            model="llama", messages=HELLO, stream=True, stream_options=options, max_tokens=20
        )
    )
    holds(str(chunks[-1].usage.completion_tokens > 0), "True")
with tried("responses"):
    holds(str(client.responses.create(model="llama", input="hello there", max_output_tokens=20).status), "complete")
with tried("completions"):
    holds(client.completions.create(model="llama", prompt="hello there", max_tokens=20).object, "text_completion")
