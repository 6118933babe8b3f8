"""Amazon SNS over HTTPS: is a message from Amazon, of a topic of ours, as it was published, and recent?

https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html. SNS signs a few fields with the
key of a certificate that it names by URL. Anybody with an AWS account can have SNS sign a message to our
address, so the topic must be one that project.yaml names; and the certificate must come from SNS itself, over
TLS, which is what vouches for it: SNS serves it without its chain.
"""

from __future__ import annotations

import binascii
import re
import threading
from base64 import b64decode
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, parse_qs, urlsplit

from drumbeat.errors import DeliveryError, InputError
from drumbeat.responses.webhooks import FRESH, Forged
from drumbeat.responses.webhooks.payload import document, ident, instant, table, text
from drumbeat.responses.webhooks.signed import check_fresh

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

RETRIED = timedelta(hours=1) + FRESH
"""How old a genuine message may be. Its time is that of its publishing and is signed once, and SNS repeats a call
that failed for up to 3,600 seconds: with less, what happens while the web server is down would be lost.
https://docs.aws.amazon.com/sns/latest/dg/sns-message-delivery-retries.html"""

SIGNED: Mapping[str, tuple[str, ...]] = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": (
        "Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type",
    ),
    "UnsubscribeConfirmation": (
        "Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type",
    ),
}  # fmt: skip
"""By `Type`, the fields that are signed, in their order; Subject only where there is one."""

HASHES: Mapping[str, str] = {"1": "SHA1", "2": "SHA256"}
"""By `SignatureVersion`."""

KEPT = 16
"""Certificates that are remembered; a region has one, changed once a year or so."""

FAILED_FOR = timedelta(seconds=30)
"""How long a certificate that could not be had is not asked for again, so that calls cannot make us ask."""

_TOPIC = re.compile(
    r"arn:aws[a-z-]*:sns:([a-z]{2}(?:-[a-z]+)+-[0-9]):[0-9]{12}:[A-Za-z0-9_-]{1,256}(?:\.fifo)?"
)
_HOST = re.compile(r"sns\.([a-z]{2}(?:-[a-z]+)+-[0-9])\.amazonaws\.com(\.cn)?")
_CERTIFICATE = re.compile(r"/SimpleNotificationService-[0-9A-Za-z]{1,64}\.pem")
_NAME = re.compile(r"sns(\.[a-z0-9-]+)?\.amazonaws\.com(\.cn)?")

Fetch = Callable[[str], bytes]
"""Gets a URL of SNS's, without following redirects. Raises DeliveryError where it cannot."""


def fetch(url: str) -> bytes:
    """Get a URL over verified TLS. Raises DeliveryError with one line."""
    import requests

    try:
        answer = requests.get(url, timeout=5, allow_redirects=False)
    except requests.RequestException as error:
        raise DeliveryError(f"cannot reach {urlsplit(url).netloc}: {type(error).__name__}") from None
    if answer.status_code != 200:
        raise DeliveryError(f"{urlsplit(url).netloc} answers {answer.status_code}; expected 200")
    return answer.content


def read(body: bytes) -> Mapping[str, Any]:
    """Return an SNS message. Raises InputError for anything else."""
    found = table(document(body))
    kind = found.get("Type")
    if not isinstance(kind, str) or kind not in SIGNED:
        raise InputError(
            "the call is no SNS message; expected a JSON object with Type."
            " Switch raw message delivery off for the subscription"
        )
    return found


@dataclass(frozen=True)
class _Known:
    certificate: Certificate | None
    asked_at: datetime

    def worth_asking(self, now: datetime) -> bool:
        return self.certificate is None and abs(now - self.asked_at) > FAILED_FOR


