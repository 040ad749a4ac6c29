# SPDX-License-Identifier: Apache-2.0
"""Each key of `limits`, and the limits of `broker` and of listeners. Those that have a file of their
own (packet size, aliases, receive maximum, keep alive) are not repeated here; max_pending and
max_grants need a plugin that answers late."""

import time

import pytest

from mqtt import Closed, Filter, Packet, Timeout, Will

statement = pytest.mark.statement


@pytest.fixture
def limited(run_broker):
    """limited(key=value, …): a broker with these limits."""
    def run(**limits):
        return run_broker({"limits": limits})
    return run


def lasting(version):
    return {"clean": False, **({"session_expiry_interval": 100} if version == 5 else {})}


def denied(client, kind, *reasons):
    """An acknowledgement of this kind, or a DISCONNECT, with one of the reasons."""
    packet = client.recv()
    assert packet.kind in (kind, "DISCONNECT"), packet
    given = packet.reasons if packet.kind in ("SUBACK", "UNSUBACK") else [packet.reason]
    assert set(given) <= set(reasons), packet


def test_max_connect_size(limited):
    own = limited(max_connect_size="1KiB")
    own.connect("a" * 500).ping()
    for version in (4, 5):
        client = own.open(version)
        client.send(client.connect_packet("a" * 1100))
        try:
            packet = client.recv()
        except Closed:
            continue
        assert version == 5 and packet.kind == "CONNACK" and packet.reason == 0x95, packet
        client.expect_closed()


@statement("MQTT5-3.2.2-9", "MQTT5-3.2.2-10", "MQTT5-3.2.2-11", "MQTT5-3.2.2-12")
@pytest.mark.parametrize("maximum", [0, 1])
def test_max_qos(limited, maximum):
    own = limited(max_qos=maximum)
    client = own.connect()
    assert client.connack.props["maximum_qos"] == maximum
    client.subscribe(("a", 0), ("b", 1), ("c", 2), expect=[0, maximum, maximum])
    if maximum:
        client.publish("c", "x", qos=1)
        client.message(qos=1)
    client.send(client.publish_packet("c", "x", qos=maximum + 1))
    client.expect_refused(0x9B)
    client = own.open()
    client.connect("w", will=Will("w", "x", maximum + 1), expect=0x9B)
    client.expect_closed()
    old = own.connect(version=4)
    old.subscribe(("c", 2), expect=[maximum])
    old.send(old.publish_packet("c", "x", qos=2))
    old.inbox.clear()
    old.expect_closed()


@statement("MQTT5-3.2.2-13", "MQTT5-3.2.2-14")
def test_retain_available(limited):
    own = limited(retain_available=False)
    client = own.connect()
    assert client.connack.props["retain_available"] == 0
    client.send(client.publish_packet("a", "x", retain=1))
    client.expect_refused(0x9A)
    client = own.open()
    client.connect("w", will=Will("w", "x", 0, 1), expect=0x9A)
    client.expect_closed()
    old = own.connect(version=4)
    try:
        old.publish("a", "x", qos=1, retain=1)
    except Closed:
        pass
    client = own.connect()
    client.subscribe(Filter("a", 1, retain_as_published=1))
    assert client.messages_before(own.connect()) == []


@statement("MQTT311-3.8.3-2")
def test_wildcard_subscriptions(limited):
    own = limited(wildcard_subscriptions=False)
    client = own.connect()
    assert client.connack.props["wildcard_subscription_available"] == 0
    client.subscribe("a/b")
    for entry in ("#", "a/+", "$share/g/a/#"):
        client = own.connect()
        client.send(client.subscribe_packet(entry))
        denied(client, "SUBACK", 0xA2)
    own.connect(version=4).subscribe("a", "a/#", expect=[0, 0x80])


def test_shared_subscriptions(limited):
    own = limited(shared_subscriptions=False)
    client = own.connect()
    assert client.connack.props["shared_subscription_available"] == 0
    client.send(client.subscribe_packet("$share/g/a"))
    denied(client, "SUBACK", 0x9E)


def test_subscription_identifiers(limited):
    own = limited(subscription_identifiers=False)
    client = own.connect()
    assert client.connack.props["subscription_identifier_available"] == 0
    client.subscribe("a")
    client.send(client.subscribe_packet("a", subscription_identifier=[1]))
    denied(client, "SUBACK", 0xA1)


