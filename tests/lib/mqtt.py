# SPDX-License-Identifier: Apache-2.0
"""A packet client of MQTT 3.1 (version 3), 3.1.1 (4) and 5.0 (5) for tests.

Two halves. The codec: `encode(packet, version)` writes what it is told, right or wrong;
`decode(data, version)` is strict and raises Malformed, since what it reads came from the broker. A
packet is a Packet: its kind, and its fields as attributes. Properties are a dict from name to value;
user_property is a list of pairs and subscription_identifier a list of numbers.

The client: one blocking socket. It does what the test says and nothing by itself: no keep alive, no
acknowledgement, no reconnect. Every wait has a time limit and ends as soon as what it waits for is
there; nothing sleeps. A packet that was not asked for stays in `inbox`, in order, until the test
asks for it.

It is used by one thread at a time. It knows nothing of the broker under test.
"""

import base64
import collections
import hashlib
import itertools
import os
import select
import socket
import ssl
import struct
import time

TIMEOUT = float(os.environ.get("AVOCET_TEST_TIMEOUT", "10"))

KINDS = ("RESERVED", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP",
         "SUBSCRIBE", "SUBACK", "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH")
NUMBERS = {kind: number for number, kind in enumerate(KINDS)}
ACKS = ("PUBACK", "PUBREC", "PUBREL", "PUBCOMP")
NEVER = 0xFFFFFFFF

# id: name, type, the packets that may carry it. C is the client's copy of a packet, S the server's.
PROPERTIES = {
    0x01: ("payload_format_indicator", "byte", "PUBLISH WILL"),
    0x02: ("message_expiry_interval", "u32", "PUBLISH WILL"),
    0x03: ("content_type", "string", "PUBLISH WILL"),
    0x08: ("response_topic", "string", "PUBLISH WILL"),
    0x09: ("correlation_data", "binary", "PUBLISH WILL"),
    0x0B: ("subscription_identifier", "varint", "PUBLISH SUBSCRIBE"),
    0x11: ("session_expiry_interval", "u32", "CONNECT CONNACK DISCONNECT"),
    0x12: ("assigned_client_identifier", "string", "CONNACK"),
    0x13: ("server_keep_alive", "u16", "CONNACK"),
    0x15: ("authentication_method", "string", "CONNECT CONNACK AUTH"),
    0x16: ("authentication_data", "binary", "CONNECT CONNACK AUTH"),
    0x17: ("request_problem_information", "byte", "CONNECT"),
    0x18: ("will_delay_interval", "u32", "WILL"),
    0x19: ("request_response_information", "byte", "CONNECT"),
    0x1A: ("response_information", "string", "CONNACK"),
    0x1C: ("server_reference", "string", "CONNACK DISCONNECT"),
    0x1F: ("reason_string", "string",
           "CONNACK PUBACK PUBREC PUBREL PUBCOMP SUBACK UNSUBACK DISCONNECT AUTH"),
    0x21: ("receive_maximum", "u16", "CONNECT CONNACK"),
    0x22: ("topic_alias_maximum", "u16", "CONNECT CONNACK"),
    0x23: ("topic_alias", "u16", "PUBLISH"),
    0x24: ("maximum_qos", "byte", "CONNACK"),
    0x25: ("retain_available", "byte", "CONNACK"),
    0x26: ("user_property", "pair",
           "CONNECT WILL CONNACK PUBLISH PUBACK PUBREC PUBREL PUBCOMP SUBSCRIBE SUBACK UNSUBSCRIBE "
           "UNSUBACK DISCONNECT AUTH"),
    0x27: ("maximum_packet_size", "u32", "CONNECT CONNACK"),
    0x28: ("wildcard_subscription_available", "byte", "CONNACK"),
    0x29: ("subscription_identifier_available", "byte", "CONNACK"),
    0x2A: ("shared_subscription_available", "byte", "CONNACK"),
}
PROPERTY_IDS = {name: number for number, (name, _, _) in PROPERTIES.items()}
REPEATED = ("user_property", "subscription_identifier")

# Reason codes that may stand in a packet, whoever sends it.
REASONS = {
    "CONNACK": "00 80 81 82 83 84 85 86 87 88 89 8a 8c 90 95 97 99 9a 9b 9c 9d 9f",
    "PUBACK": "00 10 80 83 87 90 91 97 99",
    "PUBREC": "00 10 80 83 87 90 91 97 99",
    "PUBREL": "00 92",
    "PUBCOMP": "00 92",
    "SUBACK": "00 01 02 80 83 87 8f 91 97 9e a1 a2",
    "UNSUBACK": "00 11 80 83 87 8f 91",
    "DISCONNECT": "00 04 80 81 82 83 87 89 8b 8d 8e 8f 90 93 94 95 96 97 98 99 9a 9b 9c 9d 9e 9f "
                  "a0 a1 a2",
    "AUTH": "00 18 19",
}
REASONS = {kind: {int(code, 16) for code in codes.split()} for kind, codes in REASONS.items()}


class Malformed(ValueError):
    """The peer sent what no version of the standard allows."""


class Closed(ConnectionError):
    """The peer has closed the connection."""


class Timeout(TimeoutError):
    """What was waited for did not come in time."""


