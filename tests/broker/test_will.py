# SPDX-License-Identifier: Apache-2.0
"""Wills: each row of the table of events, the delay, and what a will looks like."""

import time

import pytest

from mqtt import Packet, Will

statement = pytest.mark.statement

every_version = pytest.mark.parametrize("version", (3, 4, 5))


@pytest.fixture
def watcher(broker, name):
    client = broker.connect()
    client.subscribe((f"{name}/#", 2))
    return client


def no_will(broker, watcher):
    """Nothing came, and nothing is under way. There is no order between the will's connection and any
    other, so this waits a moment too."""
    watcher.expect_quiet(0.3)
    assert watcher.messages_before(broker.connect()) == []


# Rows 1 and 2

@statement("MQTT5-3.14.4-3", "MQTT311-3.14.4-3", "MQTT5-3.1.2-10")
@every_version
def test_disconnect_drops_the_will(broker, name, watcher, version):
    broker.connect(name, version, will=Will(f"{name}/will", "x")).disconnect()
    if version == 5:
        client = broker.connect(name, version, will=Will(f"{name}/will", "x"))
        client.send(b"\xe0\x01\x00")
        client.expect_closed()
        client = broker.connect(name, version, will=Will(f"{name}/will", "x"))
        client.send(b"\xe0\x02\x00\x00")
        client.expect_closed()
    no_will(broker, watcher)


@statement("MQTT5-3.1.2-8")
@pytest.mark.parametrize("reason", [0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97,
                                    0x98, 0x99])
def test_disconnect_with_another_code_publishes_it(broker, name, watcher, reason):
    broker.connect(name, will=Will(f"{name}/will", "x")).disconnect(reason)
    watcher.message(payload="x")


# Row 3

@statement("MQTT5-3.1.2-8", "MQTT311-3.1.2-8")
@every_version
@pytest.mark.parametrize("end", ["close", "reset"])
def test_the_end_of_the_connection_publishes_it(broker, name, watcher, version, end):
    client = broker.connect(name, version, will=Will(f"{name}/will", "x"))
    getattr(client, end)()
    watcher.message(payload="x")
    no_will(broker, watcher)


@statement("MQTT5-3.14.1-1")
@every_version
@pytest.mark.parametrize("data", [b"\x00\x00", b"\xc1\x00", b"\x30\xff\xff\xff\xff", b"\xe1\x00",
                                  b"\x20\x02\0\0"], ids=bytes.hex)
def test_a_protocol_error_publishes_it(broker, name, watcher, version, data):
    client = broker.connect(name, version, will=Will(f"{name}/will", "x"))
    client.send(data)
    client.expect_refused(0x81, 0x82)
    watcher.message(payload="x")


@statement("MQTT5-3.14.2-1")
@pytest.mark.parametrize("reason", [0x01, 0x87, 0x8B, 0x8E, 0xFF])
def test_a_disconnect_that_is_none_publishes_it(broker, name, watcher, reason):
    client = broker.connect(name, will=Will(f"{name}/will", "x"))
    client.send(bytes([0xE0, 1, reason]))
    client.expect_refused(0x82, 0x81)
    watcher.message(payload="x")


# Rows 4 to 6: take-over

@statement("MQTT311-3.1.4-2")
@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("clean", [True, False])
def test_a_take_over_publishes_it_before_version_5(broker, name, watcher, version, clean):
    broker.connect(name, version, clean=clean, will=Will(f"{name}/will", "x"))
    broker.connect(name, version, clean=clean)
    watcher.message(payload="x")


def test_a_take_over_within_the_delay_cancels_it(broker, name, watcher):
    broker.connect(name, session_expiry_interval=100,
                   will=Will(f"{name}/will", "x", will_delay_interval=1))
    broker.connect(name, clean=False, session_expiry_interval=100)
    watcher.expect_quiet(1.5)
    no_will(broker, watcher)


def test_a_take_over_without_delay_publishes_it(broker, name, watcher):
    old = broker.connect(name, session_expiry_interval=100, will=Will(f"{name}/will", "x"))
    broker.connect(name, clean=False, session_expiry_interval=100)
    watcher.message(payload="x")
    old.expect_refused(0x8E)


@pytest.mark.parametrize("expiry,clean", [(0, False), (0, True), (100, True)])
def test_a_take_over_that_ends_the_session_publishes_it_at_once(broker, name, watcher, expiry, clean):
    broker.connect(name, session_expiry_interval=expiry,
                   will=Will(f"{name}/will", "x", will_delay_interval=60))
    connack = broker.open().connect(name, clean=clean, session_expiry_interval=100)
    assert connack.session_present == 0
    watcher.message(payload="x")


# Rows 7 to 9: the delay

def test_the_delay_is_waited_for(broker, name, watcher):
    client = broker.connect(name, session_expiry_interval=100,
                            will=Will(f"{name}/will", "x", 1, will_delay_interval=1))
    begin = time.monotonic()
    client.close()
    watcher.message(payload="x", will_delay_interval=None)
    assert 0.9 <= time.monotonic() - begin < 2.5


def test_the_delay_counts_after_disconnect_with_will_too(broker, name, watcher):
    begin = time.monotonic()
    broker.connect(name, session_expiry_interval=100,
                   will=Will(f"{name}/will", "x", will_delay_interval=1)).disconnect(0x04)
    watcher.message(payload="x")
    assert 0.9 <= time.monotonic() - begin < 2.5


