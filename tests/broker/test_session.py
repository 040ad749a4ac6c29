# SPDX-License-Identifier: Apache-2.0
"""Sessions: present or not, clean start, expiry, take-over, what is kept and what is not."""

import pytest

from mqtt import NEVER, Filter, Will

statement = pytest.mark.statement

every_version = pytest.mark.parametrize("version", (3, 4, 5))


def lasting(version, seconds=100):
    """What a CONNECT needs to leave a session behind."""
    return {"clean": False, **({"session_expiry_interval": seconds} if version == 5 else {})}


@statement("MQTT5-3.2.2-2", "MQTT5-3.2.2-3", "MQTT311-3.2.2-1", "MQTT311-3.2.2-2", "MQTT311-3.2.2-3")
@every_version
def test_session_present_tells_of_a_stored_session(broker, name, version):
    shown = 0 if version == 3 else 1
    client = broker.open(version)
    assert client.connect(name, **lasting(version)).session_present == 0
    client.disconnect()
    client = broker.open(version)
    assert client.connect(name, **lasting(version)).session_present == shown
    client.disconnect()
    client = broker.open(version)
    assert client.connect(name, clean=True).session_present == 0
    client.disconnect()
    client = broker.open(version)
    assert client.connect(name, **lasting(version)).session_present == 0


@statement("MQTT5-3.1.2-5", "MQTT5-4.5.0-1", "MQTT311-3.1.2-4", "MQTT311-3.1.2-5")
@every_version
def test_a_resumed_session_has_its_subscriptions_and_messages(broker, name, version):
    publisher = broker.connect()
    client = broker.connect(name, version, **lasting(version))
    client.subscribe((f"{name}/a", 1), (f"{name}/b", 2), (f"{name}/c", 0))
    client.disconnect()
    for i in range(20):
        publisher.publish(f"{name}/a", f"a{i}", qos=2)
        publisher.publish(f"{name}/b", f"b{i}", qos=2)
        publisher.publish(f"{name}/c", f"c{i}", qos=2)
    client = broker.open(version)
    client.connect(name, **lasting(version))
    got = [client.message(dup=0) for _ in range(40)]
    assert [one.payload for one in got if one.topic.endswith("a")] == [b"a%d" % i for i in range(20)]
    assert [one.payload for one in got if one.topic.endswith("b")] == [b"b%d" % i for i in range(20)]
    publisher.publish(f"{name}/c", "live")
    client.message(payload="live", qos=0)


@statement("MQTT5-3.1.2-4", "MQTT311-3.1.2-6")
@every_version
def test_a_clean_start_leaves_nothing_of_the_old_session(broker, name, version):
    publisher = broker.connect()
    client = broker.connect(name, version, **lasting(version))
    client.subscribe((f"{name}/a", 2))
    publisher.publish(f"{name}/a", "flying", qos=2)
    client.message(ack=False)
    client.disconnect()
    publisher.publish(f"{name}/a", "queued", qos=2)
    client = broker.connect(name, version, clean=True)
    publisher.publish(f"{name}/a", "live", qos=2)
    assert client.messages_before(publisher, f"{name}/m") == []


@statement("MQTT5-3.1.2-23", "MQTT311-3.1.2-6")
@every_version
def test_a_clean_session_ends_with_its_connection(broker, name, version):
    client = broker.connect(name, version, clean=True)
    client.subscribe((f"{name}/a", 1))
    client.disconnect()
    publisher = broker.connect()
    publisher.publish(f"{name}/a", "lost", qos=1)
    client = broker.open(version)
    assert client.connect(name, **lasting(version)).session_present == 0
    assert client.messages_before(publisher, f"{name}/m") == []


def test_without_an_expiry_interval_the_session_ends_at_once(broker, name):
    for props in ({}, {"session_expiry_interval": 0}):
        broker.connect(name, clean=False, **props).disconnect()
        client = broker.open()
        assert client.connect(name, clean=False).session_present == 0
        client.disconnect()


