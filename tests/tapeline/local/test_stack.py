"""The local stack: a part that ends by itself is told with the end of its log."""

import asyncio
from pathlib import Path

import pytest

from tapeline.local.stack import Stack, StackError


async def test_a_part_that_ends_is_named_with_its_last_words(tmp_path: Path) -> None:
    stack = Stack(tmp_path)
    stack.check()
    await stack.start("odd", "worker", "transcribe")
    try:
        await asyncio.wait_for(stack.processes["odd"].wait(), 30)
        with pytest.raises(StackError, match=r"odd ended with status 1; .*no agent is called 'transcribe'"):
            stack.check()
    finally:
        await stack.stop_all()


def test_each_stack_has_ports_of_its_own(tmp_path: Path) -> None:
    one, other = Stack(tmp_path), Stack(tmp_path, kafka_port=9092)
    assert one.kafka_port != one.listen_port
    assert other.kafka == "127.0.0.1:9092"
    assert one.environment["TAPELINE_KAFKA"] == str(one.cluster)
    assert one.url.endswith(f":{one.listen_port}")
