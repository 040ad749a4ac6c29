# SPDX-License-Identifier: Apache-2.0
"""Request and response, reason strings, user properties, problem information."""

import pytest

from mqtt import Packet

statement = pytest.mark.statement


def test_a_request_gets_its_response(broker, name):
    server, client = broker.connect(), broker.connect()
    server.subscribe((f"{name}/request", 1))
    client.subscribe((f"{name}/response", 1))
    for i in range(5):
        client.publish(f"{name}/request", str(i), qos=1, response_topic=f"{name}/response",
                       correlation_data=bytes([i]))
        request = server.message()
        server.publish(request.props["response_topic"], request.payload + b"!", qos=1,
                       correlation_data=request.props["correlation_data"])
        client.message(payload=f"{i}!", correlation_data=bytes([i]))


@statement("MQTT5-3.1.2-28")
def test_no_response_information_unasked(broker):
    for options in ({}, {"request_response_information": 0}):
        assert "response_information" not in broker.open().connect("", **options).props


def test_response_information_as_configured(run_broker):
    own = run_broker({"limits": {"response_information": "responses/"}})
    for options in ({}, {"request_response_information": 0}):
        assert "response_information" not in own.open().connect("", **options).props
    first = own.open().connect("a", request_response_information=1).props["response_information"]
    assert first.startswith("responses/")


def test_none_is_given_out_if_none_is_configured(broker):
    connack = broker.open().connect("", request_response_information=1)
    assert "response_information" not in connack.props


def problem_packets(client, name):
    """Acknowledgements of all kinds, good and bad."""
    client.send(client.publish_packet(f"$SYS/{name}", "x", qos=1, packet_id=11))
    packets = [client.recv()]
    if packets[0].kind == "DISCONNECT":
        return packets
    client.send(Packet("UNSUBSCRIBE", packet_id=3, props={}, filters=[name]),
                Packet("PUBREL", packet_id=77, reason=0, props={}),
                Packet("PUBREC", packet_id=78, reason=0, props={}),
                client.publish_packet(f"{name}/none", "x", qos=1, packet_id=5),
                client.subscribe_packet((name, 1), packet_id=6))
    return packets + [client.recv() for _ in range(5)]


@statement("MQTT5-3.1.2-29")
def test_problem_information_can_be_refused(broker, name):
    client = broker.connect(request_problem_information=0)
    for packet in problem_packets(client, name):
        if packet.kind not in ("CONNACK", "DISCONNECT", "PUBLISH"):
            assert "reason_string" not in packet.props, packet
            assert "user_property" not in packet.props, packet


@statement("MQTT5-3.4.2-2", "MQTT5-3.5.2-2", "MQTT5-3.7.2-2", "MQTT5-3.9.2-1", "MQTT5-3.11.2-1")
def test_reason_strings_stay_below_the_maximum_packet_size(broker, name):
    client = broker.connect(maximum_packet_size=20)
    for packet in problem_packets(client, name):
        assert packet.size <= 20, packet


@statement("MQTT5-3.14.2-3")
def test_the_reason_string_of_a_disconnect_stays_below_it(broker):
    for limit in (4, 5, 12, 30):
        client = broker.open()
        client.send(client.connect_packet("", maximum_packet_size=100), b"\x00\x00")
        client.expect("CONNACK")
        packet = client.expect("DISCONNECT", reason=0x81)
        assert packet.size <= 100
        client = broker.connect("given" + str(limit), maximum_packet_size=40)
        client.send(b"\x00\x00")
        assert client.expect("DISCONNECT", reason=0x81).size <= 40


@statement("MQTT5-3.14.2-2")
def test_a_disconnect_from_the_server_has_no_session_expiry(broker):
    client = broker.connect(session_expiry_interval=100)
    client.send(b"\x00\x00")
    assert "session_expiry_interval" not in client.expect("DISCONNECT").props


@pytest.mark.parametrize("kind", ["PUBACK", "PUBREC", "PUBREL", "PUBCOMP"])
def test_acknowledgements_may_carry_strings(broker, name, kind):
    client, publisher = broker.connect(), broker.connect()
    client.subscribe((name, 2))
    extra = {"reason_string": "ü", "user_property": [("a", "b"), ("a", "b")]}
    if kind == "PUBREL":
        client.send(client.publish_packet(f"{name}/x", "x", qos=2, packet_id=1))
        client.expect("PUBREC")
        client.send(Packet("PUBREL", packet_id=1, reason=0, props=extra))
        client.expect("PUBCOMP", reason=0)
        return
    publisher.publish(name, "x", qos=1 if kind == "PUBACK" else 2)
    packet_id = client.message(ack=False).packet_id
    if kind == "PUBACK":
        client.ack("PUBACK", packet_id, 0, **extra)
    else:
        client.ack("PUBREC", packet_id, 0, **extra)
        client.expect("PUBREL", reason=0)
        client.ack("PUBCOMP", packet_id, 0, **extra)
    client.ping()


def test_user_properties_of_requests_are_accepted(broker, name):
    client = broker.connect()
    pairs = [("a", "b"), ("a", "c")]
    client.subscribe((name, 1), user_property=pairs)
    client.unsubscribe(name, user_property=pairs)
    client.disconnect(user_property=pairs, reason_string="bye")


def test_disconnect_may_carry_a_reason_string(broker):
    client = broker.connect()
    client.send(Packet("DISCONNECT", reason=0, props={"reason_string": "done"}))
    client.expect_closed()
