"""How much structure JSON text from outside may have. Pure.

What a sender says beyond the fields that we know is carried as text, and decoded in the end by parsers that
nobody chose with that sender in mind: a parser's stack, a warehouse's column, a double. So text is measured
before anything is made of it, by a few passes at C speed over the bytes, never by a walk over values. Bounds
are far above what a call's metadata needs, and below what the parsers in wide use take.
"""

import re
from itertools import accumulate

import msgspec

#: Keys and items in all, those of 256 KiB with 16 bytes each. An empty array or object counts as one more.
MAX_ITEMS = 16_384
#: Objects and arrays in each other. MySQL's JSON and protobuf's parser take 100, serde_json 128, PHP 512,
#: Python's own a few hundred, depending on who calls it.
MAX_DEPTH = 100
#: Bytes of a string or key, as sent. A long prompt is within, escaped letter by letter; a file is not.
MAX_STRING_BYTES = 131_072
#: Characters of a number. 256 bits have 78 digits; Python refuses integers of more than 4,300.
MAX_NUMBER_CHARACTERS = 128

_BRACKETS = b"[]{}"
#: Leaves brackets alone, for the depth.
_OTHERS = bytes(set(range(256)) - set(_BRACKETS))
#: Leaves literals, for their lengths.
_BETWEEN_LITERALS = bytes.maketrans(b"[]{}:,", b"      ")

_decode = msgspec.json.decode


def excess(text: bytes) -> str | None:
    """Return in words which bound a JSON text is beyond, with its value and the bound; None for none.

    Of what is no JSON, it measures something.
    """
    strings, outside = _parted(text)
    items = outside.count(b",") + outside.count(b"[") + outside.count(b"{")
    if items > MAX_ITEMS:
        return f"it has {items} keys and items; at most {MAX_ITEMS} are taken"
    depth = _depth(outside)
    if depth > MAX_DEPTH:
        return f"its objects and arrays are {depth} deep; at most {MAX_DEPTH} are taken"
    longest = max(map(len, strings), default=0)
    if longest > MAX_STRING_BYTES:
        return f"a string in it has {longest} bytes; at most {MAX_STRING_BYTES} are taken"
    number = max(map(len, outside.translate(_BETWEEN_LITERALS).split()), default=0)
    if number > MAX_NUMBER_CHARACTERS:
        return f"a number in it has {number} characters; at most {MAX_NUMBER_CHARACTERS} are taken"
    return None


def _parted(text: bytes) -> tuple[list[bytes], bytes]:
    """Return the strings and keys of a JSON text, each as long as it was sent, and what is outside them."""
    if b"\\" in text:  # then no escape is left that could hide where a string ends
        text = text.replace(b"\\\\", b"..").replace(b'\\"', b"..")
    parts = text.split(b'"')  # what is odd is a string, what is even is not
    return parts[1::2], b"".join(parts[::2])


def _depth(outside: bytes) -> int:
    """Return how many objects and arrays are in each other, of a text without its strings; or a few more."""
    opened = outside.count(b"[") + outside.count(b"{")
    if opened <= MAX_DEPTH:
        return opened  # mostly
    brackets = outside.translate(None, _OTHERS)
    return max(accumulate(1 if bracket in b"[{" else -1 for bracket in brackets))


#: An escape of JSON (RFC 8259, section 7); in the group, one of half of a surrogate pair.
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)


def spelled_out(text: bytes) -> bytes:
    """Return a JSON text in which the escape of half of a surrogate pair is none, but its six characters.

    JavaScript, Java and Python write such strings where a text was cut in the middle of an emoji. They are no
    Unicode: Avro and most parsers take none.
    """
    if b"\\ud" not in text and b"\\uD" not in text:
        return text
    return _ESCAPE.sub(lambda escape: b"\\\\" + escape[1] if escape[1] else escape[0], text)


def unreadable(text: bytes) -> str | None:
    """Return why some parser would stumble over a text of JSON that is not in ``excess``; None for none.

    It is no JSON or no UTF-8, or has a number beyond a double, or half of a surrogate pair.
    """
    try:
        _decode(text)
    except RecursionError:
        return "JSON nested too deeply"
    except ValueError as error:
        return str(error)
    return None


def is_portable(text: bytes) -> bool:
    """Return whether any JSON parser in wide use takes a text, so that it may stand in JSON of ours as it is.

    Text that the gateway took is. What other producers wrote, or earlier versions, may not be.
    """
    return _depth(_parted(text)[1]) <= MAX_DEPTH and unreadable(text) is None
