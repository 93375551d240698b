"""A Confluent-compatible schema registry, over HTTP."""

import json
from typing import Any

import fastavro

from schemas.errors import UnknownSchemaError
from schemas.registry import Registry
from schemas.schema import without


class ConfluentRegistry:
    """The registry at a URL, by confluent-kafka's own client.

    Blocking: an id is asked for once and kept, so only the first record of a schema waits.
    """

    def __init__(self, url: str) -> None:
        # Imported here: it brings an HTTP stack that nobody without a registry needs.
        from confluent_kafka.schema_registry import SchemaRegistryClient

        self._client = SchemaRegistryClient({"url": url})
        self._by_id: dict[int, Any] = {}

    def register(self, subject: str, parsed: Any) -> int:
        """Return the id of the schema under the subject, registering it if need be."""
        from confluent_kafka.schema_registry import Schema

        return self._client.register_schema(subject, Schema(json.dumps(parsed), "AVRO"))

    def schema_by_id(self, schema_id: int) -> Any:
        """Return the parsed schema of an id, without its logical types. Raise UnknownSchemaError."""
        if schema_id not in self._by_id:
            from confluent_kafka.schema_registry.error import SchemaRegistryError

            try:
                text = self._client.get_schema(schema_id).schema_str
            except SchemaRegistryError as error:
                raise UnknownSchemaError(f"schema id {schema_id}: {error}") from error
            self._by_id[schema_id] = fastavro.parse_schema(
                without(json.loads(text or "null"), lambda key: key == "logicalType")
            )
        return self._by_id[schema_id]


def registry_from(url: str | None) -> Registry | None:
    """Return the registry at a URL, or None without one."""
    return ConfluentRegistry(url) if url else None
