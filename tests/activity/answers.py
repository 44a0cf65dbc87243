"""Answers of servers as they were recorded, and what a row is to say of each: those of llama.cpp, and others."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from llamaswap_lib.activity.record import Ended, Record, Sample
from llamaswap_lib.activity.row import Row
from llamaswap_lib.wire.chunked import LAST_CHUNK, chunk_of

JSON, STREAM = "application/json; charset=utf-8", "text/event-stream"
CHAT = "/v1/chat/completions"
Tokens = tuple[int, int, int, int, int, float, float]
NOTHING: Tokens = (0, 0, 0, 0, 0, 0.0, 0.0)
TIMINGS = (
    '"timings":{"cache_n":21,"prompt_n":1,"prompt_ms":0.493,"prompt_per_token_ms":0.493,'
    '"prompt_per_second":2028.3975659229209,"predicted_n":8,"predicted_ms":1.0,'
    '"predicted_per_token_ms":0.14285714285714285,"predicted_per_second":7000.0}'
)
OF_TIMINGS: Tokens = (21, -1, -1, 1, 8, 2028.3975659229209, 7000.0)


class Shape(NamedTuple):
    """An answer, and its columns from `cache_tokens` to `tokens_per_second`."""

    name: str
    path: str
    content_type: str
    body: bytes
    tokens: Tokens


def unsaid(input_tokens: int, output_tokens: int, cached: int = -1) -> Tokens:
    """Of a server that reports its usage and nothing else."""
    return cached, -1, -1, input_tokens, output_tokens, -1, -1


def whole(name: str, path: str, body: str, tokens: Tokens) -> Shape:
    return Shape(name, path, JSON, body.encode(), tokens)


def stream(name: str, path: str, events: list[str], tokens: Tokens) -> Shape:
    return Shape(name, path, STREAM, "".join(f"{event}\n\n" for event in events).encode(), tokens)


def data(value: Any) -> str:
    return "data: " + json.dumps(value, separators=(",", ":"))


def typed(**value: Any) -> str:
    """An event of responses or messages."""
    return f"event: {value['type']}\n{data(value)}"


_CHUNK = '"created":1795365418,"id":"chatcmpl-QB7d","model":"tiny-a","object":"chat.completion.chunk"'
_SAYS = [
    'data: {"choices":[{"finish_reason":null,"index":0,"delta":{"role":"assistant","content":null}}],' + _CHUNK + "}",
    'data: {"choices":[{"finish_reason":null,"index":0,"delta":{"content":" i"}}],' + _CHUNK + "}",
    'data: {"choices":[{"finish_reason":null,"index":0,"delta":{"content":"ere"}}],' + _CHUNK + "}",
]
USAGE_INPUT = 22  # with the tokens that were cached, which timings leave out
_USAGE = (
    '"usage":{"completion_tokens":8,"prompt_tokens":22,"total_tokens":30,"prompt_tokens_details":{"cached_tokens":21}}'
)
_END = 'data: {"choices":[{"finish_reason":"length","index":0,"delta":{}}],' + _CHUNK
_RESPONSE = {"id": "resp_2j7g", "object": "response"}
_OF_RESPONSE = {
    "input_tokens": 22,
    "output_tokens": 3,
    "total_tokens": 25,
    "input_tokens_details": {"cached_tokens": 21},
}
_TIMES = json.loads("{" + TIMINGS + "}")["timings"]

LLAMA_CPP = [
    whole(
        "chat",
        CHAT,
        '{"choices":[{"finish_reason":"length","index":0,"message":{"role":"assistant","content":" i)eregi"}}],'
        f'"created":1795365418,"model":"tiny-a",{_USAGE},"id":"chatcmpl-HmMB",{TIMINGS}}}',
        OF_TIMINGS,
    ),
    stream(
        "chat, streamed with usage",
        CHAT,
        [*_SAYS, _END + "}", f'data: {{"choices":[],{_CHUNK},{_USAGE},{TIMINGS}}}', "data: [DONE]"],
        OF_TIMINGS,
    ),
    stream("chat, streamed without usage", CHAT, [*_SAYS, f"{_END},{TIMINGS}}}", "data: [DONE]"], OF_TIMINGS),
    whole(
        "completion",
        "/completion",
        '{"index":0,"content":" issendsackno","tokens":[],"id_slot":0,"stop":true,"tokens_predicted":4,'
        f'"tokens_evaluated":3,"generation_settings":{{"seed":1,"stop":[]}},"prompt":"The server",{TIMINGS}}}',
        OF_TIMINGS,
    ),
    stream(
        "completion, streamed",
        "/completion",
        [
            'data: {"index":0,"content":" is","tokens":[269],"stop":false,"tokens_predicted":1,"tokens_evaluated":3}',
            f'data: {{"index":0,"content":"","tokens":[],"stop":true,"generation_settings":{{"seed":1}},{TIMINGS}}}',
        ],
        OF_TIMINGS,
    ),
    whole(
        "completions",
        "/v1/completions",
        f'{{"choices":[{{"text":" issendsackno","index":0,"finish_reason":"length"}}],{_USAGE},{TIMINGS}}}',
        OF_TIMINGS,
    ),
    stream(
        "completions, streamed",
        "/v1/completions",
        [
            'data: {"choices":[{"text":" is","index":0,"logprobs":null,"finish_reason":null}],"model":"tiny-a"}',
            f'data: {{"choices":[{{"text":"","index":0,"finish_reason":"length"}}],{_USAGE},{TIMINGS}}}',
            "data: [DONE]",
        ],
        OF_TIMINGS,
    ),
    whole(
        "responses",
        "/v1/responses",
        json.dumps(
            {**_RESPONSE, "output": [{"content": [{"type": "output_text", "text": "in"}]}], "usage": _OF_RESPONSE}
        ),
        unsaid(22, 3, 21),
    ),
    stream(
        "responses, streamed",
        "/v1/responses",
        [
            typed(type="response.created", response={**_RESPONSE, "status": "in_progress"}),
            typed(type="response.content_part.added", item_id="msg_QX", part={"type": "output_text", "text": ""}),
            typed(type="response.output_text.delta", item_id="msg_QX", delta="ro"),
            typed(type="response.output_text.delta", item_id="msg_QX", delta="oads"),
            typed(type="response.output_text.done", item_id="msg_QX", text="rooads"),
            typed(type="response.completed", response={**_RESPONSE, "usage": _OF_RESPONSE}, timings=_TIMES),
        ],
        OF_TIMINGS,
    ),
    whole(
        "messages",
        "/v1/messages",
        '{"id":"chatcmpl-J41r","type":"message","role":"assistant","content":[{"type":"text","text":" \\"giend"}],'
        '"stop_reason":"max_tokens","usage":{"cache_read_input_tokens":21,"input_tokens":1,"output_tokens":3}}',
        unsaid(1, 3, 21),
    ),
    stream(
        "messages, streamed",
        "/v1/messages",
        [
            typed(
                type="message_start",
                message={
                    "content": [],
                    "usage": {"cache_read_input_tokens": 21, "input_tokens": 1, "output_tokens": 0},
                },
            ),
            typed(type="content_block_start", index=0, content_block={"type": "text", "text": ""}),
            typed(type="content_block_delta", index=0, delta={"type": "text_delta", "text": ' "'}),
            typed(type="content_block_delta", index=0, delta={"type": "text_delta", "text": "rn"}),
            typed(type="content_block_stop", index=0),
            typed(type="message_delta", delta={"stop_reason": "max_tokens"}, usage={"output_tokens": 3}),
            typed(type="message_stop"),
        ],
        unsaid(1, 3, 21),
    ),
    whole("count of tokens", "/v1/messages/count_tokens", '{"input_tokens":22}', NOTHING),
    whole(
        "embeddings",
        "/v1/embeddings",
        '{"model":"e","object":"list","usage":{"prompt_tokens":1,"total_tokens":1},"data":[{"embedding":[0.129,-0.124],'
        '"index":0,"object":"embedding"}]}',
        unsaid(1, 0),
    ),
    whole("embeddings without v1", "/embeddings", '[{"index":0,"embedding":[[0.129,-0.124]]}]', NOTHING),
    whole(
        "rerank",
        "/v1/rerank",
        '{"model":"r","object":"list","usage":{"prompt_tokens":51,"total_tokens":51},"results":[{"index":0,'
        '"relevance_score":-2.3}]}',
        unsaid(51, 0),
    ),
    whole("infill", "/infill", f'{{"index":0,"content":"x","stop":true,{TIMINGS}}}', OF_TIMINGS),
    whole(
        "infill of several",
        "/infill",
        f'[{{"index":0,"content":"a","timings":{{"prompt_n":99,"predicted_n":99}}}},{{"index":1,"content":"b",{TIMINGS}}}]',
        OF_TIMINGS,
    ),
    whole("tokens", "/tokenize", '{"tokens":[{"id":383,"piece":"The"},{"id":261,"piece":" s"}]}', NOTHING),
]
OTHERS = [
    whole(
        "drafts of llama.cpp",
        CHAT,
        '{"timings":{"prompt_n":7,"predicted_n":30,"prompt_per_second":70,"predicted_per_second":30.5,"draft_n":16,'
        '"draft_n_accepted":12}}',
        (-1, 16, 12, 7, 30, 70.0, 30.5),
    ),
    whole(
        "half of the drafts",
        CHAT,
        '{"timings":{"prompt_n":7,"predicted_n":3,"draft_n":16}}',
        (-1, -1, -1, 7, 3, -1, -1),
    ),
    whole(
        "metrics of vLLM",
        CHAT,
        '{"choices":[],"usage":{"prompt_tokens":120,"completion_tokens":40,"prompt_tokens_details":{"cached_tokens":20}},'
        '"metrics":{"time_to_first_token_ms":50,"mean_itl_ms":8,"speculative_decoding":{"num_draft_tokens":30,'
        '"num_accepted_draft_tokens":21}}}',
        (20, 30, 21, 120, 40, 2000.0, 125.0),
    ),
    stream(
        "metrics of vLLM, streamed",
        CHAT,
        [
            data({"choices": [{"delta": {"content": "a"}}], "usage": None}),
            data(
                {
                    "choices": [],
                    "usage": {"prompt_tokens": 100, "completion_tokens": 40},
                    "metrics": {"time_to_first_token_ms": 50, "mean_itl_ms": 8},
                }
            ),
            "data: [DONE]",
        ],
        (-1, -1, -1, 100, 40, 2000.0, 125.0),
    ),
    whole("metrics above timings", CHAT, f'{{{TIMINGS},"metrics":{{"mean_itl_ms":4}}}}', (*OF_TIMINGS[:6], 250.0)),
    stream(
        "usage in each event",
        CHAT,
        [
            data({"choices": [{"delta": {"content": "a"}}], "usage": {"prompt_tokens": 5, "completion_tokens": count}})
            for count in range(1, 40)
        ],
        unsaid(5, 39),
    ),
    stream(
        "zeros at the end",
        CHAT,
        [data({"usage": {"prompt_tokens": 5, "completion_tokens": 7}}), data({"usage": {"prompt_tokens": 0}})],
        unsaid(5, 7),
    ),
    stream("an event of several lines", CHAT, ['data: {"usage":\ndata: {"prompt_tokens":5}}'], unsaid(5, 0)),
    whole(
        "nothing cached",
        CHAT,
        '{"usage":{"prompt_tokens":5,"input_tokens_details":{"cached_tokens":0}}}',
        unsaid(5, 0, 0),
    ),
    whole("empty usage", CHAT, '{"usage":{}}', unsaid(0, 0)),
    whole("no usage", CHAT, '{"usage":null,"choices":[]}', NOTHING),
    whole("usage in a text", CHAT, json.dumps({"content": '{"usage":{"prompt_tokens":5}}'}), NOTHING),
    whole("usage inside of something", CHAT, '{"choices":[{"usage":{"prompt_tokens":5}}]}', NOTHING),
    whole("no JSON", CHAT, "<p>It works</p>", NOTHING),
    whole("an empty answer", CHAT, "", NOTHING),
]
LIES: list[str] = [
    *('"12"', "-3", "1180591620717411303424", "NaN", "Infinity", "-Infinity", "[7]", '{"n":7}', "true", "null", "1.5"),
    *("1e300", "9" * 5000),
]
SHAPES = LLAMA_CPP + OTHERS


def record(shape: Shape, sample: Sample | None = None, **fields: Any) -> Record:
    """The record of a request that the shape answers."""
    fields = {"status": 200, "ended": Ended.COMPLETE, "content_type": shape.content_type, "seconds": 2.0, **fields}
    sample = sample or sample_of(shape.body)
    return Record(timestamp=1.0, model="m", path=shape.path, method="POST", sample=sample, **fields)


def sample_of(body: bytes, head: int | None = None, tail: int = 0) -> Sample:
    """All of the body, or its first and last bytes."""
    last_at = 1.9 if body else None
    if head is None or head + tail >= len(body):
        return Sample(body, b"", len(body), first_at=last_at, last_at=last_at)
    return Sample(body[:head], body[len(body) - tail :], len(body), first_at=0.1, last_at=last_at)


def in_chunks(body: bytes, size: int) -> bytes:
    """As a chunked body, each chunk of that many bytes."""
    return b"".join(chunk_of(body[at : at + size]) for at in range(0, len(body), size)) + LAST_CHUNK


def tokens_of(row: Row) -> Tokens:
    return (
        *(row.cache_tokens, row.draft_tokens, row.draft_acc_tokens, row.input_tokens, row.output_tokens),
        *(row.prompt_per_second, row.tokens_per_second),
    )
