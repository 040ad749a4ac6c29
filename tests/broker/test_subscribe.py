# SPDX-License-Identifier: Apache-2.0
"""SUBSCRIBE and UNSUBSCRIBE: matching, options, identifiers, overlaps, refusals."""

import pytest

from mqtt import Filter, Packet, binary, frame, properties, u16

statement = pytest.mark.statement

every_version = pytest.mark.parametrize("version", (3, 4, 5))

MATCHES = [
    # filter, topics that match, topics that do not ({} is the test's own first level)
    ("{}/a", ["{}/a"], ["{}/A", "{}/a/", "{}", "/{}/a", "{}/ab", "{}/a/b"]),
    ("{}/+", ["{}/a", "{}/"], ["{}", "{}/a/b", "{}//"]),
    ("{}/#", ["{}", "{}/", "{}/a", "{}/a/b", "{}//"], ["{}x", "x{}/a"]),
    ("{}/+/b", ["{}/a/b", "{}//b"], ["{}/b", "{}/a/b/c", "{}/a/a"]),
    ("{}/+/#", ["{}/a", "{}/a/b", "{}/", "{}//"], ["{}"]),
    ("+/{}", ["/{}", "a/{}"], ["{}", "a/b/{}", "$a/{}"]),
    ("+/{}/#", ["/{}", "a/{}/b"], ["{}/{}x", "$a/{}/b"]),
    ("{}//b", ["{}//b"], ["{}/b", "{}/a/b"]),
    ("/{}", ["/{}"], ["{}", "//{}"]),
    ("{}/é", ["{}/é"], ["{}/e\u0301", "{}/É"]),
    ("{}/ a ", ["{}/ a "], ["{}/a"]),
    ("$x/{}/#", ["$x/{}/a"], ["x/{}/a"]),
]


@statement("MQTT5-4.7.1-1", "MQTT5-4.7.1-2", "MQTT5-4.7.2-1", "MQTT5-4.7.3-4")
@every_version
@pytest.mark.parametrize("entry,matching,others", MATCHES, ids=[one[0] for one in MATCHES])
def test_filters_match(broker, name, version, entry, matching, others):
    subscriber, publisher = broker.connect(version=version), broker.connect(version=version)
    subscriber.subscribe((entry.format(name), 0))
    topics = [one.replace("{}", name) for one in matching + others]
    for topic in topics:
        publisher.publish(topic, "x")
    got = [one.topic for one in subscriber.messages_before(publisher, f"mark-{name}")]
    assert got == topics[:len(matching)]


@statement("MQTT5-4.7.2-1")
@every_version
def test_wildcards_do_not_match_dollar_topics(broker, name, version):
    subscriber, publisher = broker.connect(version=version), broker.connect(version=version)
    subscriber.subscribe("#", f"+/{name}", f"+/{name}/#")
    publisher.publish(f"$x/{name}", "no")
    got = subscriber.messages_before(publisher, f"mark-{name}")
    assert not [one for one in got if one.topic.startswith("$")]


@statement("MQTT5-3.8.4-6", "MQTT5-3.9.3-1", "MQTT5-3.8.4-2")
@every_version
def test_a_suback_has_a_code_for_each_filter_in_order(broker, name, version):
    client = broker.connect(version=version)
    suback = client.subscribe((f"{name}/a", 2), (f"{name}/b", 0), (f"{name}/c", 1), (f"{name}/a", 1),
                              packet_id=65535)
    assert suback.reasons == [2, 0, 1, 1]
    publisher = broker.connect()
    publisher.publish(f"{name}/a", "x", qos=2)
    client.message(qos=1)


@every_version
def test_a_hundred_filters_in_one_subscribe(broker, name, version):
    client = broker.connect(version=version)
    client.subscribe(*[(f"{name}/{i}", i % 3) for i in range(100)])
    for i in range(0, 100, 9):
        client.publish(f"{name}/{i}", str(i), qos=2)
        client.message(payload=str(i), qos=i % 3)
    client.unsubscribe(*[f"{name}/{i}" for i in range(100)])