class Packet:
    """A kind and its fields. Two packets are equal if all fields are."""

    def __init__(self, kind, **fields):
        self.kind = kind
        self.__dict__.update(fields)

    def __eq__(self, other):
        return isinstance(other, Packet) and self.__dict__ == other.__dict__

    def __repr__(self):
        parts = []
        for name, value in self.__dict__.items():
            if name == "kind" or name == "props" and not value:
                continue
            if name == "reason":
                value = f"0x{value:02x}"
            elif name == "reasons":
                value = "[" + " ".join(f"0x{code:02x}" for code in value) + "]"
            else:
                value = repr(value)
                value = value if len(value) < 200 else value[:200] + "…"
            parts.append(f"{name}={value}")
        return f"{self.kind}({', '.join(parts)})"


class Filter:
    """An entry of SUBSCRIBE. `reserved` are bits 6 and 7 of the options."""

    def __init__(self, name, qos=0, no_local=0, retain_as_published=0, retain_handling=0, reserved=0):
        self.name = name
        self.options = (qos | no_local << 2 | retain_as_published << 3 | retain_handling << 4 |
                        reserved << 6)

    def __eq__(self, other):
        return (self.name, self.options) == (other.name, other.options)

    def __repr__(self):
        return f"Filter({self.name!r}, options=0x{self.options:02x})"


class Will:
    """What a CONNECT leaves with the broker; the keywords are Will Properties."""

    def __init__(self, topic, payload=b"", qos=0, retain=0, **props):
        self.topic = topic
        self.payload = to_bytes(payload)
        self.qos = qos
        self.retain = retain
        self.props = props

    def __eq__(self, other):
        return isinstance(other, Will) and self.__dict__ == other.__dict__


# --- writing ---

def to_bytes(value):
    """A text as UTF-8; surrogates stand for the raw bytes that decode() put there."""
    return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else bytes(value)


def u16(value):
    return value.to_bytes(2, "big")


def varint(value):
    out = bytearray()
    while True:
        value, low = divmod(value, 128)
        out.append(low | (128 if value else 0))
        if not value:
            return bytes(out)


def binary(value):
    raw = to_bytes(value)
    return u16(len(raw)) + raw


def frame(first, body):
    """A whole packet from its first byte and its body."""
    return bytes([first]) + varint(len(body)) + body


def one_property(name, value):
    number = PROPERTY_IDS[name]
    kind = PROPERTIES[number][1]
    head = varint(number)
    if kind == "byte":
        return head + bytes([value])
    if kind == "u16":
        return head + u16(value)
    if kind == "u32":
        return head + value.to_bytes(4, "big")
    if kind == "varint":
        return head + varint(value)
    if kind == "pair":
        return head + binary(value[0]) + binary(value[1])
    return head + binary(value)


def properties(props):
    """Property Length and properties in the order of the dict. A list or a number may stand for a
    repeated one; raw bytes under the name "raw" are put there as they are."""
    out = b""
    for name, value in props.items():
        if name == "raw":
            out += value
        elif name in REPEATED and isinstance(value, list):
            out += b"".join(one_property(name, one) for one in value)
        else:
            out += one_property(name, value)
    return varint(len(out)) + out


def _encode_connect(packet, version):
    will = getattr(packet, "will", None)
    username = getattr(packet, "username", None)
    password = getattr(packet, "password", None)
    flags = 2 if packet.clean_start else 0
    if will is not None:
        flags |= 4 | will.qos << 3 | will.retain << 5
    flags |= (0x80 if username is not None else 0) | (0x40 if password is not None else 0)
    body = binary("MQIsdp" if version == 3 else "MQTT")
    body += bytes([version | (0x80 if getattr(packet, "bridge", 0) else 0), flags])
    body += u16(packet.keep_alive)
    if version == 5:
        body += properties(packet.props)
    body += binary(packet.client_id)
    if will is not None:
        if version == 5:
            body += properties(will.props)
        body += binary(will.topic) + binary(will.payload)
    for text in (username, password):
        if text is not None:
            body += binary(text)
    return frame(0x10, body)


def _encode_publish(packet, version):
    body = binary(packet.topic)
    if packet.qos:
        body += u16(packet.packet_id)
    if version == 5:
        body += properties(packet.props)
    return frame(0x30 | packet.dup << 3 | packet.qos << 1 | packet.retain, body + packet.payload)


def _encode_short(packet, version, first, body):
    """Packets that end with reason and properties, in the shortest form."""
    if version == 5:
        if packet.props:
            body += bytes([packet.reason]) + properties(packet.props)
        elif packet.reason:
            body += bytes([packet.reason]) + (b"\0" if packet.kind == "AUTH" else b"")
    return frame(first, body)


def encode(packet, version):
    """The bytes of a packet; reason codes are MQTT 5's, but for CONNACK and SUBACK as they are."""
    kind = packet.kind
    first = NUMBERS[kind] << 4
    if kind == "CONNECT":
        return _encode_connect(packet, version)
    if kind == "PUBLISH":
        return _encode_publish(packet, version)
    if kind in ("PINGREQ", "PINGRESP"):
        return frame(first, b"")
    if kind in ("DISCONNECT", "AUTH"):
        return _encode_short(packet, version, first, b"")
    if kind in ACKS:
        return _encode_short(packet, version, first | (2 if kind == "PUBREL" else 0),
                             u16(packet.packet_id))
    props = properties(packet.props) if version == 5 else b""
    if kind == "CONNACK":
        return frame(first, bytes([packet.session_present, packet.reason]) + props)
    body = u16(packet.packet_id) + props
    if kind == "SUBSCRIBE":
        body += b"".join(binary(one.name) + bytes([one.options]) for one in packet.filters)
        return frame(first | 2, body)
    if kind == "UNSUBSCRIBE":
        return frame(first | 2, body + b"".join(binary(name) for name in packet.filters))
    if kind == "UNSUBACK" and version < 5:
        return frame(first, body)
    return frame(first, body + bytes(packet.reasons))       # SUBACK, UNSUBACK


