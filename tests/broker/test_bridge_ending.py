# SPDX-License-Identifier: Apache-2.0
"""A bridge as a client of MQTT, against a remote that does what each test says: keep alive, how
connections end, and WebSocket.
"""

import base64
import hashlib
import time

import pytest

from bridges import (BOTH, IN, OUT, TEXT, VERY_FAST, bridge, config, dial, message, needs_bridge, needs_store, plugins,
                     remote, sub)
from mqtt import Closed, Filter, Packet, encode, wait_until

pytestmark = [needs_bridge, pytest.mark.statement()]


# --- Keep Alive ---


@pytest.mark.parametrize("version, own, of_remote", [(4, "1s", None), (5, "1s", None), (5, "60s", 1), (5, "0s", 1)])
def test_keep_alive(dial, remote, version, own, of_remote):
    """PINGREQ in each Keep Alive, of the remote where it says one; without answers the connection is given up."""
    near = dial(version=version, keep_alive=own)
    conn = remote.up(**({"server_keep_alive": of_remote} if of_remote else {}))
    begin = time.monotonic()
    for _ in range(3):
        conn.expect("PINGREQ")
        conn.send(b"\xd0\0")
    assert time.monotonic() - begin < 6
    answered = time.monotonic()
    left = None
    while left is None:
        try:
            packet = conn.recv()
            assert packet.kind in ("PINGREQ", "DISCONNECT")
        except Closed:
            left = time.monotonic()
    assert 1.2 < left - answered < 6
    remote.up()
    wait_until(lambda: "does not answer" in near.log())


@BOTH
@pytest.mark.parametrize("qos", [1, 2])
def test_a_remote_that_reads_nothing(run_broker, plugins, remote, version, qos):
    """It is given up after `write_timeout`, though nothing is asked of it; the next connection gets what it has not
    acknowledged, once and in order. Meanwhile others are served."""
    near = run_broker(config(plugins, bridge(remote.port, OUT, version=TEXT[version], keep_alive="0s"),
                             links={"up": {"limits": {"write_timeout": "1s", "max_inflight_messages": 1000}}}))
    conn = remote.up()
    speaker, other = near.connect(), near.connect()
    other.subscribe(Filter("n/#", qos=1))
    speaker.publish("o/1", "first", qos=qos)
    assert conn.message(ack=False).payload == b"first"
    for i in range(40):
        speaker.publish("o/1", f"{i} ".ljust(500000, "x"), qos=qos)
    speaker.publish("n/1", "here", qos=1)
    assert other.message().payload == b"here"
    conn = remote.up(present=1)
    wait_until(lambda: "took nothing for too long" in near.log())
    got = [conn.message(ack=False) for _ in range(41)]
    assert [one.payload.split()[0] for one in got] == [b"first", *(b"%d" % i for i in range(40))]
    assert len({one.packet_id for one in got}) == 41 and got[0].dup


def test_it_pings_who_talks(dial, remote):
    """What comes from the remote is no reason to be silent."""
    near = dial(IN, keep_alive="1s")
    conn = remote.up()
    conn.subscribed()
    inside = sub(near, "i/#")
    deadline = time.monotonic() + 6
    seen = 0
    while not seen and time.monotonic() < deadline:
        message(conn, "i/1")
        inside.message()
        try:
            conn.expect("PINGREQ", timeout=0.05)
            seen += 1
        except TimeoutError:
            pass
    assert seen


@pytest.mark.parametrize("own, of_remote", [("0s", None), ("1s", 0)])
def test_no_keep_alive(dial, remote, own, of_remote):
    dial(keep_alive=own)
    conn = remote.up(**({} if of_remote is None else {"server_keep_alive": of_remote}))
    conn.expect_quiet(2.2)


# --- the end of a connection ---


@pytest.mark.parametrize("reason", [0x00, 0x81, 0x82, 0x89, 0x8B, 0x8D, 0x8E, 0x93, 0x98, 0x9C, 0x9D, 0xA0])
def test_the_remote_says_goodbye(dial, remote, reason):
    """It is not answered; the bridge closes, and comes again."""
    near = dial(**VERY_FAST)
    conn = remote.up()
    near.connect().publish("o/1", "x", qos=1)
    conn.message(ack=False)
    props = {"reason_string": "why", "user_property": [("a", "b")]} if reason else {}
    if reason in (0x9C, 0x9D):
        props["server_reference"] = "elsewhere"
    conn.send(Packet("DISCONNECT", reason=reason, props=props))
    conn.expect_closed()
    remote.up(present=1).message(dup=1)


@BOTH
def test_the_bridge_says_goodbye(dial, remote, version):
    """At the end of its broker: nothing comes after it, and it closes."""
    near = dial(version=version, notifications_local_only=False, notification_topic="state")
    conn = remote.up()
    conn.message(topic="state", payload="1", retain=1)
    near.terminate()
    conn.message(topic="state", payload="0", retain=1)
    conn.expect("DISCONNECT", reason=0)
    conn.expect_closed()


@BOTH
def test_closed_in_the_middle(dial, remote, version):
    """Half a message is none; it is taken when it comes whole."""
    near = dial(IN, version=version)
    inside = sub(near, "i/#")
    conn = remote.up()
    conn.subscribed()
    whole = message_bytes(conn, "i/1", "a" * 5000, qos=2, packet_id=3)
    for cut in (1, 2, 5, 2000, len(whole) - 1):
        conn.send(whole[:cut])
        conn.close()
        conn = remote.up(present=1)
        conn.subscribed()
    conn.send(whole)
    conn.expect("PUBREC", packet_id=3)
    assert len(inside.message().payload) == 5000
    conn.close()


