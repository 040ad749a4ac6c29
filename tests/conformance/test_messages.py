# SPDX-License-Identifier: Apache-2.0
"""PUBLISH and its acknowledgements, quality of service, order: 3.3 to 3.7, 4.3 to 4.6."""

import pytest

import mqtt
from mqtt import Filter, frame, u16
from test_words import no_props

statement = pytest.mark.statement
both = pytest.mark.parametrize("version", (4, 5))
ACK_CODES = {"PUBACK": {0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99}, "PUBREL": {0, 0x92}, "PUBCOMP": {0, 0x92}}
ACK_CODES["PUBREC"] = ACK_CODES["PUBACK"]


def keep(version):
    return {"session_expiry_interval": 300} if version == 5 else {}


# --- PUBLISH ---

@statement("MQTT311-3.3.1-2")
@pytest.mark.parametrize("retain", [0, 1])
def test_dup_at_qos_0_ends_the_connection(broker, name, retain):
    """Choice: QoS 0 with DUP is malformed (a listener with `lenient` takes it)."""
    watcher, client = broker.connect(), broker.connect(version=4)
    watcher.subscribe(name)
    client.send(client.publish_packet(name, b"x", dup=1, retain=retain))
    client.expect_closed()
    assert watcher.messages_before(broker.connect()) == []


@statement("MQTT311-3.3.1-4")
@pytest.mark.parametrize("first", [0x36, 0x37, 0x3E, 0x3F])
def test_qos_3_ends_the_connection(broker, name, first):
    client = broker.connect(version=4)
    client.send(frame(first, mqtt.binary(name) + u16(1) + b"x"))
    client.expect_closed()


@statement("MQTT311-3.3.1-7")
def test_a_retained_message_of_qos_0_replaces_the_old_one(broker, name):
    """Choice: it is stored in place of the old one."""
    client = broker.connect(version=4)
    client.publish(name, b"old", qos=1, retain=1)
    client.publish(name, b"new", qos=0, retain=1)
    client.ping()
    other = broker.connect(version=4)
    other.subscribe(name)
    other.message(payload=b"new", retain=1)
    client.publish(name, b"", retain=1)


@statement("MQTT5-3.3.2-3", "MQTT311-3.3.2-3")
@both
def test_what_is_sent_matches_the_filter(broker, version, name):
    subscriber, publisher = broker.connect(version=version), broker.connect(version=version)
    subscriber.subscribe(f"{name}/+/c", f"{name}/x/#")
    for topic in ("a/c", "a/b/c", "x", "x/y", "x/y/z", "b", "a/c/d", "/c"):
        publisher.publish(f"{name}/{topic}", topic.encode())
    got = [one.topic for one in subscriber.messages_before(publisher)]
    assert got == [f"{name}/{topic}" for topic in ("a/c", "x", "x/y", "x/y/z", "/c")]


@statement("MQTT5-3.3.4-1", "MQTT311-3.3.4-1")
@both
def test_each_qos_has_its_answer(broker, version, name):
    client = broker.connect(version=version)
    client.publish(name, b"x", qos=0)
    client.ping()
    assert not client.inbox
    client.send(client.publish_packet(name, b"x", qos=1, packet_id=3))
    client.expect("PUBACK", packet_id=3)
    client.send(client.publish_packet(name, b"x", qos=2, packet_id=3))
    client.expect("PUBREC", packet_id=3)


@statement("MQTT5-3.3.4-5")
def test_a_copy_has_the_id_of_its_own_subscription_only(broker, name):
    """Choice: overlapping subscriptions give one copy with all their identifiers; those that did not match
    give none."""
    client, publisher = broker.connect(), broker.connect()
    client.subscribe(f"{name}/a", subscription_identifier=[1])
    client.subscribe(f"{name}/b", subscription_identifier=[2])
    client.subscribe(f"{name}/c")
    for topic in "abc":
        publisher.publish(f"{name}/{topic}", topic.encode())
    got = {one.payload: one.props.get("subscription_identifier") for one in client.messages_before(publisher)}
    assert got == {b"a": [1], b"b": [2], b"c": None}


# --- codes of acknowledgements ---

