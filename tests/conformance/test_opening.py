# SPDX-License-Identifier: Apache-2.0
"""CONNECT and CONNACK: sections 3.1 and 3.2 of both standards."""

import struct

import pytest

import mqtt
from mqtt import Will, binary, frame, u16
from test_words import connect_body, no_props, refuse_connect

statement = pytest.mark.statement
both = pytest.mark.parametrize("version", (4, 5))
CONFIG = {"limits": {"auth_delay": 0}}
CODES = {0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95, 0x97, 0x99, 0x9A,
         0x9B, 0x9C, 0x9D, 0x9F}


def raw_connack(client):
    """The bytes of the next packet."""
    data = b""
    while len(data) < 2 or len(data) < 2 + data[1]:
        more = client.sock.recv(4096)
        if not more:
            break
        data += more
    return data


# --- names and flags ---

@statement("MQTT311-3.1.2-1", "MQTT5-3.1.2-1")
@both
@pytest.mark.parametrize("protocol", [b"", b"MQT", b"mqtt", b"MQTT ", b"MQIsdp", b"HTTP", b"\xff\xff\xff\xff"])
def test_another_protocol_name_is_not_served(broker, version, name, protocol):
    # What calls itself MQIsdp is answered in the words of MQTT 3.
    client = broker.open(4 if protocol == b"MQIsdp" else version)
    client.send(connect_body(name.encode(), version=version, name=protocol))
    refuse_connect(client, 0x81, 0x84)


@statement("MQTT311-3.1.2-3", "MQTT5-3.1.2-3")
@both
@pytest.mark.parametrize("flags", [0x01, 0x03, 0x83, 0xC3])
def test_the_reserved_flag_is_refused(broker, version, name, flags):
    tail = binary("u") * ((flags >> 7) + (flags >> 6 & 1))
    client = broker.open(version)
    client.send(connect_body(name.encode(), flags, tail, version))
    if version == 4:
        client.expect_closed()
    else:
        refuse_connect(client, 0x81)


@statement("MQTT311-3.1.2-14", "MQTT5-3.1.2-12")
@both
def test_will_qos_3_is_refused(broker, version, name):
    client = broker.open(version)
    client.send(connect_body(name.encode(), 0x1E, no_props(version) + binary("t") + binary("x"), version))
    if version == 4:
        client.expect_closed()
    else:
        refuse_connect(client, 0x81)


@statement("MQTT311-3.1.2-14")
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_will_qos_up_to_2_is_taken(broker, name, qos):
    watcher = broker.connect(version=4)
    watcher.subscribe((name, 2))
    client = broker.connect(version=4, will=Will(name, b"gone", qos=qos))
    client.close()
    watcher.message(payload=b"gone", qos=qos)


@statement("MQTT311-3.1.2-11", "MQTT311-3.1.2-13", "MQTT311-3.1.2-15", "MQTT5-3.1.2-11", "MQTT5-3.1.2-13")
@both
@pytest.mark.parametrize("flags", [0x0A, 0x12, 0x22, 0x2A])
def test_will_qos_or_retain_without_will_is_refused(broker, version, name, flags):
    client = broker.open(version)
    client.send(connect_body(name.encode(), flags, version=version))
    if version == 4:
        client.expect_closed()
    else:
        refuse_connect(client, 0x81, 0x82)


def refuse_cut(broker, name, flags, tail):
    client = broker.open(4)
    client.send(connect_body(name.encode(), flags, tail, 4))
    client.expect_closed()


@statement("MQTT311-3.1.2-9", "MQTT311-3.1.4-1")
@pytest.mark.parametrize("tail", [b"", binary("t")])
def test_a_will_that_is_missing_is_refused(broker, name, tail):
    refuse_cut(broker, name, 0x06, tail)


@statement("MQTT311-3.1.2-11", "MQTT311-3.1.4-1")
def test_a_will_without_its_flag_is_refused(broker, name):
    refuse_cut(broker, name, 0x02, binary("t") + binary("m"))


@statement("MQTT311-3.1.2-18", "MQTT311-3.1.4-1")
def test_a_user_name_without_its_flag_is_refused(broker, name):
    refuse_cut(broker, name, 0x02, binary("u"))


@statement("MQTT311-3.1.2-19", "MQTT311-3.1.4-1")
def test_a_user_name_that_is_missing_is_refused(broker, name):
    refuse_cut(broker, name, 0x82, b"")


