"""The answers that are no generated text: embeddings, ranking, tokens, transcription, facts about the model, echo."""

from __future__ import annotations

import base64
import re
import zlib
from typing import Any

from llamaswap_lib.demo.text import embed, split_tokens, token_id
from llamaswap_lib.demo.wire import Refusal, Request, answer

CONTEXT_TOKENS = 8192
SLOTS = 4


def embeddings(request: Request, model: str) -> dict[str, Any]:
    """/v1/embeddings"""
    body = request.json()
    texts = _inputs(body.get("input"))
    encoding = body.get("encoding_format") or "float"
    if encoding not in ("float", "base64"):
        raise Refusal(400, "'encoding_format' must be float or base64")
    count = sum(len(split_tokens(text)) for text in texts)
    data: list[dict[str, Any]] = []
    for index, text in enumerate(texts):
        vector = embed(text)
        value = vector.tolist() if encoding == "float" else base64.b64encode(vector.tobytes()).decode()
        data.append({"embedding": value, "index": index, "object": "embedding"})
    usage = {"prompt_tokens": count, "total_tokens": count}
    return {"model": body.get("model") or model, "object": "list", "usage": usage, "data": data}


def _inputs(given: Any) -> list[str]:
    """A text, a list of texts, a list of token numbers, or a list of those."""
    if isinstance(given, str):
        return [given]
    if not isinstance(given, list) or not given:
        raise Refusal(400, "'input' must be a text or a list that is not empty")
    if all(isinstance(item, int) for item in given):
        return [" ".join(map(str, given))]
    if not all(isinstance(item, (str, list)) for item in given):
        raise Refusal(400, "'input' must hold texts or lists of tokens")
    return [item if isinstance(item, str) else " ".join(map(str, item)) for item in given]


def rerank(request: Request, model: str) -> dict[str, Any]:
    """/v1/rerank: by the angle between embeddings, best first."""
    body = request.json()
    query, documents = body.get("query"), body.get("documents")
    if not isinstance(query, str) or not isinstance(documents, list):
        raise Refusal(400, "'query' and 'documents' are required")
    texts = [item if isinstance(item, str) else str(item) for item in documents]
    wanted = embed(query)
    scores = [sum(a * b for a, b in zip(wanted, embed(text), strict=True)) for text in texts]
    results = [{"index": index, "relevance_score": score} for index, score in enumerate(scores)]
    results.sort(key=lambda result: -result["relevance_score"])
    limit = body.get("top_n")
    count = sum(len(split_tokens(text)) for text in [query, *texts])
    return {
        "model": body.get("model") or model,
        "object": "list",
        "usage": {"prompt_tokens": count, "total_tokens": count},
        "results": results[:limit] if isinstance(limit, int) and limit >= 0 else results,
    }


def tokenize(request: Request) -> dict[str, Any]:
    """/tokenize"""
    body = request.json()
    content = body.get("content")
    if not isinstance(content, str):
        raise Refusal(400, "'content' must be a text")
    pieces = split_tokens(content)
    if body.get("with_pieces") is True:
        return {"tokens": [{"id": token_id(piece), "piece": piece} for piece in pieces]}
    return {"tokens": [token_id(piece) for piece in pieces]}


def model_list(model: str, created: int) -> dict[str, Any]:
    """/v1/models"""
    meta = {"n_ctx": CONTEXT_TOKENS, "n_params": 0, "size": 0}
    entry = {"id": model, "object": "model", "created": created, "owned_by": "llamaswap-demo", "meta": meta}
    return {"object": "list", "data": [entry]}


def props(model: str) -> dict[str, Any]:
    """/props"""
    return {
        "default_generation_settings": {"n_ctx": CONTEXT_TOKENS},
        "total_slots": SLOTS,
        "model_alias": model,
        "model_path": f"{model}.gguf",
        "modalities": {"vision": False, "audio": False},
        "chat_template": "",
    }


def slots(in_progress: int) -> list[dict[str, Any]]:
    """/slots"""
    count = max(SLOTS, in_progress)
    return [{"id": n, "n_ctx": CONTEXT_TOKENS, "is_processing": n < in_progress} for n in range(count)]


def transcription(request: Request, model: str) -> bytes:
    """/v1/audio/transcriptions: says what it got instead of what was said."""
    fields = multipart_fields(request)
    if "file" not in fields:
        raise Refusal(400, "no file was sent")
    name, audio = fields["file"]
    text = f"{model} heard {len(audio)} bytes in {name or 'a file without a name'}."
    if fields.get("response_format", ("", b""))[1] == b"text":
        return answer(f"{text}\n", content_type="text/plain; charset=utf-8")
    return answer({"text": text})


def multipart_fields(request: Request) -> dict[str, tuple[str, bytes]]:
    """Field -> its file name, if any, and content."""
    boundary = re.search(r'boundary="?([^";]+)', request.get("content-type"))
    if boundary is None:
        raise Refusal(400, "the body must be multipart/form-data")
    fields = {}
    delimiter = b"\r\n--" + boundary[1].encode("latin-1")
    for part in (b"\r\n" + request.body).split(delimiter)[1:]:
        head, empty_line, content = part.partition(b"\r\n\r\n")
        text = head.decode("utf-8", "replace")
        name = re.search(r'[; ]name="([^"]*)"', text)
        if empty_line and name:
            file_name = re.search(r'filename="([^"]*)"', text)
            fields[name[1]] = (file_name[1] if file_name else "", content)
    return fields


def echo(request: Request) -> bytes:
    """/echo: the request as JSON."""
    headers: dict[str, str] = {}
    for name, value in request.headers:
        key = name.lower()
        headers[key] = f"{headers[key]}, {value}" if key in headers else value
    return answer(
        {
            "method": request.method,
            "path": request.target,
            "headers": headers,
            "raw_headers": [list(pair) for pair in request.headers],
            "body": request.body.decode("utf-8", "replace"),
            "body_bytes": len(request.body),
            "body_crc32": zlib.crc32(request.body),
        }
    )
