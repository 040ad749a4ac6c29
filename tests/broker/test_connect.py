# SPDX-License-Identifier: Apache-2.0
"""CONNECT: each row of the table of checks, for the three versions."""

import pytest

from mqtt import Client, Closed, Filter, Packet, Timeout, Will, binary, encode, frame, properties, u16

statement = pytest.mark.statement

VERSIONS = (3, 4, 5)
every_version = pytest.mark.parametrize("version", VERSIONS)

CONFIG = {"limits": {"auth_delay": "0s"}}


def connect_bytes(version, flags=2, client_id="c", rest=b"", props=b"\0", protocol=None, level=None,
                  keep_alive=60):
    """A CONNECT put together by hand."""
    protocol = protocol or ("MQIsdp" if version == 3 else "MQTT")
    body = binary(protocol) + bytes([level if level is not None else version, flags])
    body += u16(keep_alive) + (props if version == 5 else b"")
    return frame(0x10, body + binary(client_id) + rest)


def answer(broker, version, data):
    """What the broker says to these first bytes: ("closed",) or ("connack", code, packet)."""
    client = broker.open(version)
    client.send(data)
    try:
        packet = client.recv()
    except Closed:
        return ("closed",)
    assert packet.kind == "CONNACK", packet
    if packet.reason:
        assert packet.session_present == 0
        client.expect_closed()
    return ("connack", packet.reason, packet)


def refused(broker, version, data, code5, code3=None):
    """Version 5 gets CONNACK with the code; others get code3, or a bare close if that is None."""
    result = answer(broker, version, data)
    if version == 5:
        assert result[:2] == ("connack", code5), result
    elif code3 is None:
        assert result == ("closed",), result
    else:
        assert result[:2] == ("connack", code3), result


@every_version
def test_a_connect_is_accepted(broker, name, version):
    client = broker.open(version)
    connack = client.connect(name)
    assert connack.reason == 0 and connack.session_present == 0
    client.ping()
    client.disconnect()


@every_version
def test_a_connect_may_come_byte_by_byte(broker, name, version):
    client = broker.open(version)
    for byte in encode(client.connect_packet(name, will=Will("w", "x")), version):
        client.send(bytes([byte]))
    client.expect("CONNACK", reason=0)


