"""IMAP4rev1 (RFC 3501) and POP3 (RFC 1939) servers for tests: real sockets, real TLS, one shared mailbox.

    box = Box(); box.put(b"..."); server = serve_imap(box, tls="implicit", certificate=c)

They speak what a reader of a mailbox needs, and misbehave by `box.faults`: what to do at a command, each once.

    {"FETCH": "drop"}           the connection is closed instead of an answer
    {"FETCH": "half"}           half of the answer is sent, then the connection is closed
    {"LOGIN": "NO not today"}   that answer
    {"QUIT": "silent"}          no answer at all
"""

from __future__ import annotations

import base64
import re
import socketserver
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

CAPABILITIES = "IMAP4rev1 UIDPLUS MOVE AUTH=XOAUTH2"


@dataclass
class Message:
    uid: int
    raw: bytes
    flags: set[str] = field(default_factory=set)


@dataclass
class Box:
    """What the servers serve. `folders`: of IMAP; POP3 has INBOX."""

    user: str = "bounces"
    password: str = "secret"
    capabilities: str = CAPABILITIES
    folders: dict[str, list[Message]] = field(default_factory=lambda: {"INBOX": []})
    faults: dict[str, str] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)
    sessions: int = 0
    lock: Any = field(default_factory=threading.RLock)
    next_uid: int = 1

    def put(self, raw: bytes, folder: str = "INBOX", *flags: str) -> None:
        with self.lock:
            self.folders[folder].append(Message(self.next_uid, raw, set(flags)))
            self.next_uid += 1

    def raws(self, folder: str = "INBOX") -> list[bytes]:
        with self.lock:
            return [message.raw for message in self.folders.get(folder, [])]


class _Closed(Exception):  # noqa: N818 - a signal, not an error
    pass