def in_state(broker, name, kind):
    """A client of whom an acknowledgement of this kind is due, and the packet id."""
    client, publisher = broker.connect(), broker.connect()
    if kind == "PUBREL":
        client.send(client.publish_packet(name, b"x", qos=2, packet_id=5))
        client.expect("PUBREC", packet_id=5)
        return client, 5
    client.subscribe((name, 1 if kind == "PUBACK" else 2))
    publisher.publish(name, b"x", qos=1 if kind == "PUBACK" else 2)
    packet_id = client.message(ack=False).packet_id
    if kind == "PUBCOMP":
        client.ack("PUBREC", packet_id)
        client.expect("PUBREL", packet_id=packet_id)
    return client, packet_id


def refuses(broker, name, kind, code):
    client, packet_id = in_state(broker, name, kind)
    client.send(frame(mqtt.NUMBERS[kind] << 4 | (2 if kind == "PUBREL" else 0), u16(packet_id) + bytes([code])))
    client.expect_refused(0x81, 0x82)


SAMPLE = [1, 2, 4, 0x11, 0x18, 0x81, 0x82, 0x8F, 0x98, 0xA2, 0xFF]


@statement("MQTT5-3.4.2-1")
@pytest.mark.parametrize("code", [code for code in SAMPLE if code not in ACK_CODES["PUBACK"]] + [0x92])
def test_puback_with_another_code_is_refused(broker, name, code):
    refuses(broker, name, "PUBACK", code)


@statement("MQTT5-3.5.2-1")
@pytest.mark.parametrize("code", [code for code in SAMPLE if code not in ACK_CODES["PUBREC"]] + [0x92])
def test_pubrec_with_another_code_is_refused(broker, name, code):
    refuses(broker, name, "PUBREC", code)


@statement("MQTT5-3.6.2-1")
@pytest.mark.parametrize("code", SAMPLE + [0x10, 0x80, 0x91])
def test_pubrel_with_another_code_is_refused(broker, name, code):
    refuses(broker, name, "PUBREL", code)


@statement("MQTT5-3.7.2-1")
@pytest.mark.parametrize("code", SAMPLE + [0x10, 0x80, 0x91])
def test_pubcomp_with_another_code_is_refused(broker, name, code):
    refuses(broker, name, "PUBCOMP", code)


@statement("MQTT5-3.4.2-1")
@pytest.mark.parametrize("code", sorted(ACK_CODES["PUBACK"]))
def test_puback_with_a_legal_code_ends_the_delivery(broker, name, code):
    client, packet_id = in_state(broker, name, "PUBACK")
    client.ack("PUBACK", packet_id, code)
    client.ping()


@statement("MQTT5-3.5.2-1")
@pytest.mark.parametrize("code", sorted(ACK_CODES["PUBREC"]))
def test_pubrec_with_a_legal_code_is_taken(broker, name, code):
    client, packet_id = in_state(broker, name, "PUBREC")
    client.ack("PUBREC", packet_id, code)
    client.ping()
    assert [one.kind for one in client.inbox] == (["PUBREL"] if code < 0x80 else [])


@statement("MQTT5-3.6.2-1", "MQTT5-3.7.2-1")
def test_a_pubrel_for_nothing_is_answered_0x92(broker):
    client = broker.connect()
    client.ack("PUBREL", 999)
    client.expect("PUBCOMP", packet_id=999, reason=0x92)
    client.ack("PUBREL", 998, 0x92)
    client.expect("PUBCOMP", packet_id=998)


@statement("MQTT5-3.4.2-1", "MQTT5-3.5.2-1")
@pytest.mark.parametrize("qos, kind", [(1, "PUBACK"), (2, "PUBREC")])
def test_the_broker_sends_legal_codes(broker, name, qos, kind):
    client = broker.connect()
    for topic in (name, "$SYS/x", f"{name}/nobody"):
        client.send(client.publish_packet(topic, b"x", qos=qos, packet_id=4))
        assert client.expect(kind, packet_id=4).reason in ACK_CODES[kind]


