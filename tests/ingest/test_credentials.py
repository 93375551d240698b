"""Tokens and the certificate, read again when their files change."""

import os
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from structlog.testing import capture_logs

from ingest.auth import TokensError, new_token, valid_token
from ingest.credentials import Certificate, CertificateError, TokensFile, add_token

ENTRY = new_token("voxology")[1]


def test_the_file_is_read_again_when_it_changes_and_the_old_stays_when_it_breaks(tmp_path: Path) -> None:
    file = tmp_path / "tokens.toml"
    file.write_text(ENTRY)
    tokens = TokensFile(file)
    assert [t.sender for t in tokens.admitting()] == ["voxology"]
    file.write_text(ENTRY + new_token("other")[1])
    assert [t.sender for t in tokens.admitting()] == ["voxology", "other"]
    file.write_text("[[broken")
    assert [t.sender for t in tokens.admitting()] == ["voxology", "other"]
    file.unlink()
    assert [t.sender for t in tokens.admitting()] == ["voxology", "other"]
    file.write_text(new_token("third")[1])
    assert [t.sender for t in tokens.admitting()] == ["third"]


def test_a_file_that_is_absent_or_empty_at_the_start_admits_nobody_until_it_is_there(tmp_path: Path) -> None:
    file = tmp_path / "tokens.toml"
    with capture_logs() as logs:
        tokens = TokensFile(file)
    assert tokens.admitting() == []
    assert tokens.is_unusable
    assert {"tokens_unusable", "nobody_is_admitted"} == {line["event"] for line in logs}
    file.write_text("")
    with capture_logs() as logs:
        assert TokensFile(file).admitting() == []
    assert [line["event"] for line in logs] == ["nobody_is_admitted"]
    assert tokens.admitting() == []
    assert not tokens.is_unusable
    file.write_text(ENTRY)
    assert [t.sender for t in tokens.admitting()] == ["voxology"]


def test_a_file_that_cannot_be_used_at_the_start_is_an_error_that_names_it(tmp_path: Path) -> None:
    file = tmp_path / "tokens.toml"
    file.write_text("[[broken")
    with pytest.raises(TokensError, match=r"tokens\.toml \(TAPELINE_TOKENS\) cannot be used: it is not TOML"):
        TokensFile(file)


@pytest.mark.parametrize("how", ["broken", "gone"])
def test_the_last_list_holds_for_five_minutes(tmp_path: Path, how: str) -> None:
    file = tmp_path / "tokens.toml"
    file.write_text(ENTRY)
    tokens = TokensFile(file)
    file.write_text("[[broken")
    if how == "gone":
        file.unlink()
    with capture_logs() as logs:
        admitting = [(now_s, len(tokens.admitting(now_s))) for now_s in range(1000, 1400)]
    assert [now_s for now_s, number in admitting if number] == list(range(1000, 1300))
    assert len(tokens.known(1400)) == 1, "open connections stay"
    assert len(logs) == 7, "a line a minute"
    assert tokens.is_unusable
    file.write_text(ENTRY)
    assert len(tokens.admitting(1401)) == 1
    assert not tokens.is_unusable
    file.unlink()
    assert [len(tokens.admitting(now_s)) for now_s in (1500, 1799, 1800)] == [1, 1, 0], "counted anew"


def test_a_broken_file_is_reported_for_each_reason(tmp_path: Path) -> None:
    file = tmp_path / "tokens.toml"
    file.write_text(ENTRY)
    tokens = TokensFile(file)
    with capture_logs() as logs:
        file.write_text("[[broken")
        for _ in range(3):
            tokens.admitting()
        file.unlink()
        for _ in range(3):
            tokens.admitting()
    assert [line["event"] for line in logs] == ["tokens_unusable"] * 2
    assert all(line["path"] == str(file) for line in logs)


def test_a_token_is_added_to_a_file_of_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "tokens.toml"
    first = add_token(file, "west")
    assert file.stat().st_mode & 0o777 == 0o600
    file.write_text(file.read_text().rstrip("\n"))
    second = add_token(file, "east")
    tokens = TokensFile(file).admitting()
    assert [valid_token(tokens, [made], 0).sender for made in (first, second)] == ["west", "east"]  # type: ignore[union-attr]
    before = file.read_text()
    for name in ("", " ", "a/b", "a" * 65, "é", "a\n"):
        with pytest.raises(TokensError, match="cannot be a name"):
            add_token(file, name)
    assert file.read_text() == before
    file.write_text("[[broken")
    with pytest.raises(TokensError, match="nothing was added"):
        add_token(file, "north")
    assert file.read_text() == "[[broken"


def issue(folder: Path) -> tuple[Path, Path]:
    """Write a certificate and its key; return their files."""
    issued = trustme.CA().issue_cert("localhost")
    certificate, key = folder / "cert.pem", folder / "key.pem"
    certificate.write_bytes(issued.cert_chain_pems[0].bytes())
    key.write_bytes(issued.private_key_pem.bytes())
    return certificate, key


def encrypted(key: bytes) -> bytes:
    """Return a key in PEM with a password."""
    loaded = load_pem_private_key(key, None)
    return loaded.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))


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


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", ["folder", "pipe", "huge"])
def test_what_would_hold_the_event_loop_up_is_not_read(tmp_path: Path, kind: str) -> None:
    certificate, key = issue(tmp_path)
    file = tmp_path / "tokens.toml"
    file.write_text(ENTRY)
    tokens, files = TokensFile(file), Certificate(certificate, key)
    context = files.context()
    for path in (file, key):
        path.unlink()
        if kind == "folder":
            path.mkdir()
        elif kind == "pipe":
            os.mkfifo(path)
        else:
            with path.open("wb") as opened:
                opened.truncate(2**40)
    said = "bytes, where at most" if kind == "huge" else "no regular file"
    with capture_logs() as logs:
        assert [token.sender for token in tokens.admitting()] == ["voxology"], "the last list"
        assert files.context() is context, "the old one"
    assert [line["event"] for line in logs] == ["tokens_unusable", "certificate_unusable"]
    assert all(said in line["reason"] for line in logs)
    with pytest.raises(TokensError, match=said):
        TokensFile(file)
    with pytest.raises(CertificateError, match=said):
        Certificate(certificate, key)


@pytest.mark.timeout(20)
def test_an_encrypted_key_is_an_error_and_nobody_is_asked_for_its_password(tmp_path: Path) -> None:
    """OpenSSL would ask whoever started the gateway, and every connection would wait for an answer."""
    certificate, key = issue(tmp_path)
    files = Certificate(certificate, key)
    first = files.context()
    changed(key, encrypted(key.read_bytes()))
    nobody, before = os.open(os.devnull, os.O_RDONLY), os.dup(0)
    os.dup2(nobody, 0)
    try:
        with capture_logs() as logs:
            assert files.context() is first
    finally:
        os.dup2(before, 0)
        os.close(before)
        os.close(nobody)
    assert ["password" in str(line["reason"]) for line in logs] == [True]
