# SPDX-License-Identifier: Apache-2.0
"""Shared subscriptions of version 5."""

import pytest

from mqtt import Filter, Packet

statement = pytest.mark.statement


def drain(clients, publisher, name):
    """What each of the clients has got, after the publisher's last message."""
    return [client.messages_before(publisher, f"mark-{name}") for client in clients]


def test_each_message_goes_to_one_member(broker, name):
    members = [broker.connect() for _ in range(4)]
    publisher = broker.connect()
    for member in members:
        member.subscribe((f"$share/g/{name}/#", 2))
    for i in range(100):
        publisher.publish(f"{name}/{i}", str(i), qos=i % 3)
    got = drain(members, publisher, name)
    assert sorted(int(one.payload) for each in got for one in each) == list(range(100))
    assert all(got), "a member got nothing"


def test_groups_and_filters_are_independent(broker, name):
    members = [broker.connect() for _ in range(3)]
    plain, publisher = broker.connect(), broker.connect()
    members[0].subscribe((f"$share/g/{name}/a", 1))
    members[1].subscribe((f"$share/h/{name}/a", 1))
    members[2].subscribe((f"$share/g/{name}/+", 1))
    plain.subscribe((f"{name}/a", 1))
    for i in range(10):
        publisher.publish(f"{name}/a", str(i), qos=1)
    for each in drain(members + [plain], publisher, name):
        assert [one.payload for one in each] == [b"%d" % i for i in range(10)]


def test_a_client_with_both_gets_its_own_copy_and_the_groups(broker, name):
    client, publisher = broker.connect(), broker.connect()
    client.subscribe((f"{name}/a", 1), subscription_identifier=[1])
    client.subscribe((f"$share/g/{name}/a", 1), subscription_identifier=[2])
    publisher.publish(f"{name}/a", "x", qos=1)
    got = client.messages_before(publisher, f"mark-{name}")
    assert sorted(one.props["subscription_identifier"] for one in got) == [[1], [2]]


@statement("MQTT5-4.8.2-3")
def test_the_members_qos_and_identifier_rule(broker, name):
    members = [broker.connect() for _ in range(2)]
    publisher = broker.connect()
    for i, member in enumerate(members):
        member.subscribe((f"$share/g/{name}", i), subscription_identifier=[i + 1])
    for _ in range(20):
        publisher.publish(name, "x", qos=2)
    for i, each in enumerate(drain(members, publisher, name)):
        assert all(one.qos == i and one.props["subscription_identifier"] == [i + 1] for one in each)


def test_subscribing_twice_counts_once_and_replaces(broker, name):
    member, publisher = broker.connect(), broker.connect()
    for qos in (2, 1):
        member.subscribe((f"$share/g/{name}", qos))
    publisher.publish(name, "x", qos=2)
    got = member.messages_before(publisher, f"mark-{name}")
    assert [one.qos for one in got] == [1]
    member.unsubscribe(f"$share/g/{name}")
    publisher.publish(name, "y", qos=2)
    assert member.messages_before(publisher, f"mark-{name}") == []


@statement("MQTT5-3.10.4-1")
def test_unsubscribing_needs_the_whole_filter(broker, name):
    member, publisher = broker.connect(), broker.connect()
    member.subscribe((f"$share/g/{name}", 1))
    member.unsubscribe(name, f"$share/h/{name}", expect=[0x11, 0x11])
    publisher.publish(name, "x", qos=1)
    member.message(payload="x")
    member.unsubscribe(f"$share/g/{name}")


@statement("MQTT5-4.8.2-1", "MQTT5-4.8.2-2")
@pytest.mark.parametrize("entry", ["$share", "$share/", "$share/g", "$share/g/", "$share//a", "$share/+/a",
                                   "$share/#/a", "$share/a+/t", "$share/g/a#", "$share/g/#/a"])
def test_ill_formed_shared_filters_are_refused(broker, entry):
    client = broker.connect()
    client.send(client.subscribe_packet((entry, 1)))
    client.expect_refused(0x82)


@statement("MQTT5-3.8.3-4")
def test_no_local_is_not_allowed(broker, name):
    client = broker.connect()
    client.send(client.subscribe_packet(Filter(f"$share/g/{name}", 1, no_local=1)))
    client.expect_refused(0x82)


def test_an_empty_first_level_and_wildcards_work(broker, name):
    member, publisher = broker.connect(), broker.connect()
    member.subscribe((f"$share/g//{name}", 1), (f"$share/h/+/{name}/#", 1))
    publisher.publish(f"/{name}", "x", qos=1)
    got = member.messages_before(publisher, f"mark-{name}")
    assert [one.topic for one in got] == 2 * [f"/{name}"]


