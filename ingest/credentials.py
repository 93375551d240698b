"""What the gateway reads from files and reads again when they change: tokens, and the TLS certificate."""

import errno
import os
import ssl
import stat
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import structlog

from ingest.auth import Token, TokensError, new_token, parse_tokens
from runtime.reasons import in_words
from runtime.throttle import LogThrottle
from schemas.errors import TapelineError

log = structlog.get_logger()

T = TypeVar("T")

#: What makes files unusable: they cannot be read (ssl.SSLError is an OSError), or are no text, or no tokens.
UNUSABLE = (OSError, UnicodeDecodeError, TokensError)
#: The largest file that is read: eight thousand tokens, far more than any certificate.
LARGEST_BYTES = 1024 * 1024
#: How long the last list of tokens admits senders when their file cannot be used any more.
LAST_LIST_S = 300.0


class CertificateError(TapelineError):
    """A certificate or key that cannot be used."""


class ReloadedFiles(Generic[T]):
    """A value made of files, made again when one changes.

    Files that change into something unusable are reported, once a minute, and the old value stays.
    """

    def __init__(
        self, name: str, paths: Sequence[Path], read: Callable[[], T], absent: T | None = None
    ) -> None:
        """Read the files; ``name`` is what the log calls them. Raise one of ``UNUSABLE``.

        ``absent``: the value where there is no file yet; None: that is an error, as any other.
        """
        self._name = name
        self._paths = paths
        self._read = read
        self._log_throttle = LogThrottle()
        self._stamp: list[tuple[int, ...]] | None = None
        self._fault: Exception | None = None
        """Why the files as they are now cannot be used."""
        self.unusable_since_s: float | None = None
        """Since when, by a monotonic clock; None while they can."""
        try:
            self._stamp = self._changed_at()
            self._value = read()
        except FileNotFoundError as error:
            if absent is None:
                raise
            self._value = absent
            self._note(error, time.monotonic())

    def current(self, now_s: float | None = None) -> T:
        """Return the value as the files have it now, or had it when they were last usable.

        ``now_s``: a monotonic clock's seconds.
        """
        now_s = time.monotonic() if now_s is None else now_s
        try:
            stamp = self._changed_at()
            if stamp != self._stamp:
                # The stamp first: files that change meanwhile are read again, broken ones are not.
                self._stamp = stamp
                self._value = self._read()
                self._fault = None
                log.info(f"{self._name}_reloaded", path=str(self._paths[0]))
        except UNUSABLE as error:
            if isinstance(error, OSError):
                self._stamp = None  # it may be read later as it is
            self._fault = error
        self._note(self._fault, now_s)
        return self._value

    def _note(self, fault: Exception | None, now_s: float) -> None:
        self._fault = fault
        if fault is None:
            self.unusable_since_s = None
            return
        if self.unusable_since_s is None:
            self.unusable_since_s = now_s
        if self._log_throttle.allows(in_words(fault), now_s):
            log.error(f"{self._name}_unusable", path=str(self._paths[0]), reason=in_words(fault))

    def _changed_at(self) -> list[tuple[int, ...]]:
        return [_stamp(path) for path in self._paths]


def _stamp(path: Path) -> tuple[int, ...]:
    """Return what changes with a file. Raise OSError, also for one that would hold the event loop up."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "no regular file", str(path))
    if found.st_size > LARGEST_BYTES:
        said = f"{found.st_size} bytes, where at most {LARGEST_BYTES} are read"
        raise OSError(errno.EFBIG, said, str(path))
    return found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_size


class TokensFile:
    """The tokens in a file."""

    def __init__(self, path: Path) -> None:
        """Read the file, if there is one. Raise TokensError for one that cannot be used."""
        self._path = path
        self._log_throttle = LogThrottle()

        def read() -> list[Token]:
            return parse_tokens(path.read_text(encoding="utf-8"))

        try:
            self._file = ReloadedFiles[list[Token]]("tokens", [path], read, absent=[])
        except UNUSABLE as error:
            raise TokensError(f"{path} (TAPELINE_TOKENS) cannot be used: {in_words(error)}") from error
        self.known()

    def known(self, now_s: float | None = None) -> list[Token]:
        """Return the tokens of the last list: the connections of any other are closed."""
        now_s = time.monotonic() if now_s is None else now_s
        tokens = self._file.current(now_s)
        if not tokens and self._log_throttle.allows("empty", now_s):
            log.warning("nobody_is_admitted", path=str(self._path), reason="there is no token in the file")
        return tokens

    def admitting(self, now_s: float | None = None) -> list[Token]:
        """Return the tokens that admit a sender: none, when the file has been unusable for five minutes."""
        now_s = time.monotonic() if now_s is None else now_s
        tokens = self.known(now_s)
        since_s = self._file.unusable_since_s
        return [] if since_s is not None and now_s - since_s >= LAST_LIST_S else tokens

    @property
    def is_unusable(self) -> bool:
        """Whether the file cannot be used as it is now."""
        return self._file.unusable_since_s is not None


def add_token(file: Path, sender: str) -> str:
    """Make a token for a sender, add what admits it to a file, and return the token.

    The file is made, for its owner alone, if there is none. Raise TokensError, and OSError.
    """
    token, entry = new_token(sender)
    with open(file, "a+", opener=lambda path, flags: os.open(path, flags, 0o600)) as opened:
        opened.seek(0)
        before = opened.read()
        try:
            parse_tokens(before)
        except TokensError as error:
            raise TokensError(f"{file} cannot be used, so nothing was added: {error}") from error
        opened.write(entry if before.endswith("\n") or not before else f"\n{entry}")
    return token


class Certificate:
    """A server's TLS context, of a certificate and its key (in one file, or in two)."""

    def __init__(self, certificate: Path, key: Path | None) -> None:
        """Read the files. Raise CertificateError."""

        def read() -> ssl.SSLContext:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(certificate, key, password="")  # else OpenSSL asks the terminal for it
            return context

        paths = [certificate] if key is None else [certificate, key]
        try:
            self._files = ReloadedFiles("certificate", paths, read)
        except UNUSABLE as error:
            raise CertificateError(
                f"{certificate} (TAPELINE_TLS_CERTIFICATE) with the key {key or 'in it'} (TAPELINE_TLS_KEY) "
                f"cannot be used: {in_words(error)}"
            ) from error

    def context(self) -> ssl.SSLContext:
        """Return the context for a connection that begins now."""
        return self._files.current()
