"""Signatures of AWS, checked against AWS's published test vectors (Signature Version 4 Test Suite, 2019)."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from drumbeat.delivery.sigv4 import Credentials, Place, signed_headers

NOW = datetime(2015, 8, 30, 12, 36, 0, tzinfo=UTC)
KEYS = ("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
PLACE = Place("us-east-1", "service")
UNRESERVED = "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
SESSION = (
    "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflf"
    "KD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd"
    "8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3i"
    "SIlTJabIQwj2ICCR/oLxBA=="
)

VECTORS = {
    "get-vanilla": (
        {"method": "GET"},
        "host;x-amz-date",
        "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
    ),
    "get-utf8": (
        {"method": "GET", "path": "/ሴ"},
        "host;x-amz-date",
        "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85",
    ),
    "get-vanilla-query-order-key-case": (
        {"method": "GET", "query": "Param2=value2&Param1=value1"},
        "host;x-amz-date",
        "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
    ),
    "get-vanilla-query-order-encoded": (
        {"method": "GET", "query": "Param-3=Value3&Param=Value2&%E1%88%B4=Value1"},
        "host;x-amz-date",
        "371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac",
    ),
    "get-vanilla-query-unreserved": (
        {"method": "GET", "query": f"{UNRESERVED}={UNRESERVED}"},
        "host;x-amz-date",
        "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197",
    ),
    "get-header-key-duplicate": (
        {
            "method": "GET",
            "headers": [("My-Header1", "value2"), ("My-Header1", "value2"), ("My-Header1", "value1")],
        },
        "host;my-header1;x-amz-date",
        "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea",
    ),
    "get-header-value-trim": (
        {"method": "GET", "headers": [("My-Header1", " value1"), ("My-Header2", ' "a   b   c"')]},
        "host;my-header1;my-header2;x-amz-date",
        "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
    ),
    "post-vanilla": (
        {"method": "POST"},
        "host;x-amz-date",
        "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
    ),
    "post-vanilla-query": (
        {"method": "POST", "query": "Param1=value1"},
        "host;x-amz-date",
        "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11",
    ),
    "post-header-value-case": (
        {"method": "POST", "headers": [("My-Header1", "VALUE1")]},
        "host;my-header1;x-amz-date",
        "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d",
    ),
    "post-x-www-form-urlencoded": (
        {
            "method": "POST",
            "headers": [("Content-Type", "application/x-www-form-urlencoded")],
            "body": b"Param1=value1",
        },
        "content-type;host;x-amz-date",
        "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
    ),
    "post-x-www-form-urlencoded-parameters": (
        {
            "method": "POST",
            "headers": [("Content-Type", "application/x-www-form-urlencoded; charset=utf8")],
            "body": b"Param1=value1",
        },
        "content-type;host;x-amz-date",
        "1a72ec8f64bd914b0e42e42607c7fbce7fb2c7465f63e3092b3b0d39fa77a6fe",
    ),
}


@pytest.mark.parametrize("name", VECTORS)
def test_a_signature_is_the_one_that_aws_published(name: str) -> None:
    request, names, signature = VECTORS[name]
    given = {"path": "/", **request}
    got = signed_headers(Credentials(*KEYS), PLACE, host="example.amazonaws.com", now=NOW, **given)  # type: ignore[arg-type]
    assert got == {
        "X-Amz-Date": "20150830T123600Z",
        "Authorization": "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request,"
        f" SignedHeaders={names}, Signature={signature}",
    }


def test_a_session_token_is_sent_and_signed() -> None:
    """The vector post-sts-header-before."""
    credentials = Credentials(*KEYS, session_token=SESSION)
    got = signed_headers(credentials, PLACE, method="POST", path="/", host="example.amazonaws.com", now=NOW)
    assert got["X-Amz-Security-Token"] == SESSION
    assert got["Authorization"].endswith(
        "SignedHeaders=host;x-amz-date;x-amz-security-token,"
        " Signature=85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead"
    )


def test_keys_do_not_stand_in_what_is_shown_of_them() -> None:
    shown = repr(Credentials("AKID", "very-secret", "token-secret"))
    assert "AKID" in shown
    assert "secret'" not in shown
    assert "very" not in shown
