# SPDX-License-Identifier: Apache-2.0
"""The maximum packet size of both sides."""

import pytest

from mqtt import Client, binary, encode, frame

statement = pytest.mark.statement

CONFIG = {"limits": {"max_packet_size": 2000}}
every_version = pytest.mark.parametrize("version", (3, 4, 5))


def sized(client, topic, total, qos=1):
    """A PUBLISH of exactly so many bytes."""
    empty = len(encode(client.publish_packet(topic, "", qos=qos, packet_id=1), client.version))
    rest = total - empty - (0 if total < 130 else 1)
    packet = client.publish_packet(topic, bytes(rest), qos=qos, packet_id=1)
    assert len(encode(packet, client.version)) == total
    return packet


@statement("MQTT5-3.2.2-15")
@every_version
def test_a_packet_of_the_maximum_is_accepted_and_one_more_refused(broker, name, version):
    client = broker.connect(version=version)
    if version == 5:
        assert client.connack.props["maximum_packet_size"] == 2000
    client.send(sized(client, name, 2000))
    client.expect("PUBACK")
    client.send(sized(client, name, 2001))
    client.expect_refused(0x95)


@statement("MQTT5-3.2.2-15")
@every_version
def test_a_large_packet_is_refused_by_its_header(broker, version):
    client = broker.connect(version=version)
    client.send(b"\x30\xff\xff\xff\x7f")
    client.expect_refused(0x95)


@every_version
@pytest.mark.parametrize("first", [0x82, 0xA2, 0x40, 0xE0])
def test_the_limit_holds_for_every_packet(broker, version, first):
    client = broker.connect(version=version)
    client.send(frame(first, bytes(2500)))
    client.expect_refused(0x95, 0x81, 0x82)


@statement("MQTT5-3.1.2-24", "MQTT5-3.1.2-25")
@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("limit", [60, 127, 128, 129, 130, 131, 500])
def test_what_is_too_large_for_a_client_is_dropped_for_it(broker, name, qos, limit):
    client, other, publisher = broker.connect(maximum_packet_size=limit, receive_maximum=2), \
        broker.connect(), broker.connect()
    for one in (client, other):
        one.subscribe((name, qos))
    header = 2 + len(name) + 1 + (2 if qos else 0)      # topic, property length, packet identifier
    seen = []
    for total in range(limit - 3, limit + 4):
        length = total - header - (2 if total - 2 < 128 else 3)
        publisher.publish(name, bytes(length), qos=qos)
        assert len(other.message().payload) == length
    publisher.publish(name, "end", qos=qos)
    other.message(payload="end")
    while True:
        message = client.message()
        assert message.size <= limit
        if message.payload == b"end":
            break
        seen.append(message.size)
    assert seen[-1] == limit or (limit == 130 and seen[-1] == 129), seen
    assert seen == sorted(seen) and len(seen) >= 3


def test_a_stored_message_that_is_too_large_is_dropped_too(broker, name):
    publisher = broker.connect()
    client = broker.connect(name, session_expiry_interval=100)
    client.subscribe((f"{name}/a", 1))
    client.disconnect()
    publisher.publish(f"{name}/a", bytes(500), qos=1)
    publisher.publish(f"{name}/a", "small", qos=1)
    publisher.publish(f"{name}/r", bytes(500), qos=1, retain=1)
    client = broker.open()
    client.connect(name, clean=False, maximum_packet_size=100)
    client.message(payload="small")
    client.subscribe((f"{name}/r", 1))
    assert client.messages_before(publisher, name) == []


def test_the_subscription_identifier_counts(broker, name):
    # A message that fits just without it does not with it.
    client, publisher = broker.connect(maximum_packet_size=100), broker.connect()
    client.subscribe((name, 0), subscription_identifier=[268435455])
    for total in (95, 96, 98, 100):
        publisher.publish(name, bytes(total - 2 - 2 - len(name) - 1))
    got = client.messages_before(publisher, f"m{name[:6]}")
    assert [one.size for one in got] == [100]


@pytest.mark.parametrize("version", [3, 4])
def test_older_clients_get_anything(broker, name, version):
    client = broker.connect(version=version)
    client.subscribe((name, 0))
    publisher = broker.connect()
    publisher.send(sized(publisher, name, 2000, qos=1))
    publisher.expect("PUBACK")
    assert len(client.message().payload) > 1900


@statement("MQTT5-3.1.2-24")
@pytest.mark.parametrize("limit", [1, 2, 4, 5, 10, 20, 30])
def test_no_packet_is_ever_above_the_clients_limit(broker, name, limit):
    # If not even CONNACK fits, the connection is closed.
    with Client(broker.port) as client:
        client.send(client.connect_packet(name, maximum_packet_size=limit))
        try:
            packet = client.recv()
            assert packet.kind == "CONNACK" and packet.size <= limit, packet
            client.send(client.subscribe_packet(name), b"\xc0\0", b"\x00\x00")
            while True:
                assert client.recv().size <= limit
        except ConnectionError:
            pass


def test_a_topic_as_long_as_the_limit_allows(broker, name):
    client = broker.connect(version=4)
    topic = name + "/" + "t" * 1900
    client.subscribe(topic)
    client.send(frame(0x30, binary(topic) + b"x"))
    client.message(topic=topic)
