"""A real SMTP server for tests: a process of its own that keeps what it accepts, and misbehaves by script.

    python smtp_server.py --log mails.jsonl [--script '{"rcpt": {"full@": "452 4.2.2 mailbox full"}}']

It prints its port on the first line of stdout. Each mail is written to the log, fsynced, BEFORE the 250
goes out, as a mail server does: one JSON object a line with `to`, `from`, `message_id`, `size`, and
`content` with --keep-content. Every line is one mail that the server took responsibility for.

The script: what to answer at a step to an address that contains the key ("" for every one).

    step    greeting · ehlo · mail · rcpt · data · content (after the final dot, nothing kept)
    answer  "452 4.2.2 full"  sent as it stands ("|" separates lines)
            "drop"            the connection is closed instead of an answer
            "keep+drop"       at content only: the mail is kept, then the connection is closed
            "sleep:2"         waits two seconds, then goes on as usual
            "begin+drop"      at data only: 354, some of the content is read, then closed
    Steps before MAIL know no address: their key is "".
    "once": true in the script's top level makes each entry count for the first time only.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
import socketserver
import ssl
import sys
import threading
import time
from pathlib import Path


class Closed(Exception):  # noqa: N818 - a signal, not an error
    """The connection is to be closed now."""


class Server(socketserver.ThreadingTCPServer):
    """One thread a connection."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__(("127.0.0.1", options.port), Session)
        self.options = options
        self.script = json.loads(options.script)
        self.log = Path(options.log).open("ab")  # noqa: SIM115 - open as long as the process lives
        self.lock = threading.Lock()
        self.context: ssl.SSLContext | None = None
        if options.certificate:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(options.certificate, options.key)

    def keep(self, mail: dict[str, object]) -> None:
        """Write one line and make sure of it."""
        with self.lock:
            self.log.write(json.dumps(mail).encode() + b"\n")
            self.log.flush()
            os.fsync(self.log.fileno())

    def scripted(self, step: str, address: str = "") -> str | None:
        """Return the script's answer, if it has one."""
        with self.lock:
            entries = self.script.get(step, {})
            for key, answer in entries.items():
                if key in address:
                    if self.script.get("once"):
                        del entries[key]
                    return str(answer)
        return None


