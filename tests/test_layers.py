"""The house rules that a machine can check: who imports whom, how long things get, what tests may not do."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "llamaswap_lib"
SOURCES = sorted(PACKAGE.rglob("*.py"))
TESTS = sorted(path for path in (ROOT / "tests").rglob("*.py") if path != Path(__file__).resolve())
MOST_LINES, MOST_FUNCTION_LINES = 400, 50

# Room -> what of ours it may import, besides itself, as prefixes. `main` and `commands` compose everything.
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "errors": (),
    "printable": (),
    "ip_addresses": (),
    "nearest": (),
    "core": (),
    "typed_yaml": ("errors", "nearest", "printable"),
    "command_words": ("typed_yaml.secrets",),
    # policies are asked, and the language of the matrix is read
    "config": ("command_words", "typed_yaml", "errors", "ip_addresses", "core.eviction"),
    "runtime": ("core", "errors", "printable", "wire.rfc3339"),  # how a moment is written, at one place
    "wire": ("errors", "printable"),  # an error says whose fault it is, and these two import nothing
    "net": ("ip_addresses", "wire", "runtime.vital", "runtime.wakeup"),
    "server": (
        *("net", "wire", "runtime.logs.logger", "runtime.threads", "runtime.vital", "runtime.wakeup"),
        *("errors", "ip_addresses", "printable"),
    ),
    "routing": (
        *("wire", "config.fallbacks", "config.schema", "config.sections", "errors", "nearest", "printable"),
        *("fleet.choosing", "fleet.states", "fleet.strategies"),
    ),
    "proxy": (
        *(
            "fleet.retrying",
            "server",
            "net",
            "wire",
            "routing.remote_model",
            "routing.selectors",
            "config.schema",
            "config.sections",
        ),
        *("runtime.control", "runtime.forward_proxies", "runtime.health.watchdog", "runtime.logs.monitor"),
        *("runtime.threads", "runtime.vital", "runtime.wakeup", "core.snapshot", "errors", "printable"),
    ),
    # peers: what is known of them, who is asked; what looks is imported where there are any
    "fleet": (
        *("config.schema", "config.sections", "errors", "printable", "proxy.asking"),
        *("proxy.connection", "proxy.dispatch", "proxy.no_answer", "routing.remote_model", "server.exchange"),
        *(
            "runtime.files.small_file",
            "runtime.forward_proxies",
            "runtime.logs.logger",
            "runtime.threads",
            "runtime.vital",
        ),
    ),
    "endpoints": (
        *(
            "activity",
            "agents.known",
            "app",
            "core.eviction.devices",
            "core.plan",
            "core.snapshot",
            "fleet.fail_over",
            "fleet.offers",
            "fleet.states",
            "proxy.dispatch",
            "proxy.no_answer",
            "proxy.scraping",
            "routing",
            "server",
            "ui",
            "wire",
        ),
        *("loaded_config", "errors", "memory.picture", "printable"),
        *("runtime.apart", "runtime.control.board", "runtime.changes", "runtime.logs.monitor", "runtime.wakeup"),
        # what is said of a configuration, and its files
        *("config.check", "config.editor", "config.load", "config.render", "config.schema", "config.sections"),
        *("config.show", "typed_yaml.problems", "typed_yaml.secrets"),
    ),
    "app": (
        *("activity", "fleet.peers", "ip_addresses", "typed_yaml.secrets"),
        *("proxy.pool", "routing", "server.limits", "loaded_config", "hardware.sampler", "memory.picture"),
        *("config.check", "config.editor", "config.schema"),
        *("runtime.apart", "runtime.changes", "runtime.control.controller", "runtime.logs.server_logs"),
        *("runtime.ourselves", "runtime.wall_clock"),
    ),
    "loaded_config": ("config.schema",),
    # what it imports beside these is named in it, and imported where a configuration needs it
    "needed": ("config.schema", "errors", "runtime.put_off"),
    # readings of answers, rows, captures; its writer's thread is the only one that writes the store
    "activity": (
        *("hardware.readings", "wire", "errors", "printable", "core.eviction"),
        *("core.snapshot", "runtime.changes", "runtime.heap", "runtime.threads", "runtime.vital", "runtime.wakeup"),
    ),
    "hardware": (
        *("core.snapshot", "errors", "printable", "runtime.control.board", "runtime.vital", "runtime.wakeup"),
        "wire.rfc3339",
    ),
    "memory": (
        *("command_words", "config.command_check", "config.device_keys", "config.routing_keys", "config.schema"),
        *("config.document", "config.wrappers", "typed_yaml"),  # for `check`
        *(
            "core.eviction.devices",
            "core.eviction.gaps",
            "core.eviction.growth",
            "core.eviction.pressure",
            "core.snapshot",
            "estimates.estimator",
            "hardware.nvml",
            "hardware.processes",
            "hardware.readings",
            "hardware.sampler",
            "runtime.control.board",
            "runtime.files.small_file",
            "runtime.threads",
        ),
    ),
    "model_files": (),
    "estimates": ("config.schema", "config.wrappers", "model_files"),
    "demo": (),
    "there": (),  # it is copied to machines that have nothing else of ours
    "ui": (),
    "upgrade": (
        *("net.loop", "net.stream", "server", "errors", "printable"),
        *("runtime.descriptors", "runtime.guard.table", "runtime.logs.logger", "runtime.threads", "runtime.vital"),
        "runtime.wakeup",
    ),
    "init": ("estimates", "hardware.readings", "hardware.sources", "model_files"),
    "service": ("command_words", "config", "errors"),
    "listen_failure": ("command_words", "net.listening", "printable", "runtime.ports"),
    "launching": (
        "config.schema",
        "config.sections",
        "config.command_check",
        "config.placed",
        "config.sleep_keys",
        "hardware.readings",
        "hardware.visibility",
        "core.events",
        "core.snapshot",
        "hardware.sampler",
        "runtime",
    ),
    "adoption": ("core.events", "launching", "runtime", "scheduling"),
    "scheduling": ("config", "core", "errors", "typed_yaml.secrets"),
    "workers": ("",),
    "reload": ("",),
    "handing_over": ("",),
    "main": ("",),
    "building": ("",),
    "client": ("errors", "printable"),
    "top": ("client", "printable"),
    "chat": ("client", "errors", "printable"),
    "benchmark": ("client",),
    "agents": ("errors",),  # it reads and adds to YAML of others, in which their comments stay
    "cli": ("commands", "errors", "typed_yaml.problems", "runtime.put_off"),
    "commands": ("",),
    "__init__": (),
    "__main__": ("cli",),
}
# Pure room -> what it may import all the same.
PURE: dict[str, tuple[str, ...]] = {
    "core": (),
    "wire": (),
    "routing": ("threading",),  # all requests share the turn of a selector's targets
}
IMPURE = {"asyncio", "logging", "os", "queue", "selectors", "socket", "subprocess", "threading", "time"}
MAY_READ_YAML = {"typed_yaml", "agents"}


@cache
def nodes_of(path: Path) -> tuple[ast.AST, ...]:
    """All nodes of the syntax tree of a file, the module first: several tests look at each file."""
    return tuple(ast.walk(ast.parse(path.read_text())))


def imports(path: Path) -> Iterator[str]:
    """The full names of what a file imports, inside functions and `if TYPE_CHECKING` as well."""
    package = path.relative_to(ROOT).parts[:-1]
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*above, *filter(None, [node.module])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def is_below(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(not prefix or f"{name}.".startswith(f"{prefix}.") for prefix in prefixes)


def test_each_room_imports_only_what_it_may() -> None:
    new = {room(path) for path in SOURCES} - MAY_IMPORT.keys()
    assert not new, f"new rooms: say in {Path(__file__).name} what {', '.join(sorted(new))} may import"
    wrong = [text for path in SOURCES for text in wrong_imports(path)]
    assert not wrong, "\n".join(wrong)


def wrong_imports(path: Path) -> Iterator[str]:
    for name in imports(path):
        top, _, rest = name.partition(".")
        if top == PACKAGE.name and rest != "__version__":
            if not is_below(rest, (room(path), *MAY_IMPORT[room(path)])):
                yield f"{path} imports {name}"
        elif room(path) in PURE and top in IMPURE and top not in PURE[room(path)]:
            yield f"{path} is to be pure and imports {name}"
        if top == "yaml" and room(path) not in MAY_READ_YAML:
            yield f"{path} imports {name}"


def test_whatever_a_room_may_import_exists() -> None:
    named = {name for names in MAY_IMPORT.values() for name in names if name}
    paths = {name: PACKAGE / name.replace(".", "/") for name in named}
    assert {name for name, path in paths.items() if not path.is_dir() and not path.with_suffix(".py").exists()} == set()


def arrows() -> dict[str, set[str]]:
    """Each module of ours, and which of the others it imports; the package of all is left out."""
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in SOURCES}
    found: dict[str, set[str]] = {}
    for path in SOURCES:
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        named = {part for name in imports(path) for part in (name, name.rpartition(".")[0])}
        found[module] = (named & modules) - {module, PACKAGE.name}
    return found


def test_no_module_imports_itself_in_a_circle() -> None:
    left = arrows()
    while leaves := {module for module, targets in left.items() if not targets & left.keys()}:
        left = {module: targets for module, targets in left.items() if module not in leaves}
    assert not left, f"they import each other: {sorted(left)}"


def test_files_and_functions_stay_short() -> None:
    too_long = [text for path in SOURCES for text in what_is_too_long(path)]
    assert not too_long, "\n".join(too_long)


def what_is_too_long(path: Path) -> Iterator[str]:
    if len(path.read_text().splitlines()) > MOST_LINES:
        yield f"{path} asks to be split by noun"
    for node in nodes_of(path):
        if isinstance(node, ast.FunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            if lines > MOST_FUNCTION_LINES:
                yield f"{path}:{node.lineno}: {node.name} has {lines} lines"


def test_no_test_sleeps_or_patches() -> None:
    forbidden = re.compile(r"\btime\.sleep\b|from time import .*\bsleep\b|\bmonkeypatch\b|\bmock\b|\bpatch\(|@patch\b")
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in TESTS
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if forbidden.search(line)
    ]
    assert not found, "\n".join(found)


def test_nothing_is_called_by_a_name_that_says_nothing() -> None:
    vague = {"utils", "util", "common", "base", "manager", "misc", "helpers"}
    assert not [path for path in SOURCES if path.stem in vague or room(path) in vague]
