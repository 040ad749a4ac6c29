# SPDX-License-Identifier: Apache-2.0
"""The state machine of QoS 2, both directions."""

import pytest

from mqtt import encode

statement = pytest.mark.statement

every_version = pytest.mark.parametrize("version", (3, 4, 5))


def code(version, reason):
    """A reason where the version has one."""
    return reason if version == 5 else 0


@statement("MQTT5-4.3.3-10", "MQTT311-4.3.3-2")
@every_version
@pytest.mark.parametrize("dup", [0, 1])
def test_a_repeated_publish_is_routed_once(broker, name, version, dup):
    subscriber, publisher = broker.connect(), broker.connect(version=version)
    subscriber.subscribe((name, 2))
    for _ in range(5):
        publisher.send(publisher.publish_packet(name, "once", qos=2, packet_id=10, dup=dup))
        publisher.expect("PUBREC", packet_id=10, reason=0)
    publisher.release(10)
    assert [one.payload for one in subscriber.messages_before(publisher)] == [b"once"]


@statement("MQTT5-4.3.3-12")
@every_version
def test_after_pubcomp_the_id_is_new(broker, name, version):
    subscriber, publisher = broker.connect(), broker.connect(version=version)
    subscriber.subscribe((name, 2))
    for i in range(3):
        publisher.publish(name, str(i), qos=2, packet_id=10, dup=1)
    assert [one.payload for one in subscriber.messages_before(publisher)] == [b"0", b"1", b"2"]


@statement("MQTT5-4.3.3-11")
@every_version
def test_a_repeated_pubrel_gets_its_pubcomp(broker, name, version):
    client = broker.connect(version=version)
    client.publish(name, "x", qos=2, packet_id=10)
    client.release(10, expect=code(version, 0x92))
    client.release(77, expect=code(version, 0x92))
    client.ping()


@statement("MQTT5-4.3.3-10")
@every_version
def test_the_state_survives_a_reconnect(broker, name, version):
    subscriber = broker.connect()
    subscriber.subscribe((name, 2))
    options = {"session_expiry_interval": 100} if version == 5 else {}
    publisher = broker.connect(f"{name}p", version, clean=False, **options)
    publisher.send(publisher.publish_packet(name, "once", qos=2, packet_id=10))
    publisher.expect("PUBREC", packet_id=10)
    publisher.close()
    publisher = broker.open(version)
    publisher.connect(f"{name}p", clean=False, **options)
    for _ in range(2):
        publisher.send(publisher.publish_packet(name, "once", qos=2, packet_id=10, dup=1))
        publisher.expect("PUBREC", packet_id=10, reason=0)
    publisher.release(10)
    publisher.close()
    publisher = broker.open(version)
    publisher.connect(f"{name}p", clean=False, **options)
    publisher.release(10, expect=code(version, 0x92))
    assert [one.payload for one in subscriber.messages_before(publisher)] == [b"once"]


@every_version
def test_a_clean_start_forgets_the_state(broker, name, version):
    subscriber = broker.connect()
    subscriber.subscribe((name, 2))
    for _ in range(2):
        publisher = broker.connect(f"{name}p", version, clean=True)
        publisher.send(publisher.publish_packet(name, "again", qos=2, packet_id=10))
        publisher.expect("PUBREC", packet_id=10)
        publisher.close()
    for _ in range(2):
        subscriber.message(payload="again", qos=2)


@statement("MQTT5-4.3.3-4")
@every_version
def test_the_broker_sends_pubrel_once_for_each_pubrec(broker, name, version):
    subscriber, publisher = broker.connect(version=version), broker.connect()
    subscriber.subscribe((name, 2))
    publisher.publish(name, "x", qos=2)
    message = subscriber.message(ack=False, qos=2, dup=0)
    for _ in range(3):
        subscriber.ack("PUBREC", message.packet_id)
        subscriber.expect("PUBREL", packet_id=message.packet_id, reason=0)
    subscriber.ack("PUBCOMP", message.packet_id)
    subscriber.ping()
    assert not subscriber.inbox


def test_a_pubrec_for_an_unknown_id_is_answered(broker):
    client = broker.connect()
    client.ack("PUBREC", 99)
    client.expect("PUBREL", packet_id=99, reason=0x92)
    client.ping()


