"""The gateway's TLS certificate, read again when its files change."""

import ssl
from pathlib import Path

import structlog

from schemas.errors import TapelineError

log = structlog.get_logger()


class CertificateError(TapelineError):
    """A certificate or key that cannot be used."""


class Certificate:
    """A server's TLS context. Files that change into something unusable are reported; the old ones stay."""

    def __init__(self, certificate: Path, key: Path | None) -> None:
        """Read the files. Raises CertificateError."""
        self._certificate = certificate
        self._key = key
        self._stamp: tuple[int, ...] = ()
        try:
            self._context = self._read()
        except (OSError, ssl.SSLError) as error:
            raise CertificateError(
                f"{certificate} (TAPELINE_TLS_CERTIFICATE) with the key {key or 'in it'} (TAPELINE_TLS_KEY) "
                f"cannot be used: {error}"
            ) from error

    def context(self) -> ssl.SSLContext:
        """The context for a connection that begins now."""
        try:
            if self._now() != self._stamp:
                self._context = self._read()
                log.info("certificate_read_again")
        except (OSError, ssl.SSLError) as error:
            log.error("certificate_unusable", path=str(self._certificate), reason=str(error))
        return self._context

    def _now(self) -> tuple[int, ...]:
        files = [path for path in (self._certificate, self._key) if path is not None]
        return tuple(path.stat().st_mtime_ns for path in files)

    def _read(self) -> ssl.SSLContext:
        # The stamp first: files that change meanwhile are read again, broken ones reported once.
        self._stamp = self._now()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self._certificate, self._key)
        return context
