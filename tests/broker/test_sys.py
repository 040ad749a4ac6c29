# SPDX-License-Identifier: Apache-2.0
"""The $SYS tree, in Mosquitto's names and payload form."""

import re

import pytest

from mqtt import Timeout, wait_until

statement = pytest.mark.statement

NUMBER = r"-?\d+"
DECIMAL = r"\d+(\.\d+)?"
LOADS = ("connections", "sockets", "messages/received", "messages/sent", "publish/received",
         "publish/sent", "publish/dropped", "bytes/received", "bytes/sent")
NAMES = {
    "version": r".+",
    "uptime": r"\d+ seconds",
    **{f"clients/{one}": NUMBER for one in ("total", "connected", "disconnected", "maximum", "expired")},
    **{f"messages/{one}": NUMBER for one in ("received", "sent")},
    **{f"publish/messages/{one}": NUMBER for one in ("received", "sent", "dropped")},
    **{f"publish/bytes/{one}": NUMBER for one in ("received", "sent")},
    **{f"bytes/{one}": NUMBER for one in ("received", "sent")},
    **{f"store/messages/{one}": NUMBER for one in ("count", "bytes")},
    "subscriptions/count": NUMBER,
    "shared_subscriptions/count": NUMBER,
    "retained messages/count": NUMBER,
    **{f"load/{one}/{span}": DECIMAL for one in LOADS for span in ("1min", "5min", "15min")},
}


def value(client, topic):
    """The value that the broker gives to a new subscription."""
    client.subscribe(f"$SYS/broker/{topic}")
    message = client.wait("PUBLISH", topic=f"$SYS/broker/{topic}", retain=1)
    client.unsubscribe(f"$SYS/broker/{topic}")
    client.inbox.clear()
    return message.payload.decode()


@pytest.mark.parametrize("version", [3, 4, 5])
def test_all_names_are_there_at_once(broker, version):
    client = broker.connect(version=version)
    client.subscribe("$SYS/#")
    seen = {}
    try:
        while set(NAMES) - set(seen):
            message = client.wait("PUBLISH", timeout=3)
            seen.setdefault(message.topic.removeprefix("$SYS/broker/"), message)
    except Timeout:
        pass
    assert not set(NAMES) - set(seen), sorted(set(NAMES) - set(seen))
    for name, form in NAMES.items():
        assert re.fullmatch(form, seen[name].payload.decode()), (name, seen[name].payload)
        assert seen[name].qos == 0


def test_counters_tell_what_was_refused(run_broker):
    own = run_broker({"listeners": [{"name": "mqtt", "allow_anonymous": True}]})
    watcher = own.connect()
    refused = own.open(4)
    refused.send(refused.connect_packet("x", keep_alive=10, password="p"))     # no user name: malformed
    refused.expect_closed()
    wait_until(lambda: int(value(watcher, "counters/connects_refused")) == 1, 3, what="the count")
    assert int(value(watcher, "counters/connects")) == 1
    assert value(watcher, "counters/accept_exceeded") == "0"


def test_values_come_again_at_each_interval(broker):
    client = broker.connect()
    client.subscribe("$SYS/broker/uptime")
    first = client.message(retain=1)
    second = client.message(timeout=3)
    third = client.message(timeout=3)
    numbers = [int(one.payload.split()[0]) for one in (first, second, third)]
    assert numbers == sorted(numbers) and numbers[2] > numbers[0]


def test_values_follow_what_happens(run_broker, name):
    broker = run_broker()
    client = broker.connect()
    before = {one: int(value(client, one)) for one in
              ("clients/connected", "subscriptions/count", "retained messages/count",
               "shared_subscriptions/count", "publish/messages/received", "bytes/received")}
    others = [broker.connect() for _ in range(5)]
    for one in others:
        one.subscribe(f"{name}/#", f"$share/g/{name}/x")
    for i in range(3):
        others[0].publish(f"{name}/{i}", bytes(1000), qos=1, retain=1)
    after = {one: int(value(client, one)) for one in before}
    assert after["clients/connected"] == before["clients/connected"] + 5
    assert after["subscriptions/count"] >= before["subscriptions/count"] + 5
    assert after["retained messages/count"] == before["retained messages/count"] + 3
    assert after["shared_subscriptions/count"] > before["shared_subscriptions/count"]
    assert after["publish/messages/received"] >= before["publish/messages/received"] + 3
    assert after["bytes/received"] >= before["bytes/received"] + 3000
    for one in others[1:]:
        one.disconnect()
    assert int(value(client, "clients/connected")) == before["clients/connected"] + 1


def test_sleeping_sessions_are_counted(run_broker, name):
    broker = run_broker()
    client = broker.connect()
    before = int(value(client, "clients/disconnected"))
    broker.connect(name, session_expiry_interval=100).disconnect()
    assert int(value(client, "clients/disconnected")) == before + 1
    broker.connect(name, clean=True).disconnect()
    assert int(value(client, "clients/disconnected")) == before


def test_wildcards_below_sys_work(broker):
    client = broker.connect()
    client.subscribe("$SYS/broker/clients/+")
    topics = {client.message().topic for _ in range(5)}
    assert len(topics) == 5 and all(one.startswith("$SYS/broker/clients/") for one in topics)


@statement("MQTT5-4.7.2-1")
def test_a_hash_does_not_show_it(run_broker):
    client = run_broker().connect()
    client.subscribe("#", "+/broker/uptime")
    client.expect_quiet(1.5)


def test_zero_switches_it_off(run_broker):
    own = run_broker({"broker": {"sys_interval": 0}})
    client = own.connect()
    client.subscribe("$SYS/#")
    client.expect_quiet(1.5)
