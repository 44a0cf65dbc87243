"""The configuration: what is in use, what is wrong with another one, and its files.

A handler thread. A configuration is shown without its secrets, but for the texts of the files, which are there only
with `-allow-config-edit`. A text that is to be checked is only read, in a process of its own; one that is to be saved
is loaded as the program would load it.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from llamaswap_lib.app import App
from llamaswap_lib.config.check import check_files, check_text
from llamaswap_lib.config.editor import ConfigEditor, Texts, etag_of, read_file, refuse_open_editing
from llamaswap_lib.config.load import Report
from llamaswap_lib.config.render import finding, findings
from llamaswap_lib.config.show import shown
from llamaswap_lib.errors import BadRequest, ConfigError, Forbidden, MachineFault, PreconditionRequired, fault_of
from llamaswap_lib.printable import printable
from llamaswap_lib.routing.routes import Route
from llamaswap_lib.runtime.apart import TooMuchWork
from llamaswap_lib.server.answers import NOSNIFF, answer_not_found
from llamaswap_lib.server.decoded_body import read_content
from llamaswap_lib.server.exchange import JSON, Exchange
from llamaswap_lib.typed_yaml.problems import Problem
from llamaswap_lib.wire.rfc3339 import moment_text

MOST_TEXT_BYTES = 1 << 20
YAML = "application/yaml"
FORWARDED = ("forwarded", "via", "x-forwarded-for", "x-real-ip")
HEADERS = (("Cache-Control", "no-store"), NOSNIFF)
_entity_tags = re.compile(r'(W/)?("[^"]*")').findall


def serve_config(app: App, exchange: Exchange, _route: Route) -> None:
    """GET /api/config."""
    loaded = app.loaded
    error = loaded.error
    answer = {
        "config": shown(loaded.config),
        "files": list(loaded.files),
        "loaded_at": moment_text(loaded.loaded_at * 1000),
        "warnings": [finding(problem) for problem in loaded.config.warnings],
        "error": None if error is None else {"message": error.message, "at": moment_text(error.at * 1000)},
        "can_edit": app.editor is not None,
    }
    exchange.answer_json(answer, headers=HEADERS)


def serve_reload(app: App, exchange: Exchange, _route: Route) -> None:
    """POST /api/config/reload: reads the files again, and answers with what that changed."""
    reload = app.reload
    if reload is None:
        answer_not_found(exchange)
        return
    try:
        changed = reload()
    except ConfigError as error:
        raise BadRequest(f"the new configuration cannot be used, the old one goes on:\n{error}") from None
    exchange.answer_json(changed, headers=HEADERS)


def serve_check(app: App, exchange: Exchange, _route: Route) -> None:
    """POST /api/config/check: the body is the text."""
    text = _read_text(exchange)

    def work() -> bytes:
        return json.dumps(findings(check_text(text, os.environ, app.listen))).encode()

    try:
        answer = app.apart.run(work)
    except TooMuchWork:
        message = "this text takes too much time or memory to check here; try `llamaswap check` on the machine"
        answer = json.dumps(_with_error(message)).encode()
    exchange.answer(200, answer, JSON, HEADERS)


def serve_files(app: App, exchange: Exchange, _route: Route) -> None:
    """GET /api/config/files."""
    editor = _editor(app, exchange)
    try:
        rows = [_row(name, path) for name, path in editor.files().items()]
    except ConfigError as error:
        raise MachineFault(str(error)) from error
    exchange.answer_json({"files": rows, "can_create": editor.folder is not None}, headers=HEADERS)


def _row(name: str, path: Path) -> dict[str, Any]:
    row: dict[str, Any] = {"name": name, "path": str(path), "etag": None, "text": None, "error": None}
    try:
        data = read_file(path)
        return {**row, "etag": etag_of(data), "text": data.decode()}
    except OSError as error:
        return {**row, "error": error.strerror}
    except UnicodeDecodeError:
        return {**row, "etag": etag_of(data), "error": "it is no UTF-8 text"}


def serve_file(app: App, exchange: Exchange, route: Route) -> None:
    """GET /api/config/files/{name}: the text as it is."""
    try:
        data = _editor(app, exchange).read(route.argument)
    except OSError as error:
        raise fault_of(error, f"{route.argument} cannot be read") from error
    except ConfigError as error:
        raise MachineFault(str(error)) from error
    exchange.answer(200, data, YAML, [("ETag", etag_of(data)), *HEADERS])


def serve_preview(app: App, exchange: Exchange, route: Route) -> None:
    """POST /api/config/files/{name}/check: what is wrong with the body as its text, and what a reload would change."""
    editor, name = _editor(app, exchange), route.argument
    data = _read_text(exchange)
    try:
        report = editor.check(name, data, lambda texts: _judged(app, texts))
    except OSError as error:
        raise fault_of(error, f"{printable(name)} cannot be checked") from error
    except ConfigError as error:
        raise MachineFault(f"{printable(name)} cannot be checked: {error}") from error
    config = report.config
    changes = None if config is None or app.preview is None else app.preview(config)
    exchange.answer_json({**findings(report), "changes": changes}, headers=HEADERS)


def serve_save(app: App, exchange: Exchange, route: Route) -> None:
    """PUT /api/config/files/{name}: the body becomes its text, if it is still what If-Match says."""
    editor, name = _editor(app, exchange), route.argument
    is_new = exchange.head.get("if-none-match") == "*"
    etags = [] if is_new else _expected_etags(exchange)
    data = _read_text(exchange)

    def judge(texts: Texts) -> Report:
        return _judged(app, texts)

    try:
        report = editor.create(name, data, judge) if is_new else editor.replace(name, data, etags, judge)
    except OSError as error:
        raise fault_of(error, f"{printable(name)} cannot be saved") from error
    except ConfigError as error:
        raise MachineFault(f"{name} cannot be saved: {error}") from error
    said = findings(report)
    if report.errors:
        refusal = BadRequest(f"nothing is saved: with this text the configuration has {len(report.errors)} errors")
        exchange.answer_json({**refusal.body(), **said}, refusal.status, HEADERS)
        return
    app.logs.log.info(f"{exchange.client.client_ip} has saved {printable(name)} of the configuration")
    answer = {"name": name, "etag": etag_of(data), **said}
    exchange.answer_json(answer, 201 if is_new else 200, [("ETag", etag_of(data)), *HEADERS])


def _expected_etags(exchange: Exchange) -> list[str]:
    """The strong tags of If-Match; `*` is none, for it says nothing of the text that is to be replaced."""
    found = [tag for weak, tag in _entity_tags(exchange.head.get("if-match") or "") if not weak]
    if not found:
        raise PreconditionRequired(
            "say with If-Match which text is replaced: its ETag, in quotes, as GET /api/config/files tells it"
            " (If-None-Match: * for a new file)"
        )
    return found


def _judged(app: App, texts: Texts) -> Report:
    """What is wrong with the configuration that these texts make."""
    report = check_files(texts, os.environ, app.listen)
    if report.config is not None:
        try:
            refuse_open_editing(report.config.api_keys, app.listen.host)
        except ConfigError as error:
            return report._replace(errors=(Problem(None, ("apiKeys",), str(error)),), config=None)
    return report


def _with_error(message: str) -> dict[str, Any]:
    return findings(Report((Problem(None, (), message),), (), None))


def _editor(app: App, exchange: Exchange) -> ConfigEditor:
    if app.editor is None:
        raise Forbidden("the files are neither shown nor changed: llamaswap was started without -allow-config-edit")
    if not app.config.api_keys and any(exchange.head.get(name) for name in FORWARDED):
        raise Forbidden(
            "the request came through a proxy, behind which anybody may be: the configuration needs apiKeys"
        )
    return app.editor


def _read_text(exchange: Exchange) -> bytes:
    with read_content(exchange, MOST_TEXT_BYTES) as body:
        return body.read()
