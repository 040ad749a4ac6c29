# SPDX-License-Identifier: Apache-2.0
"""SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK: 3.8 to 3.11."""

import pytest

from mqtt import Packet, binary, frame, u16
from test_words import no_props

statement = pytest.mark.statement
both = pytest.mark.parametrize("version", (4, 5))
SUBACK_CODES = {0, 1, 2, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2}
UNSUBACK_CODES = {0, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91}
CONFIG = {"limits": {"max_subscriptions": 50, "max_qos": 2}}


@statement("MQTT5-3.8.4-1", "MQTT311-3.8.4-1")
@both
def test_each_subscribe_gets_one_suback(broker, version, name):
    client = broker.connect(version=version)
    client.send(*(client.subscribe_packet((f"{name}/{i}", i % 3), packet_id=i + 1) for i in range(20)))
    for i in range(20):
        client.expect("SUBACK", packet_id=i + 1, reasons=[i % 3])
    client.ping()
    assert not client.inbox


@statement("MQTT5-3.8.4-5", "MQTT5-3.8.4-7", "MQTT311-3.8.4-4", "MQTT311-3.8.4-5", "MQTT311-3.9.3-1")
@both
def test_several_filters_are_handled_in_order(broker, version, name):
    client, publisher = broker.connect(version=version), broker.connect()
    filters = [(f"{name}/{i}", (2 - i) % 3) for i in range(6)]
    client.subscribe(*filters, expect=[qos for _, qos in filters])
    for topic, _ in filters:
        publisher.publish(topic, topic, qos=2)
    # Between topics, and between one QoS and another, MQTT promises no order.
    assert sorted((one.topic, one.qos) for one in client.messages_before(publisher)) == filters
    # The same filter twice: the later one stands, as if each had come by itself [MQTT-3.8.4-3].
    for qos in 0, 2, 1:
        client.subscribe((f"{name}/same", 2 - qos), (f"{name}/same", qos), expect=[2 - qos, qos])
        publisher.publish(f"{name}/same", "x", qos=2)
        assert [one.qos for one in client.messages_before(publisher)] == [qos]


@statement("MQTT5-3.8.4-5", "MQTT5-3.8.4-7", "MQTT311-3.8.4-4", "MQTT311-3.8.4-5", "MQTT311-3.9.3-2", "MQTT5-3.9.3-2")
@both
def test_one_bad_filter_does_not_void_the_others(run_broker, version, name):
    broker = run_broker({"limits": {"auth_delay": 0}}, test=True, args=("--authority", "at-once"))
    client = broker.connect(name, version=version, username="good", password="good")
    suback = client.subscribe((f"{name}/a", 1), ("deny/x", 1), (f"{name}/b", 2), ("low/x", 2),
                              expect=[1, 0x87 if version == 5 else 0x80, 2, 0])
    assert set(suback.reasons) <= (SUBACK_CODES if version == 5 else {0, 1, 2, 0x80})
    client.publish(f"{name}/b", b"x", qos=2)
    client.message(topic=f"{name}/b", payload=b"x")


@statement("MQTT5-3.8.4-5", "MQTT5-3.9.3-2", "MQTT311-3.9.3-2")
@both
def test_beyond_a_limit_the_filter_is_refused_and_the_others_stand(broker, version, name):
    client = broker.connect(version=version)
    client.subscribe(*(f"{name}/{i}" for i in range(49)))
    client.subscribe(f"{name}/a", f"{name}/b", f"{name}/0", expect=[0, 0x97 if version == 5 else 0x80, 0])
    client.publish(f"{name}/a", b"x")
    client.message(payload=b"x")


@statement("MQTT311-3.8.3-3")
@pytest.mark.parametrize("body", [b"\0\1", b"\0\1" + binary("t"), b"\0\1" + binary("t") + b"\0" + binary("u"), b""])
def test_a_subscribe_without_a_whole_pair_ends_the_connection(broker, body):
    client = broker.connect(version=4)
    client.send(frame(0x82, body))
    client.expect_closed()


@statement("MQTT5-3.9.2-1", "MQTT5-3.9.2-2", "MQTT5-3.11.2-1", "MQTT5-3.11.2-2")
@pytest.mark.parametrize("size", range(40, 80, 8))
def test_suback_and_unsuback_fit_the_clients_limit(broker, name, size):
    client = broker.open()
    client.connect("s", maximum_packet_size=size)
    client.send(client.subscribe_packet("f/#", "g", packet_id=1))
    assert client.expect("SUBACK", packet_id=1).size <= size
    assert client.unsubscribe("f/#", "nothing", expect=[0, 0x11]).size <= size


