# SPDX-License-Identifier: Apache-2.0
"""What a broker sends again when a session is resumed, and that it does so at no other time."""

import pytest

statement = pytest.mark.statement

every_version = pytest.mark.parametrize("version", (3, 4, 5))


def lasting(version):
    return {"clean": False, **({"session_expiry_interval": 100} if version == 5 else {})}


@statement("MQTT5-3.3.1-1", "MQTT5-4.4.0-1", "MQTT311-3.3.1-1", "MQTT311-4.4.0-1", "MQTT311-4.6.0-1")
@every_version
@pytest.mark.parametrize("end", ["disconnect", "close", "reset"])
def test_what_was_not_acknowledged_comes_again_in_order(broker, name, version, end):
    publisher = broker.connect()
    client = broker.connect(name, version, **lasting(version))
    client.subscribe((f"{name}/#", 2))
    for i in range(10):
        publisher.publish(f"{name}/{i % 3}", str(i), qos=1 + i % 2)
    first = [client.message(ack=False, dup=0) for _ in range(10)]
    getattr(client, end)()
    client = broker.open(version)
    client.connect(name, **lasting(version))
    for message in first:
        client.message(ack=False, dup=1, packet_id=message.packet_id, topic=message.topic,
                       payload=message.payload, qos=message.qos)
    client.ping()
    assert not client.inbox


@every_version
def test_what_was_acknowledged_does_not_come_again(broker, name, version):
    publisher = broker.connect()
    client = broker.connect(name, version, **lasting(version))
    client.subscribe((f"{name}/a", 2))
    for i in range(4):
        publisher.publish(f"{name}/a", str(i), qos=1 + i % 2)
        client.message(ack=i < 2)
    client.ping()
    client.close()
    client = broker.open(version)
    client.connect(name, **lasting(version))
    client.message(payload="2", dup=1)
    client.message(payload="3", dup=1)
    client.ping()
    assert not client.inbox


@statement("MQTT5-4.3.3-5", "MQTT5-4.3.3-6", "MQTT5-4.4.0-1")
@every_version
def test_an_owed_pubrel_comes_again_and_the_publish_does_not(broker, name, version):
    publisher = broker.connect()
    client = broker.connect(name, version, **lasting(version))
    client.subscribe((f"{name}/a", 2))
    publisher.publish(f"{name}/a", "x", qos=2)
    packet_id = client.message(ack=False).packet_id
    client.ack("PUBREC", packet_id)
    client.expect("PUBREL", packet_id=packet_id)
    for _ in range(2):
        client.close()
        client = broker.open(version)
        client.connect(name, **lasting(version))
        client.expect("PUBREL", packet_id=packet_id, reason=0)
    client.ack("PUBCOMP", packet_id)
    client.ping()
    client.close()
    client = broker.open(version)
    client.connect(name, **lasting(version))
    client.ping()
    assert not client.inbox


@statement("MQTT5-4.4.0-1")
@every_version
def test_nothing_is_sent_again_on_a_live_connection(broker, name, version):
    publisher = broker.connect()
    client = broker.connect(name, version)
    client.subscribe((f"{name}/a", 2))
    for qos in (1, 2):
        publisher.publish(f"{name}/a", "x", qos=qos)
        client.message(ack=False)
    client.expect_quiet(1.0)
    client.ping()
    assert not client.inbox


@every_version
def test_flying_messages_come_before_queued_ones(broker, name, version):
    publisher = broker.connect()
    client = broker.connect(name, version, **lasting(version))
    client.subscribe((f"{name}/a", 1))
    publisher.publish(f"{name}/a", "0", qos=1)
    client.message(ack=False)
    client.disconnect()     # what comes now is not sent to this connection
    for i in range(1, 6):
        publisher.publish(f"{name}/a", str(i), qos=1)
    client = broker.open(version)
    client.connect(name, **lasting(version))
    client.message(payload="0", dup=1)
    for i in range(1, 6):
        client.message(payload=str(i), dup=0)


