"""Tokens: what lets in, what does not, and that nothing of them is told."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import token_of

from ingest.auth import (
    Standing,
    Token,
    TokensError,
    given_tokens,
    new_token,
    parse_tokens,
    standing,
    valid_token,
)

SECRET, ENTRY = token_of("voxology")
(TOKEN,) = parse_tokens(ENTRY)


def sender_of(tokens: list[Token], given: list[str], now_s: float) -> str | None:
    found = valid_token(tokens, given, now_s)
    return found and found.sender


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize(
    ("path", "authorizations"),
    [
        ("/", [f"Bearer {SECRET}"]),
        ("/", [f"bearer {SECRET}"]),
        ("/", [basic("anybody", SECRET)]),
        ("/", [basic("", SECRET)]),
        (f"/?token={SECRET}", []),
        (f"/calls?x=1&token={SECRET}", []),
        (f"/{SECRET}", []),
        (f"/calls/{SECRET}", []),
        (f"/calls/{SECRET}/", []),
        (f"/{SECRET}/?x=1", []),
        (f"//{SECRET}", []),
        (f"///{SECRET}//", []),
        (f"//host/{SECRET}", []),
        (f"http://host/{SECRET}", []),
        (f"wss://host/?token={SECRET}", []),
        ("/" + "".join(f"%{ord(letter):02x}" for letter in SECRET), []),
        (f"//[bad?token={SECRET}", []),
        ("/", ["Basic " + base64.b64encode(b"M\xfcller:" + SECRET.encode()).decode()]),
        ("/", ["Bearer wrong", f"Bearer {SECRET}"]),
    ],
)
def test_a_token_is_taken_in_each_of_its_ways(path: str, authorizations: list[str]) -> None:
    assert sender_of([TOKEN], given_tokens(path, authorizations), 0) == "voxology"


@pytest.mark.parametrize(
    ("path", "authorizations"),
    [
        ("/", []),
        ("/", [""]),
        ("/", ["Bearer"]),
        ("/", ["Bearer wrong"]),
        ("/", [f"Bearer {SECRET[:-1]}"]),
        ("/", [f"Bearer {SECRET}x"]),
        ("/", [f"Digest {SECRET}"]),
        ("/", [basic(SECRET, "")]),
        ("/", ["Basic !!!"]),
        ("/", ["Basic " + base64.b64encode(b"\xff\xfe").decode()]),
        (f"/?Token={SECRET}", []),
        (f"/{SECRET}/x", []),
        ("/?" + "&".join(["token=x"] * 50), []),
        ("//[bad", []),
        ("/" + "x" * 10_000, []),
    ],
)
def test_anything_else_is_not(path: str, authorizations: list[str]) -> None:
    assert sender_of([TOKEN], given_tokens(path, authorizations), 0) is None


@given(path=st.text(), authorization=st.text())
def test_no_handshake_breaks_it(path: str, authorization: str) -> None:
    assert sender_of([TOKEN], given_tokens(path, [authorization]), 0) is None


def test_several_tokens_of_one_sender_are_valid_at_once() -> None:
    other, entry = new_token("voxology")
    tokens = [TOKEN, *parse_tokens(entry)]
    assert sender_of(tokens, [SECRET], 0) == sender_of(tokens, [other], 0) == "voxology"


def test_a_token_expires() -> None:
    (token,) = parse_tokens(ENTRY + "expires = 2026-01-01T00:00:00Z\n")
    assert token.expires_at == 1_767_225_600
    assert sender_of([token], [SECRET], 1_767_225_599) == "voxology"
    assert sender_of([token], [SECRET], 1_767_225_600) is None


def test_what_has_become_of_a_token() -> None:
    expiring = parse_tokens(ENTRY + "expires = 2026-01-01T00:00:00Z\n")
    before, after = 1_767_225_599, 1_767_225_600
    assert standing(TOKEN, [TOKEN], after) is Standing.VALID
    assert standing(TOKEN, expiring, before) is Standing.VALID
    assert standing(TOKEN, expiring, after) is Standing.EXPIRED
    assert standing(TOKEN, [*expiring, TOKEN], after) is Standing.VALID
    assert standing(TOKEN, [], after) is Standing.REMOVED
    assert standing(TOKEN, parse_tokens(new_token("voxology")[1]), after) is Standing.REMOVED
    other = [Token("other", TOKEN.sha256)]
    assert standing(TOKEN, other, after) is Standing.REMOVED, "its streams would be another sender's"


@pytest.mark.parametrize("name", ["a b", 'a"b', "a/b", "", "x" * 65, "ü", "a\\nb", "a\n"])
def test_a_sender_whose_name_cannot_stand_in_a_path_is_refused(name: str) -> None:
    with pytest.raises(TokensError, match="1 to 64 of"):
        new_token(name)
    _, entry = new_token("someone")
    with pytest.raises(TokensError, match="token 1"):
        parse_tokens(
            entry.replace("someone", name.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n"))
        )


def test_the_file_holds_no_token() -> None:
    assert SECRET not in ENTRY


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("token = 3", "no list of tables"),
        ("[token]\nsender = 'v'", "no list of tables"),
        ("token = ['x']", "token 1 is no table"),
        ("[[tokens]]", "it has 'tokens'; known"),
        ("[[token", "not TOML"),
        (ENTRY + "expires = 2027-01-31", "expires must be a date and time, as 2027"),
        ("[[token]]\nsha256 = '00'", "token 1 has no sender"),
        ("[[token]]\nsender = 'v'", "needs a sha256 of 64"),
        ("[[token]]\nsender = 'v'\nsha256 = 'xyz'", "needs a sha256 of 64"),
        (ENTRY + "expires = 'soon'", "expires must be a date"),
        (ENTRY + "until = 3", "token 1 has until"),
    ],
)
def test_a_broken_file_says_which_entry_and_why(text: str, said: str) -> None:
    with pytest.raises(TokensError, match=said):
        parse_tokens(text)


@pytest.mark.parametrize("changed", ["\ufeff{}", "{}\r\n", "# none\r\n{}# more"])
def test_editors_may_leave_their_marks(changed: str) -> None:
    text = ENTRY.replace("\n", "\r\n") if "\r" in changed else ENTRY
    assert parse_tokens(changed.format(text)) == [TOKEN]


def test_a_token_is_of_one_sender() -> None:
    assert parse_tokens(ENTRY + ENTRY) == [TOKEN, TOKEN]
    with pytest.raises(TokensError, match="token 2 of east is one of voxology too"):
        parse_tokens(ENTRY + ENTRY.replace("voxology", "east"))


@pytest.mark.parametrize("text", ["", "\ufeff", "\n# none yet\n", "token = []"])
def test_a_list_may_be_empty(text: str) -> None:
    assert parse_tokens(text) == []


def test_a_syntax_error_tells_where_and_nothing_of_what_stands_there() -> None:
    with pytest.raises(TokensError, match=r"a syntax error \(at line 2, column \d+\)") as error:
        parse_tokens(f"[[token]]\nsender = {SECRET}")
    assert SECRET[:3] not in str(error.value)


@pytest.mark.parametrize("said", ["2027-01-31T23:00:00Z", "2027-01-31 23:00:00", "2027-02-01T00:00:00+01:00"])
def test_a_time_without_an_offset_is_in_utc(said: str) -> None:
    (token,) = parse_tokens(f"{ENTRY}expires = {said}\n")
    assert token.expires_at == 1_801_436_400


def test_an_error_tells_nothing_of_a_hash() -> None:
    with pytest.raises(TokensError) as error:
        parse_tokens(ENTRY.replace("sha256 = ", "sha256 = 5 #"))
    assert TOKEN.sha256.hex() not in str(error.value)