def test_max_session_expiry(limited, name):
    own = limited(max_session_expiry="1s")
    for version in (4, 5):
        client = own.connect(f"{name}{version}", version, **lasting(version))
        if version == 5:
            assert client.connack.props["session_expiry_interval"] == 1
        client.close()
        assert own.open(version).connect(f"{name}{version}", **lasting(version)).session_present == 1
    own.close_clients()
    watch = own.connect()
    assert "session_expiry_interval" not in watch.connack.props
    watch.expect_quiet(1.7)
    for version in (4, 5):
        assert own.open(version).connect(f"{name}{version}", **lasting(version)).session_present == 0


@pytest.mark.parametrize("policy,kept", [("drop_new", range(10)), ("drop_old", range(5, 15))])
def test_max_queued_messages_and_queue_full(limited, name, policy, kept):
    own = limited(max_queued_messages=10, queue_full=policy)
    publisher = own.connect()
    for version in (4, 5):
        client = own.connect(f"{name}{version}", version, **lasting(version))
        client.subscribe((f"{name}/a", 1))
        client.disconnect()
    for i in range(15):
        assert publisher.publish(f"{name}/a", str(i), qos=1).reason in (0, 0x10)
    for version in (4, 5):
        client = own.open(version)
        client.connect(f"{name}{version}", **lasting(version))
        got = client.messages_before(publisher)
        assert [int(one.payload) for one in got] == list(kept)


def test_the_queue_begins_behind_the_window(limited, name):
    own = limited(max_queued_messages=10)
    client, publisher = own.connect(receive_maximum=3), own.connect()
    client.subscribe((name, 1))
    for i in range(20):
        publisher.publish(name, str(i), qos=1)
    got = client.message()
    numbers = [int(got.payload)] + [int(client.message().payload) for _ in range(12)]
    assert numbers == list(range(13))
    client.ping()
    assert not client.inbox


def test_max_queued_bytes(limited, name):
    own = limited(max_queued_bytes="10KiB")
    publisher = own.connect()
    client = own.connect(name, session_expiry_interval=100)
    client.subscribe((f"{name}/a", 1))
    client.disconnect()
    for i in range(30):
        publisher.publish(f"{name}/a", b"%3d" % i + bytes(997), qos=1)
    client = own.open()
    client.connect(name, clean=False)
    got = client.messages_before(publisher)
    assert 4 <= len(got) <= 10
    assert [int(one.payload[:3]) for one in got] == list(range(len(got)))


def test_queue_qos0(limited, name):
    own = limited(queue_qos0=True)
    publisher = own.connect()
    client = own.connect(name, session_expiry_interval=100)
    client.subscribe((f"{name}/a", 1))
    client.disconnect()
    for i in range(6):
        publisher.publish(f"{name}/a", str(i), qos=i % 2)
    client = own.open()
    client.connect(name, clean=False)
    # The standard asks for order among messages of one QoS.
    got = [(one.qos, one.payload) for one in client.messages_before(publisher)]
    for qos in (0, 1):
        assert [payload for found, payload in got if found == qos] == \
            [str(i).encode() for i in range(qos, 6, 2)]


def test_max_topic_levels(limited):
    own = limited(max_topic_levels=3)
    client = own.connect()
    client.publish("a/b/c", "x", qos=1)
    client.subscribe("a/b/c", "a/+/#")
    client.send(client.publish_packet("a/b/c/d", "x", qos=1))
    denied(client, "PUBACK", 0x90)
    client = own.connect()
    client.send(client.subscribe_packet("a/b/c/d"))
    denied(client, "SUBACK", 0x8F)
    own.connect(version=4).subscribe("a/b", "a/b/c/d", expect=[0, 0x80])


def test_max_subscriptions(limited):
    own = limited(max_subscriptions=3)
    for version, code in ((4, 0x80), (5, 0x97)):
        client = own.connect(version=version)
        client.subscribe("a", "b", "c", "d", expect=[0, 0, 0, code])
        client.subscribe(("b", 1))
        client.unsubscribe("a")
        client.subscribe("d")
        client.subscribe("a", expect=[code])


