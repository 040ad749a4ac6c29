# SPDX-License-Identifier: Apache-2.0
"""A bridge as a client of MQTT, against a remote that does what each test says: what no broker may send."""

import pytest

from bridges import BOTH, IN, VERY_FAST, dial, how_it_ends, message, needs_bridge, plugins, remote, sub, topic
from mqtt import Closed, Packet, binary, frame, properties, varint

pytestmark = [needs_bridge, pytest.mark.statement()]


WRONG = {
    "type 0": b"\0\0", "flags of PUBACK": b"\x41\x02\0\1", "flags of PUBREC": b"\x51\x02\0\1",
    "flags of PUBREL": b"\x60\x02\0\1", "flags of PUBCOMP": b"\x71\x02\0\1", "flags of PINGRESP": b"\xd1\0",
    "flags of CONNACK": b"\x21\x03\0\0\0", "flags of SUBACK": b"\x91\x04\0\1\0\0", "flags of UNSUBACK": b"\xb1\x02\0\1",
    "Remaining Length of five bytes": b"\x30\xff\xff\xff\xff\x7f", "QoS 3": b"\x36\x07\0\x03i/1\0\x01x",
    "PINGRESP with a body": b"\xd0\1\0", "PUBACK of one byte": b"\x40\1\0", "PUBACK of id 0": b"\x40\2\0\0",
    "PUBREC of id 0": b"\x50\2\0\0", "PUBREL of id 0": b"\x62\2\0\0", "PUBCOMP of id 0": b"\x70\2\0\0",
    "PUBLISH of id 0": frame(0x32, binary("i/1") + b"\0\0\0x"), "no topic": frame(0x30, b"\0"),
    "a topic longer than its packet": frame(0x30, b"\0\x20i/1"), "an empty topic": frame(0x30, binary("") + b"\0x"),
    "a wildcard": frame(0x30, binary("i/#") + b"\0x"), "another": frame(0x30, binary("i/+/a") + b"\0x"),
    "U+0000": frame(0x30, binary("i/\0") + b"\0x"), "not UTF-8": frame(0x30, binary(b"i/\xff") + b"\0x"),
    "a surrogate": frame(0x30, binary(b"i/\xed\xa0\x80") + b"\0x"),
    "an overlong form": frame(0x30, binary(b"i/\xc0\x80") + b"\0x"),
}


def publish_with(raw):
    return frame(0x30, binary("i/1") + varint(len(raw)) + raw + b"x")


WRONG_5 = {
    "SUBACK without a code": frame(0x90, b"\0\1\0"),
    "no properties": frame(0x30, binary("i/1")),
    "properties longer than their packet": frame(0x30, binary("i/1") + b"\5"),
    "a property that there is not": publish_with(b"\x7f\0"), "a property of CONNACK": publish_with(b"\x21\0\1"),
    "format twice": publish_with(b"\1\1\1\1"), "format 2": publish_with(b"\1\2"),
    "id of subscription 0": publish_with(b"\x0b\0"), "half a property": publish_with(b"\2\0\0"),
    "a length of five bytes": frame(0x30, binary("i/1") + b"\xff\xff\xff\xff\x7f"),
    "wildcard to respond to": publish_with(b"\x08" + binary("a/#")),
    "content not UTF-8": publish_with(b"\3" + binary(b"\xff")),
    "user property not UTF-8": publish_with(b"\x26" + binary("a") + binary(b"\xc3\x28")),
    "user property with U+0000": publish_with(b"\x26" + binary("a\0") + binary("b")),
    "alias twice": publish_with(b"\x23\0\1\x23\0\1"),
    "reason of PUBACK": b"\x40\3\0\1\x01", "reason of PUBREC": b"\x50\3\0\1\x92", "reason of PUBREL": b"\x62\3\0\1\x80",
    "reason of PUBCOMP": b"\x70\3\0\1\x10", "reason of SUBACK": b"\x90\4\0\1\0\x03",
    "reason of DISCONNECT": b"\xe0\1\x7f", "DISCONNECT with a will": b"\xe0\1\4",
    "flags of DISCONNECT": b"\xe1\0", "flags of AUTH": b"\xf1\0",
    "DISCONNECT with Session Expiry": frame(0xe0, b"\0" + properties({"session_expiry_interval": 5})),
}
WRONG_4 = {"SUBACK without a code": frame(0x90, b"\0\1"), "AUTH": b"\xf0\0", "DISCONNECT": b"\xe0\0",
           "SUBACK of 3": b"\x90\3\0\1\3", "SUBACK of an error of MQTT 5": b"\x90\3\0\1\x87"}
