"""A real SMTP server for tests: a process of its own that keeps what it accepts, and misbehaves by script.

    python smtp_server.py --log mails.jsonl [--script '{"rcpt": {"full@": "452 4.2.2 mailbox full"}}']

It prints its port on the first line of stdout. Each mail is written to the log, fsynced, BEFORE the 250
goes out, as a mail server does: one JSON object a line with `to`, `from`, `message_id`, `size`, `encrypted`,
`connection` (its number), `pipelined` (RCPT and DATA came with MAIL), `overlapped` (the next MAIL came with the
final dot), `options` (what stood behind MAIL's address), and `content` with --keep-content. Every line is one
mail that the server took responsibility for. With --trace every command is a line of another file.

The script: what to answer at a step to an address that contains the key ("" for every one).

    step    greeting · ehlo · helo · starttls · auth · mail · rcpt · data · content (after the final dot, nothing
            kept) · rset · quit
    answer  "452 4.2.2 full"  sent as it stands ("|" separates lines)
            "drop"            the connection is closed instead of an answer
            "keep+drop"       at content only: the mail is kept, then the connection is closed
            "sleep:2"         waits two seconds, then goes on as usual
            "begin+drop"      at data only: 354, some of the content is read, then closed
            "begin+421 4.3.2 bye"   at data only: 354, some of the content is read, then that and closed
            "drip:0.001"      the usual answer, a byte at a time with that many seconds between
            "silent"          no answer at all
            "garbage"         bytes that are no SMTP
            "endless"         a line that does not end
            "twice"           the usual answer two times
            "exit"            the server process ends, as if killed
            "keep+exit"       at content only: the mail is kept, then the process ends
            "ANSWER+drop"     that answer, then closed, as servers do after 421
    Steps before MAIL, and rset and quit, know no address: their key is "".
    "once": true in the script's top level makes each entry count for the first time only.
"""

from __future__ import annotations

import argparse
import base64
import itertools
import json
import os
import re
import socketserver
import ssl
import sys
import threading
import time
from pathlib import Path

from smtp_options import parse  # beside this file, which is run as a program


class Closed(Exception):  # noqa: N818 - a signal, not an error
    """The connection is to be closed now."""


class Server(socketserver.ThreadingTCPServer):
    """One thread a connection."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__(("127.0.0.1", options.port), Session)
        self.options = options
        self.script = json.loads(options.script)
        self.log = Path(options.log).open("ab")  # noqa: SIM115 - open as long as the process lives
        self.trace = Path(options.trace).open("ab", 0) if options.trace else None  # noqa: SIM115
        self.lock, self.syncing = threading.Lock(), threading.Lock()
        self.written = self.synced = 0
        self.numbers = itertools.count(1)
        self.here = 0
        self.context: ssl.SSLContext | None = None
        if options.certificate:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(options.certificate, options.key)

    def keep(self, mail: dict[str, object]) -> None:
        """Write one line and make sure of it; connections that wait for the disk at once share one sync."""
        line = json.dumps(mail).encode() + b"\n"
        with self.lock:
            self.log.write(line)
            self.log.flush()
            self.written += 1
            mine = self.written
        with self.syncing:
            if self.synced < mine:
                everything = self.written
                os.fdatasync(self.log.fileno())
                self.synced = everything

    def scripted(self, step: str, address: str = "") -> str | None:
        """Return the script's answer, if it has one."""
        entries = self.script.get(step)
        if not entries:
            return None
        with self.lock:
            for key, answer in entries.items():
                if key in address:
                    if self.script.get("once"):
                        del entries[key]
                    return str(answer)
        return None


