# SPDX-License-Identifier: Apache-2.0
"""A bridge as a client of MQTT, against a remote that does what each test says: messages that come
in, and what goes with a message.
"""

import time

import pytest

from bridges import BOTH, IN, OUT, dial, is_malformed, message, needs_bridge, plugins, remote, sub, topic, wait_down
from mqtt import Filter, binary, frame

pytestmark = [needs_bridge, pytest.mark.statement()]


# --- messages in ---


@BOTH
def test_acknowledgements_of_what_comes(dial, remote, version):
    """Each with its id, in the order of the messages; also of what nobody here wants."""
    near = dial(IN, version=version)
    inside = sub(near, "i/#")
    conn = remote.up()
    conn.subscribed()
    ids = [3, 65535, 1, 40, 2, 9]
    conn.send(*[conn.publish_packet("i/1" if i % 3 else "elsewhere/1", str(i), qos=1 + i % 2, packet_id=one)
                for i, one in enumerate(ids)], conn.publish_packet("i/1", "qos 0"))
    for i, one in enumerate(ids):
        assert conn.expect("PUBREC" if i % 2 else "PUBACK", packet_id=one).reason in (0, 0x10)
    for one in ids[1::2]:
        conn.ack("PUBREL", one)
    assert [conn.expect("PUBCOMP", reason=0).packet_id for _ in range(3)] == ids[1::2]
    assert [inside.message().payload for _ in range(5)] == [b"1", b"2", b"4", b"5", b"qos 0"]


@BOTH
def test_qos2_comes_once(dial, remote, version):
    """A repeated id gets PUBREC and no more, also after a loss; after PUBREL it is a new message."""
    near = dial(IN, version=version)
    inside = sub(near, "i/#")
    conn = remote.up()
    conn.subscribed()
    for dup in (0, 1, 0):
        message(conn, "i/1", "x", qos=2, packet_id=7, dup=dup)
        conn.expect("PUBREC", packet_id=7)
    conn.reset()
    conn = remote.up(present=1)
    conn.subscribed()
    message(conn, "i/1", "x", qos=2, packet_id=7, dup=1)
    conn.expect("PUBREC", packet_id=7)
    conn.release(7)
    conn.release(7, expect=0x92 if version == 5 else 0)
    message(conn, "i/1", "y", qos=2, packet_id=7, dup=1)
    conn.expect("PUBREC", packet_id=7)
    assert [inside.message().payload for _ in range(2)] == [b"x", b"y"]
    conn.release(7)
    message(conn, "i/1", "z", qos=1, packet_id=7)
    conn.expect("PUBACK", packet_id=7)
    assert inside.message().payload == b"z"


@BOTH
def test_messages_before_suback(dial, remote, version):
    """They may come as soon as the SUBSCRIBE has."""
    near = dial(IN, version=version)
    inside = sub(near, "i/#")
    conn = remote.up()
    asked = conn.wait("SUBSCRIBE")
    message(conn, "i/1", "early", qos=1, packet_id=asked.packet_id)
    conn.expect("PUBACK")
    assert inside.message().payload == b"early"


@BOTH
def test_retained_messages(dial, remote, version):
    near = dial(IN, version=version)
    conn = remote.up()
    conn.subscribed()
    message(conn, "i/1", "kept", qos=1, retain=1)
    message(conn, "i/2", "not kept", qos=1, packet_id=2)
    conn.expect("PUBACK")
    conn.expect("PUBACK")
    late = sub(near, "i/#")
    assert late.message(retain=1).topic == "i/1"
    late.expect_quiet(0.1)


@BOTH
def test_pubrel_after_a_loss(dial, remote, version):
    """It is answered on the next connection, too."""
    dial(IN, version=version)
    conn = remote.up()
    conn.subscribed()
    message(conn, "i/1", "x", qos=2, packet_id=7)
    conn.expect("PUBREC", packet_id=7)
    conn.reset()
    conn = remote.up(present=1)
    conn.ack("PUBREL", 7)
    assert conn.wait("PUBCOMP", packet_id=7).reason == 0


@BOTH
def test_after_puback_it_is_new(dial, remote, version):
    near = dial(IN, version=version)
    inside = sub(near, "i/#")
    conn = remote.up()
    conn.subscribed()
    for dup in (0, 1):
        message(conn, "i/1", "x", qos=1, packet_id=7, dup=dup)
        conn.expect("PUBACK", packet_id=7)
        inside.message()


@BOTH
def test_what_cannot_be_published_here(dial, remote, version):
    """Is refused to a remote that can be told, and acknowledged all the same."""
    dial(topic("in", "#", 2, "$SYS/"), version=version)
    conn = remote.up()
    conn.subscribed()
    message(conn, "i/1", "x", qos=1, packet_id=7)
    assert conn.expect("PUBACK", packet_id=7).reason == (0x90 if version == 5 else 0)
    message(conn, "i/1", "x", qos=2, packet_id=7)
    reason = conn.expect("PUBREC", packet_id=7).reason
    assert reason == (0x90 if version == 5 else 0)
    if version == 4:
        conn.release(7)
    message(conn, "i/1", "x", qos=2, packet_id=7)       # refused: the next is a new one
    assert conn.expect("PUBREC", packet_id=7).reason == reason


def test_topic_aliases_in(dial, remote):
    """All up to its maximum; they are of one connection."""
    near = dial(IN, topic_alias_maximum=3)
    inside = sub(near, "i/#")
    conn = remote.up()
    conn.subscribed()
    for alias in (1, 2, 3):
        message(conn, f"i/{alias}", "set", qos=1, topic_alias=alias)
    for alias in (3, 1, 2):
        message(conn, "", "used", qos=2, topic_alias=alias)
    message(conn, "i/other", "set anew", topic_alias=1)
    message(conn, "", "used", topic_alias=1)
    expected = ["i/1", "i/2", "i/3", "i/3", "i/1", "i/2", "i/other", "i/other"]
    assert [inside.message().topic for _ in expected] == expected
    conn.reset()
    conn = remote.up(present=1)
    conn.subscribed()
    message(conn, "", "used", topic_alias=1)
    is_malformed(conn)