@statement("MQTT311-3.1.2-20", "MQTT311-3.1.4-1")
def test_a_password_without_its_flag_is_refused(broker, name):
    refuse_cut(broker, name, 0x82, binary("u") + binary("p"))


@statement("MQTT311-3.1.2-21", "MQTT311-3.1.4-1")
def test_a_password_that_is_missing_is_refused(broker, name):
    refuse_cut(broker, name, 0xC2, binary("u"))


@statement("MQTT311-3.1.3-3", "MQTT311-3.1.4-1")
def test_a_client_id_that_is_missing_is_refused(broker):
    client = broker.open(4)
    client.send(frame(0x10, binary("MQTT") + b"\4\2" + u16(0)))
    client.expect_closed()


@statement("MQTT311-3.1.3-1", "MQTT5-3.1.3-1")
@both
def test_the_payload_is_read_in_its_order(run_broker, version, name):
    """The authority accepts user good with password good: each field was taken for what it is."""
    broker = run_broker({"limits": {"auth_delay": 0}}, test=True, args=("--authority", "at-once"))
    watcher = broker.connect(f"{name}w", version=version, username="good", password="good")
    watcher.subscribe((f"{name}/will", 1))
    tail = no_props(version) + binary(f"{name}/will") + binary("last words") + binary("good") + binary("good")
    client = broker.open(version)
    client.send(connect_body(name.encode(), 0xC6, tail, version))
    client.expect("CONNACK", reason=0)
    client.close()
    watcher.message(topic=f"{name}/will", payload=b"last words")


@statement("MQTT5-3.1.3-1", "MQTT5-3.1.4-1")
@pytest.mark.parametrize("more", [b"\0", b"more", binary("x")])
def test_bytes_behind_the_payload_are_malformed(broker, name, more):
    client = broker.open(5)
    client.send(connect_body(name.encode(), 2, more))
    refuse_connect(client, 0x81)


# --- sessions ---

@statement("MQTT5-3.1.2-6", "MQTT311-4.1.0-1")
@both
def test_without_a_stored_session_an_empty_one_begins(broker, version, name):
    client = broker.open(version)
    assert client.connect(name, clean=False, **keep(version)).session_present == 0
    assert client.messages_before(broker.connect()) == []


def keep(version):
    return {"session_expiry_interval": 300} if version == 5 else {}


@statement("MQTT311-4.1.0-1", "MQTT311-3.1.3-2")
def test_a_session_stays_until_it_is_cleaned(broker, name):
    client, publisher = broker.open(4), broker.connect()
    client.connect(name, clean=False)
    client.subscribe((name, 1))
    for round_ in range(3):
        client.disconnect()
        publisher.publish(name, str(round_), qos=1)
        client = broker.open(4)
        assert client.connect(name, clean=False).session_present == 1
        client.message(payload=str(round_))
    client.disconnect()
    client = broker.open(4)
    assert client.connect(name, clean=True).session_present == 0
    client.disconnect()
    client = broker.open(4)
    assert client.connect(name, clean=False).session_present == 0


@statement("MQTT311-3.1.3-2")
def test_a_session_belongs_to_its_client_id_alone(broker, name):
    one = broker.open(4)
    one.connect(f"{name}a", clean=False)
    one.subscribe((name, 1))
    one.disconnect()
    other = broker.open(4)
    assert other.connect(f"{name}b", clean=False).session_present == 0
    back = broker.open(4)
    assert back.connect(f"{name}a", clean=False, username="somebody").session_present == 1


@statement("MQTT311-4.1.0-2")
def test_a_session_lasts_as_long_as_its_connection(broker, name):
    client, publisher = broker.connect(name, version=4), broker.connect()
    client.subscribe((name, 1))
    client.ping()
    publisher.publish(name, b"x", qos=1)
    client.message(payload=b"x")


@statement("MQTT5-3.1.4-4", "MQTT311-3.1.4-3")
@both
def test_a_clean_start_empties_the_session_before_connack(broker, version, name):
    client, publisher = broker.open(version), broker.connect()
    client.connect(name, clean=False, **keep(version))
    client.subscribe((name, 1))
    client.disconnect()
    publisher.publish(name, b"old", qos=1)
    client = broker.open(version)
    assert client.connect(name, clean=True).session_present == 0
    publisher.publish(name, b"new", qos=1)
    assert client.messages_before(publisher) == []


@statement("MQTT5-3.1.4-4", "MQTT311-3.1.4-3")
@both
def test_a_refused_connect_cleans_nothing(broker, version, name):
    client = broker.open(version)
    client.connect(name, clean=False, **keep(version))
    client.disconnect()
    bad = broker.open(version)
    bad.send(connect_body(name.encode(), 3, version=version))
    refuse_connect(bad, 0x81)
    again = broker.open(version)
    assert again.connect(name, clean=False).session_present == 1