# --- reading ---

class Reader:
    """A cursor over the body of one packet."""

    def __init__(self, data):
        self.data = data
        self.at = 0

    def take(self, count):
        if self.at + count > len(self.data):
            raise Malformed(f"{count} bytes expected at {self.at}, {len(self.data)} there")
        self.at += count
        return self.data[self.at - count:self.at]

    def left(self):
        return len(self.data) - self.at

    def number(self, size):
        return int.from_bytes(self.take(size), "big")

    def varint(self):
        value = shift = 0
        while True:
            byte = self.number(1)
            value |= (byte & 127) << shift
            if byte < 128:
                if byte == 0 and shift:
                    raise Malformed("padded variable byte integer")
                return value
            shift += 7
            if shift > 21:
                raise Malformed("variable byte integer of more than four bytes")

    def binary(self):
        return bytes(self.take(self.number(2)))

    def string(self):
        raw = self.binary()
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise Malformed(f"not UTF-8: {raw[:40]!r}") from error
        if "\0" in text:
            raise Malformed("U+0000 in a string")
        return text

    def value(self, kind):
        if kind in ("byte", "u16", "u32"):
            return self.number({"byte": 1, "u16": 2, "u32": 4}[kind])
        if kind == "varint":
            return self.varint()
        if kind == "pair":
            return (self.string(), self.string())
        return self.string() if kind == "string" else self.binary()

    def props(self, where):
        inner = Reader(self.take(self.varint()))
        props = {}
        while inner.left():
            number = inner.varint()
            if number not in PROPERTIES:
                raise Malformed(f"property 0x{number:02x} is unknown")
            name, kind, packets = PROPERTIES[number]
            if where not in packets.split():
                raise Malformed(f"{name} is not allowed in {where}")
            value = inner.value(kind)
            _check_value(name, value)
            if name in REPEATED:
                props.setdefault(name, []).append(value)
            elif name in props:
                raise Malformed(f"{name} comes twice")
            else:
                props[name] = value
        return props


def _check_value(name, value):
    if name in ("payload_format_indicator", "request_problem_information", "maximum_qos",
                "request_response_information", "retain_available",
                "wildcard_subscription_available", "subscription_identifier_available",
                "shared_subscription_available") and value > 1:
        raise Malformed(f"{name} is {value}")
    if name in ("subscription_identifier", "receive_maximum", "maximum_packet_size",
                "topic_alias") and value == 0:
        raise Malformed(f"{name} is 0")
    if name == "response_topic" and (value == "" or "+" in value or "#" in value):
        raise Malformed(f"response topic is {value!r}")


def _reason(packet):
    if packet.reason not in REASONS[packet.kind]:
        raise Malformed(f"reason 0x{packet.reason:02x} in {packet.kind}")


def _decode_connect(reader, version):
    name = reader.string()
    level = reader.number(1)
    found = level & 0x7F
    if (name, found) not in (("MQIsdp", 3), ("MQTT", 4), ("MQTT", 5)) or level == 0x85:
        raise Malformed(f"protocol {name!r} {level}")
    flags = reader.number(1)
    packet = Packet("CONNECT", version=found, bridge=level >> 7, clean_start=flags >> 1 & 1,
                    keep_alive=reader.number(2), props={})
    if flags & 1 or (not flags & 4 and flags & 0x38 and found != 3) or flags & 0x18 == 0x18:
        raise Malformed(f"connect flags 0x{flags:02x}")
    if found < 5 and flags & 0xC0 == 0x40:
        raise Malformed("password without user name")
    if found == 5:
        packet.props = reader.props("CONNECT")
        if "authentication_data" in packet.props and "authentication_method" not in packet.props:
            raise Malformed("data without method")
    packet.client_id = reader.string()
    if packet.client_id == "" and (found == 3 or found == 4 and not packet.clean_start):
        raise Malformed("empty client id")
    if flags & 4:
        props = reader.props("WILL") if found == 5 else {}
        packet.will = Will(reader.string(), reader.binary(), flags >> 3 & 3, flags >> 5 & 1, **props)
        _check_topic(packet.will.topic)
    if flags & 0x80 and (found != 3 or reader.left()):
        packet.username = reader.string()
    if flags & 0x40 and (found != 3 or reader.left()):
        packet.password = reader.binary()
    return packet


def _check_topic(topic):
    if topic == "" or "+" in topic or "#" in topic:
        raise Malformed(f"topic name {topic[:80]!r}")


def _decode_connack(reader, version):
    flags = reader.number(1)
    packet = Packet("CONNACK", session_present=flags & 1, reason=reader.number(1), props={})
    if version == 3:
        packet.session_present = flags = 0
    if flags > 1 or (flags and packet.reason):
        raise Malformed(f"flags 0x{flags:02x} with reason 0x{packet.reason:02x}")
    if version == 5:
        packet.props = reader.props("CONNACK")
        _reason(packet)
    elif packet.reason > 5:
        raise Malformed(f"return code {packet.reason}")
    return packet


def _decode_publish(reader, version, flags):
    packet = Packet("PUBLISH", dup=flags >> 3, qos=flags >> 1 & 3, retain=flags & 1)
    if packet.qos == 3 or (packet.qos == 0 and packet.dup):
        raise Malformed(f"flags 0x{flags:x}")
    packet.topic = reader.string()
    if packet.qos:
        packet.packet_id = reader.number(2)
    packet.props = reader.props("PUBLISH") if version == 5 else {}
    if packet.topic or "topic_alias" not in packet.props:
        _check_topic(packet.topic)
    packet.payload = bytes(reader.take(reader.left()))
    return packet


