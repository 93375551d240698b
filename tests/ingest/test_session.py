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
