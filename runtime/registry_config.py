"""Where the schema registry is, and how it is asked. Light: every command reads it."""

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from runtime.urls import without_secrets
from schemas.errors import TapelineError


class RegistryConfigError(TapelineError):
    """The settings of the registry do not fit together, or name files that cannot be used."""


@dataclass(frozen=True, slots=True)
class RegistryConfig:
    """How a schema registry is asked. As text: its URLs, without secrets."""

    url: str = field(repr=False)
    """One, or several with commas between: the next is asked when one does not answer."""
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca: Path | None = None
    """PEM certificates to trust; None: those that certifi brings."""
    certificate: Path | None = None
    """PEM certificate of this client, for mutual TLS."""
    key: Path | None = None
    lookup_only: bool = False
    """Schemas are registered by others, and only looked up."""
    timeout_s: float = 10.0
    """How long an answer may take."""

    def __post_init__(self) -> None:
        """Check that the settings fit together. Raise RegistryConfigError."""
        for url in self.url.split(","):
            try:
                parts = urlsplit(url.strip())
                usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
            except ValueError:
                usable = False
            if not usable:
                raise RegistryConfigError(
                    f"TAPELINE_REGISTRY={without_secrets(url)!r} is no URL of a schema registry, such as "
                    "http://registry:8081"
                )
        if self.username is not None and self.password is None:
            raise RegistryConfigError("TAPELINE_REGISTRY_USERNAME needs TAPELINE_REGISTRY_PASSWORD")
        if self.key is not None and self.certificate is None:
            raise RegistryConfigError("TAPELINE_REGISTRY_KEY needs TAPELINE_REGISTRY_CERTIFICATE")

    def __str__(self) -> str:
        return ",".join(without_secrets(url.strip()) for url in self.url.split(","))

    @property
    def bare_url(self) -> str:
        """The URLs without a name and a password, which the client takes apart from them."""
        return ",".join(_bare(url) for url in self.url.split(","))

    @property
    def credentials(self) -> tuple[str, str] | None:
        """The name and the password: those of the settings, else those in the URL."""
        if self.username is not None:
            return self.username, self.password or ""
        parts = urlsplit(self.url.split(",")[0].strip())
        if parts.username is None:
            return None
        return unquote(parts.username), unquote(parts.password or "")


def _bare(url: str) -> str:
    """Return a URL without a name and a password."""
    start, at, rest = url.strip().rpartition("@")
    if not at:
        return rest
    scheme = start.partition("://")[0]
    return urlunsplit((scheme, *urlsplit(f"//{rest}")[1:])) if "://" in start else rest
