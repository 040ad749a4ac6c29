# SPDX-License-Identifier: Apache-2.0
"""A bridge as a client of MQTT, against a remote that does what each test says: what the standards ask of clients.

Which statements they are is in ../conformance/statements-client.tsv. Besides what a test asks for, the remote itself
refuses what no client may send (tests/lib/remote.py).
"""

import base64
import hashlib
import hmac
import time

import pytest

import scram
import test_bridge
import test_plugin
from mqtt import Closed, Filter, Packet, Timeout, binary, encode, frame, properties, varint, wait_until
from remote import Remote
from test_bridge import FOLDER, _reload, bridge, config, needs_store, sub, topic

pytestmark = [pytest.mark.skipif(not (FOLDER / "plugins/bridge/bridge.so").exists(), reason="built without bridge"),
              pytest.mark.statement()]
TEXT = {3: "3.1", 4: "3.1.1", 5: "5.0"}
BOTH = pytest.mark.parametrize("version", [4, 5])
VERY_FAST = {"backoff_min": "10ms", "backoff_max": "20ms"}
plugins, script = test_bridge.plugins, test_plugin.script       # fixtures
OUT, IN = topic("out", "o/#", 2), topic("in", "i/#", 2)


@pytest.fixture
def remote(run_broker):
    """Goes before the broker does."""
    made = Remote()
    yield made
    made.close()


@pytest.fixture
def dial(run_broker, plugins, remote):
    """dial(topics…, version=5, store=False, expected_errors=None, keys of the bridge…): a broker that dials it."""
    def start(*topics, version=5, store=False, expected_errors=None, **more):
        made = config(plugins, bridge(remote.port, *(topics or (OUT,)), version=TEXT[version], **more), store=store)
        return run_broker(made, expected_errors=expected_errors)

    return start


def message(conn, topic_, payload="x", qos=0, **more):
    """A PUBLISH of the remote."""
    packet = conn.publish_packet(topic_, payload, qos, **more)
    conn.send(packet)
    return packet


def payloads(conn, count):
    """Those of the next PUBLISHes, which are not acknowledged."""
    return [conn.message(ack=False).payload.decode() for _ in range(count)]


def is_malformed(conn):
    """The bridge has ended the connection for what no broker may send."""
    conn.expect_refused(0x81, 0x82)


def settle(conn):
    """All that was sent before has been handled: QoS 2 of an id that is not known is answered in any state."""
    conn.ack("PUBREL", 65000)
    conn.wait("PUBCOMP", packet_id=65000)


# --- CONNECT ---


@BOTH
def test_connect_is_first_and_once(dial, remote, version):
    """Name and level of the protocol, its client id, a session that lasts, and no will that nobody asked for."""
    near = dial(version=version)
    conn = remote.connected()
    hello = conn.greeting
    assert (hello.version, hello.bridge) == (version, 1 if version == 4 else 0)
    assert (hello.client_id, hello.clean_start, hello.keep_alive) == ("bridge-up", 0, 60)
    assert not any(hasattr(hello, name) for name in ("will", "username", "password"))
    if version == 5:
        assert hello.props["session_expiry_interval"] == 0xFFFFFFFF
        assert hello.props["receive_maximum"] == 1000 and hello.props["topic_alias_maximum"] == 10
    conn.accept()
    test_bridge.wait_up(near)       # what has QoS 0 waits for nobody
    speaker = near.connect()
    for qos in (0, 1, 2):
        speaker.publish("o/1", str(qos), qos=qos)
        assert conn.message(qos=qos).topic == "o/1"
    conn.expect_quiet(0.1)


@BOTH
def test_connect_as_configured(dial, remote, version):
    """Will, user name, password, keep alive and limits; the will's fields are those of the message."""
    dial(version=version, clean_session=True, keep_alive="7s", session_expiry="1h", receive_maximum=17,
         max_packet_size=5000, topic_alias_maximum=0, username="ümläut", password="pass word",
         notifications_local_only=False, notification_topic="state/x")
    hello = remote.connected().greeting
    assert (hello.clean_start, hello.keep_alive, hello.username, hello.password) == (1, 7, "ümläut", b"pass word")
    assert (hello.will.topic, hello.will.payload, hello.will.qos, hello.will.retain) == ("state/x", b"0", 1, 1)
    assert not hello.will.props
    if version == 5:
        assert hello.props["session_expiry_interval"] == 3600 and hello.props["receive_maximum"] == 17
        assert hello.props["maximum_packet_size"] == 5000 and "topic_alias_maximum" not in hello.props


def test_password_without_user_name(dial, remote):
    """Only MQTT 5 can say that."""
    dial(password="alone")
    hello = remote.connected().greeting
    assert hello.password == b"alone" and not hasattr(hello, "username")


def test_version_3_1(dial, remote):
    near = dial(version=3, try_private=False)
    conn = remote.connected()
    assert (conn.version, conn.greeting.bridge) == (3, 0)
    conn.accept()
    near.connect().publish("o/1", "x", qos=1)
    conn.message(qos=1, dup=0)


@BOTH
def test_each_connection_has_its_client_id(dial, remote, version):
    """Two with the same would throw each other out."""
    dial(version=version, connections=3)
    ids = {remote.up().greeting.client_id for _ in range(3)}
    assert len(ids) == 3 and "bridge-up" in ids


@BOTH
def test_nothing_before_connack(dial, remote, version):
    near = dial(OUT, IN, version=version, notifications_local_only=False, notification_topic="s")
    conn = remote.connected()
    near.connect().publish("o/1", "x", qos=1)
    conn.expect_quiet(0.3)
    conn.accept()
    conn.wait("SUBSCRIBE")
    assert conn.wait("PUBLISH", topic="o/1").dup == 0


@pytest.mark.parametrize("how", ["refused", "closed", "other code"])
def test_private_and_its_fallback(dial, remote, how):
    """MQTT 3: bit 7 of the version says that it is a bridge. Who does not understand is asked without."""
    near = dial(version=4)
    conn = remote.connected()
    assert conn.greeting.bridge == 1
    if how == "closed":
        conn.close()
    else:
        conn.refuse(1 if how == "refused" else 3)
        conn.expect_closed()
    conn = remote.connected()
    assert (conn.version, conn.greeting.bridge) == (4, 1 if how == "other code" else 0)
    conn.accept()
    near.connect().publish("o/1", "x", qos=1)
    conn.message(topic="o/1")


# --- CONNACK ---


@BOTH
def test_session_present_after_clean_start(dial, remote, version):
    dial(version=version, clean_session=True)
    conn = remote.up(present=1)
    conn.expect_refused(0x82)
    assert remote.connected().greeting.clean_start == 1


@BOTH
def test_session_present_without_one_here(dial, remote, version):
    """It ends that session and begins with none."""
    near = dial(version=version)
    conn = remote.up(present=1)
    conn.wait("DISCONNECT", reason=0)
    conn.expect_closed()
    conn = remote.connected()
    assert conn.greeting.clean_start == 1
    conn.accept()
    if version == 4:    # that session would end with its connection
        conn.wait("DISCONNECT")
        conn.expect_closed()
        conn = remote.connected()
        assert conn.greeting.clean_start == 0
        conn.accept()
    near.connect().publish("o/1", "x", qos=1)
    conn.message(topic="o/1", dup=0)
    conn.reset()
    assert remote.connected().greeting.clean_start == 0


@BOTH
def test_a_forgotten_session(dial, remote, version):
    """Session Present 0: nothing is released or resent as of before; what had not been acknowledged is new."""
    near = dial(OUT, IN, version=version)
    inside = sub(near, "i/#")
    conn = remote.up()
    conn.subscribed()
    speaker = near.connect()
    speaker.publish("o/1", "released", qos=2)
    speaker.publish("o/1", "sent", qos=2)
    first, _ = conn.message(ack=False), conn.message(ack=False)
    conn.ack("PUBREC", first.packet_id)
    conn.wait("PUBREL")
    message(conn, "i/1", "one", qos=2, packet_id=9)
    conn.wait("PUBREC", packet_id=9)
    assert inside.message().payload == b"one"
    conn.reset()
    conn = remote.up(present=0)
    conn.subscribed()
    packet = conn.message(dup=0, qos=2)
    if packet.payload == b"released":
        packet = conn.message(dup=0, qos=2)
    assert packet.payload == b"sent"
    message(conn, "i/1", "two", qos=2, packet_id=9)     # of another session: a new one
    conn.wait("PUBREC", packet_id=9)
    assert inside.message().payload == b"two"


