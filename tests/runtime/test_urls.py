"""URLs without what is secret in them."""

import pytest

from runtime.urls import without_secrets


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("ws://127.0.0.1:8765", "ws://127.0.0.1:8765"),
        ("wss://calls.example.com/", "wss://calls.example.com"),
        ("wss://calls.example.com/?token=SECRET", "wss://calls.example.com/…"),
        ("wss://calls.example.com/calls/SECRET", "wss://calls.example.com/…"),
        ("ws://user:SECRET@[::1]:80/#SECRET", "ws://[::1]:80/…"),
        ("http://SECRET@host:99999", "…"),
        ("SECRET", "…"),
        ("ws:SECRET", "…"),
        ("//[SECRET", "…"),
    ],
)
def test_scheme_and_host_are_told_and_no_more(url: str, told: str) -> None:
    assert without_secrets(url) == told
