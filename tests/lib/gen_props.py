# SPDX-License-Identifier: Apache-2.0
"""Writer of packets-props.tsv: the systematic packet fixtures.

Four matrices, all from the tables below (typed from the MQTT standards):
  1. every property in every packet that can carry properties, from both sides: allowed or not,
     boundary values, repeated, cut off at every byte, one byte too many, property lengths;
  2. every first byte (packet type and flags) from both sides;
  3. reason codes: all that exist in any packet, and their neighbours, in every packet with codes;
  4. classes of well-formed and ill-formed UTF-8 in every kind of string field.

Without an argument the file is written anew; with `--check` the exit status is 1 if the file differs
from what would be written. The format is described in README.md.
"""

import argparse
import pathlib
import sys
from dataclasses import dataclass

from packets import parse_bytes

TARGET = pathlib.Path(__file__).resolve().parent / "packets-props.tsv"
HEADER = """\
# SPDX-License-Identifier: Apache-2.0
# Systematic packet fixtures, written by gen_props.py: do not edit. Format and choices: README.md.
# ids	title	versions	to	options	bytes	result	text
"""

# ---------------------------------------------------------------------------------------------------
# Rows and bytes


def size(tokens):
    return len(parse_bytes(tokens)) if tokens else 0


def varint(value):
    """A variable byte integer in hex."""
    out = ""
    while True:
        low, value = value & 127, value >> 7
        out += f"{low | (128 if value else 0):02X}"
        if not value:
            return out


def join(*parts):
    return " ".join(part for part in parts if part)


def hexed(raw):
    return raw.hex().upper()


def string(raw):
    """A string field: two bytes of length and the content."""
    return join(f"{len(raw):04X}", hexed(raw))


def shown(raw):
    """Content of a string in the canonical text."""
    return "".join(chr(c) if 0x20 <= c <= 0x7e and c not in b"'\\" else f"\\x{c:02x}" for c in raw)


def frame(first, body):
    return join(f"{first:02X}", varint(size(body)), body)


def row(ids, title, versions, to, options, data, result, text="-"):
    return "\t".join((",".join(ids) or "-", title, versions, to, options or "-", data, result,
                      text if result == "ok" else "-"))


def section(title):
    return ["#", f"# ---- {title}"]


# ---------------------------------------------------------------------------------------------------
# 1. Properties

# The packets (and the will, which has properties of its own inside CONNECT). `before` and `after` are
# the bytes around the properties, `text` the canonical text around them.


@dataclass(frozen=True)
class Place:
    letter: str             # in the column "where" of PROPERTIES
    name: str
    to: str
    first: int
    before: str
    after: str
    text: str
    needs: str = ""         # property without which the packet is refused
    short: bool = False     # without properties there is a shorter form of the packet

    @property
    def title(self):
        return self.name if self.letter in "CWKSBUV" else f"{self.name} to {self.to}"


CONNECT_TEXT = "CONNECT version=5 bridge=0 clean_start=1 keep_alive=60 "
PLACES = (
    Place("C", "connect", "server", 0x10, "s'MQTT' 05 02 003C", "s'c'", CONNECT_TEXT + "props{%s} client_id='c'"),
    Place("W", "will", "server", 0x10, "s'MQTT' 05 06 003C 00 s'c'", "s'w' s'x'",
          CONNECT_TEXT + "props{} client_id='c' will{qos=0 retain=0 props{%s} topic='w' payload=x:78}"),
    Place("K", "connack", "client", 0x20, "0000", "", "CONNACK session_present=0 reason=00 props{%s}"),
    Place("P", "publish", "server", 0x30, "s'a'", "'hi'",
          "PUBLISH dup=0 qos=0 retain=0 topic='a' props{%s} payload=x:6869"),
    Place("P", "publish", "client", 0x32, "s'a' 0001", "'hi'",
          "PUBLISH dup=0 qos=1 retain=0 topic='a' packet_id=1 props{%s} payload=x:6869"),
    Place("A", "puback", "server", 0x40, "0001 00", "", "PUBACK packet_id=1 reason=00 props{%s}", short=True),
    Place("A", "puback", "client", 0x40, "0001 00", "", "PUBACK packet_id=1 reason=00 props{%s}", short=True),
    Place("R", "pubrec", "server", 0x50, "0001 00", "", "PUBREC packet_id=1 reason=00 props{%s}", short=True),
    Place("R", "pubrec", "client", 0x50, "0001 00", "", "PUBREC packet_id=1 reason=00 props{%s}", short=True),
    Place("L", "pubrel", "server", 0x62, "0001 00", "", "PUBREL packet_id=1 reason=00 props{%s}", short=True),
    Place("L", "pubrel", "client", 0x62, "0001 00", "", "PUBREL packet_id=1 reason=00 props{%s}", short=True),
    Place("M", "pubcomp", "server", 0x70, "0001 00", "", "PUBCOMP packet_id=1 reason=00 props{%s}", short=True),
    Place("M", "pubcomp", "client", 0x70, "0001 00", "", "PUBCOMP packet_id=1 reason=00 props{%s}", short=True),
    Place("S", "subscribe", "server", 0x82, "0001", "s'f' 01",
          "SUBSCRIBE packet_id=1 props{%s} filter='f' qos=1 no_local=0 retain_as_published=0 retain_handling=0"),
    Place("B", "suback", "client", 0x90, "0001", "01", "SUBACK packet_id=1 props{%s} reasons=01"),
    Place("U", "unsubscribe", "server", 0xA2, "0001", "s'f'", "UNSUBSCRIBE packet_id=1 props{%s} filter='f'"),
    Place("V", "unsuback", "client", 0xB0, "0001", "11", "UNSUBACK packet_id=1 props{%s} reasons=11"),
    Place("D", "disconnect", "server", 0xE0, "00", "", "DISCONNECT reason=00 props{%s}", short=True),
    Place("D", "disconnect", "client", 0xE0, "00", "", "DISCONNECT reason=00 props{%s}", short=True),
    Place("X", "auth", "server", 0xF0, "18", "", "AUTH reason=18 props{%s}", needs="authentication_method"),
    Place("X", "auth", "client", 0xF0, "18", "", "AUTH reason=18 props{%s}", needs="authentication_method"),
)