@statement("MQTT5-3.10.4-6", "MQTT311-3.10.4-6")
@both
def test_several_filters_of_unsubscribe_get_one_unsuback(broker, version, name):
    client = broker.connect(version=version)
    names = [f"{name}/{i}" for i in range(8)]
    client.subscribe(*names)
    client.unsubscribe(names[0], f"{name}/none", names[1], names[0], expect=[0, 0x11, 0, 0x11])
    client.ping()
    assert not client.inbox
    for topic in names:
        client.publish(topic, topic)
    assert [one.topic for one in client.messages_before(client)] == names[2:]


@statement("MQTT5-3.11.3-2")
def test_unsuback_has_legal_codes(broker, name):
    client = broker.connect()
    client.subscribe(name)
    for filters in ([name], [name], ["#"], ["+/+", "$share/g/" + name]):
        packet = Packet("UNSUBSCRIBE", packet_id=3, props={}, filters=filters)
        client.send(packet)
        reasons = client.expect("UNSUBACK", packet_id=3).reasons
        assert len(reasons) == len(filters) and set(reasons) <= UNSUBACK_CODES


@statement("MQTT311-3.10.3-2")
@pytest.mark.parametrize("body", [b"\0\1", b"\0\1\0", b""])
def test_an_unsubscribe_without_a_filter_ends_the_connection(broker, body):
    client = broker.connect(version=4)
    client.send(frame(0xA2, body))
    client.expect_closed()


@statement("MQTT311-3.10.4-1")
def test_only_the_exact_filter_is_deleted(broker, name):
    client, publisher = broker.connect(version=4), broker.connect(version=4)
    client.subscribe(f"{name}/a", f"{name}/+", f"{name}/A")
    for other in (f"{name}/#", f"{name}/a/", f"{name}", f"{name}/B"):
        client.unsubscribe(other)
    client.unsubscribe(f"{name}/a")
    publisher.publish(f"{name}/a", b"by plus")
    publisher.publish(f"{name}/A", b"big")
    assert {one.payload for one in client.messages_before(publisher)} == {b"by plus", b"big"}
    client.unsubscribe(f"{name}/+")
    publisher.publish(f"{name}/a", b"nobody")
    assert client.messages_before(publisher) == []


@statement("MQTT311-3.10.4-2")
def test_nothing_new_is_queued_for_a_deleted_subscription(broker, name):
    client, publisher = broker.open(4), broker.connect()
    client.connect(name, clean=False)
    client.subscribe((f"{name}/t", 1))
    client.unsubscribe(f"{name}/t")
    publisher.publish(f"{name}/t", b"awake", qos=1)
    client.disconnect()
    publisher.publish(f"{name}/t", b"asleep", qos=1)
    client = broker.open(4)
    client.connect(name, clean=False)
    assert client.messages_before(publisher) == []


@statement("MQTT311-3.10.4-3")
@pytest.mark.parametrize("qos", [1, 2])
def test_deliveries_that_began_are_completed(broker, name, qos):
    client, publisher = broker.open(4), broker.connect()
    client.connect(name, clean=False)
    client.subscribe((f"{name}/t", qos))
    publisher.publish(f"{name}/t", b"x", qos=qos)
    packet = client.message(ack=False)
    client.unsubscribe(f"{name}/t")
    client.close()
    client = broker.open(4)
    client.connect(name, clean=False)
    client.message(payload=b"x", dup=1, packet_id=packet.packet_id)


@statement("MQTT311-3.10.4-4", "MQTT311-3.10.4-5")
def test_unsuback_comes_also_when_nothing_was_deleted(broker, name):
    client = broker.connect(version=4)
    client.send(Packet("UNSUBSCRIBE", packet_id=700, props={}, filters=[name]))
    assert client.expect("UNSUBACK", packet_id=700).size == 4


@statement("MQTT5-2.2.1-6", "MQTT311-2.3.1-7")
@both
def test_answers_keep_apart(broker, version, name):
    client = broker.connect(version=version)
    client.send(frame(0x82, u16(9) + no_props(version) + binary(name) + b"\0"),
                frame(0xA2, u16(9) + no_props(version) + binary(name)))
    client.expect("SUBACK", packet_id=9)
    client.expect("UNSUBACK", packet_id=9)
