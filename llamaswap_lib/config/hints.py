"""What a person may have meant: by a key that the file does not have, and by a value of the wrong kind.

Owns the hints after `unknown key "args"` and `expected a list, got "fast"`. For a key there is a hint if it is in a
table here, if it is a known key at another level, or if it is nearly the same as a known key. Two names of which only
the last word is the same (`idleTimeout`, `unloadTimeout`) do not count as nearly the same. For a value there is a hint
only if the value looks like that mistake, and no hint repeats what may be a secret. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from llamaswap_lib.typed_yaml import scalars
from llamaswap_lib.typed_yaml.kinds import (
    Choice,
    CommaList,
    Flag,
    Integer,
    ListOf,
    MapOf,
    Seconds,
    Section,
    Text,
    keys_of,
)
from llamaswap_lib.typed_yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from llamaswap_lib.typed_yaml.problems import KeyPath, fold, nearest, quoted
from llamaswap_lib.typed_yaml.reader import Kind

from .routing_keys import FifoKeys, Group, MatrixKeys, RouterKeys, RoutingInput
from .schema import Config, Model
from .sections import (
    Capabilities,
    Filters,
    Hooks,
    Metrics,
    ModelFilters,
    Peer,
    Performance,
    Profile,
    Selector,
    Store,
    UpstreamPassthrough,
)

TOP: type = Config  # stands for all of the top level
TAIL = r"[A-Z]?[a-z]+$|[A-Z]+$"  # the last word of a name

# Names as `fold` makes them, parted by blanks -> the right one. One that begins with ";" is a sentence.
LISTEN = "; the address is the flag -listen, such as -listen 127.0.0.1:8080"
SERVER = "; a setting of the model's server belongs in cmd, as one of its options"
READY = "readytimeout starttimeout startuptimeout loadtimeout loadingtimeout healthtimeout boottimeout"
IDLE = "idletimeout idlettl idletime unloadafter unloadaftersecs modelttl keepalive inactivitytimeout expire"
STOP = "stoptimeout stopgraceperiod graceperiod killtimeout terminationgraceperiod gracefultimeout"
URL = "port ports url uri host hostname address addr endpoint apibase baseurl apiurl upstream upstreamurl target bind"
MODEL_FILE = "modelpath modelfile path file gguf weights hf hfrepo repo"
WORDS: dict[type, dict[str, str]] = {
    TOP: {
        "host port listen address addr bind hostname httpport serverport listenaddress listenport interface": LISTEN,
        f"{IDLE} ttl defaultttl": "globalTTL",
        READY: "healthCheckTimeout",
        STOP: "unloadTimeout",
        "modellist modelconfigs modelconfig servers services backends llms": "models",
        "key keys apikey masterkey auth token tokens bearertoken password": "apiKeys",
        "corsorigins alloworigins hosts trustedhosts": "allowedHosts",
        "env environment variables": "; environment variables stand in a model: models.ID.env",
        "vars defines": "macros",
        "cert tls ssl tlscert tlscertfile tlskey tlskeyfile certfile keyfile": (
            "; TLS is the flags -tls-cert-file and -tls-key-file"
        ),
        "watch watchconfig reload autoreload": "; it is the flag -watch-config",
        "debug verbose verbosity log logging loglvl": "logLevel",
        "logfile logpath logdir": "; the log goes to standard output",
        "maxloadedmodels maxmodels maxrunning maxactive": "; which models run side by side is said by groups",
        "parallel numparallel concurrency maxconcurrency": "; it stands in a model: models.ID.concurrencyLimit",
        "litellmsettings generalsettings routersettings environmentvariables": "; that is a key of LiteLLM",
        "version": "; no version is needed",
        "database db sqlite storage": "store.path",
        "prometheus": "metrics",
        "preloads startupmodels defaultmodel autoload warmup onstartup": "hooks.on_startup.preload",
    },
    Model: {
        "command exec execute run runcommand start startcmd startcommand cmdstart entrypoint launch binary": "cmd",
        "args arguments flags options extraargs backend image": "; it belongs in cmd, which is the whole command",
        "stop stopcmd stopcommand cmdunload unloadcmd killcmd": "cmdStop",
        "group groups members swap exclusive persistent": "groups.X.members",
        "functioncalling supportsfunctioncalling toolcalling tooluse": "capabilities.tools",
        "vision multimodal supportsvision modalities modality inputs": "capabilities.in",
        "rerank reranking": "capabilities.reranker",
        "contextlength contextwindow maxcontext maxmodellen": "capabilities.context",
        "ctx nctx numctx contextsize ctxsize gpulayers ngpulayers numgpu ngl threads batchsize mmproj": SERVER,
        "tags tag labels label meta info extra annotations modelinfo owner": "metadata",
        "parameters params defaults temperature topp topk minp": "filters.setParams",
        f"{MODEL_FILE} model": "; the model's file belongs in cmd; the name that its server gets is useModelName",
        "servedmodelname upstreammodel upstreammodelname rewritemodel remotename": "useModelName",
        URL: "proxy",
        "health healthcheck healthendpoint healthpath healthurl checkpath readiness ready": "checkEndpoint",
        READY: "healthCheckTimeout",
        f"{IDLE} globalttl": "ttl",
        STOP: "unloadTimeout",
        "names othernames": "aliases",
        "title displayname modelname friendlyname": "name",
        "desc comment note notes summary": "description",
        "environment envs envvars environmentvariables": "env",
        "envfile dotenv": "; it is not read: list the variables in env",
        "gpu device devices cudavisibledevices": '; say it in cmd, or in env: ["CUDA_VISIBLE_DEVICES=0"]',
        "concurrency maxconcurrency maxconcurrent parallel numparallel maxparallelrequests": "concurrencyLimit",
        "requesttimeout readtimeout responsetimeout": "timeouts.responseHeader",
        "hidden hide private": "unlisted",
        "listed visible public": '; did you mean "unlisted", with the opposite value?',
        "enable enabled disable disabled": "; a model cannot be switched off: put # before its lines",
        "preload autoload autostart warmup loadonstartup": "hooks.on_startup.preload",
        "priority": "routing.scheduler.settings.fifo.priority",
        "cwd dir workdir workingdir workingdirectory": "; use cmd: sh -c 'cd DIR && exec PROGRAM ...'",
        "restart restartpolicy dependson volumes": "; it has no meaning here",
        "key token": "; the keys of clients are apiKeys, at the top",
    },
    Group: {
        "models model member list items ids": "members",
        "swappable swapping": "swap",
        "exclude isolated alone": "exclusive",
        "persist pinned pin keep keeploaded permanent sticky": "persistent",
    },
    Peer: {
        f"{URL} server": "proxy",
        "key token auth authorization bearer": "apiKey",
        "model modellist aliases": "models",
    },
    Profile: {"models members list": "; lists of models that run together are groups", "pin map mapping": "pins"},
    Selector: {"models model members candidates": "targets", "mode type policy use": "strategy"},
    MatrixKeys: {"combinations": "sets", "costs cost weights": "evict_costs", "variables names aliases": "vars"},
    RouterKeys: {"type kind policy": "use"},
    Performance: {
        "enable enabled": '; did you mean "disabled", with the opposite value?',
        "interval period frequency": "every",
    },
    Metrics: {
        "upstream upstreams models servers backends includemodels includeservers passthrough": "includeUpstreams",
        "enable enabled disable disabled": "; /metrics is always there",
        "path endpoint url port host listen address addr": "; it is /metrics at the address of -listen",
        "interval every period frequency scrapeinterval": "; Prometheus says how often it asks for /metrics",
        "maxrows rows maxinmemory": "; rows of activity are bounded by metricsMaxInMemory, at the top of the file",
    },
    Store: {"file db database sqlite name": "path"},
    Hooks: {"startup onstart start": "on_startup"},
    Capabilities: {
        "input inputs modalities": "in",
        "output outputs": "out",
        "functioncalling toolcalling tooluse": "tools",
        "rerank": "reranker",
        "ctx contextlength contextsize contextwindow": "context",
    },
    Filters: {"strip remove removeparams dropparams": "stripParams", "set params parameters addparams": "setParams"},
    UpstreamPassthrough: {"ignore ignored exclude": "ignorePaths"},
    FifoKeys: {"priorities": "priority"},
}
WORDS[ModelFilters] = WORDS[Filters]

LONG_NAME = 40  # characters
WORD = r"([A-Za-z_][\w.-]*)(:?)"


def renamed(cls: type, name: str) -> str | None:
    """The key, or the sentence, that stands for an unknown one in this section."""
    folded = fold(name)
    return next((right for words, right in WORDS.get(cls, {}).items() if folded in words.split()), None)


def meant(cls: type, name: str, value: Node, names: Collection[str]) -> str:
    """What to say behind an unknown key of this section, which knows `names`."""
    bare = without_blanks(name)
    if bare != name:
        return f"; there are spaces that YAML does not count as such around {quoted(bare)}"
    if cls is TOP and isinstance(value, MappingNode) and value.get("cmd") is not None:
        return "; a model stands below models, indented by more than it"
    folded = {fold(one): one for one in names}
    right = folded.get(fold(name)) or renamed(cls, name) or _elsewhere(cls, name) or near_key(name, names)
    if right is None:
        return ""
    return right if right.startswith(";") else f" (did you mean {quoted(right)}?)"


def near_key(name: str, names: Collection[str]) -> str | None:
    """The key that differs by a slip, and not by all but the last word."""
    near = nearest(name, names)
    if near is None:
        return None
    name_tail, near_tail = re.search(TAIL, name), re.search(TAIL, near)
    if name_tail is None or near_tail is None or not name_tail.start() or _one(name_tail) != _one(near_tail):
        return near
    return near if nearest(name[: name_tail.start()], [near[: near_tail.start()]]) is not None else None


def _one(tail: re.Match[str]) -> str:
    """The word without what makes several of it."""
    return tail[0].lower().rstrip("s")


def _elsewhere(cls: type, name: str) -> str | None:
    """The same key further down, in a model or at the top."""
    below = sorted((path for path in _below(cls) if fold(path[-1]) == fold(name)), key=len)
    if below:
        return ".".join(below[0])
    if cls is TOP and name in (known.name for known in keys_of(Model)):
        return f"models.ID.{name}"
    at_top = [known.name for one in (Config, RoutingInput) for known in keys_of(one)]
    return f"; {quoted(name)} stands at the top of the file" if cls is not TOP and name in at_top else None


def _below(cls: type) -> Iterator[tuple[str, ...]]:
    """The keys of the sections in this one."""
    for one in (Config, RoutingInput) if cls is TOP else (cls,):
        for known in keys_of(one):
            if isinstance(known.kind, Section):
                for inner in keys_of(known.kind.cls):
                    yield known.name, inner.name
                yield from ((known.name, *path) for path in _below(known.kind.cls))


def without_blanks(name: str) -> str:
    """The name without the blanks around it that nobody sees, such as no-break spaces."""
    return name.strip().strip("\u200b\ufeff").strip()


# -- values of the wrong kind --


def cure(kind: Kind, node: Node, path: KeyPath) -> str:
    """What to say behind the error, or nothing."""
    if isinstance(kind, (MapOf, Section)):
        said = _for_a_mapping(kind, node, path)
    elif isinstance(kind, ListOf):
        said = _for_a_list(kind, node)
    elif isinstance(kind, (Text, CommaList)):
        said = _for_text(kind, node, path)
    else:
        said = _for_a_scalar(kind, node)
    return f"; {said}" if said else ""


def _for_a_mapping(kind: MapOf | Section, node: Node, path: KeyPath) -> str:
    cls = kind.cls if isinstance(kind, Section) else None
    if isinstance(node, SequenceNode):
        return _for_a_list_instead(kind, node, str(path[-1]))
    if not isinstance(node, ScalarNode) or cls is None:
        return ""
    names = [known.name for known in keys_of(cls)]
    key = str(path[-1])
    word = re.match(WORD, node.visible)
    if word is not None and word[1] in names and word[1] != node.visible:
        if word[2] and node.visible[word.end()].isspace():
            return "leave out the sign | before it" if path[:1] == ("models",) else ""
        what = "a space" if word[2] else "a colon"
        return f"{what} is missing after {quoted(word[1] + word[2])}"
    if cls is Group:
        return 'write its models after "members:", such as "members: [a, b]"'
    if cls is Peer and re.match(r"https?://", node.visible):
        return f"write it after {quoted('proxy:')}, and a list of the peer's models after {quoted('models:')}"
    if cls is not Model:
        return ""
    if without_blanks(key) in names:
        odd = ", with spaces before it that YAML does not count as such" if key not in names else ""
        return f"{quoted(without_blanks(key))} is a key of a model{odd}: indent it below the model's name"
    return f"write it as the value of a key, such as {quoted('cmd: llama-server --port ${PORT}')}"


def _for_a_list_instead(kind: MapOf | Section, node: SequenceNode, key: str) -> str:
    """Where a list stands in the place of a mapping."""
    cls = kind.cls if isinstance(kind, Section) else None
    if cls is Profile:
        form = f"groups: {{{key}: {{swap: false, members: [...]}}}}"
        return f"this list is the old form of profiles; groups have taken its place: {quoted(form, 120)}"
    if cls is Model:
        return f"write it as the value of a key, such as {quoted('cmd: llama-server --port ${PORT}')}"
    lists = [] if cls is None else [known.name for known in keys_of(cls) if isinstance(known.kind, ListOf)]
    if len(lists) == 1:
        return f'write the list after "{lists[0]}:"'
    if isinstance(kind, MapOf) and any(isinstance(item, MappingNode) for item in node.items):
        return 'write each name with a colon and its keys below it, without "- "'
    if key == "sets":
        return 'write each set as "name: a & b"'
    if isinstance(kind, MapOf) and isinstance(kind.item, Section) and kind.item.cls is Group:
        return 'write a name for the group, and below it the list after "members:"'
    return ""


def _for_a_list(kind: ListOf, node: Node) -> str:
    if isinstance(node, MappingNode):
        if isinstance(kind.item, Text) and kind.item.form == "variable":
            return 'write "- NAME=value", with "=" for ": "'
        return 'write the names alone, each after "- "' if node.entries else ""
    if not isinstance(node, ScalarNode):
        return ""
    if re.match(r"-\S", node.visible):
        return 'a space is missing after "-"'
    if isinstance(kind.item, Text) and kind.item.form == "variable":
        return 'write "- " before it'
    is_name = not (isinstance(kind.item, Text) and kind.item.form == "secret") and len(node.visible) < LONG_NAME
    return f"write [{node.visible}]" if is_name and re.match(r"[\w./:-]+$", node.visible) else "write it in [ ]"


def _for_text(kind: Text | CommaList, node: Node, path: KeyPath) -> str:
    if isinstance(node, SequenceNode):
        words = [item.visible for item in node.items if isinstance(item, ScalarNode)]
        is_short = len(words) == len(node.items) and re.match(r"[\w. ,-]+$", " ".join(words)) is not None
        if isinstance(kind, CommaList):
            return f"write {quoted(', '.join(words))}" if is_short else ""
        if kind.form == "command":
            return "write the words on one line, as in a shell"
        if path[-2:-1] == ("sets",):
            return "write the names with & (and) and | (or) between them"
    if isinstance(node, MappingNode):
        if isinstance(kind, Text) and kind.form == "variable":
            return 'write NAME=value, with "=" for ": "'
        if len(node.entries) == 1 and node.place.end_column:
            return "text with braces or a colon needs quotes"
    return ""


def _for_a_scalar(kind: Kind, node: Node) -> str:
    if not isinstance(node, ScalarNode):
        return ""
    text = node.visible
    if node.plain and isinstance(kind, Integer) and _is_too_large(text):
        return "this number is too large"
    if not node.plain and isinstance(kind, (Integer, Flag)):
        value = node.text  # also of one from the environment, of which no more is told than that it is one
        is_right = scalars.flag_of(value, True) is not None if isinstance(kind, Flag) else scalars.number_of(value)
        if is_right in (None, False):
            return ""
        lines, place = node.place.source.lines, node.place
        begins = lines[place.line][place.source.written_column(place.line, place.column) :] if lines else ""
        return "leave out the quotes" if begins.startswith(('"', "'")) else "leave out the quotes in the macro"
    if isinstance(kind, Choice):
        near = nearest(text, kind.words)
        return f"did you mean {quoted(near)}?" if near else ""
    if isinstance(kind, Seconds):
        return _for_seconds(kind, text)
    return ""


def _is_too_large(text: str) -> bool:
    number = scalars.number_of(text)
    return isinstance(number, int) and number > 0 and scalars.integer_of(number) is None


def _for_seconds(kind: Seconds, text: str) -> str:
    if scalars.duration_of(text) is not None:
        return ""
    match = re.match(r"(\d{1,18})\s*(s|m|h|d|sec|min|hour|day|second|minute)s?$", text.strip(), re.IGNORECASE)
    if match is not None:
        unit = match[2][0].lower()
        return f"write {int(match[1]) * 24}h" if unit == "d" else f"write {match[1]}{unit}"
    if text.lower() in ("never", "none", "off", "no", "false", "infinite", "unlimited", "forever"):
        return "0 is never" if kind.minimum in (0, -1) and not kind.unit else ""
    return f"write {text}s" if kind.unit and re.match(r"\d{1,18}$", text) and int(text) >= (kind.minimum or 0) else ""
