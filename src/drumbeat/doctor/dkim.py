"""The check of DKIM: whether receivers find the key that mails are signed with. RFC 6376, RFC 8301."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator

from drumbeat.doctor.dns import as_far_as_answered
from drumbeat.doctor.findings import Finding, Reporter
from drumbeat.doctor.setup import Identity, Setup
from drumbeat.errors import UsageError
from drumbeat.rendering.dkim import GOOD_KEY, SHORTEST_KEY, load_key, public_half

SAYS = Reporter("dkim")


def dkim(setup: Setup) -> Iterator[Finding]:
    """Whether receivers find the key that our signatures are verified with.

    Looked up is the TXT record `SELECTOR._domainkey.DOMAIN`: of `senders.NAME.dkim`, where Drumbeat signs; of
    the provider's fixed selectors, or those given with `--selector`, where someone else does. Looked at are: that
    it exists once and can be read; that it is the public half of our private key; its length (receivers ignore
    keys under 1024 bits, 2048 is right); that it is not revoked (`p=`), not in test (`t=y`), and good for mail
    and SHA-256. One-click unsubscribe counts only under a signature that covers its headers: ours does.
    """
    seen: set[tuple[str, tuple[str, ...]]] = set()
    for identity in setup.identities:
        if (identity.signs, identity.selectors) in seen and identity.sender.dkim is None:
            continue
        seen.add((identity.signs, identity.selectors))
        if identity.sender.dkim is not None:
            yield from as_far_as_answered(SAYS, identity.signs, _ours(setup, identity))
        elif identity.selectors:
            yield from as_far_as_answered(SAYS, identity.signs, _theirs(setup, identity))
        else:
            yield SAYS.warn(
                identity.signs,
                "nothing here signs; whether your mail server or provider does cannot be seen",
                "Name its selector (--selector NAME) to have the key checked, or let Drumbeat sign:"
                f" senders.{identity.name}.dkim",
            )


def _ours(setup: Setup, identity: Identity) -> Iterator[Finding]:
    settings = identity.sender.dkim
    assert settings is not None  # noqa: S101 - the caller asked
    name = f"{settings.selector}._domainkey.{identity.signs}"
    try:
        key = load_key(
            setup.project.root, settings.key_env, settings.key_file, f"senders.{identity.name}.dkim"
        )
    except UsageError as error:
        yield SAYS.fail(name, str(error), "Without the key no mail of this sender is written.")
        yield from _record(setup, name, None, "")
        return
    yield from _record(setup, name, public_half(key), f'Publish: TXT "v=DKIM1; k=rsa; p={public_half(key)}"')


def _theirs(setup: Setup, identity: Identity) -> Iterator[Finding]:
    names = [f"{selector}._domainkey.{identity.signs}" for selector in identity.selectors]
    found = [name for name in names if setup.dns.txt(name)]
    named = bool(setup.selectors)
    for name in found or (names if named else ()):
        yield from _record(setup, name, None, "")
    if not found and not named and setup.provider is not None:
        shown = ", ".join(identity.selectors)
        yield SAYS.fail(
            identity.signs,
            f"none of {setup.provider.title}'s selectors exists ({shown})",
            f"Set up DKIM for the domain, or name your selector with --selector: {setup.provider.docs}",
        )


def _record(setup: Setup, name: str, ours: str | None, publish: str) -> Iterator[Finding]:
    records = setup.dns.txt(name)
    keys = [text for text in records if "p" in read_tags(text)]
    if not keys:
        found = "there is a TXT record, but none with a key" if records else "there is no such record"
        yield SAYS.fail(
            name,
            f"{found}: signatures cannot be verified",
            publish or "Publish the record that whoever signs for you shows you.",
        )
        return
    if len(keys) > 1:
        yield SAYS.fail(
            name, f"{len(keys)} keys under one selector", "Leave one; give a new key a new selector."
        )
        return
    tags = read_tags(keys[0])
    if trouble := _trouble(tags):
        yield SAYS.fail(name, *trouble)
        return
    public = re.sub(r"\s", "", tags["p"])
    if ours is not None and public != ours:
        yield SAYS.fail(
            name,
            "holds another key than the one we sign with: every signature fails",
            f"Replace the private key, or the record. {publish}",
        )
        return
    yield from _strength(name, tags, public, matches=ours is not None)
    if "y" in tags.get("t", "").split(":"):
        yield SAYS.warn(
            name, "is in test (t=y): receivers may treat mails as unsigned", "Remove t=y from the record."
        )


def _trouble(tags: dict[str, str]) -> tuple[str, str] | None:
    """Return what is wrong with a key record and what to do (RFC 6376, 3.6.1), or None."""
    if tags.get("v", "DKIM1") != "DKIM1" or ("v" in tags and next(iter(tags)) != "v"):
        return "does not begin with v=DKIM1", "Write v=DKIM1 first, or leave v= out."
    if not tags["p"].strip():
        return "is revoked (p= is empty)", "Publish the key, or sign with another selector."
    if "sha256" not in tags.get("h", "sha256").split(":"):
        return f"does not allow SHA-256 (h={tags['h']})", "Remove h= from the record."
    if not {"*", "email"} & set(tags.get("s", "*").split(":")):
        return f"is not for mail (s={tags['s']})", "Remove s= from the record."
    if tags.get("k", "rsa") not in ("rsa", "ed25519"):
        return f"has a kind of key that nobody knows (k={tags['k']})", "Publish an RSA key."
    return None


def _strength(name: str, tags: dict[str, str], public: str, *, matches: bool) -> Iterator[Finding]:
    pair = ", the public half of our key" if matches else ""
    if tags.get("k", "rsa") == "ed25519":
        yield SAYS.warn(
            name, "an Ed25519 key, which Gmail, Yahoo and Microsoft do not verify", "Sign with RSA beside it."
        )
        return
    bits = rsa_bits(public)
    if bits is None:
        yield SAYS.fail(name, "p= is no RSA key", "Publish the key again, its base64 whole.")
    elif bits < SHORTEST_KEY:
        yield SAYS.fail(
            name, f"an RSA key of {bits} bits, which receivers ignore", f"Make one of {GOOD_KEY} bits."
        )
    elif bits < GOOD_KEY:
        yield SAYS.warn(name, f"an RSA key of {bits} bits{pair}", f"Make one of {GOOD_KEY} bits.")
    else:
        yield SAYS.ok(name, f"an RSA key of {bits} bits{pair}")


def read_tags(text: str) -> dict[str, str]:
    """Return the tags of a record (RFC 6376, 3.2), the first of each name; what is no tag is left out."""
    tags: dict[str, str] = {}
    for part in text.split(";"):
        name, equals, value = part.partition("=")
        if equals and re.fullmatch(r"\s*[A-Za-z][A-Za-z0-9_]*\s*", name):
            tags.setdefault(name.strip().lower(), value.strip())
    return tags


def rsa_bits(public: str) -> int | None:
    """Return the length of an RSA key in base64 of DER; None where it is none."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    try:
        key = load_der_public_key(base64.b64decode(public, validate=True))
    except (ValueError, binascii.Error, UnsupportedAlgorithm):
        return None
    return key.key_size if isinstance(key, RSAPublicKey) else None
