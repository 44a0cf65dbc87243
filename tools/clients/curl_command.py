# client: curl
# version: curl --version
"""curl, as the README types it, and in ways of its own."""

import gzip
import json
from pathlib import Path

from tried import HELLO, OPENAI, SMALL, URL, command, holds, tried

JSON = ("-H", "Content-Type: application/json")
BODY = json.dumps({"model": "small", "messages": HELLO})

with tried("list"):
    holds(command("curl", "-sSf", f"{OPENAI}/models"), "small")
with tried("chat"):
    holds(command("curl", "-sSf", f"{OPENAI}/chat/completions", *JSON, "-d", BODY), SMALL)
with tried("stream with a swap"):
    body = json.dumps({"model": "large", "messages": HELLO, "stream": True})
    holds(command("curl", "-sSfN", f"{OPENAI}/chat/completions", *JSON, "-d", body), "data: [DONE]")
with tried("a body of 1 MB (`Expect: 100-continue`)"):
    big = json.dumps({"model": "small", "messages": HELLO, "x": "x" * 1_000_000})
    holds(command("curl", "-sSf", f"{OPENAI}/chat/completions", *JSON, "-d", "@-", input=big), SMALL)
with tried("a body in gzip"):
    Path("body.gz").write_bytes(gzip.compress(BODY.encode()))
    words = ("curl", "-sSf", f"{OPENAI}/chat/completions", *JSON, "-H", "Content-Encoding: gzip")
    holds(command(*words, "--data-binary", "@body.gz"), SMALL)
with tried("transcription"):
    words = (
        "curl",
        "-sSf",
        f"{OPENAI}/audio/transcriptions",
        "-F",
        "model=small",
        "-F",
        "file=@body.gz;filename=a.wav",
    )
    holds(command(*words), "a.wav")
with tried("HTTP/2 asked for (`--http2`)"):
    holds(command("curl", "-sSf", "--http2", f"{URL}/running"), "small")
