# SPDX-License-Identifier: Apache-2.0
"""DISCONNECT, AUTH, enhanced authentication, handling errors: 3.14, 3.15, 4.12, 4.13."""

import pytest

import conftest
import mqtt
from mqtt import Packet, Will, binary, frame
from test_words import connect_body

statement = pytest.mark.statement
both = pytest.mark.parametrize("version", (4, 5))


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    running = conftest.Broker(tmp_path_factory.mktemp("authority"), {"limits": {"auth_delay": 0}}, conftest.TEST_BIN,
                              ["--authority", "later", "--authority-delay", 20])
    yield running
    running.stop()


@pytest.fixture(autouse=True)
def told_program(request):
    """The table says that these run against avocet-test."""
    if "authority" in request.fixturenames:
        request.node.user_properties.append(("program", "avocet-test"))


def begin(broker, name, data=b"hello", **props):
    client = broker.open()
    client.send(client.connect_packet(name, authentication_method="TEST", authentication_data=data, **props))
    return client


def login(broker, name, **props):
    client = begin(broker, name, **props)
    client.expect("AUTH", reason=0x18, authentication_method="TEST", authentication_data=b"challenge")
    client.auth(0x18, authentication_method="TEST", authentication_data=b"answer")
    client.connack = client.expect("CONNACK", reason=0, authentication_method="TEST")
    client.client_id = name
    return client


# --- DISCONNECT ---

BAD_BEFORE_CONNACK = [
    connect_body(b"x", 3), connect_body(b"x", props=b"\x21\0\0"), frame(0x30, binary("t") + b"\0"), b"\xc0\0", b"\xe0\0",
    frame(0x82, b"\0\1\0" + binary("t") + b"\0"), b"\0\0", b"\xff\xff\xff\xff\xff", frame(0xF0, b"\x18\0"),
]


@statement("MQTT5-3.14.0-1")
@pytest.mark.parametrize("data", BAD_BEFORE_CONNACK)
def test_there_is_no_disconnect_before_connack(broker, data):
    client = broker.open()
    client.send(data)
    kinds = []
    with pytest.raises(mqtt.Closed):
        while True:
            kinds.append(client.recv().kind)
    assert kinds in ([], ["CONNACK"])


@statement("MQTT5-3.14.0-1", "MQTT5-4.12.0-3")
@pytest.mark.parametrize("code", [0x00, 0x19])
def test_another_code_of_auth_in_the_first_exchange_is_refused(authority, name, code):
    client = begin(authority, name)
    client.expect("AUTH", reason=0x18)
    client.auth(code, authentication_method="TEST", authentication_data=b"answer")
    packet = client.recv()
    assert (packet.kind, packet.reason) == ("CONNACK", 0x82)
    client.expect_closed()


@statement("MQTT5-3.14.2-3", "MQTT5-3.14.2-4")
@pytest.mark.parametrize("size", range(12, 60, 6))
def test_disconnect_fits_the_clients_limit(broker, size):
    client = broker.open()
    client.send(connect_body(b"", 2, props=b"\x27" + size.to_bytes(4, "big")))
    with pytest.raises(mqtt.Closed):
        assert client.recv().size <= size
        client.send(b"\x00\x00")
        packet = client.expect("DISCONNECT", reason=0x81)
        assert packet.size <= size
        client.recv()


@statement("MQTT5-3.14.4-2", "MQTT311-3.14.4-1")
@both
def test_after_disconnect_the_broker_closes(broker, version):
    client = broker.connect(version=version)
    client.send(Packet("DISCONNECT", reason=0, props={}))
    client.expect_closed()


@statement("MQTT5-3.14.4-2", "MQTT5-3.1.4-3")
def test_who_sends_disconnect_closes(broker, name):
    client = broker.connect(name)
    other = broker.open()
    other.connect(name)
    client.expect("DISCONNECT", reason=0x8E)
    client.expect_closed()


@statement("MQTT311-3.14.1-1")
@pytest.mark.parametrize("first", [0xE1, 0xE2, 0xE4, 0xE8, 0xEF])
def test_disconnect_with_flags_is_an_abnormal_end(broker, name, first):
    watcher = broker.connect(version=4)
    watcher.subscribe((name, 1))
    client = broker.connect(version=4, will=Will(name, b"gone", qos=1))
    client.send(bytes([first, 0]))
    client.expect_closed()
    watcher.message(payload=b"gone")


# --- AUTH ---

@statement("MQTT5-3.15.2-1")
@pytest.mark.parametrize("code", [0x00, 0x01, 0x17, 0x1A, 0x80, 0xFF])
def test_auth_with_another_code_is_refused(authority, name, code):
    client = login(authority, name)
    client.send(frame(0xF0, bytes([code]) + b"\x07\x15" + binary("TEST")))
    client.expect_refused(0x81, 0x82)


@statement("MQTT5-3.15.2-1", "MQTT5-4.12.1-1")
def test_the_broker_sends_auth_with_0_and_0x18(authority, name):
    client = login(authority, name)
    client.auth(0x19, authentication_method="TEST", authentication_data=b"hello")
    client.expect("AUTH", reason=0x18)
    client.auth(0x18, authentication_method="TEST", authentication_data=b"answer")
    client.expect("AUTH", reason=0)
    client.ping()


@statement("MQTT5-3.15.2-2", "MQTT5-3.15.2-3")
@pytest.mark.parametrize("size", [40, 50, 60])
def test_auth_fits_the_clients_limit(authority, name, size):
    client = begin(authority, "a", maximum_packet_size=size)
    packet = client.expect("AUTH", reason=0x18)
    assert packet.size <= size and "reason_string" not in packet.props and "user_property" not in packet.props


