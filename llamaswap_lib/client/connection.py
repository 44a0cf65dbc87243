"""A running server, as a client asks it: JSON in and out, and streams line by line.

Each request has a connection of its own. Whatever goes wrong is a ServerError with a message for people, and an exit
code: docs/command-line.md has the list. So is an answer that lacks what every llamaswap has in it, or that has
something else there (`shapes.py`).
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

from llamaswap_lib import __version__
from llamaswap_lib.client.shapes import wrong_in_answer
from llamaswap_lib.errors import LlamaswapError
from llamaswap_lib.printable import printable

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 60.0  # that a server may think about a question; loads and streams have no limit
MOST_ERROR_BYTES = 1 << 20
HTTP_OK, UNAUTHORIZED = 200, 401
NOT_FOUND = 404
NO_SUCH_ROUTE = (NOT_FOUND, 405, 501)
PIECE_BYTES = 65_536
SILENCE_SECONDS = 30  # after which a machine that may have vanished is probed, while a stream says nothing
# The name keeps what is asked every few seconds out of the server's log, as it does for the page.
HEADERS = {
    "User-Agent": f"llamaswap/{__version__}",
    "Accept": "application/json, text/event-stream, */*",
    "X-Requested-With": "llamaswap",
}
Parameters = Mapping[str, str | int | Sequence[str]]  # of a query; several values of one name are repeated
NOT_ONE_OF_OURS = "is it a llamaswap?"


class ServerError(LlamaswapError):
    """The server has refused, or failed."""

    exit_code = 6


class Unreachable(ServerError):
    """There is no server, or the connection to it broke."""

    exit_code = 3


class Refused(ServerError):
    """It answered with an error: `status` of HTTP, and `code`, the word for programs, '' for none."""

    def __init__(self, message: str, status: int, code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.exit_code = {401: 5, 403: 5, NOT_FOUND: 4}.get(status, 6)


class NoRoute(Refused):
    """It knows no such path, or not this way to ask: another program, or an earlier version."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message, status)
        self.exit_code = ServerError.exit_code


class _Object(dict[str, Any]):
    """A JSON object of an answer."""

    def __missing__(self, key: str) -> Any:
        raise ServerError(f"there is no {key!r} in the server's answer: {NOT_ONE_OF_OURS}")