@dataclass(frozen=True)
class Property:
    code: int
    name: str
    kind: str               # flag, u16, u32, varint, text, topic, binary, pair
    where: str              # letters of the places that allow it
    zero: str = "ok"        # result of the value 0
    empty: bool = True      # give a row with the empty string
    client: str = ""        # letters of the places where only a client may send it
    server: str = ""        # letters of the places where only a server may send it
    repeat: str = ""        # letters of the places where it may repeat

    @property
    def title(self):
        return self.name.replace("_", " ")


EVERYWHERE = "CWKPARLMSBUVDX"
PROPERTIES = (
    Property(0x01, "payload_format_indicator", "flag", "PW"),
    Property(0x02, "message_expiry_interval", "u32", "PW"),
    Property(0x03, "content_type", "text", "PW"),
    Property(0x08, "response_topic", "topic", "PW"),
    Property(0x09, "correlation_data", "binary", "PW"),
    Property(0x0B, "subscription_identifier", "varint", "PS", zero="82", server="P", repeat="P"),
    Property(0x11, "session_expiry_interval", "u32", "CKD", client="D"),
    Property(0x12, "assigned_client_identifier", "text", "K", empty=False),
    Property(0x13, "server_keep_alive", "u16", "K"),
    Property(0x15, "authentication_method", "text", "CKX", empty=False),
    Property(0x16, "authentication_data", "binary", "CKX"),
    Property(0x17, "request_problem_information", "flag", "C"),
    Property(0x18, "will_delay_interval", "u32", "W"),
    Property(0x19, "request_response_information", "flag", "C"),
    Property(0x1A, "response_information", "text", "K"),
    Property(0x1C, "server_reference", "text", "KD", server="D"),
    Property(0x1F, "reason_string", "text", "KARLMBVDX"),
    Property(0x21, "receive_maximum", "u16", "CK", zero="82"),
    Property(0x22, "topic_alias_maximum", "u16", "CK"),
    Property(0x23, "topic_alias", "u16", "P", zero="94"),
    Property(0x24, "maximum_qos", "flag", "K"),
    Property(0x25, "retain_available", "flag", "K"),
    Property(0x26, "user_property", "pair", EVERYWHERE, repeat=EVERYWHERE),
    Property(0x27, "maximum_packet_size", "u32", "CK", zero="82"),
    Property(0x28, "wildcard_subscription_available", "flag", "K"),
    Property(0x29, "subscription_identifier_available", "flag", "K"),
    Property(0x2A, "shared_subscription_available", "flag", "K"),
)
METHOD = PROPERTIES[9]
USER = PROPERTIES[22]

# Identifiers that MQTT 5 gives no meaning.
UNASSIGNED = (0x00, 0x04, 0x05, 0x06, 0x07, 0x0A, 0x0C, 0x0D, 0x0E, 0x0F, 0x10, 0x14, 0x1B, 0x1D, 0x1E, 0x20,
              0x2B, 0x2C, 0x2D, 0x2E, 0x2F, 0x7E, 0x7F)

BAD_UTF8 = b"a\xC0\xAF"     # an overlong slash


def verdict(prop, place):
    """Result of a good value of the property at the place."""
    if place.letter not in prop.where:
        return "81"
    if place.letter in prop.client and place.to == "client":
        return "82"
    if place.letter in prop.server and place.to == "server":
        return "82"
    return "ok"


def property_ids(place):
    """Statement behind a refusal that has none of its own."""
    if place.letter in "CW":
        return ["MQTT5-3.1.4-1"]
    return ["MQTT5-4.13.1-1"] if place.to == "server" else []


def sample(prop):
    """Bytes and canonical text of the property with an ordinary value."""
    code, name = f"{prop.code:02X}", prop.name
    return {"flag": (f"{code} 01", f"{name}=1"),
            "u16": (f"{code} 000A", f"{name}=10"),
            "u32": (f"{code} 0000000A", f"{name}=10"),
            "varint": (f"{code} 0A", f"{name}=10"),
            "text": (f"{code} s'ab'", f"{name}='ab'"),
            "topic": (f"{code} s'ab'", f"{name}='ab'"),
            "binary": (f"{code} 0002 00FF", f"{name}=x:00ff"),
            "pair": (f"{code} s'ab' s'cd'", f"{name}='ab':'cd'")}[prop.kind]


