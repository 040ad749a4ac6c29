# SPDX-License-Identifier: Apache-2.0
"""A bridge as a client of MQTT, against a remote that does what each test says: what it allows, and
what it is asked for.
"""

import pytest

from bridges import (BOTH, IN, OUT, TEXT, bridge, dial, message, needs_bridge, plugins, reload, remote, settle, sub,
                     topic)
from mqtt import Packet, wait_until

pytestmark = [needs_bridge, pytest.mark.statement()]


# --- what the remote allows ---


def test_receive_maximum(dial, remote):
    """No more QoS 1 and 2 than that until they are complete; the rest goes on meanwhile."""
    near = dial(OUT, IN)
    inside = sub(near, "i/#")
    conn = remote.up(receive_maximum=2)
    conn.subscribed()
    speaker = near.connect()
    for i in range(6):
        speaker.publish("o/1", str(i), qos=1 + i % 2)
    speaker.publish("o/0", "qos 0")
    first, second = conn.message(ack=False, qos=1), conn.message(ack=False, qos=2)
    message(conn, "i/1", "in", qos=2, packet_id=5)
    conn.wait("PUBREC", packet_id=5)
    conn.release(5)
    assert inside.message().payload == b"in"
    conn.wait("PUBLISH", topic="o/0")
    conn.expect_quiet(0.2)
    conn.ack("PUBREC", second.packet_id)        # frees nothing
    conn.wait("PUBREL", packet_id=second.packet_id)
    settle(conn)
    assert not [one for one in conn.inbox if one.kind == "PUBLISH" and one.qos]
    conn.ack("PUBCOMP", second.packet_id)
    third = conn.wait("PUBLISH", payload="2")
    conn.ack("PUBACK", first.packet_id, 0x97)   # an error completes it, too
    fourth = conn.wait("PUBLISH", payload="3")
    conn.ack("PUBREC", fourth.packet_id, 0x97)
    fifth = conn.wait("PUBLISH", payload="4")
    conn.ack("PUBACK", third.packet_id)
    sixth = conn.wait("PUBLISH", payload="5")
    conn.acknowledge(fifth)
    conn.acknowledge(sixth)


def test_receive_maximum_is_smaller_next_time(dial, remote):
    """What is resent keeps to the Receive Maximum of its own connection."""
    near = dial()
    conn = remote.up()
    speaker = near.connect()
    for i in range(5):
        speaker.publish("o/1", str(i), qos=1 + i % 2)
    packets = [conn.message(ack=False) for _ in range(5)]
    conn.reset()
    conn = remote.up(present=1, receive_maximum=1)
    for packet in packets:
        conn.message(dup=1, packet_id=packet.packet_id, payload=packet.payload, qos=packet.qos)
    conn.expect_quiet(0.1)


@pytest.mark.parametrize("most", [0, 1])
def test_maximum_qos(dial, remote, most):
    """Messages are sent with less; its SUBSCRIBE may ask for what it likes."""
    near = dial(OUT, IN)
    conn = remote.up(maximum_qos=most)
    conn.wait("SUBSCRIBE")
    speaker = near.connect()
    for qos in (0, 1, 2):
        speaker.publish("o/1", str(qos), qos=qos)
        conn.message(qos=min(qos, most), payload=str(qos))


@pytest.mark.parametrize("most", [0, 1])
def test_maximum_qos_is_lower_next_time(dial, remote, most):
    """What is under way at QoS 2 is not resent above the Maximum QoS of the next connection."""
    near = dial()
    conn = remote.up()
    near.connect().publish("o/1", "old", qos=2)
    conn.message(ack=False, qos=2)
    conn.reset()
    conn = remote.up(present=1, maximum_qos=most)
    near.connect().publish("o/1", "new", qos=2)
    while conn.message().payload != b"new":
        pass


def test_retain_is_not_available(dial, remote):
    """Neither messages nor what it says of itself are sent to be retained."""
    near = dial(notifications_local_only=False, notification_topic="state")
    conn = remote.up(retain_available=0)
    conn.message(topic="state", payload="1", retain=0)
    near.connect().publish("o/1", "x", qos=1, retain=1)
    conn.message(topic="o/1", retain=0)
    near.close_clients()
    near.terminate()
    conn.message(topic="state", payload="0", retain=0)
    conn.expect("DISCONNECT", reason=0)


def test_retain_is_available(dial, remote):
    near = dial()
    conn = remote.up()
    speaker = near.connect()
    for retain in (1, 0):
        speaker.publish("o/1", "x", qos=1, retain=retain)
        conn.message(topic="o/1", retain=retain)