@pytest.mark.parametrize("version, codes", [
    (4, [1, 2, 3, 4, 5]),
    (5, [0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95, 0x97, 0x99, 0x9A, 0x9B,
         0x9C, 0x9D, 0x9F])])
def test_refused(dial, remote, version, codes):
    """Each refusal ends the connection without a further word, and it is tried again."""
    near = dial(version=version, try_private=False, **VERY_FAST)
    for code in codes:
        conn = remote.connected()
        props = {"reason_string": "because", "user_property": [("a", "b")]} if version == 5 else {}
        if code in (0x9C, 0x9D):
            props["server_reference"] = "elsewhere:1883"
        conn.refuse(code, **props)
        conn.expect_closed()
    remote.up()
    wait_until(lambda: "connected to 127.0.0.1" in near.log())


@BOTH
def test_back_off(dial, remote, version):
    """Between two attempts at least half of what is said goes by."""
    dial(version=version, try_private=False, backoff_min="400ms", backoff_max="800ms")
    begin = time.monotonic()
    for _ in range(3):
        remote.connected().refuse(0x88 if version == 5 else 3)
    remote.connected()
    assert time.monotonic() - begin >= 0.2 + 0.4 + 0.4 - 0.01


CONNACK_HEAD = b"\0\0"
WRONG_CONNACKS = {
    "reserved flags": b"\x20\x03\x02\0\0",
    "Session Present with an error": b"\x20\x03\x01\x80\0",
    "flags of the header": b"\x21\x03\0\0\0",
    "without properties": b"\x20\x02\0\0",
    "properties longer than the packet": b"\x20\x03\0\0\x05",
    "a reason that there is not": b"\x20\x03\0\x7b\0",
    "a reason of others": b"\x20\x03\0\x10\0",
    "bytes behind": b"\x20\x04\0\0\0\0",
    "Receive Maximum 0": frame(0x20, CONNACK_HEAD + properties({"receive_maximum": 0})),
    "Maximum QoS 2": frame(0x20, CONNACK_HEAD + properties({"maximum_qos": 2})),
    "Retain Available 2": frame(0x20, CONNACK_HEAD + properties({"retain_available": 2})),
    "Maximum Packet Size 0": frame(0x20, CONNACK_HEAD + properties({"maximum_packet_size": 0})),
    "twice": frame(0x20, CONNACK_HEAD + varint(6) + b"\x21\0\x05" * 2),
    "a property of PUBLISH": frame(0x20, CONNACK_HEAD + properties({"topic_alias": 1})),
    "a property that there is not": frame(0x20, CONNACK_HEAD + b"\x02\x7e\0"),
    "not UTF-8": frame(0x20, CONNACK_HEAD + properties({"reason_string": b"\xff"})),
    "U+0000": frame(0x20, CONNACK_HEAD + properties({"reason_string": "a\0b"})),
}
WRONG_CONNACKS_3 = {
    "reserved flags": b"\x20\x02\x02\0",
    "Session Present with an error": b"\x20\x02\x01\x03",
    "flags of the header": b"\x21\x02\0\0",
    "a code that there is not": b"\x20\x02\0\x06",
    "too short": b"\x20\x01\0",
    "too long": b"\x20\x03\0\0\0",
}


@BOTH
def test_wrong_connacks(dial, remote, version):
    near = dial(version=version, try_private=False, **VERY_FAST)
    found = {}
    for what, data in (WRONG_CONNACKS if version == 5 else WRONG_CONNACKS_3).items():
        conn = remote.connected()
        conn.send(data)
        found[what] = how_it_ends(conn, version)
        conn.close()
    assert not {what: why for what, why in found.items() if why}
    remote.up()
    wait_until(lambda: "connected to 127.0.0.1" in near.log())


def test_authentication_that_nobody_asked_for(dial, remote):
    """In the CONNACK of a remote that was given no method."""
    dial()
    assert not how_it_ends(remote.up(authentication_method="x"), 5, (0x81, 0x82))
    remote.up()


def test_all_properties_of_connack(dial, remote):
    """Nothing of it is a reason not to work; an Assigned Client Identifier changes nothing for who has an id."""
    near = dial(OUT, IN)
    conn = remote.up(session_expiry_interval=100, receive_maximum=5, maximum_qos=1, retain_available=1,
                     maximum_packet_size=1000, assigned_client_identifier="other", topic_alias_maximum=3,
                     reason_string="welcome", user_property=[("a", "1"), ("a", "1")],
                     wildcard_subscription_available=1, subscription_identifier_available=0,
                     shared_subscription_available=0, server_keep_alive=300, response_information="r/",
                     server_reference="x:1")
    conn.subscribed()
    near.connect().publish("o/1", "x", qos=2)
    conn.message(qos=1)
    conn.reset()
    assert remote.connected().greeting.client_id == "bridge-up"


# --- Keep Alive ---


@pytest.mark.parametrize("version, own, of_remote", [(4, "1s", None), (5, "1s", None), (5, "60s", 1), (5, "0s", 1)])
def test_keep_alive(dial, remote, version, own, of_remote):
    """PINGREQ in each Keep Alive, of the remote where it says one; without answers the connection is given up."""
    near = dial(version=version, keep_alive=own)
    conn = remote.up(**({"server_keep_alive": of_remote} if of_remote else {}))
    begin = time.monotonic()
    for _ in range(3):
        conn.expect("PINGREQ")
        conn.send(b"\xd0\0")
    assert time.monotonic() - begin < 6
    answered = time.monotonic()
    left = None
    while left is None:
        try:
            packet = conn.recv()
            assert packet.kind in ("PINGREQ", "DISCONNECT")
        except Closed:
            left = time.monotonic()
    assert 1.2 < left - answered < 6
    remote.up()
    wait_until(lambda: "does not answer" in near.log())


@BOTH
@pytest.mark.parametrize("qos", [1, 2])
def test_a_remote_that_reads_nothing(run_broker, plugins, remote, version, qos):
    """It is given up after `write_timeout`, though nothing is asked of it; the next connection gets what it has not
    acknowledged, once and in order. Meanwhile others are served."""
    near = run_broker(config(plugins, bridge(remote.port, OUT, version=TEXT[version], keep_alive="0s"),
                             links={"up": {"limits": {"write_timeout": "1s", "max_inflight_messages": 1000}}}))
    conn = remote.up()
    speaker, other = near.connect(), near.connect()
    other.subscribe(Filter("n/#", qos=1))
    speaker.publish("o/1", "first", qos=qos)
    assert conn.message(ack=False).payload == b"first"
    for i in range(40):
        speaker.publish("o/1", f"{i} ".ljust(500000, "x"), qos=qos)
    speaker.publish("n/1", "here", qos=1)
    assert other.message().payload == b"here"
    conn = remote.up(present=1)
    wait_until(lambda: "took nothing for too long" in near.log())
    got = [conn.message(ack=False) for _ in range(41)]
    assert [one.payload.split()[0] for one in got] == [b"first", *(b"%d" % i for i in range(40))]
    assert len({one.packet_id for one in got}) == 41 and got[0].dup


def test_it_pings_who_talks(dial, remote):
    """What comes from the remote is no reason to be silent."""
    near = dial(IN, keep_alive="1s")
    conn = remote.up()
    conn.subscribed()
    inside = sub(near, "i/#")
    deadline = time.monotonic() + 6
    seen = 0
    while not seen and time.monotonic() < deadline:
        message(conn, "i/1")
        inside.message()
        try:
            conn.expect("PINGREQ", timeout=0.05)
            seen += 1
        except TimeoutError:
            pass
    assert seen


