# SPDX-License-Identifier: Apache-2.0
"""What brokers most often get wrong: further tests of those statements, each from a failure that somebody
reported of a broker (mosquitto, EMQX, FlashMQ, NanoMQ, bifromq, VerneMQ and others)."""

import itertools
import time

import pytest

from mqtt import Filter, Will, binary, frame
from test_closing import authority, login, told_program  # noqa: F401
from test_words import connect_body

statement = pytest.mark.statement
both = pytest.mark.parametrize("version", (4, 5))
CONFIG = {"limits": {"auth_delay": 0}}


def keep(version):
    return {"session_expiry_interval": 300} if version == 5 else {}


@statement("MQTT5-4.3.3-10", "MQTT311-4.3.3-2")
@both
def test_the_third_copy_is_neither_routed_nor_refused(broker, version, name):
    subscriber, publisher = broker.connect(version=version), broker.connect(version=version)
    subscriber.subscribe((name, 2))
    for _ in range(6):
        publisher.send(publisher.publish_packet(name, b"once", qos=2, packet_id=1, dup=1))
        assert publisher.expect("PUBREC", packet_id=1).reason < 0x80
    publisher.release(1)
    assert len(subscriber.messages_before(publisher)) == 1


@statement("MQTT5-3.1.3-9")
@pytest.mark.parametrize("clean", [False, True])
def test_a_return_within_the_delay_decides_about_the_will(broker, name, clean):
    """With its session it cancels the will; a clean start ends the session, and so the will is published."""
    watcher = broker.connect()
    watcher.subscribe(f"{name}/will")
    client = broker.connect(name, session_expiry_interval=300, will=Will(f"{name}/will", b"gone", will_delay_interval=1))
    client.close()
    client = broker.open()
    client.connect(name, clean=clean, session_expiry_interval=300)
    if clean:
        watcher.message(payload=b"gone", timeout=5)
    else:
        watcher.expect_quiet(1.4)


@statement("MQTT5-3.1.3-9", "MQTT5-3.1.2-8")
def test_a_delay_beyond_the_sessions_end_ends_with_it(broker, name):
    watcher = broker.connect()
    watcher.subscribe(f"{name}/will")
    client = broker.connect(name, session_expiry_interval=1, will=Will(f"{name}/will", b"gone", will_delay_interval=100))
    begin = time.monotonic()
    client.close()
    watcher.message(payload=b"gone", timeout=5)
    assert time.monotonic() - begin > 0.8


@statement("MQTT5-3.1.2-8", "MQTT5-3.1.4-3", "MQTT311-3.1.2-8")
@both
@pytest.mark.parametrize("expiry", [0, 300])
def test_a_take_over_publishes_a_will_without_delay(broker, version, name, expiry):
    watcher = broker.connect()
    watcher.subscribe(f"{name}/will")
    options = {"session_expiry_interval": expiry} if version == 5 else {}
    broker.connect(name, version=version, clean=expiry == 0, will=Will(f"{name}/will", b"gone"), **options)
    broker.open(version).connect(name, clean=expiry == 0, **options)
    watcher.message(payload=b"gone")


@statement("MQTT5-3.1.2-24", "MQTT5-3.1.2-25")
@pytest.mark.parametrize("qos", [1, 2])
def test_a_message_that_is_too_large_keeps_no_id(broker, name, qos):
    subscriber, publisher = broker.connect(maximum_packet_size=60, receive_maximum=1), broker.connect()
    subscriber.subscribe((name, qos))
    for i in range(5):
        publisher.publish(name, b"x" * 100, qos=qos)
        publisher.publish(name, str(i), qos=qos)
        subscriber.message(payload=str(i))
    subscriber.ping()
    assert not subscriber.inbox


@statement("MQTT5-3.2.2-19")
@pytest.mark.parametrize("size", range(12, 80, 8))
def test_a_long_refusal_fits_the_clients_limit(broker, size):
    client = broker.open()
    body = binary("MQTT") + b"\5\x06\0\0" + b"\5\x27" + size.to_bytes(4, "big") + binary("") + b"\0" + \
        binary("$SYS/x") + binary("x")
    client.send(frame(0x10, body))
    packet = client.expect("CONNACK")
    assert packet.reason >= 0x80 and packet.size <= size
    client.expect_closed()


@statement("MQTT5-3.15.2-2", "MQTT5-4.12.1-1")
@pytest.mark.parametrize("size", [60, 70])
def test_reauthentication_fits_the_clients_limit(authority, name, size):    # noqa: F811
    client = login(authority, "r", maximum_packet_size=size)
    client.auth(0x19, authentication_method="TEST", authentication_data=b"hello")
    assert client.expect("AUTH", reason=0x18).size <= size
    client.auth(0x18, authentication_method="TEST", authentication_data=b"answer")
    assert client.expect("AUTH", reason=0).size <= size


