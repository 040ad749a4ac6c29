# SPDX-License-Identifier: Apache-2.0
"""Questions to plugins, put to the authority of avocet-test: its rules stand in authority.h. Every test
runs with each manner of answering: at once, later, out of order, on a foreign thread."""

import time

import pytest

import conftest
from mqtt import Closed, Packet, Will

statement = pytest.mark.statement

CONFIG = {"limits": {"auth_delay": 0}}
MANNERS = ("at-once", "later", "out-of-order", "thread")
every_version = pytest.mark.parametrize("version", (3, 4, 5))
GOOD = {"username": "good", "password": "good"}


@pytest.fixture(scope="module", params=MANNERS)
def module_broker(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(f"authority_{request.param}")
    running = conftest.Broker(folder, CONFIG, conftest.TEST_BIN,
                              ["--authority", request.param, "--authority-delay", 30])
    yield running
    running.stop()


def answer(version, reason):
    """What the versions say instead: 3.x acknowledges what it cannot refuse."""
    return reason if version == 5 else 0


# Who it is

@every_version
def test_the_right_password_comes_in(broker, name, version):
    client = broker.connect(name, version, **GOOD)
    client.ping()


@every_version
@pytest.mark.parametrize("user,password", [("bad", "good"), ("good", "bad"), ("good", None), ("", "")])
def test_the_wrong_password_does_not(broker, name, version, user, password):
    client = broker.open(version)
    client.connect(name, username=user, password=password, expect=0x86 if version == 5 else 4)
    client.expect_closed()


def test_a_refused_client_leaves_nothing_and_takes_nothing(broker, name):
    holder = broker.connect(name, session_expiry_interval=100)
    broker.open().connect(name, username="bad", password="x", expect=0x86)
    broker.open().connect(f"{name}2", username="bad", password="x", session_expiry_interval=100,
                          expect=0x86)
    holder.ping()
    assert broker.open().connect(f"{name}2", clean=False).session_present == 0


def test_nobody_is_asked_about_a_client_without_a_login(broker):
    broker.connect().ping()


def test_the_authority_may_name_the_client(broker):
    client = broker.open()
    connack = client.connect("wanted", username="renamed", password="good")
    assert connack.props["assigned_client_identifier"] == "assigned"
    other = broker.open()
    other.connect("wanted", username="renamed", password="good")
    client.expect_refused(0x8E)
    other.ping()


def test_what_follows_connect_waits_for_the_answer(broker, name):
    client = broker.open()
    client.send(client.connect_packet(name, **GOOD), client.subscribe_packet((name, 1)),
                client.publish_packet(name, "own", qos=1), b"\xc0\0")
    kinds = [client.expect(kind).kind for kind in ("CONNACK", "SUBACK")]
    assert kinds == ["CONNACK", "SUBACK"]
    assert {client.recv().kind for _ in range(3)} == {"PUBLISH", "PUBACK", "PINGRESP"}


def test_a_client_that_leaves_while_it_is_asked_about(broker, name):
    for end in ("close", "reset", "finish"):
        for _ in range(5):
            client = broker.open()
            client.send(client.connect_packet(name, **GOOD))
            getattr(client, end)()
    broker.connect(f"{name}2", **GOOD).ping()


def test_leaving_cancels_authentication(broker, name):
    holder = broker.connect(name, **GOOD)
    for end in ("close", "reset", "finish"):
        for _ in range(5):
            client = broker.open()
            client.send(client.connect_packet(name, username="bad", password="good"))
            getattr(client, end)()
    holder.ping()


# What it may do

@every_version
@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("retain", [0, 1])
def test_a_denied_publication(broker, name, version, qos, retain):
    watcher, client = broker.connect(), broker.connect(version=version)
    watcher.subscribe("+/" + name, (f"{name}/ok", qos))
    client.publish(f"deny/{name}", "no", qos=qos, retain=retain, expect=answer(version, 0x87))
    client.publish(f"{name}/ok", "yes", qos=qos)
    watcher.message(payload="yes")
    late = broker.connect()
    late.subscribe("+/" + name)
    assert late.messages_before(client) == []


@every_version
def test_denied_filters(broker, name, version):
    client = broker.connect(version=version)
    no = 0x87 if version == 5 else 0x80
    client.subscribe((f"deny/{name}", 1), (f"{name}/a", 2), (f"deny/{name}/#", 0), (f"low/{name}", 2),
                     expect=[no, 2, no, 0])
    publisher = broker.connect()
    publisher.publish(f"low/{name}", "x", qos=2)
    publisher.publish(f"{name}/a", "x", qos=2)
    client.message(topic=f"low/{name}", qos=0)
    client.message(topic=f"{name}/a", qos=2)


def test_a_shared_filter_is_asked_about_without_its_group(broker, name):
    client = broker.connect()
    client.subscribe((f"$share/g/deny/{name}", 1), (f"$share/g/{name}", 1), expect=[0x87, 1])


@every_version
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_dropped_publication_is_acknowledged(broker, name, version, qos):
    watcher, client = broker.connect(), broker.connect(version=version)
    watcher.subscribe((f"+/{name}", 2))
    client.publish(f"drop/{name}", "x", qos=qos, retain=1, expect=0)
    assert watcher.messages_before(client) == []
    late = broker.connect()
    late.subscribe((f"+/{name}", 2))
    assert late.messages_before(client) == []


@every_version
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_rewritten_publication(broker, name, version, qos):
    watcher, client = broker.connect(), broker.connect(version=version)
    watcher.subscribe((f"+/{name}", 2))
    client.publish(f"rewrite/{name}", "x" * 1000, qos=qos, retain=1)
    watcher.message(topic=f"rewritten/{name}", payload="x" * 1000 + "!", qos=qos)
    late = broker.connect()
    late.subscribe((f"+/{name}", 2))
    late.message(topic=f"rewritten/{name}", retain=1)
    client.publish(f"rewritten/{name}", "", retain=1)


@every_version
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_publication_that_closes_the_connection(broker, name, version, qos):
    watcher = broker.connect()
    watcher.subscribe("+/" + name, name)
    client = broker.connect(version=version, will=Will(name, "gone"))
    client.send(client.publish_packet(f"kick/{name}", "x", qos=qos))
    client.expect_refused(0x98)
    watcher.message(payload="gone")
    assert watcher.messages_before(broker.connect()) == []


# Order

def mixed(client, name, count):
    """Publications of all kinds, and what answers each: (kind, id, reason)."""
    packets, wanted = [], []
    for i in range(count):
        topic = (name, f"deny/{name}", name, f"drop/{name}", f"rewrite/{name}")[i % 5]
        qos = (1, 2, 1, 2, 0, 2)[i % 6]
        packet = client.publish_packet(topic, str(i), qos=qos)
        packets.append(packet)
        if qos:
            reason = 0x87 if i % 5 == 1 and client.version == 5 else 0
            wanted.append(("PUBACK" if qos == 1 else "PUBREC", packet.packet_id, reason))
    return packets, wanted


@statement("MQTT5-4.6.0-2", "MQTT5-4.6.0-3")
@every_version
def test_acknowledgements_come_in_the_order_of_the_publications(broker, name, version):
    watcher, client = broker.connect(), broker.connect(version=version)
    watcher.subscribe((f"+/{name}", 2), (name, 2))
    packets, wanted = mixed(client, name, 90)
    client.send(*packets)
    got = []
    while len(got) < len(wanted):
        ack = client.recv()
        got.append((ack.kind, ack.packet_id, ack.reason if ack.reason != 0x10 else 0))
    assert got == wanted
    for kind, packet_id, reason in wanted:
        if kind == "PUBREC" and reason == 0:
            client.release(packet_id)


@statement("MQTT5-4.6.0-5")
@every_version
def test_messages_are_delivered_in_the_order_of_the_publications(broker, name, version):
    watcher, client = broker.connect(), broker.connect(version=version)
    watcher.subscribe((f"+/{name}", 2), (name, 2))
    packets, _ = mixed(client, name, 90)
    client.send(*packets)
    wanted = [i for i in range(90) if i % 5 not in (1, 3)]
    got = [int(watcher.message().payload.rstrip(b"!")) for _ in wanted]
    assert got == wanted


def test_many_at_once_from_many(broker, name):
    watcher = broker.connect()
    watcher.subscribe((name, 2))
    clients = [broker.connect() for _ in range(10)]
    for i, client in enumerate(clients):
        client.send(*[client.publish_packet(name, f"{i} {j}", qos=1) for j in range(40)])
    seen = {i: [] for i in range(10)}
    for _ in range(400):
        i, j = map(int, watcher.message().payload.split())
        seen[i].append(j)
    assert all(one == list(range(40)) for one in seen.values())


def test_a_subscription_after_publications_and_another_behind_it(broker, name):
    # Publications that are answered must not let the connection be read while a SUBSCRIBE is asked about.
    client = broker.connect()
    for round_ in range(5):
        packets = [client.publish_packet(f"{name}/x", str(i), qos=1) for i in range(5)]
        packets += [client.subscribe_packet((f"{name}/{round_}/{i}", 1)) for i in range(10)]
        packets += [client.publish_packet(f"{name}/{round_}/9", "own", qos=1)]
        client.send(*packets)
        acks = [client.recv().packet_id for _ in range(15)]
        assert acks == [one.packet_id for one in packets[:15]]
        kinds = [client.recv() for _ in range(2)]
        assert {one.kind for one in kinds} == {"PUBLISH", "PUBACK"}
        client.acknowledge(next(one for one in kinds if one.kind == "PUBLISH"))


def test_leaving_with_subscriptions_and_publications_open(broker, name):
    for end in ("close", "reset", "finish"):
        client = broker.connect()
        packets = [client.publish_packet(f"{name}/x", str(i), qos=i % 3) for i in range(10)]
        packets += [client.subscribe_packet((f"{name}/{i}", 1)) for i in range(5)]
        client.send(*packets)
        getattr(client, end)()
    broker.connect().ping()


# The client has gone

@every_version
@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("end", ["disconnect", "finish"])
def test_a_publication_is_carried_out_when_its_client_has_gone(broker, name, version, qos, end):
    watcher = broker.connect()
    watcher.subscribe((name, 2))
    client = broker.open(version)
    packets = [client.connect_packet(name, **GOOD)]
    packets += [client.publish_packet(name, str(i), qos=qos) for i in range(5)]
    if end == "disconnect":
        packets.append(Packet("DISCONNECT", reason=0, props={}))
    client.send(*packets)
    client.finish()
    assert [watcher.message().payload for _ in range(5)] == [b"%d" % i for i in range(5)]


def test_a_subscription_is_made_when_its_client_has_gone(broker, name):
    client = broker.connect(name, session_expiry_interval=100)
    client.send(client.subscribe_packet((f"{name}/t", 1)))
    client.finish()
    try:
        client.recv(2)
    except Closed:
        pass
    client.close()
    time.sleep(0.2)
    broker.connect().publish(f"{name}/t", "x", qos=1)
    client = broker.open()
    assert client.connect(name, clean=False).session_present == 1
    client.message(payload="x")


# QoS 2 while it is asked about

@every_version
@pytest.mark.parametrize("topic,reason", [("{}", 0), ("deny/{}", 0x87)])
def test_a_resend_while_it_is_asked_gets_the_first_verdict(broker, name, version, topic, reason):
    topic = topic.format(name)
    watcher, client = broker.connect(), broker.connect(version=version)
    watcher.subscribe((name, 2), (f"+/{name}", 2), expect=[2, 2])
    packet = client.publish_packet(topic, "once", qos=2, packet_id=7)
    client.send(packet, packet, packet)
    # A refusal takes the id out: what comes after it is new, and refused again.
    for _ in range(3):
        client.expect("PUBREC", packet_id=7, reason=answer(version, reason))
    if not (reason and version == 5):
        client.release(7)
    got = watcher.messages_before(client)
    assert [one.payload for one in got] == ([] if reason else [b"once"])


@every_version
def test_a_resend_on_another_connection_gets_the_first_verdict(broker, name, version):
    watcher = broker.connect()
    watcher.subscribe((name, 2))
    options = {"session_expiry_interval": 100} if version == 5 else {}
    for i in range(5):
        client = broker.open(version)
        client.connect(name, clean=False, **options)
        client.send(client.publish_packet(name, str(i), qos=2, packet_id=7))
        client.close()
        client = broker.open(version)
        client.connect(name, clean=False, **options)
        client.send(client.publish_packet(name, str(i), qos=2, packet_id=7, dup=1))
        client.expect("PUBREC", packet_id=7, reason=0)
        client.release(7)
        client.disconnect()
    assert [one.payload for one in watcher.messages_before(broker.connect())] == [
        b"%d" % i for i in range(5)]


def test_a_release_while_it_is_asked(broker, name):
    # No PUBREL can be meant for a PUBLISH that has no PUBREC yet; but nothing is lost or doubled by it.
    watcher, client = broker.connect(), broker.connect()
    watcher.subscribe((name, 2))
    client.send(client.publish_packet(name, "x", qos=2, packet_id=7),
                Packet("PUBREL", packet_id=7, reason=0, props={}))
    client.expect("PUBREC", packet_id=7, reason=0)
    released = client.expect("PUBCOMP", packet_id=7).reason == 0
    client.send(client.publish_packet(name, "x", qos=2, packet_id=8))
    client.expect("PUBREC", packet_id=8, reason=0)
    client.release(8)
    if not released:
        client.release(7)
    for _ in range(2):
        watcher.message(payload="x")
    client.publish(name, "y", qos=2, packet_id=7)
    watcher.message(payload="y")


# Wills

@every_version
def test_a_denied_will_is_refused_at_connect(broker, name, version):
    client = broker.open(version)
    client.connect(name, will=Will(f"deny/{name}", "x"), expect=0x87 if version == 5 else 5)
    client.expect_closed()


@every_version
def test_a_will_is_asked_about_and_intercepted(broker, name, version):
    watcher = broker.connect()
    watcher.subscribe((f"+/{name}", 1))
    broker.connect(f"{name}1", version, will=Will(f"drop/{name}", "dropped", 1)).close()
    broker.connect(f"{name}2", version, will=Will(f"rewrite/{name}", "x", 1)).close()
    watcher.message(topic=f"rewritten/{name}", payload="x!")
    watcher.expect_quiet(0.2)


def test_take_overs_while_wills_are_asked_about(broker, name):
    watcher = broker.connect()
    watcher.subscribe((f"{name}/will", 2))
    for i in range(20):
        client = broker.open()
        client.connect(name, clean=i % 3 == 0, session_expiry_interval=100 * (i % 2),
                       will=Will(f"{name}/will", str(i), 1))
    client.disconnect()
    got = {int(watcher.message().payload) for _ in range(19)}
    assert got == set(range(19))
    assert watcher.messages_before(broker.connect()) == []


# Extended authentication

METHOD = {"authentication_method": "TEST"}


def begin(broker, name, **options):
    client = broker.open()
    client.send(client.connect_packet(name, authentication_data=b"hello", **METHOD, **options))
    client.expect("AUTH", reason=0x18, authentication_method="TEST", authentication_data=b"challenge")
    return client


def exchange(broker, name, **options):
    client = begin(broker, name, **options)
    client.auth(0x18, authentication_data=b"answer", **METHOD)
    client.expect("CONNACK", reason=0, authentication_method="TEST", authentication_data=b"welcome")
    client.client_id = name
    return client


@statement("MQTT5-4.12.0-2", "MQTT5-4.12.0-5")
def test_an_exchange_of_two_steps(broker, name):
    client = exchange(broker, name)
    client.ping()


@pytest.mark.parametrize("data", [b"", b"hellp", b"answer"])
def test_a_wrong_first_step(broker, name, data):
    client = broker.open()
    client.connect(name, authentication_data=data, expect=0x87, **METHOD)
    client.expect_closed()


def test_a_wrong_second_step(broker, name):
    client = begin(broker, name)
    client.auth(0x18, authentication_data=b"hello", **METHOD)
    client.expect("CONNACK", reason=0x87)
    client.expect_closed()


@statement("MQTT5-4.12.0-5")
def test_another_method_in_the_second_step(broker, name):
    client = begin(broker, name)
    client.auth(0x18, authentication_method="OTHER", authentication_data=b"answer")
    client.expect("CONNACK", reason=0x82)
    client.expect_closed()


@pytest.mark.parametrize("reason", [0x00, 0x19])
def test_another_reason_in_the_second_step(broker, name, reason):
    client = begin(broker, name)
    client.auth(reason, authentication_data=b"answer", **METHOD)
    client.expect("CONNACK", reason=0x82)
    client.expect_closed()


@statement("MQTT5-3.1.2-30")
def test_another_packet_in_the_second_step(broker, name):
    for packet in (b"\xc0\0", b"\x30\x04\0\1a\0"):
        client = begin(broker, name)
        client.send(packet)
        assert client.expect("CONNACK").reason >= 0x80
        client.expect_closed()


def test_a_disconnect_in_the_second_step(broker, name):
    client = begin(broker, name, will=Will(name, "x"))
    client.disconnect()


def test_leaving_in_the_second_step(broker, name):
    for end in ("close", "reset", "finish"):
        client = begin(broker, name)
        getattr(client, end)()
        for data in (b"answer", b"wrong"):
            client = begin(broker, name)
            client.auth(0x18, authentication_data=data, **METHOD)
            getattr(client, end)()
    exchange(broker, name).ping()


def test_an_unknown_method(broker, name):
    broker.open().connect(name, authentication_method="NONE", expect=0x8C)


def test_packets_behind_the_answer_wait(broker, name):
    client = begin(broker, name)
    client.send(Packet("AUTH", reason=0x18, props={"authentication_data": b"answer", **METHOD}),
                b"\xc0\0")
    client.expect("CONNACK", reason=0)
    client.expect("PINGRESP")


def reauthenticate(client, then=b"answer"):
    client.auth(0x19, authentication_data=b"hello", **METHOD)
    client.wait("AUTH", reason=0x18, authentication_data=b"challenge", authentication_method="TEST")
    client.auth(0x18, authentication_data=then, **METHOD)


@statement("MQTT5-4.12.1-1")
def test_reauthentication(broker, name):
    client = exchange(broker, name)
    for _ in range(3):
        reauthenticate(client)
        client.expect("AUTH", reason=0, authentication_data=b"welcome", authentication_method="TEST")
    client.ping()


@statement("MQTT5-4.12.1-2")
def test_a_refused_reauthentication_closes(broker, name):
    client = exchange(broker, name)
    reauthenticate(client, b"wrong")
    client.expect_refused(0x87)
    client = exchange(broker, name)
    client.auth(0x19, authentication_data=b"wrong", **METHOD)
    client.expect_refused(0x87)


def test_reauthentication_while_messages_flow(broker, name):
    client, other = exchange(broker, name), broker.connect()
    client.subscribe((f"{name}/down", 1))
    other.subscribe((f"{name}/up", 1))
    client.auth(0x19, authentication_data=b"hello", **METHOD)
    for i in range(20):
        other.publish(f"{name}/down", str(i), qos=1)
        client.send(client.publish_packet(f"{name}/up", str(i), qos=1))
    client.wait("AUTH", reason=0x18)
    client.auth(0x18, authentication_data=b"answer", **METHOD)
    for i in range(20, 40):
        other.publish(f"{name}/down", str(i), qos=1)
        client.send(client.publish_packet(f"{name}/up", str(i), qos=1))
    client.wait("AUTH", reason=0, authentication_data=b"welcome")
    for i in range(40):
        client.acknowledge(client.wait("PUBLISH", payload=str(i)))
        other.acknowledge(other.wait("PUBLISH", payload=str(i)))
        client.wait("PUBACK")


@pytest.mark.parametrize("reason", [0x00, 0x18])
def test_a_reauthentication_that_does_not_begin(broker, name, reason):
    client = exchange(broker, name)
    client.auth(reason, authentication_data=b"answer", **METHOD)
    client.expect_refused(0x82)


def test_a_second_reauthentication_within_the_first(broker, name):
    client = exchange(broker, name)
    client.auth(0x19, authentication_data=b"hello", **METHOD)
    client.wait("AUTH", reason=0x18)
    client.auth(0x19, authentication_data=b"hello", **METHOD)
    client.expect_refused(0x82)


def test_leaving_during_reauthentication(broker, name):
    for end in ("close", "reset", "finish"):
        client = exchange(broker, name)
        client.auth(0x19, authentication_data=b"hello", **METHOD)
        getattr(client, end)()
        client = exchange(broker, name)
        reauthenticate(client, b"wrong")
        getattr(client, end)()
    exchange(broker, name).ping()