def _decode_filters(reader, kind, version):
    filters = []
    while reader.left():
        name = reader.string()
        if kind == "UNSUBSCRIBE":
            filters.append(name)
            continue
        options = reader.number(1)
        if options & 3 == 3 or options & (0xC0 if version == 5 else 0xFC) or options & 0x30 == 0x30:
            raise Malformed(f"options 0x{options:02x}")
        entry = Filter(name)
        entry.options = options
        filters.append(entry)
    if not filters:
        raise Malformed("no filter")
    return filters


def _decode_acks(reader, kind, version):
    packet = Packet(kind, packet_id=reader.number(2), reason=0, props={})
    if version == 5 and reader.left():
        packet.reason = reader.number(1)
        _reason(packet)
        if reader.left():
            packet.props = reader.props(kind)
    return packet


def _decode_lists(reader, kind, version):
    packet = Packet(kind, packet_id=reader.number(2),
                    props=reader.props(kind) if version == 5 else {})
    if kind in ("SUBSCRIBE", "UNSUBSCRIBE"):
        packet.filters = _decode_filters(reader, kind, version)
        return packet
    packet.reasons = list(reader.take(reader.left())) if version == 5 or kind == "SUBACK" else []
    allowed = REASONS[kind] if version == 5 else {0, 1, 2, 0x80}
    if not set(packet.reasons) <= allowed:
        raise Malformed(f"reasons {packet.reasons}")
    if not packet.reasons and (version == 5 or kind == "SUBACK"):
        raise Malformed("no reason code")
    return packet


def _decode_ends(reader, kind, version):
    packet = Packet(kind, reason=0, props={})
    if version == 5 and reader.left():
        packet.reason = reader.number(1)
        _reason(packet)
        if reader.left() or kind == "AUTH":
            packet.props = reader.props(kind)
    if kind == "AUTH" and packet.reason and "authentication_method" not in packet.props:
        raise Malformed("AUTH without a method")
    return packet


def decode_body(first, body, version):
    """The packet of a first byte and a body of the right length."""
    kind, flags = KINDS[first >> 4], first & 15
    if kind == "RESERVED" or (kind == "AUTH" and version < 5):
        raise Malformed(f"{kind} in version {version}")
    right = 2 if kind in ("PUBREL", "SUBSCRIBE", "UNSUBSCRIBE") else 0
    if kind != "PUBLISH" and (flags & 7 if version == 3 and right else flags) != right:
        raise Malformed(f"flags 0x{flags:x} of {kind}")
    reader = Reader(body)
    if kind == "CONNECT":
        packet = _decode_connect(reader, version)
    elif kind == "CONNACK":
        packet = _decode_connack(reader, version)
    elif kind == "PUBLISH":
        packet = _decode_publish(reader, version, flags)
    elif kind in ACKS:
        packet = _decode_acks(reader, kind, version)
    elif kind in ("PINGREQ", "PINGRESP"):
        packet = Packet(kind)
    elif kind in ("DISCONNECT", "AUTH"):
        packet = _decode_ends(reader, kind, version)
    else:
        packet = _decode_lists(reader, kind, version)
    if reader.left():
        raise Malformed(f"{reader.left()} bytes too many in {kind}")
    if getattr(packet, "packet_id", 1) == 0:
        raise Malformed(f"packet identifier 0 in {kind}")
    return packet


def check_from_server(packet):
    """Refuses what only a client may send."""
    kind = packet.kind
    wrong = kind in ("CONNECT", "SUBSCRIBE", "UNSUBSCRIBE", "PINGREQ")
    if kind == "DISCONNECT":
        wrong = packet.reason == 0x04 or "session_expiry_interval" in packet.props
    elif kind == "AUTH":
        wrong = packet.reason == 0x19 or "authentication_method" not in packet.props
    if wrong:
        raise Malformed(f"{packet} from a server")


# Reason codes of a client's DISCONNECT.
CLIENT_GOODBYES = {0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99}


def check_from_client(packet):
    """Refuses what only a server may send."""
    kind = packet.kind
    wrong = kind in ("CONNACK", "SUBACK", "UNSUBACK", "PINGRESP")
    if kind == "DISCONNECT":
        wrong = packet.reason not in CLIENT_GOODBYES or "server_reference" in packet.props
    elif kind == "AUTH":
        wrong = packet.reason not in (0x18, 0x19)
    elif kind == "PUBLISH":
        wrong = "subscription_identifier" in packet.props
    elif kind == "SUBSCRIBE":
        wrong = (any(one.name.startswith("$share/") and one.options & 4 for one in packet.filters) or
                 len(packet.props.get("subscription_identifier", [])) > 1)
    if wrong:
        raise Malformed(f"{packet} from a client")


def split(data):
    """(size of the header, size of the body) of the packet at the begin of data; None: need more."""
    length = 0
    for used in range(1, 5):
        if len(data) <= used:
            return None
        length |= (data[used] & 127) << 7 * (used - 1)
        if data[used] < 128:
            if data[used] == 0 and used > 1:
                raise Malformed("padded Remaining Length")
            return used + 1, length
    raise Malformed("Remaining Length of more than four bytes")


def decode(data, version):
    """The one packet that data is."""
    sizes = split(data)
    if sizes is None or sum(sizes) != len(data):
        raise Malformed("not one packet")
    return decode_body(data[0], bytes(data[sizes[0]:]), version)


