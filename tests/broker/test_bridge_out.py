# SPDX-License-Identifier: Apache-2.0
"""A bridge as a client of MQTT, against a remote that does what each test says: messages that go out."""

import time

import pytest

import test_plugin
from bridges import (BOTH, IN, OUT, TEXT, bridge, config, dial, message, needs_bridge, needs_store, payloads, plugins,
                     reload, remote, settle, status, sub, topic, wait_down, wait_up)
from mqtt import Closed, Filter, Packet, wait_until

pytestmark = [needs_bridge, pytest.mark.statement()]
script = test_plugin.script         # a fixture


# --- packet ids ---


@BOTH
def test_ids_of_subscribe_are_not_those_of_publish(dial, remote, version):
    """One set of ids for all that a client sends: none that a PUBLISH still has, and the other way round."""
    near = dial(OUT, IN, version=version)
    conn = remote.up()
    asked = conn.wait("SUBSCRIBE")      # not answered
    speaker = near.connect()
    speaker.publish("o/1", "x", qos=1)
    packet = conn.message(ack=False)
    assert packet.packet_id != asked.packet_id
    conn.reset()
    conn = remote.up(present=1)
    resent = conn.wait("PUBLISH", dup=1)
    assert resent.packet_id == packet.packet_id
    assert conn.wait("SUBSCRIBE").packet_id != resent.packet_id


@BOTH
def test_ids_are_not_in_use(dial, remote, version):
    """Those of messages that are never acknowledged stay theirs; the remote looks."""
    near = dial(version=version)
    conn = remote.up()
    speaker = near.connect()
    kept = []
    for i in range(30):
        speaker.publish("o/1", str(i), qos=1 + i % 2)
        packet = conn.message(ack=i % 3 != 0)
        assert packet.packet_id != 0 and packet.packet_id not in kept
        if i % 3 == 0:
            kept.append(packet.packet_id)
    conn.reset()
    conn = remote.up(present=1)
    assert [conn.message(ack=False, dup=1).packet_id for _ in kept] == kept
    speaker.publish("o/1", "new", qos=1)
    assert conn.message(ack=False, dup=0).packet_id not in kept


# --- messages out ---


@BOTH
def test_redelivery(dial, remote, version):
    """First without DUP; after a loss again with it, with their ids, in their order, before others; never else."""
    near = dial(version=version)
    conn = remote.up()
    speaker = near.connect()
    for i in range(6):
        speaker.publish("o/1", str(i), qos=1 + i % 2)
    packets = [conn.message(ack=False, dup=0) for _ in range(6)]
    speaker.publish("o/0", "lost or not")
    conn.message(qos=0, dup=0)
    conn.expect_quiet(0.5)
    conn.ack("PUBACK", packets[2].packet_id)
    settle(conn)
    conn.reset()
    for _ in range(2):
        conn = remote.up(present=1)
        speaker.publish("o/1", "new", qos=1)
        for packet in packets[:2] + packets[3:]:
            conn.message(ack=False, dup=1, qos=packet.qos, packet_id=packet.packet_id, payload=packet.payload)
        conn.message(payload="new", dup=0)
        settle(conn)
        conn.reset()


@BOTH
@pytest.mark.parametrize("qos", [1, 2])
def test_what_is_under_way_has_no_age(dial, remote, version, qos):
    """The remote may have it: it comes again however old it is, and its packet id is not another's."""
    near = dial(version=version, max_age="1s")
    conn = remote.up()
    near.connect().publish("o/1", "old", qos=qos)
    packet = conn.message(ack=False)
    conn.reset()
    wait_down(near)
    near.connect().publish("o/1", "aged", qos=qos)
    time.sleep(2.1)
    near.connect().publish("o/1", "young", qos=qos)
    conn = remote.up(present=1)
    again, other = conn.message(ack=False), conn.message(ack=False)
    assert (again.payload, again.dup, again.packet_id) == (b"old", 1, packet.packet_id)
    assert other.payload == b"young" and other.packet_id != packet.packet_id


@BOTH
def test_qos2_step_by_step(dial, remote, version):
    """PUBLISH until PUBREC, then PUBREL until PUBCOMP, each again after a loss, and nothing afterwards."""
    near = dial(version=version)
    conn = remote.up()
    speaker = near.connect()
    speaker.publish("o/1", "x", qos=2)
    number = conn.message(ack=False, dup=0, qos=2).packet_id
    conn.reset()
    conn = remote.up(present=1)
    conn.message(ack=False, dup=1, qos=2, packet_id=number)
    conn.ack("PUBREC", number)
    conn.expect("PUBREL", packet_id=number, reason=0)
    conn.reset()
    for _ in range(2):
        conn = remote.up(present=1)
        conn.expect("PUBREL", packet_id=number, reason=0)
        conn.expect_quiet(0.1)
        conn.reset()
    conn = remote.up(present=1)
    conn.expect("PUBREL", packet_id=number)
    conn.ack("PUBCOMP", number)
    settle(conn)
    conn.reset()
    conn = remote.up(present=1)
    speaker.publish("o/1", "y", qos=2)
    conn.message(payload="y", dup=0)