@statement("MQTT5-3.1.2-7")
def test_the_will_is_stored_with_all_it_has(broker, name):
    watcher = broker.connect()
    watcher.subscribe(mqtt.Filter(name, qos=2, retain_as_published=1))
    client = broker.connect(will=Will(name, b"\0will", qos=2, retain=1, content_type="text/x", response_topic="r/t",
                                      correlation_data=b"\1\2", payload_format_indicator=0,
                                      user_property=[("a", "b"), ("a", "c")]))
    client.close()
    watcher.message(payload=b"\0will", qos=2, retain=1, content_type="text/x", response_topic="r/t",
                    correlation_data=b"\1\2", payload_format_indicator=0, user_property=[("a", "b"), ("a", "c")])
    watcher.publish(name, b"", retain=1)


@statement("MQTT311-3.1.2-10")
def test_a_will_is_published_once_and_forgotten(broker, name):
    watcher = broker.connect(version=4)
    watcher.subscribe((f"{name}/will", 1))
    client = broker.connect(name, version=4, will=Will(f"{name}/will", b"gone", qos=1))
    client.close()
    watcher.message(payload=b"gone")
    client = broker.connect(name, version=4)
    client.close()
    assert watcher.messages_before(broker.connect()) == []


@statement("MQTT311-3.1.2-10")
def test_a_will_is_forgotten_at_disconnect(broker, name):
    watcher = broker.connect(version=4)
    watcher.subscribe((name, 1))
    broker.connect(version=4, will=Will(name, b"gone", qos=1)).disconnect()
    assert watcher.messages_before(broker.connect()) == []


# --- client ids ---

@statement("MQTT311-3.1.3-5")
@pytest.mark.parametrize("client_id", ["a", "0123456789abcdefghijklm", "NOPQRSTUVWXYZnopqrstuvw", "xyzABCDEFGHIJKLM0123456"])
def test_client_ids_of_23_letters_and_digits_are_accepted(broker, client_id):
    broker.connect(client_id, version=4).ping()


@statement("MQTT311-3.1.3-7", "MQTT311-3.1.3-9", "MQTT311-3.2.2-4", "MQTT311-3.2.2-5")
def test_an_empty_client_id_needs_a_clean_session(broker):
    client = broker.open(4)
    client.send(client.connect_packet("", clean=False))
    client.expect("CONNACK", reason=2, session_present=0)
    client.expect_closed()
    broker.connect("", version=4, clean=True).ping()


@statement("MQTT5-3.1.3-8", "MQTT5-3.2.2-6", "MQTT5-3.2.2-7")
def test_a_client_id_that_is_not_allowed_is_refused(run_broker):
    broker = run_broker({"limits": {"allow_empty_client_id": False, "auth_delay": 0}})
    client = broker.open()
    client.connect("", expect=0x85)
    assert client.connack.session_present == 0
    client.expect_closed()


# --- CONNACK ---

@statement("MQTT5-3.1.4-5", "MQTT311-3.1.4-4", "MQTT311-3.2.0-1", "MQTT5-3.2.2-1")
@both
@pytest.mark.parametrize("clean", [True, False])
def test_an_accepted_connect_gets_connack_0_first(broker, version, name, clean):
    client = broker.open(version)
    client.send(client.connect_packet(name, clean=clean), client.subscribe_packet(name, packet_id=1), b"\xc0\0")
    data = raw_connack(client)
    assert data[0] == 0x20
    assert data[2] == 0 and data[3] == 0


@statement("MQTT5-3.2.2-1")
def test_the_acknowledge_flags_are_session_present_alone(broker, name):
    client = broker.open()
    client.connect(name, clean=False, session_expiry_interval=100)
    client.disconnect()
    client = broker.open()
    client.send(client.connect_packet(name, clean=False))
    assert raw_connack(client)[2] == 1


@statement("MQTT5-3.2.0-1")
def test_nothing_comes_before_connack(broker, name):
    """A session with mail, a client that sends everything at once: CONNACK is first all the same."""
    client, publisher = broker.open(), broker.connect()
    client.connect(name, clean=False, session_expiry_interval=100)
    client.subscribe((name, 1))
    client.disconnect()
    for i in range(20):
        publisher.publish(name, str(i), qos=1)
    client = broker.open()
    client.send(client.connect_packet(name, clean=False), b"\xc0\0", client.subscribe_packet((name, 1), packet_id=7))
    assert client.recv().kind == "CONNACK"


