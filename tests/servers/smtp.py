"""Starts tests/servers/smtp_server.py and reads what it kept."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

PROGRAM = Path(__file__).with_name("smtp_server.py")


@dataclass
class RunningServer:
    """A server process and its log."""

    port: int
    log: Path
    process: subprocess.Popen[str]

    @property
    def mails(self) -> list[dict[str, Any]]:
        """Return what the server took responsibility for, in order."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    @property
    def addresses(self) -> list[str]:
        """Return the recipients, in order."""
        return [mail["to"] for mail in self.mails]

    def content(self, number: int = 0) -> bytes:
        """Return a mail's bytes as they arrived, dots unstuffed; needs --keep-content."""
        return base64.b64decode(self.mails[number]["content"])


@contextmanager
def smtp_server(log: Path, *options: str, script: dict[str, Any] | None = None) -> Iterator[RunningServer]:
    """Run a server process as long as the block lasts."""
    words = [sys.executable, str(PROGRAM), "--log", str(log), "--script", json.dumps(script or {}), *options]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield RunningServer(int(process.stdout.readline()), log, process)
        finally:
            process.kill()


@dataclass
class Certificate:
    """A certificate for 127.0.0.1 and localhost, its key, and the CA that signed it, as PEM files."""

    certificate: Path
    key: Path
    ca: Path


def make_certificate(folder: Path, name: str = "server", days: int = 2) -> Certificate:
    """Make a CA of its own and a certificate signed by it, good for `days` from now."""
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    def named(common: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])

    now = datetime.now(UTC)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())

    def builder(subject: str, public: Any) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(named(subject))
            .issuer_name(named(f"{name} CA"))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=5))
            .not_valid_after(now + timedelta(days=days))
        )

    ca = builder(f"{name} CA", ca_key.public_key()).add_extension(
        x509.BasicConstraints(True, None), critical=True
    )
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    leaf = builder(name, key.public_key()).add_extension(x509.SubjectAlternativeName(names), critical=False)
    files = Certificate(folder / f"{name}.pem", folder / f"{name}.key", folder / f"{name}-ca.pem")
    pem = serialization.Encoding.PEM
    files.ca.write_bytes(ca.sign(ca_key, hashes.SHA256()).public_bytes(pem))
    files.certificate.write_bytes(leaf.sign(ca_key, hashes.SHA256()).public_bytes(pem))
    files.key.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files
