"""Every exception that has a meaning outside the function that raises it, and its mapping to HTTP.

An error's type says whose fault it is. `HttpError` and its children become an answer to a client: the status, the
`type` and the `code` of the JSON body are class attributes, so the mapping exists once. `ConfigError` is the user's
configuration, told on the terminal. `ClientGone` is nobody's fault and is answered with nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class LlamaswapError(Exception):
    """The root of all errors of this program."""


class ConfigError(LlamaswapError):
    """The configuration can not be used; the text says file, line, path, value and what was expected."""


class ClientGone(LlamaswapError):
    """The client hung up: there is nobody left to answer."""


class RunNotDead(LlamaswapError):
    """The run hung up on a request, but did not die: no other one is tried."""


class HttpError(LlamaswapError):
    """Something a client is told: `status`, and a JSON body with `type`, `code` and `message`."""

    status: ClassVar[int] = 500
    kind: ClassVar[str] = "server_error"
    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """The JSON body, in the shape that OpenAI clients read."""
        error = {"message": self.message, "type": self.kind, "param": None, "code": self.code}
        return {"src": "llama-swap", "error": error}


class BadRequest(HttpError):
    status, kind, code = 400, "invalid_request_error", "bad_request"


class Unauthorized(HttpError):
    status, kind, code = 401, "authentication_error", "unauthorized"


class Forbidden(HttpError):
    status, kind, code = 403, "authentication_error", "forbidden"


class NotFound(HttpError):
    status, kind, code = 404, "invalid_request_error", "not_found"


class RequestTimeout(HttpError):
    """The client took too long to send its request."""

    status, kind, code = 408, "invalid_request_error", "request_timeout"


class Conflict(HttpError):
    status, kind, code = 409, "invalid_request_error", "conflict"


class ContentTooLarge(HttpError):
    status, kind, code = 413, "invalid_request_error", "content_too_large"


class ConcurrencyLimit(HttpError):
    """Every place of the model is taken, waiting requests counted."""

    status, kind, code = 429, "rate_limit_error", "concurrency_limit"

    def __init__(self, message: str = "Too many requests") -> None:
        super().__init__(message, headers={"Retry-After": "1"})


class HeadTooLarge(HttpError):
    status, kind, code = 431, "invalid_request_error", "head_too_large"


class NotImplementedByServer(HttpError):
    """A transfer coding or method that this server does not speak."""

    status, kind, code = 501, "invalid_request_error", "not_implemented"


class BadGateway(HttpError):
    """The upstream's fault: it did not start, died, can not be reached, or broke the protocol."""

    status, kind, code = 502, "server_error", "bad_gateway"


class ServiceUnavailable(HttpError):
    """The server is ending, or a part of it is switched off."""

    status, kind, code = 503, "server_error", "service_unavailable"


class GatewayTimeout(HttpError):
    status, kind, code = 504, "server_error", "gateway_timeout"
