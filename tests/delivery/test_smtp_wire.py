"""Reading replies: in any pieces, and whatever bytes come, each read ends in a reply or in one of two errors."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from servers.smtp import Certificate

from drumbeat.delivery.smtp_session import Offers
from drumbeat.delivery.smtp_wire import LONGEST_LINE, LONGEST_REPLY, Garbled, Lost, Wire


@pytest.fixture
def ends() -> Iterator[tuple[Wire, socket.socket]]:
    """Our wire and the socket of the other side."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Wire(ours, 0.3), theirs


def _feed(data: bytes, sizes: list[int]) -> list[bytes]:
    """Return what a wire reads of `data`, sent in pieces of these sizes in turn and then closed; ends with None."""
    ours, theirs = socket.socketpair()
    read: list[bytes] = []
    with ours, theirs:
        wire = Wire(ours, 5)

        def send() -> None:
            at = number = 0
            while at < len(data):
                size = sizes[number % len(sizes)]
                try:
                    theirs.sendall(data[at : at + size])
                except OSError:  # the reader has had enough
                    return
                at, number = at + size, number + 1
            theirs.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        try:
            while True:
                read.append(wire.reply())
        except Lost:
            ours.close()
        sender.join()
    return read


LINE = st.binary(max_size=20).filter(lambda line: b"\n" not in line)
REPLY = st.builds(
    lambda code, lines, last, end: (
        b"".join(b"%d-%b%b" % (code, line, end) for line in lines) + b"%d %b%b" % (code, last, end)
    ),
    st.integers(200, 599),
    st.lists(LINE, max_size=3),
    LINE,
    st.sampled_from([b"\r\n", b"\n"]),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(REPLY, max_size=6), st.lists(st.integers(1, 40), min_size=1, max_size=4))
def test_replies_are_read_one_by_one_in_whatever_pieces_they_come(
    replies: list[bytes], sizes: list[int]
) -> None:
    assert _feed(b"".join(replies), sizes) == replies


@settings(max_examples=150, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=300),
        st.lists(
            st.sampled_from([b"2", b"250", b"-", b" ", b"\r", b"\n", b"\r\n", b"3", b"x"]), max_size=60
        ).map(b"".join),
    ),
    st.lists(st.integers(1, 60), min_size=1, max_size=3),
)
def test_random_bytes_neither_crash_nor_hang(data: bytes, sizes: list[int]) -> None:
    """What is read before they go wrong is what came, byte by byte."""
    started = time.monotonic()
    read = _feed(data, sizes)
    assert data.startswith(b"".join(read))
    assert all(reply[:3].isdigit() and reply.endswith(b"\n") for reply in read)
    assert time.monotonic() - started < 4


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_any_answer_to_ehlo_is_read(reply: bytes) -> None:
    offers = Offers.read(b"250-test\r\n" + reply)
    assert offers.size is None or offers.size >= 0


@pytest.mark.parametrize(
    ("reply", "offers"),
    [
        (b"250 test\r\n", Offers()),
        (b"250-test PIPELINING\r\n250 HELP\r\n", Offers()),
        (b"250-test\r\n250-pipelining\r\n250-Size 1000\r\n250 8BITMIME\r\n", Offers(pipelining=True, size=1000, eight_bit=True)),
        (b"250-test\r\n250-SIZE\r\n250 SMTPUTF8\r\n", Offers(size=0, smtputf8=True)),
        (b"250-test\r\n250-SIZE many\r\n250 STARTTLS\r\n", Offers(size=0, starttls=True)),
        (b"250-test\r\n250-AUTH PLAIN login\r\n250 AUTH=XOAUTH2 PLAIN\r\n", Offers(auth=("PLAIN", "LOGIN", "XOAUTH2", "PLAIN"))),
    ],
)  # fmt: skip
def test_what_a_server_offers_is_read(reply: bytes, offers: Offers) -> None:
    assert Offers.read(reply) == offers


def test_silence_ends_at_the_time_out(ends: tuple[Wire, socket.socket]) -> None:
    started = time.monotonic()
    with pytest.raises(Lost, match="timed out"):
        ends[0].reply()
    assert 0.25 < time.monotonic() - started < 3


def test_a_reply_that_drips_for_ever_ends_at_the_time_out_too(ends: tuple[Wire, socket.socket]) -> None:
    """Each byte comes in time, the reply does not."""
    wire, theirs = ends
    stop = threading.Event()

    def drip() -> None:
        while not stop.wait(0.02):
            theirs.sendall(b"2" * 3 + b"-x\r\n")

    thread = threading.Thread(target=drip)
    thread.start()
    started = time.monotonic()
    with pytest.raises(Lost, match="timed out"):
        wire.reply()
    assert time.monotonic() - started < 3
    stop.set()
    thread.join()


def test_patience_may_be_longer_than_the_time_out(ends: tuple[Wire, socket.socket]) -> None:
    wire, theirs = ends
    timer = threading.Timer(0.6, lambda: theirs.sendall(b"250 ok\r\n"))
    timer.start()
    assert wire.reply(5) == b"250 ok\r\n"
    timer.join()
    with pytest.raises(Lost, match="timed out"):
        wire.reply()


@pytest.mark.parametrize(
    "flood",
    [b"250 " + b"x" * (2 * LONGEST_LINE), b"250-" + b"y" * 100 + b"\r\n"],
    ids=["a line without end", "lines without end"],
)
def test_a_flood_is_not_kept_in_memory(ends: tuple[Wire, socket.socket], flood: bytes) -> None:
    wire, theirs = ends

    def send() -> None:
        with contextlib.suppress(OSError):  # the reader goes before the end
            theirs.sendall(flood * (201 + LONGEST_REPLY // len(flood)))

    sender = threading.Thread(target=send)
    sender.start()
    with pytest.raises(Garbled, match=r"of more than \d+ bytes"):
        wire.reply(10)
    wire.shutdown()
    sender.join(5)


def test_what_was_sent_before_the_connection_broke_is_counted_exactly() -> None:
    """The count decides whether a final dot can have left."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        wire = Wire(ours, 0.2)
        with pytest.raises(Lost, match="timed out") as lost:
            wire.send(b"x" * 50_000_000)
        theirs.setblocking(False)
        arrived = 0
        while True:
            try:
                arrived += len(theirs.recv(1 << 20))
            except BlockingIOError:
                break
    assert 0 < lost.value.sent == arrived


def test_what_was_sent_encrypted_is_counted_in_what_the_other_side_can_read(certificate: Certificate) -> None:
    """A record that is not whole cannot be read, so its bytes do not count."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.certificate, certificate.key)
    ours, theirs = socket.socketpair()
    served: list[ssl.SSLSocket] = []
    shaking = threading.Thread(target=lambda: served.append(context.wrap_socket(theirs, server_side=True)))
    with ours:
        wire = Wire(ours, 0.5)
        shaking.start()
        wire.encrypt(ssl.create_default_context(cafile=str(certificate.ca)), "localhost")
        shaking.join()
        with served[0] as peer:
            with pytest.raises(Lost, match="timed out") as lost:
                wire.send(b"x" * 20_000_000)
            peer.settimeout(0.5)
            arrived = 0
            while True:
                try:
                    arrived += len(peer.recv(1 << 16))
                except TimeoutError:
                    break
            wire.close()
    assert 0 < lost.value.sent == arrived
