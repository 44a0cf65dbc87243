"""Paths as they should be written.

Pure, any thread. Guarantees: a path is cleaned as Go's `http.ServeMux` does it, which existing clients count on (a base
URL that ends with a slash makes `//v1/models`): without empty segments, `.` and `..`, the slash at the end kept. What
stands behind `LEFT_ALONE` stays as it is: it is a model's name or a path for its server, and either may hold anything.
Percent-encoding is not looked into.
"""

from __future__ import annotations

LEFT_ALONE = ("/upstream/", "/comfyui/", "/logs/stream/", "/api/models/load/", "/api/models/unload/")
_BEFORE_THEM = frozenset(tuple(prefix.strip("/").split("/")) for prefix in LEFT_ALONE)
_LONGEST = max(map(len, _BEFORE_THEM))


def clean_path(path: str) -> str:
    """`path`, which begins with a slash, as it should be written; the same if it is."""
    if "//" not in path and "/." not in path:
        return path
    kept: list[str] = []
    segments = path[1:].split("/")
    for at, segment in enumerate(segments):
        if len(kept) <= _LONGEST and tuple(kept) in _BEFORE_THEM:
            return "/" + "/".join(kept + segments[at:])
        if segment == "..":
            del kept[-1:]
        elif segment not in ("", "."):
            kept.append(segment)
    return "/" + "/".join(kept) + ("/" if kept and not segments[-1] else "")
