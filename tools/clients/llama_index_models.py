# client: LlamaIndex (`llama-index-llms-openai-like`)
# pip: llama-index-llms-openai-like llama-index-embeddings-openai-like
"""LlamaIndex, with what it has for servers that are like OpenAI's."""

from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.llms.openai_like import OpenAILike
from tried import LARGE, OPENAI, SMALL, holds, tried


def weather(city: str) -> str:
    """The weather in a city."""
    return f"rain in {city}"


def model(name: str) -> OpenAILike:
    return OpenAILike(model=name, api_base=OPENAI, api_key="none", is_chat_model=True, is_function_calling_model=True)


with tried("chat"):
    holds(str(model("small").chat([ChatMessage(content="hello there")])), SMALL)
with tried("stream with a swap"):
    holds("".join(part.delta or "" for part in model("large").stream_chat([ChatMessage(content="hello there")])), LARGE)
with tried("tools"):
    answer = model("tools").chat_with_tools([FunctionTool.from_defaults(weather)], user_msg="hello there")
    holds(str(model("tools").get_tool_calls_from_response(answer)), "Oslo")
with tried("embeddings"):
    embedder = OpenAILikeEmbedding(model_name="embed", api_base=OPENAI, api_key="none")
    holds(str(len(embedder.get_text_embedding_batch(["one", "two"]))), "2")
