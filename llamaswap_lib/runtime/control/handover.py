"""The state of a scheduler in JSON, for the process that takes over, which may be of another version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, TypeVar

from llamaswap_lib.core.failures import Record
from llamaswap_lib.core.handover import State
from llamaswap_lib.core.model_spec import ModelSpec
from llamaswap_lib.core.run import Run, RunState
from llamaswap_lib.core.waiting import Orphan, Ticket

Message = Mapping[str, Any]

FORMAT = 1  # of everything that the two processes tell each other; another one is not understood
LIMIT = "limit"  # where another refusal has the value of a `Fault`: every place of the model is taken
_T = TypeVar("_T")


def described(state: State) -> dict[str, Any]:
    """For JSON."""
    return {
        "models": _all_described(state.models),
        "former": _all_described(state.former),
        "blocked": {model: sorted(others) for model, others in state.blocked.items()},
        "runs": [{**asdict(run), "state": run.state.value, "silence": None} for run in state.runs],
        "next_run_id": state.next_run_id,
        "incarnations": dict(state.incarnations),
        "load_times": dict(state.load_times),
        "wake_times": dict(state.wake_times),
        "cut_short": dict(state.cut_short),
        "hung": {model: list(known) for model, known in state.hung.items()},
        "failures": _all_described(state.failures),
        "preload": list(state.preload),
        "tickets": [asdict(ticket) for ticket in state.tickets],
        "orphans": [asdict(orphan) for orphan in state.orphans],
        "claims": sorted(state.claims),
        "unloads": [[ticket, sorted(runs)] for ticket, runs in state.unloads.items()],
        "ended": dict(state.ended),
        "second_tries": sorted(state.second_tries),
        "floors": {model: dict(sizes) for model, sizes in state.floors.items()},
    }


def read(message: Message) -> State:
    """The same, of that; raises KeyError, TypeError or ValueError for what is none."""
    return State(
        models=_all_made(ModelSpec, message["models"]),
        former=_all_made(ModelSpec, message["former"]),
        blocked={model: frozenset(others) for model, others in message["blocked"].items()},
        runs=tuple([_run(run) for run in message["runs"]]),
        next_run_id=int(message["next_run_id"]),
        incarnations=message["incarnations"],
        load_times=message["load_times"],
        cut_short=message["cut_short"],
        hung={model: (run_id, why) for model, (run_id, why) in message["hung"].items()},
        failures=_all_made(Record, message["failures"]),
        preload=tuple(message["preload"]),
        tickets=tuple([_made(Ticket, ticket) for ticket in message["tickets"]]),
        orphans=tuple([_made(Orphan, orphan) for orphan in message["orphans"]]),
        claims=frozenset(message["claims"]),
        unloads={ticket: frozenset(runs) for ticket, runs in message["unloads"]},
        ended=message.get("ended", {}),
        second_tries=frozenset(message.get("second_tries", ())),
        floors=message.get("floors", {}),
        wake_times=message.get("wake_times", {}),
    )


def _all_described(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: asdict(value) for name, value in values.items()}


def _all_made(kind: type[_T], described: Mapping[str, Message]) -> dict[str, _T]:
    return {name: _made(kind, values) for name, values in described.items()}


def _run(message: Message) -> Run:
    return _made(Run, {**message, "state": RunState(message["state"]), "gpus": tuple(message.get("gpus", ()))})


def _made(kind: type[_T], values: Message) -> _T:
    """One that another version told nothing of has its default."""
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]  # a dataclass
    return kind(**{name: values[name] for name in names if name in values})
