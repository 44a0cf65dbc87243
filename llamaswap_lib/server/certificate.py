"""The certificate that clients of TLS are shown. One that is renewed on disk is used from the next handshake on.

Any thread renews it; the loop asks for its context.
"""

from __future__ import annotations

import ssl
from contextlib import suppress
from pathlib import Path

from llamaswap_lib.errors import ConfigError


class Certificate:
    """A certificate and its key, in PEM files."""

    def __init__(self, certificate: Path, key: Path) -> None:
        """Raises ConfigError for files that cannot be read, or that do not belong together."""
        self.files = certificate, key
        self._stamps = self._look()
        self._context = self._load()

    def context(self) -> ssl.SSLContext:
        """What a handshake needs; made anew when the files have changed, the old one while they cannot be used."""
        stamps = self._look()
        if stamps != self._stamps:
            self._stamps = stamps
            with suppress(ConfigError):  # half a renewal: the other file has not been written yet
                self._context = self._load()
        return self._context

    def renew(self) -> bool:
        """Read the files now; whether they had changed. Raises ConfigError, and goes on with what it has."""
        before = self._stamps
        self._stamps, self._context = self._look(), self._load()
        return self._stamps != before

    def _look(self) -> list[int]:
        try:
            return [file.stat().st_mtime_ns for file in self.files]
        except OSError:
            return []

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION  # within one, writing may have to read first
        context.set_alpn_protocols(["http/1.1"])
        certificate, key = self.files
        try:
            context.load_cert_chain(certificate, key, password=lambda: "")  # never ask at the terminal
        except (OSError, ssl.SSLError) as error:
            reason = error.strerror or str(error)
            raise ConfigError(f"cannot use the certificate {certificate} with the key {key}: {reason}") from None
        return context
