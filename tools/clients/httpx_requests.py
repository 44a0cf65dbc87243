# client: `httpx`, `requests`
# pip: httpx requests
"""Python's usual HTTP clients."""

import httpx
import requests
from tried import HELLO, OPENAI, SMALL, holds, tried

CHAT = f"{OPENAI}/chat/completions"
LATE = {"model": "large", "messages": HELLO, "stream": True}

with tried("chat (requests)"):
    holds(requests.post(CHAT, json={"model": "small", "messages": HELLO}, timeout=60).text, SMALL)
with tried("stream with a swap (requests)"), requests.post(CHAT, json=LATE, stream=True, timeout=60) as answer:
    holds(str(list(answer.iter_lines())), "data: [DONE]")
with tried("a form (requests)"):
    sent = {"data": {"model": "small"}, "files": {"file": ("a.wav", b"RIFF")}}
    holds(requests.post(f"{OPENAI}/audio/transcriptions", timeout=60, **sent).text, "4 bytes in a.wav")
with tried("chat (httpx)"):
    holds(httpx.post(CHAT, json={"model": "small", "messages": HELLO}, timeout=60).text, SMALL)
with tried("stream with a swap (httpx)"), httpx.stream("POST", CHAT, json=LATE, timeout=60) as answer:
    holds(str(list(answer.iter_lines())), "data: [DONE]")
with tried("a form (httpx)"):
    holds(httpx.post(f"{OPENAI}/audio/transcriptions", timeout=60, **sent).text, "4 bytes in a.wav")
with tried("a body in chunks (httpx)"):
    body = (part for part in (b'{"model": "small", "messages": ', b'[{"role": "user", "content": "hello there"}]}'))
    holds(httpx.post(CHAT, content=body, headers={"Content-Type": "application/json"}, timeout=60).text, SMALL)