@pytest.mark.parametrize("own, of_remote", [("0s", None), ("1s", 0)])
def test_no_keep_alive(dial, remote, own, of_remote):
    dial(keep_alive=own)
    conn = remote.up(**({} if of_remote is None else {"server_keep_alive": of_remote}))
    conn.expect_quiet(2.2)


# --- what the remote allows ---


def test_receive_maximum(dial, remote):
    """No more QoS 1 and 2 than that until they are complete; the rest goes on meanwhile."""
    near = dial(OUT, IN)
    inside = sub(near, "i/#")
    conn = remote.up(receive_maximum=2)
    conn.subscribed()
    speaker = near.connect()
    for i in range(6):
        speaker.publish("o/1", str(i), qos=1 + i % 2)
    speaker.publish("o/0", "qos 0")
    first, second = conn.message(ack=False, qos=1), conn.message(ack=False, qos=2)
    message(conn, "i/1", "in", qos=2, packet_id=5)
    conn.wait("PUBREC", packet_id=5)
    conn.release(5)
    assert inside.message().payload == b"in"
    conn.wait("PUBLISH", topic="o/0")
    conn.expect_quiet(0.2)
    conn.ack("PUBREC", second.packet_id)        # frees nothing
    conn.wait("PUBREL", packet_id=second.packet_id)
    settle(conn)
    assert not [one for one in conn.inbox if one.kind == "PUBLISH" and one.qos]
    conn.ack("PUBCOMP", second.packet_id)
    third = conn.wait("PUBLISH", payload="2")
    conn.ack("PUBACK", first.packet_id, 0x97)   # an error completes it, too
    fourth = conn.wait("PUBLISH", payload="3")
    conn.ack("PUBREC", fourth.packet_id, 0x97)
    fifth = conn.wait("PUBLISH", payload="4")
    conn.ack("PUBACK", third.packet_id)
    sixth = conn.wait("PUBLISH", payload="5")
    conn.acknowledge(fifth)
    conn.acknowledge(sixth)


def test_receive_maximum_is_smaller_next_time(dial, remote):
    """What is resent keeps to the Receive Maximum of its own connection."""
    near = dial()
    conn = remote.up()
    speaker = near.connect()
    for i in range(5):
        speaker.publish("o/1", str(i), qos=1 + i % 2)
    packets = [conn.message(ack=False) for _ in range(5)]
    conn.reset()
    conn = remote.up(present=1, receive_maximum=1)
    for packet in packets:
        conn.message(dup=1, packet_id=packet.packet_id, payload=packet.payload, qos=packet.qos)
    conn.expect_quiet(0.1)


@pytest.mark.parametrize("most", [0, 1])
def test_maximum_qos(dial, remote, most):
    """Messages are sent with less; its SUBSCRIBE may ask for what it likes."""
    near = dial(OUT, IN)
    conn = remote.up(maximum_qos=most)
    conn.wait("SUBSCRIBE")
    speaker = near.connect()
    for qos in (0, 1, 2):
        speaker.publish("o/1", str(qos), qos=qos)
        conn.message(qos=min(qos, most), payload=str(qos))


@pytest.mark.parametrize("most", [0, 1])
def test_maximum_qos_is_lower_next_time(dial, remote, most):
    """What is under way at QoS 2 is not resent above the Maximum QoS of the next connection."""
    near = dial()
    conn = remote.up()
    near.connect().publish("o/1", "old", qos=2)
    conn.message(ack=False, qos=2)
    conn.reset()
    conn = remote.up(present=1, maximum_qos=most)
    near.connect().publish("o/1", "new", qos=2)
    while conn.message().payload != b"new":
        pass


def test_retain_is_not_available(dial, remote):
    """Neither messages nor what it says of itself are sent to be retained."""
    near = dial(notifications_local_only=False, notification_topic="state")
    conn = remote.up(retain_available=0)
    conn.message(topic="state", payload="1", retain=0)
    near.connect().publish("o/1", "x", qos=1, retain=1)
    conn.message(topic="o/1", retain=0)
    near.close_clients()
    near.terminate()
    conn.message(topic="state", payload="0", retain=0)
    conn.expect("DISCONNECT", reason=0)


def test_retain_is_available(dial, remote):
    near = dial()
    conn = remote.up()
    speaker = near.connect()
    for retain in (1, 0):
        speaker.publish("o/1", "x", qos=1, retain=retain)
        conn.message(topic="o/1", retain=retain)


def test_maximum_packet_size(dial, remote):
    """What is larger is not sent and does not come back; what just fits, and all the rest, goes."""
    near = dial()
    conn = remote.up(maximum_packet_size=300)
    speaker = near.connect()
    speaker.publish("o/1", "first", qos=1)
    size = conn.message().size - len("first")
    fits = "y" * (300 - size - 1)       # Remaining Length has a byte more
    for qos in (0, 1, 2):
        speaker.publish("o/1", fits + ("z" if qos else "zzz"), qos=qos)
        speaker.publish("o/1", "z" * 5000, qos=qos)
        speaker.publish("o/1", "next", qos=qos)
        conn.message(payload="next")
    speaker.publish("o/1", fits, qos=1)
    assert conn.message(payload=fits).size == 300
    conn.reset()
    conn = remote.up(present=1)
    speaker.publish("o/1", "last", qos=1)
    conn.message(payload="last")


def test_maximum_packet_size_of_subscribe(dial, remote):
    """A SUBSCRIBE that is larger is not sent, either."""
    near = dial(OUT, topic("in", "i" * 300, 1), expected_errors="larger than the remote's Maximum Packet Size")
    conn = remote.up(maximum_packet_size=200)
    near.connect().publish("o/1", "x", qos=1)
    conn.message(topic="o/1")


@pytest.mark.parametrize("most", [0, 2, 65535])
def test_topic_aliases_out(dial, remote, most):
    """None above the remote's maximum, and none of an older connection."""
    near = dial(topic_alias_maximum=3)
    speaker = near.connect()
    seen = set()
    for present in (0, 1):
        conn = remote.up(present=present, **({"topic_alias_maximum": most} if most else {}))
        for i in range(12):
            speaker.publish(f"o/{i % 6}", str(i), qos=1)
            packet = conn.message(topic=f"o/{i % 6}", payload=str(i))
            seen.add(packet.props.get("topic_alias"))
            assert i >= 6 or packet.sent_topic
        conn.reset()
    assert seen - {None} == set(range(1, min(most, 3) + 1))


# --- packet ids ---


@BOTH
def test_ids_of_subscribe_are_not_those_of_publish(dial, remote, version):
    """One set of ids for all that a client sends: none that a PUBLISH still has, and the other way round."""
    near = dial(OUT, IN, version=version)
    conn = remote.up()
    asked = conn.wait("SUBSCRIBE")      # not answered
    speaker = near.connect()
    speaker.publish("o/1", "x", qos=1)
    packet = conn.message(ack=False)
    assert packet.packet_id != asked.packet_id
    conn.reset()
    conn = remote.up(present=1)
    resent = conn.wait("PUBLISH", dup=1)
    assert resent.packet_id == packet.packet_id
    assert conn.wait("SUBSCRIBE").packet_id != resent.packet_id


@BOTH
def test_ids_are_not_in_use(dial, remote, version):
    """Those of messages that are never acknowledged stay theirs; the remote looks."""
    near = dial(version=version)
    conn = remote.up()
    speaker = near.connect()
    kept = []
    for i in range(30):
        speaker.publish("o/1", str(i), qos=1 + i % 2)
        packet = conn.message(ack=i % 3 != 0)
        assert packet.packet_id != 0 and packet.packet_id not in kept
        if i % 3 == 0:
            kept.append(packet.packet_id)
    conn.reset()
    conn = remote.up(present=1)
    assert [conn.message(ack=False, dup=1).packet_id for _ in kept] == kept
    speaker.publish("o/1", "new", qos=1)
    assert conn.message(ack=False, dup=0).packet_id not in kept


# --- messages out ---


