# SPDX-License-Identifier: Apache-2.0
"""A bridge as a client of MQTT, against a remote that does what each test says: CONNECT and CONNACK."""

import socket
import time

import pytest

from bridges import (BOTH, IN, OUT, VERY_FAST, bridge, config, dial, how_it_ends, message, needs_bridge, plugins,
                     remote, sub, wait_up)
from mqtt import frame, properties, varint, wait_until

pytestmark = [needs_bridge, pytest.mark.statement()]


# --- CONNECT ---


@BOTH
def test_connect_is_first_and_once(dial, remote, version):
    """Name and level of the protocol, its client id, a session that lasts, and no will that nobody asked for."""
    near = dial(version=version)
    conn = remote.connected()
    hello = conn.greeting
    assert (hello.version, hello.bridge) == (version, 1 if version == 4 else 0)
    assert (hello.client_id, hello.clean_start, hello.keep_alive) == ("bridge-up", 0, 60)
    assert not any(hasattr(hello, name) for name in ("will", "username", "password"))
    if version == 5:
        assert hello.props["session_expiry_interval"] == 0xFFFFFFFF
        assert hello.props["receive_maximum"] == 1000 and hello.props["topic_alias_maximum"] == 10
    conn.accept()
    wait_up(near)       # what has QoS 0 waits for nobody
    speaker = near.connect()
    for qos in (0, 1, 2):
        speaker.publish("o/1", str(qos), qos=qos)
        assert conn.message(qos=qos).topic == "o/1"
    conn.expect_quiet(0.1)


@BOTH
def test_connect_as_configured(dial, remote, version):
    """Will, user name, password, keep alive and limits; the will's fields are those of the message."""
    dial(version=version, clean_session=True, keep_alive="7s", session_expiry="1h", receive_maximum=17,
         max_packet_size=5000, topic_alias_maximum=0, username="ümläut", password="pass word",
         notifications_local_only=False, notification_topic="state/x")
    hello = remote.connected().greeting
    assert (hello.clean_start, hello.keep_alive, hello.username, hello.password) == (1, 7, "ümläut", b"pass word")
    assert (hello.will.topic, hello.will.payload, hello.will.qos, hello.will.retain) == ("state/x", b"0", 1, 1)
    assert not hello.will.props
    if version == 5:
        assert hello.props["session_expiry_interval"] == 3600 and hello.props["receive_maximum"] == 17
        assert hello.props["maximum_packet_size"] == 5000 and "topic_alias_maximum" not in hello.props


def test_password_without_user_name(dial, remote):
    """Only MQTT 5 can say that."""
    dial(password="alone")
    hello = remote.connected().greeting
    assert hello.password == b"alone" and not hasattr(hello, "username")


def test_version_3_1(dial, remote):
    near = dial(version=3, try_private=False)
    conn = remote.connected()
    assert (conn.version, conn.greeting.bridge) == (3, 0)
    conn.accept()
    near.connect().publish("o/1", "x", qos=1)
    conn.message(qos=1, dup=0)


@BOTH
def test_each_connection_has_its_client_id(dial, remote, version):
    """Two with the same would throw each other out."""
    dial(version=version, connections=3)
    ids = {remote.up().greeting.client_id for _ in range(3)}
    assert len(ids) == 3 and "bridge-up" in ids


@BOTH
def test_nothing_before_connack(dial, remote, version):
    near = dial(OUT, IN, version=version, notifications_local_only=False, notification_topic="s")
    conn = remote.connected()
    near.connect().publish("o/1", "x", qos=1)
    conn.expect_quiet(0.3)
    conn.accept()
    conn.wait("SUBSCRIBE")
    assert conn.wait("PUBLISH", topic="o/1").dup == 0