@statement("MQTT5-4.1.0-2")
def test_a_session_ends_when_its_interval_is_over(broker, name):
    for who, seconds in (("short", 1), ("long", 100), ("never", NEVER)):
        client = broker.connect(f"{name}{who}", session_expiry_interval=seconds)
        client.subscribe((name, 1))
        client.close()
    broker.connect().expect_quiet(1.6)
    for who, present in (("short", 0), ("long", 1), ("never", 1)):
        assert broker.open().connect(f"{name}{who}", clean=False).session_present == present, who


@statement("MQTT5-4.1.0-1")
def test_a_session_does_not_end_while_it_is_connected(broker, name):
    client = broker.connect(name, session_expiry_interval=1)
    client.subscribe((name, 1))
    client.expect_quiet(1.6)
    client.publish(name, "still there", qos=1)
    client.message(payload="still there")
    client.close()
    assert broker.open().connect(name, clean=False).session_present == 1


def test_disconnect_may_change_the_interval(broker, name):
    for who, first, last, present in (("a", 100, 0, 0), ("b", 1, 100, 1), ("c", 100, 1, 0)):
        broker.connect(f"{name}{who}", session_expiry_interval=first).disconnect(
            session_expiry_interval=last)
    broker.connect().expect_quiet(1.6)
    for who, present in (("a", 0), ("b", 1), ("c", 0)):
        assert broker.open().connect(f"{name}{who}", clean=False).session_present == present, who


def test_disconnect_cannot_give_an_interval_to_a_session_without(broker, name):
    # The DISCONNECT is then none, and the will is published.
    watcher = broker.connect()
    watcher.subscribe(f"{name}/will")
    client = broker.connect(name, will=Will(f"{name}/will", "x"))
    client.send(b"\xe0\x07\0\x05\x11\0\0\0\x05")
    client.expect_refused(0x82)
    watcher.message(payload="x")
    assert broker.open().connect(name, clean=False).session_present == 0


def test_the_newest_connect_rules_the_interval(broker, name):
    broker.connect(name, session_expiry_interval=100).disconnect()
    client = broker.open()
    assert client.connect(name, clean=False).session_present == 1       # now 0
    client.disconnect()
    assert broker.open().connect(name, clean=False).session_present == 0


@statement("MQTT5-3.1.4-3", "MQTT311-3.1.4-2")
@every_version
def test_a_take_over_closes_the_older_connection(broker, name, version):
    for clean in (True, False):
        old = broker.connect(name, version, clean=clean)
        new = broker.open(version)
        new.connect(name, clean=clean)
        old.expect_refused(0x8E)
        new.ping()
        new.disconnect()


def test_a_take_over_works_across_versions(broker, name):
    for before in (3, 4, 5):
        for after in (3, 4, 5):
            old = broker.connect(name, before)
            new = broker.connect(name, after)
            old.expect_refused(0x8E)
            new.ping()
            new.disconnect()


@every_version
def test_a_take_over_resumes_the_session(broker, name, version):
    publisher = broker.connect()
    old = broker.connect(name, version, **lasting(version))
    old.subscribe((f"{name}/a", 1))
    publisher.publish(f"{name}/a", "flying", qos=1)
    flying = old.message(ack=False)
    new = broker.open(version)
    assert new.connect(name, **lasting(version)).session_present == (0 if version == 3 else 1)
    old.expect_refused(0x8E)
    new.message(payload="flying", dup=1, packet_id=flying.packet_id)
    publisher.publish(f"{name}/a", "next", qos=1)
    new.message(payload="next", dup=0)


