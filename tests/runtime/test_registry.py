"""The client of a schema registry, against one that listens."""

from collections.abc import Iterator

import pytest
from registry_server import registry_server

from runtime.registry import ConfluentRegistry, RegistryAwayError, registry_from
from schemas.errors import UnknownSchemaError
from schemas.schema import fingerprint, schema


@pytest.fixture
def url() -> Iterator[str]:
    with registry_server() as url:
        yield url


def test_without_a_url_there_is_no_registry() -> None:
    assert registry_from(None) is None
    assert registry_from("") is None


def test_a_schema_is_registered_once_and_found_by_its_id(url: str) -> None:
    registry = ConfluentRegistry(url)
    first = registry.register("a-value", schema("Message"))
    assert registry.register("a-value", schema("Message")) == first
    other = registry.register("b-value", schema("RecordingEvent"))
    assert other != first
    assert fingerprint(ConfluentRegistry(url).schema_by_id(other)) == fingerprint(schema("RecordingEvent"))


def test_a_schema_is_asked_for_once() -> None:
    with registry_server() as url:
        registry = ConfluentRegistry(url)
        number = registry.register("a-value", schema("Message"))
        found = registry.schema_by_id(number)
    assert registry.schema_by_id(number) is found, "the registry is away, and not asked"


def test_an_id_that_nobody_registered_is_an_unknown_schema(url: str) -> None:
    with pytest.raises(UnknownSchemaError, match="schema id 9"):
        ConfluentRegistry(url).schema_by_id(9)


def test_a_registry_that_is_away_or_ill_makes_no_schema_unknown() -> None:
    """The record is not to blame: it goes through when the registry is back."""
    with registry_server() as gone:
        pass
    with registry_server(ill=True) as ill:
        for at in (gone, ill):
            registry = ConfluentRegistry(at)
            with pytest.raises(RegistryAwayError, match=rf"no schema registry answers at {at}"):
                registry.schema_by_id(1)
            with pytest.raises(RegistryAwayError, match="TAPELINE_REGISTRY"):
                registry.register("a-value", schema("Message"))
