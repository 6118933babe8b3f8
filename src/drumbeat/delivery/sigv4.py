"""AWS Signature Version 4, for one request with its content at hand.

By the steps of https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html.
botocore would do it too, but brings 15 MB of service descriptions, its own HTTP client and its own retries;
what SES needs of it is the forty lines below, checked against AWS's own test vectors.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import quote, unquote_plus

ALGORITHM = "AWS4-HMAC-SHA256"
UNRESERVED = "-._~"
"""What is not escaped beside letters and digits (RFC 3986, 2.3)."""


@dataclass(frozen=True)
class Credentials:
    """Who signs. `session_token`: of temporary credentials, which AWS does not take without it."""

    access_key: str
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Place:
    """What the signature holds for: the region, such as `eu-west-1`, and the service's signing name."""

    region: str
    service: str


def signed_headers(
    credentials: Credentials,
    place: Place,
    *,
    method: str,
    path: str,
    host: str,
    now: datetime,
    query: str = "",
    headers: Iterable[tuple[str, str]] = (),
    body: bytes = b"",
) -> dict[str, str]:
    """Return the headers that sign the request: X-Amz-Date, Authorization, and the session's token.

    `headers`: those of the request that are signed beside Host. `query`: as it stands in the URL. `now`: aware,
    UTC; AWS takes a signature for five minutes around it.
    """
    stamp = now.strftime("%Y%m%dT%H%M%SZ")
    added = {"X-Amz-Date": stamp}
    if credentials.session_token:
        added["X-Amz-Security-Token"] = credentials.session_token
    names, canonical = _headers([*headers, ("Host", host), *added.items()])
    request = "\n".join(
        [method, quote(path, safe="/" + UNRESERVED), _query(query), canonical, names, _sha256(body)]
    )
    scope = f"{stamp[:8]}/{place.region}/{place.service}/aws4_request"
    key = f"AWS4{credentials.secret_key}".encode()
    for part in scope.split("/"):
        key = _hmac(key, part)
    signature = _hmac(key, "\n".join([ALGORITHM, stamp, scope, _sha256(request.encode())])).hex()
    credential = f"{credentials.access_key}/{scope}"
    added["Authorization"] = (
        f"{ALGORITHM} Credential={credential}, SignedHeaders={names}, Signature={signature}"
    )
    return added


def _headers(headers: Iterable[tuple[str, str]]) -> tuple[str, str]:
    """Return the names, and the headers in their canonical form: small names, one space, sorted."""
    found: dict[str, list[str]] = {}
    for name, value in headers:
        found.setdefault(name.lower(), []).append(" ".join(value.split()))
    lines = "".join(f"{name}:{','.join(values)}\n" for name, values in sorted(found.items()))
    return ";".join(sorted(found)), lines


def _query(query: str) -> str:
    pairs = [pair.partition("=") for pair in query.split("&") if pair]
    escaped = sorted((_escaped(name), _escaped(value)) for name, _, value in pairs)
    return "&".join(f"{name}={value}" for name, value in escaped)


def _escaped(text: str) -> str:
    return quote(unquote_plus(text), safe=UNRESERVED)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")