@statement("MQTT5-4.12.0-4")
@pytest.mark.parametrize("data", [b"", b"wrong", b"answer" * 10])
def test_a_wrong_first_step_is_refused(authority, name, data):
    client = begin(authority, name, data)
    packet = client.expect("CONNACK")
    assert packet.reason in (0x80, 0x86, 0x87) and packet.session_present == 0
    client.expect_closed()


@statement("MQTT5-4.12.0-4")
@pytest.mark.parametrize("data", [b"", b"wrong", b"hello"])
def test_a_wrong_second_step_is_refused(authority, name, data):
    client = begin(authority, name)
    client.expect("AUTH", reason=0x18)
    client.auth(0x18, authentication_method="TEST", authentication_data=data)
    packet = client.expect("CONNACK")
    assert packet.reason in (0x80, 0x86, 0x87)
    client.expect_closed()


@statement("MQTT5-4.12.0-4")
def test_an_unknown_method_is_refused(broker, name):
    client = broker.open()
    client.connect(name, authentication_method="NONE", expect=0x8C)
    client.expect_closed()


@statement("MQTT5-4.12.0-3")
def test_an_exchange_goes_on_with_0x18(authority, name):
    login(authority, name).ping()


# --- errors ---

ERRORS = [
    (lambda c: b"\x00\x00", 0x81),
    (lambda c: frame(0x82, b"\0\1\0"), 0x82),                                    # no filter
    (lambda c: frame(0x82, b"\0\0\0" + binary("t") + b"\0"), 0x82),              # packet id 0
    (lambda c: frame(0x82, b"\0\1\0" + binary("t") + b"\xc0"), 0x81),            # reserved bits
    (lambda c: frame(0x82, b"\0\1\0" + binary("t") + b"\x03"), None),            # QoS 3
    (lambda c: c.publish_packet("a/+", b"x"), 0x82),
    (lambda c: c.publish_packet("", b"x"), 0x82),
    (lambda c: c.publish_packet("a", b"x", topic_alias=0), 0x94),
    (lambda c: c.publish_packet("a", b"x", topic_alias=1000), 0x94),
    (lambda c: c.publish_packet("a", b"x", subscription_identifier=[1]), 0x82),
    (lambda c: c.subscribe_packet("a", subscription_identifier=[0]), 0x82),
    (lambda c: c.subscribe_packet(mqtt.Filter("$share/g/a", no_local=1)), 0x82),
    (lambda c: c.subscribe_packet("$share//a"), 0x82),
    (lambda c: c.subscribe_packet("$share/g+/a"), 0x82),
    (lambda c: c.subscribe_packet("$share/#/a"), 0x82),
    (lambda c: c.subscribe_packet("$share/g"), 0x82),
    (lambda c: c.subscribe_packet("$share/g/"), 0x82),
    (lambda c: frame(0x36, binary("a") + b"\0\1\0"), 0x81),                      # QoS 3
]


@statement("MQTT5-4.13.1-1", "MQTT5-4.13.2-1", "MQTT5-3.3.4-6", "MQTT5-3.8.3-4", "MQTT5-3.8.3-5", "MQTT5-4.8.2-1",
           "MQTT5-4.8.2-2", "MQTT5-3.3.2-8", "MQTT5-3.3.2-9")
@pytest.mark.parametrize("index", range(len(ERRORS)))
def test_an_error_is_told_and_closes_its_connection_alone(broker, name, index):
    make, reason = ERRORS[index]
    other, client = broker.connect(), broker.connect()
    other.subscribe(name)
    client.send(make(client))
    packet = client.expect("DISCONNECT")
    assert packet.reason == reason or (reason is None and packet.reason in (0x81, 0x82)), packet
    client.expect_closed()
    other.publish(name, b"alive")
    other.message(payload=b"alive")


@statement("MQTT5-4.13.1-1")
@pytest.mark.parametrize("limits, make, reason", [
    ({"max_qos": 1}, lambda c: c.publish_packet("a", b"x", qos=2, packet_id=1), 0x9B),
    ({"retain_available": False}, lambda c: c.publish_packet("a", b"x", retain=1), 0x9A),
    ({"max_packet_size": 100}, lambda c: c.publish_packet("a", b"x" * 200), 0x95),
    ({"receive_maximum": 1}, lambda c: mqtt.encode(c.publish_packet("a", b"x", qos=2, packet_id=1), 5) +
     mqtt.encode(c.publish_packet("a", b"x", qos=2, packet_id=2), 5), 0x93),
])
def test_a_breach_of_what_connack_said_is_told(run_broker, limits, make, reason):
    broker = run_broker({"limits": limits})
    client = broker.connect()
    client.send(make(client))
    assert client.wait("DISCONNECT").reason == reason
    client.inbox.clear()
    client.expect_closed()


@statement("MQTT5-4.13.2-1")
def test_errors_in_acknowledgements_leave_the_connection(broker, name):
    client, publisher = broker.connect(), broker.connect()
    client.subscribe((name, 1))
    publisher.publish(name, b"x", qos=1)
    client.ack("PUBACK", client.message(ack=False).packet_id, 0x87)
    assert publisher.publish("$SYS/x", b"x", qos=1, expect=0x87).reason >= 0x80
    publisher.ping()
    client.ping()


@statement("MQTT5-4.13.2-1")
@pytest.mark.parametrize("reason", [0x80, 0x81, 0x82, 0x83, 0x90, 0x97])
def test_a_disconnect_with_an_error_closes(broker, name, reason):
    watcher = broker.connect()
    watcher.subscribe(name)
    client = broker.connect(will=Will(name, b"gone"))
    client.send(Packet("DISCONNECT", reason=reason, props={}))
    client.expect_closed()
    watcher.message(payload=b"gone")