@statement("MQTT5-3.2.0-2")
def test_there_is_one_connack(broker, name):
    client = broker.connect(name)
    client.send(client.connect_packet(name))
    packet = client.expect("DISCONNECT")
    assert packet.reason == 0x82
    client.expect_closed()


def refusals():
    """Packets that must be refused, with what may be said."""
    yield lambda c: connect_body(b"x", 3), {0x81}
    yield lambda c: connect_body(b"x", level=9, version=5), {0x84}
    yield lambda c: connect_body(b"x", props=b"\x21\0\0"), {0x82}                       # Receive Maximum 0
    yield lambda c: connect_body(b"x", props=b"\x27\0\0\0\0"), {0x82}                   # Maximum Packet Size 0
    yield lambda c: connect_body(b"x", props=b"\x21\0\1\x21\0\1"), {0x82}               # twice
    yield lambda c: connect_body(b"x", props=b"\x11\0\0\0\1\x11\0\0\0\1"), {0x82}
    yield lambda c: connect_body(b"x", props=b"\x19\2"), {0x82}
    yield lambda c: connect_body(b"x", props=b"\x17\2"), {0x82}
    yield lambda c: connect_body(b"x", props=b"\x16" + binary("data")), {0x82}          # data without method
    yield lambda c: connect_body(b"x", props=b"\x15" + binary("NONE")), {0x8C}
    yield lambda c: connect_body(b"x", props=b"\x01\0"), {0x81, 0x82}                   # not of CONNECT
    yield lambda c: connect_body(b"x", props=b"\x7e\0"), {0x81}                         # no such property
    yield lambda c: connect_body(b"x", 0x06, b"\0" + binary("a/+") + binary("")), {0x90, 0x81, 0x82}
    yield lambda c: frame(0x10, binary("MQTT") + b"\5\2"), {0x81}


@statement("MQTT5-3.1.4-1", "MQTT5-3.1.4-2", "MQTT5-3.2.2-6", "MQTT5-3.2.2-7", "MQTT5-3.2.2-8", "MQTT5-4.13.1-1")
@pytest.mark.parametrize("index", range(14))
def test_a_connect_that_is_refused_is_told_why_and_closed(broker, index):
    make, allowed = list(refusals())[index]
    client = broker.open()
    client.send(make(client))
    packet = client.expect("CONNACK", session_present=0)
    assert packet.reason in allowed and packet.reason in CODES
    client.expect_closed()


@statement("MQTT311-3.1.4-1", "MQTT311-3.2.2-6", "MQTT311-4.8.0-1")
@pytest.mark.parametrize("data", [
    frame(0x10, b""), frame(0x10, binary("MQTT")), frame(0x10, binary("MQTT") + b"\4"),
    frame(0x10, binary("MQTT") + b"\4\2\0"), connect_body(b"x", 3, version=4), connect_body(b"x", 2, b"more", 4),
    connect_body(b"x", 0x40, binary("p"), 4)])
def test_a_malformed_connect_is_closed_without_connack(broker, data):
    client = broker.open(4)
    client.send(data)
    client.finish()
    client.expect_closed()


@statement("MQTT5-3.1.4-2", "MQTT311-3.2.2-4", "MQTT311-3.2.2-5")
@both
def test_a_login_that_fails_changes_nothing(run_broker, version, name):
    broker = run_broker({"limits": {"auth_delay": 0}}, test=True, args=("--authority", "later"))
    holder = broker.connect(name, version=version, username="good", password="good")
    bad = broker.open(version)
    bad.connect(name, username="good", password="wrong", expect=0x86 if version == 5 else 4)
    assert bad.connack.session_present == 0
    bad.expect_closed()
    holder.ping()


@statement("MQTT5-3.2.2-19", "MQTT5-3.2.2-20")
@pytest.mark.parametrize("size", range(9, 60, 3))
def test_what_does_not_fit_is_left_out_of_connack(broker, size):
    """A refusal has a Reason String where there is room."""
    client = broker.open()
    client.send(connect_body(b"", 2, props=b"\x27" + struct.pack(">I", size) + b"\x15" + binary("NONE")))
    packet = client.expect("CONNACK", reason=0x8C)
    assert packet.size <= size
    client.expect_closed()


@statement("MQTT5-3.2.2-8")
def test_an_accepted_code_is_0(broker, name):
    assert broker.connect(name).connack.reason in CODES
