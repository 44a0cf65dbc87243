"""Which agents there are, and what each of them wants to know of a server.

`launch` and the page both say what is here, `docs/clients.md` the same. Pure, but for a look whether a file is there.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from llamaswap_lib.agents import json_text, toml_text, yaml_text
from llamaswap_lib.agents.edits import Value, json_edit, toml_tables, yaml_item, yaml_keys
from llamaswap_lib.agents.files import Change

KEY_VARIABLE = "LLAMASWAP_API_KEY"
NO_KEY = "none"  # many clients insist on having one
NAME = "llamaswap"  # of the provider, in an agent's list of them


@dataclass(frozen=True, slots=True)
class Target:
    """`url` without `/v1`; `key` is '' where none is needed; `context` is of the model, None if not known.

    `home` and `environ` are those of the user, whose files are meant.
    """

    url: str
    key: str
    model: str
    context: int | None
    home: Path = field(default_factory=Path.home)
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)

    @property
    def openai(self) -> str:
        return f"{self.url}/v1"


@dataclass(frozen=True, slots=True)
class Settings:
    """What an agent needs. `changes` are its files; `start` is how it is started when they are written.

    `environment` and `command` start it without any file; no command where that cannot be.
    """

    changes: tuple[Change, ...] = ()
    start: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    command: tuple[str, ...] = ()
    note: str = ""


class Agent(NamedTuple):
    """`program` is what it is called as a command, `install` how it gets here."""

    name: str
    title: str
    program: str
    install: str
    settings: Callable[[Target], Settings]


def _opencode(target: Target) -> Settings:
    folder = _config_home(target) / "opencode"
    path = folder / "opencode.jsonc" if (folder / "opencode.jsonc").exists() else folder / "opencode.json"
    key = {"apiKey": f"{{env:{KEY_VARIABLE}}}"} if target.key else {}
    limit = {"limit": {"context": target.context, "output": target.context // 4}} if target.context else {}
    schema = "https://opencode.ai/config.json"
    options: dict[str, Any] = {"baseURL": target.openai, **key}
    provider = {"npm": "@ai-sdk/openai-compatible", "name": NAME, "options": options, "models": {target.model: limit}}
    config = {"$schema": schema, "provider": {NAME: provider}}
    way = ("provider", NAME)
    values: list[Value] = [((*way, "npm"), provider["npm"]), ((*way, "name"), NAME)]
    values += [((*way, "options", name), value) for name, value in options.items()]
    values += [((*way, "models", target.model), limit)] if limit else []
    defaults: list[Value] = [(("$schema",), schema), ((*way, "models", target.model), limit)]
    return Settings(
        (Change(path, _json(config), json_edit(values, defaults)),),
        ("opencode", "-m", f"{NAME}/{target.model}"),
        {"OPENCODE_CONFIG_CONTENT": json.dumps(config)},
        ("opencode", "-m", f"{NAME}/{target.model}"),
    )


def _aider(target: Target) -> Settings:
    model = f"openai/{target.model}"
    key = {} if target.key else {"openai-api-key": NO_KEY}
    path = target.home / ".aider.conf.yml"
    keys = {"openai-api-base": target.openai, **key}
    shown = "".join(f"{name}: {json.dumps(value)}\n" for name, value in {"model": model, **keys}.items())
    changes = [Change(path, shown, yaml_keys(keys, {"model": model}))]
    if target.context:
        about = {"max_input_tokens": target.context, "litellm_provider": "openai", "mode": "chat"}
        metadata = target.home / ".aider.model.metadata.json"
        changes.append(Change(metadata, _json({model: about}), json_edit([((model,), about)])))
    own = {"OPENAI_API_BASE": target.openai, "OPENAI_API_KEY": target.key or NO_KEY}
    note = f'aider takes the key from its environment: export OPENAI_API_KEY="${KEY_VARIABLE}"' if target.key else ""
    return Settings(tuple(changes), ("aider", "--model", model), own, ("aider", "--model", model), note)


def _continue(target: Target) -> Settings:
    key = f"${{{{ secrets.{KEY_VARIABLE} }}}}" if target.key else NO_KEY
    item: dict[str, Any] = {
        "name": target.model, "provider": "openai", "model": target.model, "apiBase": target.openai, "apiKey": key,
        "roles": ["chat", "edit", "apply"],
    }  # fmt: skip
    if target.context:
        item["defaultCompletionOptions"] = {"contextLength": target.context}
    head = {"name": "local", "version": "0.0.1", "schema": "v1"}
    edit = yaml_item("models", item, "name", head)
    note = f"Continue takes the key from the line {KEY_VARIABLE}=... of ~/.continue/.env" if target.key else ""
    change = Change(target.home / ".continue" / "config.yaml", f"models:\n{yaml_text.item_lines(item, '  ')}", edit)
    return Settings((change,), ("cn",), note=note)


def _cline(target: Target) -> Settings:
    provider = "openai-compatible"
    own = {"provider": provider, "apiKey": target.key or NO_KEY, "model": target.model, "baseUrl": target.openai}
    way = ("providers", provider)
    values = [((*way, "settings"), own), ((*way, "tokenSource"), "manual"), (("lastUsedProvider",), provider)]
    # Without the time, and without `modes`, cline takes the file for broken, and writes another one.
    now = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
    defaults: list[Value] = [(("version",), 1), (("modes",), {}), ((*way, "updatedAt"), now)]

    def edit(old: str) -> str:
        value = json_text.read(old) if old.strip() else {}
        for name in (*way, "settings", "baseUrl"):
            value = value.get(name, {}) if isinstance(value, dict) else {}
        if value not in ({}, target.openai):
            raise ValueError(f"its one provider {provider} is in use for {value}")
        return json_edit(values, defaults)(old)

    shown = f"API Provider  OpenAI Compatible\nBase URL      {target.openai}\nAPI Key       {_reference(target)}\n"
    path = target.home / ".cline" / "data" / "settings" / "providers.json"
    change = Change(path, f"{shown}Model ID      {target.model}\n", edit, is_private=bool(target.key))
    note = "the extension of an editor has these in its settings; the file is that of the command `cline`"
    return Settings((change,), ("cline",), note=note)


def _codex(target: Target) -> Settings:
    home = Path(target.environ.get("CODEX_HOME") or target.home / ".codex")
    top: dict[str, Any] = {"model": target.model, "model_provider": NAME}
    if target.context:
        top["model_context_window"] = target.context
    own = {"name": NAME, "base_url": target.openai, "wire_api": "responses"}
    if target.key:
        own["env_key"] = KEY_VARIABLE
    tables = {"": top, f"model_providers.{NAME}": own}
    edit = toml_tables(tables, f"A profile of Codex: codex --profile {NAME}")
    path = home / f"{NAME}.config.toml"
    pairs = [*top.items(), *((f"model_providers.{NAME}.{name}", value) for name, value in own.items())]
    words = [word for name, value in pairs for word in ("-c", f"{name}={toml_text.literal(value)}")]
    environment = {KEY_VARIABLE: target.key} if target.key else {}
    note = "the model's server must have the route /v1/responses itself, as llama.cpp and vLLM do"
    command = ("codex", *words)
    return Settings((Change(path, edit(""), edit),), ("codex", "--profile", NAME), environment, command, note)


def _claude(target: Target) -> Settings:
    folder = Path(target.environ.get("CLAUDE_CONFIG_DIR") or target.home / ".claude")
    small = {f"ANTHROPIC_DEFAULT_{size}_MODEL": target.model for size in ("HAIKU", "SONNET", "OPUS")}
    # Another model for its small tasks would make the models swap.
    own = {"ANTHROPIC_BASE_URL": target.url, **small}
    settings: dict[str, Any] = {"model": target.model}
    if target.key:
        settings["apiKeyHelper"] = f"printenv {KEY_VARIABLE}"
    env = own if target.key else {**own, "ANTHROPIC_AUTH_TOKEN": NO_KEY}
    values: list[Value] = [(("env", name), value) for name, value in env.items()]
    values += [((name,), value) for name, value in settings.items()]
    path = folder / f"{NAME}.json"
    change = Change(path, _json({"env": env, **settings}), json_edit(values))
    start = ("claude", "--settings", str(path))
    note = "the model's server must have the route /v1/messages itself, as llama.cpp and vLLM do"
    environment = {**own, "ANTHROPIC_AUTH_TOKEN": target.key or NO_KEY, "ANTHROPIC_API_KEY": ""}
    return Settings((change,), start, environment, ("claude", "--model", target.model), note)


def _open_webui(target: Target) -> Settings:
    own = {"OPENAI_API_BASE_URL": target.openai, "OPENAI_API_KEY": target.key or NO_KEY}
    note = (
        "it keeps its settings in a database: Admin Settings, Connections, OpenAI API has the same. "
        "From a container, localhost is host.docker.internal"
    )
    return Settings((), (), own, ("open-webui", "serve"), note)


def _llm(target: Target) -> Settings:
    usual = "Library/Application Support" if sys.platform == "darwin" else ".config"
    told = target.environ.get("LLM_USER_PATH")
    folder = Path(told) if told else target.home / usual / "io.datasette.llm"
    item = {"model_id": target.model, "model_name": target.model, "api_base": target.openai}
    if target.key:
        item["api_key_name"] = NAME
    change = Change(folder / "extra-openai-models.yaml", yaml_text.item_lines(item), yaml_item("", item, "model_id"))
    note = f'llm keeps keys itself: llm keys set {NAME} --value "${KEY_VARIABLE}"' if target.key else ""
    return Settings((change,), ("llm", "chat", "-m", target.model), note=note)


AGENTS = (
    Agent("opencode", "opencode", "opencode", "npm install -g opencode-ai", _opencode),
    Agent("aider", "aider", "aider", "pip install aider-chat", _aider),
    Agent("continue", "Continue", "cn", "npm install -g @continuedev/cli", _continue),
    Agent("cline", "Cline", "cline", "npm install -g cline", _cline),
    Agent("codex", "Codex", "codex", "npm install -g @openai/codex", _codex),
    Agent("claude", "Claude Code", "claude", "npm install -g @anthropic-ai/claude-code", _claude),
    Agent("open-webui", "Open WebUI", "open-webui", "pip install open-webui", _open_webui),
    Agent("llm", "llm", "llm", "pip install llm", _llm),
)


def environment_line(values: Mapping[str, str], target: Target) -> str:
    """Variables as a shell takes them before a command; a key by the name of the variable that has it."""
    shown = {
        name: f'"${KEY_VARIABLE}"' if target.key and it == target.key else shlex.quote(it)
        for name, it in values.items()
    }
    return " ".join(f"{name}={value}" for name, value in shown.items())


def line_of(settings: Settings, target: Target) -> str:
    """What starts it in a shell without any file; '' where that cannot be."""
    if not settings.command:
        return ""
    return f"{environment_line(settings.environment, target)} {shlex.join(settings.command)}".strip()


def described(agent: Agent, settings: Settings, target: Target) -> dict[str, Any]:
    """For programs. Keys are by the name of the variable that has them."""
    files = [{"path": str(change.path), "text": change.text} for change in settings.changes]
    environment = {
        name: f"${KEY_VARIABLE}" if target.key and value == target.key else value
        for name, value in settings.environment.items()
    }
    return {
        "agent": agent.name, "model": target.model, "url": target.url, "files": files,
        "start": list(settings.start), "environment": environment, "command": list(settings.command),
        "note": settings.note or None,
    }  # fmt: skip


def _reference(target: Target) -> str:
    return f"the key in {KEY_VARIABLE}" if target.key else NO_KEY


def _config_home(target: Target) -> Path:
    told = target.environ.get("XDG_CONFIG_HOME", "")
    return Path(told) if told.startswith("/") else target.home / ".config"


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
