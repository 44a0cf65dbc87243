"""The plain page: what runs, where the API and the logs are, and a command that works.

A handler thread. One screen of HTML, made anew for each request, without scripts and without anything from elsewhere.
Whatever comes from the configuration or from the client is escaped.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from html import escape
from string import Template

from llamaswap_lib.app import App
from llamaswap_lib.errors import Forbidden
from llamaswap_lib.loaded_config import date_of
from llamaswap_lib.routing.routes import Route
from llamaswap_lib.server.answers import answer_not_found
from llamaswap_lib.server.exchange import HTML, Exchange
from llamaswap_lib.wire.json_edit import encode

PAGES = ("", "models")  # below /ui/; redirects of ours lead to both
_HEADERS = (
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    ("X-Content-Type-Options", "nosniff"),
)
_ADDRESSES = {
    "/v1/models": "the models, as clients of the OpenAI API list them",
    "/running": "what runs, with its process, port and requests",
    "/api/queue": "who waits, for what and why",
    "/logs/stream": "what the server says",
    "/logs/stream/upstream": "what the models print",
    "/api/events": "all changes, as server-sent events",
}
_TROUBLE = Template("""\
<h2>The changed configuration cannot be used</h2>
<p>The one before it goes on.</p>
<pre class="trouble">$text</pre>
""")
_PAGE = Template("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>llamaswap</title>
<style>
:root { color-scheme: light dark; --line: #8884; --mute: #777; --up: #1a7f37; --busy: #9a6700 }
@media (prefers-color-scheme: dark) { :root { --mute: #999; --up: #3fb950; --busy: #d29922 } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin-top: 2rem }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top }
td:first-child { overflow-wrap: break-word }
.mute, .stopped { color: var(--mute) } .ready { color: var(--up) } .starting, .stopping { color: var(--busy) }
pre { overflow-x: auto; border: 1px solid var(--line); padding: .8rem }
.trouble { border-color: var(--busy) }
</style>
</head>
<body>
<h1>llamaswap <span class="mute">$version</span></h1>
<main>
$trouble<h2>Models</h2>
<table>
<thead><tr><th scope="col">model</th><th scope="col">state</th><th scope="col">description</th></tr></thead>
<tbody>
$models
</tbody>
</table>
<h2>Ask one</h2>
<pre>$command</pre>
<h2>Addresses</h2>
<p>Base URL for clients of the OpenAI API: <code>$base/v1</code>, of the Anthropic API: <code>$base</code></p>
<table>
<thead><tr><th scope="col">address</th><th scope="col">what it tells</th></tr></thead>
<tbody>
$addresses
</tbody>
</table>
</main>
</body>
</html>
""")


def serve_page(app: App, exchange: Exchange, route: Route) -> None:
    """GET /ui/ and /ui/models."""
    if route.argument in PAGES:
        text = page(app, _base_url(app, exchange), _trouble(app, exchange))
        exchange.answer(200, text.encode("utf-8", "replace"), HTML, _HEADERS)
    else:
        answer_not_found(exchange)


def _base_url(app: App, exchange: Exchange) -> str:
    """Where the client reached us, without a slash at the end."""
    told = exchange.head.get("x-forwarded-proto")  # by a proxy in front; it only changes what is shown
    scheme = told if told in ("http", "https") else app.scheme
    return f"{scheme}://{exchange.head.get('host') or 'localhost:8080'}"


def _trouble(app: App, exchange: Exchange) -> str:
    """What is wrong with the configuration that could not be taken over, or ''. Its lines are for names of ours."""
    error = app.loaded.error
    if error is None:
        return ""
    try:
        if not app.config.api_keys:
            app.hosts.refuse_foreign(exchange.head)
    except Forbidden:
        return f"{date_of(error.at)}: the log says what is wrong"
    return f"{date_of(error.at)}\n{error.message}"


def page(app: App, base: str, trouble: str = "") -> str:
    """The whole page for a client that reached us at the URL `base`.

    `trouble` is what kept the last change of the configuration from being taken over.
    """
    states = {run.model: run.state for run in app.controller.runs()}
    listed = [model for _, model in sorted(app.config.models.items()) if not model.unlisted]
    rows = [_row(model.id, states.get(model.id, "stopped"), model.description or model.name) for model in listed]
    name = listed[0].id if listed else "MODEL"
    return _PAGE.substitute(
        version=escape(app.version.version),
        trouble=_TROUBLE.substitute(text=escape(trouble)) if trouble else "",
        models="\n".join(rows) or '<tr><td colspan="3" class="mute">the configuration names none</td></tr>',
        command=escape(_command(base, name, has_keys=bool(app.config.api_keys))),
        base=escape(base),
        addresses=_address_rows(_ADDRESSES),
    )


def _row(name: str, state: str, description: str) -> str:
    shown = escape(state)
    return f'<tr><td>{escape(name)}</td><td class="{shown}">{shown}</td><td>{escape(description)}</td></tr>'


def _address_rows(addresses: Mapping[str, str]) -> str:
    return "\n".join(
        f'<tr><td><a href="{path}">{path}</a></td><td>{escape(text)}</td></tr>' for path, text in addresses.items()
    )


def _command(base: str, model: str, *, has_keys: bool) -> str:
    """A chat with the model, as one types it in a shell."""
    body = f'{{"model": {encode(model)}, "messages": [{{"role": "user", "content": "Hello"}}]}}'
    key = " -H 'Authorization: Bearer YOUR_KEY'" if has_keys else ""
    return (
        f"curl {shlex.quote(base + '/v1/chat/completions')}{key} \\\n"
        f"  -H 'Content-Type: application/json' \\\n  -d {shlex.quote(body)}"
    )