@statement("MQTT5-3.1.2-29")
@pytest.mark.parametrize("wanted", [0, 1])
def test_no_problem_information_in_acknowledgements(broker, name, wanted):
    client = broker.connect(request_problem_information=wanted)
    client.send(client.publish_packet("$SYS/x", b"x", qos=1, packet_id=1))
    client.send(client.publish_packet("$SYS/x", b"x", qos=2, packet_id=2))
    client.send(client.subscribe_packet(name, packet_id=3))
    packets = [client.recv() for _ in range(3)]
    client.ack("PUBREL", 77)
    packets += [client.recv(), client.unsubscribe(name, f"{name}/none", expect=[0, 0x11])]
    if not wanted:
        assert not [one for one in packets if "reason_string" in one.props or "user_property" in one.props]


@statement("MQTT5-3.3.4-2")
@pytest.mark.parametrize("order", list(itertools.permutations((0, 1, 2))))
def test_overlaps_are_delivered_once_at_the_highest_qos(broker, name, order):
    filters = (f"{name}/a", f"{name}/+", f"{name}/#")
    subscriber, publisher = broker.connect(), broker.connect()
    for filter_, qos in zip(filters, order):
        subscriber.subscribe((filter_, qos), subscription_identifier=[qos + 1])
    publisher.publish(f"{name}/a", b"x", qos=2)
    got = subscriber.messages_before(publisher)
    assert [(one.qos, sorted(one.props["subscription_identifier"])) for one in got] == [(2, [1, 2, 3])]


@statement("MQTT5-3.3.4-3")
def test_a_retained_message_has_the_identifier(broker, name):
    publisher, client = broker.connect(), broker.connect()
    publisher.publish(name, b"x", qos=1, retain=1)
    client.subscribe((name, 1), subscription_identifier=[268435455])
    client.message(retain=1, subscription_identifier=[268435455])
    client.subscribe((name, 1), subscription_identifier=[7])
    client.message(retain=1, subscription_identifier=[7])
    publisher.publish(name, b"", retain=1)


@statement("MQTT5-4.3.3-7")
def test_a_message_that_expires_in_the_handshake_is_finished(broker, name):
    subscriber, publisher = broker.connect(name, session_expiry_interval=300), broker.connect()
    subscriber.subscribe((f"{name}/t", 2))
    publisher.publish(f"{name}/t", b"x", qos=2, message_expiry_interval=1)
    packet = subscriber.message(ack=False)
    subscriber.expect_quiet(1.3)
    subscriber.close()
    subscriber = broker.open()
    subscriber.connect(name, clean=False, session_expiry_interval=300)
    again = subscriber.message(ack=False, dup=1, packet_id=packet.packet_id)
    subscriber.ack("PUBREC", again.packet_id)
    subscriber.expect("PUBREL", packet_id=again.packet_id)


@statement("MQTT5-3.1.2-26", "MQTT5-3.1.2-27")
@pytest.mark.parametrize("maximum", [0, 1, 3])
def test_aliases_stay_within_the_clients_maximum(broker, name, maximum):
    client, publisher = broker.connect(topic_alias_maximum=maximum), broker.connect()
    client.subscribe(f"{name}/#")
    for i in range(60):
        publisher.publish(f"{name}/{i % 6}", b"x")
    for packet in client.messages_before(publisher, topic="m"):
        alias = packet.props.get("topic_alias")
        assert alias is None or 1 <= alias <= maximum


@statement("MQTT5-3.1.2-3", "MQTT5-3.1.4-1")
@pytest.mark.parametrize("flags", [0x01, 0x03, 0x05, 0x09, 0xFF])
def test_a_malformed_connect_is_told_0x81(broker, flags):
    client = broker.open()
    client.send(connect_body(b"x", flags))
    assert client.expect("CONNACK").reason == 0x81
    client.expect_closed()


@statement("MQTT5-4.12.0-6")
def test_auth_without_a_method_in_connect_is_refused(broker):
    client = broker.connect()
    client.auth(0x19, authentication_method="TEST", authentication_data=b"x")
    client.expect_refused(0x82)


@statement("MQTT5-3.8.4-4", "MQTT5-3.3.1-9")
def test_subscribing_again_brings_the_retained_message_again(broker, name):
    client, publisher = broker.connect(), broker.connect()
    publisher.publish(name, b"x", qos=1, retain=1)
    for _ in range(3):
        client.subscribe(Filter(name, 1))
        client.message(payload=b"x", retain=1)
    publisher.publish(name, b"", retain=1)


@statement("MQTT5-3.1.2-23", "MQTT311-4.1.0-1")
@both
def test_a_session_with_an_expiry_is_kept(broker, version, name):
    client, publisher = broker.open(version), broker.connect()
    client.connect(name, clean=False, **keep(version))
    client.subscribe((f"{name}/t", 1))
    client.close()
    publisher.publish(f"{name}/t", b"kept", qos=1)
    client = broker.open(version)
    assert client.connect(name, clean=False, **keep(version)).session_present == 1
    client.message(payload=b"kept")
