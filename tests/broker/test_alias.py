# SPDX-License-Identifier: Apache-2.0
"""Topic aliases, both ways."""

import pytest

statement = pytest.mark.statement

CONFIG = {"limits": {"max_topic_alias": 5}}


def test_connack_tells_the_maximum(broker):
    assert broker.open().connect("").props["topic_alias_maximum"] == 5


@statement("MQTT5-3.3.2-12")
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_an_alias_stands_for_its_topic(broker, name, qos):
    for version in (4, 5):
        subscriber, publisher = broker.connect(version=version), broker.connect()
        subscriber.subscribe((f"{name}/+", 2))
        for alias in (1, 5):
            publisher.publish(f"{name}/{alias}", "set", qos=qos, topic_alias=alias)
            subscriber.message(topic=f"{name}/{alias}", payload="set", topic_alias=None)
        for alias in (5, 1, 5):
            publisher.publish("", "use", qos=qos, topic_alias=alias)
            subscriber.message(topic=f"{name}/{alias}", payload="use", topic_alias=None)


def test_an_alias_can_be_given_another_topic(broker, name):
    client = broker.connect()
    client.subscribe((f"{name}/#", 1))
    for topic in ("a", "b", "a"):
        client.publish(f"{name}/{topic}", "set", topic_alias=1)
        client.message(topic=f"{name}/{topic}")
        client.publish("", "use", topic_alias=1)
        client.message(topic=f"{name}/{topic}", payload="use")


@statement("MQTT5-3.3.2-8", "MQTT5-3.3.2-9", "MQTT5-3.2.2-17")
@pytest.mark.parametrize("alias,topic,code", [(0, "a", 0x94), (6, "a", 0x94), (65535, "a", 0x94),
                                              (6, "", 0x94), (1, "", 0x82), (None, "", 0x82)])
def test_wrong_aliases_are_refused(broker, alias, topic, code):
    client = broker.connect()
    client.send(client.publish_packet(topic, "x", **({} if alias is None else {"topic_alias": alias})))
    client.expect_refused(code)


@statement("MQTT5-3.3.2-7")
def test_aliases_belong_to_a_connection(broker, name):
    client = broker.connect(name, session_expiry_interval=100)
    client.publish(f"{name}/a", "x", topic_alias=1)
    client.ping()
    other = broker.connect()
    other.send(other.publish_packet("", "x", topic_alias=1))
    other.expect_refused(0x82)
    client.close()
    client = broker.open()
    client.connect(name, clean=False)
    client.send(client.publish_packet("", "x", topic_alias=1))
    client.expect_refused(0x82)


def test_the_retained_message_has_its_topic(broker, name):
    client = broker.connect()
    client.publish(f"{name}/a", "x", topic_alias=2)
    client.publish("", "kept", qos=1, retain=1, topic_alias=2)
    client.subscribe(f"{name}/#")
    client.message(topic=f"{name}/a", payload="kept", topic_alias=None)


@statement("MQTT5-3.1.2-26", "MQTT5-3.3.2-11")
def test_the_broker_stays_below_the_clients_maximum(broker, name):
    subscriber, publisher = broker.connect(topic_alias_maximum=3), broker.connect()
    subscriber.subscribe((f"{name}/+", 1))
    for i in range(200):
        publisher.publish(f"{name}/{i % 20}", str(i), qos=i % 2)
    for i in range(200):
        message = subscriber.message(topic=f"{name}/{i % 20}", payload=str(i))
        assert message.props.get("topic_alias", 1) in (1, 2, 3)


@statement("MQTT5-3.1.2-27")
def test_the_broker_uses_no_alias_without_leave(broker, name):
    for options in ({}, {"topic_alias_maximum": 0}):
        subscriber, publisher = broker.connect(**options), broker.connect()
        subscriber.subscribe((f"{name}/+", 1))
        for i in range(50):
            publisher.publish(f"{name}/a", "x", qos=1)
            message = subscriber.message()
            assert "topic_alias" not in message.props and message.sent_topic


def test_the_broker_saves_the_repeated_topic(broker, name):
    """Not asked for by the standard: max_topic_alias_broker is there to be used."""
    subscriber, publisher = broker.connect(topic_alias_maximum=10), broker.connect()
    subscriber.subscribe((f"{name}/+", 0))
    for _ in range(20):
        publisher.publish(f"{name}/a", "x")
    sent = [subscriber.message(topic=f"{name}/a").sent_topic for _ in range(20)]
    assert "" in sent


def test_broker_aliases_can_be_switched_off(run_broker, name):
    own = run_broker({"limits": {"max_topic_alias_broker": 0}})
    subscriber, publisher = own.connect(topic_alias_maximum=10), own.connect()
    subscriber.subscribe((f"{name}/+", 0))
    for _ in range(20):
        publisher.publish(f"{name}/a", "x")
        assert "topic_alias" not in subscriber.message().props


@statement("MQTT5-3.2.2-18")
def test_aliases_can_be_switched_off(run_broker):
    own = run_broker({"limits": {"max_topic_alias": 0}})
    client = own.open()
    assert client.connect("x").props.get("topic_alias_maximum", 0) == 0
    client.send(client.publish_packet("a", "x", topic_alias=1))
    client.expect_refused(0x94)
