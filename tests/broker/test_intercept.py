# SPDX-License-Identifier: Apache-2.0
"""Interceptors of what comes in, of what goes out to each receiver, and of filters (plugins/edits.c)."""

import os
import re
import shutil

import pytest

from mqtt import Filter, wait_until
from test_control import told
from test_plugin import CC, EXECS, HERE, build

pytestmark = pytest.mark.skipif(not shutil.which(CC), reason="there is no compiler")
INVAL, NOTFOUND, STATE = -1, -6, -8


@pytest.fixture(scope="session")
def edits(tmp_path_factory):
    folder, made = tmp_path_factory.mktemp("edits"), {}

    def get(exec_name):
        if exec_name not in made:
            made[exec_name] = build(folder / f"{exec_name}.so", os.path.join(HERE, "plugins", "edits.c"),
                                    f"-DEXEC=AVOCET_EXEC_{exec_name}")
        return made[exec_name]
    return get


@pytest.fixture(params=EXECS)
def broker(request, run_broker, edits):
    return run_broker(config={
        "listeners": [{"name": "mqtt"}, {"name": "mount", "mount_point": "m/"}],
        "plugins": [{"name": "e", "module": edits(request.param)}],
        "chains": {"default": {"authorize": ["e"], "intercept": ["e"]}}})


def got(client, topic, **publish):
    """What a message becomes on its way from another client."""
    sender = publish.pop("sender")
    sender.publish(topic, publish.pop("payload", b"x"), qos=1, **publish)
    return client.wait("PUBLISH")


# --- what comes in ---

def test_edits_of_what_comes_in(broker):
    client, sender = broker.connect("c"), broker.connect("s")
    client.subscribe(Filter("#", 1))
    assert got(client, "i=topic", sender=sender).topic == "new/i=topic"
    message = got(client, "i=stamp", sender=sender, message_expiry_interval=77)
    assert message.props["user_property"] == [("by", "edits")] and message.props["message_expiry_interval"] == 77
    assert got(client, "i=prop", sender=sender, content_type="as sent").props["content_type"] == "edited"
    assert "content_type" not in got(client, "i=unprop", sender=sender, content_type="as sent").props
    message = got(client, "i=expiry", sender=sender, message_expiry_interval=5)
    assert message.props["message_expiry_interval"] in (99, 100) and message.props["user_property"] == [("by", "edits")]
    assert "message_expiry_interval" not in got(client, "i=stale", sender=sender, message_expiry_interval=5).props
    assert got(client, "i=payload", sender=sender).payload == b"edited"
    got(client, "i=retain", sender=sender)
    late = broker.connect("late")
    late.subscribe(Filter("i=retain", 1))
    assert late.wait("PUBLISH").retain


def test_an_authorizer_sees_both_topics(broker):
    sender = broker.connect("s")
    sender.publish("a/i=topic", b"x", qos=1)
    wait_until(lambda: "may new/a/i=topic 1" in broker.log() and "was a/i=topic 1" in broker.log())
    sender.publish("plain", b"x", qos=1)
    wait_until(lambda: "may plain 1" in broker.log() and "was plain 1" in broker.log())


def test_what_is_not_allowed_changes_nothing(broker):
    client, sender = broker.connect("c"), broker.connect("s")
    client.subscribe(Filter("i=bad", 1))
    message = got(client, "i=bad", sender=sender, content_type="t")
    assert message.topic == "i=bad" and message.props == {"content_type": "t"}
    for what, status in (("topic", INVAL), ("alias", INVAL), ("format", INVAL), ("text", INVAL), ("qos", STATE),
                         ("del", INVAL)):
        wait_until(lambda: f"bad {what} {status}" in broker.log())
    got_none = broker.connect("d")
    got_none.subscribe(Filter("i=unprop", 1))
    got(got_none, "i=unprop", sender=sender)
    wait_until(lambda: f"del_prop gave i=unprop {NOTFOUND}" in broker.log())


# --- what goes out ---