@pytest.mark.parametrize("how", ["refused", "closed", "other code"])
def test_private_and_its_fallback(dial, remote, how):
    """MQTT 3: bit 7 of the version says that it is a bridge. Who does not understand is asked without."""
    near = dial(version=4)
    conn = remote.connected()
    assert conn.greeting.bridge == 1
    if how == "closed":
        conn.close()
    else:
        conn.refuse(1 if how == "refused" else 3)
        conn.expect_closed()
    conn = remote.connected()
    assert (conn.version, conn.greeting.bridge) == (4, 1 if how == "other code" else 0)
    conn.accept()
    near.connect().publish("o/1", "x", qos=1)
    conn.message(topic="o/1")


# --- CONNACK ---


@BOTH
def test_session_present_after_clean_start(dial, remote, version):
    dial(version=version, clean_session=True)
    conn = remote.up(present=1)
    conn.expect_refused(0x82)
    assert remote.connected().greeting.clean_start == 1


@BOTH
def test_session_present_without_one_here(dial, remote, version):
    """It ends that session and begins with none."""
    near = dial(version=version)
    conn = remote.up(present=1)
    conn.wait("DISCONNECT", reason=0)
    conn.expect_closed()
    conn = remote.connected()
    assert conn.greeting.clean_start == 1
    conn.accept()
    if version == 4:    # that session would end with its connection
        conn.wait("DISCONNECT")
        conn.expect_closed()
        conn = remote.connected()
        assert conn.greeting.clean_start == 0
        conn.accept()
    near.connect().publish("o/1", "x", qos=1)
    conn.message(topic="o/1", dup=0)
    conn.reset()
    assert remote.connected().greeting.clean_start == 0


@BOTH
def test_a_forgotten_session(dial, remote, version):
    """Session Present 0: nothing is released or resent as of before; what had not been acknowledged is new."""
    near = dial(OUT, IN, version=version)
    inside = sub(near, "i/#")
    conn = remote.up()
    conn.subscribed()
    speaker = near.connect()
    speaker.publish("o/1", "released", qos=2)
    speaker.publish("o/1", "sent", qos=2)
    first, _ = conn.message(ack=False), conn.message(ack=False)
    conn.ack("PUBREC", first.packet_id)
    conn.wait("PUBREL")
    message(conn, "i/1", "one", qos=2, packet_id=9)
    conn.wait("PUBREC", packet_id=9)
    assert inside.message().payload == b"one"
    conn.reset()
    conn = remote.up(present=0)
    conn.subscribed()
    packet = conn.message(dup=0, qos=2)
    if packet.payload == b"released":
        packet = conn.message(dup=0, qos=2)
    assert packet.payload == b"sent"
    message(conn, "i/1", "two", qos=2, packet_id=9)     # of another session: a new one
    conn.wait("PUBREC", packet_id=9)
    assert inside.message().payload == b"two"


@pytest.mark.parametrize("version, codes", [
    (4, [1, 2, 3, 4, 5]),
    (5, [0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95, 0x97, 0x99, 0x9A, 0x9B,
         0x9C, 0x9D, 0x9F])])
def test_refused(dial, remote, version, codes):
    """Each refusal ends the connection without a further word, and it is tried again."""
    near = dial(version=version, try_private=False, **VERY_FAST)
    for code in codes:
        conn = remote.connected()
        props = {"reason_string": "because", "user_property": [("a", "b")]} if version == 5 else {}
        if code in (0x9C, 0x9D):
            props["server_reference"] = "elsewhere:1883"
        conn.refuse(code, **props)
        conn.expect_closed()
    remote.up()
    wait_until(lambda: "connected to 127.0.0.1" in near.log())


@BOTH
def test_back_off(dial, remote, version):
    """Between two attempts at least half of what is said goes by."""
    dial(version=version, try_private=False, backoff_min="400ms", backoff_max="800ms")
    begin = time.monotonic()
    for _ in range(3):
        remote.connected().refuse(0x88 if version == 5 else 3)
    remote.connected()
    assert time.monotonic() - begin >= 0.2 + 0.4 + 0.4 - 0.01


