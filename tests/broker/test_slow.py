# SPDX-License-Identifier: Apache-2.0
"""Clients that read slowly or never, and such that send a byte at a time: bounded by the options, and
nobody else notices."""

import time

import pytest

from mqtt import encode

CONFIG = {"limits": {"write_timeout": "2s", "max_queued_bytes": "4MiB", "connect_timeout": "3s"}}


def never_reading(broker, name, version=5, qos=0):
    client = broker.open(version, receive_buffer=4096)
    client.connect(f"{name}slow{version}")
    client.subscribe((f"{name}/#", qos))
    return client


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("qos", [0, 1])
def test_a_client_that_never_reads_is_closed_and_others_get_all(broker, name, version, qos):
    slow = never_reading(broker, name, version, qos)
    good, publisher = broker.connect(), broker.connect()
    good.subscribe((f"{name}/#", qos))
    begin = time.monotonic()
    for i in range(30):
        publisher.publish(f"{name}/a", b"%2d" % i + bytes(500000), qos=1)
        assert int(good.message(qos=qos).payload[:2]) == i
    assert time.monotonic() - begin < 8
    # The broker gives up by itself: its end of the connection goes away while we wait for something
    # else. We see it when we read at last: not all thirty are there.
    watch = broker.connect()
    watch.expect_quiet(2.7)
    seen = 0
    try:
        while True:
            packet = slow.recv()
            assert packet.kind in ("PUBLISH", "DISCONNECT")
            seen += packet.kind == "PUBLISH"
    except ConnectionError:
        pass
    assert seen < 30
    good.ping()


def test_a_client_that_reads_slowly_but_steadily_stays(broker, name):
    slow = broker.open(receive_buffer=4096)
    slow.connect(f"{name}s", receive_maximum=2)
    slow.subscribe((f"{name}/a", 1))
    publisher = broker.connect()
    for i in range(6):
        publisher.publish(f"{name}/a", b"%d" % i + bytes(200000), qos=1)
    for i in range(6):
        publisher.expect_quiet(0.5)
        assert slow.message().payload[:1] == b"%d" % i
    slow.ping()


def test_bytes_that_trickle_in_are_put_together(broker, name):
    client = broker.connect()
    client.subscribe((name, 1))
    data = encode(client.publish_packet(name, bytes(300), qos=1), 5)
    for i in range(0, len(data)):
        client.send(data[i:i + 1])
    client.wait("PUBACK")
    assert len(client.wait("PUBLISH").payload) == 300


def test_a_trickling_connect_ends_by_the_timeout(broker, name):
    client = broker.open()
    data = encode(client.connect_packet("x" * 200), 5)
    begin = time.monotonic()
    watch = broker.connect()
    closed = False
    for byte in data:
        try:
            client.send(bytes([byte]))
            client.expect_quiet(0.05)
        except ConnectionError:
            closed = True
            break
        assert time.monotonic() - begin < 6
    assert closed and 2.5 <= time.monotonic() - begin < 6
    watch.ping()


def test_many_half_open_connections_disturb_nobody(broker, name):
    for _ in range(300):
        broker.open().send(b"\x10\x7f\0\4MQ")
    client = broker.connect()
    client.subscribe((name, 1))
    begin = time.monotonic()
    for i in range(100):
        client.publish(name, str(i), qos=1)
        client.message(payload=str(i))
    assert time.monotonic() - begin < 3


def test_a_publisher_without_reading_is_bounded(broker, name):
    """Acknowledgements that nobody reads: the broker stops reading, or closes, but does not grow."""
    client = broker.open(4, receive_buffer=4096, timeout=3)
    client.connect(name)
    chunk = b"".join(encode(client.publish_packet(name, "", qos=1), 4) for _ in range(5000))
    try:
        for _ in range(100):
            client.send(chunk)
    except (ConnectionError, TimeoutError):
        pass
    with open(f"/proc/{broker.process.pid}/status", encoding="ascii") as status:
        size = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
    assert size < 600000, f"{size} KiB"
    broker.connect().ping()