def test_max_sessions(limited):
    own = limited(max_sessions=2)
    own.connect("a", session_expiry_interval=100).disconnect()
    own.connect("b")
    client = own.open()
    client.connect("c", expect=None)
    assert client.connack.reason in (0x97, 0x89, 0x88), client.connack
    client.expect_closed()
    old = own.open(4)
    old.connect("d", expect=3)
    own.connect("a", clean=False, session_expiry_interval=0).disconnect()
    own.connect("c").ping()


def test_max_retained_messages(limited):
    own = limited(max_retained_messages=2)
    client = own.connect()
    for topic in ("a", "b", "a"):
        client.publish(f"r/{topic}", "x", qos=1, retain=1)
    client.send(client.publish_packet("r/c", "x", qos=1, retain=1))
    assert client.expect("PUBACK").reason in (0, 0x10, 0x97)
    other = own.connect()
    other.subscribe("r/#")
    assert sorted(one.topic for one in other.messages_before(client)) == ["r/a", "r/b"]
    client.publish("r/a", "", qos=1, retain=1)
    client.publish("r/c", "x", qos=1, retain=1)
    assert "r/c" in [one.topic for one in other.messages_before(client)]


def test_max_retained_bytes(limited):
    own = limited(max_retained_bytes=10000)
    client = own.connect()
    for i in range(20):
        client.send(client.publish_packet(f"r/{i}", bytes(1000), qos=1, retain=1))
        assert client.expect("PUBACK").reason in (0, 0x10, 0x97)
    other = own.connect()
    other.subscribe("r/#")
    assert 4 <= len(other.messages_before(client)) <= 10


@pytest.mark.parametrize("limits", [{"max_publish_rate": 20}, {"max_publish_bytes_rate": 20000}],
                         ids=lambda limits: next(iter(limits)))
def test_publish_rates_slow_the_reading(limited, limits):
    own = limited(**limits)
    for version in (4, 5):
        client = own.connect(version=version)
        begin = time.monotonic()
        client.send(*[client.publish_packet("a", bytes(1000), qos=1) for _ in range(60)])
        for _ in range(60):
            client.expect("PUBACK")
        assert 1.0 <= time.monotonic() - begin <= 6


def test_allow_empty_client_id(limited):
    own = limited(allow_empty_client_id=False)
    for version, code in ((4, 2), (5, 0x85)):
        client = own.open(version)
        client.connect("", expect=code)
        client.expect_closed()


def test_auto_id_prefix(limited):
    own = limited(auto_id_prefix="box-")
    assert own.open().connect("").props["assigned_client_identifier"].startswith("box-")


def test_connect_timeout(limited):
    own = limited(connect_timeout="1s")
    begin = time.monotonic()
    silent, trickling = own.open(), own.open()
    trickling.send(b"\x10")
    good = own.connect()
    silent.expect_closed()
    trickling.expect_closed()
    assert 0.8 <= time.monotonic() - begin < 3
    good.ping()


def test_upgrade_outgoing_qos(limited):
    own = limited(upgrade_outgoing_qos=True)
    client, publisher = own.connect(), own.connect()
    client.subscribe(("a", 2), ("b", 1))
    for topic, qos in (("a", 2), ("b", 1)):
        publisher.publish(topic, "x")
        client.message(topic=topic, qos=qos)


def test_lenient(limited):
    own = limited(lenient=True)
    client = own.connect(version=4)
    client.subscribe("a")
    client.send(b"\xc0\x80\0")
    client.expect("PINGRESP")
    client.send(client.publish_packet("a", "x", dup=1))
    client.message(payload="x", dup=0)


def test_auth_delay(run_broker):
    for delay, least, most in (("1s", 0.9, 3), ("0s", 0, 0.8)):
        own = run_broker({"limits": {"auth_delay": delay},
                          "listeners": [{"name": "mqtt", "allow_anonymous": False}]})
        begin = time.monotonic()
        client = own.open()
        client.connect("x", username="u", password="p", expect=None)
        assert client.connack.reason in (0x86, 0x87)
        assert least <= time.monotonic() - begin < most
        client.expect_closed()