@statement("MQTT5-3.8.4-3", "MQTT311-3.8.4-3")
@every_version
def test_the_same_filter_again_replaces_the_subscription(broker, name, version):
    client = broker.connect(version=version)
    for qos in (2, 0, 1):
        client.subscribe((name, qos))
        client.publish(name, "x", qos=2)
        got = client.messages_before(client, f"mark-{name}")
        assert [one.qos for one in got] == [qos]


@statement("MQTT5-3.3.4-2", "MQTT311-3.3.5-1")
@every_version
def test_overlapping_subscriptions_give_one_copy_with_the_highest_qos(broker, name, version):
    client, publisher = broker.connect(version=version), broker.connect(version=version)
    client.subscribe((f"{name}/#", 0), (f"{name}/+", 2), (f"{name}/a", 1))
    for qos in (0, 1, 2):
        publisher.publish(f"{name}/a", "x", qos=qos)
        publisher.publish(f"{name}/a/b", "y", qos=qos)
    got = client.messages_before(publisher, f"mark-{name}")
    assert sorted((one.topic, one.qos) for one in got) == [
        (f"{name}/a", 0), (f"{name}/a", 1), (f"{name}/a", 2)] + 3 * [(f"{name}/a/b", 0)]


@statement("MQTT5-3.3.4-3", "MQTT5-3.3.4-4")
def test_one_copy_carries_the_identifiers_of_all_matches(broker, name):
    client, publisher = broker.connect(), broker.connect()
    client.subscribe((f"{name}/#", 0), subscription_identifier=[1])
    client.subscribe((f"{name}/+", 2), subscription_identifier=[268435455])
    client.subscribe((f"{name}/a", 1))
    client.subscribe((f"{name}/+/#", 1), subscription_identifier=[1])
    publisher.publish(f"{name}/a", "x", qos=2)
    message = client.message(qos=2)
    assert sorted(message.props["subscription_identifier"]) == [1, 1, 268435455]
    publisher.publish(name, "x", qos=2)
    client.message(qos=0, subscription_identifier=[1])


@pytest.mark.parametrize("identifier", [1, 127, 128, 16383, 16384, 2097152, 268435455])
def test_identifiers_of_any_length(broker, name, identifier):
    client = broker.connect()
    client.subscribe((name, 1), (f"{name}/b", 1), subscription_identifier=[identifier])
    for topic in (name, f"{name}/b"):
        client.publish(topic, "x", qos=1)
        client.message(subscription_identifier=[identifier])


@statement("MQTT5-3.8.4-3")
def test_replacing_may_change_or_remove_the_identifier(broker, name):
    client = broker.connect()
    for identifier in (5, 6, None, 7):
        client.subscribe((name, 1), **({"subscription_identifier": [identifier]} if identifier else {}))
        client.publish(name, "x", qos=1)
        client.message(subscription_identifier=[identifier] if identifier else None)


@statement("MQTT5-3.8.3-3")
def test_no_local_leaves_out_ones_own_messages(broker, name):
    client, other = broker.connect(), broker.connect()
    for one in (client, other):
        one.subscribe(Filter(name, 1, no_local=1))
    client.publish(name, "mine", qos=1)
    other.publish(name, "theirs", qos=1)
    assert [one.payload for one in client.messages_before(other, f"mark-{name}")] == [b"theirs"]
    assert [one.payload for one in other.messages_before(client, f"mark2-{name}")] == [b"mine"]


@statement("MQTT5-3.8.3-3")
def test_no_local_leaves_out_ones_own_retained_messages(broker, name):
    own, other = broker.connect(), broker.connect()
    own.publish(f"{name}/own", "own", qos=1, retain=1)
    other.publish(f"{name}/other", "other", qos=1, retain=1)
    own.subscribe(Filter(f"{name}/#", 1, no_local=1))
    own.message(payload="other", retain=1)
    assert own.messages_before(other) == []
    other.subscribe(Filter(f"{name}/own", 1, no_local=1))
    other.message(payload="own", retain=1)


