"""A connection without a socket."""

from ingest.config import Limits
from ingest.protocol import Accepted
from ingest.session import Rejection, Session
from schemas.dead_letter import parse_headers


def test_a_message_passes_and_counts() -> None:
    session = Session("c")
    accepted = session.receive('{"stream_id":1,"type":"init_stream"}', 9)
    assert isinstance(accepted, Accepted)
    assert accepted.record["received_at"] == 9
    assert accepted.record["connection"] == "c"
    assert (session.frames, session.rejected, session.open_streams) == (1, 0, {1})


def test_the_times_of_a_connection_rise_even_where_the_clock_steps_back() -> None:
    session = Session("c")
    times = []
    for now_us in (100, 100, 7, 101, 500):
        accepted = session.receive('{"stream_id":1,"type":"init_stream"}', now_us)
        assert isinstance(accepted, Accepted)
        times.append(accepted.record["received_at"])
    assert times == [100, 101, 102, 103, 500]


def test_a_stream_is_open_until_its_end() -> None:
    session = Session("c")
    session.receive('{"stream_id":1,"type":"init_stream"}', 0)
    session.receive('{"stream_id":1,"type":"end_stream"}', 0)
    assert session.open_streams == set()


def test_a_connection_is_idle_when_nothing_came_for_long_and_no_stream_is_open() -> None:
    session = Session("c", last_frame_us=5)
    assert [session.is_idle(since) for since in (5, 6)] == [False, True]
    session.receive('{"stream_id":1,"type":"x"}', 7)
    assert not session.is_idle(10**9), "a call may be held"
    session.receive('{"stream_id":1,"type":"end_stream"}', 8)
    assert [session.is_idle(since) for since in (8, 9)] == [False, True]


def test_garbage_becomes_a_dead_letter_with_its_bytes() -> None:
    session = Session("c")
    rejection = session.receive("{nonsense", 0)
    assert isinstance(rejection, Rejection)
    assert rejection.value == b"{nonsense"
    assert rejection.stream_id is None
    assert session.rejected == 1


def test_a_session_lives_on_after_garbage() -> None:
    session = Session("c")
    session.receive("{nonsense", 0)
    assert isinstance(session.receive('{"stream_id":1,"type":"x"}', 0), Accepted)


def test_a_heartbeat_that_is_no_message_ends_no_call() -> None:
    session = Session("c", limits=Limits(max_dead_letters_per_connection=3))
    for second in range(0, 36_000, 31):
        assert isinstance(session.receive('{"type":"ping"}', second * 1_000_000), Rejection)
        assert not session.over_error_budget


def test_too_many_unusable_messages_within_a_minute_are_too_many() -> None:
    session = Session("c", limits=Limits(max_dead_letters_per_connection=3))
    over = []
    for second in (0, 30, 60, 70, 80, 200):
        session.receive("no", 1 + second * 1_000_000)
        over.append(session.over_error_budget)
    assert over == [False, False, False, True, True, False]


def test_what_comes_behind_an_end_is_taken_and_opens_nothing() -> None:
    session = Session("c")
    for number in range(1000):
        for kind in ("init_stream", "end_stream", "x"):
            assert isinstance(session.receive(f'{{"stream_id":{number},"type":"{kind}"}}', 0), Accepted)
    assert session.open_streams == set()


def test_dead_letters_use_the_header_names_of_kafka_connect() -> None:
    rejection = Session("c").receive("[]", 0)
    assert isinstance(rejection, Rejection)
    headers = dict(rejection.letter.headers())
    assert headers["__connect.errors.exception.class.name"] == b"NotAnObject"
    assert headers["__connect.errors.stage"] == b"VALUE_CONVERTER"
    assert headers["__connect.errors.connector.name"] == b"tapeline-gateway"
    assert b"JSON object" in headers["__connect.errors.exception.message"]
    assert parse_headers(list(headers.items())) == rejection.letter


def test_an_oversized_message_leaves_a_trace_that_says_the_limit() -> None:
    rejection = Session("c", limits=Limits(max_message_bytes=1024)).receive_oversized(
        "over size limit (20000000 > 1024 bytes)"
    )
    assert rejection.value == b""
    assert rejection.letter.reason == "FrameTooLarge"
    assert "20000000" in rejection.letter.detail
    assert "TAPELINE_MAX_MESSAGE_BYTES" in rejection.letter.detail
