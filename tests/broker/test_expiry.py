# SPDX-License-Identifier: Apache-2.0
"""Message expiry: in queues, in the retained store, on the way."""

import pytest

statement = pytest.mark.statement


@statement("MQTT5-3.3.2-6")
def test_the_interval_is_forwarded_less_the_time_spent(broker, name):
    publisher = broker.connect()
    live = broker.connect()
    live.subscribe((f"{name}/#", 1))
    client = broker.connect(name, session_expiry_interval=100)
    client.subscribe((f"{name}/#", 1))
    client.disconnect()
    publisher.publish(f"{name}/a", "x", qos=1, message_expiry_interval=100)
    publisher.publish(f"{name}/b", "y", qos=1, retain=1, message_expiry_interval=100)
    publisher.publish(f"{name}/c", "z", qos=1)
    for _ in range(2):
        assert live.message().props["message_expiry_interval"] in (99, 100)
    live.message(message_expiry_interval=None)
    live.expect_quiet(1.2)
    client = broker.open()
    client.connect(name, clean=False)
    for _ in range(2):
        assert client.message().props["message_expiry_interval"] in (98, 99)
    client.message(message_expiry_interval=None)
    other = broker.connect()
    other.subscribe(f"{name}/b")
    assert other.message(retain=1).props["message_expiry_interval"] in (98, 99)


@statement("MQTT5-3.3.2-5")
def test_an_expired_message_is_not_delivered(broker, name):
    publisher = broker.connect()
    clients = []
    for version, options in ((5, {"session_expiry_interval": 100}), (4, {"clean": False})):
        client = broker.connect(f"{name}v{version}", version, **options)
        client.subscribe((f"{name}/#", 1))
        client.disconnect()
        clients.append((version, options))
    publisher.publish(f"{name}/a", "gone", qos=1, message_expiry_interval=1)
    publisher.publish(f"{name}/r", "gone", qos=1, retain=1, message_expiry_interval=1)
    publisher.publish(f"{name}/b", "kept", qos=1, message_expiry_interval=60)
    publisher.expect_quiet(1.6)
    for version, options in clients:
        client = broker.open(version)
        client.connect(f"{name}v{version}", **{**options, "clean": False})
        client.message(payload="kept")
        assert client.messages_before(publisher, f"mark-{name}") == []
        client.subscribe(f"{name}/r")
        assert client.messages_before(publisher, f"mark-{name}") == []


def test_it_also_expires_behind_a_full_window(broker, name):
    publisher, client = broker.connect(), broker.connect(receive_maximum=1)
    client.subscribe((name, 1))
    publisher.publish(name, "first", qos=1)
    publisher.publish(name, "gone", qos=1, message_expiry_interval=1)
    publisher.publish(name, "last", qos=1)
    first = client.message(ack=False, payload="first")
    client.expect_quiet(1.6)
    client.acknowledge(first)
    client.message(payload="last")


def test_a_newer_retained_message_has_its_own_interval(broker, name):
    publisher = broker.connect()
    publisher.publish(name, "old", retain=1, qos=1, message_expiry_interval=1)
    publisher.publish(name, "new", retain=1, qos=1)
    publisher.expect_quiet(1.6)
    client = broker.connect()
    client.subscribe(name)
    client.message(payload="new", retain=1, message_expiry_interval=None)
    publisher.publish(name, "", retain=1)


def test_an_expired_retained_message_makes_room_for_another(broker, name):
    publisher = broker.connect()
    publisher.publish(name, "old", retain=1, qos=1, message_expiry_interval=1)
    publisher.expect_quiet(1.6)
    publisher.publish(name, "new", retain=1, qos=1, message_expiry_interval=4294967295)
    client = broker.connect()
    client.subscribe(name)
    assert client.message(payload="new").props["message_expiry_interval"] >= 4294967294
    publisher.publish(name, "", retain=1)


def test_interval_0_is_never_queued(broker, name):
    publisher = broker.connect()
    client = broker.connect(name, session_expiry_interval=100)
    client.subscribe((f"{name}/a", 1))
    client.disconnect()
    publisher.publish(f"{name}/a", "now or never", qos=1, message_expiry_interval=0)
    publisher.publish(f"{name}/a", "kept", qos=1)
    publisher.expect_quiet(0.1)
    client = broker.open()
    client.connect(name, clean=False)
    client.message(payload="kept")


def test_the_expiry_holds_for_a_will(broker, name):
    from mqtt import Will
    publisher = broker.connect()
    client = broker.connect(f"{name}s", session_expiry_interval=100)
    client.subscribe((f"{name}/will", 1))
    client.disconnect()
    dying = broker.connect(will=Will(f"{name}/will", "x", 1, message_expiry_interval=1))
    dying.close()
    publisher.expect_quiet(1.7)
    client = broker.open()
    client.connect(f"{name}s", clean=False)
    assert client.messages_before(publisher, f"mark-{name}") == []