def test_no_local_counts_for_its_own_subscription_only(broker, name):
    client = broker.connect()
    client.subscribe(Filter(f"{name}/#", 2, no_local=1), subscription_identifier=[1])
    client.subscribe(Filter(f"{name}/a", 1), subscription_identifier=[2])
    client.publish(f"{name}/a", "x", qos=2)
    client.message(qos=1, subscription_identifier=[2])
    client.publish(f"{name}/b", "y", qos=2)
    assert client.messages_before(client, f"mark-{name}") == []


def test_retain_as_published_counts_for_its_own_subscription(broker, name):
    client, publisher = broker.connect(), broker.connect()
    client.subscribe(Filter(f"{name}/#", 1, retain_as_published=1, retain_handling=2))
    publisher.publish(f"{name}/a", "x", qos=1, retain=1)
    client.message(retain=1)
    publisher.publish(f"{name}/a", "", qos=1, retain=1)
    client.message(retain=1, payload="")


@statement("MQTT5-3.10.4-1", "MQTT5-3.10.4-4", "MQTT5-3.10.4-5", "MQTT5-3.11.3-1")
@every_version
def test_unsubscribing(broker, name, version):
    client, publisher = broker.connect(version=version), broker.connect()
    client.subscribe((f"{name}/a", 1), (f"{name}/+", 0), (f"{name}/c/d", 1))
    client.unsubscribe(f"{name}/c/d", f"{name}/none", f"{name}/#", f"{name}/A", f"{name}/c/d",
                       expect=[0, 0x11, 0x11, 0x11, 0x11], packet_id=65535)
    publisher.publish(f"{name}/a", "x", qos=1)
    publisher.publish(f"{name}/c/d", "y", qos=1)
    got = client.messages_before(publisher, f"mark-{name}")
    assert [(one.payload, one.qos) for one in got] == [(b"x", 1)]
    client.unsubscribe(f"{name}/a")
    publisher.publish(f"{name}/a", "z", qos=1)
    assert [one.qos for one in client.messages_before(publisher, f"mark-{name}")] == [0]


@statement("MQTT5-3.10.4-1")
@every_version
def test_unsubscribing_compares_byte_by_byte(broker, name, version):
    client = broker.connect(version=version)
    client.subscribe((f"{name}/+", 1))
    client.unsubscribe(f"{name}/a", expect=[0x11])
    client.publish(f"{name}/a", "x", qos=1)
    client.message(payload="x")


ILL_FORMED = ["", "a#", "a/#/b", "#/", "##", "a/b#", "a+", "+a", "a/+b", "++", "a/+b/c", "#a"]


@statement("MQTT5-4.7.1-1", "MQTT5-4.7.1-2", "MQTT5-4.7.3-1")
@pytest.mark.parametrize("entry", ILL_FORMED)
def test_an_ill_formed_filter_is_a_protocol_error_in_version_5(broker, name, entry):
    client = broker.connect()
    client.send(client.subscribe_packet((name, 1), (entry, 1)))
    client.expect_refused(0x82)
    client = broker.connect()
    client.send(Packet("UNSUBSCRIBE", packet_id=1, props={}, filters=[entry]))
    client.expect_refused(0x82)


@statement("MQTT311-4.7.1-2", "MQTT311-4.7.1-3", "MQTT311-4.7.3-1")
@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("entry", ILL_FORMED)
def test_an_ill_formed_filter_is_refused_before_version_5(broker, version, entry):
    # 0x80 or the end of the connection
    client = broker.connect(version=version)
    client.send(client.subscribe_packet((entry, 1)))
    try:
        client.expect("SUBACK", reasons=[0x80])
    except ConnectionError:
        pass


@statement("MQTT5-3.8.3-1", "MQTT5-3.10.3-1", "MQTT5-4.7.3-2")
@every_version
@pytest.mark.parametrize("entry", [b"\xff", b"a\0", b"\xed\xa0\x80", b"\xc0\xaf/a"], ids=bytes.hex)
def test_a_filter_must_be_utf_8(broker, version, entry):
    client = broker.connect(version=version)
    client.send(client.subscribe_packet((entry, 1)))
    client.expect_refused(0x81)
    client = broker.connect(version=version)
    client.send(Packet("UNSUBSCRIBE", packet_id=1, props={}, filters=[entry]))
    client.expect_refused(0x81)