class Server(NamedTuple):
    """Where it is and which key it gets. `url` may have a path, as behind a proxy; `ca_file` is trusted besides.

    `patience`: seconds for a connection, and at most for each byte of an answer to a question.
    """

    url: str
    key: str = ""
    ca_file: str = ""
    patience: float | None = None  # None for CONNECT_SECONDS and ANSWER_SECONDS

    def get(self, path: str, parameters: Parameters | None = None) -> Any:
        """The JSON object at `path`; raises ServerError."""
        return self.tell("GET", f"{path}?{urlencode(parameters, doseq=True)}" if parameters else path)

    def find(self, path: str, parameters: Parameters | None = None) -> Any:
        """The same; None where the server has no such route, as an earlier version or llama-swap."""
        try:
            return self.get(path, parameters)
        except NoRoute:
            return None

    def tell(self, method: str, path: str, body: Any = None, *, seconds: float | None = ANSWER_SECONDS) -> Any:
        """Its answer, which has to be a JSON object; else as `ask`."""
        answer = self.ask(method, path, body, seconds=seconds)
        if not isinstance(answer, dict):
            raise ServerError(f"{self.url}{path} did not answer with a JSON object: {NOT_ONE_OF_OURS}")
        if wrong := wrong_in_answer(path, answer):
            raise ServerError(f"{printable(wrong)} in the server's answer to {path}: {NOT_ONE_OF_OURS}")
        return answer

    def ask(self, method: str, path: str, body: Any = None, *, seconds: float | None = ANSWER_SECONDS) -> Any:
        """Its answer, as JSON where it is JSON, else as text; `seconds` without a byte are too many, None for never."""
        with self.open(method, path, body, seconds=self.patience or seconds) as response:
            with self._told():
                data = response.read()
            text = data.decode("utf-8", "replace")
            if "json" not in response.getheader("Content-Type", ""):
                return text
            try:
                return json.loads(text, object_hook=_Object)
            except (ValueError, RecursionError):
                raise ServerError(f"{self.url}{path} did not answer with a JSON object: {NOT_ONE_OF_OURS}") from None

    def pieces(self, response: http.client.HTTPResponse) -> Iterator[bytes]:
        """The body of an answer as it comes, until it ends; raises ServerError, also where it breaks off."""
        while True:
            with self._told():
                data = response.read1(PIECE_BYTES)
                if not data and response.length:  # `http.client` itself takes that for the end
                    raise http.client.IncompleteRead(b"", response.length)
            if not data:
                return
            yield data

    def lines(self, method: str, path: str, body: Any = None) -> Iterator[bytes]:
        """The lines of its answer with their ends, as they come, until it ends; raises ServerError."""
        with self.open(method, path, body, seconds=None) as response:
            yield from lines_of(self.pieces(response))

    @contextmanager
    def open(
        self, method: str, path: str, body: Any = None, *, seconds: float | None = None
    ) -> Iterator[http.client.HTTPResponse]:
        """Its answer, whose head has come; raises Refused for any status other than 2xx, and Unreachable."""
        connection, prefix = self._connection()
        headers, response = dict(HEADERS), None
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        data = None
        if body is not None:
            data, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
        try:
            with self._told():
                connection.connect()
                connection.sock.settimeout(seconds)
                if seconds is None:
                    _probe(connection.sock)
                connection.request(method, prefix + path, data, headers)
                response = connection.getresponse()
                if response.status // 100 != HTTP_OK // 100:
                    raise _refusal(self.url + path, response)
            yield response
        finally:
            if response is not None:
                response.close()  # it has the socket for itself where its connection is not kept
            connection.close()

    def _connection(self) -> tuple[http.client.HTTPConnection, str]:
        """A connection that is not open yet, and what stands before each path."""
        parts = urlsplit(self.url)
        host, seconds = parts.hostname or "", self.patience or CONNECT_SECONDS
        if parts.scheme != "https":
            return http.client.HTTPConnection(host, parts.port, timeout=seconds), parts.path
        context = ssl.create_default_context()
        if self.ca_file:
            try:
                context.load_verify_locations(self.ca_file)
            except ssl.SSLError:
                raise LlamaswapError(f"{self.ca_file}: cannot be used as --ca-file: no certificate in PEM") from None
            except OSError as error:
                what = error.strerror
                raise LlamaswapError(f"{self.ca_file}: cannot be used as --ca-file: {what}") from None
        return http.client.HTTPSConnection(host, parts.port, timeout=seconds, context=context), parts.path

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What a connection raises, as Unreachable."""
        try:
            yield
        except ConnectionRefusedError:
            raise Unreachable(f"no server at {self.url}: is llamaswap running there? --url says where it is") from None
        except (ConnectionError, http.client.IncompleteRead):  # http.client's RemoteDisconnected is one
            raise Unreachable(f"the connection to {self.url} broke off") from None
        except ssl.SSLCertVerificationError as error:
            what = error.verify_message or error
            raise Unreachable(f"{self.url}: its certificate is not trusted: {what}; see --ca-file") from None
        except ssl.SSLError:
            raise Unreachable(f"{self.url} does not answer with TLS: is it http:// there?") from None
        except TimeoutError:
            raise Unreachable(f"{self.url} does not answer") from None
        except http.client.HTTPException as error:
            what = str(error) or type(error).__name__
            raise Unreachable(f"{self.url} does not answer as an HTTP server does: {printable(what)}") from None
        except (OSError, UnicodeError) as error:
            what = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise Unreachable(f"{self.url} cannot be reached: {what}") from None


def lines_of(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of what comes in pieces, with their ends; the last one may have none."""
    begun: list[bytes] = []
    for data in pieces:
        *whole, rest = data.split(b"\n")
        for line in whole:
            yield b"".join((*begun, line, b"\n"))
            begun.clear()
        if rest:
            begun.append(rest)
    if begun:
        yield b"".join(begun)


def _probe(connected: socket.socket) -> None:
    """Have the system find out if the other machine is gone."""
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", SILENCE_SECONDS), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):
            connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def in_path(name: str) -> str:
    """A model's name as a part of a path; raises Refused for none, which would make another path."""
    if not name:
        raise Refused("model not found: ''", NOT_FOUND)
    return quote(name, safe="/")


def _refusal(url: str, response: http.client.HTTPResponse) -> Refused:
    text = response.read(MOST_ERROR_BYTES).decode("utf-8", "replace").strip()
    message, code, status = "", "", response.status
    with suppress(ValueError, AttributeError, KeyError, TypeError, RecursionError):
        error = json.loads(text, strict=False)["error"]
        told = {"message": error} if isinstance(error, str) else error
        message, code = str(told["message"] or ""), str(told.get("code") or "")
    if status in NO_SUCH_ROUTE and not message:
        return NoRoute(f"{url}: the server has no such route: it is older, or no llamaswap", status)
    if not message:
        is_page = "html" in response.getheader("Content-Type", "")
        message = text if text and not is_page else f"{url}: {status} {response.reason}"
    if status == UNAUTHORIZED:
        message = f"{message}; --api-key or LLAMASWAP_API_KEY has the key"
    return Refused(printable(message, keep="\n"), status, code)
