"""DKIM keys in the DNS: found, ours, long enough, in force; each fault is told with what to publish."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from support.findings import told

from drumbeat.doctor.dkim import read_tags, rsa_bits
from drumbeat.doctor.findings import Finding, Level
from drumbeat.rendering.dkim import load_key, public_half

Check = Callable[..., list[Finding]]
NAME = "s1._domainkey.example.com"

OTHER = public_half(rsa.generate_private_key(public_exponent=65537, key_size=2048))
SHORT = public_half(rsa.generate_private_key(public_exponent=65537, key_size=1024))
# Its modulus, 2 to the power of 767 and 1, is no real key's; its length is what counts.
TINY = base64.b64encode(
    bytes.fromhex("307c300d06092a864886f70d0101010500036b003068026100")
    + (2**767 + 1).to_bytes(96, "big")
    + bytes.fromhex("0203010001")
).decode()
EDWARDS = base64.b64encode(
    ed25519.Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
).decode()


def ours() -> str:
    from pathlib import Path

    return public_half(load_key(Path(), "SHOP_DKIM", None, ""))


def test_a_sound_key_is_ok(check: Check) -> None:
    assert told(check("dkim"), Level.OK) == f"{NAME}: an RSA key of 2048 bits, the public half of our key -> "


@pytest.mark.parametrize(
    ("records", "level", "words"),
    [
        (
            None,
            Level.FAIL,
            'signatures cannot be verified -> Publish: TXT "v=DKIM1; k=rsa; p=',
        ),
        (["some other text"], Level.FAIL, "there is a TXT record, but none with a key"),
        (["v=DKIM1; k=rsa; p={ours}", "v=DKIM1; k=rsa; p={other}"], Level.FAIL, "2 keys under one selector"),
        (["v=DKIM1; p={other}"], Level.FAIL, "holds another key than the one we sign with"),
        (["v=DKIM1; p="], Level.FAIL, "is revoked"),
        (["v=DKIM1; h=sha1; p={ours}"], Level.FAIL, "does not allow SHA-256 (h=sha1)"),
        (["v=DKIM1; s=tlsrpt; p={ours}"], Level.FAIL, "is not for mail (s=tlsrpt)"),
        (["k=rsa; v=DKIM1; p={ours}"], Level.FAIL, "does not begin with v=DKIM1"),
        (["v=DKIM2; p={ours}"], Level.FAIL, "does not begin with v=DKIM1"),
        (["v=DKIM1; k=dsa; p={ours}"], Level.FAIL, "has a kind of key that nobody knows (k=dsa)"),
        (["v=DKIM1; t=y; p={ours}"], Level.WARN, "is in test (t=y)"),
        (["v=DKIM1; t=s:y; p={ours}"], Level.WARN, "is in test (t=y)"),
        (["v=DKIM1; t=s; p={ours}"], Level.OK, "an RSA key of 2048 bits"),
        (["p={ours}"], Level.OK, "an RSA key of 2048 bits"),
        (["v=DKIM1; h=sha1:sha256; s=*; n=a note; p={ours}; x=1"], Level.OK, "an RSA key of 2048 bits"),
        (["v=DKIM1; p={folded}"], Level.OK, "an RSA key of 2048 bits"),
    ],
)
def test_each_way_to_get_it_wrong_is_told(
    check: Check, records: list[str] | None, level: Level, words: str
) -> None:
    values = {"ours": ours(), "other": OTHER, "folded": f"{ours()[:100]} {ours()[100:]}"}
    texts = None if records is None else {"TXT": [text.format(**values) for text in records]}
    found = check("dkim", {NAME: texts})
    assert words in told(found, level)


@pytest.mark.parametrize(
    ("record", "level", "words"),
    [
        ("v=DKIM1; p={short}", Level.WARN, "an RSA key of 1024 bits -> Make one of 2048 bits."),
        ("v=DKIM1; p={tiny}", Level.FAIL, "an RSA key of 768 bits, which receivers ignore"),
        ("v=DKIM1; k=ed25519; p={edwards}", Level.WARN, "an Ed25519 key, which Gmail"),
        ("v=DKIM1; p=nonsense!", Level.FAIL, "p= is no RSA key"),
        ("v=DKIM1; p={edwards}", Level.FAIL, "p= is no RSA key"),
        ("v=DKIM1; p={other}", Level.OK, "an RSA key of 2048 bits -> "),
    ],
)
def test_the_key_of_whoever_signs_for_us_is_looked_at_by_its_selector(
    check: Check, record: str, level: Level, words: str
) -> None:
    text = record.format(short=SHORT, tiny=TINY, edwards=EDWARDS, other=OTHER)
    found = check(
        "dkim", {"k2._domainkey.example.com": {"TXT": [text]}}, sender={"dkim": None}, selectors=("k2",)
    )
    assert f"k2._domainkey.example.com: {words}" in told(found, level)


def test_a_providers_own_selectors_are_tried(check: Check) -> None:
    smtp = {"backend": "smtp", "smtp": {"host": "in-v3.mailjet.com"}}
    found = check("dkim", sender={"dkim": None}, delivery=smtp, addresses=())
    assert "none of Mailjet's selectors exists (mailjet)" in told(found, Level.FAIL)
    zones = {
        "mailjet._domainkey.example.com": {"CNAME": "key.mailjet.example."},
        "key.mailjet.example": {"TXT": [f"k=rsa; p={OTHER}"]},
    }
    found = check("dkim", zones, sender={"dkim": None}, delivery=smtp, addresses=())
    assert told(found, Level.OK).startswith("mailjet._domainkey.example.com: an RSA key of 2048 bits")


def test_where_nobody_is_known_to_sign_it_says_so(check: Check) -> None:
    found = check("dkim", sender={"dkim": None})
    assert "nothing here signs" in told(found, Level.WARN)
    assert "--selector NAME" in told(found, Level.WARN)


def test_a_private_key_that_is_not_there_is_a_failure_and_the_record_is_still_looked_at(
    check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SHOP_DKIM")
    found = check("dkim")
    assert "SHOP_DKIM is not set" in told(found, Level.FAIL)
    assert "an RSA key of 2048 bits" in told(found, Level.OK)


def test_tags_are_read_from_any_text() -> None:
    assert read_tags("v=DKIM1;p = a=b ; =x; k; ü=1;p=second;N=Note") == {
        "v": "DKIM1",
        "p": "a=b",
        "n": "Note",
    }
    assert read_tags("") == {}
    assert rsa_bits("") is None
    assert rsa_bits(base64.b64encode(os.urandom(100)).decode()) is None