@statement("MQTT5-3.8.3-2", "MQTT5-3.10.3-2")
@every_version
def test_subscribe_and_unsubscribe_need_a_filter(broker, version):
    for kind in ("SUBSCRIBE", "UNSUBSCRIBE"):
        client = broker.connect(version=version)
        client.send(Packet(kind, packet_id=1, props={}, filters=[]))
        client.expect_refused(0x82, 0x81)


@statement("MQTT5-3.8.3-5", "MQTT311-3.8.3-4")
@every_version
@pytest.mark.parametrize("options,code", [(0x03, 0x82), (0x30, 0x82), (0x40, 0x81), (0x80, 0x81),
                                          (0xFF, 0x81)])
def test_wrong_options_are_refused(broker, version, options, code):
    client = broker.connect(version=version)
    props = b"\0" if version == 5 else b""
    client.send(frame(0x82, u16(1) + props + binary("a") + bytes([options])))
    client.expect_refused(code)


@statement("MQTT311-3.8.3-4")
@pytest.mark.parametrize("version", [3, 4])
def test_options_of_version_5_are_refused_before(broker, version):
    for options in (0x04, 0x08, 0x10, 0x20):
        client = broker.connect(version=version)
        client.send(frame(0x82, u16(1) + binary("a") + bytes([options])))
        client.expect_refused()


@statement("MQTT5-3.8.1-1", "MQTT5-3.10.1-1")
@every_version
@pytest.mark.parametrize("first", [0x80, 0x81, 0x83, 0xA0, 0xA1, 0xA3])
def test_the_reserved_flags_are_checked(broker, version, first):
    client = broker.connect(version=version)
    props = b"\0" if version == 5 else b""
    client.send(frame(first, u16(1) + props + binary("a") + (b"\0" if first < 0xA0 else b"")))
    client.expect_refused(0x81)


@statement("MQTT5-2.2.1-3")
@every_version
def test_packet_identifier_0_is_refused(broker, version):
    props = b"\0" if version == 5 else b""
    for first in (0x82, 0xA2):
        client = broker.connect(version=version)
        client.send(frame(first, u16(0) + props + binary("a") + (b"\0" if first == 0x82 else b"")))
        client.expect_refused(0x82, 0x81)


@pytest.mark.parametrize("props,code", [
    (properties({"subscription_identifier": [0]}), 0x82),
    (properties({"subscription_identifier": [1, 2]}), 0x82),
    (properties({"raw": b"\x0b\xff\xff\xff\xff\x01"}), 0x81),
    (properties({"topic_alias": 1}), 0x81),
    (properties({"user_property": [(b"\xff", "")]}), 0x81),
])
def test_wrong_properties_are_refused(broker, props, code):
    client = broker.connect()
    client.send(frame(0x82, u16(1) + props + binary("a") + b"\0"))
    client.expect_refused(code)


def test_subscribing_in_one_write_with_publishing(broker, name):
    client = broker.connect()
    client.send(client.subscribe_packet((name, 1)), client.publish_packet(name, "x", qos=1),
                Packet("UNSUBSCRIBE", packet_id=9, props={}, filters=[name]),
                client.publish_packet(name, "y", qos=1))
    client.wait("UNSUBACK", reasons=[0])
    for kind in ("SUBACK", "PUBACK", "PUBACK"):
        client.wait(kind)
    assert [one.payload for one in client.messages_before(client, f"mark-{name}")] == [b"x"]


@every_version
def test_thousands_of_subscriptions(broker, name, version):
    client, publisher = broker.connect(version=version), broker.connect()
    for start in range(0, 1000, 100):
        client.subscribe(*[(f"{name}/{i}/+", 0) for i in range(start, start + 100)])
    for i in range(0, 1000, 37):
        publisher.publish(f"{name}/{i}/x", str(i))
        client.message(payload=str(i))