# --- text, as in README.md ---

def _quote(text):
    return "'" + "".join(chr(byte) if 0x20 <= byte <= 0x7E and byte not in b"'\\" else f"\\x{byte:02x}"
                         for byte in to_bytes(text)) + "'"


def _props_text(props):
    parts = []
    for name, value in props.items():
        kind = PROPERTIES[PROPERTY_IDS[name]][1]
        for one in value if name in REPEATED else [value]:
            if kind == "pair":
                shown = f"{_quote(one[0])}:{_quote(one[1])}"
            elif kind == "binary":
                shown = "x:" + one.hex()
            else:
                shown = _quote(one) if kind == "string" else str(one)
            parts.append(f"{name}={shown}")
    return "props{" + ",".join(parts) + "}"


def text(packet, version):
    """The canonical text of a packet, as the tables of tests/lib have it."""
    kind = packet.kind
    out = [kind]
    if kind == "CONNECT":
        out += [f"version={packet.version}", f"bridge={packet.bridge}",
                f"clean_start={packet.clean_start}", f"keep_alive={packet.keep_alive}",
                _props_text(packet.props), f"client_id={_quote(packet.client_id)}"]
        if hasattr(packet, "will"):
            will = packet.will
            out.append(f"will{{qos={will.qos} retain={will.retain} {_props_text(will.props)} "
                       f"topic={_quote(will.topic)} payload=x:{will.payload.hex()}}}")
        if hasattr(packet, "username"):
            out.append(f"username={_quote(packet.username)}")
        if hasattr(packet, "password"):
            out.append(f"password=x:{packet.password.hex()}")
    elif kind == "PUBLISH":
        out += [f"dup={packet.dup}", f"qos={packet.qos}", f"retain={packet.retain}",
                f"topic={_quote(packet.topic)}"]
        if packet.qos:
            out.append(f"packet_id={packet.packet_id}")
        out += [_props_text(packet.props), f"payload=x:{packet.payload.hex()}"]
    elif kind not in ("PINGREQ", "PINGRESP"):
        if hasattr(packet, "packet_id"):
            out.append(f"packet_id={packet.packet_id}")
        if kind == "CONNACK":
            out.append(f"session_present={packet.session_present}")
        if hasattr(packet, "reason"):
            reason = packet.reason
            if kind == "CONNACK" and version < 5:
                reason = (0, 0x84, 0x85, 0x88, 0x86, 0x87)[reason]
            out.append(f"reason={reason:02x}")
        out.append(_props_text(packet.props))
        for one in getattr(packet, "filters", ()):
            if kind == "UNSUBSCRIBE":
                out.append(f"filter={_quote(one)}")
            else:
                bits = one.options
                out += [f"filter={_quote(one.name)}", f"qos={bits & 3}", f"no_local={bits >> 2 & 1}",
                        f"retain_as_published={bits >> 3 & 1}", f"retain_handling={bits >> 4 & 3}"]
        if hasattr(packet, "reasons"):
            out.append("reasons=" + ",".join(f"{code:02x}" for code in packet.reasons))
    return " ".join(out)


# --- what lies between the socket and MQTT ---

def tls_context(cafile, certfile=None, keyfile=None, **settings):
    """A client's TLS; settings are attributes of ssl.SSLContext, alpn a list."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cafile)
    if certfile is not None:
        context.load_cert_chain(certfile, keyfile)
    if "alpn" in settings:
        context.set_alpn_protocols(settings.pop("alpn"))
    for key, value in settings.items():
        setattr(context, key, value)
    return context


def proxy_v1(source, destination="127.0.0.1", source_port=4711, destination_port=1883):
    family = "TCP6" if ":" in source else "TCP4"
    return f"PROXY {family} {source} {destination} {source_port} {destination_port}\r\n".encode()


def proxy_v2(source=None, source_port=4711, command=1, tlvs=b"", version=2):
    """Without a source: LOCAL, as a proxy's own checks."""
    if source is None:
        body, family, command = b"", 0, 0
    elif ":" in source:
        body = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, "::1")
        body, family = body + struct.pack("!HH", source_port, 1883), 0x21
    else:
        body = socket.inet_aton(source) + socket.inet_aton("127.0.0.1")
        body, family = body + struct.pack("!HH", source_port, 1883), 0x11
    body += tlvs
    return (b"\r\n\r\n\0\r\nQUIT\n" + bytes([version << 4 | command, family]) +
            struct.pack("!H", len(body)) + body)