@statement("MQTT5-3.4.2-2", "MQTT5-3.5.2-2", "MQTT5-3.7.2-2", "MQTT5-3.4.2-3", "MQTT5-3.5.2-3", "MQTT5-3.6.2-2", "MQTT5-3.6.2-3", "MQTT5-3.7.2-3")
@pytest.mark.parametrize("size", range(40, 90, 7))
def test_acknowledgements_fit_the_clients_limit(broker, name, size):
    client, publisher = broker.open(), broker.connect()
    client.connect("s", maximum_packet_size=size)
    for packet_id in range(1, 4):
        client.send(client.publish_packet("$SYS/not", b"x", qos=1, packet_id=packet_id))
        assert client.expect("PUBACK", packet_id=packet_id).size <= size
        client.send(client.publish_packet("$SYS/not", b"x", qos=2, packet_id=packet_id))
        assert client.expect("PUBREC", packet_id=packet_id).size <= size
        client.ack("PUBREL", packet_id + 100)
        assert client.expect("PUBCOMP", packet_id=packet_id + 100).size <= size
    client.subscribe((name, 2))
    publisher.publish(name, b"x", qos=2)
    packet = client.message(ack=False)
    client.ack("PUBREC", packet.packet_id)
    assert client.expect("PUBREL", packet_id=packet.packet_id).size <= size


# --- quality of service, the broker as sender ---

@statement("MQTT5-4.3.1-1", "MQTT311-4.3.1-1")
@both
def test_qos_0_is_sent_once_with_dup_0(broker, version, name):
    subscriber, publisher = broker.connect(version=version), broker.connect(version=version)
    subscriber.subscribe((name, 0))
    publisher.publish(name, b"x", qos=2)
    assert [(one.qos, one.dup) for one in subscriber.messages_before(publisher)] == [(0, 0)]


@statement("MQTT5-4.3.2-1", "MQTT5-4.3.2-2", "MQTT5-4.3.3-1", "MQTT5-4.3.3-2", "MQTT311-4.3.2-1", "MQTT311-4.3.3-1")
@both
@pytest.mark.parametrize("qos", [1, 2])
def test_new_messages_take_unused_ids_with_dup_0(broker, version, name, qos):
    subscriber, publisher = broker.connect(version=version), broker.connect(version=version)
    subscriber.subscribe((name, qos))
    for i in range(50):
        publisher.publish(name, str(i), qos=qos)
    packets = [subscriber.message(ack=False, qos=qos, dup=0) for _ in range(50)]
    assert len({one.packet_id for one in packets}) == 50 and 0 not in {one.packet_id for one in packets}


@statement("MQTT311-2.3.1-4")
@pytest.mark.parametrize("qos", [1, 2])
def test_an_id_is_used_again_only_when_it_is_free(broker, name, qos):
    subscriber, publisher = broker.connect(version=4), broker.connect(version=4)
    subscriber.subscribe((name, qos))
    held = []
    for i in range(300):
        publisher.publish(name, str(i), qos=qos)
        packet = subscriber.message(ack=False)
        assert packet.packet_id not in held
        if i % 3:
            subscriber.acknowledge(packet)
        elif len(held) < 60:
            held.append(packet.packet_id)
        else:
            subscriber.acknowledge(packet)


@statement("MQTT5-3.3.1-1", "MQTT311-3.3.1-1", "MQTT5-4.4.0-1", "MQTT5-4.3.2-3", "MQTT5-4.3.3-3", "MQTT311-2.3.1-4", "MQTT311-4.3.2-1", "MQTT311-4.3.3-1")
@both
@pytest.mark.parametrize("qos", [1, 2])
def test_what_is_not_acknowledged_is_kept_and_sent_again(broker, version, name, qos):
    publisher = broker.connect(version=version)
    subscriber = broker.open(version)
    subscriber.connect(name, clean=False, **keep(version))
    subscriber.subscribe((f"{name}/t", qos))
    publisher.publish(f"{name}/t", b"kept", qos=qos)
    first = subscriber.message(ack=False, payload=b"kept")
    subscriber.close()
    for _ in range(2):
        subscriber = broker.open(version)
        subscriber.connect(name, clean=False, **keep(version))
        subscriber.message(ack=False, payload=b"kept", dup=1, packet_id=first.packet_id, qos=qos)
        subscriber.close()
    subscriber = broker.open(version)
    subscriber.connect(name, clean=False, **keep(version))
    subscriber.message(payload=b"kept", dup=1)
    subscriber.disconnect()
    subscriber = broker.open(version)
    subscriber.connect(name, clean=False, **keep(version))
    assert subscriber.messages_before(publisher) == []