def test_connect_timeout_counts_once(run_broker, plugins):
    """Reaching the remote and its CONNACK have one time together. SYN is sent again after a second."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        address = server.getsockname()
        waiting = [socket.create_connection(address)]       # as many as may
        near = run_broker(config(plugins, bridge(address[1], OUT, connect_timeout="2s")))
        time.sleep(0.5)
        server.accept()[0].close()
        conn, _ = server.accept()
        begin = time.monotonic()
        conn.settimeout(5)
        while conn.recv(1000):
            pass
        assert time.monotonic() - begin < 1.5
        wait_until(lambda: "the remote did not answer in time" in near.log())
        conn.close()
        waiting[0].close()


CONNACK_HEAD = b"\0\0"
WRONG_CONNACKS = {
    "reserved flags": b"\x20\x03\x02\0\0",
    "Session Present with an error": b"\x20\x03\x01\x80\0",
    "flags of the header": b"\x21\x03\0\0\0",
    "without properties": b"\x20\x02\0\0",
    "properties longer than the packet": b"\x20\x03\0\0\x05",
    "a reason that there is not": b"\x20\x03\0\x7b\0",
    "a reason of others": b"\x20\x03\0\x10\0",
    "bytes behind": b"\x20\x04\0\0\0\0",
    "Receive Maximum 0": frame(0x20, CONNACK_HEAD + properties({"receive_maximum": 0})),
    "Maximum QoS 2": frame(0x20, CONNACK_HEAD + properties({"maximum_qos": 2})),
    "Retain Available 2": frame(0x20, CONNACK_HEAD + properties({"retain_available": 2})),
    "Maximum Packet Size 0": frame(0x20, CONNACK_HEAD + properties({"maximum_packet_size": 0})),
    "twice": frame(0x20, CONNACK_HEAD + varint(6) + b"\x21\0\x05" * 2),
    "a property of PUBLISH": frame(0x20, CONNACK_HEAD + properties({"topic_alias": 1})),
    "a property that there is not": frame(0x20, CONNACK_HEAD + b"\x02\x7e\0"),
    "not UTF-8": frame(0x20, CONNACK_HEAD + properties({"reason_string": b"\xff"})),
    "U+0000": frame(0x20, CONNACK_HEAD + properties({"reason_string": "a\0b"})),
}
WRONG_CONNACKS_3 = {
    "reserved flags": b"\x20\x02\x02\0",
    "Session Present with an error": b"\x20\x02\x01\x03",
    "flags of the header": b"\x21\x02\0\0",
    "a code that there is not": b"\x20\x02\0\x06",
    "too short": b"\x20\x01\0",
    "too long": b"\x20\x03\0\0\0",
}


@BOTH
def test_wrong_connacks(dial, remote, version):
    near = dial(version=version, try_private=False, **VERY_FAST)
    found = {}
    for what, data in (WRONG_CONNACKS if version == 5 else WRONG_CONNACKS_3).items():
        conn = remote.connected()
        conn.send(data)
        found[what] = how_it_ends(conn, version)
        conn.close()
    assert not {what: why for what, why in found.items() if why}
    remote.up()
    wait_until(lambda: "connected to 127.0.0.1" in near.log())


def test_authentication_that_nobody_asked_for(dial, remote):
    """In the CONNACK of a remote that was given no method."""
    dial()
    assert not how_it_ends(remote.up(authentication_method="x"), 5, (0x81, 0x82))
    remote.up()


def test_all_properties_of_connack(dial, remote):
    """Nothing of it is a reason not to work; an Assigned Client Identifier changes nothing for who has an id."""
    near = dial(OUT, IN)
    conn = remote.up(session_expiry_interval=100, receive_maximum=5, maximum_qos=1, retain_available=1,
                     maximum_packet_size=1000, assigned_client_identifier="other", topic_alias_maximum=3,
                     reason_string="welcome", user_property=[("a", "1"), ("a", "1")],
                     wildcard_subscription_available=1, subscription_identifier_available=0,
                     shared_subscription_available=0, server_keep_alive=300, response_information="r/",
                     server_reference="x:1")
    conn.subscribed()
    near.connect().publish("o/1", "x", qos=2)
    conn.message(qos=1)
    conn.reset()
    assert remote.connected().greeting.client_id == "bridge-up"
