"""`${name}`: macros replaced in the tree of nodes, ports given out, and what is left unresolved reported.

Owns the rules of scope and order. Macros are replaced from the last declared to the first, so that one may use those
declared before it; a model's macro takes the place of the global one it overrides. A value that is nothing but one
macro becomes the macro's scalar, type and all. The given tree is not changed: what holds a macro is copied.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Container, Iterator, Mapping

from llamaswap_lib.command_words import mask_command, own_command, without_comments
from llamaswap_lib.typed_yaml import scalars
from llamaswap_lib.typed_yaml.kinds import keys_of
from llamaswap_lib.typed_yaml.nodes import (
    MACRO,
    Entry,
    MappingNode,
    Node,
    ScalarNode,
    SequenceNode,
    is_null,
    is_refused,
    walk,
)
from llamaswap_lib.typed_yaml.problems import KeyPath, Place, Problem, Problems, nearest, quoted, shortened
from llamaswap_lib.typed_yaml.secrets import MASK, Hidden, mask_text, text_of, visible

from .addresses import EXAMPLE, port_cure
from .schema import COMMANDS, LATE_MACROS, TOP_LEVEL, AutomaticPort, Config, Model, late_macros
from .sections import ANNOUNCED
from .sleep_keys import commands_in

NAME = re.compile(r"[a-zA-Z0-9_-]+\Z")
MAX_NAME_CHARS = 63
RESERVED = ("PORT", "PID", "MODEL_ID")
MODEL_ID_NAMES = ("model", "model_name", "modelname", "model-id", "id", "name")  # what it is called elsewhere
KNOWN_KEYS = frozenset(known.name for cls in TOP_LEVEL for known in keys_of(cls)) - {"macros", "models"}
MODEL_KEYS = frozenset(known.name for known in keys_of(Model))
DEFAULTS = Model()
DEFAULT_PORT = Config().start_port

MAX_TEXT_CHARS = 1_000_000  # of one value, its macros replaced
MAX_LOOKS = 1000
MAX_CHARS = 20_000_000  # of all texts that are made


class TooMuchText(Exception):
    """Macros double each other; the problem has been reported."""


Renamed = Callable[[type, str], "str | None"]


class Scope(dict[str, ScalarNode]):
    """`${name}` -> what stands for it, in the order of declaration."""

    def __init__(self, macros: Mapping[str, ScalarNode], ledger: Ledger) -> None:
        super().__init__(macros)
        self.ledger = ledger


class Ledger:
    """What all macros of one configuration share, above all how much text they may make."""

    def __init__(self, problems: Problems, variables: Container[str], renamed: Renamed) -> None:
        self.problems = problems
        self.variables = variables
        self.renamed = renamed
        self.ports: dict[str, AutomaticPort] = {}  # by models
        self.faulty: set[str] = set()  # uses of macros whose declaration has been refused
        self.is_refused = False  # whether something else stands where macros are declared
        self.chars = 0
        self.looks = 0

    def may_look(self) -> bool:
        """Whether one more macro that is left is told; it is looked for in the file, and nobody reads of a thousand."""
        self.looks += 1
        return self.looks <= MAX_LOOKS

    def spend(self, chars: int, node: ScalarNode) -> None:
        """Account for a text before it is made of `node`; raises TooMuchText."""
        self.chars += chars
        if chars > MAX_TEXT_CHARS or self.chars > MAX_CHARS:
            most, what = (MAX_TEXT_CHARS, "this value") if chars > MAX_TEXT_CHARS else (MAX_CHARS, "the configuration")
            message = f"macros would make more than {most} characters of {what}; do they repeat each other?"
            self.problems.error(node.place, (), message)
            raise TooMuchText


def expand(
    root: MappingNode, problems: Problems, variables: Container[str], renamed: Renamed
) -> tuple[MappingNode, dict[str, AutomaticPort]]:
    """The tree with every macro replaced, what cannot be is reported; and the ports that models were given.

    `variables`: names of the environment, one of which may be meant by what is no macro; `renamed`: the key that an
    unknown one of a section stands for. Raises TooMuchText.
    """
    # A macro that a file declares under the same name counts more: it may have been written for another program.
    builtin = {"${LLAMASWAP}": ScalarNode(own_command(), False, root.place)}
    ledger = Ledger(problems, variables, renamed)
    declared = Scope({**builtin, **_declared(root, (), ledger)}, ledger)
    entries = dict(root.entries)
    for name, entry in root.entries.items():
        if name in KNOWN_KEYS and entry.value.has_macro:
            entries[name] = Entry(entry.key, _replaced(entry.value, declared))
            _report_unresolved(entries[name].value, (name,), declared)
    models = root.mapping("models")
    if models is not None:
        key = root.entries["models"].key
        entries["models"] = Entry(key, _expand_models(models, _first_port(entries), declared))
    return _copy(root, entries), ledger.ports


def _expand_models(models: MappingNode, first_port: int, declared: Scope) -> MappingNode:
    """Models in the byte order of their ids, each that uses `${PORT}` in its cmd with the next port."""
    expanded: dict[str, Entry] = {}
    ports = declared.ledger.ports
    has_stray_keys = any(
        name in MODEL_KEYS and isinstance(one.value, ScalarNode) and not is_null(one.value)
        for name, one in models.entries.items()
    )
    for name in sorted(models.entries):
        key, value = models.entries[name]
        if is_null(value):
            value = MappingNode(key.place)
            if has_stray_keys:  # its keys stand beside it, which the reader will say
                expanded[name] = Entry(key, value)
                continue
        if isinstance(value, MappingNode):
            one = _OneModel(name, key, value, declared)
            if one.uses_port("cmd"):
                port = first_port + len(ports)
                ports[name] = _automatic_port(port, one.node)
                one.take_port(port)
            value = one.finish()
        expanded[name] = Entry(key, value)
    return _copy(models, {name: expanded[name] for name in models.entries})


class _OneModel:
    """The expansion of one model."""

    def __init__(self, name: str, key: ScalarNode, node: MappingNode, declared: Scope) -> None:
        self.path: KeyPath = ("models", name)
        self.key = key
        self.problems = declared.ledger.problems
        self.macros = node.entries.get("macros")
        own = _declared(node, self.path, declared.ledger)
        shown = name.shown if isinstance(name, Hidden) else None
        model_id = {"${MODEL_ID}": ScalarNode(str(name), False, key.place, shown=shown)}
        self.scope = Scope({**model_id, **declared, **own}, declared.ledger)
        self.node = _with_keys(_copy(node, self.prepared(node)), self.scope, self.path)

    def prepared(self, node: MappingNode) -> dict[str, Entry]:
        """Its entries without comments in commands and with the default proxy, macros replaced but for the port."""
        entries = {name: entry for name, entry in node.entries.items() if name != "macros"}
        for name in COMMANDS:
            command = node.get(name)
            if isinstance(command, ScalarNode) and "#" in command.text:
                text, shown = without_comments(command.text), without_comments(command.visible)
                bare = ScalarNode(text, command.plain, command.place, has_macro="${" in text, shown=shown)
                entries[name] = Entry(entries[name].key, bare)
        if is_null(node.get("proxy")):
            entries["proxy"] = Entry(self.key, ScalarNode(DEFAULTS.proxy, False, self.key.place, has_macro=True))
        return {name: Entry(entry.key, _replaced(entry.value, self.scope)) for name, entry in entries.items()}

    def take_port(self, port: int) -> None:
        """Put `port` in wherever the model asks for one."""
        number = Scope({"${PORT}": ScalarNode(str(port), True, self.key.place)}, self.scope.ledger)
        self.node = _with_keys(_replaced(self.node, number), number, self.path)

    def uses_port(self, name: str) -> bool:
        return "${PORT}" in getattr(self.node.get(name), "text", "")

    def finish(self) -> MappingNode:
        if self.uses_port("proxy"):
            self.report_proxy()
        for name, entry in self.node.entries.items():
            if entry.value.has_macro and not (name == "proxy" and self.uses_port("proxy")):
                is_announced = getattr(self.node.get("proxy"), "text", "") == ANNOUNCED
                allowed = late_macros(name, has_gpus=not is_null(self.node.get("gpus")), is_announced=is_announced)
                _report_unresolved(entry.value, (*self.path, name), self.scope, allowed)
        if self.macros is not None:
            return _copy(self.node, {**self.node.entries, "macros": self.macros})
        return self.node

    def report_proxy(self) -> None:
        """Say what to do about an address that needs a port, where the command takes none; unless more is wrong."""
        proxy = self.node.entries["proxy"].value
        why = "llamaswap has to know the port of the server"
        if proxy.place is not self.key.place:
            why = "proxy uses ${PORT}, which has a value only if cmd uses it too"
        entry = self.node.entries.get("cmd")
        command = None if entry is None else entry.value
        if entry is None or is_null(command) or (isinstance(command, ScalarNode) and not command.text.strip()):
            place, path = (self.key.place if entry is None else entry.key.place), self.path
            message = f"expected cmd, the command that starts the server, such as {quoted('cmd: ' + EXAMPLE)}"
            renamed = self.scope.ledger.renamed
            for name in (
                name for name in self.node.entries if name.lower() == "cmd" != name or renamed(Model, name) == "cmd"
            ):
                place, path = self.node.entries[name].key.place, (*self.path, name)
                message = f'the model has no cmd, but {quoted(name)} (did you mean "cmd"?)'
        elif isinstance(command, ScalarNode):
            if self.scope.ledger.is_refused or any(use in command.text for use in self.scope.ledger.faulty):
                return  # it may have the port in it
            what = port_cure(command.visible, [one.visible for one in _env_of(self.node)])
            place = command.place
            if command.shown is None and what.spot:
                place = place.spot(what.spot, has_comments=True) or place
            path, message = (*self.path, "cmd"), f"{why}: {what.text}"
        else:
            return  # the reader will refuse it
        lines = {(value.place.source.number, value.place.line) for _, value in walk(self.node)}
        self.problems.doubt(Problem(place, path, message), lines)


def _env_of(model: MappingNode) -> list[ScalarNode]:
    env = model.get("env")
    entries = env.items if isinstance(env, SequenceNode) else []
    return [one for one in entries if isinstance(one, ScalarNode) and not is_null(one)]


def _automatic_port(number: int, node: MappingNode) -> AutomaticPort:
    """The texts of a model before the port is put in."""
    scalars = ((name, value) for name, (_, value) in node.entries.items() if isinstance(value, ScalarNode))
    texts = {name: text_of(value.text, value.shown) for name, value in scalars if not is_null(value)}
    cmd, stop, status = (texts.get(name, "") for name in COMMANDS)
    proxy, endpoint = texts.get("proxy", DEFAULTS.proxy), texts.get("checkEndpoint", DEFAULTS.check_endpoint)
    env = tuple(text_of(one.text, one.shown) for one in _env_of(node))
    shown = mask_command(without_comments(visible(cmd))), mask_text(proxy)
    return AutomaticPort(number, cmd, stop, status, proxy, endpoint, env, *shown, commands_in(node.get("sleep")))


def _declared(holder: MappingNode, path: KeyPath, ledger: Ledger) -> dict[str, ScalarNode]:
    """The macros declared in `holder`; those that are none are reported and left out."""
    path, problems = (*path, "macros"), ledger.problems
    node = holder.get("macros")
    if not isinstance(node, MappingNode):
        ledger.is_refused = ledger.is_refused or is_refused(node, MappingNode)
        return {}
    if node.merge_key is not None:
        problems.error(node.merge_key.place, path, "<< cannot be used in macros")
    found: dict[str, ScalarNode] = {}
    for name, (key, value) in node.entries.items():
        wrong = _wrong_name(name)
        if wrong:
            problems.error(key.place, (*path, name), wrong)
        elif not isinstance(value, ScalarNode) or is_null(value):
            problems.error(value.place, (*path, name), "expected text, a number or a boolean as the macro's value")
        elif "${" + name + "}" in value.text:
            problems.error(value.place, (*path, name), f"the macro ${{{visible(name)}}} uses itself")
        else:
            found["${" + name + "}"] = value
            continue
        ledger.faulty.add("${" + visible(name) + "}")
    return found


def _wrong_name(name: str) -> str:
    if name in RESERVED:
        return f"{name} is a built-in macro and cannot be declared"
    if len(name) > MAX_NAME_CHARS:
        return f"expected a macro's name of at most {MAX_NAME_CHARS} characters, got {len(name)}"
    return "" if NAME.match(name) else "expected a macro's name of letters, digits, _ and -"


def _replaced(node: Node, scope: Scope) -> Node:
    if not node.has_macro:
        return node
    if isinstance(node, ScalarNode):
        return _replaced_text(node, scope)
    if isinstance(node, SequenceNode):
        items = [_replaced(item, scope) for item in node.items]
        return SequenceNode(node.place, items, has_macro=any(item.has_macro for item in items))
    return _copy(node, {name: Entry(key, _replaced(value, scope)) for name, (key, value) in node.entries.items()})


def _replaced_text(node: ScalarNode, scope: Scope) -> ScalarNode:
    """The text with its macros replaced; raises TooMuchText."""
    text, plain, shown = node.text, node.plain, node.visible
    for use, value in reversed(scope.items()):
        if text == use:
            text, plain, shown = value.text, value.plain, value.visible
        elif use in text:
            scope.ledger.spend(len(text) + text.count(use) * (len(value.text) - len(use)), node)
            text, plain, shown = text.replace(use, value.text), False, shown.replace(use, value.visible)
    return ScalarNode(text, plain, node.place, has_macro="${" in text, shown=None if shown == text else shown)


def _with_keys(model: Node, scope: Scope, path: KeyPath) -> MappingNode:
    """The model with macros replaced in the keys of `filters.setParamsByID`, the only keys where they count."""
    assert isinstance(model, MappingNode)
    filters = model.mapping("filters")
    by_id = None if filters is None else filters.mapping("setParamsByID")
    if filters is None or by_id is None or not any("${" in name for name in by_id.entries):
        return model
    path = (*path, "filters", "setParamsByID")
    entries: dict[str, Entry] = {}
    for name, (key, value) in by_id.entries.items():
        replaced = _replaced_text(key, scope) if "${" in name else key
        text = text_of(replaced.text, replaced.shown)
        if text in entries:
            scope.ledger.problems.error(key.place, path, f"duplicate key {quoted(text)}, once its macros are replaced")
        entries.setdefault(text, Entry(ScalarNode(replaced.text, False, key.place, shown=replaced.shown), value))
    return _with_value(model, "filters", _with_value(filters, "setParamsByID", _copy(by_id, entries)))


def _with_value(node: MappingNode, name: str, value: Node) -> MappingNode:
    return _copy(node, {**node.entries, name: Entry(node.entries[name].key, value)})


def _copy(node: MappingNode, entries: dict[str, Entry]) -> MappingNode:
    has_macro = any(value.has_macro or "${" in name for name, (_, value) in entries.items())
    return MappingNode(node.place, entries, node.anchored, has_macro, node.size, node.merge_key)


def _first_port(entries: dict[str, Entry]) -> int:
    """`startPort`, or its default where the reader is going to refuse it."""
    node = entries["startPort"].value if "startPort" in entries else None
    number = scalars.number_of(node.text) if isinstance(node, ScalarNode) and node.plain else None
    port = None if number is None else scalars.integer_of(number)
    return DEFAULT_PORT if port is None or port < 1 else port


def _report_unresolved(node: Node, path: KeyPath, declared: Scope, allowed: Collection[str] = ()) -> None:
    problems = declared.ledger.problems
    counts: dict[tuple[ScalarNode, str], int] = {}
    for at, value, use in _uses(node, path):
        if use in allowed:
            continue
        number = counts[value, use] = counts.get((value, use), -1) + 1
        written = "${" + use + "}"
        if written in declared.ledger.faulty and written not in declared and use not in RESERVED:
            continue
        if declared.ledger.is_refused and use not in RESERVED and not use.startswith("env."):
            continue
        if written not in value.visible:
            problems.error(value.place, at, f"unknown macro ${{{MASK}}}")
            continue
        if not declared.ledger.may_look():
            return
        place = _place_of(value, written, number, at)
        holder = None if place is not None else next((one for one in declared if written in declared[one].text), None)
        message = _unresolved(use, path[0] == "models", declared, allowed, holder)
        problem = Problem(place or value.place, at, message)
        if use == "PORT" and path[0] == "models":
            problems.doubt(problem, ())
        else:
            problems.errors.append(problem)


def _place_of(value: ScalarNode, written: str, number: int, path: KeyPath) -> Place | None:
    """Where in the file the `number`-th use of a macro in a text stands; None where it came from another one."""
    if value.shown is not None:
        return value.place
    return value.place.spot(written, number, has_comments=len(path) == 3 and path[2] in COMMANDS)


def _uses(node: Node, path: KeyPath) -> Iterator[tuple[KeyPath, ScalarNode, str]]:
    for at, value in walk(node, path):
        if value.has_macro:
            yield from ((at, value, match[0][2:-1]) for match in MACRO.finditer(value.text))
    if path[-1] == "filters" and isinstance(node, MappingNode):
        by_id = node.mapping("setParamsByID")
        for name, (key, _) in () if by_id is None else by_id.entries.items():
            yield from (((*path, "setParamsByID"), key, match[0][2:-1]) for match in MACRO.finditer(name))


def _unresolved(use: str, in_model: bool, declared: Scope, allowed: Collection[str], holder: str | None) -> str:
    """What is wrong with a macro that is left; `holder` is the one out of which it came."""
    if use == "PORT":
        cure = "; add --port ${PORT} to cmd" if in_model else ""
        return f"${{PORT}} can be used only in a model whose cmd uses it{cure}"
    if use in LATE_MACROS:
        return LATE_MACROS[use]
    if use == "MODEL_ID" and not in_model:
        return "${MODEL_ID} can be used only in a model"
    if use.startswith("env."):
        return (
            f"${{{shortened(use)}}} comes from a variable or macro; it is replaced only where it is written in the file"
        )
    if "${" + use + "}" in declared:
        user = "another one that" if holder is None else f"{holder}, which"
        return f"the macro ${{{use}}} is used by {user} is declared before it"
    inside = "" if holder is None else f" in the macro {holder}"
    return f"unknown macro ${{{shortened(use)}}}{inside}{_meant(use, in_model, declared, allowed)}"


def _meant(use: str, in_model: bool, declared: Scope, allowed: Collection[str]) -> str:
    """` (did you mean "${name}"?)`, or what else to do about a macro that nobody has declared."""
    names = [*(one[2:-1] for one in declared), *(("PORT", "MODEL_ID") if in_model else ()), *allowed]
    near = nearest(use, names)
    if use in declared.ledger.variables and (near is None or near.lower() != use.lower()):
        near = f"env.{use}"
    if near is None and in_model and use.lower() in MODEL_ID_NAMES:
        near = "MODEL_ID"
    return "; declare it in macros" if near is None else f' (did you mean "${{{near}}}"?)'
