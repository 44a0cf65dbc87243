"""Every exception that has a meaning outside the function that raises it, and its mapping to HTTP.

An error's type says whose fault it is. `HttpError` and its children become an answer to a client: the status, the
`type` and the `code` of the JSON body, and whether and when asking again may help, are class attributes, so the mapping
exists once. The first paragraph of a docstring says when a client gets it: docs/http.md has them all in one table, made
of this file by `tools/generate.py`. `ConfigError` is the user's configuration, told on the terminal. `ClientGone` is
nobody's fault and is answered with nothing.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping, Sequence
from math import ceil
from typing import Any, ClassVar


class LlamaswapError(Exception):
    """The root of all errors of this program; `exit_code` is that of a command which ends by it."""

    exit_code = 1


class ConfigError(LlamaswapError):
    """The configuration cannot be used; the text says file, line, path, value and what was expected."""


class CannotPrint(LlamaswapError):
    """What a command has found out cannot be written to stdout: a full disk."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"the result cannot be written: {error.strerror or error}")


class ClientGone(LlamaswapError):
    """The client hung up: there is nobody left to answer."""


class RunNotDead(LlamaswapError):
    """The run hung up on a request, but did not die: no other one is tried."""


NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
LONGEST_RETRY_AFTER = 2  # seconds: clients obey it in silence, for minutes on end, and show nobody the error


class HttpError(LlamaswapError):
    """A mistake in llamaswap itself; the log has the details.

    `should_retry` is sent as `x-should-retry`, which the clients of OpenAI and Anthropic obey: whether the same request
    may succeed if it is sent again; None leaves it to the client. `retry_after` is sent as `Retry-After`, in seconds.
    """

    status: ClassVar[int] = 500
    kind: ClassVar[str] = "server_error"
    code: ClassVar[str] = "internal_error"
    should_retry: ClassVar[bool | None] = None
    retry_after: ClassVar[int | None] = None
    is_ours = True  # it is not what an upstream has answered

    def __init__(
        self, message: str, *, headers: Mapping[str, str] | None = None, retry_in: float | None = None
    ) -> None:
        """`retry_in`: the seconds after which it will be tried again, told in the body, up to 2 as `Retry-After`."""
        super().__init__(message)
        self.message = self.cause = message
        self.retry_in = retry_in
        self.headers = {**self._advice(), **(headers or {})}

    def _advice(self) -> dict[str, str]:
        """The headers that say whether and when to ask again."""
        advice = {} if self.should_retry is None else {"x-should-retry": str(self.should_retry).lower()}
        after = self.retry_after if self.retry_in is None else max(1, ceil(self.retry_in))
        return advice if after is None else {**advice, "Retry-After": str(min(after, LONGEST_RETRY_AFTER))}

    def body(self) -> dict[str, Any]:
        """The JSON body, in the shape that OpenAI clients read."""
        error: dict[str, Any] = {"message": self.message, "type": self.kind, "param": None, "code": self.code}
        if self.retry_in is not None:
            error["retry_in"] = round(self.retry_in, 3)
        return {"src": "llama-swap", "error": error}


class BadRequest(HttpError):
    """A request that cannot be understood: broken JSON, two lengths, bad chunks."""

    status, kind, code, should_retry = 400, "invalid_request_error", "bad_request", False


class Unauthorized(HttpError):
    """There are `apiKeys` and the request brings none of them."""

    status, kind, code, should_retry = 401, "authentication_error", "unauthorized", False


class Forbidden(HttpError):
    """A page of another site tried to operate the server, the request was sent to a name that is not the server's, or
    the program was started without the flag that this needs.

    See the section "Browsers" of docs/http.md.
    """

    status, kind, code, should_retry = 403, "authentication_error", "forbidden", False


class NotFound(HttpError):
    """No model is named, or one that is not configured; the error has similar names."""

    status, kind, code, should_retry = 404, "invalid_request_error", "not_found", False


class RequestTimeout(HttpError):
    """A client that takes too long to send its request."""

    status, kind, code = 408, "invalid_request_error", "request_timeout"


class Conflict(HttpError):
    """The model is not loaded and this request may not load it; or a file to be replaced is itself a mount."""

    status, kind, code, should_retry = 409, "invalid_request_error", "conflict", False


class Cancelled(HttpError):
    """An operator has ended the request: `POST /api/inflight/{id}/cancel`."""

    status, kind, code, should_retry = 409, "invalid_request_error", "cancelled", False


class PreconditionFailed(HttpError):
    """A file of the configuration is not what `If-Match` says any more, or is there although `If-None-Match` is `*`."""

    status, kind, code, should_retry = 412, "invalid_request_error", "precondition_failed", False


class ContentTooLarge(HttpError):
    """A body over the limit."""

    status, kind, code, should_retry = 413, "invalid_request_error", "content_too_large", False


