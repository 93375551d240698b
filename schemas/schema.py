"""The Avro schemas of ``avro/``: loaded, parsed, and fingerprinted."""

from collections.abc import Callable
from functools import cache
from importlib import resources
from typing import Any, cast

import fastavro
import fastavro.schema

#: A record as fastavro takes and gives it.
Record = dict[str, Any]


@cache
def schema(record: str) -> dict[str, Any]:
    """Return the schema of a record of ours, such as ``Message``, with documentation and logical types."""
    folder = resources.files("schemas") / "avro"
    with resources.as_file(folder) as path:
        loaded = fastavro.schema.load_schema(str(path / f"tapeline.{record}.avsc"))
    return cast("dict[str, Any]", without(loaded, lambda key: key.startswith("__")))


@cache
def bare_schema(record: str) -> dict[str, Any]:
    """Return the parsed schema to encode and decode by: times stay integers, which is exact, and faster."""
    bare = without(schema(record), lambda key: key == "logicalType")
    return cast("dict[str, Any]", fastavro.parse_schema(bare))


def without(node: Any, unwanted: Callable[[str], bool]) -> Any:
    """Return a schema, or a part of one, without the keys that are unwanted."""
    if isinstance(node, dict):
        return {k: without(v, unwanted) for k, v in node.items() if not unwanted(k)}
    return [without(item, unwanted) for item in node] if isinstance(node, list) else node


def fingerprint(parsed: Any) -> bytes:
    """Return the CRC-64-AVRO of a schema's parsing canonical form: 8 bytes, little-endian."""
    canonical = fastavro.schema.to_parsing_canonical_form(parsed)
    return bytes.fromhex(fastavro.schema.fingerprint(canonical, "CRC-64-AVRO"))
