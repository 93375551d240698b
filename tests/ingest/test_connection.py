"""Websockets' shell: what of it needs no socket."""

from ingest.config import Limits
from ingest.connection import server_options


def test_the_limits_reach_the_server() -> None:
    options = server_options(
        Limits(max_message_bytes=10, open_timeout_s=2, ping_interval_s=3, ping_timeout_s=4)
    )
    chosen = {key: options[key] for key in ("max_size", "open_timeout", "ping_interval", "ping_timeout")}
    assert chosen == {"max_size": 10, "open_timeout": 2, "ping_interval": 3, "ping_timeout": 4}


def test_messages_are_compressed_only_where_that_is_asked_for() -> None:
    assert server_options(Limits())["extensions"] is None
    (extension,) = server_options(Limits(compression=True))["extensions"]
    assert extension.server_max_window_bits == 11