def test_qos2_in_version_3_1(dial, remote):
    """Its CONNACK cannot say that the session is still there. Nothing is delivered twice where it is."""
    near = dial(version=3, try_private=False)
    conn = remote.up()
    near.connect().publish("o/1", "x", qos=2)
    number = conn.message(ack=False, dup=0).packet_id
    conn.ack("PUBREC", number)
    conn.expect("PUBREL", packet_id=number)
    conn.reset()
    conn = remote.up()
    packet = conn.recv(timeout=4)
    assert (packet.kind, packet.packet_id) == ("PUBREL", number), packet


def test_qos2_comes_once_in_version_3_1(dial, remote):
    """The same for what comes in."""
    near = dial(IN, version=3, try_private=False)
    inside = sub(near, "i/#")
    conn = remote.up()
    conn.subscribed()
    message(conn, "i/1", "in", qos=2, packet_id=7)
    conn.expect("PUBREC", packet_id=7)
    assert inside.message().payload == b"in"
    conn.reset()
    conn = remote.up()
    conn.subscribed()
    message(conn, "i/1", "in", qos=2, packet_id=7, dup=1)
    conn.expect("PUBREC", packet_id=7)
    inside.expect_quiet(0.1)


@BOTH
def test_a_second_pubrec(dial, remote, version):
    """It is answered as the first one was."""
    near = dial(version=version)
    conn = remote.up()
    near.connect().publish("o/1", "x", qos=2)
    number = conn.message(ack=False).packet_id
    for _ in range(2):
        conn.ack("PUBREC", number)
        assert conn.expect("PUBREL", packet_id=number).reason == 0
    conn.ack("PUBCOMP", number)
    near.connect().publish("o/1", "y", qos=2)
    conn.message(payload="y")


@BOTH
def test_order_of_pubrels(dial, remote, version):
    """That of the PUBRECs; after a loss, too."""
    near = dial(version=version)
    conn = remote.up()
    speaker = near.connect()
    for i in range(4):
        speaker.publish("o/1", str(i), qos=2)
    ids = [conn.message(ack=False).packet_id for _ in range(4)]
    order = [ids[2], ids[0], ids[3]]
    conn.send(*[Packet("PUBREC", packet_id=one, reason=0, props={}) for one in order])
    assert [conn.expect("PUBREL").packet_id for _ in order] == order
    conn.reset()
    conn = remote.up(present=1)
    packets = [conn.recv() for _ in range(4)]
    assert [one.packet_id for one in packets if one.kind == "PUBLISH" and one.dup] == [ids[1]]
    assert sorted(one.packet_id for one in packets if one.kind == "PUBREL") == sorted(order)


@BOTH
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_order_of_a_topic(dial, remote, version, qos):
    near = dial(version=version)
    conn = remote.up()
    wait_up(near)
    speaker = near.connect()
    for i in range(100):
        speaker.send(speaker.publish_packet("o/1", str(i), qos=qos))
    assert payloads(conn, 100) == [str(i) for i in range(100)]


@pytest.mark.parametrize("reason", [0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99])
def test_reasons_of_acknowledgements(dial, remote, reason):
    """An error acknowledges: no PUBREL, nothing is resent, and the connection stays."""
    near = dial()
    conn = remote.up()
    speaker = near.connect()
    speaker.publish("o/1", "one", qos=1)
    conn.ack("PUBACK", conn.message(ack=False).packet_id, reason, reason_string="why", user_property=[("a", "b")])
    speaker.publish("o/1", "two", qos=2)
    number = conn.message(ack=False).packet_id
    conn.ack("PUBREC", number, reason)
    if reason < 0x80:
        conn.expect("PUBREL", packet_id=number)
        conn.ack("PUBCOMP", number)
    settle(conn)
    conn.reset()
    conn = remote.up(present=1)
    speaker.publish("o/1", "three", qos=2)
    conn.message(payload="three", dup=0)


@BOTH
def test_the_wrong_acknowledgement(dial, remote, version):
    """PUBACK does not complete QoS 2, and PUBREC and PUBCOMP do not complete QoS 1."""
    near = dial(version=version)
    conn = remote.up()
    speaker = near.connect()
    speaker.publish("o/1", "one", qos=1)
    speaker.publish("o/1", "two", qos=2)
    one, two = conn.message(ack=False), conn.message(ack=False)
    conn.send(Packet("PUBACK", packet_id=two.packet_id, reason=0, props={}),
              Packet("PUBCOMP", packet_id=two.packet_id, reason=0, props={}),
              Packet("PUBCOMP", packet_id=one.packet_id, reason=0, props={}))
    conn.in_flight.clear()
    try:
        settle(conn)
        conn.reset()
    except Closed:
        pass
    conn = remote.up(present=1)
    conn.message(dup=1, qos=1, packet_id=one.packet_id, payload="one")
    conn.message(dup=1, qos=2, packet_id=two.packet_id, payload="two")


