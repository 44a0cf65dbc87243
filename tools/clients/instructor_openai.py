# client: instructor
# pip: instructor
"""instructor, which makes objects of answers: by a tool, and by a JSON schema."""

import instructor
from openai import OpenAI
from pydantic import BaseModel
from tried import HELLO, OPENAI, holds, tried


class Weather(BaseModel):
    city: str


with tried("an object by a tool call"):
    client = instructor.from_openai(OpenAI(base_url=OPENAI, api_key="none"), mode=instructor.Mode.TOOLS)
    holds(client.chat.completions.create(model="tools", messages=HELLO, response_model=Weather).city, "Oslo")
with tried("a streamed object"):
    parts = client.chat.completions.create_partial(model="tools", messages=HELLO, response_model=Weather)
    holds(str(list(parts)[-1].city), "Oslo")