def test_a_take_over_of_a_session_without_expiry_starts_anew(broker, name):
    old = broker.connect(name)
    old.subscribe((f"{name}/a", 1))
    new = broker.open()
    assert new.connect(name, clean=False, session_expiry_interval=100).session_present == 0
    old.expect_refused(0x8E)
    publisher = broker.connect()
    publisher.publish(f"{name}/a", "x", qos=1)
    assert new.messages_before(publisher, f"{name}/m") == []


@every_version
def test_many_take_overs_in_a_row_leave_one_connection(broker, name, version):
    clients = []
    for _ in range(40):
        client = broker.open(version)
        client.send(client.connect_packet(name, **lasting(version)))
        clients.append(client)
    alive = []
    for client in clients:
        try:
            assert client.recv().kind == "CONNACK"
            client.ping()
            alive.append(client)
        except ConnectionError:
            pass
    # One that answered its ping may have been taken over since by one that came later.
    left = []
    for client in alive:
        try:
            client.ping()
            left.append(client)
        except ConnectionError:
            pass
    assert len(left) == 1


def test_session_and_version_are_independent(broker, name):
    """Opened by 3.1.1, resumed by 5.0 and back."""
    publisher = broker.connect()
    first = broker.connect(name, 4, clean=False)
    first.subscribe((f"{name}/a", 1))
    first.disconnect()
    publisher.publish(f"{name}/a", "one", qos=1, content_type="t")
    second = broker.open(5)
    assert second.connect(name, clean=False, session_expiry_interval=100).session_present == 1
    second.message(payload="one", content_type="t")
    second.subscribe((f"{name}/b", 1), subscription_identifier=5)
    second.disconnect()
    publisher.publish(f"{name}/b", "two", qos=1)
    third = broker.open(4)
    assert third.connect(name, clean=False).session_present == 1
    third.message(payload="two", props={})


@statement("MQTT5-3.1.3-2")
def test_a_session_belongs_to_its_client_id_alone(broker, name):
    broker.connect(name, session_expiry_interval=100).disconnect()
    assert broker.open().connect(name + "x", clean=False).session_present == 0
    assert broker.open().connect(name.upper(), clean=False).session_present == 0
    assert broker.open().connect(name, clean=False, username="other").session_present == 1


def test_options_and_identifiers_survive(broker, name):
    publisher = broker.connect()
    client = broker.connect(name, session_expiry_interval=100)
    client.subscribe(Filter(f"{name}/a", 1, no_local=1, retain_as_published=1),
                     subscription_identifier=[42])
    client.disconnect()
    publisher.publish(f"{name}/a", "queued", qos=1, retain=1)
    client = broker.open()
    client.connect(name, clean=False, session_expiry_interval=100)
    client.message(payload="queued", retain=1, subscription_identifier=[42])
    client.publish(f"{name}/a", "own", qos=1)
    publisher.publish(f"{name}/a", "live", qos=1)
    client.message(payload="live", retain=0, subscription_identifier=[42])
    publisher.publish(f"{name}/a", "", retain=1)


@statement("MQTT5-3.10.4-2")
def test_unsubscribing_ends_the_queueing(broker, name):
    publisher = broker.connect()
    client = broker.connect(name, session_expiry_interval=100)
    client.subscribe((f"{name}/a", 1), (f"{name}/b", 1))
    client.unsubscribe(f"{name}/a")
    client.disconnect()
    publisher.publish(f"{name}/a", "no", qos=1)
    publisher.publish(f"{name}/b", "yes", qos=1)
    client = broker.open()
    client.connect(name, clean=False)
    client.message(payload="yes")
    assert client.messages_before(publisher, f"{name}/m") == []


@statement("MQTT311-3.1.2-7")
def test_the_retained_messages_of_an_ended_session_stay(broker, name):
    client = broker.connect(name)
    client.publish(f"{name}/r", "kept", retain=1, qos=1)
    client.disconnect()
    other = broker.connect()
    other.subscribe(f"{name}/r")
    other.message(payload="kept", retain=1)
    other.publish(f"{name}/r", "", retain=1)
