# SPDX-License-Identifier: Apache-2.0
"""PUBLISH in and out at QoS 0, 1 and 2, for every pair of versions."""

import pytest

from mqtt import Packet, binary, frame, properties, u16

statement = pytest.mark.statement

VERSIONS = (3, 4, 5)
every_version = pytest.mark.parametrize("version", VERSIONS)


@statement("MQTT5-3.8.4-8", "MQTT311-3.8.4-6")
@pytest.mark.parametrize("out", VERSIONS)
@pytest.mark.parametrize("into", VERSIONS)
def test_a_message_goes_from_any_version_to_any(broker, name, into, out):
    publisher = broker.connect(version=into)
    for granted in (0, 1, 2):
        subscriber = broker.connect(version=out)
        subscriber.subscribe((name, granted))
        for qos in (0, 1, 2):
            publisher.publish(name, f"{granted}{qos}", qos=qos)
            subscriber.message(topic=name, payload=f"{granted}{qos}", qos=min(granted, qos), dup=0,
                               retain=0, props={})
        subscriber.disconnect()


@every_version
@pytest.mark.parametrize("size", [0, 1, 127, 128, 16384, 300000, 2200000])
def test_payloads_of_any_size_arrive(broker, name, version, size):
    client = broker.connect(version=version)
    client.subscribe((name, 1))
    payload = bytes(range(256)) * (size // 256) + bytes(size % 256)
    client.publish(name, payload, qos=1)
    assert client.message().payload == payload


@every_version
def test_ids_of_the_two_directions_are_independent(broker, name, version):
    client = broker.connect(version=version)
    client.subscribe((name, 2))
    for packet_id in (1, 1, 65535, 7):
        client.publish(name, "x", qos=1, packet_id=packet_id)
    for _ in range(4):
        client.message(qos=1)
    client.publish(name, "x", qos=2, packet_id=1)
    client.message(qos=2)


@statement("MQTT311-4.6.0-2", "MQTT311-4.6.0-3")
@every_version
def test_acknowledgements_come_in_order(broker, name, version):
    client = broker.connect(version=version)
    ids = [5, 3, 9, 1, 65535, 2]
    for qos, kind in ((1, "PUBACK"), (2, "PUBREC")):
        client.send(*[client.publish_packet(name, "x", qos=qos, packet_id=one) for one in ids])
        for one in ids:
            client.expect(kind, packet_id=one)
    client.send(*[Packet("PUBREL", packet_id=one, reason=0, props={}) for one in ids])
    for one in ids:
        client.expect("PUBCOMP", packet_id=one)


@statement("MQTT5-4.6.0-5", "MQTT311-4.6.0-6")
@every_version
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_messages_keep_their_order(broker, name, version, qos):
    subscriber, publisher = broker.connect(version=version), broker.connect(version=version)
    subscriber.subscribe((name, qos))
    publisher.send(*[publisher.publish_packet(name, str(i), qos=min(qos, 1)) for i in range(500)])
    for i in range(500):
        subscriber.message(payload=str(i))


@statement("MQTT5-3.3.1-3", "MQTT311-3.3.1-3")
def test_a_first_delivery_has_dup_0_whatever_came(broker, name):
    client = broker.connect()
    client.subscribe((name, 2))
    for qos in (1, 2):
        client.publish(name, "x", qos=qos, dup=1)
        client.message(qos=qos, dup=0)


@statement("MQTT5-3.3.2-4", "MQTT5-3.3.2-15", "MQTT5-3.3.2-16", "MQTT5-3.3.2-17", "MQTT5-3.3.2-18",
           "MQTT5-3.3.2-20")
def test_every_property_of_a_message_is_forwarded(broker, name):
    props = {"payload_format_indicator": 1, "content_type": "text/plain; ü", "response_topic": "r/ü",
             "correlation_data": b"\0\1\xff", "user_property": [("b", "1"), ("a", "2"), ("b", "1"),
                                                                 ("", "")]}
    subscriber, old, publisher = broker.connect(), broker.connect(version=4), broker.connect()
    for client in (subscriber, old):
        client.subscribe((name, 2))
    for qos in (0, 1, 2):
        publisher.publish(name, "x", qos=qos, **props)
        got = subscriber.message(qos=qos).props
        assert {key: got[key] for key in props} == props and set(got) == set(props)
        old.message(payload="x", props={})
    publisher.publish(name, "y", payload_format_indicator=0, correlation_data=b"")
    assert subscriber.message().props in ({"payload_format_indicator": 0, "correlation_data": b""},)
    publisher.publish(name, "z")
    assert subscriber.message().props == {}


def test_no_matching_subscribers_may_be_told(broker, name):
    client = broker.connect()
    for qos in (1, 2):
        assert client.publish(f"{name}/nobody", "x", qos=qos).reason in (0, 0x10)
    client.subscribe((name, 0))
    assert client.publish(name, "x", qos=1).reason == 0


@statement("MQTT5-1.5.4-3", "MQTT5-4.7.3-4")
@every_version
@pytest.mark.parametrize("topic", ["a//b", "/", "/a", "a/", " ", "a b", "\ufeffbom", "日本/語", "a" * 3000,
                                   "1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16"])
def test_topics_arrive_as_they_were_sent(broker, name, version, topic):
    client = broker.connect(version=version)
    client.subscribe(topic, name)
    client.publish(topic, "x")
    client.message(topic=topic)


@statement("MQTT5-4.7.3-3")
@pytest.mark.parametrize("version", [4, 5])
def test_the_longest_topic_works(broker, version):
    client = broker.connect(version=version)
    topic = "t" * 65535
    client.subscribe((topic, 1))
    client.publish(topic, "x", qos=1)
    client.message(topic=topic)
    client.unsubscribe(topic)


@statement("MQTT5-3.3.2-2", "MQTT5-4.7.0-1")
@every_version
@pytest.mark.parametrize("topic", ["a/+", "#", "a/#/b", "+", "a+b", "a#"])
def test_a_topic_with_a_wildcard_is_refused(broker, version, topic):
    watcher, other = broker.connect(), broker.connect()
    watcher.subscribe("#")
    for qos in (0, 1, 2):
        client = broker.connect(version=version)
        client.send(client.publish_packet(topic, "bad", qos=qos))
        client.expect_refused(0x82)
    assert [one for one in watcher.messages_before(other) if one.payload == b"bad"] == []


@every_version
def test_an_empty_topic_is_refused(broker, version):
    client = broker.connect(version=version)
    client.send(client.publish_packet("", "x"))
    client.expect_refused(0x82)


@statement("MQTT5-3.3.2-1", "MQTT5-4.7.3-2")
@every_version
def test_a_topic_must_be_utf_8(broker, version):
    for topic in (b"\xff", b"a\0b", b"\xed\xa0\x80", b"\xc0\xaf"):
        client = broker.connect(version=version)
        client.send(client.publish_packet(topic, "x"))
        client.expect_refused(0x81)


@statement("MQTT5-3.3.1-4")
@every_version
def test_qos_3_is_malformed(broker, version):
    client = broker.connect(version=version)
    client.send(frame(0x36, binary("a") + u16(1) + (b"\0" if version == 5 else b"")))
    client.expect_refused(0x81)


@statement("MQTT5-3.3.1-2")
@every_version
def test_dup_at_qos_0_is_malformed(broker, version):
    client = broker.connect(version=version)
    client.send(client.publish_packet("a", "x", dup=1))
    client.expect_refused(0x81)


@statement("MQTT5-2.2.1-3", "MQTT311-2.3.1-1")
@every_version
@pytest.mark.parametrize("qos", [1, 2])
def test_packet_identifier_0_is_refused(broker, version, qos):
    client = broker.connect(version=version)
    client.send(client.publish_packet("a", "x", qos=qos, packet_id=0))
    client.expect_refused(0x82, 0x81)


@statement("MQTT5-3.3.4-6", "MQTT5-3.3.2-14", "MQTT5-3.3.2-13", "MQTT5-3.3.2-19")
@pytest.mark.parametrize("props,code", [
    ({"subscription_identifier": [1]}, 0x82),
    ({"response_topic": "a/+"}, 0x82),
    ({"response_topic": b"\xff"}, 0x81),
    ({"content_type": b"\xff"}, 0x81),
    ({"payload_format_indicator": 2}, 0x82),
    ({"raw": b"\x02\0\0\0\1" * 2}, 0x82),
    ({"session_expiry_interval": 1}, 0x81),
    ({"raw": b"\x7e"}, 0x81),
])
def test_wrong_properties_are_refused_and_nothing_is_routed(broker, name, props, code):
    watcher, other = broker.connect(), broker.connect()
    watcher.subscribe(f"{name}/#")
    client = broker.connect()
    client.send(client.publish_packet(f"{name}/bad", "x", **props))
    client.expect_refused(code)
    assert watcher.messages_before(other) == []


@pytest.mark.parametrize("topic", ["$SYS/broker/evil", "$SYS/x"])
def test_clients_cannot_write_to_sys(broker, topic):
    watcher = broker.connect(version=4)
    watcher.subscribe(topic)
    client = broker.connect()
    client.send(client.publish_packet(topic, "evil", qos=1))
    packet = client.recv()
    assert packet.kind in ("PUBACK", "DISCONNECT") and packet.reason in (0x87, 0x90), packet
    other = broker.connect()
    assert watcher.messages_before(other) == []


@statement("MQTT311-3.3.5-2")
@pytest.mark.parametrize("version", [3, 4])
def test_an_old_client_that_writes_to_sys_is_acknowledged_or_closed(broker, version):
    watcher = broker.connect()
    watcher.subscribe("$SYS/broker/evil")
    client = broker.connect(version=version)
    client.send(client.publish_packet("$SYS/broker/evil", "evil", qos=1, packet_id=3))
    try:
        client.expect("PUBACK", packet_id=3)
    except ConnectionError:
        pass
    assert watcher.messages_before(broker.connect()) == []


def test_a_message_reaches_many_subscribers(broker, name):
    subscribers = [broker.connect(version=VERSIONS[i % 3]) for i in range(60)]
    for i, subscriber in enumerate(subscribers):
        subscriber.subscribe((name, i % 3))
    broker.connect().publish(name, "all", qos=2)
    for i, subscriber in enumerate(subscribers):
        subscriber.message(payload="all", qos=i % 3)


def test_messages_in_one_write_and_messages_in_pieces(broker, name):
    client = broker.connect()
    client.subscribe((name, 0))
    data = b"".join(frame(0x30, binary(name) + properties({}) + b"%d" % i) for i in range(300))
    client.send(data)
    for i in range(300):
        client.message(payload=str(i))
    for i in range(0, len(data), 7):
        client.send(data[i:i + 7])
    for i in range(300):
        client.message(payload=str(i))


def test_leaving_at_once_loses_no_message(broker, name):
    subscriber = broker.connect()
    subscriber.subscribe((name, 2))
    for qos in (0, 1, 2):
        publisher = broker.open(4)
        publisher.send(publisher.connect_packet(f"{name}p"), publisher.publish_packet(name, "x", qos=qos),
                       b"\xe0\0")
        publisher.finish()
        subscriber.message(payload="x", qos=qos)
