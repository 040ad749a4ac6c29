# SPDX-License-Identifier: Apache-2.0
"""Clients that leave at the wrong moment, or send more than they may."""

import time

import pytest

from mqtt import Packet, Will
from test_engine import fail, make_failing, mend, sleeper, wake


def test_who_leaves_while_a_will_is_asked_about_is_forgotten(run_broker):
    """The authority gives another client id than CONNECT had; the session of that one is waited for."""
    own = run_broker(test=True, args=["--authority", "later", "--authority-delay", 500])
    renamed = {"username": "renamed", "password": "good"}
    first = own.open()
    first.connect("first", session_expiry_interval=1000, will=Will("w", "x"), **renamed)
    second = own.open()
    second.send(second.connect_packet("second", **renamed))
    time.sleep(0.3)
    first.reset()       # its will is asked about until 0.8
    time.sleep(0.4)     # the second was let in at 0.5, and waits
    second.reset()
    time.sleep(0.4)
    own.open().connect("third", username="good", password="good")


def test_resends_of_what_is_asked_about_cost_no_memory(run_broker):
    own = run_broker(test=True, args=["--authority", "never", "--authority-timeout", 2000])
    client = own.connect()
    client.send(client.publish_packet("t", "", qos=2, packet_id=1))

    def memory():
        with open(f"/proc/{own.process.pid}/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * 4096

    before = memory()
    client.sock.settimeout(0.2)
    flood = bytes.fromhex("3c06000174000100") * 10000
    end = time.monotonic() + 1
    try:
        while time.monotonic() < end:
            client.sock.send(flood)
    except TimeoutError:
        pass            # it is not read any more
    assert memory() - before < 16 << 20
    client.close()


@pytest.mark.parametrize("asks", [False, True])
def test_who_is_parked_is_read(run_broker, tmp_path, name, asks):
    own = make_failing(run_broker, tmp_path, *(["--authority", "thread"] if asks else []))
    sleeper(own, f"{name}s", (f"{name}/#", 1))
    client, live = own.connect(version=4), own.connect()
    live.subscribe((f"{name}live", 1))
    fail(own)
    packets = [client.publish_packet(f"{name}/{i}", str(i), qos=1) for i in range(100)]
    client.send(*packets)
    client.ping()
    client.publish(f"{name}live", "passes", qos=0)
    live.message(payload="passes")
    behind = client.publish_packet(f"{name}live", "waits for its turn", qos=1)
    client.send(behind)
    client.ping()
    live.expect_quiet(0.2)
    mend(own)
    for packet in (*packets, behind):
        client.expect("PUBACK", packet_id=packet.packet_id, timeout=4)
    live.message(payload="waits for its turn")
    got = wake(own, f"{name}s").messages_before(client)
    assert [one.payload for one in got] == [b"%d" % i for i in range(100)]


def test_what_is_parked_has_a_limit(run_broker, tmp_path, name):
    own = make_failing(run_broker, tmp_path)
    sleeper(own, f"{name}s", (name, 1))
    client = own.connect(version=4)
    fail(own)
    packets = [client.publish_packet(name, b"x" * 300000, qos=1) for _ in range(4)]
    client.send(*packets, Packet("PINGREQ"))
    client.expect_quiet(0.3)
    mend(own)
    client.wait("PINGRESP", timeout=4)
    for packet in packets:
        client.wait("PUBACK", packet_id=packet.packet_id, timeout=4)
