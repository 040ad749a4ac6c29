# SPDX-License-Identifier: Apache-2.0
"""A bridge as a client of MQTT, against a remote that does what each test says: enhanced authentication."""

import base64
import hashlib
import hmac

import pytest

import scram
from bridges import IN, OUT, dial, needs_bridge, plugins, remote, settle, sub
from mqtt import Closed, Packet

pytestmark = [needs_bridge, pytest.mark.statement()]


class Server:
    """The server's side of SCRAM-SHA-256, in steps."""

    def __init__(self, first, password=b"secret"):
        self.bare = first.decode().split(",", 2)[2]
        self.given = scram.fields(self.bare.encode())
        salt = b"0123456789abcdef"
        self.first = f"r={self.given['r']}server,s={base64.b64encode(salt).decode()},i=4096"
        self.salted = hashlib.pbkdf2_hmac("sha256", password, salt, 4096)

    def final(self, client_final):
        bare = client_final.decode().rsplit(",p=", 1)[0]
        text = f"{self.bare},{self.first},{bare}".encode()
        key = hmac.new(self.salted, b"Server Key", "sha256").digest()
        return b"v=" + base64.b64encode(hmac.new(key, text, "sha256").digest())


SCRAM = {"mechanism": "SCRAM-SHA-256", "username": "user", "password": "secret"}
METHOD = {"authentication_method": "SCRAM-SHA-256"}


def steps(remote, password=b"secret"):
    """A connection up to its last AUTH, and what the CONNACK has to prove."""
    conn = remote.connected()
    assert conn.greeting.props["authentication_method"] == "SCRAM-SHA-256"
    assert not hasattr(conn.greeting, "password")
    server = Server(conn.greeting.props["authentication_data"], password)
    conn.auth(0x18, **METHOD, authentication_data=server.first.encode())
    packet = conn.expect("AUTH", reason=0x18, **METHOD)
    return conn, server.final(packet.props["authentication_data"])


def test_auth(dial, remote):
    """AUTH by AUTH with the same method, nothing else before CONNACK; then all works, in the same piece as well."""
    near = dial(OUT, IN, **SCRAM)
    inside = sub(near, "i/#")
    near.connect().publish("o/1", "waits", qos=1)
    conn, proof = steps(remote)
    conn.expect_quiet(0.1)
    conn.send(conn.connack_packet(0, **METHOD, authentication_data=proof), conn.publish_packet("i/1", "x", qos=1))
    conn.wait("PUBACK")
    assert inside.message().payload == b"x"
    conn.wait("PUBLISH", payload="waits")


@pytest.mark.parametrize("what", ["not proven", "another's proof", "no method", "another method"])
def test_a_remote_that_is_not_who_it_says(dial, remote, what):
    """It lets in without having proven anything: it gets no message, and no code that is a server's."""
    near = dial(OUT, **SCRAM)
    near.connect().publish("o/1", "private", qos=1)
    conn, proof = steps(remote, b"guess" if what == "another's proof" else b"secret")
    props = {**METHOD, "authentication_data": proof}
    if what == "not proven":
        del props["authentication_data"]
    elif what == "no method":
        props = {}
    elif what == "another method":
        props["authentication_method"] = "SCRAM-SHA-512"
    conn.accept(**props)
    try:
        assert conn.recv().kind == "DISCONNECT"
        conn.expect_closed()
    except Closed:
        pass
    steps(remote)


def until_closed(conn):
    """What comes until the end, without the AUTHs and the DISCONNECT."""
    kinds = []
    try:
        while True:
            kinds.append(conn.recv().kind)
    except Closed:
        return [kind for kind in kinds if kind not in ("AUTH", "DISCONNECT")]


@pytest.mark.parametrize("present", [0, 1])
def test_a_remote_that_is_let_in_before_it_has_proven_anything(dial, remote, present):
    """CONNACK in one piece with its first AUTH: the answer to that is not one to the proof. It gets no message, and
    nothing here is forgotten because it says so."""
    near = dial(OUT, IN, **SCRAM)
    conn, proof = steps(remote)
    conn.accept(**METHOD, authentication_data=proof)
    conn.subscribed()
    near.connect().publish("o/1", "private", qos=2)
    conn.wait("PUBLISH", payload="private")
    conn.reset()
    conn = remote.connected()
    server = Server(conn.greeting.props["authentication_data"])
    conn.send(Packet("AUTH", reason=0x18, props={**METHOD, "authentication_data": server.first.encode()}),
              conn.connack_packet(present, **METHOD, authentication_data=b"v=nonsense"))
    assert until_closed(conn) == []
    conn, proof = steps(remote)
    conn.accept(1, **METHOD, authentication_data=proof)
    assert conn.wait("PUBLISH", payload="private").dup == 1


@pytest.mark.parametrize("reason, props", [
    (0x18, {"authentication_method": "SCRAM-SHA-512", "authentication_data": b"x"}), (0x18, {}),
    (0x00, METHOD), (0x19, METHOD), (0x18, {**METHOD, "authentication_data": b"nonsense"}), (0x18, METHOD)])
def test_wrong_auth(dial, remote, reason, props):
    dial(**SCRAM)
    conn = remote.connected()
    conn.auth(reason, **props)
    try:
        assert conn.expect("DISCONNECT").reason in (0x80, 0x81, 0x82, 0x83)
        conn.expect_closed()
    except Closed:
        pass
    steps(remote)


def test_auth_when_it_is_in(dial, remote):
    """Only the client may ask for authentication anew."""
    dial(**SCRAM)
    conn, proof = steps(remote)
    conn.accept(**METHOD, authentication_data=proof)
    settle(conn)
    conn.auth(0x18, **METHOD, authentication_data=b"again")
    conn.expect_refused(0x82)
    steps(remote)
