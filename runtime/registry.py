"""A Confluent-compatible schema registry, over HTTP: it keeps nobody waiting, and services wait for it."""

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import fastavro
from fastavro.schema import SchemaParseException
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_exponential

from runtime.registry_config import RegistryConfig, RegistryConfigError
from runtime.waiting import Waiting
from schemas.codec import Writer
from schemas.errors import TapelineError, UnknownSchemaError
from schemas.registry import Registry
from schemas.schema import schema, without
from schemas.topics import Topic

T = TypeVar("T")

#: Before a request that failed is sent again, by the client itself, and how often that is done.
_RETRY_MS, _RETRIES = 100, 2
#: Confluent's code for "Schema not found"; another 404 is a proxy's, or some other server's.
_SCHEMA_NOT_FOUND = 40403
#: A service asks for so long before it believes that a schema is not known: the copies of a registry lag
#: behind the one that registers.
LAG_S = 10.0
_ASK_AGAIN_S = 0.5
#: What was not known is asked for again after so long.
_FORGET_UNKNOWN_S = 60.0
_UNKNOWN_IDS = 10_000
#: The longest pause before a service asks again.
_LONGEST_PAUSE_S = 5.0
_LONGEST_REASON = 300


class RegistryAwayError(TapelineError, ConnectionError):
    """No schema registry answers, or it refuses. A ConnectionError: that is no fault of the record."""

    def __init__(self, config: RegistryConfig, reason: str) -> None:
        super().__init__(
            f"no schema registry answers as it should at {config} (TAPELINE_REGISTRY): "
            f"{reason.replace(config.bare_url, str(config))[:_LONGEST_REASON]}"
        )


class ConfluentRegistry:
    """The registry at a URL, by confluent-kafka's own client. A schema that it told is asked for once."""

    def __init__(self, config: RegistryConfig, lag_s: float = 0.0) -> None:
        """``lag_s``: how long it is asked for a schema before that counts as unknown.

        Raise RegistryConfigError.
        """
        # Imported here: it brings an HTTP stack that nobody without a registry needs.
        from confluent_kafka.schema_registry import AsyncSchemaRegistryClient

        self._config = config
        self._lag_s = lag_s
        try:
            self._client = AsyncSchemaRegistryClient(_client_options(config))
        except (OSError, ssl.SSLError, ValueError) as error:
            raise RegistryConfigError(
                f"the schema registry's settings (TAPELINE_REGISTRY, _CA, _CERTIFICATE, _KEY) cannot be "
                f"used: {error}"
            ) from error
        self._by_id: dict[int, Any] = {}
        self._unknown: dict[int, tuple[float, str]] = {}
        """Until when an id is taken for unknown, and what the registry said."""

    async def register(self, subject: str, parsed: Any) -> int:
        """Return the id of the schema under the subject, registering it if need be, and allowed.

        Raise RegistryAwayError.
        """
        from confluent_kafka.schema_registry import Schema

        asked = Schema(json.dumps(parsed), "AVRO")
        async with self._answering(f"the schema of {subject}"):
            if self._config.lookup_only:
                found = (await self._client.lookup_schema(subject, asked)).schema_id
            else:
                found = await self._client.register_schema(subject, asked)
        if not isinstance(found, int):
            raise RegistryAwayError(self._config, f"it tells no id for the schema of {subject}")
        return found

    async def schema_by_id(self, schema_id: int) -> Any:
        """Return the parsed schema of an id, without its logical types.

        Raise UnknownSchemaError for an id that the registry does not know, else RegistryAwayError.
        """
        if schema_id not in self._by_id:
            until_s, said = self._unknown.get(schema_id, (0.0, ""))
            if time.monotonic() < until_s:
                raise UnknownSchemaError(said)
            text = await self._text(schema_id)
            try:
                parsed = without(json.loads(text), lambda key: key == "logicalType")
                self._by_id[schema_id] = fastavro.parse_schema(parsed)
            except (SchemaParseException, TypeError, ValueError) as error:
                raise UnknownSchemaError(f"schema id {schema_id} is no Avro: {error!r}") from error
        return self._by_id[schema_id]

    async def _text(self, schema_id: int) -> str:
        from confluent_kafka.schema_registry.error import SchemaRegistryError

        give_up_s = time.monotonic() + self._lag_s
        while True:
            async with self._answering(f"schema id {schema_id}"):
                try:
                    text = (await self._client.get_schema(schema_id)).schema_str
                except SchemaRegistryError as error:
                    if error.error_code != _SCHEMA_NOT_FOUND:
                        raise
                    text = None
                    said = f"schema id {schema_id}: {error}"
                else:
                    if not isinstance(text, str):
                        raise RegistryAwayError(self._config, f"it tells nothing of schema id {schema_id}")
                    return text
            if time.monotonic() >= give_up_s:
                if len(self._unknown) >= _UNKNOWN_IDS:
                    self._unknown.clear()
                self._unknown[schema_id] = time.monotonic() + _FORGET_UNKNOWN_S, said
                raise UnknownSchemaError(said)
            await asyncio.sleep(_ASK_AGAIN_S)

    @asynccontextmanager
    async def _answering(self, what: str) -> AsyncIterator[None]:
        """Raise RegistryAwayError for what the client raises: refusals, and what its HTTP library raises."""
        from confluent_kafka.schema_registry.error import SchemaRegistryError

        timeout_s = self._config.timeout_s
        try:
            # The HTTP library's own bounds hold for each piece of an answer.
            async with asyncio.timeout(timeout_s):
                yield
        except (RegistryAwayError, MemoryError):
            raise
        except TimeoutError as error:
            reason = f"no answer within {timeout_s:g} s (TAPELINE_REGISTRY_TIMEOUT_S)"
            raise RegistryAwayError(self._config, reason) from error
        except SchemaRegistryError as error:
            said = (
                f"asked for {what}, it says {error.error_message}"
                if error.error_code != -1
                else (f"asked for {what}, it answers with something else than JSON")
            )
            reason = f"{said} (HTTP status {error.http_status_code})"
            raise RegistryAwayError(self._config, reason) from error
        except ValueError as error:
            reason = f"asked for {what}, it answers with something else than JSON"
            raise RegistryAwayError(self._config, reason) from error
        except Exception as error:  # which library that is differs between the client's versions
            raise RegistryAwayError(self._config, str(error) or repr(error)) from error