@statement("MQTT5-4.3.2-3", "MQTT5-4.3.3-3")
@pytest.mark.parametrize("qos", [1, 2])
def test_what_is_not_acknowledged_counts_against_receive_maximum(broker, name, qos):
    subscriber, publisher = broker.connect(receive_maximum=3), broker.connect()
    subscriber.subscribe((name, qos))
    for i in range(5):
        publisher.publish(name, str(i), qos=qos)
    held = [subscriber.message(ack=False) for _ in range(3)]
    subscriber.ping()
    assert not subscriber.inbox
    subscriber.acknowledge(held[0])
    subscriber.message(ack=False, payload=b"3")
    subscriber.ping()
    assert not subscriber.inbox


@statement("MQTT311-4.3.3-1", "MQTT5-4.3.3-5", "MQTT5-4.3.3-6", "MQTT5-4.4.0-1")
@both
def test_after_pubrel_the_publish_is_not_sent_again(broker, version, name):
    publisher = broker.connect()
    subscriber = broker.open(version)
    subscriber.connect(name, clean=False, **keep(version))
    subscriber.subscribe((f"{name}/t", 2))
    publisher.publish(f"{name}/t", b"x", qos=2)
    packet = subscriber.message(ack=False)
    subscriber.ack("PUBREC", packet.packet_id)
    subscriber.expect("PUBREL", packet_id=packet.packet_id)
    subscriber.close()
    for _ in range(2):
        subscriber = broker.open(version)
        subscriber.connect(name, clean=False, **keep(version))
        subscriber.expect("PUBREL", packet_id=packet.packet_id)
        subscriber.ping()
        assert not subscriber.inbox
        subscriber.close()


@statement("MQTT311-4.6.0-4")
def test_pubrels_come_in_the_order_of_pubrecs(broker, name):
    subscriber, publisher = broker.connect(version=4), broker.connect(version=4)
    subscriber.subscribe((name, 2))
    for i in range(20):
        publisher.publish(name, str(i), qos=2)
    ids = [subscriber.message(ack=False).packet_id for _ in range(20)]
    order = ids[::2] + ids[1::2][::-1]
    for packet_id in order:
        subscriber.ack("PUBREC", packet_id)
    assert [subscriber.expect("PUBREL").packet_id for _ in order] == order


@statement("MQTT5-4.6.0-6", "MQTT311-4.6.0-5")
@both
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_topic_is_ordered(broker, version, name, qos):
    publisher = broker.connect(version=version)
    subscribers = [broker.connect(version=version) for _ in range(3)]
    for subscriber in subscribers:
        subscriber.subscribe((name, qos))
    if qos == 0:    # in one write, so that many are carried out in one turn
        publisher.send(*[publisher.publish_packet(name, str(i)) for i in range(100)])
    for i in range(100 if qos else 0):
        publisher.publish(name, str(i), qos=qos)
    for subscriber in subscribers:
        assert [int(subscriber.message().payload) for _ in range(100)] == list(range(100))


# --- quality of service, the broker as receiver ---

@statement("MQTT5-4.3.2-4", "MQTT311-4.3.2-2", "MQTT311-4.5.0-1")
@both
def test_puback_means_that_every_session_has_it(broker, version, name):
    publisher = broker.connect(version=version)
    sleeper = broker.open(version)
    sleeper.connect(name, clean=False, **keep(version))
    sleeper.subscribe((f"{name}/t", 1))
    sleeper.disconnect()
    awake = broker.connect(version=version)
    awake.subscribe((f"{name}/#", 1))
    publisher.publish(f"{name}/t", b"mine", qos=1, packet_id=77)
    publisher.close()
    awake.message(payload=b"mine")
    sleeper = broker.open(version)
    sleeper.connect(name, clean=False, **keep(version))
    sleeper.message(payload=b"mine")


@statement("MQTT5-4.3.2-4", "MQTT5-4.3.3-8")
@pytest.mark.parametrize("qos, kind", [(1, "PUBACK"), (2, "PUBREC")])
def test_the_acknowledgement_waits_for_the_store(run_broker, name, qos, kind):
    broker = run_broker(test=True, args=("--engine", "mem:delay=300-300"))
    sleeper, publisher = broker.open(), broker.connect()
    sleeper.connect(name, clean=False, session_expiry_interval=300)
    sleeper.subscribe((f"{name}/t", qos))
    sleeper.disconnect()
    publisher.send(publisher.publish_packet(f"{name}/t", b"x", qos=qos, packet_id=9))
    publisher.expect_quiet(0.15)
    publisher.expect(kind, packet_id=9)