@pytest.mark.parametrize("version", [3, 4])
def test_a_pubrec_for_an_unknown_id_gets_a_pubrel_before_version_5(broker, version):
    client = broker.connect(version=version)
    client.ack("PUBREC", 99)
    client.expect("PUBREL", packet_id=99)
    client.ping()


@every_version
def test_acknowledgements_of_unknown_ids_do_no_harm(broker, version):
    client = broker.connect(version=version)
    client.ack("PUBACK", 99)
    client.ack("PUBCOMP", 98)
    try:
        client.ping()
    except ConnectionError:
        assert version == 5 and client.inbox[-1].kind == "DISCONNECT", client.inbox
        assert client.inbox[-1].reason == 0x82


@statement("MQTT5-4.3.3-4", "MQTT5-4.4.0-2")
@pytest.mark.parametrize("reason", [0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99])
def test_a_refused_delivery_is_over(broker, name, reason):
    subscriber = broker.connect(f"{name}s", receive_maximum=1, session_expiry_interval=100)
    publisher = broker.connect()
    subscriber.subscribe((name, 2))
    for i in range(3):
        publisher.publish(name, str(i), qos=2)
    for i in range(2):
        message = subscriber.message(ack=False, payload=str(i))
        subscriber.ack("PUBREC", message.packet_id, reason)
    message = subscriber.message(ack=False, payload="2", dup=0)
    subscriber.close()
    subscriber = broker.open()
    assert subscriber.connect(f"{name}s", clean=False).session_present == 1
    subscriber.message(payload="2", dup=1, packet_id=message.packet_id)
    subscriber.ping()
    assert not subscriber.inbox


@statement("MQTT5-4.4.0-2")
@pytest.mark.parametrize("reason", [0x80, 0x87, 0x97])
def test_a_refusing_puback_is_an_acknowledgement(broker, name, reason):
    subscriber = broker.connect(f"{name}s", receive_maximum=1, session_expiry_interval=100)
    publisher = broker.connect()
    subscriber.subscribe((name, 1))
    for i in range(2):
        publisher.publish(name, str(i), qos=1)
        subscriber.ack("PUBACK", subscriber.message(ack=False, payload=str(i)).packet_id, reason)
    subscriber.ping()
    subscriber.close()
    subscriber = broker.open()
    subscriber.connect(f"{name}s", clean=False)
    subscriber.ping()
    assert not subscriber.inbox


@statement("MQTT5-4.3.3-7", "MQTT5-4.3.3-13")
def test_a_message_that_expires_on_its_way_is_finished(broker, name):
    subscriber = broker.connect(f"{name}s", session_expiry_interval=100)
    publisher = broker.connect()
    subscriber.subscribe((name, 2))
    publisher.publish(name, "x", qos=2, message_expiry_interval=1)
    first = subscriber.message(ack=False, payload="x")
    subscriber.close()
    watch = broker.connect()
    watch.expect_quiet(1.3)
    subscriber = broker.open()
    subscriber.connect(f"{name}s", clean=False)
    subscriber.message(payload="x", dup=1, packet_id=first.packet_id)


@statement("MQTT5-2.2.1-4")
def test_ids_are_not_used_twice_while_they_are_busy(broker, name):
    subscriber, publisher = broker.connect(), broker.connect()
    subscriber.subscribe((name, 2))
    publisher.publish(name, "held", qos=2)
    held = subscriber.message(ack=False, payload="held")
    subscriber.ack("PUBREC", held.packet_id)
    subscriber.expect("PUBREL", packet_id=held.packet_id)
    # Once round all ids, in pieces that fit into the default window of 100.
    piece = [encode(publisher.publish_packet(name, "x", qos=1), 5) for _ in range(90)]
    for _ in range(66000 // len(piece)):
        publisher.send(*piece)
        ids = [subscriber.expect("PUBLISH").packet_id for _ in piece]
        assert held.packet_id not in ids and len(set(ids)) == len(ids) and 0 not in ids
        subscriber.send(*[b"\x40\x02" + one.to_bytes(2, "big") for one in ids])
        for _ in piece:
            publisher.expect("PUBACK")
    subscriber.ack("PUBCOMP", held.packet_id)
    subscriber.ping()
