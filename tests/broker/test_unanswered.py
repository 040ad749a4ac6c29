# SPDX-License-Identifier: Apache-2.0
"""Questions that plugins do not answer in time, and how many may be open."""

import time

import pytest

from mqtt import Will, wait_until

every_version = pytest.mark.parametrize("version", (3, 4, 5))
GOOD = {"username": "good", "password": "good"}
METHOD = {"authentication_method": "TEST"}


@pytest.fixture
def silent(run_broker):
    """No question is answered."""
    return run_broker({"broker": {"shutdown_timeout": "1s"}, "limits": {"auth_delay": 0}}, test=True,
                      args=["--authority", "never", "--authority-timeout", 300])


@pytest.fixture
def half_silent(run_broker):
    """Publications below unanswered/ are not answered; two questions may be open."""
    return run_broker({"broker": {"shutdown_timeout": "1s"}, "limits": {"max_pending": 2}}, test=True,
                      args=["--authority", "thread", "--authority-timeout", 1000])


def told(version, reason):
    return reason if version == 5 else 0


@every_version
def test_a_login_that_is_not_answered_is_refused(silent, name, version):
    client = silent.open(version)
    begin = time.monotonic()
    if version == 5:
        client.connect(name, expect=0x83, **GOOD)
    else:
        # No return code means that.
        client.send(client.connect_packet(name, **GOOD))
    client.expect_closed()
    assert 0.25 <= time.monotonic() - begin < 2


def test_an_exchange_that_is_not_answered_is_refused(silent, name):
    client = silent.open()
    client.connect(name, authentication_data=b"hello", expect=0x83, **METHOD)
    client.expect_closed()


def test_a_will_that_is_not_answered_is_refused(silent, name):
    client = silent.open()
    client.connect(name, will=Will(name, "x"), expect=0x83)
    client.expect_closed()


@every_version
def test_publications_that_are_not_answered_are_refused_in_order(silent, name, version):
    watcher, client = silent.connect(), silent.connect(version=version)
    packets = [client.publish_packet(name, str(i), qos=1 + i % 2) for i in range(20)]
    client.send(*packets)
    for packet in packets:
        client.expect("PUBACK" if packet.qos == 1 else "PUBREC", packet_id=packet.packet_id,
                      reason=told(version, 0x83))
    client.ping()
    watcher.ping()


@every_version
def test_a_subscription_that_is_not_answered_is_refused(silent, name, version):
    client = silent.connect(version=version)
    no = 0x83 if version == 5 else 0x80
    client.subscribe((name, 1), (f"{name}/x", 2), expect=[no, no])
    client.ping()


def test_leaving_before_the_time_out(silent, name):
    for end in ("close", "reset", "finish"):
        client = silent.open()
        client.send(client.connect_packet(f"{name}1", **GOOD))
        getattr(client, end)()
        client = silent.connect()
        client.send(client.publish_packet(name, "x", qos=2), client.subscribe_packet(name))
        getattr(client, end)()
    time.sleep(0.5)
    silent.connect().ping()


def test_stopping_while_questions_are_open(silent, name):
    client = silent.connect()
    client.send(client.publish_packet(name, "x", qos=2), client.subscribe_packet(name))
    silent.open().send(client.connect_packet(f"{name}1", **GOOD))
    client.expect_quiet(0.05)
    silent.terminate()
    silent.wait()


def test_stopping_does_not_wait_for_all_answers(run_broker, name):
    own = run_broker({"broker": {"shutdown_timeout": "1s"}}, test=True,
                     args=["--authority", "never", "--authority-timeout", 60000])
    clients = [own.connect() for _ in range(3)]
    for i, client in enumerate(clients):
        client.send(*[client.publish_packet(name, "x", qos=j % 3) for j in range(5)],
                    client.subscribe_packet(name))
    clients[0].reset()
    own.open().send(clients[1].connect_packet(f"{name}1", **GOOD))
    clients[1].expect_quiet(0.1)
    begin = time.monotonic()
    own.terminate()
    own.wait()
    assert 0.4 < time.monotonic() - begin < 3


def test_below_max_pending_the_connection_is_read(half_silent, name):
    client = half_silent.connect()
    client.send(client.publish_packet(f"unanswered/{name}", "x", qos=1))
    client.ping()
    assert not client.inbox
    client.wait("PUBACK", reason=0x83, timeout=3)


def test_at_max_pending_it_is_not(half_silent, name):
    client = half_silent.connect()
    begin = time.monotonic()
    client.send(client.publish_packet(f"unanswered/{name}", "x", qos=1),
                client.publish_packet(f"unanswered/{name}", "x", qos=0), b"\xc0\0")
    client.expect("PUBACK", reason=0x83, timeout=3)
    client.expect("PINGRESP", timeout=3)
    assert time.monotonic() - begin > 0.9


def test_a_connection_that_waits_notices_that_its_client_has_gone(half_silent, name):
    watcher = half_silent.connect()
    watcher.subscribe((f"{name}/will", 1))
    for end in ("close", "reset"):
        client = half_silent.connect(will=Will(f"{name}/will", end, 1))
        for _ in range(2):
            client.send(client.publish_packet(f"unanswered/{name}", "x", qos=1))
        watcher.ping()
        begin = time.monotonic()
        getattr(client, end)()
        watcher.message(payload=end)
        assert time.monotonic() - begin < 0.8


def test_an_answered_one_waits_behind_an_unanswered_one(half_silent, name):
    # In the order of the publications, the acknowledgements as well as the messages.
    watcher, client = half_silent.connect(), half_silent.connect()
    watcher.subscribe((name, 2))
    begin = time.monotonic()
    client.send(client.publish_packet(f"unanswered/{name}", "x", qos=1),
                client.publish_packet(name, "behind", qos=1))
    watcher.message(payload="behind", timeout=3)
    assert time.monotonic() - begin > 0.9
    client.expect("PUBACK", reason=0x83)
    client.expect("PUBACK", reason=0)


def test_exchanges_that_take_too_long(run_broker, name):
    own = run_broker({"limits": {"connect_timeout": "1s"}}, test=True, args=["--authority", "thread"])
    client = own.open()
    begin = time.monotonic()
    client.send(client.connect_packet(name, authentication_data=b"hello", **METHOD))
    client.expect("AUTH", reason=0x18)
    wait_until(lambda: _ended(client), 4)
    assert 0.8 < time.monotonic() - begin < 3


def _ended(client):
    try:
        client.expect_closed(0.1)
    except Exception:
        return False
    return True


def test_refused_logins_are_delayed(run_broker, name):
    own = run_broker({"limits": {"auth_delay": "500ms", "max_delayed": 2}}, test=True,
                     args=["--authority", "thread"])
    begin = time.monotonic()
    own.open().connect(name, username="bad", password="x", expect=0x86)
    assert time.monotonic() - begin > 0.4
    # Who leaves meanwhile makes room; beyond max_delayed nobody is held back.
    held = [own.open() for _ in range(2)]
    for client in held:
        client.send(client.connect_packet(name, username="bad", password="x"))
    held[0].expect_quiet(0.1)
    begin = time.monotonic()
    own.open().connect(name, username="bad", password="x", expect=0x86)
    assert time.monotonic() - begin < 0.3
    for client in held:
        client.close()
    held[0].sock.close()
    wait_until(lambda: _is_delayed(own, name), 3)


def _is_delayed(own, name):
    begin = time.monotonic()
    own.open().connect(name, username="bad", password="x", expect=0x86)
    return time.monotonic() - begin > 0.4