@BOTH
def test_redelivery(dial, remote, version):
    """First without DUP; after a loss again with it, with their ids, in their order, before others; never else."""
    near = dial(version=version)
    conn = remote.up()
    speaker = near.connect()
    for i in range(6):
        speaker.publish("o/1", str(i), qos=1 + i % 2)
    packets = [conn.message(ack=False, dup=0) for _ in range(6)]
    speaker.publish("o/0", "lost or not")
    conn.message(qos=0, dup=0)
    conn.expect_quiet(0.5)
    conn.ack("PUBACK", packets[2].packet_id)
    settle(conn)
    conn.reset()
    for _ in range(2):
        conn = remote.up(present=1)
        speaker.publish("o/1", "new", qos=1)
        for packet in packets[:2] + packets[3:]:
            conn.message(ack=False, dup=1, qos=packet.qos, packet_id=packet.packet_id, payload=packet.payload)
        conn.message(payload="new", dup=0)
        settle(conn)
        conn.reset()


@BOTH
@pytest.mark.parametrize("qos", [1, 2])
def test_what_is_under_way_has_no_age(dial, remote, version, qos):
    """The remote may have it: it comes again however old it is, and its packet id is not another's."""
    near = dial(version=version, max_age="1s")
    conn = remote.up()
    near.connect().publish("o/1", "old", qos=qos)
    packet = conn.message(ack=False)
    conn.reset()
    test_bridge.wait_down(near)
    near.connect().publish("o/1", "aged", qos=qos)
    time.sleep(2.1)
    near.connect().publish("o/1", "young", qos=qos)
    conn = remote.up(present=1)
    again, other = conn.message(ack=False), conn.message(ack=False)
    assert (again.payload, again.dup, again.packet_id) == (b"old", 1, packet.packet_id)
    assert other.payload == b"young" and other.packet_id != packet.packet_id


@BOTH
def test_qos2_step_by_step(dial, remote, version):
    """PUBLISH until PUBREC, then PUBREL until PUBCOMP, each again after a loss, and nothing afterwards."""
    near = dial(version=version)
    conn = remote.up()
    speaker = near.connect()
    speaker.publish("o/1", "x", qos=2)
    number = conn.message(ack=False, dup=0, qos=2).packet_id
    conn.reset()
    conn = remote.up(present=1)
    conn.message(ack=False, dup=1, qos=2, packet_id=number)
    conn.ack("PUBREC", number)
    conn.expect("PUBREL", packet_id=number, reason=0)
    conn.reset()
    for _ in range(2):
        conn = remote.up(present=1)
        conn.expect("PUBREL", packet_id=number, reason=0)
        conn.expect_quiet(0.1)
        conn.reset()
    conn = remote.up(present=1)
    conn.expect("PUBREL", packet_id=number)
    conn.ack("PUBCOMP", number)
    settle(conn)
    conn.reset()
    conn = remote.up(present=1)
    speaker.publish("o/1", "y", qos=2)
    conn.message(payload="y", dup=0)


def test_qos2_in_version_3_1(dial, remote):
    """Its CONNACK cannot say that the session is still there. Nothing is delivered twice where it is."""
    near = dial(version=3, try_private=False)
    conn = remote.up()
    near.connect().publish("o/1", "x", qos=2)
    number = conn.message(ack=False, dup=0).packet_id
    conn.ack("PUBREC", number)
    conn.expect("PUBREL", packet_id=number)
    conn.reset()
    conn = remote.up()
    packet = conn.recv(timeout=4)
    assert (packet.kind, packet.packet_id) == ("PUBREL", number), packet


def test_qos2_comes_once_in_version_3_1(dial, remote):
    """The same for what comes in."""
    near = dial(IN, version=3, try_private=False)
    inside = sub(near, "i/#")
    conn = remote.up()
    conn.subscribed()
    message(conn, "i/1", "in", qos=2, packet_id=7)
    conn.expect("PUBREC", packet_id=7)
    assert inside.message().payload == b"in"
    conn.reset()
    conn = remote.up()
    conn.subscribed()
    message(conn, "i/1", "in", qos=2, packet_id=7, dup=1)
    conn.expect("PUBREC", packet_id=7)
    inside.expect_quiet(0.1)


@BOTH
def test_a_second_pubrec(dial, remote, version):
    """It is answered as the first one was."""
    near = dial(version=version)
    conn = remote.up()
    near.connect().publish("o/1", "x", qos=2)
    number = conn.message(ack=False).packet_id
    for _ in range(2):
        conn.ack("PUBREC", number)
        assert conn.expect("PUBREL", packet_id=number).reason == 0
    conn.ack("PUBCOMP", number)
    near.connect().publish("o/1", "y", qos=2)
    conn.message(payload="y")


@BOTH
def test_order_of_pubrels(dial, remote, version):
    """That of the PUBRECs; after a loss, too."""
    near = dial(version=version)
    conn = remote.up()
    speaker = near.connect()
    for i in range(4):
        speaker.publish("o/1", str(i), qos=2)
    ids = [conn.message(ack=False).packet_id for _ in range(4)]
    order = [ids[2], ids[0], ids[3]]
    conn.send(*[Packet("PUBREC", packet_id=one, reason=0, props={}) for one in order])
    assert [conn.expect("PUBREL").packet_id for _ in order] == order
    conn.reset()
    conn = remote.up(present=1)
    packets = [conn.recv() for _ in range(4)]
    assert [one.packet_id for one in packets if one.kind == "PUBLISH" and one.dup] == [ids[1]]
    assert sorted(one.packet_id for one in packets if one.kind == "PUBREL") == sorted(order)


@BOTH
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_order_of_a_topic(dial, remote, version, qos):
    near = dial(version=version)
    conn = remote.up()
    test_bridge.wait_up(near)
    speaker = near.connect()
    for i in range(100):
        speaker.send(speaker.publish_packet("o/1", str(i), qos=qos))
    assert payloads(conn, 100) == [str(i) for i in range(100)]


@pytest.mark.parametrize("reason", [0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99])
def test_reasons_of_acknowledgements(dial, remote, reason):
    """An error acknowledges: no PUBREL, nothing is resent, and the connection stays."""
    near = dial()
    conn = remote.up()
    speaker = near.connect()
    speaker.publish("o/1", "one", qos=1)
    conn.ack("PUBACK", conn.message(ack=False).packet_id, reason, reason_string="why", user_property=[("a", "b")])
    speaker.publish("o/1", "two", qos=2)
    number = conn.message(ack=False).packet_id
    conn.ack("PUBREC", number, reason)
    if reason < 0x80:
        conn.expect("PUBREL", packet_id=number)
        conn.ack("PUBCOMP", number)
    settle(conn)
    conn.reset()
    conn = remote.up(present=1)
    speaker.publish("o/1", "three", qos=2)
    conn.message(payload="three", dup=0)


@BOTH
def test_the_wrong_acknowledgement(dial, remote, version):
    """PUBACK does not complete QoS 2, and PUBREC and PUBCOMP do not complete QoS 1."""
    near = dial(version=version)
    conn = remote.up()
    speaker = near.connect()
    speaker.publish("o/1", "one", qos=1)
    speaker.publish("o/1", "two", qos=2)
    one, two = conn.message(ack=False), conn.message(ack=False)
    conn.send(Packet("PUBACK", packet_id=two.packet_id, reason=0, props={}),
              Packet("PUBCOMP", packet_id=two.packet_id, reason=0, props={}),
              Packet("PUBCOMP", packet_id=one.packet_id, reason=0, props={}))
    conn.in_flight.clear()
    try:
        settle(conn)
        conn.reset()
    except Closed:
        pass
    conn = remote.up(present=1)
    conn.message(dup=1, qos=1, packet_id=one.packet_id, payload="one")
    conn.message(dup=1, qos=2, packet_id=two.packet_id, payload="two")


def test_acknowledgements_within_the_maximum_packet_size(dial, remote):
    """One with a reason has five bytes."""
    dial(topic("in", "#", 2, "$SYS/"), expected_errors="larger than the remote's Maximum Packet Size")
    conn = remote.up(maximum_packet_size=4)
    message(conn, "i/1", "x", qos=1, packet_id=7)
    settle(conn)


