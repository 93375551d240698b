"""The tokens file, read again when it changes."""

from pathlib import Path

import structlog

from ingest.auth import Token, TokensError, parse_tokens

log = structlog.get_logger()


class TokensFile:
    """The tokens in a file. One that changes into something unusable is reported, and the old ones stay."""

    def __init__(self, path: Path) -> None:
        """Read the file. Raises TokensError."""
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._tokens: list[Token] = []
        try:
            self._read()
        except (TokensError, OSError, UnicodeDecodeError) as error:
            raise TokensError(f"{path} (TAPELINE_TOKENS) cannot be used: {error}") from error

    def tokens(self) -> list[Token]:
        """The tokens as the file has them now."""
        try:
            if self._now() != self._stamp:
                self._read()
                log.info("tokens_read_again", tokens=len(self._tokens))
        except (TokensError, OSError, UnicodeDecodeError) as error:
            log.error("tokens_unusable", path=str(self._path), reason=str(error))
        return self._tokens

    def _now(self) -> tuple[int, int]:
        status = self._path.stat()
        return status.st_mtime_ns, status.st_size

    def _read(self) -> None:
        # The stamp first: a file that changes meanwhile is read again, a broken one is reported once.
        self._stamp = self._now()
        self._tokens = parse_tokens(self._path.read_text())
