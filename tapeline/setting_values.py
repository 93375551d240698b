"""What the text of a setting may be, and which settings go together. Pure."""

import os.path
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

from ingest.address import networks

if TYPE_CHECKING:
    from tapeline.settings import Settings

#: What obstore opens a store by.
STORE_SCHEMES = ("file", "s3", "s3a", "gs", "az", "adl", "azure", "abfs", "abfss", "memory", "https", "http")
_PATH = re.compile(r"/[^\s?#]*")
_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://(\[[0-9a-f:.]+\]|[^\s/?#@:\[\]]+)(?::([0-9]{1,5}))?")
_MAX_PORT = 65535


def host_port(text: str) -> tuple[str, int]:
    """Return the parts of ``host:port`` or ``[host]:port``. Raise ValueError."""
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or port is None or parts.netloc != text or "@" in text:
        given = text.rpartition(":")[2]
        if given.isdecimal() and int(given) > _MAX_PORT:
            raise ValueError(f"{text!r} is not host:port: a port is a number up to {_MAX_PORT}")
        raise ValueError(f"{text!r} is not host:port, such as 127.0.0.1:8765")
    return host, port


def address(text: str) -> str:
    """Return ``host:port``. Raise ValueError."""
    host_port(text)
    return text


def addresses(text: str) -> str:
    """Return comma-separated addresses and networks. Raise ValueError."""
    networks(text)
    return text


def in_small_letters(value: Any) -> Any:
    """Return a text in small letters, anything else as it is."""
    return value.lower() if isinstance(value, str) else value


def servers(text: str) -> str:
    """Return Kafka's bootstrap servers, ``host:port[,host:port…]``. Raise ValueError."""
    given = [part.strip() for part in text.split(",") if part.strip()]
    if not given:
        raise ValueError("no server is named; give host:port[,host:port…]")
    for part in given:
        if host_port(part)[1] == 0:
            raise ValueError(f"{part!r} is not host:port: a server's port is a number from 1 to {_MAX_PORT}")
    return ",".join(given)


def url_path(text: str) -> str:
    """Return a path of the gateway's URL. Raise ValueError."""
    if not _PATH.fullmatch(text):
        cure = f"; {'/' + text!r} would be one" if _PATH.fullmatch(f"/{text}") else ""
        raise ValueError(f"no path: it begins with / and has no blank, ? or #{cure}")
    return text


def page_origins(text: str) -> str:
    """Return the origins of web pages, comma-separated, as browsers write them. Raise ValueError."""
    return ",".join(_origin(part.strip()) for part in text.split(",") if part.strip())


def _origin(text: str) -> str:
    if text in ("*", "null"):
        return text
    found = _ORIGIN.fullmatch(text.lower())
    if found is None:
        raise ValueError(
            f"{text!r} is no origin, such as https://calls.example.com: scheme, host, perhaps a port"
        )
    scheme, host, port = found.groups()
    is_usual = (scheme, port) in (("https", "443"), ("http", "80"))
    return f"{scheme}://{host}" if port is None or is_usual else f"{scheme}://{host}:{port}"


def registry_url(text: str) -> str:
    """Return the URLs of a schema registry, with commas between. Raise ValueError."""
    for url in text.split(","):
        parts = urlsplit(url.strip())
        if parts.scheme not in ("http", "https") or not parts.hostname:
            # Its user and password may stand in it: it is not repeated.
            raise ValueError("that is no URL of a registry, such as http://127.0.0.1:8081")
    return text


def store_url(text: str) -> str:
    """Return the URL of a store; a folder's path, such as ``/srv/calls`` or ``./calls``, is made into one.

    Raise ValueError.
    """
    if text.startswith(("/", "./", "../", "~")) or text in (".", ".."):
        return Path(os.path.abspath(Path(text).expanduser())).as_uri()
    scheme, colon, _ = text.partition("://")
    if not colon:
        raise ValueError(
            f"no store: for a folder here give ./{text}, for a bucket s3://{text}, gs://{text} or az://{text}"
        )
    if scheme not in STORE_SCHEMES:
        raise ValueError(
            "no store: use /path, s3://bucket/prefix, gs://bucket/prefix, az://container/prefix or memory://"
        )
    return text


Positive = Annotated[int, Field(gt=0)]
PositiveSeconds = Annotated[float, Field(gt=0)]
Address = Annotated[str, AfterValidator(address)]
Servers = Annotated[str, AfterValidator(servers)]
Networks = Annotated[str, AfterValidator(addresses)]
UrlPath = Annotated[str, AfterValidator(url_path)]
Origins = Annotated[str, AfterValidator(page_origins)]
RegistryUrl = Annotated[str, AfterValidator(registry_url)]
StoreUrl = Annotated[str, AfterValidator(store_url)]
LogLevel = Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(in_small_letters)]
LogFormat = Annotated[Literal["json", "console", "auto"], BeforeValidator(in_small_letters)]


def contradictions(given: "Settings") -> list[str]:
    """Return what of the settings contradicts, or lacks, another."""
    found = []
    if given.tls_key and not given.tls_certificate:
        found.append(
            f"TAPELINE_TLS_KEY={given.tls_key} without TAPELINE_TLS_CERTIFICATE would mean plain ws://: "
            "give both, or neither"
        )
    if given.kafka_key and not given.kafka_certificate:
        found.append(
            f"TAPELINE_KAFKA_KEY={given.kafka_key} is used with TAPELINE_KAFKA_CERTIFICATE only: give both"
        )
    if given.insecure and given.tokens:
        found.append(
            f"TAPELINE_INSECURE lets anybody in, TAPELINE_TOKENS={given.tokens} those with a token: give one"
        )
    if given.processes > 1 and host_port(given.listen)[1] == 0:
        found.append(
            f"TAPELINE_PROCESSES={given.processes} share one port, and TAPELINE_LISTEN={given.listen} "
            "has none: give a port above 0"
        )
    return found