class Session(socketserver.BaseRequestHandler):
    """One connection."""

    server: Server

    def handle(self) -> None:
        """Talk until the client or the script ends it."""
        self.number = next(self.server.numbers)
        self.buffer = b""
        self.encrypted = self.logged_in = self.overlapped = self.pipelined = False
        self.sender: str | None = None
        self.recipient: str | None = None
        self.mail_options = ""
        with self.server.lock:
            self.server.here += 1
        try:
            if self.server.options.implicit_tls:
                self.encrypt()
            if 0 < self.server.options.max_connections < self.server.here:
                self.say("421 4.7.0 too many concurrent SMTP connections")
                raise Closed
            self.answer("greeting", "220 test.invalid ESMTP")
            while True:
                self.command(self.line().decode("utf-8", "replace"))
        except (Closed, OSError):
            pass
        finally:
            with self.server.lock:
                self.server.here -= 1

    def line(self) -> bytes:
        """Return the next line without its end."""
        while (end := self.buffer.find(b"\n")) < 0:
            self.read()
        line, self.buffer = self.buffer[:end], self.buffer[end + 1 :]
        return line.rstrip(b"\r")

    def read(self) -> None:
        """Take more from the client."""
        more = self.request.recv(65536)
        if not more:
            raise Closed
        self.buffer += more

    def command(self, line: str) -> None:
        """Answer one command."""
        options = self.server.options
        if self.server.trace:
            self.server.trace.write(f"{self.number} {line}\n".encode())
        verb = line.split(" ")[0].upper()
        if verb in ("MAIL", "RCPT", "DATA") and self.buffer and not self.offers_pipelining:
            self.say("503 5.5.0 improper use of SMTP command pipelining")
            raise Closed
        if verb == "EHLO" and not options.helo_only:
            self.answer("ehlo", "|".join(self.offers()))
        elif verb == "HELO":
            self.answer("helo", "250 test.invalid")
        elif verb == "STARTTLS" and self.server.context:
            self.starttls()
        elif verb == "AUTH":
            self.authenticate(line)
        elif verb == "MAIL":
            self.mail(line)
        elif verb == "RCPT":
            self.rcpt(line)
        elif verb == "DATA":
            self.data()
        elif verb == "QUIT":
            self.answer("quit", "221 bye")
            raise Closed
        elif verb in ("RSET", "NOOP"):
            self.sender = self.recipient = None
            self.answer(verb.lower(), "250 ok")
        else:
            self.say("500 what?")

    @property
    def offers_pipelining(self) -> bool:
        return not (self.server.options.no_pipelining or self.server.options.helo_only)

    def offers(self) -> list[str]:
        options = self.server.options
        words = ["test.invalid", "ENHANCEDSTATUSCODES"]
        words += [] if options.no_8bit else ["8BITMIME"]
        words += ["PIPELINING"] if self.offers_pipelining else []
        words += ["SMTPUTF8"] if options.smtputf8 else []
        words += [f"SIZE {options.size}" if options.size else "SIZE"]
        if self.server.context and not self.encrypted:
            words.append("STARTTLS")
        if options.user and (self.encrypted or not options.auth_after_tls):
            words.append(f"AUTH {options.auth}")
        return [f"250{'-' if word != words[-1] else ' '}{word}" for word in words]

    def mail(self, line: str) -> None:
        if self.server.options.user and not self.logged_in:
            self.say("530 5.7.0 log in first")
            return
        if self.sender is not None:
            self.say("503 5.5.1 nested MAIL")
            return
        found = re.fullmatch(r"(?i)MAIL FROM:<([^>]*)>(.*)", line)
        if not found:
            self.say("501 5.5.4 what?")
            return
        sender, self.mail_options = found.group(1), found.group(2).strip()
        self.pipelined = b"DATA\r\n" in self.buffer
        if self.answer("mail", "250 2.1.0 ok", sender):
            self.sender = sender

    def rcpt(self, line: str) -> None:
        if self.sender is None:
            self.say("503 5.5.1 MAIL first")
            return
        found = re.fullmatch(r"(?i)RCPT TO:<([^>]*)>", line)
        if not found:
            self.say("501 5.5.4 what?")
            return
        if self.answer("rcpt", "250 2.1.5 ok", found.group(1)):
            self.recipient = found.group(1)

    def data(self) -> None:
        recipient = self.recipient
        if recipient is None:
            if not self.server.options.eager_data:
                self.say("503 5.5.1 RCPT first")
                return
            # RFC 2920 section 3.1 allows 354 here; the client must then send a lone dot.
            self.say("354 go on")
            self.content()
            self.sender = None
            self.say("554 5.5.1 no valid recipients")
            return
        scripted = self.server.scripted("data", recipient)
        if scripted is not None and scripted.startswith("begin+"):
            self.say("354 go on")
            while len(self.buffer) < 20:
                self.read()
            if scripted != "begin+drop":
                self.say(scripted.removeprefix("begin+"))
            raise Closed
        if scripted is None:
            self.say("354 go on")
        elif not self.follow(scripted, "354 go on"):
            return
        content = self.content()
        self.overlapped = self.buffer.startswith(b"MAIL")
        scripted = self.server.scripted("content", recipient)
        takes = scripted is None or scripted.startswith(("sleep", "drip", "keep", "twice", "silent", "250"))
        if takes:
            self.keep(content)
        self.sender = self.recipient = None
        if scripted is not None:
            self.follow(scripted.removeprefix("keep+"), "250 2.0.0 kept")
            return
        if self.server.options.delay_ms:
            time.sleep(self.server.options.delay_ms / 1000)
        self.say("250 2.0.0 kept")

    def content(self) -> bytes:
        """Read until the final dot; without it nothing is taken."""
        while not self.buffer.startswith(b".\r\n"):
            if (end := self.buffer.find(b"\r\n.\r\n")) >= 0:
                content, self.buffer = self.buffer[: end + 2], self.buffer[end + 5 :]
                content = content[1:] if content.startswith(b".") else content
                return content.replace(b"\r\n.", b"\r\n")
            self.read()
        self.buffer = self.buffer[3:]
        return b""

    def keep(self, content: bytes) -> None:
        found = re.search(rb"(?im)^Message-ID:\s*(\S+)", content[:8192])
        mail: dict[str, object] = {
            "to": self.recipient,
            "from": self.sender,
            "message_id": found.group(1).decode() if found else None,
            "size": len(content),
            "encrypted": self.encrypted,
            "connection": self.number,
            "pipelined": self.pipelined,
            "overlapped": self.overlapped,
            "options": self.mail_options,
        }
        if self.server.options.keep_content:
            mail["content"] = base64.b64encode(content).decode()
        self.server.keep(mail)

    def authenticate(self, line: str) -> None:
        """PLAIN, LOGIN (RFC 4954, RFC 4616) and XOAUTH2."""
        if (scripted := self.server.scripted("auth")) is not None and not self.follow(scripted, ""):
            return
        _, method, *initial = line.split(" ")
        if method.upper() not in self.server.options.auth.split():
            self.say("504 5.5.4 no such mechanism")
            return
        if method.upper() == "PLAIN":
            given = base64.b64decode(initial[0] if initial else self.ask("")).decode()
            _, user, password = given.split("\0")
            self.logged_in = f"{user}:{password}" == self.server.options.user
        elif method.upper() == "LOGIN":
            user = base64.b64decode(initial[0] if initial else self.ask("VXNlcm5hbWU6")).decode()
            password = base64.b64decode(self.ask("UGFzc3dvcmQ6")).decode()
            self.logged_in = f"{user}:{password}" == self.server.options.user
        else:
            given = base64.b64decode(initial[0]).decode()
            found = re.fullmatch(r"user=([^\x01]*)\x01auth=Bearer ([^\x01]*)\x01\x01", given)
            self.logged_in = found is not None and ":".join(found.groups()) == self.server.options.user
            if not self.logged_in:
                fault = {"status": "401", "schemes": "Bearer", "scope": "https://mail.test.invalid/"}
                if self.ask(base64.b64encode(json.dumps(fault).encode()).decode()) != "":
                    self.say("501 5.5.2 an empty line was expected")
                    return
        self.say("235 2.7.0 welcome" if self.logged_in else "535 5.7.8 wrong user name or password")

    def ask(self, challenge: str) -> str:
        self.say(f"334 {challenge}")
        return self.line().decode()

    def starttls(self) -> None:
        scripted = self.server.scripted("starttls")
        if scripted is not None and scripted.startswith("inject:"):
            # What somebody between would put in behind the answer, hoping that it is read after the handshake.
            self.say("220 go on|" + scripted.removeprefix("inject:"))
        elif scripted is not None:
            if not self.follow(scripted, "220 go on"):
                return
        else:
            self.say("220 go on")
        self.encrypt()

    def encrypt(self) -> None:
        assert self.server.context is not None
        self.buffer = b""
        self.request = self.server.context.wrap_socket(self.request, server_side=True)
        self.encrypted = True

    def finish(self) -> None:
        """Close what may have become another socket than the one of the start."""
        self.request.close()

    def answer(self, step: str, usual: str, address: str = "") -> bool:
        """Answer as usual or by the script; say whether it was positive."""
        scripted = self.server.scripted(step, address)
        if scripted is not None:
            return self.follow(scripted, usual)
        self.say(usual)
        return True

    def follow(self, scripted: str, usual: str) -> bool:
        """Do what the script says; say whether things go on as if all were well."""
        word, _, rest = scripted.partition(":")
        if scripted == "drop":
            raise Closed
        if scripted == "exit":
            os._exit(1)
        if word == "sleep":
            time.sleep(float(rest))
            self.say(usual)
        elif word == "drip":
            for byte in "".join(f"{line}\r\n" for line in usual.split("|")).encode():
                time.sleep(float(rest))
                self.request.sendall(bytes([byte]))
        elif scripted == "silent":
            pass
        elif scripted == "twice":
            self.say(f"{usual}|{usual}")
        elif scripted == "garbage":
            self.request.sendall(b"\x00\xff\x1b[31m no\tSMTP \xe2\x80\xa8at all\r\n")
            return False
        elif scripted == "endless":
            self.request.sendall(b"250 " + b"x" * 100_000)
            return False
        elif scripted.endswith("+drop"):
            self.say(scripted.removesuffix("+drop"))
            raise Closed
        else:
            self.say(scripted)
            return scripted.startswith(("2", "354"))
        return True

    def say(self, lines: str) -> None:
        self.request.sendall("".join(f"{line}\r\n" for line in lines.split("|")).encode())


def main() -> None:
    """Serve until killed."""
    with Server(parse(__doc__ or "")) as server:
        sys.stdout.write(f"{server.server_address[1]}\n")
        sys.stdout.flush()
        server.serve_forever()


if __name__ == "__main__":
    main()
