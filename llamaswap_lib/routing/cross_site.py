"""Who made a browser send a request: this server's own pages, a person, or a page of another site.

Pure, any thread. Programs are let through; so are our own pages, and what a person types or a bookmark holds.

- `Sec-Fetch-Site` is the browser's own word, which no page can change. Browsers send it to https and localhost only.
- Elsewhere the hosts of `Origin` and `Referer` are compared with the one that was asked for. Ports do not count, as
  they do not for browsers. `X-Forwarded-Host` says nothing: a page may send what it likes in it.
- A page can make a browser send a GET with none of the three, and one of a neighbouring name (`a.example.org` beside
  `b.example.org`, which browsers call the same site) one with nothing but `Sec-Fetch-Site: same-site`. So a browser
  that does not say which page it comes from is not obeyed at once (`is_unexplained`): a person has to press a button.
- What a browser fetches ahead of time, nobody has asked for.

Names that another site makes point here are the business of `hosts.py`.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from llamaswap_lib.errors import Forbidden
from llamaswap_lib.wire.headers import head_without
from llamaswap_lib.wire.heads import RequestHead

_PURPOSES = ("sec-purpose", "purpose", "x-purpose", "x-moz")
_MARKS = frozenset(("origin", "referer", "sec-fetch-site"))
_AHEAD = ("prefetch", "prerender", "preview")


def refuse_other_sites(head: RequestHead) -> None:
    """Raise Forbidden for what a page of another site has made a browser send, and for what is fetched ahead."""
    if any(word in (head.get(name) or "").lower() for name in _PURPOSES for word in _AHEAD):
        raise Forbidden("this changes something, so a browser may not fetch it in advance (prefetch)")
    site = head.get("sec-fetch-site")
    if site in ("same-origin", "none"):
        return
    origin, referer = head.get("origin"), head.get("referer") or None
    host = host_of(f"http://{head.get('host')}")
    if site == "cross-site" or any(url is not None and host_of(url) != host for url in (origin, referer)):
        raise Forbidden("a page of another site may not do this; where the configuration has apiKeys, a key allows it")


def refuse_other_origins(head: RequestHead) -> None:
    """The same for pages of another port of this host, too: what they must not do is more than an operation."""
    refuse_other_sites(head)
    origin = head.get("origin")
    if head.get("sec-fetch-site") in ("same-origin", "none"):
        return
    if head.get("sec-fetch-site") or (origin is not None and _netloc_of(origin) != _netloc_of(f"//{head.get('host')}")):
        raise Forbidden(
            "only a page of this very address may do this; where the configuration has apiKeys, a key allows it"
        )


def without_page(head: RequestHead) -> RequestHead:
    """The head for another server: it does not know the page, which would be one of another site to it."""
    return head_without(head, *_MARKS)


def is_unexplained(head: RequestHead) -> bool:
    """Whether it comes from a browser that does not say which page, if any, has made it send this.

    The marks of a browser: `Upgrade-Insecure-Requests`, which goes with every page that is opened, and
    `Accept-Language` together with `text/html` in `Accept` (a page) or with the name that all browsers give themselves
    (an image or a script of a page). `Accept-Language` alone is no mark: node's fetch and Apple's URLSession send it
    too. Programs that are built with Electron, which have a browser's name, are programs.
    """
    site = head.get("sec-fetch-site")
    if site in ("same-origin", "none") or head.get("origin") or head.get("referer"):
        return False
    if site == "same-site":  # a page beside ours that has chosen not to be named
        return True
    if head.get("upgrade-insecure-requests"):
        return True
    agent = head.get("user-agent") or ""
    wants_page = "text/html" in (head.get("accept") or "").lower()
    return bool(head.get("accept-language")) and (
        wants_page or (agent.startswith("Mozilla/") and "Electron/" not in agent)
    )


def _netloc_of(url: str) -> str:
    """Host and port; without the port that goes without saying."""
    try:
        netloc = urlsplit(url).netloc.lower()
    except ValueError:
        return ""
    return netloc.removesuffix(":80").removesuffix(":443")


def host_of(url: str) -> str:
    """The host of a URL in lower case; '' for what has none, as the `null` of a page without a site."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