@BOTH
def test_acknowledgements_of_nothing(dial, remote, version):
    """Ids that it does not use: no reason to end; PUBREC gets its PUBREL, so that the remote is done with it."""
    near = dial(version=version)
    conn = remote.up()
    conn.ack("PUBACK", 77)
    conn.ack("PUBCOMP", 78)
    conn.ack("PUBREC", 79)
    assert conn.expect("PUBREL", packet_id=79).reason == (0x92 if version == 5 else 0)
    conn.ack("PUBCOMP", 79, 0x92)
    near.connect().publish("o/1", "x", qos=2)
    conn.message(topic="o/1")


@BOTH
def test_dup_of_the_publisher_stays_with_him(dial, remote, version):
    near = dial(version=version)
    conn = remote.up()
    near.connect().publish("o/1", "x", qos=1, dup=1)
    conn.message(dup=0)


@needs_store
@BOTH
def test_state_survives_a_crash(dial, remote, version):
    """kill -9: PUBLISH and PUBREL go on, and a QoS 2 message that was taken is not taken again."""
    near = dial(OUT, IN, version=version, store=True)
    inside = near.connect("inside", session_expiry_interval=1000)
    inside.subscribe(Filter("i/#", qos=2))
    conn = remote.up()
    conn.subscribed()
    speaker = near.connect()
    speaker.publish("o/1", "sent", qos=1)
    speaker.publish("o/1", "released", qos=2)
    sent, released = conn.message(ack=False), conn.message(ack=False)
    conn.ack("PUBREC", released.packet_id)
    conn.expect("PUBREL", packet_id=released.packet_id)
    message(conn, "i/1", "in", qos=2, packet_id=7)
    conn.expect("PUBREC", packet_id=7)
    assert inside.message().payload == b"in"
    inside.disconnect()
    settle(conn)
    near.crash()
    near.start()
    conn = remote.connected()
    assert conn.greeting.clean_start == 0
    conn.accept(present=1)
    conn.wait("PUBLISH", dup=1, packet_id=sent.packet_id, payload="sent")
    conn.wait("PUBREL", packet_id=released.packet_id)
    inside = near.connect("inside", clean=False, session_expiry_interval=1000)
    message(conn, "i/1", "in", qos=2, packet_id=7, dup=1)
    conn.wait("PUBREC", packet_id=7)
    conn.release(7)
    message(conn, "i/1", "next", qos=2, packet_id=7)
    conn.wait("PUBREC", packet_id=7)
    assert inside.wait("PUBLISH", dup=0).payload == b"next"


@BOTH
def test_an_answer_that_comes_when_its_link_has_gone(run_broker, plugins, remote, script, version):
    """A PUBLISH of QoS 2 waits for an authority, and the bridge is made anew meanwhile: it is carried out once, the new
    connection is told, and what comes behind it is answered, too."""
    def instances(seconds):
        return [{"name": "a", "module": script("WORKER"), "config": {"name": "a"}},
                bridge(remote.port, IN, version=TEXT[version], keep_alive=seconds)]

    more = {"chains": {"slow": {"authorize": ["a"]}}, "links": {"up": {"chains": "slow"}}}
    near = run_broker(config(plugins, *instances("50s"), **more))
    inside = sub(near, "i/#")
    conn = remote.up()
    conn.subscribed()
    packet = message(conn, "i/a=later-accept:1500", "once", qos=2, packet_id=5)
    wait_until(lambda: test_bridge.status(near)[0]["received"] == 1)
    _reload(near, instances("51s"), plugins, **more)
    conn = remote.up(present=1)
    packet.dup = 1
    conn.send(packet)
    message(conn, "i/a=accept", "next", qos=1, packet_id=6)
    conn.wait("PUBREC", packet_id=5)
    conn.wait("PUBACK", packet_id=6)
    conn.ack("PUBREL", 5)
    conn.wait("PUBCOMP", packet_id=5)
    assert {bytes(inside.message().payload), bytes(inside.message().payload)} == {b"once", b"next"}
    inside.expect_quiet(0.1)


@BOTH
def test_clean_session(dial, remote, version):
    """At each connection a new one: what had not been acknowledged is sent as new."""
    near = dial(version=version, clean_session=True)
    conn = remote.up()
    near.connect().publish("o/1", "x", qos=1)
    conn.message(ack=False)
    conn.reset()
    conn = remote.connected()
    assert conn.greeting.clean_start == 1
    conn.accept()
    conn.message(dup=0, payload="x")


# --- messages in ---


@BOTH
def test_acknowledgements_of_what_comes(dial, remote, version):
    """Each with its id, in the order of the messages; also of what nobody here wants."""
    near = dial(IN, version=version)
    inside = sub(near, "i/#")
    conn = remote.up()
    conn.subscribed()
    ids = [3, 65535, 1, 40, 2, 9]
    conn.send(*[conn.publish_packet("i/1" if i % 3 else "elsewhere/1", str(i), qos=1 + i % 2, packet_id=one)
                for i, one in enumerate(ids)], conn.publish_packet("i/1", "qos 0"))
    for i, one in enumerate(ids):
        assert conn.expect("PUBREC" if i % 2 else "PUBACK", packet_id=one).reason in (0, 0x10)
    for one in ids[1::2]:
        conn.ack("PUBREL", one)
    assert [conn.expect("PUBCOMP", reason=0).packet_id for _ in range(3)] == ids[1::2]
    assert [inside.message().payload for _ in range(5)] == [b"1", b"2", b"4", b"5", b"qos 0"]


@BOTH
def test_qos2_comes_once(dial, remote, version):
    """A repeated id gets PUBREC and no more, also after a loss; after PUBREL it is a new message."""
    near = dial(IN, version=version)
    inside = sub(near, "i/#")
    conn = remote.up()
    conn.subscribed()
    for dup in (0, 1, 0):
        message(conn, "i/1", "x", qos=2, packet_id=7, dup=dup)
        conn.expect("PUBREC", packet_id=7)
    conn.reset()
    conn = remote.up(present=1)
    conn.subscribed()
    message(conn, "i/1", "x", qos=2, packet_id=7, dup=1)
    conn.expect("PUBREC", packet_id=7)
    conn.release(7)
    conn.release(7, expect=0x92 if version == 5 else 0)
    message(conn, "i/1", "y", qos=2, packet_id=7, dup=1)
    conn.expect("PUBREC", packet_id=7)
    assert [inside.message().payload for _ in range(2)] == [b"x", b"y"]
    conn.release(7)
    message(conn, "i/1", "z", qos=1, packet_id=7)
    conn.expect("PUBACK", packet_id=7)
    assert inside.message().payload == b"z"


@BOTH
def test_messages_before_suback(dial, remote, version):
    """They may come as soon as the SUBSCRIBE has."""
    near = dial(IN, version=version)
    inside = sub(near, "i/#")
    conn = remote.up()
    asked = conn.wait("SUBSCRIBE")
    message(conn, "i/1", "early", qos=1, packet_id=asked.packet_id)
    conn.expect("PUBACK")
    assert inside.message().payload == b"early"


@BOTH
def test_retained_messages(dial, remote, version):
    near = dial(IN, version=version)
    conn = remote.up()
    conn.subscribed()
    message(conn, "i/1", "kept", qos=1, retain=1)
    message(conn, "i/2", "not kept", qos=1, packet_id=2)
    conn.expect("PUBACK")
    conn.expect("PUBACK")
    late = sub(near, "i/#")
    assert late.message(retain=1).topic == "i/1"
    late.expect_quiet(0.1)


@BOTH
def test_pubrel_after_a_loss(dial, remote, version):
    """It is answered on the next connection, too."""
    dial(IN, version=version)
    conn = remote.up()
    conn.subscribed()
    message(conn, "i/1", "x", qos=2, packet_id=7)
    conn.expect("PUBREC", packet_id=7)
    conn.reset()
    conn = remote.up(present=1)
    conn.ack("PUBREL", 7)
    assert conn.wait("PUBCOMP", packet_id=7).reason == 0


