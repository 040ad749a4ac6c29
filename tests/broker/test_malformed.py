# SPDX-License-Identifier: Apache-2.0
"""Every row of the tables of packets that is sent to a server, sent to the broker.

A refused packet must get the documented reason and the end of the connection: in version 5 by CONNACK
or DISCONNECT, before by nothing (CONNACK where 3.1.1 has a code). An accepted one must not be called
malformed. An incomplete one must get no answer. Then the broker must still be there for others.
"""

import collections
import re

import pytest

import packets
from mqtt import Client, Closed, Malformed, Timeout, split

# Rows about a size limit set another limit than the broker's; control characters have no option.
ROWS = [row for row in packets.load() if row.to == "server" and not row.max_size and not row.control]
GROUPS = collections.defaultdict(list)
for _row in ROWS:
    for _version in _row.versions:
        GROUPS["lenient" if _row.lenient else "strict", _version, _row.packet].append(_row)

# 3.1.1's CONNACK for a reason of version 5.
OLD_CODES = {0x84: 1, 0x85: 2}
CONNECT_LIMIT = 65536
PACKET_LIMIT = 16777216
# To one whose version is not known: nothing, or "not this version" in the form of 3.1.1 or of 5.
NO_VERSION = re.compile(rb"(?:\x20\x02\x00\x01|\x20.\x00\x84.*)?", re.S)


def outcome(client):
    """("quiet",), ("closed",) or ("packet", the packet), from what comes next."""
    try:
        return ("packet", client.recv())
    except Closed:
        return ("closed",)


def everything(client):
    """All bytes until the end of the connection."""
    data = b""
    while True:
        try:
            piece = client.sock.recv(65536)
        except ConnectionResetError:
            return data
        if not piece:
            return data
        data += piece


def then_closed(client):
    try:
        client.expect_closed()
        return None
    except (AssertionError, Timeout, Malformed) as error:
        return f"not closed after the refusal: {error}"


def try_connect(broker, row, version):
    """The first packet of a connection."""
    with Client(broker.port, version) as client:
        client.send(row.data)
        if row.result == "more":
            client.finish()
            result = outcome(client)
            return None if result == ("closed",) else f"answer to a part: {result}"
        if row.result == "84":
            data = everything(client)
            return None if NO_VERSION.fullmatch(data) else f"answer {data[:40].hex()}"
        result = outcome(client)
        if "maximum_packet_size=" in row.text and result == ("closed",):
            return None                                         # smaller than a CONNACK
        if row.result == "ok":
            if result[0] != "packet" or result[1].kind != "CONNACK":
                return f"{result}"
            reason = result[1].reason
            if "bridge=1" in row.text:
                return None                                     # may be refused
            if "authentication_method" in row.text:
                return None if reason == 0x8C else f"{result}"
            return None if reason == 0 else f"{result}"
        code = int(row.result, 16)
        level_known = version == 5 and row.data[0] == 0x10 and b"\0\4MQTT\5" in row.data[:12]
        if result == ("closed",):
            return "no CONNACK" if level_known else None
        connack = result[1]
        if connack.kind != "CONNACK" or connack.session_present:
            return f"{connack}"
        if version == 5 and connack.reason != code:
            return f"{connack}, expected 0x{code:02x}"
        if version < 5 and connack.reason != OLD_CODES.get(code):
            return f"{connack} where the connection should be closed"
        return then_closed(client)


def try_other(broker, row, version):
    """A packet of a connected client."""
    with Client(broker.port, version) as client:
        client.connect("malformed")
        client.send(row.data)
        if row.result == "more":
            client.finish()
            result = outcome(client)
            if result[0] == "packet" and version == 5 and sum(split(row.data) or (0,)) > PACKET_LIMIT:
                return None if result[1].reason == 0x95 else f"{result}"
            return None if result == ("closed",) else f"answer to a part: {result}"
        if row.result == "ok":
            return accepted(client, row, version)
        try:
            packet = client.recv()
        except Closed:
            return "closed without DISCONNECT" if version == 5 else None
        if version < 5:
            return f"{packet} where the connection should be closed"
        allowed = {int(row.result, 16)}
        if row.packet == "AUTH":
            allowed.add(0x82)               # there was no method: either error may be found first
        if packet.kind != "DISCONNECT" or packet.reason not in allowed:
            return f"{packet}, expected {row.result}"
        return then_closed(client)


def accepted(client, row, version):
    """A well-formed packet is not refused as malformed; what the state of the connection says about it
    is for other tests."""
    if row.packet == "DISCONNECT":
        return None if outcome(client) == ("closed",) or version == 5 else "not closed"
    topic = row.text.partition("topic='")[2][:1]
    try:
        client.ping()
        return None
    except Closed:
        last = client.inbox[-1] if client.inbox else None
        if version < 5:
            return None if topic == "$" else "closed"
        if last is None or last.kind != "DISCONNECT":
            return "closed without DISCONNECT"
        stateful = row.packet in ("AUTH", "PUBACK", "PUBCOMP", "PUBREC", "PUBREL") or \
            "topic_alias" in row.text or topic == "$"
        return None if stateful and last.reason != 0x81 else f"{last}"


@pytest.fixture(scope="module")
def lenient_broker(tmp_path_factory):
    import conftest
    running = conftest.Broker(tmp_path_factory.mktemp("lenient"), {"limits": {"lenient": True}},
                              conftest.BIN)
    yield running
    running.stop()


@pytest.mark.parametrize("mode,version,kind", sorted(GROUPS))
def test_rows(request, broker, mode, version, kind):
    target = request.getfixturevalue("lenient_broker") if mode == "lenient" else broker
    wrong = []
    for row in GROUPS[mode, version, kind]:
        if kind == "CONNECT" and len(row.data) > CONNECT_LIMIT - 16:
            continue
        attempt = try_connect if kind == "CONNECT" else try_other
        try:
            problem = attempt(target, row, version)
        except (AssertionError, ConnectionError, Timeout, Malformed) as error:
            problem = f"{type(error).__name__}: {error}"
        if problem:
            wrong.append(f"{row.source} {row.title}: {problem}")
        if len(wrong) == 40:
            break
    assert not wrong, f"{len(wrong)} of {len(GROUPS[mode, version, kind])} rows:\n" + "\n".join(wrong)
    target.connect(f"after{version}{kind}", version).ping()


@pytest.mark.parametrize("version", [3, 4, 5])
def test_broken_bytes_at_every_place(broker, name, version):
    """Each byte of some good packets, set to other values: anything may come of it but the end of the
    broker or a packet that no server may send."""
    from mqtt import Filter, Packet, Will, encode
    probe = Client(broker.port, version)
    good = [encode(probe.connect_packet(name, will=Will("w", "x", 1), username="u", password="p"),
                   version),
            encode(probe.publish_packet(name, "x", qos=2, packet_id=1), version),
            encode(probe.subscribe_packet(Filter(name, 1), packet_id=2), version),
            encode(Packet("UNSUBSCRIBE", packet_id=3, props={}, filters=[name]), version)]
    probe.close()
    for index, data in enumerate(good):
        for at in range(len(data)):
            for value in (0x00, 0x7F, 0x80, 0xFF):
                with Client(broker.port, version) as client:
                    if index:
                        client.connect(name)
                    try:
                        client.send(data[:at] + bytes([value]) + data[at + 1:])
                        client.finish()
                        if index == 0:
                            # The version may be another now: no more is known than this.
                            assert everything(client)[:1] in (b"", b"\x20")
                            continue
                        while True:
                            client.recv()
                    except ConnectionError:
                        pass
    broker.connect(name, version).ping()