def test_max_delayed(run_broker):
    own = run_broker({"limits": {"auth_delay": "2s", "max_delayed": 3},
                      "listeners": [{"name": "mqtt", "allow_anonymous": False}]})
    begin = time.monotonic()
    clients = [own.open() for _ in range(8)]
    for i, client in enumerate(clients):
        client.send(client.connect_packet(f"x{i}", username="u", password="p"))
    at_once = 0
    for client in clients:
        try:
            client.recv(max(0.1, begin + 1 - time.monotonic()))
            at_once += 1
        except Timeout:
            pass
    assert at_once == 5


def test_max_inflight_messages(limited, name):
    own = limited(max_inflight_messages=2)
    for version in (4, 5):
        client, publisher = own.connect(version=version), own.connect()
        client.subscribe((name, 1))
        for i in range(4):
            publisher.publish(name, str(i), qos=1)
        first = [client.message(ack=False) for _ in range(2)]
        client.ping()
        assert not client.inbox
        client.acknowledge(first[0])
        client.message(payload="2")
        client.disconnect()


def full(own, listener=None):
    """The next connection is refused: closed at once, or by CONNACK."""
    client = own.open(listener=listener)
    try:
        client.connect("toomany", expect=None)
    except ConnectionError:
        return
    assert client.connack.reason in (0x88, 0x89, 0x97, 0x9F), client.connack


def test_max_connections(run_broker):
    own = run_broker({"broker": {"max_connections": 3}})
    clients = [own.connect() for _ in range(3)]
    full(own)
    clients[0].disconnect()
    own.connect().ping()


def test_max_connections_per_address(run_broker):
    own = run_broker({"broker": {"max_connections_per_address": 2}})
    clients = [own.connect() for _ in range(2)]
    full(own)
    clients[0].disconnect()
    own.connect().ping()


def test_max_connections_of_a_listener(run_broker):
    own = run_broker({"listeners": [{"name": "a", "max_connections": 1}, {"name": "b"}]})
    own.connect(listener="a")
    full(own, "a")
    for _ in range(3):
        own.connect(listener="b").ping()


def test_max_connect_rate(run_broker):
    own = run_broker({"broker": {"max_connect_rate": 5}})
    first = own.connect()
    first.expect_quiet(1.1)
    begin = time.monotonic()
    good = 0
    for _ in range(40):
        try:
            own.connect()
            good += 1
        except (ConnectionError, AssertionError):
            pass
    took = time.monotonic() - begin
    assert 1 <= good <= 5 + 5 * (took + 1), (good, took)
    first.expect_quiet(1.1)
    own.connect().ping()


def test_limits_of_a_listener(run_broker):
    own = run_broker({"limits": {"receive_maximum": 11},
                      "listeners": [{"name": "a", "limits": {"receive_maximum": 7}}, {"name": "b"}]})
    assert own.connect(listener="a").connack.props["receive_maximum"] == 7
    assert own.connect(listener="b").connack.props["receive_maximum"] == 11


def test_mount_point(run_broker):
    own = run_broker({"listeners": [{"name": "a", "mount_point": "site/"}, {"name": "b"}]})
    inside, outside = own.connect(listener="a"), own.connect(listener="b")
    inside.subscribe(("x/#", 1), ("$share/g/y", 1))
    outside.subscribe(("#", 1))
    inside.publish("x/1", "in", qos=1)
    outside.message(topic="site/x/1", payload="in")
    inside.message(topic="x/1")
    outside.publish("site/x/2", "out", qos=1)
    inside.message(topic="x/2", payload="out")
    outside.message(topic="site/x/2")
    outside.publish("site/y", "shared", qos=1)
    inside.message(topic="y", payload="shared")
    own.connect(listener="a", will=Will("x/will", "gone")).close()
    inside.message(topic="x/will")


def test_max_memory_bounds_the_queues(run_broker, name):
    own = run_broker({"broker": {"max_memory": "4MiB"}})
    publisher = own.connect()
    client = own.connect(name, session_expiry_interval=100)
    client.subscribe((f"{name}/a", 1))
    client.disconnect()
    for i in range(20):
        publisher.publish(f"{name}/a", b"%2d" % i + bytes(1000000), qos=1)
    client = own.open()
    client.connect(name, clean=False)
    got = [int(one.payload[:2]) for one in client.messages_before(publisher)]
    assert 1 <= len(got) <= 5 and got == sorted(got)


def test_the_keys_that_need_a_plugin_are_known(limited):
    own = limited(max_pending=4, max_grants=10)
    own.connect().send(Packet("PINGREQ"))
