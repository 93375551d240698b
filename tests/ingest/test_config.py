"""The gateway's settings, and what the server makes of them."""

import subprocess
import sys

HEAVY = ("websockets", "aiokafka", "aiohttp", "asyncio", "confluent_kafka")


def test_settings_are_read_without_a_server() -> None:
    code = f"import sys, ingest.config; print(sorted(set({HEAVY}) & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
