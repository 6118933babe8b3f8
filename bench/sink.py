"""An SMTP server that throws everything away, as fast as Python can: `python sink.py PORT`.

For machines without postfix's smtp-sink. It offers PIPELINING and 8BITMIME, reads in large pieces, and looks
for the end of a mail only. One thread a connection.
"""

from __future__ import annotations

import socketserver
import sys

GREETING = b"220 sink ESMTP\r\n"
HELLO = b"250-sink\r\n250-PIPELINING\r\n250-SIZE 50000000\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n"


class Session(socketserver.BaseRequestHandler):
    """One connection."""

    def handle(self) -> None:
        """Answer until the client goes."""
        self.request.sendall(GREETING)
        waiting, in_content = b"", False
        while data := self.request.recv(262_144):
            waiting += data
            answers = []
            while True:
                if in_content:
                    end = waiting.find(b"\r\n.\r\n")
                    if end < 0:
                        # The end may be split over two pieces.
                        waiting = waiting[-4:]
                        break
                    waiting, in_content = waiting[end + 5 :], False
                    answers.append(b"250 2.0.0 Ok\r\n")
                    continue
                line, found, rest = waiting.partition(b"\r\n")
                if not found:
                    break
                waiting = rest
                verb = line[:4].upper()
                if verb == b"DATA":
                    answers.append(b"354 go on\r\n")
                    in_content = True
                elif verb == b"QUIT":
                    self.request.sendall(b"".join([*answers, b"221 bye\r\n"]))
                    return
                else:
                    answers.append(HELLO if verb in (b"EHLO", b"HELO") else b"250 2.0.0 Ok\r\n")
            if answers:
                self.request.sendall(b"".join(answers))


class Server(socketserver.ThreadingTCPServer):
    """One thread a connection."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128


if __name__ == "__main__":
    with Server(("127.0.0.1", int(sys.argv[1])), Session) as server:
        server.serve_forever()