def ws_frame(payload, opcode=2, fin=1, mask=b"\x37\xfa\x21\x3d", rsv=0):
    """A frame of a client. mask None: not masked, which no client may do."""
    head = bytes([fin << 7 | rsv << 4 | opcode])
    bit = 0x80 if mask is not None else 0
    if len(payload) < 126:
        head += bytes([bit | len(payload)])
    elif len(payload) < 65536:
        head += bytes([bit | 126]) + struct.pack("!H", len(payload))
    else:
        head += bytes([bit | 127]) + struct.pack("!Q", len(payload))
    if mask is None:
        return head + payload
    key = (mask * (len(payload) // 4 + 1))[:len(payload)]
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")
    return head + mask + masked.to_bytes(len(payload), "big")


class WebSocket:
    """A socket whose bytes travel in WebSocket frames: the client's side, by hand. It has what Client
    needs of a socket. `raw` is the socket below, for what no client does."""

    KEY = b"dGhlIHNhbXBsZSBub25jZQ=="

    def __init__(self, sock, path="/mqtt", protocol="mqtt", headers=(), expect=101):
        self.raw = sock
        self._buffer = bytearray()      # received, not decoded yet
        self._payload = bytearray()
        self.close_code = None          # of the server's close frame; 0: it had none
        self.pongs = []
        self.raw.sendall(self.request(path, protocol, headers))
        self.answer = self._read_head()
        status = int(self.answer.split(b" ")[1])
        assert status == expect, self.answer
        if status == 101:
            accept = base64.b64encode(hashlib.sha1(self.KEY + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11")
                                      .digest())
            lines = self.answer.lower().split(b"\r\n")
            assert b"sec-websocket-accept: " + accept.lower() in lines, self.answer
            if protocol is not None:
                chosen = b"sec-websocket-protocol: " + protocol.split(",")[0].strip().encode()
                assert chosen in lines, self.answer

    @classmethod
    def request(cls, path="/mqtt", protocol="mqtt", headers=()):
        lines = [f"GET {path} HTTP/1.1", "Host: localhost", "Upgrade: websocket", "Connection: Upgrade",
                 f"Sec-WebSocket-Key: {cls.KEY.decode()}", "Sec-WebSocket-Version: 13"]
        if protocol is not None:
            lines.append(f"Sec-WebSocket-Protocol: {protocol}")
        return ("\r\n".join([*lines, *headers]) + "\r\n\r\n").encode()

    def _read_head(self):
        while b"\r\n\r\n" not in self._buffer:
            data = self.raw.recv(4096)
            if not data:
                raise Closed("closed in the handshake")
            self._buffer += data
        end = self._buffer.index(b"\r\n\r\n") + 4
        head = bytes(self._buffer[:end])
        del self._buffer[:end]
        return head

    def fileno(self):
        return self.raw.fileno()

    def settimeout(self, seconds):
        self.raw.settimeout(seconds)

    def setsockopt(self, *args):
        self.raw.setsockopt(*args)

    def sendall(self, data):
        self.raw.sendall(ws_frame(bytes(data)))

    def shutdown(self, how):
        self.raw.shutdown(how)

    def close(self):
        self.raw.close()

    def pending(self):
        """Is there something that wakes nobody any more?"""
        while not self._payload and self._take_frame():
            pass
        below = self.raw.pending() if isinstance(self.raw, ssl.SSLSocket) else 0
        return bool(self._payload or below or self.close_code is not None)

    def recv(self, size):
        while not self._payload:
            if not self._take_frame():
                if self.close_code is not None:
                    return b""
                data = self.raw.recv(65536)
                if not data:
                    return b""
                self._buffer += data
        data = bytes(self._payload[:size])
        del self._payload[:size]
        return data

    def _take_frame(self):
        buffer = self._buffer
        if self.close_code is not None or len(buffer) < 2:
            return False
        if buffer[1] & 0x80 or buffer[0] & 0x70 or not buffer[0] & 0x80:
            raise Malformed(f"a frame of a server that begins with {bytes(buffer[:2])!r}")
        opcode, size, at = buffer[0] & 15, buffer[1], 2
        if size >= 126:
            at = 4 if size == 126 else 10
            if len(buffer) < at:
                return False
            size = int.from_bytes(buffer[2:at], "big")
        if len(buffer) < at + size:
            return False
        payload = bytes(buffer[at:at + size])
        del buffer[:at + size]
        if opcode == 2:
            self._payload += payload
        elif opcode == 8:
            self.close_code = int.from_bytes(payload[:2], "big")
        elif opcode == 10:
            self.pongs.append(payload)
        else:
            raise Malformed(f"opcode {opcode} from a server")
        return True


def is_readable(sock, seconds):
    """Waits for bytes or the end. Not by select, which knows 1024 descriptors only."""
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLIN)
    return bool(poll.poll(seconds * 1000))


# --- the client ---

class Client:
    """One connection. Closes its socket hard when it leaves a `with` block.

    By default it is TCP alone. `path` is that of a unix socket, `proxy` a PROXY header to begin with,
    `tls` an ssl.SSLContext (`server_name` is whom it must be), and `websocket` a dict of arguments for
    WebSocket; in this order they lie above each other."""

    def __init__(self, port, version=5, host="127.0.0.1", timeout=TIMEOUT, receive_buffer=0, path=None,
                 proxy=b"", tls=None, server_name="localhost", websocket=None):
        self.version = version
        self.timeout = timeout
        self.inbox = collections.deque()
        self.aliases = {}
        self.connack = None
        self.client_id = None
        self._buffer = bytearray()
        self._ids = itertools.cycle(range(1, 65536))
        self.sock = socket.socket(socket.AF_UNIX if path else socket.AF_INET, socket.SOCK_STREAM)
        try:
            if receive_buffer:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            self.sock.settimeout(timeout)
            self._reach(str(path) if path else (host, port), path is not None)
            if not path:
                self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if proxy:
                self.sock.sendall(proxy)
            if tls is not None:
                self.sock = tls.wrap_socket(self.sock, server_hostname=server_name)
            if websocket is not None:
                self.sock = WebSocket(self.sock, **websocket)
        except BaseException:
            self.sock.close()
            raise

    def _reach(self, address, is_unix):
        """A broker that takes TCP already may be about to make its unix socket, and to listen there."""
        deadline = time.monotonic() + 2
        while True:
            try:
                self.sock.connect(address)
                return
            except (ConnectionRefusedError, FileNotFoundError):
                if not is_unix or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Ends the connection without a word, as a cut cable does for the broker."""
        self.sock.close()

    def reset(self):
        """Ends the connection by a TCP reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.sock.close()

    def finish(self):
        """Says that nothing more will be sent (FIN); what the broker still says can be read."""
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def next_id(self):
        return next(self._ids)

    # sending

    def send(self, *what):
        """Packets or raw bytes, in one write."""
        data = b"".join(one if isinstance(one, (bytes, bytearray)) else encode(one, self.version)
                        for one in what)
        try:
            self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLEOFError) as error:
            raise Closed(str(error)) from error
        except socket.timeout as error:
            raise Timeout("the peer does not take what is sent") from error

    # receiving

    def _judge(self, packet):
        """May this side of a connection be sent this?"""
        check_from_server(packet)
        if packet.kind == "DISCONNECT" and self.version < 5:
            raise Malformed("DISCONNECT from a server before version 5")

    def _next(self, deadline):
        """The next packet of the socket."""
        while True:
            sizes = split(self._buffer)
            if sizes is not None and len(self._buffer) >= sum(sizes):
                head, body = sizes
                packet = decode_body(self._buffer[0], bytes(self._buffer[head:head + body]),
                                     self.version)
                packet.size = head + body
                self._judge(packet)
                del self._buffer[:head + body]
                if packet.kind == "PUBLISH":
                    self._resolve(packet)
                return packet
            left = deadline - time.monotonic()
            if not self._pending() and (left <= 0 or not is_readable(self.sock, left)):
                raise Timeout("no packet came in time")
            try:
                self.sock.settimeout(max(left, 0.001))      # what came may be no payload
                data = self.sock.recv(262144)
            except ConnectionResetError as error:
                raise Closed("reset") from error
            except socket.timeout as error:
                raise Timeout("no packet came in time") from error
            except ssl.SSLError as error:
                raise Closed(f"TLS: {error}") from error
            if not data:
                raise Closed("closed" + (" inside a packet" if self._buffer else ""))
            self.sock.settimeout(self.timeout)
            self._buffer += data

    def _pending(self):
        """What was decoded already wakes no select."""
        return self.sock.pending() if isinstance(self.sock, (ssl.SSLSocket, WebSocket)) else 0

    def _resolve(self, packet):
        """Keeps the table of the broker's aliases. `packet.sent_topic` is what was in the packet."""
        packet.sent_topic = packet.topic
        alias = packet.props.get("topic_alias")
        if alias is not None:
            if packet.topic:
                self.aliases[alias] = packet.topic
            elif alias not in self.aliases:
                raise Malformed(f"alias {alias} was never set")
            packet.topic = self.aliases[alias]

    def recv(self, timeout=None):
        """The next packet, from the inbox first."""
        if self.inbox:
            return self.inbox.popleft()
        return self._next(time.monotonic() + (self.timeout if timeout is None else timeout))

    def expect(self, kind, timeout=None, **fields):
        """The next packet must be of this kind and have these fields; returns it."""
        packet = self.recv(timeout)
        check(packet, kind, fields)
        return packet

    def wait(self, kind, timeout=None, **fields):
        """The first packet of this kind with these fields; what comes before stays in the inbox."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        for index, packet in enumerate(self.inbox):
            if matches(packet, kind, fields):
                del self.inbox[index]
                return packet
        while True:
            packet = self._next(deadline)
            if matches(packet, kind, fields):
                return packet
            self.inbox.append(packet)

    def expect_closed(self, timeout=None):
        """Nothing more comes but the end of the connection."""
        try:
            packet = self.recv(timeout)
        except Closed:
            return
        raise AssertionError(f"{packet} instead of the end of the connection")

    def expect_refused(self, *reasons, timeout=None):
        """The broker ends the connection: version 5 is told one of these reasons, others nothing."""
        if self.version == 5:
            packet = self.wait("DISCONNECT", timeout)
            assert packet.reason in reasons, f"{packet}, expected one of {[hex(r) for r in reasons]}"
        self.expect_closed(timeout)

    def expect_quiet(self, seconds):
        """Nothing comes for so long: for what no later packet can prove."""
        try:
            packet = self.recv(seconds)
        except Timeout:
            return
        raise AssertionError(f"{packet} instead of silence")

    # whole exchanges

    def connect(self, client_id="", clean=True, keep_alive=0, will=None, username=None,
                password=None, expect=0, **props):
        """CONNECT and its CONNACK, which must have this reason (None: any). Returns the CONNACK."""
        self.send(self.connect_packet(client_id, clean, keep_alive, will, username, password, **props))
        self.connack = self.expect("CONNACK")
        if expect is not None:
            assert self.connack.reason == expect, f"{self.connack}, expected 0x{expect:02x}"
        self.client_id = self.connack.props.get("assigned_client_identifier", client_id)
        return self.connack

    def connect_packet(self, client_id="", clean=True, keep_alive=0, will=None, username=None,
                       password=None, **props):
        return Packet("CONNECT", client_id=client_id, clean_start=int(clean), keep_alive=keep_alive,
                      will=will, username=username, password=password, props=props)

    def subscribe_packet(self, *filters, packet_id=None, **props):
        """Filters: a name, (name, qos), or a Filter."""
        entries = []
        for one in filters:
            if isinstance(one, Filter):
                entries.append(one)
            else:
                entries.append(Filter(*one) if isinstance(one, tuple) else Filter(one))
        return Packet("SUBSCRIBE", packet_id=packet_id or self.next_id(), props=props,
                      filters=entries)

    def subscribe(self, *filters, expect=None, packet_id=None, **props):
        """SUBSCRIBE and its SUBACK. expect: the list of codes; without it, all must be granted as
        asked. Returns the SUBACK."""
        packet = self.subscribe_packet(*filters, packet_id=packet_id, **props)
        self.send(packet)
        suback = self.wait("SUBACK", packet_id=packet.packet_id)
        wanted = [one.options & 3 for one in packet.filters] if expect is None else expect
        assert suback.reasons == wanted, f"{suback}, expected {wanted}"
        return suback

    def unsubscribe(self, *names, expect=None, packet_id=None, **props):
        packet = Packet("UNSUBSCRIBE", packet_id=packet_id or self.next_id(), props=props,
                        filters=list(names))
        self.send(packet)
        unsuback = self.wait("UNSUBACK", packet_id=packet.packet_id)
        if self.version == 5:
            wanted = [0] * len(names) if expect is None else expect
            assert unsuback.reasons == wanted, f"{unsuback}, expected {wanted}"
        return unsuback

    def publish_packet(self, topic, payload=b"", qos=0, retain=0, dup=0, packet_id=None, **props):
        packet = Packet("PUBLISH", dup=dup, qos=qos, retain=int(retain), topic=topic, props=props,
                        payload=to_bytes(payload))
        if qos:
            packet.packet_id = self.next_id() if packet_id is None else packet_id
        return packet

    def publish(self, topic, payload=b"", qos=0, retain=0, dup=0, packet_id=None, expect=None,
                **props):
        """PUBLISH to the end of its exchange. expect: the reason of the first acknowledgement; without
        it any below 0x80. Returns that acknowledgement, None at QoS 0."""
        packet = self.publish_packet(topic, payload, qos, retain, dup, packet_id, **props)
        self.send(packet)
        if qos == 0:
            return None
        ack = self.wait("PUBACK" if qos == 1 else "PUBREC", packet_id=packet.packet_id)
        good = ack.reason < 0x80 if expect is None else ack.reason == expect
        assert good, f"{ack} for {packet}"
        if qos == 2 and ack.reason < 0x80:
            self.release(packet.packet_id)
        return ack

    def release(self, packet_id, expect=0):
        """PUBREL and its PUBCOMP."""
        self.ack("PUBREL", packet_id)
        comp = self.wait("PUBCOMP", packet_id=packet_id)
        assert comp.reason == expect, f"{comp}, expected 0x{expect:02x}"
        return comp

    def ack(self, kind, packet_id, reason=0, **props):
        self.send(Packet(kind, packet_id=packet_id, reason=reason, props=props))

    def message(self, ack=True, timeout=None, **fields):
        """The next packet must be a PUBLISH with these fields. It is acknowledged to the end unless
        the test says no."""
        packet = self.expect("PUBLISH", timeout, **fields)
        if ack:
            self.acknowledge(packet)
        return packet

    def acknowledge(self, packet):
        if packet.qos == 1:
            self.ack("PUBACK", packet.packet_id)
        elif packet.qos == 2:
            self.ack("PUBREC", packet.packet_id)
            self.wait("PUBREL", packet_id=packet.packet_id)
            self.ack("PUBCOMP", packet.packet_id)

    def ping(self):
        """All that was sent before has been read by the broker. What comes meanwhile: inbox."""
        self.send(b"\xc0\0")
        self.wait("PINGRESP")

    def disconnect(self, reason=0, **props):
        """DISCONNECT, and waits until the broker has closed: it has let go of the session then."""
        self.send(Packet("DISCONNECT", reason=reason, props=props))
        deadline = time.monotonic() + self.timeout
        try:
            while True:
                self._next(deadline)
        except Closed:
            pass
        self.close()

    def auth(self, reason, **props):
        self.send(Packet("AUTH", reason=reason, props=props))

    def messages_before(self, publisher, topic="marker"):
        """All PUBLISHes that come before a message that `publisher` sends now: the proof that nothing
        else was under way from that publisher. Acknowledged. The window must not be full."""
        name = f"{topic}/{publisher.client_id}/{next(_MARKS)}"
        self.subscribe((name, 1))
        publisher.publish(name, b"end", qos=1)
        found = []
        while True:
            packet = self.recv()
            if packet.kind == "PUBLISH":
                self.acknowledge(packet)
                if packet.topic == name:
                    break
                found.append(packet)
            elif packet.kind != "PUBREL":
                raise AssertionError(f"{packet} instead of a message")
            else:
                self.ack("PUBCOMP", packet.packet_id)
        self.unsubscribe(name)
        return found


_MARKS = itertools.count(1)


def matches(packet, kind, fields):
    """Fields with a value of None must be absent; names of properties are looked up there."""
    if packet.kind != kind:
        return False
    for name, value in fields.items():
        if name in PROPERTY_IDS:
            found = packet.props.get(name)
        else:
            found = getattr(packet, name, None)
        if name == "payload" and value is not None:
            value = to_bytes(value)
        if found != value:
            return False
    return True


def check(packet, kind, fields):
    assert matches(packet, kind, fields), f"{packet}, expected {Packet(kind, **fields)}"


def wait_until(condition, timeout=TIMEOUT, step=0.02, what="the condition"):
    """Asks again and again until the condition gives something true, and returns it. For what
    announces itself by no packet: a file, a process, a counter."""
    deadline = time.monotonic() + timeout
    while True:
        result = condition()
        if result:
            return result
        left = deadline - time.monotonic()
        if left <= 0:
            raise Timeout(f"{what} did not come true within {timeout} s")
        select.select([], [], [], min(step, left))
