# SPDX-License-Identifier: Apache-2.0
"""Connections that move to another worker between CONNECT and CONNACK: `--move-always` gives every new
client id its home elsewhere. Nothing that a client has sent may be lost or doubled, wherever it was cut."""

import os
import select
import threading
import time

import pytest

import conftest
from mqtt import Closed, Packet, Timeout, Will, encode, wait_until

every_version = pytest.mark.parametrize("version", (3, 4, 5))


@pytest.fixture(scope="module", params=["", "later", "engine"])
def module_broker(request, tmp_path_factory):
    """Alone; with an authority that lets CONNECT wait; with a store that lets CONNACK wait."""
    args = {"": [], "later": ["--authority", "thread"], "engine": ["--engine", "mem:delay=0-3"]}
    folder = tmp_path_factory.mktemp(f"move_{request.param}")
    running = conftest.Broker(folder, {"broker": {"workers": 4}, "limits": {"auth_delay": 0}},
                              conftest.TEST_BIN, ["--move-always", *args[request.param]])
    yield running
    running.stop()


def stream_of(client, client_id, topic):
    """What a client says that subscribes, publishes to itself and asks for an answer."""
    packets = [client.connect_packet(client_id, username="good", password="good"),
               client.subscribe_packet((topic, 2), packet_id=1),
               client.publish_packet(topic, "one", qos=1, packet_id=2),
               client.publish_packet(topic, "two", qos=2, packet_id=3),
               client.publish_packet(topic, "zero")]
    return b"".join(encode(one, client.version) for one in packets) + b"\xc0\0"


def check_answers(client):
    client.expect("CONNACK", reason=0)
    seen, acks, pong = [], [], False
    while len(seen) < 3 or len(acks) < 3 or not pong:
        packet = client.recv()
        if packet.kind == "PUBLISH":
            seen.append(packet.payload)
        elif packet.kind == "PINGRESP":
            pong = True
        else:
            acks.append((packet.kind, packet.packet_id))
    # Order is promised among messages of one QoS only.
    assert sorted(seen) == [b"one", b"two", b"zero"]
    assert acks == [("SUBACK", 1), ("PUBACK", 2), ("PUBREC", 3)]


def send_in_pieces(client, data, cuts):
    begin = 0
    for cut in [*cuts, len(data)]:
        client.send(data[begin:cut])
        begin = cut
        # The kernel hands it over at once; so another segment, and most often another read.
        os.sched_yield()


@every_version
def test_every_split_in_two(broker, name, version):
    size = len(stream_of(broker.open(version), f"{name}x000", f"{name}/000"))
    broker.close_clients()
    for cut in range(1, size):
        client = broker.open(version)
        data = stream_of(client, f"{name}x{cut:03}", f"{name}/{cut:03}")
        send_in_pieces(client, data, [cut])
        check_answers(client)
        broker.close_clients()


@every_version
def test_every_split_in_two_with_a_pause(broker, name, version):
    # The second piece comes when the connection has moved. Many at once, since each waits.
    clients = []
    size = len(stream_of(broker.open(version), f"{name}x000", f"{name}/000"))
    for cut in range(1, size):
        client = broker.open(version)
        client.data = stream_of(client, f"{name}x{cut:03}", f"{name}/{cut:03}")
        client.send(client.data[:cut])
        clients.append((client, cut))
    time.sleep(0.1)
    for client, cut in clients:
        client.send(client.data[cut:])
    for client, _ in clients:
        check_answers(client)


@every_version
def test_byte_by_byte(broker, name, version):
    for i in range(5):
        client = broker.open(version)
        data = stream_of(client, f"{name}{i}", f"{name}/{i}")
        send_in_pieces(client, data, range(1, len(data)))
        check_answers(client)


@every_version
def test_in_one_piece(broker, name, version):
    for i in range(50):
        client = broker.open(version)
        client.send(stream_of(client, f"{name}{i}", f"{name}/{i}"))
        check_answers(client)


def test_much_behind_connect(broker, name):
    # More than one read, behind a CONNECT that moves.
    watcher = broker.connect()
    watcher.subscribe((name, 1))
    client = broker.open()
    parts = [client.connect_packet(f"{name}p")]
    parts += [client.publish_packet(name, b"%05d" % i + bytes(7000), qos=0) for i in range(150)]
    sender = threading.Thread(target=client.send, args=parts)
    sender.start()
    for i in range(150):
        assert watcher.message().payload[:5] == b"%05d" % i
    sender.join()


@every_version
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_connect_publish_disconnect_fin(broker, name, version, qos):
    watcher = broker.connect()
    watcher.subscribe((name, 2))
    for i in range(20):
        client = broker.open(version)
        client.send(client.connect_packet(f"{name}{i}"), client.publish_packet(name, str(i), qos=qos),
                    Packet("DISCONNECT", reason=0, props={}))
        client.finish()
    assert {int(watcher.message().payload) for _ in range(20)} == set(range(20))


