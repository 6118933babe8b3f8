"""A real HTTP server on loopback that stands in for a provider: a test programs its answers and reads the calls.

    def answer(call: Recorded) -> Response:
        return Response(202, headers={"X-Message-Id": "m1"})

    with provider_server(answer) as server:
        ... server.url ... server.requests[0].json ...

`answer` may also be one Response for every call, or a dict from path to either; other paths get a 404.
"""

from __future__ import annotations

import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass
class Response:
    """What to answer. `json` or `body` is the content; `delay`: seconds before the first byte.

    `cut`: send only so many bytes of the body, then drop the connection.
    """

    status: int = 200
    json: Any = None
    body: bytes | str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    cut: int | None = None

    @property
    def content(self) -> bytes:
        """Return the body as bytes."""
        if self.body is not None:
            return self.body.encode() if isinstance(self.body, str) else self.body
        return b"" if self.json is None else json.dumps(self.json).encode()


DROP_BEFORE = Response(0)
"""Drop the connection before the call's body is read. The answer function must not look at the body."""

DROP_AFTER = Response(0)
"""Read the whole call, then drop the connection without a word."""


class Recorded:
    """A call as it arrived. `headers`: names in small letters. `body` is read from the wire when first asked."""

    def __init__(
        self, method: str, target: str, headers: Mapping[str, str], read: Callable[[], bytes]
    ) -> None:
        parts = urlsplit(target)
        self.method, self.path, self.target = method, parts.path, target
        self.query: dict[str, list[str]] = parse_qs(parts.query, keep_blank_values=True)
        self.headers = headers
        self._read = read

    @cached_property
    def body(self) -> bytes:
        """The content; b"" where the connection was dropped before it."""
        return self._read()

    @property
    def json(self) -> Any:
        """Return the body read as JSON."""
        return json.loads(self.body)

    @cached_property
    def form(self) -> dict[str, list[str]]:
        """The fields of a form, urlencoded or multipart; the content of files as text."""
        if self.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            return parse_qs(self.body.decode(), keep_blank_values=True, strict_parsing=True)
        found: dict[str, list[str]] = {}
        for name, content in self._multipart():
            found.setdefault(name, []).append(content.decode())
        return found

    @cached_property
    def files(self) -> dict[str, bytes]:
        """The fields of a multipart form as bytes."""
        return dict(self._multipart())

    def _multipart(self) -> Iterator[tuple[str, bytes]]:
        boundary = self.headers["content-type"].partition("boundary=")[2].strip('"').encode()
        for part in self.body.split(b"--" + boundary)[1:-1]:
            head, _, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
            fields = BytesParser(policy=HTTP).parsebytes(head + b"\r\n\r\n", headersonly=True)
            yield fields["Content-Disposition"].params["name"], content.removesuffix(b"\r\n")


Answers = Callable[[Recorded], Response] | Response | Mapping[str, Callable[[Recorded], Response] | Response]


class ProviderServer(ThreadingHTTPServer):
    """The running server. `requests`: the calls, in the order of their arrival. `connections`: how many came."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, answers: Answers, tls: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers = answers
        self.tls = tls
        self.requests: list[Recorded] = []
        self.connections = 0
        self.open: set[Any] = set()
        self.failures: list[BaseException] = []
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.server_address[1]}"

    def get_request(self) -> tuple[Any, Any]:
        connection, address = super().get_request()
        self.connections += 1
        return connection, address

    def finish_request(self, request: Any, client_address: Any) -> None:
        if self.tls is not None:
            request.settimeout(5)
            try:
                request = self.tls.wrap_socket(request, server_side=True)
            except OSError:
                return
        self.open.add(request)
        try:
            super().finish_request(request, client_address)
        finally:
            self.open.discard(request)
            request.close()

    def hang_up(self) -> None:
        """End every connection that a client still holds."""
        for connection in list(self.open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep quiet of connections that a test cut."""

    def stop(self) -> None:
        """Stop listening and end every connection, at once; may be called again."""
        self.shutdown()
        self.server_close()
        self.hang_up()

    def answer(self, call: Recorded) -> Response:
        """Return what the test says to this call."""
        answers: Any = self.answers
        if isinstance(answers, Mapping):
            answers = answers.get(call.path, Response(404, body="no such path"))
        return answers if isinstance(answers, Response) else answers(call)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: ProviderServer

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        length = int(self.headers.get("Content-Length") or 0)
        headers = {name.lower(): value for name, value in self.headers.items()}
        call = Recorded(self.command, self.path, headers, lambda: self.rfile.read(length))
        self.server.requests.append(call)
        try:
            response = self.server.answer(call)
        except BaseException as error:  # noqa: BLE001 - told to the test at the end
            self.server.failures.append(error)
            response = Response(500, body=f"the test's answer function failed: {error!r}")
        if response is DROP_BEFORE:
            call._read = lambda: b""
            self.drop()
            return
        call.body  # noqa: B018 - reads it
        time.sleep(response.delay)
        if response is DROP_AFTER:
            self.drop()
            return
        self.send(response)

    def send(self, response: Response) -> None:
        content = response.content
        lines = [f"HTTP/1.1 {response.status} {self.responses.get(response.status, ('Odd',))[0]}"]
        usual = {"Content-Length": str(len(content)), "Content-Type": "application/json"}
        lines += [f"{name}: {value}" for name, value in {**usual, **response.headers}.items()]
        head = "\r\n".join(lines).encode() + b"\r\n\r\n"
        if response.cut is not None:
            self.wfile.write(head + content[: response.cut])
            self.drop()
        else:
            self.wfile.write(head + content)

    def drop(self) -> None:
        """End the connection at once, with a reset."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.wfile.flush()
        self.connection.close()


@contextmanager
def provider_server(answer: Answers, tls: ssl.SSLContext | None = None) -> Iterator[ProviderServer]:
    """Serve as long as the block lasts. What the answer function raised is raised at the end of the block."""
    server = ProviderServer(answer, tls)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join()
    if server.failures:
        raise server.failures[0]
