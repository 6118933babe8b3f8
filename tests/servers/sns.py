"""Amazon SNS's side of a webhook: messages signed with a real key, and the certificate behind their URL."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from drumbeat.errors import DeliveryError
from drumbeat.responses.webhooks import WebhookCall

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
TOPIC = "arn:aws:sns:eu-west-1:123456789012:shop-events"
HOST = "https://sns.eu-west-1.amazonaws.com"
CERTIFICATE = f"{HOST}/SimpleNotificationService-0123456789abcdef0123456789abcdef.pem"

FIELDS = ("Message", "MessageId", "Subject", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
"""Of which each type of message signs those that it has."""


@cache
def key(bits: int = 2048, number: int = 0) -> rsa.RSAPrivateKey:
    """Return a key; `number` tells several apart."""
    del number
    return rsa.generate_private_key(65537, bits)


def certificate(
    of: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | None = None,
    common: str = "sns.amazonaws.com",
    names: tuple[str, ...] = (),
    days: tuple[int, int] = (-30, 365),
) -> bytes:
    """Return a certificate as SNS serves it: PEM, alone, valid between so many days from now."""
    mine = of or key()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Amazon RSA 2048 M01")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(mine.public_key())
        .serial_number(7)
        .not_valid_before(NOW + timedelta(days=days[0]))
        .not_valid_after(NOW + timedelta(days=days[1]))
    )
    if names:
        further = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        builder = builder.add_extension(further, critical=False)
    return builder.sign(key(), hashes.SHA256()).public_bytes(Encoding.PEM)


@dataclass
class Sns:
    """What SNS serves at its URLs, and what was asked of it. A URL that it does not have cannot be had."""

    pages: dict[str, bytes] = field(default_factory=lambda: {CERTIFICATE: certificate()})
    asked: list[str] = field(default_factory=list)

    def get(self, url: str) -> bytes:
        """Stand in for `fetch`."""
        self.asked.append(url)
        if url not in self.pages:
            raise DeliveryError(f"cannot reach {url}")
        return self.pages[url]


def message(inner: Any = None, **changes: Any) -> dict[str, Any]:
    """Return a notification with `inner` as JSON in it, not signed yet."""
    return {
        "Type": "Notification",
        "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
        "TopicArn": TOPIC,
        "Message": inner if isinstance(inner, str) else json.dumps(inner),
        "Timestamp": "2026-11-24T11:59:30.000Z",
        "SignatureVersion": "2",
        "SigningCertURL": CERTIFICATE,
        "UnsubscribeURL": f"{HOST}/?Action=Unsubscribe&SubscriptionArn={TOPIC}:c9135db0",
        **changes,
    }


def subscription(kind: str = "SubscriptionConfirmation", **changes: Any) -> dict[str, Any]:
    """Return the message that asks to confirm a subscription."""
    token = "2336412f37fb687f5d51e6e241d09c80"
    return message(
        "You have chosen to subscribe to the topic ...",
        Type=kind,
        Token=token,
        SubscribeURL=f"{HOST}/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token={token}",
        **changes,
    )


def signature(found: Mapping[str, Any], by: rsa.RSAPrivateKey | None = None) -> str:
    """Sign the fields as SNS documents it."""
    lines = "".join(f"{name}\n{found[name]}\n" for name in FIELDS if found.get(name) is not None)
    hashed = hashes.SHA1() if found["SignatureVersion"] == "1" else hashes.SHA256()
    return base64.b64encode((by or key()).sign(lines.encode(), PKCS1v15(), hashed)).decode()


def call(found: Mapping[str, Any], *, at: datetime = NOW, **changes: Any) -> WebhookCall:
    """Return the call that brings a message, signed; `changes` are made after that. None leaves a field out."""
    signed = {"Signature": signature(found), **found, **changes}
    body = {name: value for name, value in signed.items() if value is not None}
    return WebhookCall({"x-amz-sns-message-type": str(found["Type"])}, json.dumps(body).encode(), at)
