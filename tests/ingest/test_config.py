"""The gateway's settings, and what the server makes of them."""

import subprocess
import sys

from ingest.config import Limits, server_options

HEAVY = ("websockets", "aiokafka", "aiohttp", "asyncio", "confluent_kafka")


def test_settings_are_read_without_a_server() -> None:
    code = f"import sys, ingest.config; print(sorted(set({HEAVY}) & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


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