@statement("MQTT5-3.1.0-1", "MQTT311-3.1.0-1")
@pytest.mark.parametrize("data", [b"\x30\x03\0\1a", b"\xc0\0", b"\xe0\0", b"\x82\x06\0\1\0\1a\0",
                                  b"\x00\x00", b"\xf0\x00", b"\x20\x02\0\0", b"GET / HTTP/1.1\r\n\r\n",
                                  b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"],
                         ids=lambda data: data[:2].hex())
def test_the_first_packet_must_be_connect(broker, data):
    client = broker.open(5)
    client.send(data)
    client.expect_closed()


@statement("MQTT5-3.1.0-2", "MQTT311-3.1.0-2")
@every_version
def test_a_second_connect_ends_the_connection(broker, name, version):
    watcher = broker.connect()
    watcher.subscribe(f"{name}/will")
    client = broker.connect(name, version, will=Will(f"{name}/will", "gone"))
    client.send(client.connect_packet(name))
    client.expect_refused(0x82)
    watcher.message(payload="gone")


@statement("MQTT5-3.1.2-1", "MQTT5-3.1.2-2")
@pytest.mark.parametrize("protocol,level", [("MQTT", 6), ("MQTT", 0), ("MQTT", 3), ("MQTX", 4),
                                            ("MQTX", 5), ("mqtt", 4), ("MQIsdp", 4), ("MQTTT", 5)])
def test_an_unknown_protocol_is_refused(broker, protocol, level):
    client = broker.open(5 if level >= 5 else 4)
    client.send(connect_bytes(5 if level >= 5 else 4, protocol=protocol, level=level))
    try:
        data = client.sock.recv(100)
    except ConnectionResetError:
        data = b""
    # As nobody knows what such a client reads, either form will do.
    assert data in (b"", b"\x20\x02\0\1") or (data[0] == 0x20 and data[2:4] == b"\0\x84"), data
    if data:
        assert client.sock.recv(100) == b""


@statement("MQTT311-3.1.2-2")
@pytest.mark.parametrize("level", [0, 1, 2])
def test_an_old_level_gets_the_code_for_it(broker, level):
    client = broker.open(4)
    client.send(connect_bytes(4, level=level))
    assert client.sock.recv(100) == b"\x20\x02\0\1"
    client.expect_closed()


@statement("MQTT5-3.1.2-3", "MQTT5-3.1.2-9", "MQTT5-3.1.2-12", "MQTT5-3.1.2-16", "MQTT5-3.1.2-18")
@every_version
@pytest.mark.parametrize("flags,rest", [
    (0x03, b""),                                        # the reserved bit
    (0x1E, binary("w") + binary("x")),                  # Will QoS 3
    (0x06, binary("w")),                                # no will payload
    (0x06, b""),                                        # no will topic
    (0x02, b"\0"),                                      # something left over
    (0x02, binary("user")),                             # user name without its flag
    (0x82, binary("u") + binary("p")),                  # password without its flag
    (0x06, b"\0\xff" + b"w"),                           # will topic cut off
])
def test_wrong_flags_and_fields_are_malformed(broker, version, flags, rest):
    if version == 5 and flags & 4:
        rest = b"\0" + rest
    refused(broker, version, connect_bytes(version, flags, rest=rest), 0x81)


@statement("MQTT5-3.1.2-11", "MQTT5-3.1.2-13", "MQTT5-3.1.2-17", "MQTT5-3.1.2-19")
@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("flags,rest", [
    (0x0A, b""), (0x12, b""),                           # Will QoS without a will
    (0x22, b""),                                        # Will Retain without a will
    (0x82, b""), (0x82, b"\0\5us"),                     # user name missing, cut off
    (0xC2, binary("u")),                                # password missing
])
def test_flags_without_their_fields_are_malformed(broker, version, flags, rest):
    refused(broker, version, connect_bytes(version, flags, rest=rest), 0x81)


@statement("MQTT311-3.1.2-22")
@pytest.mark.parametrize("version", [3, 4])
def test_before_version_5_a_password_needs_a_user_name(broker, version):
    refused(broker, version, connect_bytes(version, 0x42, rest=binary("p")), None)


@statement("MQTT5-3.1.3-3")
def test_the_client_id_field_must_be_there(broker):
    for version in VERSIONS:
        protocol = "MQIsdp" if version == 3 else "MQTT"
        data = frame(0x10, binary(protocol) + bytes([version, 2]) + u16(60) +
                     (b"\0" if version == 5 else b""))
        refused(broker, version, data, 0x81)


@statement("MQTT5-1.5.4-1", "MQTT5-1.5.4-2", "MQTT5-3.1.3-4", "MQTT5-3.1.3-11", "MQTT5-3.1.3-12")
@every_version
@pytest.mark.parametrize("text", [b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82",
                                  b"a\0b", b"\xff"], ids=lambda text: text.hex())
def test_strings_must_be_utf_8(broker, version, text):
    will = (b"\0" if version == 5 else b"") + binary(text) + binary("x")
    result = answer(broker, version, connect_bytes(version, client_id=text))
    assert result == ("closed",) if version < 5 else result[:2] == ("connack", 0x81), result
    refused(broker, version, connect_bytes(version, 6, rest=will), 0x81)
    refused(broker, version, connect_bytes(version, 0x82, rest=binary(text)), 0x81)


@pytest.mark.parametrize("props,code", [
    (properties({"receive_maximum": 0}), 0x82),
    (properties({"maximum_packet_size": 0}), 0x82),
    (properties({"request_problem_information": 2}), 0x82),
    (properties({"request_response_information": 2}), 0x82),
    (properties({"authentication_data": b"x"}), 0x82),
    (properties({"raw": 2 * b"\x11\0\0\0\1"}), 0x82),           # session expiry twice
    (properties({"raw": 2 * b"\x22\0\1"}), 0x82),
    (properties({"raw": b"\x04"}), 0x81),                       # unknown
    (properties({"raw": b"\x7f\0"}), 0x81),
    (properties({"topic_alias": 1}), 0x81),                     # not of CONNECT
    (properties({"will_delay_interval": 1}), 0x81),
    (properties({"raw": b"\x11\0\0"}), 0x81),                   # cut off
    (b"\x7f", 0x81),                                            # longer than the packet
    (properties({"user_property": [("a", b"\xff")]}), 0x81),
    (properties({"authentication_method": b"\xff"}), 0x81),
])
def test_wrong_properties_are_refused(broker, props, code):
    refused(broker, 5, connect_bytes(5, props=props), code)


@pytest.mark.parametrize("props,code", [
    ({"raw": 2 * b"\x18\0\0\0\1"}, 0x82),
    ({"payload_format_indicator": 2}, 0x82),
    ({"response_topic": "a/#"}, 0x82),
    ({"session_expiry_interval": 1}, 0x81),
    ({"topic_alias": 1}, 0x81),
    ({"content_type": b"\xc0\x80"}, 0x81),
])
def test_wrong_will_properties_are_refused(broker, props, code):
    rest = properties(props) + binary("w") + binary("x")
    refused(broker, 5, connect_bytes(5, 6, rest=rest), code)


@statement("MQTT5-3.1.3-11")
@every_version
@pytest.mark.parametrize("topic", ["", "a/#", "+", "#"])
def test_the_will_topic_must_be_a_topic_name(broker, version, topic):
    rest = (b"\0" if version == 5 else b"") + binary(topic) + binary("x")
    refused(broker, version, connect_bytes(version, 6, rest=rest), 0x82)


@statement("MQTT5-3.1.3-5")
@every_version
def test_client_ids_of_letters_and_digits_up_to_23_bytes_are_accepted(broker, version):
    for client_id in ("0", "Z", "a", "0123456789abcdefghijklm", "NOPQRSTUVWXYZabcdefghij"):
        broker.connect(client_id, version).disconnect()


def test_longer_client_ids_and_other_characters_are_accepted(broker):
    for client_id in ("x" * 200, "a/b", "grüße", "日本", "a b", "+#"):
        broker.connect(client_id).disconnect()


@statement("MQTT5-3.1.3-6", "MQTT5-3.1.3-7", "MQTT5-3.2.2-16")
def test_an_empty_client_id_gets_one(broker):
    assigned = set()
    for clean in (True, False):
        for _ in range(3):
            connack = broker.open(5).connect("", clean=clean)
            assert connack.session_present == 0
            assigned.add(connack.props["assigned_client_identifier"])
    assert len(assigned) == 6 and "" not in assigned
    assert all(one.startswith("auto-") for one in assigned), assigned


def test_a_given_client_id_is_not_told_again(broker, name):
    assert "assigned_client_identifier" not in broker.open(5).connect(name).props


def test_an_assigned_client_id_can_be_used_again(broker):
    first = broker.open(5)
    first.connect("", clean=False, session_expiry_interval=100)
    first.subscribe(("a", 1))
    first.disconnect()
    again = broker.open(5)
    assert again.connect(first.client_id, clean=False).session_present == 1


@statement("MQTT311-3.1.3-6", "MQTT311-3.1.3-8")
def test_version_3_1_1_may_leave_the_client_id_out_with_clean_session_only(broker):
    one, two = broker.open(4), broker.open(4)
    one.connect("")
    two.connect("")
    one.ping()
    third = broker.open(4)
    third.connect("", clean=False, expect=2)
    third.expect_closed()


def test_version_3_1_may_not_leave_the_client_id_out(broker):
    client = broker.open(3)
    client.connect("", expect=2)
    client.expect_closed()


@statement("MQTT5-4.12.0-1")
def test_an_unknown_authentication_method_is_refused(broker):
    for data in ({}, {"authentication_data": b"n,,n=u,r=x"}):
        client = broker.open(5)
        client.connect("x", authentication_method="NO-SUCH-THING", expect=0x8C, **data)
        client.expect_closed()


@every_version
def test_a_user_name_counts_as_anonymous_without_an_authenticator(broker, name, version):
    broker.connect(name, version, username="DVES_USER", password="DVES_PASS").ping()


def test_a_password_needs_no_user_name_in_version_5(broker, name):
    broker.connect(name, 5, password="secret").ping()


@every_version
def test_nobody_gets_in_where_anonymous_is_not_allowed(run_broker, version):
    own = run_broker({"limits": {"auth_delay": "0s"},
                      "listeners": [{"name": "mqtt", "allow_anonymous": False}]})
    for extra in ({}, {"username": "u", "password": "p"}):
        client = own.open(version)
        connack = client.connect("x", expect=None, **extra)
        assert connack.reason in ((0x86, 0x87) if version == 5 else (4, 5)), connack
        client.expect_closed()


@statement("MQTT5-3.1.4-6", "MQTT311-3.1.4-5")
@pytest.mark.parametrize("version", [4, 5])
def test_what_follows_a_refused_connect_is_not_processed(broker, name, version):
    watcher, other = broker.connect(), broker.connect()
    watcher.subscribe(f"{name}/#")
    client = broker.open(version)
    client.send(client.connect_packet("", clean=False, **({"receive_maximum": 0}
                                                         if version == 5 else {})),
                client.publish_packet(f"{name}/evil", "x"))
    assert client.recv().reason != 0
    client.expect_closed()
    assert watcher.messages_before(other) == []


@every_version
def test_packets_may_be_sent_behind_connect_at_once(broker, name, version):
    client = broker.open(version)
    client.send(client.connect_packet(name), client.subscribe_packet((name, 1), packet_id=7),
                client.publish_packet(name, "hello", qos=1, packet_id=8), b"\xc0\0")
    client.expect("CONNACK", reason=0)
    client.wait("SUBACK", packet_id=7)
    client.wait("PUBACK", packet_id=8)
    client.wait("PUBLISH", payload="hello")
    client.wait("PINGRESP")


def test_connack_tells_what_differs_from_the_defaults(broker, name):
    props = broker.open(5).connect(name).props
    assert props.get("receive_maximum") == 1000
    assert props.get("topic_alias_maximum") == 64
    assert props.get("maximum_packet_size") == 16777216
    for absent in ("server_keep_alive", "session_expiry_interval", "response_information",
                   "authentication_method", "server_reference", "authentication_data"):
        assert absent not in props, props
    assert props.get("maximum_qos") is None
    for one in ("retain_available", "wildcard_subscription_available",
                "subscription_identifier_available", "shared_subscription_available"):
        assert props.get(one, 1) == 1


@statement("MQTT5-3.1.2-2")
@pytest.mark.parametrize("versions,good,bad", [([5.0], (5,), (3, 4)), (["3.1.1"], (4,), (3, 5)),
                                               ([3.1, "3.1.1"], (3, 4), (5,))])
def test_versions_that_a_listener_does_not_speak_are_refused(run_broker, versions, good, bad):
    own = run_broker({"listeners": [{"name": "mqtt", "protocol_versions": versions}]})
    for version in good:
        own.connect("x", version).disconnect()
    for version in bad:
        client = own.open(version)
        client.connect("x", expect=0x84 if version == 5 else 1)
        client.expect_closed()


@every_version
def test_nothing_is_sent_after_connack_without_a_cause(broker, name, version):
    client = broker.connect(name, version)
    client.ping()
    assert not client.inbox


def test_a_cut_off_connect_harms_nobody(broker, name):
    data = connect_bytes(5, client_id=name)
    for length in range(1, len(data)):
        with Client(broker.port) as client:
            client.send(data[:length])
    broker.connect(name).ping()


def test_a_connect_above_the_limit_is_refused_by_its_first_bytes(broker):
    for version in VERSIONS:
        client = broker.open(version)
        client.send(b"\x10\xff\xff\xff\x7f" + connect_bytes(version)[2:])
        try:
            packet = client.recv()
            assert version == 5 and packet.kind == "CONNACK" and packet.reason == 0x95, packet
            client.expect_closed()
        except Closed:
            pass
        except Timeout:
            raise AssertionError("the broker waits for 256 MiB of CONNECT") from None


def test_the_connect_of_a_bridge_is_like_any_other_or_refused(broker, name):
    client = broker.open(4)
    client.send(Packet("CONNECT", client_id=name, clean_start=1, keep_alive=0, props={}, bridge=1))
    assert client.expect("CONNACK").reason in (0, 1)


def test_user_properties_of_connect_are_accepted(broker, name):
    client = broker.connect(name, user_property=[("a", "b"), ("a", "c"), ("", "")])
    client.subscribe(Filter("x", 2))


def test_an_ignored_user_name_is_told_once(run_broker):
    # Nobody checks names without a chain; Tasmota sends one always.
    own = run_broker({})
    for i in range(3):
        own.connect(f"x{i}", username="DVES_USER", password="p")
    assert own.log().count("the user name is ignored") == 1