@statement("MQTT5-3.1.3-9")
def test_coming_back_within_the_delay_cancels_it(broker, name, watcher):
    client = broker.connect(name, session_expiry_interval=100,
                            will=Will(f"{name}/will", "x", will_delay_interval=1))
    client.close()
    client = broker.open()
    assert client.connect(name, clean=False, session_expiry_interval=100).session_present == 1
    watcher.expect_quiet(1.5)
    client.disconnect()
    no_will(broker, watcher)


def test_coming_back_with_a_clean_start_publishes_it(broker, name, watcher):
    client = broker.connect(name, session_expiry_interval=100,
                            will=Will(f"{name}/will", "x", will_delay_interval=60))
    client.close()
    broker.connect(name, clean=True)
    watcher.message(payload="x")


@statement("MQTT5-3.1.2-8")
def test_the_end_of_the_session_comes_before_a_longer_delay(broker, name, watcher):
    for expiry, least in ((0, 0), (1, 0.9)):
        begin = time.monotonic()
        broker.connect(name, session_expiry_interval=expiry,
                       will=Will(f"{name}/will", "x", will_delay_interval=60)).close()
        watcher.message(payload="x")
        assert least <= time.monotonic() - begin < least + 1.5


def test_a_shorter_expiry_in_disconnect_counts(broker, name, watcher):
    broker.connect(name, session_expiry_interval=100, will=Will(f"{name}/will", "x",
                   will_delay_interval=60)).disconnect(0x04, session_expiry_interval=0)
    watcher.message(payload="x")


@statement("MQTT5-3.1.2-10")
def test_a_will_is_published_once(broker, name, watcher):
    client = broker.connect(name, session_expiry_interval=100,
                            will=Will(f"{name}/will", "x", will_delay_interval=1))
    client.close()
    watcher.message(payload="x")
    for _ in range(2):
        client = broker.open()
        assert client.connect(name, clean=False, session_expiry_interval=100).session_present == 1
        client.close()
    no_will(broker, watcher)


def test_the_will_is_that_of_the_last_connect(broker, name, watcher):
    for text in ("first", "second"):
        client = broker.open()
        client.connect(name, clean=False, session_expiry_interval=100, will=Will(f"{name}/will", text))
        if text == "first":
            client.disconnect()
    client.close()
    watcher.message(payload="second")


@statement("MQTT311-3.1.2-12")
@every_version
def test_no_will_no_message(broker, name, watcher, version):
    broker.connect(name, version).close()
    no_will(broker, watcher)


# What a will looks like

@statement("MQTT5-3.1.2-14", "MQTT5-3.1.2-15", "MQTT311-3.1.2-16", "MQTT311-3.1.2-17")
@every_version
@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("retain", [0, 1])
def test_qos_and_retain_of_a_will(broker, name, watcher, version, qos, retain):
    broker.connect(name, version, will=Will(f"{name}/will", "x", qos, retain)).close()
    watcher.message(payload="x", qos=qos, retain=0)
    later = broker.connect()
    later.subscribe((f"{name}/will", 2))
    got = later.messages_before(broker.connect())
    assert [(one.payload, one.qos, one.retain) for one in got] == retain * [(b"x", qos, 1)]


def test_an_empty_retained_will_clears_the_topic(broker, name, watcher):
    publisher = broker.connect()
    publisher.publish(f"{name}/will", "old", retain=1, qos=1)
    watcher.message()
    broker.connect(name, will=Will(f"{name}/will", "", 0, 1)).close()
    watcher.message(payload="")
    later = broker.connect()
    later.subscribe(f"{name}/will")
    assert later.messages_before(publisher) == []


@statement("MQTT5-3.1.3-10")
def test_the_properties_of_a_will(broker, name, watcher):
    props = {"payload_format_indicator": 1, "content_type": "t", "response_topic": "r",
             "correlation_data": b"\0c", "user_property": [("b", "1"), ("a", "2"), ("b", "1")]}
    old = broker.connect(version=4)
    old.subscribe((f"{name}/#", 0))
    broker.connect(name, will=Will(f"{name}/will", "x", 2, message_expiry_interval=100,
                                   will_delay_interval=0, **props)).close()
    got = watcher.message(payload="x").props
    assert got.pop("message_expiry_interval") in (99, 100)
    assert got == props
    old.message(payload="x", props={})


@pytest.mark.parametrize("size", [0, 60000])
def test_size_and_bytes_of_a_will(broker, name, watcher, size):
    broker.connect(name, 4, will=Will(f"{name}/will", bytes(size))).close()
    assert watcher.message().payload == bytes(size)


def test_a_will_reaches_its_own_sleeping_session(broker, name):
    client = broker.connect(name, session_expiry_interval=100, will=Will(f"{name}/will", "me", 1))
    client.subscribe((f"{name}/will", 1))
    client.close()
    client = broker.open()
    # The will belongs to the session, which decides; so it is there before the CONNACK, or soon.
    client.connect(name, clean=False, session_expiry_interval=100)
    client.message(payload="me", qos=1)


@statement("MQTT5-3.14.4-1", "MQTT311-3.14.4-2")
def test_what_follows_disconnect_is_ignored(broker, name, watcher):
    client = broker.connect(name, 4, will=Will(f"{name}/will", "x"))
    client.send(Packet("DISCONNECT", reason=0, props={}), client.publish_packet(f"{name}/late", "x"),
                b"\xff\xff")
    client.expect_closed()
    no_will(broker, watcher)


def test_many_wills_at_once(broker, name, watcher):
    dying = [broker.connect(f"{name}{i}", 4, will=Will(f"{name}/{i}", str(i), 1)) for i in range(100)]
    for client in dying:
        client.close()
    assert {int(watcher.message().payload) for _ in range(100)} == set(range(100))
