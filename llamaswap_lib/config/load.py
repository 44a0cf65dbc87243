"""Configuration files in, one `Config` out.

Owns which files make the configuration (`-config FILE`, then what is in `-config-dir DIR`), and the order of work:
read, merge, macros, single values, then how they agree. Everything that is wrong is reported at once, by one
`InvalidConfig`. Runs in the thread that calls it, and again for every reload; keeps nothing.
"""

from __future__ import annotations

import contextlib
import gc
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from llamaswap_lib.command_words import mask_variable, secrets_of, shown_words
from llamaswap_lib.errors import ConfigError
from llamaswap_lib.typed_yaml.kinds import keys_of, read_section
from llamaswap_lib.typed_yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode, is_null, is_refused, merge
from llamaswap_lib.typed_yaml.problems import KeyPath, Problem, Problems, in_order, quoted, shortened
from llamaswap_lib.typed_yaml.reader import Reader
from llamaswap_lib.typed_yaml.secrets import MASK, Hidden, changed, mask_value, visible
from llamaswap_lib.typed_yaml.text import parse, read

from . import grouping, macros, models, names, re2
from .addresses import check_url
from .automaton import Pattern
from .document import Document
from .fallbacks import check_fallbacks
from .hints import TOP, cure, meant, renamed
from .routing_keys import RoutingInput
from .schema import DEFAULT_METRICS_ROWS, DEFAULT_UNLOAD_TIMEOUT, TOP_LEVEL, AutomaticPort, Config
from .sections import Hooks, Peer

SUFFIXES = (".yml", ".yaml")
ONE_FILE_EACH = frozenset(  # none of their entries may be in two files
    (
        ("models",),
        ("groups",),
        ("matrix",),
        ("profiles",),
        ("selectors",),
        ("peers",),
        ("routing", "router", "settings", "groups"),
        ("routing", "router", "settings", "matrix"),
    )
)
HOST_PATTERN = re.compile(r"(?:\*|(?:\*\.)?[^\s.:/\\*@\[\],\"']+(?:\.[^\s.:/\\*@\[\],\"']+)*\.?)\Z")


class Sources(NamedTuple):
    """What the command line names; which files that comes to may be different tomorrow."""

    file: Path | None
    folder: Path | None = None

    def files(self) -> list[Path]:
        """The files that there are now; as `config_files`."""
        return config_files(self.file, self.folder)


def config_files(file: Path | None, folder: Path | None) -> list[Path]:
    """The files to load, in the order in which they are merged. Raises ConfigError."""
    if file is None and folder is None:
        raise ConfigError("no configuration: name a file with -config or a folder with -config-dir")
    found = [] if folder is None else _in_folder(folder)
    if file is not None and os.path.realpath(file) in map(os.path.realpath, found):
        raise ConfigError(f"{file} is given with -config and is in {folder} too; leave out one of the two")
    files = ([] if file is None else [file]) + found
    if not files:
        raise ConfigError(f"no configuration: there is no *.yml or *.yaml in {folder}")
    return files


def _in_folder(folder: Path) -> list[Path]:
    """Its YAML files in byte order of their names; subfolders do not count, nor names with a dot before them.

    Such are what Emacs and macOS leave beside a file: `.#a.yaml` while it is edited, `._a.yaml`.
    """
    try:
        files = [one for one in folder.iterdir() if one.suffix in SUFFIXES and not one.is_dir()]
    except OSError as error:
        raise ConfigError(f"{folder}: cannot read this folder: {error.strerror}") from None
    return sorted((one for one in files if not one.name.startswith(".")), key=lambda one: one.name)


class Loaded(NamedTuple):
    """A configuration with what was found on the way; of no use while there are errors."""

    config: Config
    given: RoutingInput
    written: MappingNode | None  # the tree with its macros still in it
    document: Document
    problems: Problems


class Report(NamedTuple):
    """All that is said of a configuration; `config` is None when there are errors."""

    errors: tuple[Problem, ...]
    warnings: tuple[Problem, ...]
    config: Config | None


def load(files: Sequence[Path], environment: Mapping[str, str] | None = None) -> Config:
    """The configuration that these files make together. Raises InvalidConfig, which tells every error."""
    return finished(inspect(files, environment))


def load_text(text: str | bytes, name: str = "config.yaml", environment: Mapping[str, str] | None = None) -> Config:
    """The same for one text."""
    return finished(inspect_text(text, name, environment))


def inspect(files: Sequence[Path], environment: Mapping[str, str] | None = None) -> Loaded:
    """The same as `load`, but errors are handed back with whatever could be read."""
    problems = Problems()
    variables = os.environ if environment is None else environment
    with _without_collections():
        return build([read(file, problems, variables) for file in files], problems, variables)