@statement("MQTT5-4.7.2-1")
def test_wildcards_in_a_group_do_not_match_dollar_topics(broker, name):
    member, publisher = broker.connect(), broker.connect()
    member.subscribe(f"$share/{name}/#")
    publisher.publish(f"$x/{name}", "no")
    got = member.messages_before(publisher, f"mark-{name}")
    assert not [one for one in got if one.topic.startswith("$")]


def test_a_sleeping_member_is_not_chosen_while_another_is_there(broker, name):
    asleep = broker.connect(name, session_expiry_interval=100)
    awake, publisher = broker.connect(), broker.connect()
    for one in (asleep, awake):
        one.subscribe((f"$share/g/{name}/a", 1))
    asleep.disconnect()
    for i in range(20):
        publisher.publish(f"{name}/a", str(i), qos=1)
    got = awake.messages_before(publisher, f"mark-{name}")
    assert [one.payload for one in got] == [b"%d" % i for i in range(20)]


def test_if_all_sleep_one_keeps_the_messages(broker, name):
    members = [broker.connect(f"{name}{i}", session_expiry_interval=100) for i in range(2)]
    publisher = broker.connect()
    for member in members:
        member.subscribe((f"$share/g/{name}/a", 1))
        member.disconnect()
    for i in range(10):
        publisher.publish(f"{name}/a", str(i), qos=1)
    got = []
    for i in range(2):
        member = broker.open()
        member.connect(f"{name}{i}", clean=False, session_expiry_interval=100)
        got += member.messages_before(publisher, f"mark-{name}")
    assert sorted(int(one.payload) for one in got) == list(range(10))


def test_unsent_messages_of_a_leaving_member_go_to_another(broker, name):
    first = broker.connect(receive_maximum=1)
    publisher = broker.connect()
    first.subscribe((f"$share/g/{name}/a", 1))
    for i in range(5):
        publisher.publish(f"{name}/a", str(i), qos=1)
    first.message(ack=False, payload="0")
    second = broker.connect()
    second.subscribe((f"$share/g/{name}/a", 1))
    first.disconnect()
    # The one that was on its way may come too.
    missing = {b"1", b"2", b"3", b"4"}
    while missing:
        missing.discard(second.message().payload)


@statement("MQTT5-4.8.2-4", "MQTT5-4.8.2-5")
def test_qos_2_on_its_way_stays_with_its_member(broker, name):
    first = broker.connect(name, session_expiry_interval=100)
    second, publisher = broker.connect(), broker.connect()
    first.subscribe((f"$share/g/{name}/a", 2))
    publisher.publish(f"{name}/a", "x", qos=2)
    message = first.message(ack=False)
    second.subscribe((f"$share/g/{name}/a", 2))
    first.close()
    assert second.messages_before(publisher, f"mark-{name}") == []
    first = broker.open()
    first.connect(name, clean=False)        # expiry 0 now
    first.message(ack=False, dup=1, packet_id=message.packet_id, payload="x")
    first.disconnect()
    assert second.messages_before(publisher, f"mark-{name}") == []


@statement("MQTT5-4.8.2-6")
@pytest.mark.parametrize("qos,kind", [(1, "PUBACK"), (2, "PUBREC")])
def test_a_refused_message_goes_to_nobody_else(broker, name, qos, kind):
    first, second, publisher = broker.connect(), broker.connect(), broker.connect()
    first.subscribe((f"$share/g/{name}", qos))
    publisher.publish(name, "x", qos=qos)
    message = first.message(ack=False)
    second.subscribe((f"$share/g/{name}", qos))
    first.send(Packet(kind, packet_id=message.packet_id, reason=0x83, props={}))
    first.ping()
    first.disconnect()
    assert second.messages_before(publisher, f"mark-{name}") == []


def test_the_last_member_takes_the_group_with_it(broker, name):
    publisher = broker.connect()
    member = broker.connect()
    member.subscribe((f"$share/g/{name}", 1))
    member.disconnect()
    publisher.publish(name, "x", qos=1)
    again = broker.connect()
    again.subscribe((f"$share/g/{name}", 1))
    assert again.messages_before(publisher, f"mark-{name}") == []


def test_a_full_member_is_passed_over(broker, name):
    slow, fast, publisher = broker.connect(receive_maximum=1), broker.connect(), broker.connect()
    for one in (slow, fast):
        one.subscribe((f"$share/g/{name}", 1))
    for i in range(30):
        publisher.publish(name, str(i), qos=1)
    held = slow.message(ack=False)
    got = {one.payload for one in fast.messages_before(publisher, f"mark-{name}")}
    slow.acknowledge(held)
    got |= {held.payload} | {one.payload for one in slow.messages_before(publisher, f"mark2-{name}")}
    assert got == {b"%d" % i for i in range(30)}
