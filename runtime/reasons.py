"""Errors of libraries and of the system, in words: what stands as a reason in a log, a message, a record."""

import re
import ssl

#: Behind it obstore prints the structure of its error, in Rust.
_DUMP = "\n\nDebug source:"
_PLACE_IN_C = re.compile(r"^\[[^]]*\] | \(_ssl\.c:\d+\)$")
#: What OpenSSL's words mean.
_TLS = {
    "PEM lib": "no certificate or key in PEM, or the key is missing, or it needs a password",
    "key values mismatch": "the key is not that of the certificate",
    "no certificate or crl found": "no certificate in PEM is in it",
    "wrong version number": "the other side speaks no TLS there",
    "record layer failure": "the other side speaks no TLS there",
    "unexpected eof while reading": "the other side ended the connection",
}
#: Errors that are often raised without a word; the first that fits.
_SILENT: tuple[tuple[type[BaseException], str], ...] = (
    (TimeoutError, "no answer in time"),
    (ConnectionRefusedError, "nothing listens there"),
    (ConnectionError, "the other side ended the connection"),
    (EOFError, "the other side ended the connection"),
    (MemoryError, "out of memory"),
)


def in_words(error: BaseException) -> str:
    """Return what an error says, in words for a person, and never nothing."""
    said = str(error).partition(_DUMP)[0].strip()
    if isinstance(error, ssl.SSLError):
        said = _PLACE_IN_C.sub("", _PLACE_IN_C.sub("", said))
        return _TLS.get(said, said) or type(error).__name__
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.strerror}: {error.filename!r}"
    if said:
        return said
    for kind, words in _SILENT:
        if isinstance(error, kind):
            return words
    if error.__cause__ is not None:
        return in_words(error.__cause__)
    return type(error).__name__
