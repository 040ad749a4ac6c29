# SPDX-License-Identifier: Apache-2.0
"""Data representation, fixed header, topics, transports: chapters 1, 2, 4.7, 6 and 7."""

import socket

import pytest

import mqtt
from mqtt import Packet, binary, frame, u16, varint

statement = pytest.mark.statement
both = pytest.mark.parametrize("version", (4, 5))

ILL_FORMED = (b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"a\xff", b"\xe2\x82", b"\xf8\x88\x80\x80\x80")


def no_props(version):
    return b"\0" if version == 5 else b""


def refuse_connect(client, *codes):
    """Version 5 may be told by CONNACK, older ones are closed without a word or told 1 to 5."""
    try:
        packet = client.recv()
    except mqtt.Closed:
        return
    assert packet.kind == "CONNACK" and packet.session_present == 0
    assert packet.reason in codes if client.version == 5 else 0 < packet.reason <= 5, packet
    client.expect_closed()


def connect_body(client_id=b"", flags=2, tail=b"", version=5, name=b"MQTT", level=None, props=None):
    body = binary(name) + bytes([version if level is None else level, flags]) + u16(0)
    if version == 5:
        body += varint(len(props or b"")) + (props or b"")
    return frame(0x10, body + binary(client_id) + tail)


# --- strings ---

@statement("MQTT5-1.5.4-1", "MQTT311-1.5.3-1", "MQTT311-3.3.2-1")
@both
@pytest.mark.parametrize("text", ILL_FORMED)
def test_a_topic_that_is_not_utf8_ends_the_connection(broker, version, text):
    client = broker.connect(version=version)
    client.send(frame(0x30, binary(b"t/" + text) + no_props(version) + b"x"))
    client.expect_refused(0x81)


@statement("MQTT5-1.5.4-2", "MQTT311-1.5.3-2", "MQTT311-4.7.3-2")
@both
@pytest.mark.parametrize("first, packet_id, options", [(0x30, b"", b""), (0x82, b"\0\1", b"\0"), (0xA2, b"\0\1", b"")])
def test_a_nul_in_a_topic_or_filter_ends_the_connection(broker, version, first, packet_id, options):
    client = broker.connect(version=version)
    if first == 0x30:
        client.send(frame(first, binary(b"a\0b") + no_props(version)))
    else:
        client.send(frame(first, packet_id + no_props(version) + binary(b"a\0b") + options))
    client.expect_refused(0x81)


@statement("MQTT5-1.5.4-1", "MQTT311-1.5.3-1", "MQTT311-3.1.3-4")
@both
@pytest.mark.parametrize("text", ILL_FORMED)
def test_a_client_id_that_is_not_utf8_is_refused(broker, version, text):
    client = broker.open(version)
    client.send(connect_body(text, version=version))
    refuse_connect(client, 0x81)


@statement("MQTT311-3.1.3-11", "MQTT5-1.5.4-1")
@both
@pytest.mark.parametrize("text", ILL_FORMED)
def test_a_user_name_that_is_not_utf8_is_refused(broker, version, text, name):
    client = broker.open(version)
    client.send(connect_body(name.encode(), 0x82, binary(text), version))
    refuse_connect(client, 0x81)


@statement("MQTT311-3.1.3-10", "MQTT5-1.5.4-1")
@both
@pytest.mark.parametrize("text", ILL_FORMED)
def test_a_will_topic_that_is_not_utf8_is_refused(broker, version, text, name):
    client = broker.open(version)
    client.send(connect_body(name.encode(), 0x06, no_props(version) + binary(text) + binary(b"x"), version))
    refuse_connect(client, 0x81)


@statement("MQTT311-3.8.3-1", "MQTT311-3.10.3-1", "MQTT5-1.5.4-1")
@both
@pytest.mark.parametrize("text", ILL_FORMED)
@pytest.mark.parametrize("first, options", [(0x82, b"\0"), (0xA2, b"")])
def test_a_filter_that_is_not_utf8_ends_the_connection(broker, version, text, first, options):
    client = broker.connect(version=version)
    client.send(frame(first, b"\0\1" + no_props(version) + binary(text) + options))
    client.expect_refused(0x81)