@pytest.mark.parametrize("alias, most, topic_, reasons", [
    (0, 3, "i/1", (0x94, 0x81)), (4, 3, "i/1", (0x94,)), (65535, 3, "", (0x94,)), (1, 0, "i/1", (0x94,)),
    (2, 3, "", (0x82,))])
def test_wrong_topic_aliases(dial, remote, alias, most, topic_, reasons):
    near = dial(IN, topic_alias_maximum=most)
    inside = sub(near, "i/#")
    conn = remote.up()
    conn.subscribed()
    message(conn, topic_, "wrong", qos=1, topic_alias=alias)
    conn.expect_refused(*reasons)
    conn = remote.up(present=1)
    conn.subscribed()
    message(conn, "i/1", "right", qos=1)
    assert inside.message().payload == b"right"


def test_its_receive_maximum(dial, remote):
    """As many as it said may be open; one more is too many, a repeated one is none, QoS 0 does not count."""
    dial(IN, receive_maximum=3)
    conn = remote.up()
    conn.subscribed()
    for number in (1, 2, 3):
        message(conn, "i/1", "x", qos=2, packet_id=number)
        conn.expect("PUBREC", packet_id=number)
    message(conn, "i/1", "x", qos=2, packet_id=2, dup=1)
    conn.expect("PUBREC", packet_id=2)
    message(conn, "i/1", "qos 0")
    conn.release(1)
    message(conn, "i/1", "x", qos=2, packet_id=4)
    conn.expect("PUBREC", packet_id=4)
    message(conn, "i/1", "x", qos=1, packet_id=5)
    conn.expect_refused(0x93)
    remote.connected()


def test_its_maximum_packet_size(dial, remote):
    """A packet of just that size is taken, a larger one is refused when its header has come."""
    near = dial(IN, max_packet_size=200)
    inside = sub(near, "i/#")
    conn = remote.up()
    conn.subscribed()
    head = len(frame(0x30, binary("i/1") + b"\0" + b"x" * 150)) - 150
    message(conn, "i/1", "x" * (200 - head))
    assert len(inside.message().payload) == 200 - head
    conn.send(frame(0x30, binary("i/1") + b"\0" + b"x" * (201 - head))[:10])
    conn.expect_refused(0x95)
    remote.connected()


# --- what goes with a message ---


PROPS = {"payload_format_indicator": 1, "message_expiry_interval": 1000, "content_type": "text/ü",
         "response_topic": "answer/here", "correlation_data": bytes(range(256)),
         "user_property": [("b", "2"), ("a", "1"), ("b", "1"), ("", ""), ("b", "2"), ("\ufeffx", "y")]}


def shown(packet):
    """Its properties without the bridge's own mark; the expiry must not have grown."""
    props = dict(packet.props)
    props["user_property"] = [pair for pair in props.get("user_property", []) if pair[0] != "avocet-origin"]
    props.pop("topic_alias", None)
    assert 990 < props["message_expiry_interval"] <= 1000
    props["message_expiry_interval"] = 1000
    return props


def test_properties(dial, remote):
    """All of them, unchanged and in their order, both ways. Ids of subscriptions and aliases are of one side."""
    near = dial(OUT, IN)
    conn = remote.up(topic_alias_maximum=5)
    conn.subscribed()
    listener = near.connect()
    listener.subscribe(Filter("o/#", qos=1), subscription_identifier=7)
    speaker = near.connect()
    for qos in (0, 1, 2):
        speaker.publish("o/1", "grün", qos=qos, **PROPS)
        packet = conn.message()
        assert shown(packet) == PROPS and packet.payload == "grün".encode()
    inside = sub(near, "i/#")
    for qos in (0, 1, 2):
        message(conn, "i/1", "grün", qos=qos, topic_alias=3, subscription_identifier=[5, 6], **PROPS)
        assert shown(inside.message()) == PROPS


def test_expiry_is_counted_down(dial, remote):
    """By the time that a message waited; who is over is not sent, unless he was under way."""
    near = dial()
    conn = remote.up()
    speaker = near.connect()
    speaker.publish("o/1", "under way", qos=2, message_expiry_interval=1)
    conn.message(ack=False)
    conn.ack("PUBREC", 1)
    conn.expect("PUBREL")
    conn.reset()
    wait_down(near)
    speaker.publish("o/1", "short", qos=1, message_expiry_interval=1)
    speaker.publish("o/1", "long", qos=1, message_expiry_interval=500)
    time.sleep(2.1)
    conn = remote.up(present=1)
    conn.expect("PUBREL", packet_id=1)
    conn.ack("PUBCOMP", 1)
    assert 490 < conn.message(payload="long").props["message_expiry_interval"] <= 498


@BOTH
def test_a_byte_order_mark(dial, remote, version):
    """Is a character as others, and topics of any length go."""
    near = dial(topic("out", "#", 1), IN, version=version)
    conn = remote.up()
    conn.subscribed()
    speaker, inside = near.connect(), sub(near, "i/#")
    for name in ("\ufeffa/\ufeff", "x" * 65535):
        speaker.publish(name, "x", qos=1)
        conn.message(topic=name)
    for name in ("i/\ufeff", "i/" + "y" * 65533):
        message(conn, name, "x", qos=1)
        inside.message(topic=name)