def inspect_text(
    text: str | bytes,
    name: str = "config.yaml",
    environment: Mapping[str, str] | None = None,
    *,
    is_text_only: bool = False,
) -> Loaded:
    """The same for one text; `is_text_only`: without a look at anything else."""
    data = text if isinstance(text, bytes) else text.encode()
    return inspect_texts([(name, data)], environment, is_text_only=is_text_only)


def inspect_texts(
    texts: Sequence[tuple[str, bytes]], environment: Mapping[str, str] | None = None, *, is_text_only: bool = False
) -> Loaded:
    """The same for the texts of several files, each with the name of its file."""
    problems = Problems(is_text_only=is_text_only)
    variables = os.environ if environment is None else environment
    with _without_collections():
        return build([parse(data, name, problems, variables) for name, data in texts], problems, variables)


@contextlib.contextmanager
def _without_collections() -> Iterator[None]:
    """Garbage collections off: loading only builds, and to look through what it built costs a quarter of its time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def build(files: Sequence[Node | None], problems: Problems, environment: Mapping[str, str]) -> Loaded:
    """One configuration of the trees of several files; of the environment only names are looked at."""
    root: MappingNode | None = None
    for file in files:
        one = _top_level(file, problems)
        if one is not None:
            root = one if root is None else merge(root, one, problems, ONE_FILE_EACH)
    written = root
    ported: dict[str, AutomaticPort] = {}
    if root is None:
        config, given = Config(), RoutingInput()
    else:
        try:
            root, ported = macros.expand(root, problems, environment, renamed)
            config, given = _read(root, problems)
        except macros.TooMuchText:
            config, given = Config(), RoutingInput()
    document = Document(root, problems)
    config = _linked(config, given, ported, document)
    problems.settle_doubts()
    if problems.errors or problems.warnings:
        problems.keep_secret(secret_values(config))
    return Loaded(config, given, written, document, problems)


def _top_level(node: Node | None, problems: Problems) -> MappingNode | None:
    """The mapping that a file has to be; None when it is empty or, reported, something else."""
    if node is None or is_null(node):
        return None
    if isinstance(node, MappingNode):
        return node
    got = 'a list; leave out the first "- "' if isinstance(node, SequenceNode) else "text without a key"
    problems.error(node.place, (), f"expected a mapping at top level, such as `models:`, got {got}")
    return None


def _read(root: MappingNode, problems: Problems) -> tuple[Config, RoutingInput]:
    """What the keys of the top level say."""
    reader = Reader(problems, cure, meant)
    reader.report_unknown(TOP, [known.name for cls in TOP_LEVEL for known in keys_of(cls)], root, ())
    config: Config = read_section(Config, root, (), reader)
    given: RoutingInput = read_section(RoutingInput, root, (), reader)
    return config, given


def secret_values(config: Config) -> Iterator[str]:
    """Values that are secret in what was loaded, for the lines of the file that may hold them too."""
    yield from config.api_keys
    yield from (peer.api_key for peer in config.peers.values() if peer.api_key)
    for model in config.models.values():
        if MASK in model.shown.cmd:
            yield from secrets_of(model.argv, shown_words(model.argv, model.shown.cmd))
        yield from secrets_of(model.env, [mask_variable(entry) for entry in model.env])


def finished(loaded: Loaded) -> Config:
    """The configuration; raises InvalidConfig for errors."""
    loaded.problems.raise_errors()
    return replace(loaded.config, warnings=in_order(loaded.problems.warnings))


def _peers(config: Config, document: Document) -> dict[str, Peer]:
    """Those of the configuration, with what is protected and what is written."""
    found = {}
    for name, peer in config.peers.items():
        is_bound = _is_written(("peers", name, "timeouts", "responseHeader"), document)
        found[name] = replace(peer, filters=models.protected(peer.filters), bounds_answers=is_bound)
    return found


def _linked(config: Config, given: RoutingInput, ported: Mapping[str, AutomaticPort], document: Document) -> Config:
    """The configuration with its values resolved against each other."""
    config = _with_defaults(config)
    config = replace(
        config,
        models={
            name: models.complete(name, model, config, document, ported.get(name))
            for name, model in config.models.items()
        },
        selectors={
            name: replace(
                names.with_default_spillover(name, selector, document), shown_metadata=mask_value(selector.metadata)
            )
            for name, selector in config.selectors.items()
        },
        peers=_peers(config, document),
    )
    config = replace(config, aliases=names.aliases_of(config, document))
    config = _with_aliases(config)
    config = names.with_named(config)
    config = replace(config, peer_models=names.peer_models_of(config, document), pools=names.pools_of(config))
    priorities = names.priorities_of(given.routing.scheduler.settings.fifo.priority, config, document)
    routing = grouping.routing_of(given, priorities, config, document)
    config = replace(
        config,
        routing=routing,
        hooks=_hooks(config, document),
        ignore_patterns=_patterns(config, document),
        asks_for_captures=_is_written(("captureBuffer",), document),
    )
    for name, peer in config.peers.items():
        is_whole = not is_refused(document.node(("peers", name)), MappingNode)
        if is_whole and isinstance(
            document.node(("peers", name, "proxy")), ScalarNode | None
        ):  # else it has been refused
            check_url(peer.proxy, ("peers", name, "proxy"), document)
    models.check_sleepers(config, document)
    names.check_peers(config, document)
    names.check_selectors(config, document, lambda together: grouping.run_together(routing, together))
    check_fallbacks(config, document)
    names.check_profiles(config, document)
    _check_keys(config, document)
    _check_hosts(config, document)
    _check_store(config, document)
    if config.log_requests:
        document.warn(("logRequests",), "does nothing any more; requests are logged at level info", at_key=True)
    return config


def _with_defaults(config: Config) -> Config:
    """Values that mean a default without being absent."""
    upstream = config.upstream
    if not upstream.ignore_paths:
        upstream = type(upstream)()
    activity = replace(config.ui.activity, session_id=_header_names(config.ui.activity.session_id))
    return replace(
        config,
        unload_timeout=config.unload_timeout or DEFAULT_UNLOAD_TIMEOUT,
        metrics_max_rows=config.metrics_max_rows if config.metrics_max_rows > 0 else DEFAULT_METRICS_ROWS,
        upstream=upstream,
        ui=replace(config.ui, activity=activity),
    )


def _header_names(written: Sequence[str]) -> tuple[str, ...]:
    """Trimmed, without repeats in whatever case."""
    found: dict[str, str] = {}
    for name in written:
        if name.strip():
            found.setdefault(name.strip().lower(), changed(name, str.strip))
    return tuple(found.values())


def _with_aliases(config: Config) -> Config:
    """Models whose aliases include the keys of their setParamsByID."""
    changed = {}
    for name, model in config.models.items():
        by_id = [key for key in model.filters.set_params_by_id if config.aliases.get(key) == name]
        changed[name] = replace(model, aliases=tuple(dict.fromkeys((*model.aliases, *by_id)))) if by_id else model
    return replace(config, models=changed)


def _hooks(config: Config, document: Document) -> Hooks:
    on_startup = replace(config.hooks.on_startup, preload=names.preload_of(config, document))
    return replace(config.hooks, on_startup=on_startup)


def _is_written(path: KeyPath, document: Document) -> bool:
    """Whether the key has a value in the file, be it the default."""
    node = document.node(path)
    return node is not None and not is_null(node)


def _patterns(config: Config, document: Document) -> tuple[Pattern, ...]:
    found = [re2.compiled(pattern) for pattern in config.upstream.ignore_paths]
    for index, one in enumerate(found):
        if isinstance(one, re2.BadPattern):
            pattern = config.upstream.ignore_paths[index]
            why = "" if isinstance(pattern, Hidden) else f": {shortened(one.reason)}"  # which quotes the pattern
            message = f"expected a regular expression (RE2), got {quoted(pattern)}{why}"
            document.error(("upstream", "ignorePaths", index), message)
    return tuple(one for one in found if isinstance(one, Pattern))


def _check_keys(config: Config, document: Document) -> None:
    for index, key in enumerate(config.api_keys):
        if not key:
            document.error(("apiKeys", index), "expected a key, got an empty one")
        elif " " in key:
            document.error(("apiKeys", index), "expected a key without spaces in it")
        elif any(char < " " or char == "\x7f" for char in key):  # a password of Basic may have them
            what = "a line break or another control character"
            document.warn(("apiKeys", index), f"has {what} in it, so hardly any client can send this key")


def _check_hosts(config: Config, document: Document) -> None:
    for index, host in enumerate(config.allowed_hosts):
        if not HOST_PATTERN.match(host):
            expected = "expected a host name without a port, such as ai.example.org or *.example.org"
            document.error(("allowedHosts", index), f"{expected}, got {quoted(host)}")


def _check_store(config: Config, document: Document) -> None:
    """A store is a file that can be written, or a name for one in a folder that can."""
    written = document.node(("store", "path"))
    if not config.store.path and isinstance(written, ScalarNode) and not is_null(written):
        document.error(
            ("store", "path"), "expected a file, got an empty path; without the key activity is kept in memory"
        )
    if not config.store.path or document.problems.is_text_only:
        return
    try:
        wrong = _wrong_store(Path(config.store.path), Path(visible(config.store.path)))
    except OSError as error:  # its name is too long, for one
        wrong = f"expected a file that can be written: {error.strerror}"
    if wrong:
        document.error(("store", "path"), wrong)


def _wrong_store(file: Path, shown: Path) -> str:
    if file.is_dir():
        return f"expected a file, but {shown} is a folder"
    if file.exists():
        is_good = file.is_file() and os.access(file, os.W_OK)
        return "" if is_good else f"expected a file that can be written: {shown}"
    if not file.parent.is_dir():
        return f"expected a file in a folder that is there, but there is no {shown.parent}"
    return "" if os.access(file.parent, os.W_OK) else f"expected a folder that can be written: {shown.parent}"