class _Handler(socketserver.StreamRequestHandler):
    server: Any

    def setup(self) -> None:
        self.box: Box = self.server.box
        with self.box.lock:
            self.box.sessions += 1
        if self.server.tls == "implicit":
            self.request = self.server.context.wrap_socket(self.request, server_side=True)
        super().setup()

    def handle(self) -> None:
        with suppress(_Closed, OSError):
            self.serve()

    def finish(self) -> None:
        for end in (self.wfile, self.rfile, self.request):
            with suppress(OSError):
                end.close()

    def encrypt(self) -> None:
        self.wfile.close()
        self.rfile.close()
        self.request = self.server.context.wrap_socket(self.request, server_side=True)
        self.rfile = self.request.makefile("rb")
        self.wfile = self.request.makefile("wb", buffering=0)

    def line(self) -> str:
        line = self.rfile.readline()
        if not line:
            raise _Closed
        return line.decode("utf-8", "replace").rstrip("\r\n")

    def say(self, text: bytes | str) -> None:
        self.wfile.write((text.encode() if isinstance(text, str) else text) + b"\r\n")

    def fault(self, command: str, answer: bytes, ok: bytes) -> bool:
        """Misbehave at a command, if that is wanted; return whether the answer was given by that."""
        with self.box.lock:
            wanted = self.box.faults.pop(command, None)
        if wanted is None:
            return False
        if wanted == "drop":
            raise _Closed
        if wanted == "half":
            self.wfile.write(answer[: len(answer) // 2])
            raise _Closed
        if wanted == "silent":
            time.sleep(5)
            raise _Closed
        self.say(ok + wanted.encode())
        return True


class ImapHandler(_Handler):
    """One IMAP connection."""

    def serve(self) -> None:
        self.folder: str | None = None
        self.logged_in = False
        self.say("* OK ready")
        while True:
            tag, _, rest = self.line().partition(" ")
            uid, _, arguments = rest.partition(" ")
            command = uid.upper()
            if command == "UID":
                command, _, arguments = arguments.partition(" ")
                command = command.upper()
            with self.box.lock:
                self.box.commands.append(f"{command} {arguments}".strip())
            method = getattr(self, f"do_{command.lower()}", None)
            if method is None:
                self.say(f"{tag} BAD unknown command")
                continue
            with self.box.lock:
                untagged, status = method(tag, arguments)
            answer = b"".join(line + b"\r\n" for line in untagged)
            if not self.fault(command, answer + b"x" * 40, tag.encode() + b" "):
                self.wfile.write(answer)
                self.say(f"{tag} {status}")
            if command == "STARTTLS":
                self.encrypt()
            if command == "LOGOUT":
                raise _Closed

    def do_capability(self, tag: str, _: str) -> tuple[list[bytes], str]:
        # As Dovecot and Gmail do, all of it is told only after the login.
        known = self.box.capabilities if self.logged_in else "IMAP4rev1 AUTH=XOAUTH2"
        more = " STARTTLS" if self.server.tls == "starttls" else ""
        return [f"* CAPABILITY {known}{more}".encode()], "OK done"

    def do_starttls(self, tag: str, _: str) -> tuple[list[bytes], str]:
        return [], "OK begin"

    def do_login(self, tag: str, arguments: str) -> tuple[list[bytes], str]:
        user, password = (word.strip('"') for word in arguments.split(" ", 1))
        right = self.logged_in = (user, password) == (self.box.user, self.box.password)
        return [], "OK welcome" if right else "NO [AUTHENTICATIONFAILED] wrong user name or password"

    def do_authenticate(self, tag: str, arguments: str) -> tuple[list[bytes], str]:
        self.say("+ ")
        given = base64.b64decode(self.line())
        wanted = f"user={self.box.user}\x01auth=Bearer {self.box.password}\x01\x01".encode()
        self.logged_in = given == wanted
        return [], "OK welcome" if self.logged_in else "NO invalid credentials"

    def do_select(self, tag: str, arguments: str) -> tuple[list[bytes], str]:
        name = _name(arguments)
        if name not in self.box.folders:
            return [], "NO [NONEXISTENT] no such folder"
        self.folder = name
        return [
            f"* {len(self.box.folders[name])} EXISTS".encode(),
            b"* FLAGS (\\Seen \\Deleted)",
        ], "OK selected"

    def do_create(self, tag: str, arguments: str) -> tuple[list[bytes], str]:
        name = _name(arguments)
        if name in self.box.folders:
            return [], "NO [ALREADYEXISTS] it is there"
        self.box.folders[name] = []
        return [], "OK created"

    def do_search(self, tag: str, arguments: str) -> tuple[list[bytes], str]:
        assert arguments == "UNDELETED", arguments
        found = [str(m.uid) for m in self._messages() if "\\Deleted" not in m.flags]
        return [("* SEARCH " + " ".join(found)).strip().encode()], "OK done"

    def do_fetch(self, tag: str, arguments: str) -> tuple[list[bytes], str]:
        numbers, _, item = arguments.partition(" ")
        most = int(re.fullmatch(r"\(BODY\.PEEK\[\]<0\.(\d+)>\)", item).group(1))  # type: ignore[union-attr]
        lines = []
        for place, message in enumerate(self._messages(), 1):
            if str(message.uid) in numbers.split(","):
                raw = message.raw[:most]
                head = f"* {place} FETCH (UID {message.uid} BODY[]<0> {{{len(raw)}}}".encode()
                lines.append(head + b"\r\n" + raw + b")")
        return lines, "OK done"

    def do_store(self, tag: str, arguments: str) -> tuple[list[bytes], str]:
        numbers, _, rest = arguments.partition(" ")
        flags = re.findall(r"\\\w+", rest)
        for message in self._named(numbers):
            message.flags.update(flags)
        return [], "OK done"

    def do_copy(self, tag: str, arguments: str) -> tuple[list[bytes], str]:
        numbers, _, name = arguments.partition(" ")
        if _name(name) not in self.box.folders:
            return [], "NO [TRYCREATE] no such folder"
        for message in self._named(numbers):
            self.box.put(message.raw, _name(name), *message.flags)
        return [], "OK done"

    def do_move(self, tag: str, arguments: str) -> tuple[list[bytes], str]:
        if "MOVE" not in self.box.capabilities:
            return [], "BAD unknown command"
        untagged, status = self.do_copy(tag, arguments)
        if status.startswith("OK"):
            self._remove(self._named(arguments.partition(" ")[0]))
        return untagged, status

    def do_expunge(self, tag: str, arguments: str) -> tuple[list[bytes], str]:
        chosen = self._named(arguments) if arguments else self._messages()
        self._remove([message for message in chosen if "\\Deleted" in message.flags])
        return [], "OK done"

    def do_logout(self, tag: str, _: str) -> tuple[list[bytes], str]:
        return [b"* BYE"], "OK bye"

    def _messages(self) -> list[Message]:
        return self.box.folders[self.folder or ""]

    def _named(self, numbers: str) -> list[Message]:
        return [message for message in self._messages() if str(message.uid) in numbers.split(",")]

    def _remove(self, messages: list[Message]) -> None:
        self.box.folders[self.folder or ""] = [m for m in self._messages() if m not in messages]


class PopHandler(_Handler):
    """One POP3 connection; deletions hold when it ends with QUIT."""

    def serve(self) -> None:
        with self.box.lock:
            self.messages = list(self.box.folders["INBOX"])
        self.deleted: list[Message] = []
        self.user = ""
        self.say("+OK ready")
        while True:
            command, _, arguments = self.line().partition(" ")
            command = command.upper()
            with self.box.lock:
                self.box.commands.append(f"{command} {arguments}".strip())
            method = getattr(self, f"do_{command.lower()}", None)
            answer = b"-ERR unknown command" if method is None else method(arguments)
            if self.fault(command, answer, b""):
                continue
            if command == "QUIT":
                with self.box.lock:
                    kept = [m for m in self.box.folders["INBOX"] if m not in self.deleted]
                    self.box.folders["INBOX"] = kept
            self.say(answer)
            if command == "STLS":
                self.encrypt()
            if command == "QUIT":
                raise _Closed

    def do_user(self, arguments: str) -> bytes:
        self.user = arguments
        return b"+OK"

    def do_pass(self, arguments: str) -> bytes:
        right = (self.user, arguments) == (self.box.user, self.box.password)
        return b"+OK welcome" if right else b"-ERR [AUTH] wrong user name or password"

    def do_auth(self, arguments: str) -> bytes:
        wanted = f"user={self.box.user}\x01auth=Bearer {self.box.password}\x01\x01".encode()
        right = arguments.split(" ") == ["XOAUTH2", base64.b64encode(wanted).decode()]
        return b"+OK welcome" if right else b"-ERR invalid credentials"

    def do_capa(self, arguments: str) -> bytes:
        return b"+OK\r\nTOP\r\nSTLS\r\n."

    def do_stls(self, arguments: str) -> bytes:
        return b"+OK begin"

    def do_list(self, arguments: str) -> bytes:
        rows = [f"{n} {len(m.raw)}".encode() for n, m in enumerate(self.messages, 1)]
        return b"\r\n".join([b"+OK", *rows, b"."])

    def do_retr(self, arguments: str) -> bytes:
        return self._content(self.messages[int(arguments) - 1].raw)

    def do_top(self, arguments: str) -> bytes:
        number, lines = map(int, arguments.split())
        head, _, body = self.messages[number - 1].raw.partition(b"\r\n\r\n")
        return self._content(head + b"\r\n\r\n" + b"\r\n".join(body.split(b"\r\n")[:lines]))

    def do_dele(self, arguments: str) -> bytes:
        self.deleted.append(self.messages[int(arguments) - 1])
        return b"+OK"

    def do_quit(self, arguments: str) -> bytes:
        return b"+OK bye"

    def _content(self, raw: bytes) -> bytes:
        stuffed = re.sub(rb"(?m)^\.", b"..", raw)
        return b"+OK\r\n" + stuffed + (b"" if stuffed.endswith(b"\r\n") else b"\r\n") + b"."


def _name(argument: str) -> str:
    name = argument[1:-1] if argument.startswith('"') else argument
    return name.replace('\\"', '"')


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away, such as one that does not trust the certificate, is no fault."""


@contextmanager
def serve(box: Box, handler: type[_Handler], *, tls: str = "none", certificate: Any = None) -> Iterator[int]:
    """Serve the box on loopback; give the port. `tls`: none, starttls or implicit."""
    server = _Server(("127.0.0.1", 0), handler)
    server.box, server.tls = box, tls  # type: ignore[attr-defined]
    if certificate is not None:
        server.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # type: ignore[attr-defined]
        server.context.load_cert_chain(certificate.certificate, certificate.key)  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
