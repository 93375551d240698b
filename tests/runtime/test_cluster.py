"""How Kafka is reached: what fits together, and what clients are made with."""

import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

from runtime.cluster import Cluster, ClusterError, Mechanism, Security

PASSWORD = "it is a secret"
NAMED: dict[str, Any] = {"username": "u", "password": PASSWORD}


def test_settings_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="TAPELINE_KAFKA_PASSWORD"):
        Cluster("k:1", Security.SASL_SSL, username="u")
    with pytest.raises(ClusterError, match="need TAPELINE_KAFKA_SECURITY=SSL"):
        Cluster("k:1", ca=tmp_path / "ca.pem")
    with pytest.raises(ClusterError, match="TAPELINE_KAFKA_CA"):
        Cluster("k:1", Security.SSL, ca=tmp_path / "none.pem")
    (tmp_path / "empty.pem").write_text("")
    with pytest.raises(ClusterError, match="TAPELINE_KAFKA_CERTIFICATE"):
        Cluster("k:1", Security.SSL, certificate=tmp_path / "empty.pem")


def test_a_password_is_not_shown() -> None:
    cluster = Cluster("k:1", Security.SASL_PLAINTEXT, username="u", password=PASSWORD)
    assert PASSWORD not in repr(cluster)
    assert str(cluster) == "k:1"


@pytest.mark.parametrize("security", [Security.SASL_PLAINTEXT, Security.SASL_SSL])
@pytest.mark.parametrize(
    "given", [{}, {"username": "u"}, {"password": "p"}, {"username": "", "password": "p"}]
)
def test_sasl_needs_a_name_and_a_password(security: Security, given: dict[str, str]) -> None:
    with pytest.raises(ClusterError, match="TAPELINE_KAFKA_USERNAME and TAPELINE_KAFKA_PASSWORD"):
        Cluster("k:1", security, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("security", [Security.PLAINTEXT, Security.SASL_PLAINTEXT])
@pytest.mark.parametrize("file", ["ca", "certificate", "key"])
def test_files_of_tls_need_tls(security: Security, file: str, tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match=f"not {security}"):
        Cluster("k:1", security, **NAMED, **{file: tmp_path / "x.pem"})


def test_plaintext_needs_nothing_more() -> None:
    assert Cluster("a:1,b:2").options() == {
        "bootstrap_servers": "a:1,b:2",
        "security_protocol": "PLAINTEXT",
        "ssl_context": None,
    }


def test_sasl_names_its_mechanism() -> None:
    options = Cluster("k:1", Security.SASL_PLAINTEXT, Mechanism.SCRAM_SHA_256, **NAMED).options()
    assert options["sasl_mechanism"] == "SCRAM-SHA-256"
    assert (options["sasl_plain_username"], options["sasl_plain_password"]) == ("u", PASSWORD)
    assert options["ssl_context"] is None


def test_tls_verifies_the_broker_by_the_authorities_given(tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    ca, certificate, key = (tmp_path / f"{name}.pem" for name in ("ca", "certificate", "key"))
    authority.cert_pem.write_to_path(str(ca))
    issued.cert_chain_pems[0].write_to_path(str(certificate))
    issued.private_key_pem.write_to_path(str(key))
    context = Cluster("k:1", Security.SSL, ca=ca, certificate=certificate, key=key).options()["ssl_context"]
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.cert_store_stats()["x509_ca"] == 1