def message_bytes(conn, topic_, payload, **more):
    return encode(conn.publish_packet(topic_, payload, **more), conn.version)


@BOTH
def test_byte_by_byte(dial, remote, version):
    """How packets are cut by the network means nothing."""
    near = dial(OUT, IN, version=version)
    inside = sub(near, "i/#")
    conn = remote.connected()
    conn.connack = conn.connack_packet()
    for one in b"\x20\x02\0\0" if version == 4 else b"\x20\x03\0\0\0":
        conn.send(bytes([one]))
    conn.subscribed()
    for one in message_bytes(conn, "i/1", "slow", qos=1, packet_id=3):
        conn.send(bytes([one]))
    conn.expect("PUBACK", packet_id=3)
    assert inside.message().payload == b"slow"


@BOTH
@pytest.mark.parametrize("store", [False, pytest.param(True, marks=needs_store)])
def test_behind_connack_in_one_piece(dial, remote, version, store):
    """A remote that still had the session sends what it has at once."""
    near = dial(IN, version=version, store=store)
    inside = sub(near, "i/#")
    remote.up().reset()
    conn = remote.connected()
    conn.send(conn.connack_packet(1), *[conn.publish_packet("i/1", str(i), qos=i, packet_id=i or None)
                                        for i in (0, 1, 2)])
    conn.wait("PUBACK", packet_id=1)
    conn.wait("PUBREC", packet_id=2)
    assert [inside.message().payload for _ in range(3)] == [b"0", b"1", b"2"]


@BOTH
@pytest.mark.parametrize("what", ["nothing", "half a CONNACK", "an endless CONNACK", "a slow CONNACK"])
def test_connect_timeout(dial, remote, version, what):
    """Who does not answer in time is left."""
    near = dial(version=version, connect_timeout="1s", try_private=False)
    conn = remote.connected()
    begin = time.monotonic()
    if what == "half a CONNACK":
        conn.send(b"\x20")
    elif what == "an endless CONNACK":
        conn.send(b"\x20\xff\xff\xff\x7f\0\0")
    elif what == "a slow CONNACK":
        conn.send(b"\x20\x7f\0\0")
    try:
        while True:
            if what in ("an endless CONNACK", "a slow CONNACK"):
                conn.send(b"\x26")
            try:
                assert conn.recv(timeout=0.1).kind == "DISCONNECT"
            except TimeoutError:
                assert time.monotonic() - begin < 8
    except Closed:
        pass
    remote.up()
    wait_until(lambda: "connected to 127.0.0.1" in near.log())


@BOTH
@pytest.mark.parametrize("data", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x15\x03\x03\0\x02\x02\x46", bytes(100000),
                                  b"\xff" * 100000, b"220 mail ESMTP\r\n" * 1000],
                         ids=["HTTP", "TLS", "zeros", "ones", "mail"])
def test_something_else_answers(dial, remote, version, data):
    """It goes, tries again, and is well."""
    near = dial(version=version, connect_timeout="1s", try_private=False)
    conn = remote.connected()
    try:
        conn.send(data)
        while conn.recv():
            pass
    except (Closed, TimeoutError) as error:
        assert isinstance(error, Closed)
    remote.up()
    wait_until(lambda: "connected to 127.0.0.1" in near.log())


# --- WebSocket ---


@BOTH
def test_websocket(run_broker, plugins, remote, version):
    """It asks for the subprotocol mqtt, and MQTT travels in binary frames that are masked, cut as it may be."""
    made = bridge(f"ws://127.0.0.1:{remote.port}/path", OUT, version=TEXT[version])
    near = run_broker(config(plugins, made))
    conn = remote.accepted()
    conn.sock = Upgraded(conn.sock)
    assert conn.sock.head.startswith(b"GET /path HTTP/1.1\r\n")
    assert b"sec-websocket-protocol: mqtt\r\n" in conn.sock.head.lower()
    conn.expect("CONNECT")
    conn.accept()
    near.connect().publish("o/1", "x" * 70000, qos=1)
    conn.message(topic="o/1")
    conn.sock.raw.sendall(b"\x81\1x")       # text
    conn.expect_closed()


class Upgraded:
    """The server's side of WebSocket, as far as Connection needs it. Every byte has a frame of its own."""

    def __init__(self, sock):
        self.raw, self._buffer = sock, bytearray()
        while not self._buffer.endswith(b"\r\n\r\n"):
            self._buffer += sock.recv(4096)
        self.head = bytes(self._buffer)
        self._buffer.clear()
        key = next(one.split(b":", 1)[1].strip() for one in self.head.split(b"\r\n")
                   if one.lower().startswith(b"sec-websocket-key:"))
        accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     b"Sec-WebSocket-Accept: " + accept + b"\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n")

    def __getattr__(self, name):
        return getattr(self.raw, name)

    def sendall(self, data):
        self.raw.sendall(b"".join(b"\x82\1" + bytes([one]) for one in data))

    def _take(self, count):
        while len(self._buffer) < count:
            data = self.raw.recv(65536)
            if not data:
                return b""
            self._buffer += data
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    def recv(self, _):
        """The payload of all frames of data that have come; nothing at the end."""
        found = b""
        while not found or self._buffer:
            head = self._take(2)
            if not head or head[0] & 15 == 8:
                break
            assert head[1] & 0x80, "a frame that is not masked"
            assert head[0] & 15 in (0, 2, 9, 10), f"a frame of type {head[0] & 15}"
            size = head[1] & 127
            if size >= 126:
                size = int.from_bytes(self._take(2 if size == 126 else 8), "big")
            mask, payload = self._take(4), self._take(size)
            if head[0] & 15 in (0, 2):
                found += bytes(one ^ mask[i & 3] for i, one in enumerate(payload))
        return found
