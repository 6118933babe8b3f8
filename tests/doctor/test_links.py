"""What mails lead to: an address with https, in the DNS, that answers with a certificate to trust."""

from __future__ import annotations

import http.server
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from servers.smtp import Certificate, make_certificate
from support.findings import told

from drumbeat.doctor.findings import Finding, Level

Check = Callable[..., list[Finding]]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """For localhost."""
    return make_certificate(tmp_path_factory.mktemp("tls"))


@contextmanager
def web_server(certificate: Certificate | None = None, status: int = 200) -> Iterator[tuple[int, list[str]]]:
    """Answer every GET with a status; the paths that were asked for are kept."""
    paths: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(f"{self.headers['Host']}{self.path}")
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate.certificate, certificate.key)
            server.socket = context.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server.server_address[1], paths
        finally:
            server.shutdown()
            thread.join()


def test_an_address_that_answers_over_tls_is_ok(
    check: Check, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.ca))
    with web_server(certificate) as (port, paths):
        found = check("links", base_url=f"https://localhost:{port}/t")
    assert "`drumbeat serve` answers there, over TLS" in told(found, Level.OK)
    assert paths == [f"localhost:{port}/t/health"]
    assert "leads to this machine" in told(found, Level.FAIL)


def test_a_certificate_that_is_not_trusted_is_told(check: Check, certificate: Certificate) -> None:
    with web_server(certificate) as (port, paths):
        found = check("links", base_url=f"https://click.example.com:{port}")
    assert "its certificate is not trusted" in told(found, Level.FAIL)
    assert paths == []


def test_the_host_is_looked_up_by_the_resolver_in_use(check: Check) -> None:
    with web_server() as (port, paths):
        found = check("links", base_url=f"http://click.example.com:{port}")
    assert paths == [f"click.example.com:{port}/health"]
    assert "is not https: mail programs offer no one-click unsubscribe" in told(found, Level.FAIL)
    assert "`drumbeat serve` answers there ->" in told(found, Level.OK)


@pytest.mark.parametrize(
    ("base_url", "level", "words"),
    [
        ("http://127.0.0.1:8025", Level.FAIL, "leads to this machine or network, where no reader is"),
        ("https://gone.example.com", Level.FAIL, "gone.example.com has no address: every link is dead"),
        ("https://click.example.com:99999", Level.FAIL, "is no web address: Port out of range"),
        ("https://click.example.com:x", Level.FAIL, "is no web address: Port could not be cast"),
        ("https://[::1", Level.FAIL, "is no web address: Invalid IPv6 URL"),
        ("https://klick.bücher.example", Level.FAIL, "has letters beyond ASCII"),
        ("https://click.tracker.example", Level.WARN, "is in another domain than the senders' (example.com)"),
        ("https://click.example.com:1", Level.WARN, "nothing answers there now: Connection refused"),
    ],
)
def test_an_address_that_readers_cannot_use_is_told(
    check: Check, base_url: str, level: Level, words: str
) -> None:
    zones = {"click.tracker.example": {"A": ["127.0.0.1"]}}
    assert words in told(check("links", zones, base_url=base_url), level)


def test_something_else_that_answers_is_told(check: Check) -> None:
    with web_server(status=404) as (port, _):
        found = check("links", base_url=f"http://click.example.com:{port}")
    assert "/health answers 404; expected `drumbeat serve`" in told(found, Level.WARN)


def test_a_server_that_speaks_no_http_is_told(check: Check, tmp_path: Path) -> None:
    from servers.smtp import smtp_server

    with smtp_server(tmp_path / "log") as server:
        found = check("links", base_url=f"http://click.example.com:{server.port}")
    assert "nothing answers there now" in told(found, Level.WARN)
