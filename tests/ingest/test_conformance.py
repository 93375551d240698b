"""RFC 6455 and 7692, by the Autobahn cases, against the gateway's front as a process, plain and with TLS.

The whole of section 12 and 13 (compression) takes five minutes; here it is its smallest messages:
``python -m benchmarks conformance`` runs every case.
"""

from pathlib import Path

import pytest

from benchmarks.conformance import echoing, failed, results, through_tls

EXPECTED = {
    # After a close frame, websockets does not look at what comes: the case wants the second fragment of
    # a message, sent after the close, to change the close code.
    "7.1.5",
    # 4 MiB in more than 4096 fragments: websockets' own bound, which keeps a message of tiny fragments
    # from costing many times its size.
    *("9.3.1", "9.3.2", "9.4.1", "9.4.2"),
}


@pytest.mark.timeout(150)
async def test_every_case_without_compression() -> None:
    async with echoing() as port:
        found = await results(port, exclude_cases=["12.*", "13.*"])
    assert len(found) > 200
    assert failed(found) == EXPECTED


async def test_compression_on_small_messages() -> None:
    cases = [f"{section}.{number}" for section in ("12.1", "12.2", "13.1", "13.3") for number in range(1, 5)]
    chosen = [*cases, *(f"12.{n}.1" for n in range(3, 6)), *(f"13.{n}.1" for n in range(2, 8)), "1.1.*"]
    async with echoing("--compression") as port:
        found = await results(port, cases=chosen)
    assert len(found) > 30
    assert failed(found) == set()


async def test_tls_on_all_but_large_messages(tmp_path: Path) -> None:
    async with through_tls(tmp_path) as port:
        found = await results(port, exclude_cases=["9.*", "12.*", "13.*"])
    assert len(found) > 150
    assert failed(found) <= EXPECTED