def test_a_receiver_gets_what_was_made_for_it(broker):
    changed, other, sender = broker.connect("out1"), broker.connect("other"), broker.connect("s")
    for client in (changed, other):
        client.subscribe(Filter("#", 1))
    for topic, check in (
            ("o=topic", lambda m: m.topic == "new/o=topic"),
            ("o=stamp", lambda m: m.props["user_property"] == [("by", "edits")]
             and m.props["message_expiry_interval"] == 77),
            ("o=prop", lambda m: m.props["content_type"] == "edited"),
            ("o=unprop", lambda m: "content_type" not in m.props),
            ("o=expiry", lambda m: m.props["message_expiry_interval"] == 100),
            ("o=payload", lambda m: m.payload == b"edited"),
            ("o=bad", lambda m: m.topic == "o=bad"),
            ("o=retain", lambda m: m.retain)):
        message = got(changed, topic, sender=sender, content_type="as sent", message_expiry_interval=77)
        assert check(message), topic
        assert message.qos == 1
        message = other.wait("PUBLISH")
        assert (message.topic, message.payload, message.retain) == (topic, b"x", False), topic
        assert message.props == {"content_type": "as sent", "message_expiry_interval": 77}
    wait_until(lambda: "out o=stamp 1" in broker.log())
    assert broker.log().count("out o=stamp 1") == 1


def test_large_messages_are_changed_too(broker):
    changed, sender = broker.connect("out1"), broker.connect("s")
    changed.subscribe(Filter("o=topic", 1), Filter("o=stamp", 0))
    payload = os.urandom(200000)
    for topic in ("o=topic", "o=stamp"):
        sender.publish(topic, payload, qos=1)
        message = changed.wait("PUBLISH")
        assert message.payload == payload
    assert message.props["user_property"] == [("by", "edits")]


@pytest.mark.parametrize("verb", ("drop", "reject", "error", "bogus"))
def test_a_receiver_may_get_nothing(broker, verb):
    out, other, sender = broker.connect("out1"), broker.connect("other"), broker.connect("s")
    for client in (out, other):
        client.subscribe(Filter("#", 2))
    for qos in (0, 1, 2):
        sender.publish(f"o={verb}", b"x", qos=qos)
    sender.publish("end", b"x", qos=1)
    assert out.wait("PUBLISH").topic == "end"
    assert [other.wait("PUBLISH").topic for _ in range(4)] == 3 * [f"o={verb}"] + ["end"]


def test_a_mount_point_is_taken_off_where_it_stands(broker):
    client = broker.connect("out1", listener="mount")
    client.subscribe(Filter("#", 1))
    client.publish("o=payload", b"x", qos=1)
    assert client.wait("PUBLISH").topic == "o=payload"
    client.publish("o=topic", b"x", qos=1)
    assert client.wait("PUBLISH").topic == "new/m/o=topic"      # there is none before it any more
    wait_until(lambda: "out m/o=topic 1" in broker.log())


def test_what_is_sent_again_is_asked_about_again(broker):
    client = broker.connect("out1", session_expiry_interval=100)
    client.subscribe(Filter("o=payload", 1))
    client.auto_ack = False
    broker.connect("s").publish("o=payload", b"x", qos=1)
    assert client.wait("PUBLISH").payload == b"edited"
    client.reset()
    client = broker.connect("out1", clean=False, session_expiry_interval=100)
    message = client.wait("PUBLISH")
    assert message.dup and message.payload == b"edited"


# --- filters ---

def test_filters_are_changed(broker):
    client, sender = broker.connect("c"), broker.connect("s")
    client.subscribe(Filter("f=topic/+", 1, no_local=True), Filter("f=qos/a", 2), Filter("plain", 1), expect=[1, 0, 1])
    sender.publish("new/f=topic/x", b"1", qos=1)
    sender.publish("f=topic/x", b"2", qos=1)
    sender.publish("f=qos/a", b"3", qos=2)
    assert [client.wait("PUBLISH").payload for _ in range(2)] == [b"1", b"3"]
    wait_until(lambda: "sub f=topic/+ 5" in broker.log())
    wait_until(lambda: "may new/f=topic/+ 2" in broker.log() and "was f=topic/+ 2" in broker.log())
    # They are found again by what the client sends.
    client.unsubscribe("f=topic/+", "f=qos/a", "no", expect=[0, 0, 0x11])
    wait_until(lambda: "unsub f=topic/+ 0" in broker.log())
    sender.publish("new/f=topic/x", b"4", qos=1)
    sender.publish("plain", b"5", qos=1)
    assert client.wait("PUBLISH").payload == b"5"


