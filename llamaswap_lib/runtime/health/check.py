"""When an upstream is ready: it answers a GET with status 200.

The thread `probe-M` lives from the start of a process until the first 200, the health timeout, or until it is cancelled
because the process is ending. It posts one event at most, and none after `cancel` has returned. `look.py` has the
connection.
"""

from __future__ import annotations

import re
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from llamaswap_lib.core.events import Event, LoadTimedOut, ProcessReady
from llamaswap_lib.runtime.forward_proxies import ForwardProxy, is_tunnel_open
from llamaswap_lib.runtime.health.look import Address, Look, Looker, wait
from llamaswap_lib.runtime.wakeup import Wakeup

# Each pause is a tenth longer than the one before, and so a tenth of the time that has passed. The end of a load is
# found a twentieth of its time late on average, and after 0.4 s, with the longest pause, 20 ms late, for some 30 looks
# of 50 us.
_FIRST_PAUSE, _PAUSE_GROWTH, _LONGEST_PAUSE = 0.002, 1.1, 0.04
_LOOK_TIMEOUT = 1.0
CRLF = "\r\n"
LOOP_DETECTED = "508"  # no model's server answers a health check with that, but llamaswap does, to its own
_WHOLE_URL = re.compile(r"\A[A-Za-z][A-Za-z0-9+.-]*://[^/?]*")
# Addresses of this machine alone. Its others (127.0.0.13, one of a network) may lead to another namespace, a container
# or a node of a cluster, where a server may end later than the process here that has started it.
_PLAIN_HOSTS = {"localhost", "127.0.0.1", "::1", "0.0.0.0", "::"}
_ADDRESS_LIFETIME = 1.0  # seconds until a name is looked up again: that of a container may get another address


def may_lead_elsewhere(proxy: str) -> bool:
    """Whether the URL may lead to another machine, or to something like one on this machine (a container)."""
    return urlsplit(proxy).hostname not in _PLAIN_HOSTS


class HealthCheck(NamedTuple):
    """Where to ask, and the bytes of the request; `through` a proxy, if there is one."""

    address: str
    """The URL without path and credentials, for people."""
    host: str
    port: int
    tls: ssl.SSLContext | None
    request: bytes
    through: ForwardProxy | None = None
    asked: str = ""
    """What it asks, for people: `POST /sleep`."""

    @classmethod
    def of(
        cls, proxy: str, check_endpoint: str, via: str = "", through: ForwardProxy | None = None
    ) -> HealthCheck | None:
        """The check that a model's configuration asks for; None for `none`; `via` as in `at`; raises ValueError."""
        return None if check_endpoint == "none" else cls.at(proxy, check_endpoint, via, through)

    @classmethod
    def at(
        cls,
        proxy: str,
        check_endpoint: str,
        via: str = "",
        through: ForwardProxy | None = None,
        *,
        method: str = "GET",
    ) -> HealthCheck:
        """The check of a proxy URL, whose path and query come before those of `check_endpoint`; raises ValueError.

        If `check_endpoint` is a whole URL, its path and query count, without the path of the proxy.

        `via` is sent in the header of that name: the answer 508 means that the request has come back to us.
        """
        url = urlsplit(proxy)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError(f"proxy {proxy!r} is no http:// or https:// URL with a host")
        host = url.hostname.encode("idna").decode()
        authority = f"[{host}]" if ":" in host else host
        if url.port is not None:
            authority += f":{url.port}"
        base, endpoint = url.path.rstrip("/"), check_endpoint.partition("#")[0]
        path, _, query = _WHOLE_URL.sub("", endpoint).partition("?")
        if _WHOLE_URL.match(endpoint) and path.startswith(f"{base}/"):
            path = path.removeprefix(base)
        path = f"{base}/{path.lstrip('/')}"
        target = "?".join(filter(None, (path, "&".join(filter(None, (url.query, query))))))
        target = quote(target, safe="%/:?[]@!$&()*+,;=~")
        tls = _any_certificate() if url.scheme == "https" else None
        asked, login = f"{method} {target}", ""
        if through is not None and tls is None:
            target, login = f"http://{authority}{target}", through.authorization
        lines = (
            f"{method} {target} HTTP/1.1",
            f"Host: {authority}",
            "User-Agent: llamaswap",
            "Accept: */*",
            "Connection: close",
            *([f"Via: {via}"] if via else []),
            *(["Content-Length: 0"] if method == "POST" else []),
        )
        port = url.port if url.port is not None else (443 if tls else 80)
        request = f"{CRLF.join(lines)}{CRLF}{login}{CRLF}".encode("ascii")
        return cls(f"{url.scheme}://{authority}", host, port, tls, request, through, asked)

    def resolve(self) -> list[Address]:
        """Every address of the host: `localhost` may mean ::1 first while the server listens on 127.0.0.1.

        Raises OSError, also if the proxy in between cannot be used.
        """
        where = self if self.through is None else self.through
        if self.through is not None and self.through.fault:
            raise ConnectionError(self.through.fault)
        found = socket.getaddrinfo(where.host, where.port, type=socket.SOCK_STREAM)
        return [(family, address) for family, _, _, _, address in found]

    @property
    def shown_way(self) -> str:
        """For people: which proxy stands between, '' for none."""
        return "" if self.through is None or self.through.fault else f" through the proxy {self.through}"

    def ask(self, look: Look, addresses: Sequence[Address]) -> None:
        """Connect and send the request; raises OSError."""
        look.connect(addresses)
        self.converse(look)

    def converse(self, look: Look) -> None:
        """Send the request on a connection that is open; raises OSError."""
        if self.tls:
            if self.through is not None:
                self._open_tunnel(look, self.through)
            look.secure(self.tls, self.host)
        look.send(self.request)

    def _open_tunnel(self, look: Look, proxy: ForwardProxy) -> None:
        """Ask the proxy that `look` is connected to for a tunnel; raises ConnectionError if it refuses."""
        look.send(proxy.connect_request(self.host, self.port))
        answer = b""
        while not is_tunnel_open(answer):
            data = look.receive()
            if not data:
                raise ConnectionError("the proxy closed the connection")
            answer += data


