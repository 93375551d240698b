"""What can go wrong with the contract.

SchemaError
 ├── NotAvroError       the bytes carry no framing we know
 ├── UnknownSchemaError framed, but by a schema nobody can find
 └── CorruptRecordError the schema is known, and the bytes do not fit it
"""


class SchemaError(Exception):
    """Base of every error of this package."""


class NotAvroError(SchemaError):
    """The value starts with neither Avro's single-object marker nor Confluent's magic byte."""


class UnknownSchemaError(SchemaError):
    """The writer's schema is neither ours nor in the registry."""


class CorruptRecordError(SchemaError):
    """The value does not decode by the schema it names."""
