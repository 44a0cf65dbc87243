"""Every row of the contract's tables, and what stands beside them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaswap_lib.endpoints import ENDPOINTS, PROXIED
from llamaswap_lib.routing.routes import Endpoint, Route, find_route
from llamaswap_lib.wire.target import split_target

JSON_PATHS = [
    "/v1/chat/completions",
    "/v1/responses",
    "/v1/completions",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1/embeddings",
    "/reranking",
    "/rerank",
    "/v1/rerank",
    "/v1/reranking",
    "/infill",
    "/completion",
    "/v1/audio/speech",
    "/v1/audio/voices",
    "/v1/images/generations",
    "/sdapi/v1/txt2img",
    "/sdapi/v1/img2img",
    "/v1/audio/transcriptions",
    "/v1/images/edits",
]
LLAMA_CPP_PATHS = [  # and of OpenAI, whose servers have them too
    "/chat/completions",
    "/completions",
    "/responses",
    "/embedding",
    "/embeddings",
    "/tokenize",
    "/detokenize",
    "/apply-template",
    "/v1/audio/translations",
    "/audio/transcriptions",
    "/v1/images/variations",
    "/v1/moderations",
    "/v1/responses/input_tokens",
    "/responses/input_tokens",
    "/v1/chat/completions/input_tokens",
    "/chat/completions/input_tokens",
    "/v1/chat/completions/control",
]
VERSIONLESS = [
    "chat/completions",
    "responses",
    "completions",
    "messages",
    "messages/count_tokens",
    "embeddings",
    "rerank",
    "reranking",
]
OWN = [
    ("GET", "/health", Endpoint.HEALTH),
    ("GET", "/v1/health", Endpoint.HEALTH),
    ("GET", "/wol-health", Endpoint.HEALTH),
    ("GET", "/v1/models", Endpoint.MODEL_LIST),
    ("GET", "/models", Endpoint.MODEL_LIST),
    ("GET", "/running", Endpoint.RUNNING),
    ("GET", "/unload", Endpoint.UNLOAD_EVERY),
    ("POST", "/api/models/unload", Endpoint.UNLOAD_ALL),
    ("GET", "/api/queue", Endpoint.QUEUE),
    ("GET", "/api/profiles", Endpoint.PROFILES),
    ("PUT", "/api/profiles/active", Endpoint.ACTIVE_PROFILE),
    ("GET", "/api/version", Endpoint.VERSION),
    ("GET", "/metrics", Endpoint.METRICS),
    ("GET", "/api/events", Endpoint.EVENTS),
    ("GET", "/api/inflight", Endpoint.IN_FLIGHT),
    ("GET", "/logs", Endpoint.LOGS),
    ("GET", "/logs/stream", Endpoint.LOG_STREAM),
]
UNANSWERED = [  # of llama-swap, which nobody answers here yet
    "/api/captures/17/more",
]


@pytest.mark.parametrize("path", JSON_PATHS + LLAMA_CPP_PATHS)
def test_model_routes_are_sent_on_under_their_own_path(path: str) -> None:
    assert find_route("POST", path) == Route(Endpoint.MODEL, upstream_path=path)


@pytest.mark.parametrize("rest", VERSIONLESS)
def test_versionless_routes_are_sent_on_without_their_v(rest: str) -> None:
    assert find_route("POST", f"/v/{rest}") == Route(Endpoint.MODEL, upstream_path=f"/{rest}")


def test_audioapi_is_sent_on_without_its_prefix() -> None:
    assert find_route("POST", "/audioapi/v1/tasks/run") == Route(Endpoint.MODEL, upstream_path="/v1/tasks/run")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/v1/audio/voices", "/sdapi/v1/loras", "/lora-adapters"])
def test_query_routes(method: str, path: str) -> None:
    assert find_route(method, path) == Route(Endpoint.MODEL, upstream_path=path)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/props", "/slots"])
def test_query_routes_that_need_no_model_where_one_runs(method: str, path: str) -> None:
    assert find_route(method, path) == Route(Endpoint.MODEL_OR_ONLY, upstream_path=path)


@pytest.mark.parametrize(("method", "path", "endpoint"), OWN)
def test_own_routes(method: str, path: str, endpoint: Endpoint) -> None:
    assert find_route(method, path) == Route(endpoint)
    assert (find_route("HEAD", path) == Route(endpoint)) is (method == "GET" and path != "/unload")


@pytest.mark.parametrize(
    "path", [path for method, path, _ in OWN if method == "GET"] + JSON_PATHS + LLAMA_CPP_PATHS + ["/ui"]
)
def test_a_trailing_slash_makes_another_path(path: str) -> None:
    route = find_route("GET", path + "/")
    if path == "/logs/stream":
        assert route == Route(Endpoint.LOG_STREAM_OF, "")
    elif path == "/ui":
        assert route == Route(Endpoint.UI, "")
    else:
        assert route.endpoint is Endpoint.NOT_FOUND


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/v1/chat/completions", "POST"),
        ("HEAD", "/v1/chat/completions", "POST"),
        ("GET", "/tokenize", "POST"),
        ("POST", "/slots", "GET, HEAD"),
        ("POST", "/metrics", "GET, HEAD"),
        ("POST", "/v1/health", "GET, HEAD"),
        ("get", "/health", "GET, HEAD"),
        ("POST", "/health", "GET, HEAD"),
        ("PUT", "/v1/audio/voices", "GET, HEAD, POST"),
        ("POST", "/api/profiles/active", "PUT"),
        ("HEAD", "/unload", "GET"),
        ("POST", "/unload", "GET"),
        ("GET", "/api/models/unload", "POST"),
        ("GET", "/api/models/unload/m", "POST"),
        ("GET", "/api/models/load/m", "POST"),
        ("POST", "/logs/stream/m", "GET, HEAD"),
        ("DELETE", "/api/models/m/plan", "GET, HEAD"),
        ("POST", "/api/models/m/clients", "GET, HEAD"),
        ("POST", "/upstream", "GET, HEAD"),
        ("POST", "/", "GET, HEAD"),
        ("POST", "/ui/x", "GET, HEAD"),
    ],
)
def test_a_wrong_method_says_which_are_right(method: str, path: str, allow: str) -> None:
    assert find_route(method, path) == Route(Endpoint.METHOD_NOT_ALLOWED, allow=allow)


@pytest.mark.parametrize(
    "path",
    [
        "/nope",
        "",
        "*",
        "/v1",
        "/V1/models",
        "/v1/models%2F",
        "/v/models",
        "/v/v1/chat/completions",
        "/audioapi/v1/models",
        "/upstreams/a",
        "/comfyuix",
        "/api/models/load",
        "/api/models/plan",
        "/api/models/m/plan/",
        *UNANSWERED,
    ],
)
def test_an_unknown_path_is_not_found_whatever_the_method(path: str) -> None:
    for method in ("GET", "POST", "HEAD", "PUT", "PATCH", "DELETE", "TRACE", "get"):
        assert find_route(method, path).endpoint is Endpoint.NOT_FOUND
    assert find_route("OPTIONS", path).endpoint is Endpoint.PREFLIGHT


def test_every_route_has_an_endpoint_that_answers() -> None:
    assert set(Endpoint) == set(ENDPOINTS) | set(PROXIED)


@pytest.mark.parametrize("path", ["/nope", "*", "/v1/models", "/upstream/m/x", "/comfyui/", "/logs/stream/a"])
def test_options_is_a_preflight_everywhere(path: str) -> None:
    assert find_route("OPTIONS", path).endpoint is Endpoint.PREFLIGHT


def test_connect_and_a_target_without_a_path_are_led_nowhere() -> None:
    assert find_route("CONNECT", "//v1/models").endpoint is Endpoint.NOT_FOUND
    assert find_route("GET", "*").endpoint is Endpoint.NOT_FOUND


def test_redirects() -> None:
    assert find_route("GET", "/") == Route(Endpoint.REDIRECT, "/ui", status=302)
    assert find_route("HEAD", "/ui") == Route(Endpoint.REDIRECT, "/ui/", status=301)
    assert find_route("GET", "/upstream") == Route(Endpoint.REDIRECT, "/ui/models", status=302)
    assert find_route("GET", "/comfyui") == Route(Endpoint.REDIRECT, "/comfyui/", status=301)
    assert find_route("HEAD", "/comfyui") == Route(Endpoint.REDIRECT, "/comfyui/", status=301)
    assert find_route("POST", "/comfyui") == Route(Endpoint.REDIRECT, "/comfyui/", status=308)


@pytest.mark.parametrize(
    ("method", "path", "route"),
    [
        ("GET", "/v1/models/org%2Fb/c", Route(Endpoint.MODEL_ENTRY, "org/b/c")),
        ("GET", "/logs/stream/proxy", Route(Endpoint.LOG_STREAM_OF, "proxy")),
        ("GET", "/logs/stream/org/b:q4", Route(Endpoint.LOG_STREAM_OF, "org/b:q4")),
        ("GET", "/logs/stream/org%2Fb%3Aq4%20%C3%A4", Route(Endpoint.LOG_STREAM_OF, "org/b:q4 ä")),
        ("GET", "/logs/stream/a%252Fb", Route(Endpoint.LOG_STREAM_OF, "a%2Fb")),
        ("POST", "/api/models/unload/org/b", Route(Endpoint.UNLOAD_ONE, "org/b")),
        ("POST", "/api/models/unload/org%2Fb", Route(Endpoint.UNLOAD_ONE, "org/b")),
        ("POST", "/api/models/unload/", Route(Endpoint.UNLOAD_ONE, "")),
        ("POST", "/api/models/load/org%2Fb", Route(Endpoint.LOAD_ONE, "org/b")),
        ("GET", "/api/models/org/b/plan", Route(Endpoint.PLAN, "org/b")),
        ("HEAD", "/api/models/org%2Fb%2Fplan/plan", Route(Endpoint.PLAN, "org/b/plan")),
        ("POST", "/api/models/load/b/plan", Route(Endpoint.LOAD_ONE, "b/plan")),
        ("GET", "/ui/assets/app.js", Route(Endpoint.UI, "assets/app.js")),
        ("DELETE", "/upstream/a/x%2Fy", Route(Endpoint.UPSTREAM, upstream_path="a/x%2Fy")),
        ("GET", "/upstream/", Route(Endpoint.UPSTREAM, upstream_path="")),
        ("PROPFIND", "/comfyui/", Route(Endpoint.COMFYUI, "comfyui_auto", "/")),
        ("POST", "/comfyui/a%2Fb", Route(Endpoint.COMFYUI, "comfyui_auto", "/a%2Fb")),
    ],
)
def test_what_a_path_carries(method: str, path: str, route: Route) -> None:
    assert find_route(method, path) == route


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/a/b", "/a/b", ""),
        ("/a?", "/a", "?"),
        ("/a?x=%2F?y&z", "/a", "?x=%2F?y&z"),
        ("//a//b", "//a//b", ""),
        ("*", "*", ""),
        ("http://h:80/v1/models?x", "/v1/models", "?x"),
        ("HTTPS://h", "/", ""),
        ("http://h?x=/y", "/", "?x=/y"),
        ("http://h/http://i/x", "/http://i/x", ""),
    ],
)
def test_split_target_keeps_every_byte(target: str, path: str, query: str) -> None:
    assert split_target(target) == (path, query)


@given(
    st.sampled_from(["GET", "POST", "PUT", "HEAD", "x"]), st.text(st.characters(min_codepoint=33, max_codepoint=126))
)
def test_any_path_has_a_route(method: str, path: str) -> None:
    for prefix in ("", "/", "/upstream/", "/logs/stream/", "/v1/models/", "/api/models/load/"):
        route = find_route(method, prefix + path)
        assert route.allow or route.endpoint is not Endpoint.METHOD_NOT_ALLOWED