def boundary(prop):
    """(label, bytes of the value, result, text of the value, options, ids) of boundary values."""
    flags = {"maximum_qos": ["MQTT5-3.2.2-9"]}.get(prop.name)
    if prop.kind == "flag":
        yield "0", "00", "ok", "0", "", []
        yield "1", "01", "ok", "1", "", []
        for value in (2, 3, 128, 255):
            yield str(value), f"{value:02X}", "82", "", "", flags
    elif prop.kind in ("u16", "u32"):
        digits = 4 if prop.kind == "u16" else 8
        top = (1 << 4 * digits) - 1
        yield ("0", "0" * digits, prop.zero, "0", "",
               {"94": ["MQTT5-3.3.2-8"], "82": None, "ok": []}[prop.zero])
        for value in (1, 255, 256, top >> 1, (top >> 1) + 1, top):
            yield str(value), f"{value:0{digits}X}", "ok", str(value), "", []
    elif prop.kind == "varint":
        yield "0", "00", prop.zero, "0", "", None
        for value in (1, 127, 128, 16383, 16384, 2097151, 2097152, 268435455):
            yield str(value), varint(value), "ok", str(value), "", []
        for label, value, number in (("1 padded to two bytes", "8100", "1"), ("1 padded to four bytes", "81808000", "1"),
                                     ("128 padded to three bytes", "808100", "128")):
            yield label, value, "81", "", "", ["MQTT5-1.5.5-1"]
            yield label + " in lenient mode", value, "ok", number, "lenient,nocanon", []
        yield "0 padded to two bytes", "8000", "81", "", "", ["MQTT5-1.5.5-1"]
        yield "0 padded to two bytes in lenient mode", "8000", "82", "", "lenient", None
        yield "of five bytes", "8080808001", "81", "", "", ["MQTT5-1.5.5-1"]
        yield "of five bytes in lenient mode", "8080808001", "81", "", "lenient", ["MQTT5-1.5.5-1"]
    elif prop.kind == "binary":
        yield "empty", "0000", "ok", "x:", "", []
        yield "of bytes that are no utf-8", "0004 C08000FF", "ok", "x:c08000ff", "", []
        yield "of 300 bytes", "012C AB*300", "ok", "x:" + "ab" * 300, "", []
    elif prop.kind in ("text", "topic"):
        own = {"response_topic": ["MQTT5-3.3.2-13"], "content_type": ["MQTT5-3.3.2-19"]}.get(prop.name, [])
        if prop.kind == "topic":
            yield "empty", "0000", "82", "", "", ["MQTT5-4.7.3-1"]
            for label, raw in (("with a number sign", b"a/#"), ("with a plus sign", b"+/a"), ("with a plus sign inside a level", b"a+")):
                yield label, string(raw), "82", "", "", ["MQTT5-3.3.2-14", "MQTT5-4.7.0-1"]
            yield "with a control character", string(b"a\x01"), "81", "", "", []
            yield "with a control character allowed", string(b"a\x01"), "ok", "'a\\x01'", "control", []
        else:
            if prop.empty:
                yield "empty", "0000", "ok", "''", "", []
            yield "with wildcards", "s'+/#'", "ok", "'+/#'", "", []
            yield "with a control character", string(b"a\x01"), "ok", "'a\\x01'", "", []
        yield "with a byte order mark", string(b"\xEF\xBB\xBFa"), "ok", "'\\xef\\xbb\\xbfa'", "", ["MQTT5-1.5.4-3"]
        yield "with bad utf-8", string(BAD_UTF8), "81", "", "", ["MQTT5-1.5.4-1"] + own
        yield "with u+0000", string(b"a\0b"), "81", "", "", ["MQTT5-1.5.4-2"]
        yield "of 200 bytes", "00C8 7A*200", "ok", "'" + "z" * 200 + "'", "", []
    else:
        yield "with empty name and value", "0000 0000", "ok", "'':''", "", []
        yield "with empty name", "0000 s'v'", "ok", "'':'v'", "", []
        yield "with empty value", "s'n' 0000", "ok", "'n':''", "", []
        yield "with quotes and backslash", "0001 27 0001 5C", "ok", "'\\x27':'\\x5c'", "", []
        yield "with bad utf-8 in the name", string(BAD_UTF8) + " s'v'", "81", "", "", ["MQTT5-1.5.7-1", "MQTT5-1.5.4-1"]
        yield "with bad utf-8 in the value", "s'n' " + string(BAD_UTF8), "81", "", "", ["MQTT5-1.5.7-1", "MQTT5-1.5.4-1"]
        yield "with u+0000 in the name", string(b"\0") + " s'v'", "81", "", "", ["MQTT5-1.5.7-1", "MQTT5-1.5.4-2"]
        yield "with u+0000 in the value", "s'n' " + string(b"\0"), "81", "", "", ["MQTT5-1.5.7-1", "MQTT5-1.5.4-2"]


def required(place, *present):
    """Bytes and text of the property that must stand in front for the packet to be accepted."""
    names = [prop.name for prop in present]
    if METHOD.name in names:
        return "", ""
    if place.needs == METHOD.name or ("authentication_data" in names and place.letter in "CKX"):
        return "15 s'm'", "authentication_method='m'"
    return "", ""


def packet(place, *blocks, length=None):
    """The packet with these properties; `length` replaces the bytes of the Property Length."""
    block = join(*blocks)
    return frame(place.first, join(place.before, length or varint(size(block)), block, place.after))


def props_row(ids, title, place, options, data, result, texts):
    return row(ids, title, "5", place.to, options, data, result, place.text % ",".join(text for text in texts if text))


def allowed_rows(prop, place):
    name = f"{place.title}: {prop.title}"
    code = f"{prop.code:02X}"
    front, front_text = required(place, prop)
    data, text = sample(prop)
    user_data, user_text = sample(USER)

    for label, value, result, value_text, options, ids in boundary(prop):
        ids = property_ids(place) if ids is None else ids
        if prop.name == "user_property" and result == "ok" and place.letter not in "CP":
            continue
        yield props_row(ids, f"{name} {label}", place, options, packet(place, front, join(code, value)), result,
                        (front_text, f"{prop.name}={value_text}"))

    if place.letter in prop.repeat:
        ids = {"W": ["MQTT5-3.1.3-10"], "P": ["MQTT5-3.3.2-18"]}.get(place.letter, []) if prop is USER else []
        other, other_text = (("26 s'x' 0000", "user_property='x':''") if prop is USER else (f"{code} 8001", f"{prop.name}=128"))
        yield props_row(ids, f"{name} three times", place, "", packet(place, front, data, other, data), "ok",
                        (front_text, text, other_text, text))
    else:
        ids = property_ids(place)
        yield props_row(ids, f"{name} repeated", place, "", packet(place, front, data, data), "82", ())
        yield props_row(ids, f"{name} repeated behind another", place, "",
                        packet(place, front, data, user_data, data), "82", ())

    raw = parse_bytes(data)
    for kept in range(1, len(raw)):
        yield props_row(property_ids(place), f"{name} cut off after {kept} of {len(raw)} bytes", place, "",
                        packet(place, front, hexed(raw[:kept])), "81", ())
    yield props_row(property_ids(place), f"{name} with one byte too many", place, "",
                    packet(place, front, data, "00"), "81", ())
    if prop.kind in ("text", "topic", "binary", "pair"):
        value = "s'ab' FFFF 'cd'" if prop.kind == "pair" else "FFFF 'ab'"
        yield props_row(property_ids(place), f"{name} with a length past the packet", place, "",
                        packet(place, front, join(code, value)), "81", ())