@BOTH
def test_after_puback_it_is_new(dial, remote, version):
    near = dial(IN, version=version)
    inside = sub(near, "i/#")
    conn = remote.up()
    conn.subscribed()
    for dup in (0, 1):
        message(conn, "i/1", "x", qos=1, packet_id=7, dup=dup)
        conn.expect("PUBACK", packet_id=7)
        inside.message()


@BOTH
def test_what_cannot_be_published_here(dial, remote, version):
    """Is refused to a remote that can be told, and acknowledged all the same."""
    dial(topic("in", "#", 2, "$SYS/"), version=version)
    conn = remote.up()
    conn.subscribed()
    message(conn, "i/1", "x", qos=1, packet_id=7)
    assert conn.expect("PUBACK", packet_id=7).reason == (0x90 if version == 5 else 0)
    message(conn, "i/1", "x", qos=2, packet_id=7)
    reason = conn.expect("PUBREC", packet_id=7).reason
    assert reason == (0x90 if version == 5 else 0)
    if version == 4:
        conn.release(7)
    message(conn, "i/1", "x", qos=2, packet_id=7)       # refused: the next is a new one
    assert conn.expect("PUBREC", packet_id=7).reason == reason


def test_topic_aliases_in(dial, remote):
    """All up to its maximum; they are of one connection."""
    near = dial(IN, topic_alias_maximum=3)
    inside = sub(near, "i/#")
    conn = remote.up()
    conn.subscribed()
    for alias in (1, 2, 3):
        message(conn, f"i/{alias}", "set", qos=1, topic_alias=alias)
    for alias in (3, 1, 2):
        message(conn, "", "used", qos=2, topic_alias=alias)
    message(conn, "i/other", "set anew", topic_alias=1)
    message(conn, "", "used", topic_alias=1)
    expected = ["i/1", "i/2", "i/3", "i/3", "i/1", "i/2", "i/other", "i/other"]
    assert [inside.message().topic for _ in expected] == expected
    conn.reset()
    conn = remote.up(present=1)
    conn.subscribed()
    message(conn, "", "used", topic_alias=1)
    is_malformed(conn)


@pytest.mark.parametrize("alias, most, topic_, reasons", [
    (0, 3, "i/1", (0x94, 0x81)), (4, 3, "i/1", (0x94,)), (65535, 3, "", (0x94,)), (1, 0, "i/1", (0x94,)),
    (2, 3, "", (0x82,))])
def test_wrong_topic_aliases(dial, remote, alias, most, topic_, reasons):
    near = dial(IN, topic_alias_maximum=most)
    inside = sub(near, "i/#")
    conn = remote.up()
    conn.subscribed()
    message(conn, topic_, "wrong", qos=1, topic_alias=alias)
    conn.expect_refused(*reasons)
    conn = remote.up(present=1)
    conn.subscribed()
    message(conn, "i/1", "right", qos=1)
    assert inside.message().payload == b"right"


def test_its_receive_maximum(dial, remote):
    """As many as it said may be open; one more is too many, a repeated one is none, QoS 0 does not count."""
    dial(IN, receive_maximum=3)
    conn = remote.up()
    conn.subscribed()
    for number in (1, 2, 3):
        message(conn, "i/1", "x", qos=2, packet_id=number)
        conn.expect("PUBREC", packet_id=number)
    message(conn, "i/1", "x", qos=2, packet_id=2, dup=1)
    conn.expect("PUBREC", packet_id=2)
    message(conn, "i/1", "qos 0")
    conn.release(1)
    message(conn, "i/1", "x", qos=2, packet_id=4)
    conn.expect("PUBREC", packet_id=4)
    message(conn, "i/1", "x", qos=1, packet_id=5)
    conn.expect_refused(0x93)
    remote.connected()


def test_its_maximum_packet_size(dial, remote):
    """A packet of just that size is taken, a larger one is refused when its header has come."""
    near = dial(IN, max_packet_size=200)
    inside = sub(near, "i/#")
    conn = remote.up()
    conn.subscribed()
    head = len(frame(0x30, binary("i/1") + b"\0" + b"x" * 150)) - 150
    message(conn, "i/1", "x" * (200 - head))
    assert len(inside.message().payload) == 200 - head
    conn.send(frame(0x30, binary("i/1") + b"\0" + b"x" * (201 - head))[:10])
    conn.expect_refused(0x95)
    remote.connected()


# --- what goes with a message ---


PROPS = {"payload_format_indicator": 1, "message_expiry_interval": 1000, "content_type": "text/ü",
         "response_topic": "answer/here", "correlation_data": bytes(range(256)),
         "user_property": [("b", "2"), ("a", "1"), ("b", "1"), ("", ""), ("b", "2"), ("\ufeffx", "y")]}


def shown(packet):
    """Its properties without the bridge's own mark; the expiry must not have grown."""
    props = dict(packet.props)
    props["user_property"] = [pair for pair in props.get("user_property", []) if pair[0] != "avocet-origin"]
    props.pop("topic_alias", None)
    assert 990 < props["message_expiry_interval"] <= 1000
    props["message_expiry_interval"] = 1000
    return props


def test_properties(dial, remote):
    """All of them, unchanged and in their order, both ways. Ids of subscriptions and aliases are of one side."""
    near = dial(OUT, IN)
    conn = remote.up(topic_alias_maximum=5)
    conn.subscribed()
    listener = near.connect()
    listener.subscribe(Filter("o/#", qos=1), subscription_identifier=7)
    speaker = near.connect()
    for qos in (0, 1, 2):
        speaker.publish("o/1", "grün", qos=qos, **PROPS)
        packet = conn.message()
        assert shown(packet) == PROPS and packet.payload == "grün".encode()
    inside = sub(near, "i/#")
    for qos in (0, 1, 2):
        message(conn, "i/1", "grün", qos=qos, topic_alias=3, subscription_identifier=[5, 6], **PROPS)
        assert shown(inside.message()) == PROPS


def test_expiry_is_counted_down(dial, remote):
    """By the time that a message waited; who is over is not sent, unless he was under way."""
    near = dial()
    conn = remote.up()
    speaker = near.connect()
    speaker.publish("o/1", "under way", qos=2, message_expiry_interval=1)
    conn.message(ack=False)
    conn.ack("PUBREC", 1)
    conn.expect("PUBREL")
    conn.reset()
    test_bridge.wait_down(near)
    speaker.publish("o/1", "short", qos=1, message_expiry_interval=1)
    speaker.publish("o/1", "long", qos=1, message_expiry_interval=500)
    time.sleep(2.1)
    conn = remote.up(present=1)
    conn.expect("PUBREL", packet_id=1)
    conn.ack("PUBCOMP", 1)
    assert 490 < conn.message(payload="long").props["message_expiry_interval"] <= 498


@BOTH
def test_a_byte_order_mark(dial, remote, version):
    """Is a character as others, and topics of any length go."""
    near = dial(topic("out", "#", 1), IN, version=version)
    conn = remote.up()
    conn.subscribed()
    speaker, inside = near.connect(), sub(near, "i/#")
    for name in ("\ufeffa/\ufeff", "x" * 65535):
        speaker.publish(name, "x", qos=1)
        conn.message(topic=name)
    for name in ("i/\ufeff", "i/" + "y" * 65533):
        message(conn, name, "x", qos=1)
        inside.message(topic=name)


# --- subscriptions ---


@BOTH
def test_subscribe(dial, remote, version):
    """No Local, what is retained as it is, and only if it is new; MQTT 3 has no such bits."""
    dial(topic("in", "i/#", 2, remote="r/"), topic("both", "b/+", 1), OUT, topic("in", "$share/g/s/#", 0),
         version=version)
    filters = {one.name: one.options for one in remote.up().subscribed().filters}
    extra = 0x04 | 0x08 | 0x10 if version == 5 else 0
    assert filters == {"r/i/#": 2 | extra, "b/+": 1 | extra, "$share/g/s/#": (0x08 | 0x10 if version == 5 else 0)}


