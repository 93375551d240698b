"""What an error says: never nothing, never the insides of a library."""

import inspect
import ssl
from pathlib import Path

import obstore
import pytest
import trustme
from obstore.exceptions import GenericError
from obstore.store import MemoryStore

from processors.storage.store import StoreError, open_store
from runtime.reasons import in_words


def tls_reason(certificate: Path, key: Path | None = None) -> str:
    """Return why a certificate cannot be used."""
    with pytest.raises(ssl.SSLError) as refused:
        ssl.create_default_context().load_cert_chain(certificate, key)
    return in_words(refused.value)


def test_a_certificate_that_cannot_be_used(tmp_path: Path) -> None:
    junk, mine, others = (tmp_path / name for name in ("junk.pem", "mine.pem", "others.pem"))
    junk.write_text("junk")
    authority = trustme.CA()
    authority.issue_cert("a").cert_chain_pems[0].write_to_path(str(mine))
    authority.issue_cert("b").private_key_pem.write_to_path(str(others))
    assert "no certificate or key in PEM" in tls_reason(junk)
    assert "the key is missing" in tls_reason(mine)
    assert tls_reason(mine, others) == "the key is not that of the certificate"
    with pytest.raises(ssl.SSLError) as refused:
        ssl.create_default_context(cafile=junk)
    assert in_words(refused.value) == "no certificate in PEM is in it"


async def test_a_store_tells_no_structures_of_rust(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("AWS_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    with pytest.raises(StoreError) as away:
        await obstore.list(open_store("s3://bucket")).collect_async()
    assert "Debug source" in str(away.value)
    told = in_words(away.value)
    assert "Debug" not in told
    assert "\n" not in told
    assert "http://127.0.0.1:9/bucket" in told
    with pytest.raises(FileNotFoundError) as missing:
        await obstore.get_async(MemoryStore(), "nothing")
    assert "Debug" not in in_words(missing.value)
    assert in_words(GenericError("a\n\nDebug source:\nx")) == "a"


def test_no_error_is_told_without_a_word() -> None:
    kinds = [kind for kind in vars(__import__("builtins")).values() if inspect.isclass(kind)]
    for kind in kinds:
        if issubclass(kind, Exception) and not issubclass(kind, UnicodeError | ExceptionGroup):
            assert in_words(kind()), kind
    assert in_words(ConnectionResetError()) == "the other side ended the connection"
    outer = RuntimeError()
    outer.__cause__ = TimeoutError()
    assert in_words(outer) == "no answer in time"


def test_a_file_is_named() -> None:
    with pytest.raises(FileNotFoundError) as refused:
        Path("/proc/none/x").mkdir()
    assert in_words(refused.value) == "No such file or directory: '/proc/none/x'"
