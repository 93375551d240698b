"""Who may connect: tokens, kept as hashes, given in any of the ways a sender can. Pure.

A telephone platform's portal often takes nothing but a URL, so a token may stand in its query or path,
beside HTTP Basic (RFC 7617; the password is the token) and Bearer (RFC 6750). Tokens are 256 random bits,
so a plain SHA-256 keeps them; hashes are compared in constant time, and every one of them, whatever matches.
"""

import base64
import binascii
import hashlib
import hmac
import re
import secrets
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from schemas.errors import TapelineError
from schemas.identity import SENDER

_TOKEN_BYTES = 32
_HASH_DIGITS = 64
#: Nothing longer is looked at.
_LONGEST_TOKEN = 512


class TokensError(TapelineError):
    """A tokens file that cannot be used, and why."""


@dataclass(frozen=True, slots=True)
class Token:
    """A sender's token, by its hash. Several of one sender are valid at once, for rotation."""

    sender: str
    sha256: bytes
    expires_at: float | None = None
    """Seconds since the epoch; None: never."""

    def has_expired(self, now_s: float) -> bool:
        """Return whether it admits nobody any more, in seconds since the epoch."""
        return self.expires_at is not None and now_s >= self.expires_at


def parse_tokens(text: str) -> list[Token]:
    """Parse a TOML file of tables ``[[token]]``, if there are any: sender, sha256 and, if it ends, expires.

    Raise TokensError that names the entry at fault, and none of its hash.
    """
    try:
        content = tomllib.loads(text.removeprefix("\ufeff"))  # some editors put a byte order mark there
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise TokensError(f"it is not TOML: {_without_text(error)}") from None
    entries = content.pop("token", [])
    if content:
        raise TokensError(f"it has {', '.join(sorted(content))[:80]!r}; known: [[token]]")
    if not isinstance(entries, list):
        raise TokensError("token is no list of tables; `tapeline token SENDER` makes [[token]]")
    tokens = [_parse(number, entry) for number, entry in enumerate(entries, 1)]
    senders: dict[bytes, str] = {}
    for number, token in enumerate(tokens, 1):
        first = senders.setdefault(token.sha256, token.sender)
        if first != token.sender:
            raise TokensError(
                f"token {number} of {token.sender} is one of {first} too: make it one of its own"
            )
    return tokens


def _without_text(error: Exception) -> str:
    """Return what is wrong and where, without what stands there: it may be a token that was written down."""
    where = re.search(r"\(at .*\)$", str(error))
    return f"a syntax error {where[0] if where else ''}"


def _parse(number: int, entry: object) -> Token:
    if not isinstance(entry, dict):
        raise TokensError(f"token {number} is no table")
    unknown = entry.keys() - {"sender", "sha256", "expires"}
    if unknown:
        raise TokensError(f"token {number} has {', '.join(sorted(unknown))}; known: sender, sha256, expires")
    sender, digest, expires = entry.get("sender"), entry.get("sha256"), entry.get("expires")
    if not isinstance(sender, str) or not sender:
        raise TokensError(f"token {number} has no sender")
    if not SENDER.fullmatch(sender):
        raise TokensError(f"token {number}: {_not_a_sender(sender)}")
    try:
        sha256 = bytes.fromhex(digest) if isinstance(digest, str) else b""
    except ValueError:
        sha256 = b""
    if len(sha256) * 2 != _HASH_DIGITS:
        raise TokensError(f"token {number} of {sender} needs a sha256 of {_HASH_DIGITS} hex digits")
    if expires is None:
        return Token(sender, sha256)
    if not isinstance(expires, datetime):
        raise TokensError(
            f"token {number} of {sender}: expires must be a date and time, as 2027-01-31T23:00:00Z"
        )
    return Token(sender, sha256, (expires if expires.tzinfo else expires.replace(tzinfo=UTC)).timestamp())


def new_token(sender: str) -> tuple[str, str]:
    """Make a token for a sender; return it, and the ``[[token]]`` that admits it.

    Raise TokensError for a name that no sender may have.
    """
    if not SENDER.fullmatch(sender):
        raise TokensError(_not_a_sender(sender))
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    digest = hashlib.sha256(token.encode()).hexdigest()
    return token, f'[[token]]\nsender = "{sender}"\nsha256 = "{digest}"\n'


def _not_a_sender(name: str) -> str:
    return (
        f"sender {name[:80]!r} cannot be a name: use 1 to 64 of A-Z a-z 0-9 . _ - "
        "(it stands in paths and tells the streams of senders apart)"
    )


def valid_token(tokens: Iterable[Token], given: Iterable[str], now_s: float) -> Token | None:
    """Return one of the given tokens that is valid now, in seconds since the epoch."""
    digests = [hashlib.sha256(token.encode(errors="surrogatepass")).digest() for token in given]
    found: Token | None = None
    for token in tokens:
        for digest in digests:
            if hmac.compare_digest(token.sha256, digest) and not token.has_expired(now_s):
                found = token
    return found


class Standing(Enum):
    """What has become of the token that admitted a connection."""

    VALID = auto()
    EXPIRED = auto()
    """Its calls may end."""
    REMOVED = auto()


def standing(token: Token, tokens: Iterable[Token], now_s: float) -> Standing:
    """Return what has become of a token, by the tokens that there are now."""
    same = [t for t in tokens if (t.sender, t.sha256) == (token.sender, token.sha256)]
    if not same:
        return Standing.REMOVED
    return Standing.EXPIRED if all(t.has_expired(now_s) for t in same) else Standing.VALID


def split_target(target: str) -> SplitResult:
    """Return the parts of a request's target. Raise ValueError for what is no URL.

    A path that begins with two slashes names no host; it comes of a URL and a path that were put together.
    """
    return urlsplit(f"/{target.lstrip('/')}" if target.startswith("/") else target)


def given_tokens(target: str, authorizations: Iterable[str]) -> list[str]:
    """Return the tokens that a handshake may hold: in Authorization, the query, the path's last part."""
    found = [_authorized(value) for value in authorizations]
    try:
        url = split_target(target)
        found += parse_qs(url.query, max_num_fields=20).get("token", [])
        found.append(unquote(url.path).rstrip("/").rpartition("/")[2])
    except ValueError:
        pass  # no URL, so no token in it
    return [token for token in found if 0 < len(token) <= _LONGEST_TOKEN]


def _authorized(value: str) -> str:
    scheme, _, credentials = value.partition(" ")
    if scheme.lower() == "bearer":
        return credentials.strip()
    if scheme.lower() == "basic":
        try:
            pair = base64.b64decode(credentials.strip(), validate=True)
        except (binascii.Error, ValueError):
            return ""
        # The name may be in any encoding (RFC 7617, section 2.1): it says nothing to us.
        return pair.decode(errors="replace").partition(":")[2]
    return ""