@BOTH
def test_many_filters(dial, remote, version):
    """More than one SUBSCRIBE; each filter once."""
    names = [f"i/{i}" for i in range(250)]
    dial(*[topic("in", one, 1) for one in names], version=version)
    conn = remote.up()
    got = []
    while len(got) < 250:
        got += [one.name for one in conn.subscribed().filters]
    assert got == names
    conn.expect_quiet(0.1)


@BOTH
def test_a_refused_subscription(dial, remote, version):
    """The others work."""
    near = dial(topic("in", "no/#", 1), IN, version=version, expected_errors="the remote refuses")
    inside = sub(near, "i/#")
    conn = remote.up()
    conn.subscribed(0x80, 1)
    message(conn, "i/1", "x", qos=1)
    inside.message()
    conn.expect("PUBACK")
    wait_until(lambda: 'the remote refuses "no/#"' in near.log())


@BOTH
def test_unsubscribe_after_a_reload(dial, remote, plugins, version):
    """What is not wanted any more is told to a remote that still has it."""
    near = dial(IN, topic("in", "old/#", 1), version=version)
    conn = remote.up()
    conn.subscribed()
    _reload(near, [bridge(remote.port, IN, version=TEXT[version])], plugins)
    conn.wait("DISCONNECT", reason=0)
    conn.expect_closed()
    conn = remote.up(present=1)
    packet = conn.wait("UNSUBSCRIBE")
    assert packet.filters == ["old/#"]
    conn.send(Packet("UNSUBACK", packet_id=packet.packet_id, props={}, reasons=[0]))
    assert conn.wait("SUBSCRIBE").packet_id != 0
    assert not conn.inbox


@BOTH
def test_unsubscribe_until_it_is_answered(dial, remote, plugins, version):
    """A remote that was lost before its UNSUBACK has perhaps not seen it, and would send the messages for ever."""
    near = dial(IN, topic("in", "old/#", 1), version=version)
    remote.up().subscribed()
    _reload(near, [bridge(remote.port, IN, version=TEXT[version])], plugins)
    conn = remote.up(present=1)
    conn.wait("UNSUBSCRIBE")
    conn.reset()
    conn = remote.up(present=1)
    packet = conn.wait("UNSUBSCRIBE", timeout=4)
    assert packet.filters == ["old/#"]
    conn.send(Packet("UNSUBACK", packet_id=packet.packet_id, props={}, reasons=[0]))
    settle(conn)
    conn.reset()
    conn = remote.up(present=1)
    settle(conn)
    assert not [one for one in conn.inbox if one.kind == "UNSUBSCRIBE"]


# --- what no broker may send ---


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


def how_it_ends(conn, version, reasons=None):
    """Waits for the end of the connection; what is wrong with it, or nothing. reasons: one of these must be said."""
    said = None
    try:
        while True:
            packet = conn.recv(timeout=4)
            if packet.kind == "DISCONNECT":
                said = packet.reason
            elif packet.kind != "PINGREQ":
                return f"{packet}"
    except Closed:
        pass
    except Timeout:
        return "nothing happens"
    if said is not None and said < 0x80:
        return f"DISCONNECT 0x{said:02x}"
    if reasons and version == 5 and said not in reasons:
        return "nothing is said" if said is None else f"DISCONNECT 0x{said:02x}"
    return None


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


# --- the end of a connection ---


@pytest.mark.parametrize("reason", [0x00, 0x81, 0x82, 0x89, 0x8B, 0x8D, 0x8E, 0x93, 0x98, 0x9C, 0x9D, 0xA0])
def test_the_remote_says_goodbye(dial, remote, reason):
    """It is not answered; the bridge closes, and comes again."""
    near = dial(**VERY_FAST)
    conn = remote.up()
    near.connect().publish("o/1", "x", qos=1)
    conn.message(ack=False)
    props = {"reason_string": "why", "user_property": [("a", "b")]} if reason else {}
    if reason in (0x9C, 0x9D):
        props["server_reference"] = "elsewhere"
    conn.send(Packet("DISCONNECT", reason=reason, props=props))
    conn.expect_closed()
    remote.up(present=1).message(dup=1)


@BOTH
def test_the_bridge_says_goodbye(dial, remote, version):
    """At the end of its broker: nothing comes after it, and it closes."""
    near = dial(version=version, notifications_local_only=False, notification_topic="state")
    conn = remote.up()
    conn.message(topic="state", payload="1", retain=1)
    near.terminate()
    conn.message(topic="state", payload="0", retain=1)
    conn.expect("DISCONNECT", reason=0)
    conn.expect_closed()


@BOTH
def test_closed_in_the_middle(dial, remote, version):
    """Half a message is none; it is taken when it comes whole."""
    near = dial(IN, version=version)
    inside = sub(near, "i/#")
    conn = remote.up()
    conn.subscribed()
    whole = message_bytes(conn, "i/1", "a" * 5000, qos=2, packet_id=3)
    for cut in (1, 2, 5, 2000, len(whole) - 1):
        conn.send(whole[:cut])
        conn.close()
        conn = remote.up(present=1)
        conn.subscribed()
    conn.send(whole)
    conn.expect("PUBREC", packet_id=3)
    assert len(inside.message().payload) == 5000
    conn.close()


def message_bytes(conn, topic_, payload, **more):
    return encode(conn.publish_packet(topic_, payload, **more), conn.version)


@BOTH
def test_byte_by_byte(dial, remote, version):
    """How packets are cut by the network means nothing."""
    near = dial(OUT, IN, version=version)
    inside = sub(near, "i/#")
    conn = remote.connected()
    conn.connack = conn.connack_packet()
    for one in b"\x20\x02\0\0" if version == 4 else b"\x20\x03\0\0\0":
        conn.send(bytes([one]))
    conn.subscribed()
    for one in message_bytes(conn, "i/1", "slow", qos=1, packet_id=3):
        conn.send(bytes([one]))
    conn.expect("PUBACK", packet_id=3)
    assert inside.message().payload == b"slow"


@BOTH
@pytest.mark.parametrize("store", [False, pytest.param(True, marks=needs_store)])
def test_behind_connack_in_one_piece(dial, remote, version, store):
    """A remote that still had the session sends what it has at once."""
    near = dial(IN, version=version, store=store)
    inside = sub(near, "i/#")
    remote.up().reset()
    conn = remote.connected()
    conn.send(conn.connack_packet(1), *[conn.publish_packet("i/1", str(i), qos=i, packet_id=i or None)
                                        for i in (0, 1, 2)])
    conn.wait("PUBACK", packet_id=1)
    conn.wait("PUBREC", packet_id=2)
    assert [inside.message().payload for _ in range(3)] == [b"0", b"1", b"2"]


@BOTH
@pytest.mark.parametrize("what", ["nothing", "half a CONNACK", "an endless CONNACK", "a slow CONNACK"])
def test_connect_timeout(dial, remote, version, what):
    """Who does not answer in time is left."""
    near = dial(version=version, connect_timeout="1s", try_private=False)
    conn = remote.connected()
    begin = time.monotonic()
    if what == "half a CONNACK":
        conn.send(b"\x20")
    elif what == "an endless CONNACK":
        conn.send(b"\x20\xff\xff\xff\x7f\0\0")
    elif what == "a slow CONNACK":
        conn.send(b"\x20\x7f\0\0")
    try:
        while True:
            if what in ("an endless CONNACK", "a slow CONNACK"):
                conn.send(b"\x26")
            try:
                assert conn.recv(timeout=0.1).kind == "DISCONNECT"
            except TimeoutError:
                assert time.monotonic() - begin < 8
    except Closed:
        pass
    remote.up()
    wait_until(lambda: "connected to 127.0.0.1" in near.log())


@BOTH
@pytest.mark.parametrize("data", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x15\x03\x03\0\x02\x02\x46", bytes(100000),
                                  b"\xff" * 100000, b"220 mail ESMTP\r\n" * 1000],
                         ids=["HTTP", "TLS", "zeros", "ones", "mail"])
