"""Websockets' shell: what of it needs no socket."""

from ingest.bounded import COMPRESSED_SLICE_BYTES
from ingest.config import Limits
from ingest.connection import connection_options, protocol_options


def test_the_limits_reach_the_connection() -> None:
    limits = Limits(max_message_bytes=10, ping_interval_s=3, ping_timeout_s=4)
    assert protocol_options(limits)["max_size"] == 10
    options = connection_options(limits)
    assert (options["ping_interval"], options["ping_timeout"], options["stall_s"]) == (3, 4, 4)


def test_messages_are_compressed_only_where_that_is_asked_for() -> None:
    assert protocol_options(Limits())["extensions"] is None
    (extension,) = protocol_options(Limits(compression=True))["extensions"]
    assert extension.server_max_window_bits == 11


def test_a_slice_of_compressed_messages_inflates_to_no_more_than_a_message_may_have() -> None:
    limits = Limits(compression=True)
    assert connection_options(limits)["slice_bytes"] == COMPRESSED_SLICE_BYTES
    assert 1.1 * limits.max_message_bytes > 1032 * COMPRESSED_SLICE_BYTES, "deflate makes 1032 bytes of one"
