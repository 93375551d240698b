"""Where Kafka is, and its security: what every client of it is made with."""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schemas.errors import TapelineError

if TYPE_CHECKING:
    import ssl


class Security(StrEnum):
    """Kafka's ``security.protocol``."""

    PLAINTEXT = "PLAINTEXT"
    SSL = "SSL"
    SASL_PLAINTEXT = "SASL_PLAINTEXT"
    SASL_SSL = "SASL_SSL"


class Mechanism(StrEnum):
    """Kafka's ``sasl.mechanism``, of those that take a name and a password."""

    PLAIN = "PLAIN"
    SCRAM_SHA_256 = "SCRAM-SHA-256"
    SCRAM_SHA_512 = "SCRAM-SHA-512"


class ClusterError(TapelineError):
    """The settings of the cluster do not fit together, or name files that cannot be used."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Bootstrap servers, and the security of their listener. As text: the servers."""

    servers: str
    security: Security = Security.PLAINTEXT
    mechanism: Mechanism = Mechanism.SCRAM_SHA_512
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca: Path | None = None
    """PEM certificates to trust; None: those of the system."""
    certificate: Path | None = None
    """PEM certificate of this client, for mutual TLS."""
    key: Path | None = None

    def __post_init__(self) -> None:
        """Check that the settings fit together. Raise ClusterError."""
        if self.uses_sasl and not (self.username and self.password):
            raise ClusterError(
                f"TAPELINE_KAFKA_SECURITY={self.security} needs TAPELINE_KAFKA_USERNAME and "
                "TAPELINE_KAFKA_PASSWORD"
            )
        if not self.uses_tls and (self.ca or self.certificate or self.key):
            raise ClusterError(
                f"TAPELINE_KAFKA_CA, _CERTIFICATE and _KEY need TAPELINE_KAFKA_SECURITY=SSL or SASL_SSL, "
                f"not {self.security}"
            )
        self.tls()

    def __str__(self) -> str:
        return self.servers

    @property
    def uses_sasl(self) -> bool:
        """Whether a name and a password are asked for."""
        return self.security in (Security.SASL_PLAINTEXT, Security.SASL_SSL)

    @property
    def uses_tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.security in (Security.SSL, Security.SASL_SSL)

    def tls(self) -> "ssl.SSLContext | None":
        """Return a new TLS context, or None without TLS. Raise ClusterError."""
        if not self.uses_tls:
            return None
        import ssl

        from runtime.reasons import in_words

        try:
            context = ssl.create_default_context(cafile=self.ca)
        except (OSError, ssl.SSLError) as error:
            raise ClusterError(
                f"{self.ca} (TAPELINE_KAFKA_CA) holds no certificates: {in_words(error)}"
            ) from error
        if self.certificate is not None:
            try:
                # Without a password, OpenSSL would ask the terminal for that of an encrypted key.
                context.load_cert_chain(self.certificate, self.key, password="")
            except (OSError, ssl.SSLError) as error:
                raise ClusterError(
                    f"{self.certificate} (TAPELINE_KAFKA_CERTIFICATE) and {self.key} (TAPELINE_KAFKA_KEY) "
                    f"are no certificate with its key: {in_words(error)}"
                ) from error
        return context

    def options(self) -> dict[str, Any]:
        """Return what aiokafka's producer, consumer and admin client take. Raise ClusterError."""
        options: dict[str, Any] = {
            "bootstrap_servers": self.servers,
            "security_protocol": self.security.value,
            "ssl_context": self.tls(),
        }
        if self.uses_sasl:
            options["sasl_mechanism"] = self.mechanism.value
            options["sasl_plain_username"] = self.username
            options["sasl_plain_password"] = self.password
        return options
