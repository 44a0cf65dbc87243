# client: LangChain (`langchain-openai`, `langchain-anthropic`)
# pip: langchain-openai langchain-anthropic
"""LangChain, with the models of its packages for OpenAI and Anthropic."""

from langchain_anthropic import ChatAnthropic
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from tried import LARGE, OPENAI, SMALL, URL, holds, tried


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"rain in {city}"


def openai(model: str) -> ChatOpenAI:
    return ChatOpenAI(base_url=OPENAI, api_key="none", model=model)


with tried("chat"):
    holds(openai("small").invoke("hello there").content, SMALL)
with tried("stream with a swap"):
    holds("".join(chunk.content for chunk in openai("large").stream("hello there")), LARGE)
with tried("tools"):
    holds(str(openai("tools").bind_tools([weather]).invoke("hello there").tool_calls), "Oslo")
with tried("embeddings"):
    embedder = OpenAIEmbeddings(base_url=OPENAI, api_key="none", model="embed", check_embedding_ctx_length=False)
    holds(str(len(embedder.embed_documents(["one", "two"]))), "2")
with tried("messages (ChatAnthropic)"):
    holds(ChatAnthropic(base_url=URL, api_key="none", model="small").invoke("hello there").content, SMALL)
