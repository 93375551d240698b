"""What the gateway reads from files and reads again when they change: tokens, and the TLS certificate."""

import ssl
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import structlog

from ingest.auth import Token, TokensError, parse_tokens
from runtime.throttle import LogThrottle
from schemas.errors import TapelineError

log = structlog.get_logger()

T = TypeVar("T")

#: What makes files unusable: they cannot be read (ssl.SSLError is an OSError), or are no text, or no tokens.
UNUSABLE = (OSError, UnicodeDecodeError, TokensError)


class CertificateError(TapelineError):
    """A certificate or key that cannot be used."""


class ReloadedFiles(Generic[T]):
    """A value made of files, made again when one changes.

    Files that change into something unusable are reported, at most once a minute, and the old value stays.
    """

    def __init__(self, name: str, paths: Sequence[Path], read: Callable[[], T]) -> None:
        """Read the files; ``name`` is what the log calls them. Raise one of ``UNUSABLE``."""
        self._name = name
        self._paths = paths
        self._read = read
        self._log_throttle = LogThrottle()
        self._stamp = self._changed_at()
        self._value = read()

    def current(self) -> T:
        """Return the value as the files have it now, or had it when they were last usable."""
        try:
            stamp = self._changed_at()
            if stamp != self._stamp:
                # The stamp first: files that change meanwhile are read again, broken ones are not.
                self._stamp = stamp
                self._value = self._read()
                log.info(f"{self._name}_reloaded", path=str(self._paths[0]))
        except UNUSABLE as error:
            reason = str(error)
            if self._log_throttle.allows(reason, time.monotonic()):
                log.error(f"{self._name}_unusable", path=str(self._paths[0]), reason=reason)
        return self._value

    def _changed_at(self) -> list[tuple[int, int]]:
        return [(status.st_mtime_ns, status.st_size) for status in (path.stat() for path in self._paths)]


class TokensFile:
    """The tokens in a file."""

    def __init__(self, path: Path) -> None:
        """Read the file. Raise TokensError."""
        try:
            self._file = ReloadedFiles("tokens", [path], lambda: parse_tokens(path.read_text()))
        except UNUSABLE as error:
            raise TokensError(f"{path} (TAPELINE_TOKENS) cannot be used: {error}") from error

    def tokens(self) -> list[Token]:
        """Return the tokens in force."""
        return self._file.current()


class Certificate:
    """A server's TLS context, of a certificate and its key (in one file, or in two)."""

    def __init__(self, certificate: Path, key: Path | None) -> None:
        """Read the files. Raise CertificateError."""

        def read() -> ssl.SSLContext:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(certificate, key)
            return context

        paths = [certificate] if key is None else [certificate, key]
        try:
            self._files = ReloadedFiles("certificate", paths, read)
        except UNUSABLE as error:
            raise CertificateError(
                f"{certificate} (TAPELINE_TLS_CERTIFICATE) with the key {key or 'in it'} (TAPELINE_TLS_KEY) "
                f"cannot be used: {error}"
            ) from error

    def context(self) -> ssl.SSLContext:
        """Return the context for a connection that begins now."""
        return self._files.current()