def property_rows():
    out = section("properties: each one in each packet")
    for prop in PROPERTIES:
        for place in PLACES:
            result = verdict(prop, place)
            front, front_text = required(place, prop)
            data, text = sample(prop)
            if place.letter not in prop.where:
                ids = property_ids(place)
            elif result == "82":
                ids = {"P": ["MQTT5-3.3.4-6"], "D": ["MQTT5-3.14.2-2"] if place.to == "client" else []}[place.letter]
            else:
                ids = []
            state = {"ok": "accepted", "81": "not allowed here", "82": "not allowed from this side"}[result]
            out.append(props_row(ids, f"{place.title}: {prop.title} {state}", place, "", packet(place, front, data),
                                 result, (front_text, text)))
    for prop in PROPERTIES:
        out += section(f"property {prop.code:02x} {prop.name}: values, repetition, truncation")
        for place in PLACES:
            if verdict(prop, place) == "ok":
                out += allowed_rows(prop, place)
    return out


def block_rows():
    out = section("property blocks: lengths, unknown identifiers, all properties together")
    user_data, user_text = sample(USER)
    for place in PLACES:
        name = place.title
        front, front_text = required(place)
        ids = property_ids(place)
        filled = join(front, user_data)
        texts = (front_text, user_text)
        if place.needs:
            out.append(props_row(["MQTT5-4.12.0-5"], f"{name}: no properties", place, "", packet(place), "82", ()))
        else:
            out.append(props_row(["MQTT5-2.2.2-1"] if not place.short else [], f"{name}: no properties", place,
                                 "nocanon" if place.short else "", packet(place), "ok", ()))
        if not place.short:
            out.append(props_row(["MQTT5-2.2.2-1"] if not place.needs else [], f"{name}: packet ends before the property length",
                                 place, "", frame(place.first, place.before), "81", ()))
        past = varint(size(filled) + size(place.after) + 1)
        out.append(props_row(ids, f"{name}: property length one past the packet", place, "",
                             packet(place, filled, length=past), "81", ()))
        out.append(props_row(ids, f"{name}: largest property length", place, "",
                             packet(place, filled, length="FFFFFF7F"), "81", ()))
        if size(filled) > 1:
            out.append(props_row(ids, f"{name}: property length one short of its last property", place, "",
                                 packet(place, filled, length=varint(size(filled) - 1)), "81", ()))
        padded = f"{size(filled) | 128:02X}00"
        out.append(props_row(["MQTT5-1.5.5-1"], f"{name}: padded property length", place, "",
                             packet(place, filled, length=padded), "81", ()))
        out.append(props_row([], f"{name}: padded property length in lenient mode", place, "lenient,nocanon",
                             packet(place, filled, length=padded), "ok", texts))
        out.append(props_row(["MQTT5-1.5.5-1"], f"{name}: property length of five bytes", place, "lenient",
                             packet(place, filled, length="8080808000"), "81", ()))
        out.append(props_row(["MQTT5-1.5.5-1"], f"{name}: padded property identifier", place, "",
                             packet(place, front, "A600 s'ab' s'cd'"), "81", ()))
        out.append(props_row([], f"{name}: padded property identifier in lenient mode", place, "lenient,nocanon",
                             packet(place, front, "A600 s'ab' s'cd'"), "ok", texts))
        codes = UNASSIGNED if (name, place.to) == ("publish to server", "server") else (0x00, 0x04, 0x2B, 0x7F)
        for code in codes:
            out.append(props_row(ids, f"{name}: unknown property {code:02x}", place, "",
                                 packet(place, front, f"{code:02X} 00"), "81", ()))
        for label, code in (("80 01", "8001"), ("ff 7f", "FF7F"), ("ff ff ff 7f", "FFFFFF7F"), ("a6 01", "A601")):
            out.append(props_row(ids, f"{name}: unknown property {label}", place, "",
                                 packet(place, front, code, "s'ab' s'cd'"), "81", ()))
        out.append(props_row(ids, f"{name}: unknown property behind a good one", place, "",
                             packet(place, filled, "2B 00"), "81", ()))
        every = [sample(prop) for prop in PROPERTIES if verdict(prop, place) == "ok"]
        if len(every) > 1:
            for label, order in (("rising", every), ("falling", every[::-1])):
                out.append(props_row([], f"{name}: all properties in {label} order", place, "",
                                     packet(place, *[data for data, _ in order]), "ok", [text for _, text in order]))
    return out


# ---------------------------------------------------------------------------------------------------
# 2. First bytes

