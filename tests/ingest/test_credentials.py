"""Tokens and the certificate, read again when their files change."""

import os
from pathlib import Path

import pytest
import trustme
from structlog.testing import capture_logs

from ingest.auth import TokensError, new_token
from ingest.credentials import Certificate, CertificateError, TokensFile

ENTRY = new_token("voxology")[1]


def test_the_file_is_read_again_when_it_changes_and_the_old_stays_when_it_breaks(tmp_path: Path) -> None:
    file = tmp_path / "tokens.toml"
    file.write_text(ENTRY)
    tokens = TokensFile(file)
    assert [t.sender for t in tokens.tokens()] == ["voxology"]
    file.write_text(ENTRY + new_token("other")[1])
    assert [t.sender for t in tokens.tokens()] == ["voxology", "other"]
    file.write_text("[[broken")
    assert [t.sender for t in tokens.tokens()] == ["voxology", "other"]
    file.unlink()
    assert [t.sender for t in tokens.tokens()] == ["voxology", "other"]
    file.write_text(new_token("third")[1])
    assert [t.sender for t in tokens.tokens()] == ["third"]


def test_no_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(TokensError, match=r"none\.toml"):
        TokensFile(tmp_path / "none.toml")


def test_a_broken_file_is_reported_once(tmp_path: Path) -> None:
    file = tmp_path / "tokens.toml"
    file.write_text(ENTRY)
    tokens = TokensFile(file)
    with capture_logs() as logs:
        file.write_text("[[broken")
        for _ in range(3):
            tokens.tokens()
        file.unlink()
        for _ in range(3):
            tokens.tokens()
    assert [line["event"] for line in logs] == ["tokens_unusable"] * 2
    assert all(line["path"] == str(file) for line in logs)


def issue(folder: Path) -> tuple[Path, Path]:
    """Write a certificate and its key; return their files."""
    issued = trustme.CA().issue_cert("localhost")
    certificate, key = folder / "cert.pem", folder / "key.pem"
    certificate.write_bytes(issued.cert_chain_pems[0].bytes())
    key.write_bytes(issued.private_key_pem.bytes())
    return certificate, key


def changed(file: Path, contents: bytes) -> None:
    """Change a file, and the time that it was changed at, however coarse the clock."""
    before = file.stat().st_mtime_ns
    file.write_bytes(contents)
    os.utime(file, ns=(before + 1000, before + 1000))


def test_a_certificate_is_read_again_when_a_file_changes_and_the_old_stays_when_it_breaks(
    tmp_path: Path,
) -> None:
    certificate, key = issue(tmp_path)
    files = Certificate(certificate, key)
    first = files.context()
    assert files.context() is first
    with capture_logs() as logs:
        changed(certificate, b"no certificate")
        assert files.context() is first
        assert files.context() is first
    assert [line["event"] for line in logs] == ["certificate_unusable"]

    (tmp_path / "new").mkdir()
    new_certificate, new_key = issue(tmp_path / "new")
    changed(key, new_key.read_bytes())
    assert files.context() is first, "a key without its certificate"
    changed(certificate, new_certificate.read_bytes())
    second = files.context()
    assert second is not first
    key.unlink()
    assert files.context() is second


def test_a_certificate_may_hold_its_key(tmp_path: Path) -> None:
    certificate, key = issue(tmp_path)
    with pytest.raises(CertificateError, match="TAPELINE_TLS_KEY"):
        Certificate(certificate, None)
    certificate.write_bytes(certificate.read_bytes() + key.read_bytes())
    assert Certificate(certificate, None).context()


@pytest.mark.parametrize("missing", ["cert.pem", "key.pem"])
def test_a_certificate_that_is_not_there_is_an_error_that_names_it(tmp_path: Path, missing: str) -> None:
    certificate, key = issue(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(CertificateError, match=missing):
        Certificate(certificate, key)