NOT_A_BROKERS = {
    "CONNACK": {4: b"\x20\2\0\0", 5: b"\x20\3\0\0\0"}, "CONNECT": {4: b"\x10\x0d\0\4MQTT\4\2\0\0\0\1a",
                                                               5: b"\x10\x0e\0\4MQTT\5\2\0\0\0\0\1a"},
    "SUBSCRIBE": {4: b"\x82\6\0\1\0\1a\0", 5: b"\x82\7\0\1\0\0\1a\0"},
    "UNSUBSCRIBE": {4: b"\xa2\5\0\1\0\1a", 5: b"\xa2\6\0\1\0\0\1a"}, "PINGREQ": {4: b"\xc0\0", 5: b"\xc0\0"},
    "AUTH": {5: b"\xf0\0"},
    "AUTH with a method": {5: frame(0xf0, b"\x18" + properties({"authentication_method": "x"}))},
}


@BOTH
@pytest.mark.parametrize("part", [0, 1])
def test_malformed(dial, remote, version, part):
    """DISCONNECT 0x81, or 0x82 where the standard leaves it, and the end; MQTT 3: the end. Then it comes again."""
    table = list({**WRONG, **(WRONG_5 if version == 5 else WRONG_4)}.items())[part::2]
    near = dial(IN, version=version, try_private=False, **VERY_FAST)
    inside = sub(near, "i/#")
    found = {}
    for present, (what, data) in enumerate(table):
        conn = remote.up(present=int(present != 0))
        conn.subscribed()
        conn.send(data)
        found[what] = how_it_ends(conn, version, (0x81, 0x82, 0x90))
        conn.close()
    assert not {what: why for what, why in found.items() if why}
    conn = remote.up(present=1)
    conn.subscribed()
    message(conn, "i/1", "right", qos=1)
    assert inside.message().payload == b"right"


@BOTH
def test_packets_that_are_not_a_brokers(dial, remote, version):
    dial(IN, version=version, try_private=False, **VERY_FAST)
    found = {}
    for present, (what, data) in enumerate(NOT_A_BROKERS.items()):
        conn = remote.up(present=int(present != 0))
        conn.subscribed()
        if version in data:
            conn.send(data[version])
            found[what] = how_it_ends(conn, version, (0x81, 0x82))
        conn.close()
    assert not {what: why for what, why in found.items() if why}
    remote.connected()


@BOTH
def test_before_connack(dial, remote, version):
    """Nothing but CONNACK, or AUTH where there is a method."""
    near = dial(IN, version=version, try_private=False, **VERY_FAST)
    inside = sub(near, "#")
    early = [Packet("PUBLISH", dup=0, qos=1, retain=0, topic="i/1", packet_id=1, props={}, payload=b"early"),
             Packet("PINGRESP"), Packet("SUBACK", packet_id=1, reasons=[0], props={}),
             Packet("PUBACK", packet_id=1, reason=0, props={})]
    if version == 5:
        early += [Packet("AUTH", reason=0x18, props={"authentication_method": "x"}),
                  Packet("DISCONNECT", reason=0x8B, props={})]
    for packet in early:
        conn = remote.connected()
        conn.send(packet)
        try:
            got = conn.recv()
            assert version == 5 and got.kind == "DISCONNECT" and got.reason in (0x81, 0x82), (packet, got)
            conn.expect_closed()
        except Closed:
            pass
    remote.up().subscribed()
    inside.expect_quiet(0.1)


@BOTH
def test_an_answer_to_no_subscribe(dial, remote, version):
    """A SUBACK whose id it did not use is no answer to the one that waits."""
    dial(*[topic("in", f"i/{i}", 1) for i in range(101)], version=version)
    conn = remote.up()
    packet = conn.wait("SUBSCRIBE")
    conn.send(Packet("SUBACK", packet_id=packet.packet_id + 7, props={}, reasons=[1] * 100))
    assert not how_it_ends(conn, version, (0x81, 0x82))


@BOTH
def test_an_answer_of_another_length(dial, remote, version):
    """A SUBACK must have a code for each filter."""
    dial(IN, topic("in", "j/#", 1), version=version)
    conn = remote.up()
    packet = conn.wait("SUBSCRIBE")
    conn.send(Packet("SUBACK", packet_id=packet.packet_id, props={}, reasons=[1]))
    assert not how_it_ends(conn, version, (0x81, 0x82))
