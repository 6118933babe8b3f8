"""What tells who somebody is: every spelling of their own addresses, and nobody else's; no text can break it."""

from __future__ import annotations

import base64
import gzip
import json
import quopri
import zlib
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drumbeat.privacy.inbox import views
from drumbeat.privacy.names import Names
from drumbeat.privacy.rename import parts

AN, PHONE, CHAT = "an@x.example", "tel:+447700900123", "tg:987654321"
NAMES = Names(
    [AN, PHONE, CHAT, "zoë@xn--mller-kva.example"],
    ids=["k-17"],
    full_names=[("An", "Chang")],
    words=["An", "Chang", "k-17"],
    tokens=["abcdefghijklmnopqrstuvwx27"],
    remote_ids=["0100019a-7c3e-4b6f9d2e8a1c-000000"],
)


@pytest.mark.parametrize(
    "text",
    [
        "an@x.example",
        "To: <an@x.example>, b@x.example",
        '{"email":"an@x.example"}',
        "recipient=an%40x.example&a=b",
        "bounces+tag=an=x.example@relay.example, an=x.example@relay.example",
        "an@x.example.",
        "mailto:an@x.example?subject=x",
        "zoë@müller.example",
        "zoë@xn--mller-kva.example",
        "call +447700900123 now",
        "to=%2b447700900123",
        "from=447700900123;",
        '"chat_id": 987654321',
        "tg:987654321",
        "<bounces+abcdefghijklmnopqrstuvwx27@shop.example.com>",
        "xabcdefghijklmnopqrstuvwx27",
        "id 0100019a-7c3e-4b6f9d2e8a1c-000000",
    ],
)
def test_an_address_is_known_however_it_is_written(text: str) -> None:
    assert NAMES.named(text)
    assert not NAMES.harmless(text) or text.startswith(("<bounces", "xabc", "id 01"))


@pytest.mark.parametrize(
    "text",
    [
        "susan@x.example",
        "an@x.example.org",
        "an@x.examples",
        "j.an@x.example",
        "an@y.example",
        "+4477009001234",
        "1447700900123",
        "987654321",
        "abcdefghijklmnopqrstuvwx2",
        "0100019a-7c3e-4b6f9d2e8a1c-000001",
        "An Chang, k-17",
        "",
    ],
)
def test_nobody_else_is_taken_for_them(text: str) -> None:
    assert not NAMES.named(text)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("250 2.0.0 queued as 4XyZ", "250 2.0.0 queued as 4XyZ"),
        ("550 5.1.1 <an@x.example>: unknown", "550 5.1.1"),
        ("550-5.7.26 Chang is not here", "550-5.7.26"),
        ("An is full", None),
        ("somebody@else.example refused", None),
        ("452 quota of ANOTHER", "452 quota of ANOTHER"),
        ("over +44 (7700) 900-123", None),
        ("4521 an@x.example", None),
        (None, None),
    ],
)
def test_of_a_text_with_a_sign_of_anybody_the_code_stays(text: str | None, kept: str | None) -> None:
    assert NAMES.scrubbed(text) == kept


def test_a_row_of_a_table_is_theirs_by_address_by_id_and_by_full_name() -> None:
    assert NAMES.names_row(["2", "bad", "K-17"])
    assert NAMES.names_row(["2", "An", "Chang"])
    assert NAMES.names_row(["there is no customer 'k-17'"])
    assert not NAMES.names_row(["2", "An", "Other", "k-171", "xk-17"])


def test_json_is_cleaned_at_any_depth_and_the_rest_of_it_stays() -> None:
    told = {"a": [1, None, {"an@x.example": "x", "b": "An"}], "c": True, "d": "fine"}
    assert NAMES.cleaned(told, "erased:1") == {
        "a": [1, None, {"erased:1": "x", "b": "erased:1"}],
        "c": True,
        "d": "fine",
    }


@pytest.mark.parametrize("text", ["an@x.example", "to an@x.example ok", "x" * 200 + " an@x.example"])
@pytest.mark.parametrize("after", [b"Hello\r\n", b"--b--\r\n", b""])
def test_a_short_part_in_base64_is_unpacked_whatever_follows_it(text: str, after: bytes) -> None:
    packed = base64.encodebytes(text.encode()).replace(b"\n", b"\r\n")
    assert any(NAMES.named(view) for view in views(b"Hi\r\n\r\n" + packed + after, {}))


def multipart(text: str) -> bytes:
    return (
        b"--b\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64.encodebytes(text.encode()) + b"--b--\r\n"
    )


WRITTEN = {
    "plain": lambda t: t.encode(),
    "json": lambda t: json.dumps({"m": t}).encode(),
    "json in json": lambda t: json.dumps({"Message": json.dumps({"m": t})}).encode(),
    "json in json in json": lambda t: json.dumps({"x": json.dumps({"y": json.dumps({"m": t})})}).encode(),
    "form": lambda t: urlencode({"m": t}).encode(),
    "quoted": lambda t: b"a=3D\r\n" + quopri.encodestring(t.encode()),
    "base64": multipart,
    "gzip": lambda t: gzip.compress(t.encode()),
    "deflate": lambda t: zlib.compress(json.dumps(t).encode()),
    "in the address of the call": lambda t: b"",
}


@pytest.mark.parametrize("way", WRITTEN)
@pytest.mark.parametrize(
    "text",
    [
        "x <an@x.example> y",
        "\nzoë@müller.example\n",
        "bounces+abcdefghijklmnopqrstuvwx27@x",
        "to +447700900123!",
    ],
)
def test_an_address_is_found_in_whatever_a_body_is_packed(way: str, text: str) -> None:
    headers = {":url": f"POST https://x/?m={quote(text)}"} if way == "in the address of the call" else {}
    body = WRITTEN[way](text * 3)
    assert any(NAMES.named(view) for view in views(body, headers))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400), st.dictionaries(st.text(max_size=5), st.text(max_size=20), max_size=3))
def test_no_body_can_break_the_search(body: bytes, headers: dict[str, str]) -> None:
    for view in views(body, headers):
        NAMES.named(view)


@settings(max_examples=300, deadline=None)
@given(
    st.text(max_size=60),
    st.text(max_size=60),
    st.sampled_from(["an@x.example", "AN@X.EXAMPLE", "Chang", "K-17"]),
)
def test_no_text_around_it_hides_a_word_of_theirs_that_stands_by_itself(
    before: str, after: str, word: str
) -> None:
    """What is kept never holds it."""
    kept = NAMES.scrubbed(f"{before} {word} {after}")
    assert kept is None or word not in kept


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text("ab:c", max_size=4), max_size=20).map(":".join))
def test_every_run_between_colons_is_a_part_of_an_occasion(occasion: str) -> None:
    found = parts(occasion)
    assert occasion in found or not occasion
    if occasion.count(":") < 12:
        assert set(occasion.split(":")) - {""} <= found


def test_a_very_large_body_is_read_in_reasonable_time() -> None:
    body = b'{"a": "' + b"QUJD" * 500_000 + b'", "b": "%41=41\\u0041 ' + b"x=41%41\\n" * 50_000 + b'"}'
    assert not any(NAMES.named(view) for view in views(body, {}))


def test_a_packed_bomb_is_not_unpacked_for_ever() -> None:
    bomb = gzip.compress(b"0" * 200_000_000, 9)
    assert max(len(view) for view in views(bomb, {})) <= 32 * 2**20