class Signatures:
    """Checks messages; remembers certificates. Safe to use from several threads."""

    def __init__(self, topics: Collection[str], get: Fetch = fetch) -> None:
        self.topics = frozenset(topics)
        self._fetch = get
        self._known: dict[str, _Known] = {}
        self._lock = threading.Lock()

    def check(self, message: Mapping[str, Any], now: datetime) -> str:
        """Return the id of a genuine, recent message. Raises Forged or Stale, and DeliveryError without certificate.

        What costs nothing is asked first, so that strangers cannot make us fetch or compute.
        """
        topic, message_id = text(message.get("TopicArn")), ident(message.get("MessageId"))
        if topic is None or topic not in self.topics:
            raise Forged(
                f"the SNS topic {topic!r} is none of ours; delivery.ses.topics in project.yaml lists them"
            )
        hashed = HASHES.get(str(message.get("SignatureVersion")))
        content, signature = _content(message), _signature(message.get("Signature"))
        if not (hashed and content and signature and message_id):
            raise Forged("the SNS message lacks a signature, or a field that is signed")
        never = now + 2 * FRESH
        published = instant(message.get("Timestamp"), never)
        check_fresh(None if published == never else published, now, oldest=RETRIED)
        url = _certificate_url(message.get("SigningCertURL"), topic)
        _verify(self._certificate(url, now), signature, content, hashed, now)
        return message_id

    def _certificate(self, url: str, now: datetime) -> Certificate:
        known = self._known.get(url)
        if known is None or known.worth_asking(now):
            # Who finds a certificate that is known does not wait for those that are being fetched.
            with self._lock:
                known = self._known.get(url)
                if known is None or known.worth_asking(now):
                    self._known[url] = known = _Known(self._get(url), now)
                    while len(self._known) > KEPT:
                        del self._known[next(iter(self._known))]
        if known.certificate is None:
            raise DeliveryError(f"cannot get the certificate {url}; SNS will call again")
        return known.certificate

    def _get(self, url: str) -> Certificate | None:
        from cryptography.x509 import load_pem_x509_certificate

        try:
            return load_pem_x509_certificate(self._fetch(url))
        except (DeliveryError, ValueError):
            return None


def subscribe_url(message: Mapping[str, Any]) -> str:
    """Return the URL that confirms a subscription. Raises InputError where it leads elsewhere than to SNS."""
    url, topic = message.get("SubscribeURL"), str(message.get("TopicArn"))
    parts = _of_sns(url, topic)
    asked = parse_qs(parts.query) if parts else {}
    if parts is None or asked.get("Action") != ["ConfirmSubscription"] or asked.get("TopicArn") != [topic]:
        raise InputError(f"the SubscribeURL {str(url)[:200]!r} is not one of SNS; it is not followed")
    return parts.geturl()


def _certificate_url(url: Any, topic: str) -> str:
    parts = _of_sns(url, topic)
    if parts is None or parts.query or parts.fragment or not _CERTIFICATE.fullmatch(parts.path):
        raise Forged(f"the SigningCertURL {str(url)[:200]!r} is not one of SNS; it is not fetched")
    return parts.geturl()


def _of_sns(url: Any, topic: str) -> SplitResult | None:
    """Return a URL's parts where it leads to SNS in the topic's region, over TLS, and nothing else."""
    try:
        parts = urlsplit(url) if isinstance(url, str) and url.isascii() else None
    except ValueError:
        return None
    host = _HOST.fullmatch(parts.netloc) if parts else None
    region = _TOPIC.fullmatch(topic)
    if parts is None or host is None or region is None or parts.scheme != "https" or host[1] != region[1]:
        return None
    return parts


def _content(message: Mapping[str, Any]) -> bytes | None:
    """Return what is signed: the names and values of the fields, a line each; None where one is missing."""
    lines: list[str] = []
    for name in SIGNED[message["Type"]]:
        value = message.get(name)
        if value is None and name == "Subject":
            continue
        if not isinstance(value, str):
            return None
        lines += [name, value]
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")


def _signature(value: Any) -> bytes | None:
    try:
        return b64decode(value, validate=True) if isinstance(value, str) else None
    except (binascii.Error, ValueError):
        return None


def _verify(certificate: Certificate, signature: bytes, content: bytes, hashed: str, now: datetime) -> None:
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    key = certificate.public_key()
    if not isinstance(key, RSAPublicKey) or key.key_size < 2048 or not _named(certificate):
        raise Forged("the certificate of the SNS message is not one that SNS signs with")
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        raise Forged(
            f"the certificate of the SNS message ended on {certificate.not_valid_after_utc:%Y-%m-%d}"
        )
    try:
        key.verify(signature, content, PKCS1v15(), getattr(hashes, hashed)())
    except (InvalidSignature, UnsupportedAlgorithm):
        raise Forged(
            "the signature of the SNS message is wrong: it was altered, or is not from SNS"
        ) from None


def _named(certificate: Certificate) -> bool:
    """Say whether the certificate is made out to SNS."""
    from cryptography.x509 import DNSName, ExtensionNotFound, SubjectAlternativeName
    from cryptography.x509.oid import NameOID

    names = [str(one.value) for one in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    try:
        further = certificate.extensions.get_extension_for_class(SubjectAlternativeName)
        names += further.value.get_values_for_type(DNSName)
    except (ExtensionNotFound, ValueError):
        pass
    return any(_NAME.fullmatch(name) for name in names)
