"""A policy that the user has written, from its file: `routing.router.use: my_policy.py:Policy`.

Runs in the thread that calls it: at the start, for every reload, and for `llamaswap check`. The file's code is
executed. What is wrong with it is a ConfigError that says where; what is wrong later, when the policy is asked, is not
found here.
"""

from __future__ import annotations

import inspect
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from llamaswap_lib.errors import ConfigError
from llamaswap_lib.typed_yaml.problems import did_you_mean
from llamaswap_lib.typed_yaml.secrets import Hidden, visible

EXPECTED = "expected a method evict(self, target, running)"


def load_policy(use: str) -> Any:
    """An object of the class that `use` names, as in `/path/to/file.py:Class`. Raises ConfigError."""
    try:
        return _load(use)
    except ConfigError:
        if not isinstance(use, Hidden):
            raise
        # The message has the path of the file, and may have more of it.
        raise ConfigError(
            f"the policy {visible(use)} cannot be used; the reason is hidden, as its name comes from the environment"
        ) from None


def _load(use: str) -> Any:
    file, _, name = use.rpartition(":")
    module = ModuleType(f"llamaswap_policy_{Path(file).stem}")
    module.__file__ = file
    before = sys.modules.get(module.__name__)
    sys.modules[module.__name__] = module  # dataclasses and the like look their module up
    try:
        return _made(file, name, module)
    except ConfigError:
        if before is not None:  # of the policy that goes on
            sys.modules[module.__name__] = before
        raise


def _made(file: str, name: str, module: ModuleType) -> Any:
    _attempt(file, lambda: _execute(file, module))
    found = getattr(module, name, None)
    if not isinstance(found, type):
        classes = [known for known, value in vars(module).items() if isinstance(value, type)]
        raise ConfigError(f"{file}: there is no class {name}{did_you_mean(name, classes)}")
    policy = _attempt(file, found)
    _check_method(file, name, policy)
    return policy


def _execute(file: str, module: ModuleType) -> None:
    code = compile(Path(file).read_bytes(), file, "exec", dont_inherit=True)
    exec(code, vars(module))  # noqa: S102 - that is what the user asked for


def _attempt(file: str, action: Callable[[], Any]) -> Any:
    try:
        return action()
    except (Exception, SystemExit) as error:
        raise ConfigError(f"{_place(file, error)}: {_describe(error)}") from error


def _place(file: str, error: BaseException) -> str:
    """The file with the line of it in which the error came up, if there is one."""
    if isinstance(error, SyntaxError) and error.filename == file:
        return f"{file}:{error.lineno}"
    lines = [line for frame, line in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == file]
    return f"{file}:{lines[-1]}" if lines else file


def _describe(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__}: {error}"


def _check_method(file: str, name: str, policy: object) -> None:
    method = getattr(policy, "evict", None)
    if not callable(method):
        raise ConfigError(f"{file}: {name} has no method evict; {EXPECTED}")
    line = getattr(getattr(method, "__code__", None), "co_firstlineno", None)
    place = f"{file}:{line}" if line else file
    if inspect.iscoroutinefunction(method) or inspect.isgeneratorfunction(method):
        raise ConfigError(f"{place}: {name}.evict is async or a generator; {EXPECTED} that returns names")
    try:
        inspect.signature(method).bind("target", ())
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{place}: {name}.evict cannot be called ({error}); {EXPECTED}") from None