@statement("MQTT5-1.5.4-3", "MQTT311-1.5.3-3", "MQTT311-4.7.3-4")
@both
def test_a_bom_is_a_character_of_the_topic(broker, version, name):
    subscriber, publisher = broker.connect(version=version), broker.connect(version=version)
    subscriber.subscribe(("\ufeff" + name, 0), (name + "/plain", 0))
    publisher.publish("\ufeff" + name, b"with")
    publisher.publish(name, b"without")
    assert [(one.topic, one.payload) for one in subscriber.messages_before(publisher)] == [("\ufeff" + name, b"with")]


@statement("MQTT5-1.5.7-1")
@pytest.mark.parametrize("pair", [(b"\xff", b"v"), (b"n", b"\xff"), (b"n\0", b"v"), (b"n", b"\0v"), (b"\xed\xa0\x80", b"")])
def test_both_halves_of_a_pair_are_strings(broker, name, pair):
    client = broker.connect()
    client.send(client.publish_packet(name, b"x", user_property=[pair]))
    client.expect_refused(0x81)


@statement("MQTT5-1.5.5-1")
@pytest.mark.parametrize("length", [b"\x80\x80\x80\x80", b"\xff\xff\xff\xff\x7f", b"\x80\x00", b"\x83\x80\x00"])
def test_a_length_that_is_not_a_shortest_variable_byte_integer_is_malformed(broker, length):
    client = broker.connect()
    client.send(b"\xc0" + length)
    client.expect_refused(0x81)


@statement("MQTT5-1.5.5-1")
def test_a_padded_property_length_is_malformed(broker, name):
    client = broker.connect()
    client.send(frame(0x30, binary(name) + b"\x80\x00" + b"x"))
    client.expect_refused(0x81)


@statement("MQTT5-1.5.5-1")
def test_a_lenient_listener_takes_padded_lengths(run_broker, name):
    """Choice: `lenient` of a listener's limits allows padded variable byte integers."""
    broker = run_broker({"listeners": [{"name": "mqtt", "limits": {"lenient": True}}]})
    subscriber, publisher = broker.connect(), broker.connect()
    subscriber.subscribe(name)
    publisher.send(frame(0x30, binary(name) + b"\x80\x00" + b"x"))
    subscriber.message(payload=b"x")


@statement("MQTT5-1.5.5-1")
@pytest.mark.parametrize("size", [1, 127 - 3, 128 - 3, 16383, 16384, 70000])
def test_the_broker_writes_the_shortest_length(broker, name, size):
    subscriber, publisher = broker.connect(), broker.connect()
    subscriber.subscribe(name)
    publisher.publish(name, b"p" * size)
    packet = subscriber.message()            # the client's codec refuses padded lengths
    assert len(packet.payload) == size


# --- fixed header ---

RESERVED = [(kind, flags) for kind, good in ((4, 0), (5, 0), (6, 2), (7, 0), (8, 2), (10, 2), (12, 0), (14, 0))
            for flags in range(16) if flags != good]


@statement("MQTT5-2.1.3-1", "MQTT5-3.6.1-1", "MQTT5-3.8.1-1", "MQTT5-3.10.1-1", "MQTT311-2.2.2-1", "MQTT311-2.2.2-2", "MQTT311-4.8.0-1")
@both
@pytest.mark.parametrize("kind, flags", RESERVED)
def test_reserved_flags_are_malformed(broker, version, name, kind, flags):
    bodies = {8: b"\0\1" + no_props(version) + binary(name) + b"\0", 10: b"\0\1" + no_props(version) + binary(name),
              12: b"", 14: b""}
    client = broker.connect(version=version)
    client.send(frame(kind << 4 | flags, bodies.get(kind, b"\0\1")))
    client.expect_refused(0x81)


@statement("MQTT5-3.6.1-1", "MQTT311-3.6.1-1")
@both
@pytest.mark.parametrize("flags", [0, 1, 3, 6, 10, 15])
def test_pubrel_with_other_flags_is_malformed(broker, version, name, flags):
    client = broker.connect(version=version)
    client.send(client.publish_packet(name, b"x", qos=2, packet_id=1))
    client.expect("PUBREC", packet_id=1)
    client.send(frame(0x60 | flags, b"\0\1"))
    client.expect_refused(0x81)


