# SPDX-License-Identifier: Apache-2.0
"""Retained messages: stored, replaced, removed, and sent at SUBSCRIBE as the options say."""

import pytest

from mqtt import Filter, encode

statement = pytest.mark.statement

every_version = pytest.mark.parametrize("version", (3, 4, 5))
CONFIG = {"limits": {"max_subscriptions": 0}}


def replayed(client, publisher, *filters, **props):
    """The messages that come because of this SUBSCRIBE."""
    client.subscribe(*filters, **props)
    client.ping()
    return client.messages_before(publisher, f"mark/{client.client_id}")


@statement("MQTT5-3.3.1-5", "MQTT311-3.3.1-5", "MQTT311-3.3.1-6", "MQTT311-3.3.1-8")
@every_version
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_new_subscription_gets_the_last_message(broker, name, version, qos):
    publisher = broker.connect(version=version)
    publisher.publish(name, "first", qos=qos, retain=1)
    publisher.publish(name, "last", qos=qos, retain=1)
    publisher.ping()
    for granted in (0, 1, 2):
        subscriber = broker.connect(version=version)
        got = replayed(subscriber, publisher, (name, granted))
        assert [(one.payload, one.qos, one.retain, one.dup) for one in got] == \
            [(b"last", min(qos, granted), 1, 0)]


@statement("MQTT5-3.3.1-12", "MQTT311-3.3.1-9")
@every_version
def test_live_messages_have_retain_0(broker, name, version):
    client = broker.connect(version=version)
    client.subscribe((name, 1))
    for retain in (0, 1):
        client.publish(name, "x", qos=1, retain=retain)
        client.message(payload="x", retain=0)


@statement("MQTT5-3.3.1-6", "MQTT5-3.3.1-7", "MQTT311-3.3.1-10", "MQTT311-3.3.1-11")
@every_version
def test_an_empty_payload_removes_the_message(broker, name, version):
    publisher, watcher = broker.connect(version=version), broker.connect(version=version)
    watcher.subscribe((name, 1))
    publisher.publish(name, "x", qos=1, retain=1)
    publisher.publish(name, "", qos=1, retain=1)
    watcher.message(payload="x")
    watcher.message(payload="", retain=0)
    assert replayed(broker.connect(version=version), publisher, name) == []
    publisher.publish(name, "", qos=1, retain=1)
    watcher.message(payload="")


@statement("MQTT5-3.3.1-8", "MQTT311-3.3.1-12")
@every_version
def test_messages_without_retain_change_nothing(broker, name, version):
    publisher = broker.connect(version=version)
    publisher.publish(name, "kept", retain=1)
    publisher.publish(name, "passing")
    publisher.publish(name, "")
    publisher.ping()
    got = replayed(broker.connect(version=version), publisher, name)
    assert [one.payload for one in got] == [b"kept"]


@statement("MQTT311-3.8.4-3")
@pytest.mark.parametrize("version", [3, 4])
def test_before_version_5_a_repeated_subscribe_gets_them_again(broker, name, version):
    client = broker.connect(version=version)
    client.publish(name, "x", qos=1, retain=1)
    for _ in range(3):
        client.subscribe((name, 1))
        client.message(payload="x", retain=1)


@statement("MQTT5-3.3.1-9", "MQTT5-3.3.1-10", "MQTT5-3.3.1-11")
@pytest.mark.parametrize("handling,first,second", [(0, 1, 1), (1, 1, 0), (2, 0, 0)])
def test_retain_handling(broker, name, handling, first, second):
    publisher, client = broker.connect(), broker.connect()
    publisher.publish(f"{name}/a", "x", qos=1, retain=1)
    entry = Filter(f"{name}/+", 1, retain_handling=handling)
    assert len(replayed(client, publisher, entry)) == first
    assert len(replayed(client, publisher, entry)) == second
    client.unsubscribe(f"{name}/+")
    assert len(replayed(client, publisher, entry)) == first


@statement("MQTT5-3.3.1-10")
def test_retain_handling_1_knows_the_subscriptions_of_a_resumed_session(broker, name):
    publisher = broker.connect()
    publisher.publish(f"{name}/a", "x", qos=1, retain=1)
    client = broker.connect(name, session_expiry_interval=100)
    entry = Filter(f"{name}/a", 1, retain_handling=1)
    assert len(replayed(client, publisher, entry)) == 1
    client.disconnect()
    client = broker.open()
    client.connect(name, clean=False, session_expiry_interval=100)
    assert replayed(client, publisher, entry) == []


@statement("MQTT5-3.3.1-12", "MQTT5-3.3.1-13")
@pytest.mark.parametrize("rap", [0, 1])
def test_retain_as_published(broker, name, rap):
    publisher, client = broker.connect(), broker.connect()
    publisher.publish(name, "stored", retain=1, qos=1)
    client.subscribe(Filter(name, 1, retain_as_published=rap))
    client.message(payload="stored", retain=1)
    for retain in (0, 1):
        publisher.publish(name, "live", qos=1, retain=retain)
        client.message(payload="live", retain=retain * rap)


def test_overlapping_subscriptions_each_replay(broker, name):
    publisher, client = broker.connect(), broker.connect()
    publisher.publish(f"{name}/a", "x", qos=2, retain=1)
    client.subscribe((f"{name}/a", 1), subscription_identifier=[1])
    client.message(payload="x", qos=1, retain=1, subscription_identifier=[1])
    client.subscribe((f"{name}/#", 2), subscription_identifier=[2])
    client.message(payload="x", qos=2, retain=1, subscription_identifier=[2])


