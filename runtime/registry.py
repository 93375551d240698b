"""A Confluent-compatible schema registry, over HTTP."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import fastavro
from fastavro.schema import SchemaParseException

from runtime.urls import without_secrets
from schemas.errors import ENVIRONMENTAL, TapelineError, UnknownSchemaError
from schemas.registry import Registry
from schemas.schema import without

#: Before a request that failed is tried again, at first: the event loop stands still meanwhile.
_RETRY_MS = 100
_NOT_FOUND = 404


class RegistryAwayError(TapelineError, ConnectionError):
    """No schema registry answers. A ConnectionError, so that nobody takes it for a fault of the record."""

    def __init__(self, url: str, reason: Exception) -> None:
        told = without_secrets(url)
        super().__init__(
            f"no schema registry answers at {told} (TAPELINE_REGISTRY): {str(reason).replace(url, told)}"
        )


class ConfluentRegistry:
    """The registry at a URL, by confluent-kafka's own client.

    Blocking: an id is asked for once and kept, so only the first record of a schema waits.
    """

    def __init__(self, url: str) -> None:
        # Imported here: it brings an HTTP stack that nobody without a registry needs.
        from confluent_kafka.schema_registry import SchemaRegistryClient

        self._url = url
        self._client = SchemaRegistryClient({"url": url, "retries.wait.ms": _RETRY_MS})
        self._by_id: dict[int, Any] = {}

    def register(self, subject: str, parsed: Any) -> int:
        """Return the id of the schema under the subject, registering it if need be.

        Raise RegistryAwayError.
        """
        from confluent_kafka.schema_registry import Schema

        with self._answering():
            return self._client.register_schema(subject, Schema(json.dumps(parsed), "AVRO"))

    def schema_by_id(self, schema_id: int) -> Any:
        """Return the parsed schema of an id, without its logical types.

        Raise UnknownSchemaError for an id that the registry does not know, else RegistryAwayError.
        """
        if schema_id not in self._by_id:
            from confluent_kafka.schema_registry.error import SchemaRegistryError

            with self._answering():
                try:
                    text = self._client.get_schema(schema_id).schema_str
                except SchemaRegistryError as error:
                    if error.http_status_code != _NOT_FOUND:
                        raise
                    raise UnknownSchemaError(f"schema id {schema_id}: {error}") from error
            try:
                parsed = without(json.loads(text or "null"), lambda key: key == "logicalType")
                self._by_id[schema_id] = fastavro.parse_schema(parsed)
            except (SchemaParseException, TypeError, ValueError) as error:
                raise UnknownSchemaError(f"schema id {schema_id} is no Avro: {error!r}") from error
        return self._by_id[schema_id]

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """Raise RegistryAwayError for what the client raises: refusals, and what its HTTP library raises."""
        try:
            yield
        except (UnknownSchemaError, *ENVIRONMENTAL):
            raise
        except Exception as error:  # which library that is differs between the client's versions
            raise RegistryAwayError(self._url, error) from error


def registry_from(url: str | None) -> Registry | None:
    """Return the registry at a URL, or None without one."""
    return ConfluentRegistry(url) if url else None