def test_acknowledgements_within_the_maximum_packet_size(dial, remote):
    """One with a reason has five bytes."""
    dial(topic("in", "#", 2, "$SYS/"), expected_errors="larger than the remote's Maximum Packet Size")
    conn = remote.up(maximum_packet_size=4)
    message(conn, "i/1", "x", qos=1, packet_id=7)
    settle(conn)


@BOTH
def test_acknowledgements_of_nothing(dial, remote, version):
    """Ids that it does not use: no reason to end; PUBREC gets its PUBREL, so that the remote is done with it."""
    near = dial(version=version)
    conn = remote.up()
    conn.ack("PUBACK", 77)
    conn.ack("PUBCOMP", 78)
    conn.ack("PUBREC", 79)
    assert conn.expect("PUBREL", packet_id=79).reason == (0x92 if version == 5 else 0)
    conn.ack("PUBCOMP", 79, 0x92)
    near.connect().publish("o/1", "x", qos=2)
    conn.message(topic="o/1")


@BOTH
def test_dup_of_the_publisher_stays_with_him(dial, remote, version):
    near = dial(version=version)
    conn = remote.up()
    near.connect().publish("o/1", "x", qos=1, dup=1)
    conn.message(dup=0)


@needs_store
@BOTH
def test_state_survives_a_crash(dial, remote, version):
    """kill -9: PUBLISH and PUBREL go on, and a QoS 2 message that was taken is not taken again."""
    near = dial(OUT, IN, version=version, store=True)
    inside = near.connect("inside", session_expiry_interval=1000)
    inside.subscribe(Filter("i/#", qos=2))
    conn = remote.up()
    conn.subscribed()
    speaker = near.connect()
    speaker.publish("o/1", "sent", qos=1)
    speaker.publish("o/1", "released", qos=2)
    sent, released = conn.message(ack=False), conn.message(ack=False)
    conn.ack("PUBREC", released.packet_id)
    conn.expect("PUBREL", packet_id=released.packet_id)
    message(conn, "i/1", "in", qos=2, packet_id=7)
    conn.expect("PUBREC", packet_id=7)
    assert inside.message().payload == b"in"
    inside.disconnect()
    settle(conn)
    near.crash()
    near.start()
    conn = remote.connected()
    assert conn.greeting.clean_start == 0
    conn.accept(present=1)
    conn.wait("PUBLISH", dup=1, packet_id=sent.packet_id, payload="sent")
    conn.wait("PUBREL", packet_id=released.packet_id)
    inside = near.connect("inside", clean=False, session_expiry_interval=1000)
    message(conn, "i/1", "in", qos=2, packet_id=7, dup=1)
    conn.wait("PUBREC", packet_id=7)
    conn.release(7)
    message(conn, "i/1", "next", qos=2, packet_id=7)
    conn.wait("PUBREC", packet_id=7)
    assert inside.wait("PUBLISH", dup=0).payload == b"next"


@BOTH
def test_an_answer_that_comes_when_its_link_has_gone(run_broker, plugins, remote, script, version):
    """A PUBLISH of QoS 2 waits for an authority, and the bridge is made anew meanwhile: it is carried out once, the new
    connection is told, and what comes behind it is answered, too."""
    def instances(seconds):
        return [{"name": "a", "module": script("WORKER"), "config": {"name": "a"}},
                bridge(remote.port, IN, version=TEXT[version], keep_alive=seconds)]

    more = {"chains": {"slow": {"authorize": ["a"]}}, "links": {"up": {"chains": "slow"}}}
    near = run_broker(config(plugins, *instances("50s"), **more))
    inside = sub(near, "i/#")
    conn = remote.up()
    conn.subscribed()
    packet = message(conn, "i/a=later-accept:1500", "once", qos=2, packet_id=5)
    wait_until(lambda: status(near)[0]["received"] == 1)
    reload(near, instances("51s"), plugins, **more)
    conn = remote.up(present=1)
    packet.dup = 1
    conn.send(packet)
    message(conn, "i/a=accept", "next", qos=1, packet_id=6)
    conn.wait("PUBREC", packet_id=5)
    conn.wait("PUBACK", packet_id=6)
    conn.ack("PUBREL", 5)
    conn.wait("PUBCOMP", packet_id=5)
    assert {bytes(inside.message().payload), bytes(inside.message().payload)} == {b"once", b"next"}
    inside.expect_quiet(0.1)


@BOTH
def test_clean_session(dial, remote, version):
    """At each connection a new one: what had not been acknowledged is sent as new."""
    near = dial(version=version, clean_session=True)
    conn = remote.up()
    near.connect().publish("o/1", "x", qos=1)
    conn.message(ack=False)
    conn.reset()
    conn = remote.connected()
    assert conn.greeting.clean_start == 1
    conn.accept()
    conn.message(dup=0, payload="x")
