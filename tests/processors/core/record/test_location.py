"""Where recordings lie, and where they are looked for."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from processors.core.record.location import (
    further,
    location,
    locations,
    of_another_log,
    of_its_own,
    parts_location,
)
from schemas.identity import LogIdentity, StreamIdentity

DAY_MS = 86_400_000
STREAM = StreamIdentity(None, 5, 17)


@pytest.mark.usefixtures("far_from_utc")
def test_the_place_has_the_date_in_utc_wherever_the_worker_stands() -> None:
    assert location(0, STREAM) == "date=1970-01-01/stream=5"
    assert location(DAY_MS - 1, STREAM) == "date=1970-01-01/stream=5"
    assert location(DAY_MS, STREAM) == "date=1970-01-02/stream=5"


def test_senders_and_incarnations_and_logs_have_places_of_their_own() -> None:
    place = location(0, StreamIdentity("acme", 5, 17))
    assert place == "date=1970-01-01/sender=acme/stream=5"
    assert further(place, STREAM) == f"{place}/from=17"
    assert of_another_log(place, STREAM, LogIdentity("c", "a_Topic-1")) == f"{place}/log=a_Topic-1-17"
    assert parts_location(0, StreamIdentity("acme", 5, 17)) == f"{place}/from=17"


@given(st.text())
@example("a/b")
def test_whatever_a_sender_or_a_cluster_is_called_its_place_is_one_folder(name: str) -> None:
    assert location(0, StreamIdentity(name, 5, 17)).count("/") == 2
    beside = of_its_own(location(0, STREAM), STREAM, LogIdentity(name, "t"), 3)
    folder, _, last = beside.rpartition("/")
    assert folder == location(0, STREAM)
    assert last.startswith("log=")
    assert last.endswith("-t-3-17")


def test_one_that_continues_another_lies_in_its_folder() -> None:
    place = location(0, STREAM, continues=True)
    assert place == "date=1970-01-01/stream=5/from=17"
    assert further(place, STREAM) == place
    assert of_another_log(place, STREAM, LogIdentity("c", "t")) == "date=1970-01-01/stream=5/log=t-17"
    assert locations(place, 0) == locations(location(0, STREAM), 0)


@pytest.mark.parametrize(
    ("last_ms", "days"),
    [
        (0, ["2026-02-28", "2026-03-01"]),
        (1_772_323_200_000, ["2026-02-28", "2026-03-01"]),
        (1_772_323_200_000 + DAY_MS, ["2026-02-28", "2026-03-01", "2026-03-02"]),
        (10**15, ["2026-02-28", *(f"2026-03-{day:02}" for day in range(1, 10))]),
    ],
)
def test_a_recording_is_looked_for_from_the_day_before_to_the_last(last_ms: int, days: list[str]) -> None:
    """Its first record may be gone; and however long it went on, not for ever."""
    for rest in ("stream=5", "sender=acme/stream=5"):
        assert locations(f"date=2026-03-01/{rest}", last_ms) == [f"date={day}/{rest}" for day in days]
    assert locations("date=0001-01-01/stream=5", last_ms)[0] == "date=0001-01-01/stream=5"
    assert locations("date=9999-12-31/stream=5", last_ms)[-1] == "date=9999-12-31/stream=5"
