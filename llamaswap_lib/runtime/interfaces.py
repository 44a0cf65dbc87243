"""What the client's side asks of the controller: runs, leases, which requests wait.

Any thread. The protocols say how much of `controller.py` is used, so that a test can bring a plain fake.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Protocol

from llamaswap_lib.core.plan import Plan


class Upstream(Protocol):
    """The address of a run: `proxy` is `http://localhost:5801`, perhaps with a path or query to be joined in front."""

    @property
    def run_id(self) -> int: ...
    @property
    def proxy(self) -> str: ...


class Lease(Protocol):
    """A place inside a ready run, for a `with` block; entering blocks until the model is ready."""

    def enter_now(self) -> Upstream | None:
        """A place if there is one without waiting, to `leave`, in place of a `with` block; raises ConcurrencyLimit."""

    def leave(self) -> None: ...

    def __enter__(self) -> Upstream:
        """Raises HttpError or ClientGone."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def move_on(self) -> Upstream:
        """A place in the next run, if this one has died; raises RunNotDead, or what entering raises."""


class RunView(Protocol):
    """One run as a snapshot shows it."""

    @property
    def model(self) -> str: ...
    @property
    def run_id(self) -> int: ...
    @property
    def state(self) -> str: ...
    @property
    def started_at(self) -> float: ...
    @property
    def ready_at(self) -> float | None: ...


class RunDetail(Protocol):
    """One run, and what it does now. `pid` is None where there is no process; `port` is its automatic one, if any."""

    @property
    def run(self) -> RunView: ...
    @property
    def pid(self) -> int | None: ...
    @property
    def port(self) -> int | None: ...
    @property
    def in_flight(self) -> int: ...
    @property
    def idle_seconds(self) -> float: ...
    @property
    def waiting(self) -> int: ...


class TicketView(Protocol):
    """One waiting request. `since` is in monotonic seconds; `estimate` in seconds, None where nothing is known."""

    @property
    def ticket(self) -> int: ...
    @property
    def model(self) -> str: ...
    @property
    def place(self) -> int: ...
    @property
    def since(self) -> float: ...
    @property
    def reason(self) -> str: ...
    @property
    def estimate(self) -> float | None: ...


class Failure(Protocol):
    """How a model fails. `since` and `until` (not tried before) are in monotonic seconds; `tries` failed in a row."""

    @property
    def message(self) -> str: ...
    @property
    def since(self) -> float: ...
    @property
    def tries(self) -> int: ...
    @property
    def until(self) -> float: ...


class Waiting(Protocol):
    """One request's wait for a place; `fileno` is readable once it is over."""

    @property
    def ticket(self) -> int: ...
    def fileno(self) -> int: ...


Client = Callable[[Waiting], None] | None


class Controller(Protocol):
    """What the client's side asks of `runtime.controller.Controller`."""

    def lease(self, model: str, client: Client) -> Lease:
        """A place inside a ready run; entering blocks until the model is ready, and raises HttpError or ClientGone.

        `client` is called where there is something to wait for: it returns when the wait is over, or raises ClientGone.
        """

    def load(self, model: str, client: Client) -> None:
        """Block until the model is ready, tried even if it just failed; takes no place, raises what a lease raises."""

    def unload(self, models: Sequence[str] | None, client: Client) -> None:
        """Stop the models (None: all), and block until they have exited; raises ClientGone."""

    def runs(self) -> Sequence[RunView]:
        """What runs, at once."""

    def details(self) -> Sequence[RunDetail]:
        """What runs and what it does, at once."""

    def tickets(self) -> Sequence[TicketView]:
        """Who waits, in the order in which they will be served, at once."""

    def behind(self, model: str, since: float) -> str:
        """The model that those who wait for `model` have last waited for, since that monotonic moment; '' for none."""

    def plan(self, model: str) -> Plan:
        """What a load of a configured model would do now, at once."""

    def failing(self) -> Mapping[str, Failure]:
        """The models whose last load failed, or that keep dying, at once."""

    def is_ready(self, model: str) -> bool: ...

    def ready_upstream(self, model: str) -> Upstream | None:
        """Where the ready run of `model` listens, without a place inside it: it may end at any time."""
