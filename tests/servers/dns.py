"""A real DNS server for tests: UDP and TCP on one loopback port, its zones a dict.

    with dns_server({"example.com": {"TXT": ["v=spf1 -all"], "MX": ["10 mx.example.com."]}}) as server:
        ... ("127.0.0.1", server.port)

A name's records: texts as zone files have them (TXT strings are quoted and split here), or a way to misbehave:

    "SERVFAIL"   the server failed to find out
    "SILENCE"    no answer at all
    "TRUNCATED"  empty and truncated over UDP; over TCP what stands under "TCP"
    "GARBAGE"    octets that are no DNS message

A name that is not there does not exist (NXDOMAIN), unless another stands below it; of one that is there but has no
such records the answer is empty. CNAME is followed. `server.asked` lists every question as (name, kind).
"""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

Records = Mapping[str, Any] | str
Zones = Mapping[str, Records]


class DnsServer:
    """Answers from its zones, which may be changed while it runs."""

    def __init__(self, zones: Zones) -> None:
        self.zones = {name.lower(): records for name, records in zones.items()}
        self.asked: list[tuple[str, str]] = []
        self.tcp_questions = 0
        self.port = 0

    def answer(self, wire: bytes, *, tcp: bool) -> bytes | None:
        """Return the answer to a question, or None for silence."""
        question = dns.message.from_wire(wire)
        (asked,) = question.question
        name = asked.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(asked.rdtype)
        self.asked.append((name, kind))
        self.tcp_questions += tcp
        reply = dns.message.make_response(question, our_payload=1232)
        reply.flags |= dns.flags.RA
        records = self.zones.get(name)
        for _ in range(8):
            if not isinstance(records, Mapping) or "CNAME" not in records or kind == "CNAME":
                break
            target = str(records["CNAME"]).rstrip(".").lower()
            reply.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", "CNAME", f"{target}."))
            name, records = target, self.zones.get(target)
        if records in ("SILENCE", "GARBAGE"):
            return None if records == "SILENCE" else b"\x00garbage"
        if records == "SERVFAIL":
            reply.set_rcode(dns.rcode.SERVFAIL)
        elif records is None:
            below = any(known.endswith(f".{name}") for known in self.zones)
            reply.set_rcode(dns.rcode.NOERROR if below else dns.rcode.NXDOMAIN)
        elif isinstance(records, Mapping):
            if "TCP" in records and not tcp:
                reply.flags |= dns.flags.TC
                return reply.to_wire()
            texts = records.get("TCP", records).get(kind, [])
            texts = [texts] if isinstance(texts, str) else texts
            if texts:
                texts = [quoted(text) for text in texts] if kind == "TXT" else texts
                reply.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", kind, *texts))
        octets = reply.to_wire(max_size=65_535)
        if not tcp and len(octets) > 1232:
            reply.answer.clear()
            reply.flags |= dns.flags.TC
            octets = reply.to_wire()
        return octets


def quoted(text: str) -> str:
    """A TXT record as zone files have it: quoted strings of at most 255 octets."""
    octets = text.encode()
    parts = [octets[start : start + 255] for start in range(0, len(octets), 255)] or [b""]
    return " ".join('"' + "".join(_escaped(octet) for octet in part) + '"' for part in parts)


def _escaped(octet: int) -> str:
    return chr(octet) if 0x20 <= octet < 0x7F and octet not in b'"\\' else f"\\{octet:03d}"


@contextmanager
def dns_server(zones: Zones) -> Iterator[DnsServer]:
    """Run a server as long as the block lasts."""
    server = DnsServer(zones)

    class Udp(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            octets, sock = self.request
            if (answer := server.answer(octets, tcp=False)) is not None:
                sock.sendto(answer, self.client_address)

    class Tcp(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while head := self.rfile.read(2):
                answer = server.answer(self.rfile.read(int.from_bytes(head, "big")), tcp=True)
                if answer is None:
                    return
                self.wfile.write(len(answer).to_bytes(2, "big") + answer)

    class TcpServer(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True

    with _pair(TcpServer, Tcp, Udp) as (tcp, udp):
        server.port = tcp.server_address[1]
        threads = [threading.Thread(target=one.serve_forever, args=(0.02,)) for one in (tcp, udp)]
        for thread in threads:
            thread.start()
        try:
            yield server
        finally:
            for one in (tcp, udp):
                one.shutdown()
            for thread in threads:
                thread.join()


@contextmanager
def _pair(tcp_server: Any, tcp_handler: Any, udp_handler: Any) -> Iterator[tuple[Any, Any]]:
    """Both servers on one port: of a free TCP port the UDP one may be taken."""
    while True:
        tcp = tcp_server(("127.0.0.1", 0), tcp_handler)
        try:
            udp = socketserver.ThreadingUDPServer(("127.0.0.1", tcp.server_address[1]), udp_handler)
        except OSError:
            tcp.server_close()
            continue
        with tcp, udp:
            yield tcp, udp
        return