@statement("MQTT5-3.3.2-4", "MQTT5-3.3.2-18", "MQTT5-3.3.4-3")
def test_the_stored_message_has_all_its_properties(broker, name):
    props = {"payload_format_indicator": 1, "content_type": "t", "response_topic": "r",
             "correlation_data": b"\0", "user_property": [("b", "1"), ("a", "2"), ("b", "1")]}
    publisher, client = broker.connect(), broker.connect()
    publisher.publish(name, "x", qos=1, retain=1, **props)
    client.subscribe((name, 1), subscription_identifier=[268435455])
    assert client.message().props == {**props, "subscription_identifier": [268435455]}
    old = broker.connect(version=4)
    old.subscribe((name, 1))
    old.message(payload="x", props={}, retain=1)


def test_shared_subscriptions_get_none(broker, name):
    publisher, client = broker.connect(), broker.connect()
    publisher.publish(f"{name}/a", "x", qos=1, retain=1)
    assert replayed(client, publisher, f"$share/g/{name}/a") == []


@every_version
def test_wildcards_find_exactly_what_they_match(broker, name, version):
    publisher = broker.connect()
    topics = ["", "/", "/a", "/a/b", "/a/b/c", "/b/b", "x", "//b"]
    for topic in topics:
        publisher.publish(name + topic, "x", qos=1, retain=1)
    for entry, matching in ((f"{name}/#", ["", "/", "/a", "/a/b", "/a/b/c", "/b/b", "//b"]),
                            (f"{name}/+", ["/", "/a"]), (f"{name}/+/b", ["/a/b", "/b/b", "//b"]),
                            (f"{name}/a/#", ["/a", "/a/b", "/a/b/c"]), (name, [""]),
                            (f"{name}/+/+/c", ["/a/b/c"]), (f"{name}/", ["/"])):
        got = replayed(broker.connect(version=version), publisher, entry)
        assert sorted(one.topic for one in got) == sorted(name + one for one in matching), entry


def test_several_filters_in_one_subscribe_replay_each(broker, name):
    publisher, client = broker.connect(), broker.connect()
    for i in range(3):
        publisher.publish(f"{name}/{i}", str(i), qos=1, retain=1)
    got = replayed(client, publisher, (f"{name}/0", 1), Filter(f"{name}/1", 1, retain_handling=2),
                   (f"{name}/2", 0))
    assert sorted((one.payload, one.qos) for one in got) == [(b"0", 1), (b"2", 0)]


@statement("MQTT5-3.8.4-4", "MQTT311-3.8.4-3")
def test_replacing_a_subscription_loses_no_live_message(broker, name):
    publisher, client = broker.connect(), broker.connect()
    client.subscribe((name, 1))
    for i in range(100):
        publisher.send(publisher.publish_packet(name, str(i), qos=1))
        client.send(client.subscribe_packet((name, 1)))
    for _ in range(100):
        publisher.wait("PUBACK")
    seen = []
    while len(seen) < 100:
        packet = client.recv()
        if packet.kind == "PUBLISH":
            client.acknowledge(packet)
            seen.append(int(packet.payload))
    assert seen == list(range(100))


def flood(publisher, name, count, qos=0, payload=b"v"):
    """`count` retained messages, written in pieces."""
    for start in range(0, count, 1000):
        publisher.send(b"".join(
            encode(publisher.publish_packet(f"{name}/{i % 7}/{i}", payload, qos=0, retain=1),
                   publisher.version) for i in range(start, min(start + 1000, count))))
    publisher.ping()


@every_version
@pytest.mark.parametrize("granted", [0, 1])
def test_a_flood_of_20000_arrives_whole(broker, name, version, granted):
    publisher = broker.connect(version=version)
    flood(publisher, name, 20000)
    client = broker.connect(version=version)
    client.send(client.subscribe_packet((f"{name}/#", granted)))
    client.expect("SUBACK")
    topics = {client.message(retain=1).topic for _ in range(20000)}
    assert len(topics) == 20000
    client.ping()
    assert not client.inbox


def test_a_flood_at_qos_1_and_live_messages_beside_it(broker, name):
    publisher = broker.connect()
    for start in range(0, 5000, 500):
        publisher.send(*[publisher.publish_packet(f"{name}/{i}", "old", qos=1, retain=1)
                         for i in range(start, start + 500)])
        for _ in range(500):
            publisher.expect("PUBACK")
    client = broker.connect(receive_maximum=10)
    client.send(client.subscribe_packet((f"{name}/#", 1)))
    client.expect("SUBACK")
    for i in range(0, 5000, 500):
        publisher.publish(f"{name}/{i}", "new", qos=1, retain=1)
    latest, live = {}, 0
    while len(latest) < 5000 or live < 10:
        message = client.message()
        live += message.retain == 0
        latest[message.topic] = message.payload
    assert [latest[f"{name}/{i}"] for i in range(0, 5000, 500)] == [b"new"] * 10
    assert sum(one == b"old" for one in latest.values()) == 4990


def test_a_broken_off_replay_goes_on_when_the_session_is_resumed(broker, name):
    publisher = broker.connect()
    flood(publisher, name, 1000)
    publisher.publish(f"{name}/q", "one", qos=1, retain=1)
    client = broker.connect(name, session_expiry_interval=100, receive_maximum=5)
    for i in range(50):
        publisher.publish(f"{name}/one/{i}", "v", qos=1, retain=1)
    client.subscribe((f"{name}/one/+", 1))
    seen = {client.message().topic for _ in range(10)}
    client.close()
    client = broker.open()
    client.connect(name, clean=False, receive_maximum=5)
    while len(seen) < 50:
        seen.add(client.message().topic)


def test_removing_all_leaves_nothing(broker, name):
    publisher = broker.connect()
    flood(publisher, name, 2000)
    flood(publisher, name, 2000, payload=b"")
    assert replayed(broker.connect(), publisher, f"{name}/#") == []