def test_leaving_on_the_way(broker, name):
    for end in ("close", "reset", "finish"):
        for i in range(50):
            client = broker.open()
            client.send(client.connect_packet(f"{name}{i % 7}", session_expiry_interval=i % 2,
                                              will=Will(f"{name}/will", "x")))
            getattr(client, end)()
    wait_until(lambda: is_served(broker, f"{name}0"), 5)


def is_served(broker, client_id):
    """False: a connection that was made before has arrived later."""
    client = broker.open()
    client.connect(client_id, expect=None)
    assert client.connack.reason in (0, 0x89)
    return client.connack.reason == 0


@every_version
def test_a_session_stays_at_home(broker, name, version):
    options = {"session_expiry_interval": 100} if version == 5 else {}
    publisher = broker.connect()
    for i in range(20):
        client = broker.open(version)
        connack = client.connect(name, clean=version == 5 and i == 0, **options)
        if version != 3:
            assert connack.session_present == int(i > 0)
        if i == 0:
            client.subscribe((f"{name}/t", 1))
        else:
            client.message(payload=str(i - 1))
        client.disconnect()
        publisher.publish(f"{name}/t", str(i), qos=1)


def test_take_overs_one_after_the_other(broker, name):
    old = None
    for i in range(50):
        client = broker.connect(name, clean=i % 3 == 0, session_expiry_interval=100 * (i % 2))
        if old is not None:
            old.expect_refused(0x8E)
        old = client
    old.ping()


@every_version
@pytest.mark.parametrize("expiry", [0, 100])
def test_a_storm_of_take_overs(broker, name, version, expiry):
    """Many CONNECTs of one client id at once: at the end one connection is served, all others have gone,
    and what was published meanwhile at QoS 2 came exactly once to the session, if that lasts."""
    options = {"session_expiry_interval": expiry} if version == 5 else {}
    for round_ in range(5):
        clients = [broker.open(version) for _ in range(40)]
        for client in clients:
            client.send(client.connect_packet(name, clean=expiry == 0, **options))
        alive = survivors(clients, version)
        assert len(alive) == 1
        alive[0].send(b"\xc0\0")
        alive[0].wait("PINGRESP")
        for client in clients:
            client.close()


def survivors(clients, version):
    """Reads until all but one have ended; what was sent to the others must be CONNACK, then the end."""
    alive = set(clients)
    deadline = time.monotonic() + 10
    connected = set()
    while len(alive) > 1 or not alive <= connected:
        assert time.monotonic() < deadline, (len(alive), len(connected))
        ready, _, _ = select.select([one.sock for one in alive], [], [], 0.2)
        for client in [one for one in alive if one.sock in ready]:
            try:
                packet = client.recv(1)
            except (Closed, Timeout):
                alive.discard(client)
                continue
            if packet.kind == "CONNACK" and packet.reason == 0:
                connected.add(client)
            elif packet.kind == "CONNACK":
                assert packet.reason in ((0x89,) if version == 5 else (3,)), packet
            else:
                assert packet.kind == "DISCONNECT" and packet.reason == 0x8E, packet
    return list(alive)


def test_a_storm_of_take_overs_loses_nothing(broker, name):
    # A publisher at QoS 2 all the time, and a receiver whose connection is taken over again and again.
    first = broker.connect(f"{name}r", session_expiry_interval=100)
    first.subscribe((f"{name}/t", 2))
    publisher = broker.connect()
    count = 150
    packets = [publisher.publish_packet(f"{name}/t", str(i), qos=2) for i in range(count)]

    def publish():
        for packet in packets:
            publisher.send(packet)
            publisher.expect("PUBREC", packet_id=packet.packet_id, timeout=20)
            publisher.release(packet.packet_id)

    thread = threading.Thread(target=publish)
    thread.start()
    seen, open_ids, client = [], set(), first
    deadline = time.monotonic() + 60
    while len(seen) < count:
        assert time.monotonic() < deadline, (len(seen), seen[-5:])
        collect(client, seen, open_ids)
        client = broker.open()
        assert client.connect(f"{name}r", clean=False, session_expiry_interval=100).session_present == 1
    thread.join()
    assert seen == list(range(count))


def collect(client, seen, open_ids, count=7):
    """Takes some packets and answers them, as a client with a memory."""
    for _ in range(count):
        try:
            packet = client.recv(0.02)
            if packet.kind == "PUBLISH":
                if packet.packet_id not in open_ids:
                    open_ids.add(packet.packet_id)
                    seen.append(int(packet.payload))
                client.ack("PUBREC", packet.packet_id)
            elif packet.kind == "PUBREL":
                open_ids.discard(packet.packet_id)
                client.ack("PUBCOMP", packet.packet_id)
        except (Closed, Timeout):
            return


def test_refusals_and_take_overs_on_the_way(broker, name):
    """CONNECTs of one client id, good ones and some that are refused or broken behind CONNECT."""
    for i in range(40):
        client = broker.open()
        client.send(client.connect_packet(name, session_expiry_interval=100), b"\x00\x00" if i % 3 else b"")
        bad = broker.open()
        bad.send(bad.connect_packet(name, authentication_method="NONE"))
    wait_until(lambda: is_served(broker, name), 5)
    broker.close_clients()
    wait_until(lambda: is_served(broker, name), 5)
