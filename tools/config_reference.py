"""`docs/configuration.md`: every key with its kind, its default and what it means.

Owns the form; all that is said of a key comes from its description in `schema.py`. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llamaswap_lib.config.schema import TOP_LEVEL
from llamaswap_lib.typed_yaml.kinds import Key, ListOf, MapOf, Seconds, Section, keys_of
from llamaswap_lib.typed_yaml.reader import Kind

HEAD = """# Configuration

Generated from `llamaswap_lib/config/schema.py`; do not edit. `llamaswap check -c config.yaml` says what is
wrong or odd in a file; with `--show` it prints the file with everything resolved.

Unknown keys do no harm; `check` warns of them. Seconds may be written as a number or as a duration such as `90s` or
`1m30s`. `${name}` is a macro, `${env.NAME}` an environment variable. With macros one value may become a million
characters long, and all values together twenty million.

Built-in macros: `${MODEL_ID}` in a model; `${PORT}` in a model whose `cmd` uses it; `${PID}` in
`cmdStop` and `sleep`; `${GPUS}` and `${GPU_COUNT}` in `cmd`, `cmdStop`, `sleep` and `env` of a model with
`gpus` (docs/memory.md);
`${ANNOUNCE}` in `cmd`, `cmdStop` and `env` of a model with `proxy: announced` (docs/clusters.md);
`${LLAMASWAP}`, the command that runs this llamaswap from any folder (its Python and its script, or its
single file). `${LLAMASWAP} demo --port ${PORT}` starts a server without a real model. If you declare a macro
`LLAMASWAP`, `GPUS`, `GPU_COUNT` or `ANNOUNCE`, that one is used.

llamaswap shows no secrets: not in `check` and its error messages, not in `/running`, not in the list of models, and not
in its own log lines. It shows `[hidden]` instead of

- everything that came from `${env.NAME}`. There is one exception: names of models, and the keys `name` and
  `description` of a model, are shown in the log and in the list of models;
- `apiKeys`, `apiKey` and the keys of `apiKeyNames`;
- the value of an option, a variable, a header, a parameter of a URL or a key of `setParams` and `metadata` whose name
  ends with the word key, token, secret, password, passwd, pass, passphrase or credentials (`--api-key`, `HF_TOKEN=`,
  `X-Api-Key:`, `?key=`; not `--api-key-file`, `TOKENIZERS_PARALLELISM`), and of `Authorization` and `Cookie`;
- passwords in URLs (`http://user:password@host`), and those of `curl -u` and `sshpass -p`.

Only the value is hidden. All other words of a command are shown, so that programs can read its `-m` or `--port`. What a
model's server prints itself is not changed, neither in the logs nor in the error of a load that failed: some servers
print their complete command line.
"""


def text() -> str:
    """The whole page."""
    return "\n".join([HEAD, *_sections()])


def _sections() -> Iterator[str]:
    """One table for the top level, then one for each section, in the order in which they are met."""
    yield _table("Top level", "", [known for cls in TOP_LEVEL for known in keys_of(cls)])
    seen: set[type] = set()
    waiting = [(known.name, known.kind) for cls in TOP_LEVEL for known in keys_of(cls)]
    while waiting:
        path, kind = waiting.pop(0)
        path, section = _inner(path, kind)
        if section is None or section in seen:
            continue
        seen.add(section)
        keys = list(keys_of(section))
        yield _table(f"`{path}`", _doc(section), keys)
        waiting = [(f"{path}.{known.name}", known.kind) for known in keys] + waiting


def _inner(path: str, kind: Kind) -> tuple[str, type | None]:
    """The section inside of lists and mappings, and the path to it."""
    while isinstance(kind, (ListOf, MapOf)):
        path += f".<{kind.of}>" if isinstance(kind, MapOf) else "[]"
        kind = kind.item
    return path, kind.cls if isinstance(kind, Section) else None


def _doc(section: type) -> str:
    """The first sentence about the section, where it was given one."""
    doc = section.__doc__ or ""
    return "" if doc.startswith(f"{section.__name__}(") else doc.strip().split("\n\n")[0]


def _table(title: str, doc: str, keys: list[Key]) -> str:
    rows = "".join(_row(known) for known in keys)
    intro = f"{doc}\n\n" if doc else ""
    return f"## {title}\n\n{intro}| key | value | default | meaning |\n|---|---|---|---|\n{rows}"


def _row(known: Key) -> str:
    cells = (f"`{known.name}`", known.kind.summary, _default(known), known.doc)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _default(known: Key) -> str:
    value: Any = known.default
    if known.required:
        return "required"
    if value is None or value == ():
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(known.kind, Seconds):
        return f"{value:g}s" if known.kind.unit else f"{value:g}"
    if isinstance(value, tuple):
        return ", ".join(f"`{item}`" for item in value)
    return f"`{value}`" if value != "" else '`""`'