# (name, sender, right flags, own statements, [(versions, bytes behind the first byte, text)])
SENT_BY_CLIENT, SENT_BY_SERVER, SENT_BY_BOTH = ("server",), ("client",), ("server", "client")
SUB_TAIL = " filter='f' qos=1 no_local=0 retain_as_published=0 retain_handling=0"
TYPES = (
    (1, SENT_BY_CLIENT, 0, (), (
        ("3", "0F s'MQIsdp' 03 02 003C s'c'", "CONNECT version=3 bridge=0 clean_start=1 keep_alive=60 props{} client_id='c'"),
        ("4", "0D s'MQTT' 04 02 003C s'c'", "CONNECT version=4 bridge=0 clean_start=1 keep_alive=60 props{} client_id='c'"),
        ("5", "0E s'MQTT' 05 02 003C 00 s'c'", "CONNECT version=5 bridge=0 clean_start=1 keep_alive=60 props{} client_id='c'"))),
    (2, SENT_BY_SERVER, 0, (), (
        ("3,4", "02 0000", "CONNACK session_present=0 reason=00 props{}"),
        ("5", "03 0000 00", "CONNACK session_present=0 reason=00 props{}"))),
    (4, SENT_BY_BOTH, 0, (), (("3,4,5", "02 0001", "PUBACK packet_id=1 reason=00 props{}"),)),
    (5, SENT_BY_BOTH, 0, (), (("3,4,5", "02 0001", "PUBREC packet_id=1 reason=00 props{}"),)),
    (6, SENT_BY_BOTH, 2, ("3.6.1-1",), (("3,4,5", "02 0001", "PUBREL packet_id=1 reason=00 props{}"),)),
    (7, SENT_BY_BOTH, 0, (), (("3,4,5", "02 0001", "PUBCOMP packet_id=1 reason=00 props{}"),)),
    (8, SENT_BY_CLIENT, 2, ("3.8.1-1",), (
        ("3,4", "06 0001 s'f' 01", "SUBSCRIBE packet_id=1 props{}" + SUB_TAIL),
        ("5", "07 0001 00 s'f' 01", "SUBSCRIBE packet_id=1 props{}" + SUB_TAIL))),
    (9, SENT_BY_SERVER, 0, (), (
        ("3,4", "03 0001 01", "SUBACK packet_id=1 props{} reasons=01"),
        ("5", "04 0001 00 01", "SUBACK packet_id=1 props{} reasons=01"))),
    (10, SENT_BY_CLIENT, 2, ("3.10.1-1",), (
        ("3,4", "05 0001 s'f'", "UNSUBSCRIBE packet_id=1 props{} filter='f'"),
        ("5", "06 0001 00 s'f'", "UNSUBSCRIBE packet_id=1 props{} filter='f'"))),
    (11, SENT_BY_SERVER, 0, (), (
        ("3,4", "02 0001", "UNSUBACK packet_id=1 props{} reasons="),
        ("5", "04 0001 00 11", "UNSUBACK packet_id=1 props{} reasons=11"))),
    (12, SENT_BY_CLIENT, 0, (), (("3,4,5", "00", "PINGREQ"),)),
    (13, SENT_BY_SERVER, 0, (), (("3,4,5", "00", "PINGRESP"),)),
)
NAMES = ("reserved type", "connect", "connack", "publish", "puback", "pubrec", "pubrel", "pubcomp", "subscribe",
         "suback", "unsubscribe", "unsuback", "pingreq", "pingresp", "disconnect", "auth")


def both_ids(versions, v5, v3=None):
    """Statements of the versions a row runs in; `v3` are those of MQTT 3.1.1, by default the same."""
    out = [f"MQTT5-{one}" for one in v5] if "5" in versions else []
    return out + ([f"MQTT311-{one}" for one in (v5 if v3 is None else v3)] if "4" in versions else [])


def flag_rows(kind, to, right, own, variants, wrong_side):
    for versions, tail, text in variants:
        for flags in range(16):
            first = kind << 4 | flags
            title = f"first byte {first:02x}: {NAMES[kind]} to {to}, version {versions.replace(',', ' ')}"
            if flags == right | 8 and right == 2 and "3" in versions and not wrong_side:
                # version 3.1 marks what it sends again with DUP
                rest = versions.replace("3,", "", 1)
                yield row([], f"first byte {first:02x}: {NAMES[kind]} to {to}, version 3", "3", to, "nocanon",
                          f"{first:02X} {tail}", "ok", text)
                yield row(both_ids(rest, ("2.1.3-1",) + own, ("2.2.2-2",) + own),
                          f"first byte {first:02x}: {NAMES[kind]} to {to}, version {rest.replace(',', ' ')}", rest, to,
                          "", f"{first:02X} {tail}", "81")
            elif flags != right:
                if not wrong_side:      # which of the two errors wins is open
                    yield row(both_ids(versions, ("2.1.3-1",) + own, ("2.2.2-2",) + own), title, versions, to, "",
                              f"{first:02X} {tail}", "81")
            elif wrong_side:
                yield row([], title, versions, to, "", f"{first:02X} {tail}", "82")
            else:
                yield row(both_ids(versions, (), ("2.2.2-1",)), title, versions, to, "", f"{first:02X} {tail}", "ok", text)


def first_byte_rows():
    out = section("first bytes: packet type and flags")
    for to in ("server", "client"):
        for flags in range(16):
            out.append(row(["MQTT5-2.1.3-1"], f"first byte {flags:02x}: reserved type to {to}", "3,4,5", to, "",
                           f"{flags:02X} 00", "81"))
    for kind, receivers, right, own, variants in TYPES:
        for to in ("server", "client"):
            out += flag_rows(kind, to, right, own, variants, to not in receivers)
    for to in ("server", "client"):
        for versions, tail in (("3,4", ""), ("5", "00")):
            for flags in range(16):
                dup, qos, retain = flags >> 3, flags >> 1 & 3, flags & 1
                first = 0x30 | flags
                body = join("s'a'", "0001" if qos else "", tail, "'hi'")
                title = f"first byte {first:02x}: publish to {to}, version {versions.replace(',', ' ')}"
                if qos == 3:
                    out.append(row(both_ids(versions, ("3.3.1-4",)), title, versions, to, "", frame(first, body), "81"))
                elif dup and not qos:
                    out.append(row(both_ids(versions, ("3.3.1-2",)), title, versions, to, "", frame(first, body), "81"))
                else:
                    number = " packet_id=1" if qos else ""
                    out.append(row([], title, versions, to, "", frame(first, body), "ok",
                                   f"PUBLISH dup={dup} qos={qos} retain={retain} topic='a'{number} props{{}} payload=x:6869"))
    bye = "DISCONNECT reason=00 props{}"
    out += flag_rows(14, "server", 0, ("3.14.1-1",), (("3,4,5", "00", bye),), False)
    out += flag_rows(14, "client", 0, (), (("3,4", "00", bye),), True)
    out += flag_rows(14, "client", 0, ("3.14.1-1",), (("5", "00", bye),), False)
    for to in ("server", "client"):
        out += flag_rows(15, to, 0, ("3.15.1-1",), (("5", "06 18 04 15 s'm'", "AUTH reason=18 props{authentication_method='m'}"),),
                         False)
        for flags in range(16):
            out.append(row([], f"first byte {0xF0 | flags:02x}: auth to {to}, version 3 4", "3,4", to, "",
                           f"{0xF0 | flags:02X} 00", "81"))
    return out


