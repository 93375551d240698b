"""What is asked of a schema registry: an interface. The client that speaks HTTP lives in ``runtime``."""

from typing import Any, Protocol


class Registry(Protocol):
    """The two things we ask of a schema registry."""

    async def register(self, subject: str, parsed: Any) -> int:
        """Return the id of the schema under the subject, registering it if need be.

        Raise an OSError when the registry does not answer, or refuses.
        """

    async def schema_by_id(self, schema_id: int) -> Any:
        """Return the parsed schema of an id. Raise UnknownSchemaError for one that is not known.

        Raise an OSError when the registry does not answer: that is no fault of the record.
        """
