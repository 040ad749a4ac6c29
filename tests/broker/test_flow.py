# SPDX-License-Identifier: Apache-2.0
"""Flow control: the receive maximum of both sides."""

import pytest

from mqtt import Packet

statement = pytest.mark.statement

CONFIG = {"limits": {"receive_maximum": 10, "max_inflight_messages": 20}}


def test_connack_tells_the_receive_maximum(broker, name):
    assert broker.open().connect(name).props["receive_maximum"] == 10


@statement("MQTT5-3.3.4-9", "MQTT5-4.9.0-2")
def test_the_clients_receive_maximum_is_kept(broker, name):
    subscriber, publisher = broker.connect(receive_maximum=3), broker.connect()
    subscriber.subscribe((name, 2))
    for i in range(12):
        publisher.publish(name, str(i), qos=1 + i % 2)
    got = []
    while len(got) < 12:
        flying = [subscriber.message(ack=False, payload=str(len(got) + i)) for i in range(3)]
        subscriber.ping()
        assert not subscriber.inbox
        got += flying
        for one in flying:
            subscriber.acknowledge(one)


@statement("MQTT5-4.9.0-2")
def test_a_pubrec_frees_nothing(broker, name):
    subscriber, publisher = broker.connect(receive_maximum=1), broker.connect()
    subscriber.subscribe((name, 2))
    for i in range(2):
        publisher.publish(name, str(i), qos=2)
    first = subscriber.message(ack=False, payload="0")
    subscriber.ack("PUBREC", first.packet_id)
    subscriber.expect("PUBREL")
    subscriber.ping()
    assert not subscriber.inbox
    subscriber.ack("PUBCOMP", first.packet_id)
    subscriber.message(payload="1")


@statement("MQTT5-4.9.0-3")
def test_qos_0_goes_on_while_the_window_is_full(broker, name):
    subscriber, publisher = broker.connect(receive_maximum=1), broker.connect()
    subscriber.subscribe((name, 1), (f"{name}/zero", 0))
    publisher.publish(name, "0", qos=1)
    publisher.publish(name, "1", qos=1)
    first = subscriber.message(ack=False, payload="0")
    for i in range(5):
        publisher.publish(f"{name}/zero", str(i))
        subscriber.message(payload=str(i), qos=0)
    subscriber.acknowledge(first)
    subscriber.message(payload="1")


@statement("MQTT5-3.3.4-10")
def test_a_full_window_stops_nothing_else(broker, name):
    subscriber, publisher = broker.connect(receive_maximum=1), broker.connect()
    subscriber.subscribe((name, 1))
    for i in range(3):
        publisher.publish(name, str(i), qos=1)
    subscriber.message(ack=False)
    subscriber.ping()
    subscriber.subscribe((f"{name}/other", 1))
    subscriber.unsubscribe(f"{name}/other")
    for qos in (1, 2):
        subscriber.publish(f"{name}/elsewhere", "x", qos=qos)
    assert not subscriber.inbox


@pytest.mark.parametrize("version", [3, 4])
def test_older_clients_have_the_configured_window(broker, name, version):
    subscriber, publisher = broker.connect(version=version), broker.connect()
    subscriber.subscribe((name, 1))
    for i in range(30):
        publisher.publish(name, str(i), qos=1)
    flying = [subscriber.message(ack=False, payload=str(i)) for i in range(20)]
    subscriber.ping()
    assert not subscriber.inbox
    for one in flying:
        subscriber.acknowledge(one)
    for i in range(20, 30):
        subscriber.message(payload=str(i))


def test_the_window_is_the_smaller_of_both(broker, name):
    subscriber, publisher = broker.connect(receive_maximum=1000), broker.connect()
    subscriber.subscribe((name, 1))
    for i in range(30):
        publisher.publish(name, str(i), qos=1)
    for i in range(20):
        subscriber.message(ack=False, payload=str(i))
    subscriber.ping()
    assert not subscriber.inbox


def test_a_client_may_use_the_whole_receive_maximum(broker, name):
    client = broker.connect()
    for i in range(1, 11):
        client.send(client.publish_packet(name, "x", qos=2, packet_id=i))
    for i in range(1, 11):
        client.expect("PUBREC", packet_id=i)
    # Repeating one of them is no eleventh.
    client.send(client.publish_packet(name, "x", qos=2, packet_id=5, dup=1))
    client.expect("PUBREC", packet_id=5)
    for i in range(1, 11):
        client.release(i)


@statement("MQTT5-3.3.4-7")
def test_a_client_that_exceeds_the_receive_maximum_is_closed(broker, name):
    client = broker.connect()
    for i in range(1, 12):
        client.send(client.publish_packet(name, "x", qos=2, packet_id=i))
    for i in range(1, 11):
        client.expect("PUBREC", packet_id=i)
    client.expect_refused(0x93)


def test_refused_and_released_ids_give_their_place_back(broker, name):
    client = broker.connect()
    for i in range(30):
        client.publish(name, "x", qos=2, packet_id=i + 1)
    for i in range(1, 11):
        client.send(client.publish_packet(name, "x", qos=2, packet_id=i))
        client.expect("PUBREC", packet_id=i)
    client.publish(name, "zero", qos=0)
    client.ping()


def test_qos_1_in_one_write_is_acknowledged_whatever_its_number(broker, name):
    """Each is acknowledged when it is handled, so no more than one is ever open."""
    client = broker.connect(version=4)
    client.send(*[client.publish_packet(name, "x", qos=1, packet_id=i) for i in range(1, 200)])
    for i in range(1, 200):
        client.expect("PUBACK", packet_id=i)


@statement("MQTT5-4.9.0-2")
def test_a_surplus_of_acknowledgements_gives_no_surplus_of_quota(broker, name):
    subscriber = broker.connect(name, receive_maximum=2, session_expiry_interval=100)
    publisher = broker.connect()
    subscriber.subscribe((f"{name}/a", 2))
    publisher.publish(f"{name}/a", "0", qos=2)
    first = subscriber.message(ack=False)
    subscriber.ack("PUBREC", first.packet_id)
    subscriber.expect("PUBREL")
    subscriber.close()
    subscriber = broker.open()
    subscriber.connect(name, clean=False, receive_maximum=2)
    subscriber.expect("PUBREL", packet_id=first.packet_id)
    subscriber.send(*[Packet("PUBCOMP", packet_id=first.packet_id, reason=0, props={})])
    subscriber.ping()
    for i in range(5):
        publisher.publish(f"{name}/a", str(i), qos=1)
    subscriber.message(ack=False)
    subscriber.message(ack=False)
    subscriber.ping()
    assert not subscriber.inbox