def _client_options(config: RegistryConfig) -> dict[str, Any]:
    """Return the registry's settings as its client takes them; a password is in no URL of it."""
    options: dict[str, Any] = {
        "url": config.bare_url,
        "timeout": config.timeout_s,
        "max.retries": _RETRIES,
        "retries.wait.ms": _RETRY_MS,
    }
    if config.credentials is not None:
        options["basic.auth.user.info"] = ":".join(config.credentials)
    files = {"ca": config.ca, "certificate": config.certificate, "key": config.key}
    if config.certificate is not None:
        options["ssl.key.password"] = ""  # else OpenSSL asks the terminal for that of an encrypted key
    return options | {f"ssl.{name}.location": str(path) for name, path in files.items() if path is not None}


def registry_from(config: RegistryConfig | None, lag_s: float = 0.0) -> Registry | None:
    """Return the registry, or None without one. Raise RegistryConfigError."""
    return ConfluentRegistry(config, lag_s) if config is not None else None


async def writer_for(topic: Topic, registry: Registry | None) -> Writer:
    """Return the writer of a topic, its schema registered. Raise an OSError when the registry is away."""
    assert topic.record, f"{topic.name} holds raw bytes"
    if registry is None:
        return Writer(topic)
    return Writer(topic, await registry.register(f"{topic.name}-value", schema(topic.record)))


async def while_registry_away(operation: Callable[[], Awaitable[T]], waiting: Waiting) -> T:
    """Return what an operation returns; while the registry is away or refuses, try it again, for ever."""

    def failed(state: RetryCallState) -> None:
        waiting.failed(state.outcome.exception() if state.outcome else "")

    async for attempt in AsyncRetrying(
        retry=retry_if_exception_type(RegistryAwayError),
        wait=wait_exponential(1, max=_LONGEST_PAUSE_S),
        before_sleep=failed,
    ):
        with attempt:
            result = await operation()
            waiting.answered()
            return result
    raise AssertionError("retrying ends with a result or an error")