@statement("MQTT311-3.8.1-1", "MQTT311-3.10.1-1")
@pytest.mark.parametrize("first", [0x80, 0x81, 0x83, 0x8A, 0xA0, 0xA1, 0xA3, 0xAA])
def test_subscribe_and_unsubscribe_with_other_flags_are_malformed(broker, name, first):
    client = broker.connect(version=4)
    client.send(frame(first, b"\0\1" + binary(name) + (b"\0" if first & 0xF0 == 0x80 else b"")))
    client.expect_closed()


@statement("MQTT5-2.1.3-1", "MQTT311-2.2.2-2")
@both
@pytest.mark.parametrize("flags", [1, 2, 4, 8, 15])
def test_connect_with_flags_is_malformed(broker, version, name, flags):
    client = broker.open(version)
    client.send(bytes([0x10 | flags]) + connect_body(name.encode(), version=version)[1:])
    refuse_connect(client, 0x81)


@statement("MQTT5-2.1.3-1")
def test_packet_type_0_is_malformed(broker):
    client = broker.connect()
    client.send(b"\0\0")
    client.expect_refused(0x81)


@statement("MQTT5-2.2.1-2", "MQTT311-2.3.1-5")
@both
def test_qos_0_has_no_packet_id_in_either_direction(broker, version, name):
    subscriber, publisher = broker.connect(version=version), broker.connect(version=version)
    subscriber.subscribe((name, 2))
    publisher.send(frame(0x30, binary(name) + no_props(version) + b"\x12\x34rest"))
    packet = subscriber.message(qos=0, payload=b"\x12\x34rest")
    assert packet.size == 2 + 2 + len(name) + len(no_props(version)) + 6


@statement("MQTT5-2.2.1-5", "MQTT311-2.3.1-6")
@both
@pytest.mark.parametrize("packet_id", [1, 255, 256, 0x1234, 65535])
def test_acknowledgements_carry_the_packet_id(broker, version, name, packet_id):
    client = broker.connect(version=version)
    client.send(client.publish_packet(name, b"x", qos=1, packet_id=packet_id))
    client.expect("PUBACK", packet_id=packet_id)
    client.send(client.publish_packet(name, b"x", qos=2, packet_id=packet_id))
    client.expect("PUBREC", packet_id=packet_id)
    client.ack("PUBREL", packet_id)
    client.expect("PUBCOMP", packet_id=packet_id)


@statement("MQTT5-2.2.1-6", "MQTT311-2.3.1-7", "MQTT311-3.8.4-2", "MQTT311-3.10.4-4")
@both
@pytest.mark.parametrize("packet_id", [1, 255, 256, 0x1234, 65535])
def test_suback_and_unsuback_carry_the_packet_id(broker, version, name, packet_id):
    client = broker.connect(version=version)
    client.send(client.subscribe_packet(name, packet_id=packet_id))
    client.expect("SUBACK", packet_id=packet_id)
    client.send(Packet("UNSUBSCRIBE", packet_id=packet_id, props={}, filters=[name]))
    client.expect("UNSUBACK", packet_id=packet_id)


@statement("MQTT5-2.2.2-1")
@pytest.mark.parametrize("data", [
    frame(0x10, binary("MQTT") + b"\5\2" + u16(0)),
    frame(0x30, binary("t")),
    frame(0x82, b"\0\1"),
    frame(0xA2, b"\0\1"),
])
def test_a_packet_that_ends_before_its_property_length_is_malformed(broker, data):
    client = broker.open()
    if data[0] == 0x10:
        client.send(data)
        refuse_connect(client, 0x81)
        return
    client.connect("")
    client.send(data)
    client.expect_refused(0x81)


@statement("MQTT5-2.2.2-1")
def test_the_broker_writes_a_property_length_of_0(broker, name):
    client = broker.connect()
    client.subscribe(name)
    client.publish(name, b"x")
    assert client.message().size == 2 + 2 + len(name) + 1 + 1
    assert client.unsubscribe(name).size == 2 + 2 + 1 + 1


