"""How others choose who goes, each as a small policy: the rule of its documentation or source, and no more.

All are told what each model really needs, which they estimate or do not know, and may fill a device to the last byte.
Who is idle goes first, and who is busy is waited for: that is taken from llamaswap for all of them, without a bound.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from llamaswap_lib.core.eviction import RunningModel

Sizes = Mapping[str, Mapping[str, int]]  # model -> device -> bytes


def _is_free(seen: RunningModel) -> bool:
    return seen.state != "starting" and not seen.in_flight


class OneAtATime:
    """llama-swap without groups: a request for another model unloads the one that runs.

    https://github.com/mostlygeek/llama-swap#readme
    """

    def evict(self, target: str, running: Sequence[RunningModel]) -> Collection[str]:
        return {seen.model for seen in running} - {target}


class LastUsed:
    """At most so many models, and the one that was used longest ago goes.

    llama.cpp's router (`--models-max`, 4 by default; https://huggingface.co/blog/ggml-org/model-management-in-llamacpp)
    and Ollama (`OLLAMA_MAX_LOADED_MODELS`, 3 for each GPU by default; https://docs.ollama.com/faq).
    """

    def __init__(self, most: int) -> None:
        self._most = most

    def evict(self, target: str, running: Sequence[RunningModel]) -> Collection[str]:
        others = [seen for seen in running if seen.model != target]
        if len(others) < len(running):
            return ()
        others.sort(key=lambda seen: (seen.state != "stopping", not _is_free(seen), -seen.idle_seconds))
        return [seen.model for seen in others[: max(0, len(others) + 1 - self._most)]]


class UntilItFits:
    """One after the other goes until the next model fits; `score` says how much each deserves to."""

    def __init__(self, sizes: Sizes, capacity: Mapping[str, int], score: Callable[[RunningModel], float]) -> None:
        self._sizes = sizes
        self._capacity = capacity
        self._score = score

    def evict(self, target: str, running: Sequence[RunningModel]) -> Collection[str]:
        if any(seen.model == target for seen in running):
            return ()
        staying = {seen.model for seen in running}
        order = sorted(running, key=lambda seen: (seen.state != "stopping", not _is_free(seen), -self._score(seen)))
        for seen in order:
            lacking = self._lacking(target, staying)
            if not lacking:
                break
            if any(self._sizes[seen.model].get(device) for device in lacking):
                staying.remove(seen.model)
        return [seen.model for seen in running if seen.model not in staying]

    def _lacking(self, target: str, staying: Collection[str]) -> list[str]:
        return [
            device
            for device, size in self._sizes[target].items()
            if size + sum(self._sizes[model].get(device, 0) for model in staying) > self._capacity[device]
        ]


def by_idle_time(seen: RunningModel) -> float:
    """Ollama where its estimates are right: of those that keep alive equally long the one used longest ago goes.

    `server/sched.go`, https://docs.ollama.com/faq. Models are kept alive for ever here; by default it is five minutes.
    """
    return seen.idle_seconds


def by_idle_and_load(seen: RunningModel) -> float:
    """Lemonade: idle time divided by load time x weight. The highest goes. All weights are 1, as by default.

    `src/cpp/server/eviction_engine.cpp` of https://github.com/lemonade-sdk/lemonade. By default it also unloads what
    was idle for five minutes; here it does not.
    """
    return seen.idle_seconds / (seen.load_seconds or 1.0)