def test_shared_filters_are_changed_within_their_group(broker):
    client, sender = broker.connect("c"), broker.connect("s")
    client.subscribe(Filter("$share/g/f=topic/a", 1), subscription_identifier=9)
    wait_until(lambda: "share g 9" in broker.log())
    sender.publish("new/f=topic/a", b"1", qos=1)
    message = client.wait("PUBLISH")
    assert message.payload == b"1" and message.props["subscription_identifier"] == [9]
    assert client.unsubscribe("$share/g/f=topic/a").reasons == [0]


def test_filters_keep_their_mount_point(broker):
    client = broker.connect("c", listener="mount")
    client.subscribe(Filter("f=topic/a", 1), Filter("f=escape/b", 1), Filter("f=bare/c", 1))
    wait_until(lambda: "sub m/f=topic/a 1" in broker.log() and f"escape gave {INVAL}" in broker.log())
    wait_until(lambda: f"bare gave {INVAL}" in broker.log())
    wait_until(lambda: "may m/new/f=topic/a 2" in broker.log() and "was m/f=topic/a 2" in broker.log())
    sender = broker.connect("s", listener="mount")
    sender.publish("new/f=topic/a", b"1", qos=1)
    message = client.wait("PUBLISH")
    assert (message.topic, message.payload) == ("new/f=topic/a", b"1")
    assert client.unsubscribe("f=topic/a", "f=escape/b", "f=bare/c").reasons == [0, 0, 0]


def test_filters_are_refused(broker):
    client = broker.connect("c")
    client.subscribe(Filter("f=reject", 1), Filter("a", 1), Filter("f=error", 1), Filter("f=drop", 1),
                     Filter("f=bad", 1), expect=[0x97, 1, 0x83, 0x83, 1])
    for what, status in (("filter", INVAL), ("higher", INVAL), ("payload", STATE)):
        wait_until(lambda: f"bad {what} {status}" in broker.log())
    client.unsubscribe("a", "f=reject", expect=[0, 0x80])       # 0x97 is none of UNSUBACK
    old = broker.connect("old", version=4)
    old.subscribe(Filter("f=reject", 1), Filter("a", 1), expect=[0x80, 1])
    client.send(client.subscribe_packet(Filter("b", 1), Filter("f=disconnect", 1)))
    client.wait("DISCONNECT", reason=0x87)


def test_many_filters_at_once(broker):
    client, sender = broker.connect("c"), broker.connect("s")
    filters = [Filter(f"f=topic/{i}", 1) for i in range(300)]
    assert client.subscribe(*filters).reasons == 300 * [1]
    sender.publish("new/f=topic/299", b"1", qos=1)
    assert client.wait("PUBLISH").topic == "new/f=topic/299"
    assert client.unsubscribe(*(f"f=topic/{i}" for i in range(300))).reasons == 300 * [0]


def test_what_was_asked_for_is_done_although_the_client_has_left(run_broker, edits):
    broker = run_broker(config={"plugins": [{"name": "e", "module": edits("POOL")}],
                                "chains": {"default": {"intercept": ["e"], "authorize": ["e"]}}})
    broker.socket = str(broker.run / "control.sock")
    client = broker.connect("c", session_expiry_interval=1000)
    client.subscribe("old")
    client.send(client.subscribe_packet(Filter("f=slow", 1), Filter("f=topic", 1)))
    wait_until(lambda: "sub f=slow 1" in broker.log())
    client.reset()
    wait_until(lambda: told(broker, "sessions", "show", "c")[0]["connected"] is False)
    wait_until(lambda: told(broker, "sessions", "show", "c")[0]["subscriptions"] == 3)


def test_each_of_a_chain_sees_the_filter_as_it_stands(run_broker, edits):
    """While one is waited for, the others' subscriptions go on; the next one sees its filter all the same."""
    module = edits("POOL")
    broker = run_broker(config={
        "listeners": [{"name": "mqtt", "mount_point": "m/"}], "broker": {"workers": 1},
        "plugins": [{"name": name, "module": module, "threads": 4} for name in ("e", "g")],
        "chains": {"default": {"intercept": ["e", "g"]}}})
    clients = [broker.connect(f"c{i}") for i in range(8)]
    for i, client in enumerate(clients):
        client.send(client.subscribe_packet(*(Filter(f"client/{i}/filter/{j}", 1) for j in range(20))))
    for client in clients:
        client.wait("SUBACK")
    wanted = sorted(f"sub m/client/{i}/filter/{j} 1" for i in range(8) for j in range(20))
    for name in "eg":
        wait_until(lambda: sorted(re.findall(rf"(sub m/client/\S+ 1) plugin={name}", broker.log())) == wanted)