@statement("MQTT5-2.2.2-1")
@pytest.mark.parametrize("kind", ["PUBACK", "PUBREC", "PUBREL", "PUBCOMP"])
@pytest.mark.parametrize("tail", [b"", b"\0", b"\0\0"])
def test_short_forms_of_acknowledgements_are_legal(broker, name, kind, tail):
    client, publisher = broker.connect(), broker.connect()
    if kind == "PUBREL":
        client.send(client.publish_packet(name, b"x", qos=2, packet_id=9))
        client.expect("PUBREC")
        client.send(frame(0x62, u16(9) + tail))
        client.expect("PUBCOMP", packet_id=9)
        return
    client.subscribe((name, 1 if kind == "PUBACK" else 2))
    publisher.publish(name, b"x", qos=1 if kind == "PUBACK" else 2)
    packet = client.message(ack=False)
    number = {"PUBACK": 0x40, "PUBREC": 0x50, "PUBCOMP": 0x50}[kind]
    client.send(frame(number, u16(packet.packet_id) + (b"" if kind == "PUBCOMP" else tail)))
    if kind != "PUBACK":
        client.wait("PUBREL", packet_id=packet.packet_id)
        client.send(frame(0x70, u16(packet.packet_id) + tail))
    client.ping()


# --- topics ---

@statement("MQTT311-4.7.1-1", "MQTT311-3.3.2-2")
@pytest.mark.parametrize("topic", ["+", "#", "a/+", "a/#", "+/b", "a+b", "a#", "/#"])
def test_a_wildcard_in_a_topic_ends_the_connection(broker, topic):
    watcher, client = broker.connect(), broker.connect(version=4)
    watcher.subscribe("#")
    client.send(client.publish_packet(topic, b"x"))
    client.expect_closed()
    assert watcher.messages_before(broker.connect()) == []


@statement("MQTT311-4.7.2-1")
@pytest.mark.parametrize("wildcard", ["#", "+/broker/version", "+/+/version"])
def test_a_wildcard_does_not_match_a_topic_with_a_dollar(broker, wildcard):
    client = broker.connect(version=4)
    client.subscribe("$SYS/broker/version")
    client.message(topic="$SYS/broker/version")
    other = broker.connect(version=4)
    other.subscribe(wildcard)
    other.ping()
    assert not [one for one in other.inbox if one.kind == "PUBLISH" and one.topic.startswith("$")]


@statement("MQTT311-4.7.3-3")
@pytest.mark.parametrize("length", [1000, 65535])
def test_a_topic_of_65535_bytes_works(broker, name, length):
    topic = (name + "/").ljust(length, "x")
    subscriber, publisher = broker.connect(version=4), broker.connect(version=4)
    subscriber.subscribe(topic)
    publisher.publish(topic, b"long")
    subscriber.message(topic=topic, payload=b"long")


@statement("MQTT311-4.7.3-4")
@pytest.mark.parametrize("one, other", [("a", "A"), ("\u00e9", "e\u0301"), ("a", "a/"), ("/a", "a"), ("a b", "a  b"), ("\u212b", "\u00c5")])
def test_topics_are_compared_byte_by_byte(broker, name, one, other):
    subscriber, publisher = broker.connect(version=4), broker.connect(version=4)
    subscriber.subscribe(f"{name}/{one}")
    publisher.publish(f"{name}/{other}", b"other")
    publisher.publish(f"{name}/{one}", b"same")
    assert [message.payload for message in subscriber.messages_before(publisher)] == [b"same"]


# --- transports ---

@statement("MQTT5-4.2.0-1", "MQTT311-7.1.1-1")
@both
@pytest.mark.parametrize("protocol", ["mqtt", "websocket"])
def test_transports_keep_the_order_and_lose_nothing(run_broker, version, name, protocol):
    broker = run_broker({"listeners": [{"name": "mqtt", "protocol": protocol}]})
    options = {"websocket": {}} if protocol == "websocket" else {}
    subscriber, publisher = (broker.connect(version=version, transport=options) for _ in range(2))
    subscriber.subscribe((name, 1))
    payloads = [bytes([i % 251]) * (i * 7) for i in range(200)]
    for payload in payloads:
        publisher.publish(name, payload, qos=1)
    assert [subscriber.message().payload for _ in payloads] == payloads