def test_something_else_answers(dial, remote, version, data):
    """It goes, tries again, and is well."""
    near = dial(version=version, connect_timeout="1s", try_private=False)
    conn = remote.connected()
    try:
        conn.send(data)
        while conn.recv():
            pass
    except (Closed, TimeoutError) as error:
        assert isinstance(error, Closed)
    remote.up()
    wait_until(lambda: "connected to 127.0.0.1" in near.log())


# --- WebSocket ---


@BOTH
def test_websocket(run_broker, plugins, remote, version):
    """It asks for the subprotocol mqtt, and MQTT travels in binary frames that are masked, cut as it may be."""
    made = bridge(f"ws://127.0.0.1:{remote.port}/path", OUT, version=TEXT[version])
    near = run_broker(config(plugins, made))
    conn = remote.accepted()
    conn.sock = Upgraded(conn.sock)
    assert conn.sock.head.startswith(b"GET /path HTTP/1.1\r\n")
    assert b"sec-websocket-protocol: mqtt\r\n" in conn.sock.head.lower()
    conn.expect("CONNECT")
    conn.accept()
    near.connect().publish("o/1", "x" * 70000, qos=1)
    conn.message(topic="o/1")
    conn.sock.raw.sendall(b"\x81\1x")       # text
    conn.expect_closed()


class Upgraded:
    """The server's side of WebSocket, as far as Connection needs it. Every byte has a frame of its own."""

    def __init__(self, sock):
        self.raw, self._buffer = sock, bytearray()
        while not self._buffer.endswith(b"\r\n\r\n"):
            self._buffer += sock.recv(4096)
        self.head = bytes(self._buffer)
        self._buffer.clear()
        key = next(one.split(b":", 1)[1].strip() for one in self.head.split(b"\r\n")
                   if one.lower().startswith(b"sec-websocket-key:"))
        accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     b"Sec-WebSocket-Accept: " + accept + b"\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n")

    def __getattr__(self, name):
        return getattr(self.raw, name)

    def sendall(self, data):
        self.raw.sendall(b"".join(b"\x82\1" + bytes([one]) for one in data))

    def _take(self, count):
        while len(self._buffer) < count:
            data = self.raw.recv(65536)
            if not data:
                return b""
            self._buffer += data
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    def recv(self, _):
        """The payload of all frames of data that have come; nothing at the end."""
        found = b""
        while not found or self._buffer:
            head = self._take(2)
            if not head or head[0] & 15 == 8:
                break
            assert head[1] & 0x80, "a frame that is not masked"
            assert head[0] & 15 in (0, 2, 9, 10), f"a frame of type {head[0] & 15}"
            size = head[1] & 127
            if size >= 126:
                size = int.from_bytes(self._take(2 if size == 126 else 8), "big")
            mask, payload = self._take(4), self._take(size)
            if head[0] & 15 in (0, 2):
                found += bytes(one ^ mask[i & 3] for i, one in enumerate(payload))
        return found


# --- enhanced authentication ---


class Server:
    """The server's side of SCRAM-SHA-256, in steps."""

    def __init__(self, first, password=b"secret"):
        self.bare = first.decode().split(",", 2)[2]
        self.given = scram.fields(self.bare.encode())
        salt = b"0123456789abcdef"
        self.first = f"r={self.given['r']}server,s={base64.b64encode(salt).decode()},i=4096"
        self.salted = hashlib.pbkdf2_hmac("sha256", password, salt, 4096)

    def final(self, client_final):
        bare = client_final.decode().rsplit(",p=", 1)[0]
        text = f"{self.bare},{self.first},{bare}".encode()
        key = hmac.new(self.salted, b"Server Key", "sha256").digest()
        return b"v=" + base64.b64encode(hmac.new(key, text, "sha256").digest())


SCRAM = {"mechanism": "SCRAM-SHA-256", "username": "user", "password": "secret"}
METHOD = {"authentication_method": "SCRAM-SHA-256"}


def steps(remote, password=b"secret"):
    """A connection up to its last AUTH, and what the CONNACK has to prove."""
    conn = remote.connected()
    assert conn.greeting.props["authentication_method"] == "SCRAM-SHA-256"
    assert not hasattr(conn.greeting, "password")
    server = Server(conn.greeting.props["authentication_data"], password)
    conn.auth(0x18, **METHOD, authentication_data=server.first.encode())
    packet = conn.expect("AUTH", reason=0x18, **METHOD)
    return conn, server.final(packet.props["authentication_data"])


def test_auth(dial, remote):
    """AUTH by AUTH with the same method, nothing else before CONNACK; then all works, in the same piece as well."""
    near = dial(OUT, IN, **SCRAM)
    inside = sub(near, "i/#")
    near.connect().publish("o/1", "waits", qos=1)
    conn, proof = steps(remote)
    conn.expect_quiet(0.1)
    conn.send(conn.connack_packet(0, **METHOD, authentication_data=proof), conn.publish_packet("i/1", "x", qos=1))
    conn.wait("PUBACK")
    assert inside.message().payload == b"x"
    conn.wait("PUBLISH", payload="waits")


@pytest.mark.parametrize("what", ["not proven", "another's proof", "no method", "another method"])
def test_a_remote_that_is_not_who_it_says(dial, remote, what):
    """It lets in without having proven anything: it gets no message, and no code that is a server's."""
    near = dial(OUT, **SCRAM)
    near.connect().publish("o/1", "private", qos=1)
    conn, proof = steps(remote, b"guess" if what == "another's proof" else b"secret")
    props = {**METHOD, "authentication_data": proof}
    if what == "not proven":
        del props["authentication_data"]
    elif what == "no method":
        props = {}
    elif what == "another method":
        props["authentication_method"] = "SCRAM-SHA-512"
    conn.accept(**props)
    try:
        assert conn.recv().kind == "DISCONNECT"
        conn.expect_closed()
    except Closed:
        pass
    steps(remote)


def until_closed(conn):
    """What comes until the end, without the AUTHs and the DISCONNECT."""
    kinds = []
    try:
        while True:
            kinds.append(conn.recv().kind)
    except Closed:
        return [kind for kind in kinds if kind not in ("AUTH", "DISCONNECT")]


@pytest.mark.parametrize("present", [0, 1])
def test_a_remote_that_is_let_in_before_it_has_proven_anything(dial, remote, present):
    """CONNACK in one piece with its first AUTH: the answer to that is not one to the proof. It gets no message, and
    nothing here is forgotten because it says so."""
    near = dial(OUT, IN, **SCRAM)
    conn, proof = steps(remote)
    conn.accept(**METHOD, authentication_data=proof)
    conn.subscribed()
    near.connect().publish("o/1", "private", qos=2)
    conn.wait("PUBLISH", payload="private")
    conn.reset()
    conn = remote.connected()
    server = Server(conn.greeting.props["authentication_data"])
    conn.send(Packet("AUTH", reason=0x18, props={**METHOD, "authentication_data": server.first.encode()}),
              conn.connack_packet(present, **METHOD, authentication_data=b"v=nonsense"))
    assert until_closed(conn) == []
    conn, proof = steps(remote)
    conn.accept(1, **METHOD, authentication_data=proof)
    assert conn.wait("PUBLISH", payload="private").dup == 1


@pytest.mark.parametrize("reason, props", [
    (0x18, {"authentication_method": "SCRAM-SHA-512", "authentication_data": b"x"}), (0x18, {}),
    (0x00, METHOD), (0x19, METHOD), (0x18, {**METHOD, "authentication_data": b"nonsense"}), (0x18, METHOD)])
def test_wrong_auth(dial, remote, reason, props):
    dial(**SCRAM)
    conn = remote.connected()
    conn.auth(reason, **props)
    try:
        assert conn.expect("DISCONNECT").reason in (0x80, 0x81, 0x82, 0x83)
        conn.expect_closed()
    except Closed:
        pass
    steps(remote)


def test_auth_when_it_is_in(dial, remote):
    """Only the client may ask for authentication anew."""
    dial(**SCRAM)
    conn, proof = steps(remote)
    conn.accept(**METHOD, authentication_data=proof)
    settle(conn)
    conn.auth(0x18, **METHOD, authentication_data=b"again")
    conn.expect_refused(0x82)
    steps(remote)
