# client: LiteLLM (SDK and proxy)
# pip: litellm[proxy]
"""LiteLLM, as a library, and as a proxy in front of the server."""

import json
import os
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

import litellm
from tried import HELLO, LARGE, OPENAI, SMALL, URL, WEATHER, holds, tried

PORT = int(URL.rpartition(":")[2]) + 90
KEY = "sk-a-key-of-thirty-two-characters-or-more"
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": WEATHER}}]
CONFIG = f"""
model_list:
  - model_name: front
    litellm_params: {{model: openai/small, api_base: {OPENAI}, api_key: none}}
"""

with tried("chat"):
    answer = litellm.completion(model="openai/small", api_base=OPENAI, api_key="none", messages=HELLO)
    holds(answer.choices[0].message.content, SMALL)
with tried("stream with a swap"):
    chunks = litellm.completion(model="openai/large", api_base=OPENAI, api_key="none", messages=HELLO, stream=True)
    holds("".join(chunk.choices[0].delta.content or "" for chunk in chunks), LARGE)
with tried("tools"):
    answer = litellm.completion(model="openai/tools", api_base=OPENAI, api_key="none", messages=HELLO, tools=TOOLS)
    holds(answer.choices[0].message.tool_calls[0].function.arguments, "Oslo")
with tried("embeddings"):
    answer = litellm.embedding(
        model="openai/embed", api_base=OPENAI, api_key="none", input=["one", "two"], encoding_format="float"
    )
    holds(str(len(answer.data)), "2")
with tried("messages (anthropic/)"):
    answer = litellm.completion(model="anthropic/small", api_base=URL, api_key="none", messages=HELLO)
    holds(answer.choices[0].message.content, SMALL)


def ask_proxy() -> str:
    request = urllib.request.Request(
        f"http://127.0.0.1:{PORT}/v1/chat/completions",
        json.dumps({"model": "front", "messages": HELLO}).encode(),
        {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.read().decode()


with tried("chat through its proxy"), tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "config.yaml"
    path.write_text(CONFIG)
    proxy = subprocess.Popen(
        ("litellm", "--config", path, "--port", str(PORT), "--host", "127.0.0.1"),
        env={**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MASTER_KEY": KEY},
        stdout=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 90
        while True:
            with suppress(urllib.error.URLError, ConnectionError):
                holds(ask_proxy(), SMALL)
                break
            if proxy.poll() is not None or time.monotonic() > deadline:
                raise ValueError("the proxy does not answer")
            time.sleep(0.5)
    finally:
        proxy.terminate()
        proxy.wait(30)