class UnsupportedMediaType(HttpError):
    """The body's `Content-Encoding` is not understood, or the body is not in it.

    The answer's `Accept-Encoding` says which ones are understood.
    """

    status, kind, code, should_retry = 415, "invalid_request_error", "unsupported_media_type", False


class PreconditionRequired(HttpError):
    """A file of the configuration would be replaced without an `If-Match` that says which text is meant."""

    status, kind, code, should_retry = 428, "invalid_request_error", "precondition_required", False


class ConcurrencyLimit(HttpError):
    """More than `concurrencyLimit` requests, waiting ones counted; the body is JSON whatever `Accept` says."""

    status, kind, code, should_retry, retry_after = 429, "rate_limit_error", "concurrency_limit", True, 1

    def __init__(self, message: str = "Too many requests") -> None:
        super().__init__(message)


class HeadTooLarge(HttpError):
    """A head over 64 KiB, or of more than 1,000 lines of headers."""

    status, kind, code, should_retry = 431, "invalid_request_error", "head_too_large", False


class NotImplementedByServer(HttpError):
    """A transfer coding other than chunked, or CONNECT."""

    status, kind, code, should_retry = 501, "invalid_request_error", "not_implemented", False


class MachineFault(HttpError):
    """A fault of the machine, such as a folder for temporary files that cannot be used; the log says more."""

    status, kind, code = 500, "server_error", "internal_error"


class OutOfResources(MachineFault):
    """No file descriptor, thread, port or memory is left for this request, or for the load of its model."""

    status, kind, code, should_retry, retry_after = 503, "server_error", "out_of_resources", True, 1


class InsufficientStorage(MachineFault):
    """There is no room for the body of a request: one over 1 MB waits in a temporary file (`TMPDIR`)."""

    status, kind, code, should_retry = 507, "server_error", "insufficient_storage", False


class InsufficientMemory(HttpError):
    """With `use: memory`: the model needs more than a device has, or only fits if a pinned model went; it is not tried.

    The error says what it needs, where that figure comes from, and what the device has.
    """

    status, kind, code, should_retry = 507, "server_error", "insufficient_memory", False


class BadGateway(HttpError):
    """The model's server died, cannot be reached or cannot be understood; or the peer cannot be reached.

    The upstream's fault.
    """

    status, kind, code = 502, "server_error", "bad_gateway"


class LoadFailed(BadGateway):
    """The model could not be loaded, or is not tried at the moment: with the reason, its last lines, and `retry_in`."""

    should_retry, retry_after = False, LONGEST_RETRY_AFTER

    def __init__(
        self,
        message: str,
        *,
        last_words: Sequence[str] = (),
        is_news: Callable[[], bool] = lambda: True,
        retry_in: float | None = None,
    ) -> None:
        """`last_words` are those of the run that failed, by lines; `is_news`: they do not stand in the log yet."""
        super().__init__("\n".join([message, *last_words]), retry_in=retry_in)
        self.cause = message
        self.last_words = last_words
        self.is_news = is_news


class OutOfMemory(LoadFailed):
    """With `use: memory`: the model ran out of memory while it loaded, also with as much room as could be made for it,
    or is not tried at the moment for that reason: with the device, what was free, and the last lines of its log.
    """

    status, code = 507, "insufficient_memory"


class ServiceUnavailable(HttpError):
    """The server is shutting down, or has no room for another connection."""

    status, kind, code, should_retry, retry_after = 503, "server_error", "service_unavailable", True, 1


class QueueTimeout(HttpError):
    """The job of the model was queued elsewhere for `queueTimeout` and was withdrawn; the next request starts another.

    `retry_in` is `queueTimeout`.
    """

    status, kind, code, should_retry, retry_after = 503, "server_error", "queue_timeout", True, LONGEST_RETRY_AFTER


class ModelHung(HttpError):
    """The server of the model hung, and was stopped because a request for another model had waited too long."""

    status, kind, code, should_retry = 504, "server_error", "model_hung", False


class GatewayTimeout(HttpError):
    """`timeouts.responseHeader` is over."""

    status, kind, code, should_retry = 504, "server_error", "gateway_timeout", False


class LoopDetected(HttpError):
    """The request has come back to a llamaswap that it went through, or has been through more than `limits.hops`."""

    status, kind, code, should_retry = 508, "server_error", "loop_detected", False


def fault_of(error: OSError, what: str) -> MachineFault:
    """The answer to an `error` that is neither the client's nor the upstream's; `what` says what could not be done."""
    message = f"{what}: {error.strerror or error}"
    if error.errno in NO_ROOM:
        return InsufficientStorage(message)
    if error.errno in SHORTAGES:
        return OutOfResources(message)
    return MachineFault(message)