@statement("MQTT5-4.3.2-5", "MQTT311-4.3.2-2")
@both
@pytest.mark.parametrize("dup", [0, 1])
def test_after_puback_the_id_is_a_new_message(broker, version, name, dup):
    subscriber, publisher = broker.connect(version=version), broker.connect(version=version)
    subscriber.subscribe((name, 1))
    publisher.publish(name, b"one", qos=1, packet_id=10)
    publisher.publish(name, b"two", qos=1, packet_id=10, dup=dup)
    assert [one.payload for one in subscriber.messages_before(publisher)] == [b"one", b"two"]


@statement("MQTT5-4.3.3-8")
def test_pubrec_carries_the_id_and_means_that_it_is_owned(broker, name):
    sleeper, publisher = broker.open(), broker.connect()
    sleeper.connect(name, clean=False, session_expiry_interval=300)
    sleeper.subscribe((f"{name}/t", 2))
    sleeper.disconnect()
    publisher.send(publisher.publish_packet(f"{name}/t", b"mine", qos=2, packet_id=300))
    publisher.expect("PUBREC", packet_id=300)
    publisher.close()
    sleeper = broker.open()
    sleeper.connect(name, clean=False, session_expiry_interval=300)
    sleeper.message(payload=b"mine")


@statement("MQTT5-4.3.3-9")
@pytest.mark.parametrize("dup", [0, 1])
def test_after_a_refusing_pubrec_the_id_is_a_new_message(broker, name, dup):
    subscriber, publisher = broker.connect(), broker.connect()
    subscriber.subscribe((name, 2))
    publisher.send(publisher.publish_packet("$SYS/refused", b"x", qos=2, packet_id=6))
    assert publisher.expect("PUBREC", packet_id=6).reason >= 0x80
    publisher.send(publisher.publish_packet(name, b"new", qos=2, packet_id=6, dup=dup))
    publisher.expect("PUBREC", packet_id=6, reason=0)
    publisher.release(6)
    assert [one.payload for one in subscriber.messages_before(publisher)] == [b"new"]


@statement("MQTT5-4.3.3-9")
@pytest.mark.parametrize("code", [0x80, 0x83, 0x87, 0x97, 0x99])
def test_a_refusing_pubrec_from_a_client_frees_the_id(broker, name, code):
    subscriber, publisher = broker.connect(receive_maximum=1), broker.connect()
    subscriber.subscribe((name, 2))
    publisher.publish(name, b"one", qos=2)
    publisher.publish(name, b"two", qos=2)
    packet = subscriber.message(ack=False, payload=b"one")
    subscriber.ack("PUBREC", packet.packet_id, code)
    subscriber.message(payload=b"two")       # and no PUBREL before it


@statement("MQTT311-2.3.1-2")
def test_ids_of_both_directions_are_independent(broker, name):
    client, publisher = broker.connect(version=4), broker.connect(version=4)
    client.subscribe((name, 2))
    publisher.publish(name, b"in", qos=2)
    packet = client.message(ack=False)
    client.send(client.publish_packet(f"{name}/out", b"out", qos=2, packet_id=packet.packet_id))
    client.expect("PUBREC", packet_id=packet.packet_id)
    client.ack("PUBREC", packet.packet_id)
    client.expect("PUBREL", packet_id=packet.packet_id)
    client.ack("PUBREL", packet.packet_id)
    client.expect("PUBCOMP", packet_id=packet.packet_id)
    client.ack("PUBCOMP", packet.packet_id)
    client.ping()


@statement("MQTT311-2.3.1-2")
def test_an_id_that_awaits_pubrel_is_a_duplicate(broker, name):
    subscriber, publisher = broker.connect(version=4), broker.connect(version=4)
    subscriber.subscribe((name, 2))
    for payload in (b"first", b"second"):
        publisher.send(publisher.publish_packet(name, payload, qos=2, packet_id=8))
        publisher.expect("PUBREC", packet_id=8)
    publisher.release(8)
    assert [one.payload for one in subscriber.messages_before(publisher)] == [b"first"]


@statement("MQTT5-2.2.2-1")
@both
def test_a_message_without_properties_is_as_short_as_it_can_be(broker, version, name):
    subscriber, publisher = broker.connect(version=version), broker.connect()
    subscriber.subscribe(Filter(name, 1))
    publisher.publish(name, b"12345", qos=1)
    assert subscriber.message().size == 2 + 2 + len(name) + 2 + len(no_props(version)) + 5