def test_maximum_packet_size(dial, remote):
    """What is larger is not sent and does not come back; what just fits, and all the rest, goes."""
    near = dial()
    conn = remote.up(maximum_packet_size=300)
    speaker = near.connect()
    speaker.publish("o/1", "first", qos=1)
    size = conn.message().size - len("first")
    fits = "y" * (300 - size - 1)       # Remaining Length has a byte more
    for qos in (0, 1, 2):
        speaker.publish("o/1", fits + ("z" if qos else "zzz"), qos=qos)
        speaker.publish("o/1", "z" * 5000, qos=qos)
        speaker.publish("o/1", "next", qos=qos)
        conn.message(payload="next")
    speaker.publish("o/1", fits, qos=1)
    assert conn.message(payload=fits).size == 300
    conn.reset()
    conn = remote.up(present=1)
    speaker.publish("o/1", "last", qos=1)
    conn.message(payload="last")


def test_maximum_packet_size_of_subscribe(dial, remote):
    """A SUBSCRIBE that is larger is not sent, either."""
    near = dial(OUT, topic("in", "i" * 300, 1), expected_errors="larger than the remote's Maximum Packet Size")
    conn = remote.up(maximum_packet_size=200)
    near.connect().publish("o/1", "x", qos=1)
    conn.message(topic="o/1")


@pytest.mark.parametrize("most", [0, 2, 65535])
def test_topic_aliases_out(dial, remote, most):
    """None above the remote's maximum, and none of an older connection."""
    near = dial(topic_alias_maximum=3)
    speaker = near.connect()
    seen = set()
    for present in (0, 1):
        conn = remote.up(present=present, **({"topic_alias_maximum": most} if most else {}))
        for i in range(12):
            speaker.publish(f"o/{i % 6}", str(i), qos=1)
            packet = conn.message(topic=f"o/{i % 6}", payload=str(i))
            seen.add(packet.props.get("topic_alias"))
            assert i >= 6 or packet.sent_topic
        conn.reset()
    assert seen - {None} == set(range(1, min(most, 3) + 1))


# --- subscriptions ---


@BOTH
def test_subscribe(dial, remote, version):
    """No Local, what is retained as it is, and only if it is new; MQTT 3 has no such bits."""
    dial(topic("in", "i/#", 2, remote="r/"), topic("both", "b/+", 1), OUT, topic("in", "$share/g/s/#", 0),
         version=version)
    filters = {one.name: one.options for one in remote.up().subscribed().filters}
    extra = 0x04 | 0x08 | 0x10 if version == 5 else 0
    assert filters == {"r/i/#": 2 | extra, "b/+": 1 | extra, "$share/g/s/#": (0x08 | 0x10 if version == 5 else 0)}


@BOTH
def test_many_filters(dial, remote, version):
    """More than one SUBSCRIBE; each filter once."""
    names = [f"i/{i}" for i in range(250)]
    dial(*[topic("in", one, 1) for one in names], version=version)
    conn = remote.up()
    got = []
    while len(got) < 250:
        got += [one.name for one in conn.subscribed().filters]
    assert got == names
    conn.expect_quiet(0.1)


@BOTH
def test_a_refused_subscription(dial, remote, version):
    """The others work."""
    near = dial(topic("in", "no/#", 1), IN, version=version, expected_errors="the remote refuses")
    inside = sub(near, "i/#")
    conn = remote.up()
    conn.subscribed(0x80, 1)
    message(conn, "i/1", "x", qos=1)
    inside.message()
    conn.expect("PUBACK")
    wait_until(lambda: 'the remote refuses "no/#"' in near.log())


@BOTH
def test_unsubscribe_after_a_reload(dial, remote, plugins, version):
    """What is not wanted any more is told to a remote that still has it."""
    near = dial(IN, topic("in", "old/#", 1), version=version)
    conn = remote.up()
    conn.subscribed()
    reload(near, [bridge(remote.port, IN, version=TEXT[version])], plugins)
    conn.wait("DISCONNECT", reason=0)
    conn.expect_closed()
    conn = remote.up(present=1)
    packet = conn.wait("UNSUBSCRIBE")
    assert packet.filters == ["old/#"]
    conn.send(Packet("UNSUBACK", packet_id=packet.packet_id, props={}, reasons=[0]))
    assert conn.wait("SUBSCRIBE").packet_id != 0
    assert not conn.inbox


@BOTH
def test_unsubscribe_until_it_is_answered(dial, remote, plugins, version):
    """A remote that was lost before its UNSUBACK has perhaps not seen it, and would send the messages for ever."""
    near = dial(IN, topic("in", "old/#", 1), version=version)
    remote.up().subscribed()
    reload(near, [bridge(remote.port, IN, version=TEXT[version])], plugins)
    conn = remote.up(present=1)
    conn.wait("UNSUBSCRIBE")
    conn.reset()
    conn = remote.up(present=1)
    packet = conn.wait("UNSUBSCRIBE", timeout=4)
    assert packet.filters == ["old/#"]
    conn.send(Packet("UNSUBACK", packet_id=packet.packet_id, props={}, reasons=[0]))
    settle(conn)
    conn.reset()
    conn = remote.up(present=1)
    settle(conn)
    assert not [one for one in conn.inbox if one.kind == "UNSUBSCRIBE"]