# ---------------------------------------------------------------------------------------------------
# 3. Reason codes

PUBLISH_CODES = "00 10 80 83 87 90 91 97 99"
# (packet, receiver, versions, statement, codes, bytes around the code, text, longer than needed for 00)
CODES = (
    ("connack", "client", "5", "3.2.2-8", "00 80 81 82 83 84 85 86 87 88 89 8A 8C 90 95 97 99 9A 9B 9C 9D 9F",
     "20 03 00 %s 00", "CONNACK session_present=0 reason=%s props{}", False),
    ("puback", "server", "5", "3.4.2-1", PUBLISH_CODES, "40 03 0001 %s", "PUBACK packet_id=1 reason=%s props{}", True),
    ("puback", "client", "5", "3.4.2-1", PUBLISH_CODES, "40 03 0001 %s", "PUBACK packet_id=1 reason=%s props{}", True),
    ("pubrec", "server", "5", "3.5.2-1", PUBLISH_CODES, "50 03 0001 %s", "PUBREC packet_id=1 reason=%s props{}", True),
    ("pubrec", "client", "5", "3.5.2-1", PUBLISH_CODES, "50 03 0001 %s", "PUBREC packet_id=1 reason=%s props{}", True),
    ("pubrel", "server", "5", "3.6.2-1", "00 92", "62 03 0001 %s", "PUBREL packet_id=1 reason=%s props{}", True),
    ("pubrel", "client", "5", "3.6.2-1", "00 92", "62 03 0001 %s", "PUBREL packet_id=1 reason=%s props{}", True),
    ("pubcomp", "server", "5", "3.7.2-1", "00 92", "70 03 0001 %s", "PUBCOMP packet_id=1 reason=%s props{}", True),
    ("pubcomp", "client", "5", "3.7.2-1", "00 92", "70 03 0001 %s", "PUBCOMP packet_id=1 reason=%s props{}", True),
    ("suback", "client", "5", "3.9.3-2", "00 01 02 80 83 87 8F 91 97 9E A1 A2",
     "90 04 0001 00 %s", "SUBACK packet_id=1 props{} reasons=%s", False),
    ("suback", "client", "3,4", "3.9.3-2", "00 01 02 80", "90 03 0001 %s", "SUBACK packet_id=1 props{} reasons=%s", False),
    ("unsuback", "client", "5", "3.11.3-2", "00 11 80 83 87 8F 91",
     "B0 04 0001 00 %s", "UNSUBACK packet_id=1 props{} reasons=%s", False),
    ("disconnect", "server", "5", "3.14.2-1", "00 04 80 81 82 83 90 93 94 95 96 97 98 99",
     "E0 01 %s", "DISCONNECT reason=%s props{}", True),
    ("disconnect", "client", "5", "3.14.2-1",
     "00 80 81 82 83 87 89 8B 8D 8E 8F 90 93 94 95 96 97 98 99 9A 9B 9C 9D 9E 9F A0 A1 A2",
     "E0 01 %s", "DISCONNECT reason=%s props{}", True),
    ("auth", "server", "5", "3.15.2-1", "18 19", "F0 06 %s 04 15 s'm'", "AUTH reason=%s props{authentication_method='m'}", False),
    ("auth", "client", "5", "3.15.2-1", "00 18", "F0 06 %s 04 15 s'm'", "AUTH reason=%s props{authentication_method='m'}", False),
)
# Every code of MQTT 5, the gaps between them and the neighbours.
CANDIDATES = (*range(0x00, 0x06), 0x0F, 0x10, 0x11, 0x12, 0x17, 0x18, 0x19, 0x1A, *range(0x7F, 0xA4), 0xFE, 0xFF)
# Return codes of CONNACK before version 5 as reason codes; all others are refused.
RETURN_CODES = ("00", "84", "85", "88", "86", "87")


def code_rows():
    out = section("reason codes")
    for name, to, versions, statement, codes, data, text, longer in CODES:
        allowed = [int(code, 16) for code in codes.split()]
        ids = both_ids(versions, (statement,))
        for code in CANDIDATES:
            result = "ok" if code in allowed else "82"
            options = "nocanon" if longer and code == 0 else ""
            out.append(row(ids, f"reason code {code:02x} in {name} to {to}, version {versions.replace(',', ' ')}", versions, to,
                           options, data % f"{code:02X}", result, text % f"{code:02x}"))
    for code in (*range(0x00, 0x10), 0x7F, 0x80, 0x84, 0x87, 0xFE, 0xFF):
        known = code < len(RETURN_CODES)
        out.append(row(["MQTT311-3.2.2-6"], f"return code {code} in connack before version 5", "3,4", "client", "",
                       f"20 02 00 {code:02X}", "ok" if known else "82",
                       f"CONNACK session_present=0 reason={RETURN_CODES[code] if known else ''} props{{}}"))
    return out


