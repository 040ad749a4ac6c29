# SPDX-License-Identifier: Apache-2.0
"""Keep alive: closed after one and a half times the interval, not before and not much later."""

import time

import pytest

from mqtt import Will

statement = pytest.mark.statement

every_version = pytest.mark.parametrize("version", (3, 4, 5))


@statement("MQTT5-3.1.2-22", "MQTT311-3.1.2-24")
@every_version
def test_a_silent_client_is_closed_after_one_and_a_half_intervals(broker, name, version):
    watcher = broker.connect()
    watcher.subscribe(f"{name}/will")
    begin = time.monotonic()
    client = broker.connect(name, version, keep_alive=1, will=Will(f"{name}/will", "silent"))
    client.expect_refused(0x8D)
    took = time.monotonic() - begin
    assert 1.4 <= took < 2.0, took
    watcher.message(payload="silent")


@every_version
def test_any_packet_keeps_the_connection(broker, name, version):
    client = broker.connect(name, version, keep_alive=1)
    actions = [client.ping, lambda: client.publish(name, "x"), lambda: client.subscribe(f"{name}/x")]
    if version < 5:         # version 5 may call it a protocol error
        actions.append(lambda: client.ack("PUBACK", 9))
    for action in actions:
        client.expect_quiet(0.8)
        action()
    client.ping()


def test_what_the_broker_sends_does_not_count(broker, name):
    publisher = broker.connect()
    client = broker.connect(name, keep_alive=1)
    client.subscribe(f"{name}/a")
    begin = time.monotonic()
    while True:
        publisher.publish(f"{name}/a", "x")
        packet = client.recv(1)
        if packet.kind == "DISCONNECT":
            assert packet.reason == 0x8D
            break
        assert time.monotonic() - begin < 2.5
        publisher.expect_quiet(0.1)


@every_version
def test_without_keep_alive_nobody_is_closed(broker, name, version):
    client = broker.connect(name, version, keep_alive=0)
    client.expect_quiet(2.0)
    client.ping()


def test_half_a_packet_is_no_packet(broker, name):
    client = broker.connect(name, 4, keep_alive=1)
    begin = time.monotonic()
    client.send(b"\x30\x20")
    client.expect_closed()
    assert 1.4 <= time.monotonic() - begin < 2.1


@statement("MQTT5-3.2.2-22")
def test_the_broker_may_set_the_interval(run_broker, name):
    own = run_broker({"limits": {"max_keepalive": 1}})
    for asked, told in ((0, 1), (60, 1), (1, None)):
        client = own.open()
        connack = client.connect(name, keep_alive=asked)
        assert connack.props.get("server_keep_alive") == told, (asked, connack)
        if asked == 60:
            begin = time.monotonic()
            client.expect_refused(0x8D)
            assert 1.4 <= time.monotonic() - begin < 2.1
        else:
            client.disconnect()


def test_an_older_client_that_asks_for_more_is_refused(run_broker, name):
    own = run_broker({"limits": {"max_keepalive": 30}})
    for version in (3, 4):
        for asked, code in ((0, 2), (31, 2), (30, 0), (5, 0)):
            client = own.open(version)
            client.connect(name, keep_alive=asked, expect=code)
            if code:
                client.expect_closed()
            else:
                client.disconnect()