WEB = {"listeners": [{"name": "ws", "protocol": "websocket"}]}


@pytest.fixture(scope="module")
def web(tmp_path_factory):
    import conftest
    running = conftest.Broker(tmp_path_factory.mktemp("web"), WEB, conftest.BIN)
    yield running
    running.stop()


@statement("MQTT5-6.0.0-1", "MQTT311-6.0.0-1")
@both
def test_a_text_frame_ends_the_connection(web, version):
    client = mqtt.Client(web.port, version, websocket={})
    web.clients.append(client)
    client.connect("")
    client.sock.raw.sendall(mqtt.ws_frame(b"\xc0\0", opcode=1))
    with pytest.raises(mqtt.Closed):
        while True:
            client.recv()


@statement("MQTT5-6.0.0-2", "MQTT311-6.0.0-2")
@both
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_packets_and_frames_need_not_align(web, version, name, size):
    client = mqtt.Client(web.port, version, websocket={})
    web.clients.append(client)
    data = b"".join(mqtt.encode(packet, version) for packet in (
        client.connect_packet(name), client.subscribe_packet(name, packet_id=1),
        client.publish_packet(name, b"one"), client.publish_packet(name, b"two")))
    for at in range(0, len(data), size):
        client.sock.raw.sendall(mqtt.ws_frame(data[at:at + size]))
    client.expect("CONNACK", reason=0)
    client.expect("SUBACK", packet_id=1)
    client.message(payload=b"one")
    client.message(payload=b"two")


def upgrade(port, protocol):
    """The head of the answer to an upgrade that offers this sub-protocol."""
    with socket.create_connection(("127.0.0.1", port), 5) as sock:
        offered = f"Sec-WebSocket-Protocol: {protocol}\r\n" if protocol else ""
        sock.sendall((f"GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{offered}"
                      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n").encode())
        data = b""
        while b"\r\n\r\n" not in data:
            more = sock.recv(4096)
            if not more:
                break
            data += more
    return data.decode("latin-1")


@statement("MQTT5-6.0.0-3", "MQTT311-6.0.0-3")
@both
@pytest.mark.parametrize("protocol", [None, "chat", "MQTT", "mqtt2"])
def test_without_the_sub_protocol_there_is_no_upgrade(web, version, protocol):
    assert " 101 " not in upgrade(web.port, protocol).split("\r\n")[0]


@statement("MQTT5-6.0.0-4", "MQTT311-6.0.0-4")
@both
@pytest.mark.parametrize("protocol", ["mqtt", "chat, mqtt"])
def test_the_upgrade_selects_mqtt(web, version, protocol):
    head = upgrade(web.port, protocol)
    assert " 101 " in head.split("\r\n")[0]
    chosen = [line.split(":", 1)[1].strip() for line in head.split("\r\n")
              if line.lower().startswith("sec-websocket-protocol")]
    assert chosen == ["mqtt"]


@statement("MQTT5-3.12.4-1", "MQTT311-3.12.4-1")
@both
def test_each_pingreq_gets_its_pingresp(broker, version):
    client = broker.connect(version=version)
    client.send(b"\xc0\0" * 5)
    for _ in range(5):
        client.expect("PINGRESP", size=2)


@statement("MQTT311-7.0.0-2")
def test_nothing_beside_the_standard_is_needed(broker, name):
    """A plain client of 3.1.1 does its work; the bridge bit in the level is taken and not needed."""
    client = broker.open(4)
    client.send(Packet("CONNECT", client_id=name, clean_start=1, keep_alive=0, will=None, username=None,
                       password=None, props={}))
    client.expect("CONNACK", reason=0)
    client.subscribe((name, 2))
    client.publish(name, b"x", qos=2)
    client.message(payload=b"x", qos=2)


@statement("MQTT311-4.8.0-2")
@pytest.mark.parametrize("size", [64 * 1024 + 1, 1024 * 1024])
def test_a_packet_beyond_a_limit_ends_its_connection_only(run_broker, name, size):
    broker = run_broker({"limits": {"max_packet_size": 65536}})
    other, client = broker.connect(version=4), broker.connect(version=4)
    client.send(frame(0x30, binary(name) + b"x" * size)[:70000])
    client.expect_closed()
    other.ping()