@statement("MQTT5-3.10.4-3")
@every_version
def test_a_delivery_begun_before_unsubscribe_is_finished(broker, name, version):
    publisher = broker.connect()
    client = broker.connect(name, version, **lasting(version))
    client.subscribe((f"{name}/a", 2))
    for qos in (1, 2):
        publisher.publish(f"{name}/a", str(qos), qos=qos)
    first = [client.message(ack=False) for _ in range(2)]
    client.unsubscribe(f"{name}/a")
    client.close()
    client = broker.open(version)
    client.connect(name, **lasting(version))
    for message in first:
        client.message(payload=message.payload, dup=1, packet_id=message.packet_id)


@statement("MQTT5-3.3.2-7")
def test_a_resend_carries_the_whole_topic_and_all_properties(broker, name):
    publisher = broker.connect()
    client = broker.connect(name, session_expiry_interval=100, topic_alias_maximum=10)
    client.subscribe((f"{name}/a", 1), subscription_identifier=7)
    for i in range(3):
        publisher.publish(f"{name}/a", str(i), qos=1, user_property=[("k", str(i))],
                          correlation_data=b"c")
    for i in range(3):
        client.message(ack=False)
    client.close()
    client = broker.open()
    client.connect(name, clean=False)
    for i in range(3):
        message = client.message(dup=1, payload=str(i), user_property=[("k", str(i))],
                                 correlation_data=b"c", subscription_identifier=[7])
        assert message.sent_topic == f"{name}/a" and "topic_alias" not in message.props


@statement("MQTT5-4.9.0-1")
def test_a_smaller_receive_maximum_limits_the_resends(broker, name):
    publisher = broker.connect()
    client = broker.connect(name, session_expiry_interval=100)
    client.subscribe((f"{name}/a", 2))
    for i in range(10):
        publisher.publish(f"{name}/a", str(i), qos=1 + i % 2)
    for _ in range(10):
        client.message(ack=False)
    client.close()
    client = broker.open()
    client.connect(name, clean=False, session_expiry_interval=100, receive_maximum=3)
    got = []
    while len(got) < 10:
        waiting = [client.message(ack=False, dup=1) for _ in range(min(3, 10 - len(got)))]
        client.ping()
        assert not client.inbox
        for message in waiting:
            got.append(message.payload)
            client.acknowledge(message)
            # What the acknowledgement let through stays for the next round.
    assert got == [str(i).encode() for i in range(10)]


@statement("MQTT5-2.2.1-4")
def test_resent_ids_are_not_given_to_others(broker, name):
    publisher = broker.connect()
    client = broker.connect(name, session_expiry_interval=100)
    client.subscribe((f"{name}/a", 1))
    for i in range(5):
        publisher.publish(f"{name}/a", str(i), qos=1)
    busy = {client.message(ack=False).packet_id for _ in range(5)}
    client.close()
    client = broker.open()
    client.connect(name, clean=False)
    for _ in range(5):
        client.message(ack=False, dup=1)
    for i in range(20):
        publisher.publish(f"{name}/a", "new", qos=1)
        assert client.message(dup=0).packet_id not in busy


@every_version
def test_qos_0_is_not_kept_for_a_sleeping_session(broker, name, version):
    publisher = broker.connect()
    client = broker.connect(name, version, **lasting(version))
    client.subscribe((f"{name}/a", 2))
    client.disconnect()
    publisher.publish(f"{name}/a", "zero", qos=0)
    publisher.publish(f"{name}/a", "one", qos=1)
    client = broker.open(version)
    client.connect(name, **lasting(version))
    client.message(payload="one")


@every_version
def test_a_long_queue_arrives_whole_and_in_order(broker, name, version):
    publisher = broker.connect()
    client = broker.connect(name, version, **lasting(version))
    client.subscribe((f"{name}/a", 1))
    client.disconnect()
    for start in range(0, 3000, 500):
        publisher.send(*[publisher.publish_packet(f"{name}/a", str(i), qos=1)
                         for i in range(start, start + 500)])
        for _ in range(500):
            publisher.expect("PUBACK")
    client = broker.open(version)
    client.connect(name, **lasting(version))
    for i in range(3000):
        client.message(payload=str(i), dup=0)
