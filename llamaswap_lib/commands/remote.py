"""The flags of the commands that ask a running server, and the connection that they mean."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from urllib.parse import urlsplit

from llamaswap_lib.client.connection import Server
from llamaswap_lib.commands.arguments import UsageError

DEFAULT_URL = "http://localhost:8080"
REMOTE = ("url", "api_key", "ca_file", "json")  # what the flags below set


def add_remote_flags(parser: argparse.ArgumentParser, *, has_json: bool = True) -> None:
    """`has_json`: its result can be printed as JSON."""
    add = parser.add_argument_group("the server").add_argument
    add("--url", "-url", metavar="URL", help=f"where it is (default: LLAMASWAP_URL, or {DEFAULT_URL})")
    add("--api-key", "-api-key", metavar="KEY", help="one of its apiKeys (default: LLAMASWAP_API_KEY)")
    add(
        "--ca-file",
        "-ca-file",
        metavar="FILE",
        type=str,
        help="certificates (PEM) to trust (default: LLAMASWAP_CA_FILE)",
    )
    if has_json:
        parser.add_argument("--json", "-json", action="store_true", help="print the result as JSON")


def server_of(options: argparse.Namespace, environ: Mapping[str, str] = os.environ) -> Server:
    """The server that the flags and the environment name; raises UsageError."""
    told, whose = _told(options, environ, "url")
    told = told or ("" if options.url is not None else DEFAULT_URL)
    url = told if "://" in told else f"http://localhost{told}" if told.startswith(":") else f"http://{told}"
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_usable = False
    is_usable = is_usable and url.isprintable() and " " not in url and parts.path.isascii()
    if not is_usable or parts.query or parts.fragment:
        raise UsageError(f"{whose}: expected an address such as {DEFAULT_URL}, got {told!r}")
    if parts.username is not None:
        raise UsageError(f"{whose}: a key belongs into --api-key or LLAMASWAP_API_KEY, not into the address")
    key, whose = _told(options, environ, "api_key")
    if not (key.isascii() and key.isprintable()):
        raise UsageError(f"{whose}: expected printable ASCII, as HTTP headers have it")
    ca_file, _ = _told(options, environ, "ca_file")
    return Server(url.rstrip("/").removesuffix("/v1"), key, ca_file)


def _told(options: argparse.Namespace, environ: Mapping[str, str], name: str) -> tuple[str, str]:
    """What a flag says, or else its variable, '' for nothing; and which of them it was."""
    flag, variable = getattr(options, name), f"LLAMASWAP_{name.upper()}"
    return (environ.get(variable, ""), variable) if flag is None else (flag, f"--{name.replace('_', '-')}")