class Session(socketserver.StreamRequestHandler):
    """One connection."""

    server: Server

    def handle(self) -> None:
        """Talk until the client or the script ends it."""
        self.encrypted = self.logged_in = False
        self.sender = self.recipient = ""
        try:
            if self.server.options.implicit_tls:
                self.encrypt()
            self.answer("greeting", "220 test.invalid ESMTP")
            while line := self.rfile.readline():
                self.command(line.decode("utf-8").rstrip("\r\n"))
        except (Closed, OSError):
            pass

    def command(self, line: str) -> None:
        """Answer one command."""
        verb = line.split(" ")[0].upper()
        if verb in ("EHLO", "HELO"):
            self.answer("ehlo", "|".join(self.offers()))
        elif verb == "STARTTLS" and self.server.context:
            self.say("220 go on")
            self.encrypt()
        elif verb == "AUTH":
            self.authenticate(line)
        elif verb == "MAIL":
            self.sender = re.sub(r"(?i)^MAIL FROM:<([^>]*)>.*", r"\1", line)
            if self.server.options.user and not self.logged_in:
                self.say("530 5.7.0 log in first")
            else:
                self.answer("mail", "250 2.1.0 ok", self.sender)
        elif verb == "RCPT":
            self.recipient = re.sub(r"(?i)^RCPT TO:<([^>]*)>.*", r"\1", line)
            self.answer("rcpt", "250 2.1.5 ok", self.recipient)
        elif verb == "DATA":
            self.data()
        elif verb == "QUIT":
            self.say("221 bye")
            raise Closed
        else:
            self.say("250 ok" if verb in ("RSET", "NOOP") else "500 what?")

    def offers(self) -> list[str]:
        words = ["test.invalid", "8BITMIME", "ENHANCEDSTATUSCODES"]
        if self.server.options.smtputf8:
            words.append("SMTPUTF8")
        if self.server.context and not self.encrypted:
            words.append("STARTTLS")
        if self.server.options.user:
            words.append(f"AUTH {self.server.options.auth}")
        return [f"250{'-' if word != words[-1] else ' '}{word}" for word in words]

    def data(self) -> None:
        scripted = self.server.scripted("data", self.recipient)
        if scripted == "begin+drop":
            self.say("354 go on")
            self.rfile.read(20)
            raise Closed
        if scripted is not None:
            self.follow(scripted, "354 go on")
            if not scripted.startswith("sleep"):
                return
        else:
            self.say("354 go on")
        lines = []
        while (line := self.rfile.readline()) != b".\r\n":
            if not line.endswith(b"\r\n"):
                raise Closed  # cut off: without the final dot nothing is taken
            lines.append(line[1:] if line.startswith(b".") else line)
        content = b"".join(lines)
        scripted = self.server.scripted("content", self.recipient)
        if scripted is not None and scripted != "keep+drop" and not scripted.startswith("sleep"):
            self.follow(scripted, "")
            return
        self.keep(content)
        if scripted == "keep+drop":
            raise Closed
        if scripted is not None:
            self.follow(scripted, "250 2.0.0 kept")
        else:
            if self.server.options.delay_ms:
                time.sleep(self.server.options.delay_ms / 1000)
            self.say("250 2.0.0 kept")

    def keep(self, content: bytes) -> None:
        found = re.search(rb"(?im)^Message-ID:\s*(\S+)", content)
        mail: dict[str, object] = {
            "to": self.recipient,
            "from": self.sender,
            "message_id": found.group(1).decode() if found else None,
            "size": len(content),
            "encrypted": self.encrypted,
        }
        if self.server.options.keep_content:
            mail["content"] = base64.b64encode(content).decode()
        self.server.keep(mail)

    def authenticate(self, line: str) -> None:
        """PLAIN and LOGIN (RFC 4954, RFC 4616)."""
        _, method, *initial = line.split(" ")
        if method.upper() == "PLAIN":
            if not initial:
                self.say("334 ")
                initial = [self.rfile.readline().decode().strip()]
            _, user, password = base64.b64decode(initial[0]).decode().split("\0")
        else:
            if not initial:
                self.say("334 VXNlcm5hbWU6")
                initial = [self.rfile.readline().decode().strip()]
            user = base64.b64decode(initial[0]).decode()
            self.say("334 UGFzc3dvcmQ6")
            password = base64.b64decode(self.rfile.readline().strip()).decode()
        self.logged_in = f"{user}:{password}" == self.server.options.user
        self.say("235 2.7.0 welcome" if self.logged_in else "535 5.7.8 wrong user name or password")

    def encrypt(self) -> None:
        assert self.server.context is not None
        self.connection = self.server.context.wrap_socket(self.connection, server_side=True)
        self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", 0)
        self.encrypted = True

    def answer(self, step: str, usual: str, address: str = "") -> None:
        scripted = self.server.scripted(step, address)
        self.follow(scripted, usual) if scripted is not None else self.say(usual)

    def follow(self, scripted: str, usual: str) -> None:
        """Do what the script says."""
        if scripted == "drop":
            raise Closed
        if scripted.startswith("sleep:"):
            time.sleep(float(scripted.removeprefix("sleep:")))
            self.say(usual)
        else:
            self.say(scripted)

    def say(self, lines: str) -> None:
        self.wfile.write("".join(f"{line}\r\n" for line in lines.split("|")).encode())


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log", required=True)
    parser.add_argument("--script", default="{}")
    parser.add_argument("--keep-content", action="store_true")
    parser.add_argument("--delay-ms", type=float, default=0)
    parser.add_argument("--smtputf8", action="store_true")
    parser.add_argument("--user", help="user:password; a login is then needed")
    parser.add_argument("--auth", default="PLAIN LOGIN")
    parser.add_argument("--certificate")
    parser.add_argument("--key")
    parser.add_argument("--implicit-tls", action="store_true")
    with Server(parser.parse_args()) as server:
        sys.stdout.write(f"{server.server_address[1]}\n")
        sys.stdout.flush()
        server.serve_forever()


if __name__ == "__main__":
    main()
