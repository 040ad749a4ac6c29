# SPDX-License-Identifier: Apache-2.0
"""What one client of the publisher's worker gets at QoS 0 goes to it without becoming a message. Everything that may
look at a message on its way does so all the same: one worker, QoS 0, no properties."""

import shutil

import pytest

import test_acts
import test_intercept
from mqtt import Filter, Will
from test_clients import every_version
from test_plugin import CC

acts, edits, with_acts = test_acts.acts, test_intercept.edits, test_acts.with_acts      # fixtures
needs_compiler = pytest.mark.skipif(not shutil.which(CC), reason="there is no compiler")
CONFIG = {"broker": {"workers": 1}}


@every_version
@pytest.mark.parametrize("to", [3, 4, 5])
@pytest.mark.parametrize("size", [0, 1, 100, 117, 118, 2047, 2048, 16370, 100000])
def test_payloads_of_any_length(broker, name, version, to, size):
    receiver, sender = broker.connect(version=to), broker.connect(version=version)
    receiver.subscribe((f"{name}/#", 2))
    payload = bytes(i * 7 % 251 for i in range(size))
    for i in range(3):
        sender.publish(f"{name}/{i}", payload)
    for i in range(3):
        message = receiver.message(topic=f"{name}/{i}", qos=0, retain=0)
        assert message.payload == payload and not message.props


def test_it_stays_behind_what_waits(broker, name):
    """A client that does not read gets all in the order of its publisher, as much as its queue takes."""
    receiver = broker.open(receive_buffer=4096)
    receiver.connect()
    receiver.subscribe((name, 0))
    sender = broker.connect()
    for i in range(800):
        sender.publish(name, f"{i:04}" + "x" * 1000)
    sender.ping()
    for i in range(800):
        assert receiver.message().payload[:4] == b"%04d" % i


def test_who_has_said_how_large_packets_may_be(broker, name):
    receiver, sender = broker.connect(maximum_packet_size=40), broker.connect()
    receiver.subscribe((name, 0))
    fits = 40 - 2 - 2 - len(name) - 1
    for size in (fits, fits + 1, 1000, fits):
        sender.publish(name, bytes(size))
    assert [len(receiver.message().payload) for _ in range(2)] == [fits, fits]
    receiver.expect_quiet(0.05)


def test_topic_aliases_are_used(broker, name):
    receiver, sender = broker.connect(topic_alias_maximum=5), broker.connect(version=4)
    receiver.subscribe((name, 0))
    for i in range(3):
        sender.publish(name, str(i))
    assert [receiver.message().sent_topic for _ in range(3)] == [name, "", ""]


def test_subscriptions_keep_what_they_asked_for(broker, name):
    client = broker.connect()
    client.subscribe(Filter(f"{name}/own", no_local=1))
    client.subscribe((f"{name}/id", 0), subscription_identifier=7)
    client.publish(f"{name}/own", "not this")
    client.publish(f"{name}/id", "this")
    assert client.message(payload="this").props == {"subscription_identifier": [7]}
    client.subscribe((f"{name}/#", 0))
    client.publish(f"{name}/id", "once")
    assert client.message(payload="once").props == {"subscription_identifier": [7]}
    client.expect_quiet(0.05)


def test_retained_and_wills_are_messages(broker, name):
    watcher = broker.connect()
    watcher.subscribe((name, 0))
    client = broker.connect(will=Will(name, "gone", retain=1))
    client.publish(name, "kept", retain=1)
    watcher.message(payload="kept")
    late = broker.connect()
    late.subscribe((name, 0))
    late.message(payload="kept", retain=1)
    late.close()
    client.close()
    watcher.message(payload="gone")


def test_the_prefix_of_a_listener(run_broker):
    own = run_broker({**CONFIG, "listeners": [{"name": "a", "mount_point": "site/"}, {"name": "b"}]})
    inside, outside = own.connect(listener="a"), own.connect(listener="b")
    inside.subscribe(("in/#", 0))
    outside.subscribe(("site/out/#", 0))
    outside.publish("site/in/x", "1")
    inside.message(topic="in/x", payload="1")
    inside.publish("in/y", "2")
    inside.message(topic="in/y", payload="2")
    inside.publish("out/z", "3")
    outside.message(topic="site/out/z", payload="3")


def test_the_link_of_another_broker_gets_its_mark(broker, name):
    """A client that says so is one (route/hops.c)."""
    link, sender = broker.connect(user_property=[("avocet-origin", "1")]), broker.connect(version=4)
    link.subscribe((name, 0))
    sender.publish(name, "x")
    (key, value), = link.message(payload="x").props["user_property"]
    assert key == "avocet-origin" and len(value) > 16


@needs_compiler
@pytest.mark.parametrize("event", ["PUBLISHED", "DELIVERED"])
def test_observers_see_it(with_acts, event):
    own = with_acts(f"-DEVENTS=AVOCET_EV_{event}", workers=1)
    client = own.connect("c")
    client.subscribe(("a", 0))
    client.publish("a", "x")
    client.message(payload="x")
    test_acts.sees(own, event, f"{event} c a reason=0 qos=0 by=0")


@needs_compiler
def test_interceptors_of_what_goes_out_change_it(run_broker, edits):
    own = run_broker({**CONFIG, "plugins": [{"name": "e", "module": edits("INLINE")}],
                      "chains": {"default": {"intercept": ["e"]}}})
    changed, sender = own.connect("out1"), own.connect("s")
    changed.subscribe(("#", 0))
    sender.publish("o=payload", "x")
    assert changed.message().payload == b"edited"