# ---------------------------------------------------------------------------------------------------
# 4. Strings

# (bytes, label, class): bad = ill-formed, nul = has U+0000, ctl = control or non-character, mark = U+FEFF, ok
UTF8 = (
    (b"\x80", "a lone 80", "bad"), (b"a\xBFb", "a lone bf", "bad"), (b"\xC0\x80", "overlong u+0000", "bad"),
    (b"\xC0\xAF", "overlong u+002f of two bytes", "bad"), (b"\xC1\xBF", "overlong u+007f", "bad"),
    (b"\xE0\x80\xAF", "overlong u+002f of three bytes", "bad"), (b"\xE0\x9F\xBF", "overlong u+07ff", "bad"),
    (b"\xF0\x80\x80\xAF", "overlong u+002f of four bytes", "bad"), (b"\xF0\x8F\xBF\xBF", "overlong u+ffff", "bad"),
    (b"\xED\xA0\x80", "surrogate u+d800", "bad"), (b"\xED\xAF\xBF", "surrogate u+dbff", "bad"),
    (b"\xED\xB0\x80", "surrogate u+dc00", "bad"), (b"\xED\xBF\xBF", "surrogate u+dfff", "bad"),
    (b"\xED\xA0\xBD\xED\xB8\x80", "surrogate pair", "bad"), (b"\xF4\x90\x80\x80", "u+110000", "bad"),
    (b"\xF5\x80\x80\x80", "lead byte f5", "bad"), (b"\xF7\xBF\xBF\xBF", "u+1fffff", "bad"),
    (b"\xF8\x88\x80\x80\x80", "five byte form", "bad"), (b"\xFE", "byte fe", "bad"), (b"\xFF", "byte ff", "bad"),
    (b"a\xC3", "cut two byte form", "bad"), (b"a\xE2\x82", "cut three byte form", "bad"), (b"a\xF0\x9F\x98", "cut four byte form", "bad"),
    (b"\xC3a", "broken two byte form", "bad"), (b"\xE2\x82a", "broken three byte form", "bad"), (b"\xF0\x9F\x98a", "broken four byte form", "bad"),
    (b"\xC3\xC3\xA4", "lead byte twice", "bad"), (b"a\x80\x80b", "two lone continuation bytes", "bad"),
    (b"\0", "only u+0000", "nul"), (b"a\0", "u+0000 at the end", "nul"), (b"a\0b", "u+0000 inside", "nul"),
    (b"\x01", "u+0001", "ctl"), (b"a\x1Fb", "u+001f", "ctl"), (b"\x7F", "u+007f", "ctl"), (b"\xC2\x80", "u+0080", "ctl"),
    (b"\xC2\x9F", "u+009f", "ctl"), (b"\xEF\xB7\x90", "u+fdd0", "ctl"), (b"\xEF\xB7\xAF", "u+fdef", "ctl"), (b"\xEF\xBF\xBE", "u+fffe", "ctl"),
    (b"\xEF\xBF\xBF", "u+ffff", "ctl"), (b"\xF0\x9F\xBF\xBE", "u+1fffe", "ctl"), (b"\xF4\x8F\xBF\xBF", "u+10ffff", "ctl"),
    (b"\xEF\xBB\xBF", "only u+feff", "mark"), (b"\xEF\xBB\xBFa", "leading u+feff", "mark"), (b"a\xEF\xBB\xBF", "trailing u+feff", "mark"),
    (b" ", "u+0020", "ok"), (b"~", "u+007e", "ok"), (b"\xC2\xA0", "u+00a0", "ok"), (b"\xDF\xBF", "u+07ff", "ok"), (b"\xE0\xA0\x80", "u+0800", "ok"),
    (b"\xED\x9F\xBF", "u+d7ff", "ok"), (b"\xEE\x80\x80", "u+e000", "ok"), (b"\xEF\xB7\x8F", "u+fdcf", "ok"), (b"\xEF\xB7\xB0", "u+fdf0", "ok"),
    (b"\xEF\xBF\xBD", "u+fffd", "ok"), (b"\xF0\x90\x80\x80", "u+10000", "ok"), (b"\xF0\x9F\xBF\xBD", "u+1fffd", "ok"), (b"\xF4\x8F\xBF\xBD", "u+10fffd", "ok"),
)
SHORT_LIST = ("overlong u+0000", "surrogate u+d800", "u+110000", "cut three byte form", "a lone bf", "u+0000 inside", "u+001f", "u+ffff", "leading u+feff",
              "u+10fffd")

