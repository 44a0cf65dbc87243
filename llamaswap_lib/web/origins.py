"""Pages of other sites: a browser that shows one must not be made to operate this server.

Pure, any thread. `Sec-Fetch-Site` is the browser's own word, which no page can change; where a browser does not send it
(pages over plain HTTP), the host of `Origin` is compared with the one that was asked for. Programs send neither and
are let through, and so is what a person types or a bookmark holds. Ports do not count, as they do not for browsers.
X-Forwarded-Host says nothing: a page may send what it likes in it, so a proxy in front has to pass on `Host`.
(Names that another site makes point here are not found out by this: only `apiKeys` help against them.)
"""

from __future__ import annotations

from urllib.parse import urlsplit

from llamaswap_lib.errors import Forbidden
from llamaswap_lib.web.heads import RequestHead


def refuse_other_sites(head: RequestHead) -> None:
    """Raise Forbidden for a request that a page of another site has made."""
    site, origin = head.get("sec-fetch-site"), head.get("origin")
    if site in ("same-origin", "none"):
        return
    if site == "cross-site" or (origin is not None and _host_of(origin) != _host_of(f"http://{head.get('host')}")):
        raise Forbidden("a page of another site may not do this; where the configuration has apiKeys, a key allows it")


def _host_of(url: str) -> str:
    """The host of a URL in lower case; '' for what has none, as the `null` of a page without a site."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