def _any_certificate() -> ssl.SSLContext:
    """TLS that accepts any certificate: a local upstream makes its own, and the request holds no secret.

    Whether an upstream is trusted with requests is decided where they are sent.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Probe(Looker):
    """Looks until the upstream is ready, and posts that once."""

    def __init__(
        self,
        run_id: int,
        check: HealthCheck,
        health_timeout: float,
        post: Callable[[Event], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[Wakeup, float], object] = wait,
        address: str = "",
        since: float | None = None,
    ) -> None:
        """`pause` blocks until a time of `clock`, in seconds, and raises LookCancelled once the probe is.

        `address`: what the run has said of where it listens, for the event. `since`: when the load began, if not now.
        """
        super().__init__(post)
        self._run_id = run_id
        self._address = address
        self._check = check
        self._health_timeout = health_timeout
        self._clock = clock
        self._pause = pause
        self._deadline = (clock() if since is None else since) + health_timeout
        self._last_answer = "none"
        self._addresses: list[Address] = []
        self._addresses_until = 0.0

    # -- thread probe-M --

    def _say_last_word(self) -> None:
        """Ignored, unless a mistake of ours has ended the search: then the load fails, and no client waits for ever."""
        self._tell_once(LoadTimedOut(self._run_id, "its health probe failed", self._address))

    def _tell_once(self, event: Event) -> None:
        self._tell(event, is_last=True)

    def _search(self, ending: Wakeup) -> None:
        pause = _FIRST_PAUSE
        while self._clock() < self._deadline:
            with Look(ending, self._deadline) as look:
                answer = self._ask(look)
                if answer == "200":
                    self._tell_once(ProcessReady(self._run_id, self._address))
                elif answer == LOOP_DETECTED:
                    came_back = "its health check came back to this llamaswap (508)"
                    self._tell_once(LoadTimedOut(self._run_id, came_back, self._address))
                self._last_answer = answer or self._last_answer
                look.finish()
            if answer in ("200", LOOP_DETECTED):
                return
            self._pause(ending, min(self._clock() + pause, self._deadline))
            pause = min(pause * _PAUSE_GROWTH, _LONGEST_PAUSE)
        detail = f"not ready after {self._health_timeout:g} s; last health answer: {self._last_answer}"
        self._tell_once(LoadTimedOut(self._run_id, detail, self._address))

    def _ask(self, look: Look) -> str:
        """The status, or why there is none; '' when the health timeout ended the look."""
        try:
            addresses = self._resolve()  # name servers may be slow; that is no time of the model's server
            look.extend(min(self._clock() + _LOOK_TIMEOUT, self._deadline))
            self._check.ask(look, addresses)
            return look.read_status()
        except TimeoutError:
            return f"none within {_LOOK_TIMEOUT:g} s" if self._clock() < self._deadline else ""
        except OSError as error:
            return (error.strerror or str(error)).lower() + self._check.shown_way
        except MemoryError:  # that llamaswap has none left says nothing about the model
            return "none, because memory is short"

    def _resolve(self) -> list[Address]:
        if self._clock() >= self._addresses_until:
            self._addresses = self._check.resolve()
            self._addresses_until = self._clock() + _ADDRESS_LIFETIME
        return self._addresses
