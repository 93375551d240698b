"""How much structure JSON text may have, and which text every parser takes."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.structure import (
    MAX_DEPTH,
    MAX_ITEMS,
    MAX_NUMBER_CHARACTERS,
    MAX_STRING_BYTES,
    excess,
    is_portable,
    spelled_out,
    unreadable,
)


def nested(depth: int, opening: str = '{"a":', closing: str = "}") -> bytes:
    return (opening * depth + "1" + closing * depth).encode()


#: What is at a bound, what is one beyond, and what is said of that.
BOUNDS = {
    "items": (b"[" + b"1," * (MAX_ITEMS - 2) + b"1]", b"[" + b"1," * MAX_ITEMS + b"1]", "16385"),
    "keys": (
        json.dumps({f"k{n}": n for n in range(MAX_ITEMS)}).encode(),
        json.dumps({f"k{n}": n for n in range(MAX_ITEMS + 1)}).encode(),
        "16385 keys",
    ),
    "keys that are the same": (b"{}", b"{" + b'"a":1,' * MAX_ITEMS + b'"a":1}', "16385"),
    "objects": (nested(MAX_DEPTH), nested(MAX_DEPTH + 1), "101 deep"),
    "arrays": (nested(MAX_DEPTH, "[", "]"), nested(970, "[", "]"), "970 deep"),
    "behind a key that comes again": (
        b'{"a":' + nested(MAX_DEPTH - 1) + b',"a":1}',
        b'{"a":' + nested(MAX_DEPTH) + b',"a":1}',
        "101 deep",
    ),
    "a string": (
        json.dumps(["x" * MAX_STRING_BYTES]).encode(),
        json.dumps(["x" * (MAX_STRING_BYTES + 1)]).encode(),
        "131073 bytes",
    ),
    "a key": (b"{}", json.dumps({"x" * 140_000: 1}).encode(), "140000 bytes"),
    "a string of letters beyond ASCII": (
        '"{}"'.format("İ" * 65_536).encode(),
        '"{}"'.format("İ" * 524_000).encode(),
        "1048000",
    ),
    "an integer": (b"1" * MAX_NUMBER_CHARACTERS, b"1" * 5_000, "5000 characters"),
    "a fraction": (b"0." + b"1" * 126, b"[0." + b"1" * 127 + b"]", "129 characters"),
}


@pytest.mark.parametrize(("within", "beyond", "said"), BOUNDS.values(), ids=BOUNDS)
def test_each_bound_is_told_with_the_value(within: bytes, beyond: bytes, said: str) -> None:
    assert excess(within) is None
    assert is_portable(within)
    told = excess(beyond)
    assert told
    assert said in told
    assert "at most" in told


TEXTS = st.text() | st.sampled_from(['"', "\\", '\\"', "[{", "1" * 200, "\\\\", "a,b:[c]"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


def counted(value: Any) -> int:
    inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    return len(inner) + sum(counted(one) for one in inner)


@given(value=JSON, ascii_only=st.booleans())
@example(value=["]" * MAX_DEPTH + "[" * 200], ascii_only=True)
@example(value=[",:{" * MAX_ITEMS], ascii_only=True)
def test_what_stands_in_strings_is_no_structure(value: Any, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only).encode(errors="replace")
    assert excess(text) is None


@given(value=JSON, copies=st.integers(1, 400))
def test_items_are_counted_wherever_they_are(value: Any, copies: int) -> None:
    text = json.dumps([value] * copies).encode()
    if counted([value] * copies) > MAX_ITEMS:
        assert excess(text)
    elif not excess(text):
        assert text.count(b",") < 2 * MAX_ITEMS or b'"' in text


@given(text=st.binary())
def test_any_bytes_can_be_measured(text: bytes) -> None:
    excess(text)
    is_portable(text)


@pytest.mark.parametrize(
    "text",
    [
        b"1e400",
        b'{"limit":-1e400}',
        b"1" * 100 + b"e300",
        b'"\\ud800"',
        b'["\\udc00"]',
        b'{"\\ud800\\u0041":1}',
        b'"\xed\xa0\x80"',
        b'"\xff"',
        b"NaN",
        b"{",
        b"",
        b"1 2",
        nested(970),
        nested(100_000),
    ],
)
def test_what_some_parser_stumbles_over_is_not_portable(text: bytes) -> None:
    assert not is_portable(text)
    assert unreadable(text)


@given(value=JSON)
def test_portable_text_is_taken_by_other_parsers(value: Any) -> None:
    text = json.dumps(value).encode()
    if is_portable(text):
        assert msgspec.json.decode(text) == json.loads(text)


ESCAPES = (r"\ud83d", r"\uDE00", r"\u00e9", r"\\", r"\"", "ud83d", r"\n", "x", "😀", r"\ud83d\ude00")


@given(st.lists(st.sampled_from(ESCAPES)))
def test_half_of_a_surrogate_pair_becomes_its_six_characters(pieces: list[str]) -> None:
    sent = '"' + "".join(pieces) + '"'
    said = msgspec.json.decode(spelled_out(sent.encode()), type=str)
    whole = json.loads(sent)
    for half in (0xD83D, 0xDE00):
        whole = whole.replace(chr(half), rf"\u{half:04x}")
    assert said.lower() == whole.lower()
    assert (said == json.loads(sent)) == (spelled_out(sent.encode()) == sent.encode())