# (field, versions, receiver, first byte, bytes and text around the string, is a topic name or filter,
#  own statements of ill-formed UTF-8, all classes or the short list)
C3 = "CONNECT version=3 bridge=0 clean_start=1 keep_alive=60 props{} "
C4 = "CONNECT version=4 bridge=0 clean_start=1 keep_alive=60 props{} "
C5 = "CONNECT version=5 bridge=0 clean_start=1 keep_alive=60 props{} "
SUB = "%s qos=0 no_local=0 retain_as_published=0 retain_handling=0"
FIELDS = (
    ("client id of version 3", "3", "server", 0x10, "s'MQIsdp' 03 02 003C %s", C3 + "client_id=%s", False, (), False),
    ("client id of version 4", "4", "server", 0x10, "s'MQTT' 04 02 003C %s", C4 + "client_id=%s", False, ("3.1.3-4",), True),
    ("client id of version 5", "5", "server", 0x10, "s'MQTT' 05 02 003C 00 %s", C5 + "client_id=%s", False, ("3.1.3-4",), True),
    ("will topic of version 4", "4", "server", 0x10, "s'MQTT' 04 06 003C s'c' %s s'x'",
     C4 + "client_id='c' will{qos=0 retain=0 props{} topic=%s payload=x:78}", True, ("3.1.3-10",), False),
    ("will topic of version 5", "5", "server", 0x10, "s'MQTT' 05 06 003C 00 s'c' 00 %s s'x'",
     C5 + "client_id='c' will{qos=0 retain=0 props{} topic=%s payload=x:78}", True, ("3.1.3-11",), False),
    ("user name of version 4", "4", "server", 0x10, "s'MQTT' 04 82 003C s'c' %s", C4 + "client_id='c' username=%s", False, ("3.1.3-11",), False),
    ("user name of version 5", "5", "server", 0x10, "s'MQTT' 05 82 003C 00 s'c' %s", C5 + "client_id='c' username=%s", False, ("3.1.3-12",), False),
    ("topic of version 3 4", "3,4", "client", 0x30, "%s 'hi'", "PUBLISH dup=0 qos=0 retain=0 topic=%s props{} payload=x:6869", True, ("3.3.2-1",), False),
    ("topic of version 5", "5", "server", 0x30, "%s 00 'hi'", "PUBLISH dup=0 qos=0 retain=0 topic=%s props{} payload=x:6869", True, ("3.3.2-1",), True),
    ("subscribe filter of version 3 4", "3,4", "server", 0x82, "0001 %s 00", "SUBSCRIBE packet_id=1 props{} filter=" + SUB, True, ("3.8.3-1",), False),
    ("subscribe filter of version 5", "5", "server", 0x82, "0001 00 %s 00", "SUBSCRIBE packet_id=1 props{} filter=" + SUB, True, ("3.8.3-1",), True),
    ("unsubscribe filter of version 3 4", "3,4", "server", 0xA2, "0001 %s", "UNSUBSCRIBE packet_id=1 props{} filter=%s", True, ("3.10.3-1",), False),
    ("unsubscribe filter of version 5", "5", "server", 0xA2, "0001 00 %s", "UNSUBSCRIBE packet_id=1 props{} filter=%s", True, ("3.10.3-1",), False),
)
# Properties with a string: (property, receiver of the packet, place, name or value of a pair, own statements)
STRING_PROPERTIES = (
    ("content_type", "publish", "server", ("3.3.2-19",), False), ("content_type", "will", "server", ("3.3.2-19",), False),
    ("response_topic", "publish", "server", ("3.3.2-13",), False), ("response_topic", "will", "server", ("3.3.2-13",), False),
    ("assigned_client_identifier", "connack", "client", (), False), ("authentication_method", "connect", "server", (), False),
    ("authentication_method", "auth", "client", (), False), ("response_information", "connack", "client", (), False),
    ("server_reference", "disconnect", "client", (), False), ("reason_string", "puback", "server", (), False),
    ("reason_string", "suback", "client", (), False), ("user_property name", "publish", "server", ("1.5.7-1",), True),
    ("user_property value", "publish", "client", ("1.5.7-1",), False), ("user_property name", "unsubscribe", "server", ("1.5.7-1",), False),
    ("user_property value", "connect", "server", ("1.5.7-1",), False),
)


def string_fields():
    yield from FIELDS
    for name, place_name, to, own, full in STRING_PROPERTIES:
        name, _, half = name.partition(" ")
        place = next(p for p in PLACES if (p.name, p.to) == (place_name, to))
        prop = next(p for p in PROPERTIES if p.name == name)
        value, value_text = {"": ("%s", "%s"), "name": ("%s s'v'", "%s:'v'"), "value": ("s'n' %s", "'n':%s")}[half]
        title = f"{join(prop.title, half)} in {place_name} to {to}"
        yield (title, "5", to, place.first, (place.before, f"{prop.code:02X} {value}", place.after),
               place.text % f"{name}={value_text}", prop.kind == "topic", own, full)


def string_rows():
    out = section("strings: classes of utf-8 in every kind of field")
    for field, versions, to, first, around, text, is_topic, own, full in string_fields():
        for raw, label, kind in UTF8:
            if not full and label not in SHORT_LIST:
                continue
            if isinstance(around, tuple):
                before, block, after = around
                block %= string(raw)
                data = frame(first, join(before, varint(size(block)), block, after))
            else:
                data = frame(first, around % string(raw))
            written = text % f"'{shown(raw)}'"
            title = f"{field}: {label}"
            if kind == "bad":
                out.append(row(both_ids(versions, ("1.5.4-1",) + own, ("1.5.3-1",) + own), title, versions, to, "", data, "81"))
            elif kind == "nul":
                ids = both_ids(versions, ("1.5.4-2",), ("1.5.3-2",))
                if is_topic:
                    ids += both_ids(versions, ("4.7.3-2",))
                out.append(row(ids, title, versions, to, "", data, "81"))
            elif kind == "ctl" and is_topic:
                out.append(row([], title, versions, to, "", data, "81"))
                out.append(row([], title + " with option control", versions, to, "control", data, "ok", written))
            else:
                ids = both_ids(versions, ("1.5.4-3",), ("1.5.3-3",)) if kind == "mark" else []
                out.append(row(ids, title, versions, to, "", data, "ok", written))
    return out


# ---------------------------------------------------------------------------------------------------


def table():
    lines = property_rows() + block_rows() + first_byte_rows() + code_rows() + string_rows()
    return HEADER + "\n".join(lines) + "\n"


def main(argv=None):
    parser = argparse.ArgumentParser(description="Write packets-props.tsv.")
    parser.add_argument("--check", action="store_true", help="write nothing, exit with 1 if the file is stale")
    args = parser.parse_args(argv)
    content = table().encode("utf-8")
    if not args.check:
        TARGET.write_bytes(content)
        return 0
    if not TARGET.exists() or TARGET.read_bytes() != content:
        print(f"{TARGET.name} is stale, run gen_props.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
