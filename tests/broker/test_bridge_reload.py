# SPDX-License-Identifier: Apache-2.0
"""Bridges whose configuration changes while they work, and what an operator is told meanwhile."""

import os

import pytest

from bridges import (bridge, config, control, needs_bridge, needs_scram, plugins, reload, remote, said, status, sub,
                     topic, wait_up)
from mqtt import Filter, Packet, wait_until

pytestmark = needs_bridge


@pytest.fixture
def tls_far(run_broker, ca):
    """A remote that asks for certificates."""
    server, key = ca.server_pair
    return run_broker({"listeners": [{"name": "tls", "tls": {"certfile": str(server), "keyfile": str(key),
                                                             "cafile": str(ca.cafile), "require_certificate": True}}]})


def refused(broker, instances, plugins):
    """Reloads what is wrong; what the log says of it."""
    before = len(broker.log())
    reload(broker, instances, plugins, until="reload refused, everything stays as it was")
    return broker.log()[before:]


# --- what is wrong ---


@pytest.mark.parametrize("wrong, why", [
    (lambda port: bridge(port, topic("out", "#", 1, "here")), '"here#" is no topic filter'),
    (lambda port: bridge(port, topic("in", "#", 1, "", "there")), '"there#" is no topic filter'),
    (lambda port: bridge("mqtt://127.0.0.1:99999", topic("out", "#", 1)), "the port must be a number"),
    (lambda port: bridge(f"mqtt://127.0.0:{port}", topic("out", "#", 1)), "the host must be a name or an address"),
    (lambda port: bridge(f"mqtts://127.0.0.1:{port}", topic("out", "#", 1), tls={"cafile": "/dev/null"}),
     "/dev/null is no file"),
    (lambda port: bridge(port, topic("out", "#", 1), tls={"ciphers": "DEFAULT"}), "remote.tls is set"),
    (lambda port: bridge(port, topic("out", "#", 1), max_packet_size="4GiB"), "remote.max_packet_size"),
    (lambda port: bridge([f"ws://127.0.0.1:{port}/a", f"ws://127.0.0.1:{port}/b"], topic("out", "#", 1)),
     "all must have the same path"),
])
def test_what_is_wrong_changes_nothing(run_broker, plugins, wrong, why):
    """It is refused as a whole, and the bridge works on."""
    far = run_broker()
    near = run_broker(config(plugins, bridge(far.port, topic("out", "o/#", 1))))
    wait_up(near)
    receiver = sub(far, Filter("o/#", qos=1))
    assert why in refused(near, [wrong(far.port)], plugins)
    near.connect().publish("o/1", "x", qos=1)
    assert said(receiver) == ("o/1", b"x")
    told = status(near)[0]
    assert told["connected"] and told["connects"] == 1


def test_what_could_not_be_opened_is_tried_again(run_broker, plugins, ca, tls_far, tmp_path):
    """Although nothing has changed but what is in a file: not even its size and its time."""
    own, key = ca.issue("again")
    mine = tmp_path / "own.pem"
    good = own.read_bytes()
    mine.write_bytes(good)
    instance = bridge(f"mqtts://localhost:{tls_far.port}", topic("out", "#", 1),
                      tls={"cafile": str(ca.cafile), "certfile": str(mine), "keyfile": str(key)})
    near = run_broker(config(plugins, instance), expected_errors="cannot use .* as a certificate")
    wait_up(near)
    middle = len(good) // 2
    mine.write_bytes(good[:middle] + b"!" * 64 + good[middle + 64:])
    when = mine.stat().st_mtime_ns
    reload(near, [instance], plugins)
    wait_until(lambda: "cannot use" in status(near)[0]["reason"], what="the bridge to fail")
    mine.write_bytes(good)
    os.utime(mine, ns=(when, when))
    reload(near, [instance], plugins)
    wait_up(near)
    assert status(near)[0]["connects"] == 2


# --- what is noticed ---


def test_certificates_are_read_again(run_broker, plugins, ca, tls_far, tmp_path):
    """Under the same names are others; without that, nothing is touched."""
    mine, my_key = tmp_path / "own.pem", tmp_path / "own.key"

    def use(name):
        own, key = ca.issue(name)
        mine.write_bytes(own.read_bytes())
        my_key.write_bytes(key.read_bytes())

    use("first")
    instance = bridge(f"mqtts://localhost:{tls_far.port}", topic("out", "#", 1),
                      tls={"cafile": str(ca.cafile), "certfile": str(mine), "keyfile": str(my_key)})
    near = run_broker(config(plugins, instance))
    wait_up(near)
    reload(near, [instance], plugins)
    assert status(near)[0]["connects"] == 1
    use("second")
    reload(near, [instance], plugins)
    wait_until(lambda: status(near)[0]["connects"] == 2, what="another connection")


def test_another_password_is_used(run_broker, plugins, remote):
    def instance(password):
        return bridge(remote.port, topic("out", "#", 1), username="me", password=password)

    near = run_broker(config(plugins, instance("one")))
    assert remote.up().greeting.password == b"one"
    reload(near, [instance("one")], plugins)
    reload(near, [instance("two")], plugins)
    assert remote.up().greeting.password == b"two"


@pytest.mark.parametrize("version", ["3.1.1", "5.0"])
def test_two_reloads_while_the_remote_is_away(run_broker, plugins, remote, version):
    """It is told of all that is not wanted any more, and not of what is wanted again."""
    def instance(*filters):
        return bridge(remote.port, *[topic("in", one, 1) for one in filters], version=version, try_private=False,
                      backoff_min="10ms", backoff_max="20ms")

    near = run_broker(config(plugins, instance("a", "b", "c", "d")))
    conn = remote.up()
    assert [one.name for one in conn.subscribed().filters] == ["a", "b", "c", "d"]
    for filters in (("c", "d"), ("d",), ("c", "d")):
        reload(near, [instance(*filters)], plugins)
        conn = remote.connected()       # it is not accepted
    conn.accept(1)
    gone = []
    while len(gone) < 2:
        packet = conn.wait("UNSUBSCRIBE")
        conn.send(Packet("UNSUBACK", packet_id=packet.packet_id, props={}, reasons=[0] * len(packet.filters)))
        gone += packet.filters
    assert sorted(gone) == ["a", "b"]
    assert [one.name for one in conn.subscribed().filters] == ["c", "d"]


@pytest.mark.parametrize("direction", ["in", "both"])
def test_the_first_entry_decides_the_qos(run_broker, plugins, remote, direction):
    """Two with the same filter: one subscription, there and here."""
    near = run_broker(config(plugins, bridge(remote.port, topic(direction, "t/#", 0), topic("both", "t/#", 2))))
    conn = remote.up()
    packet = conn.subscribed()
    assert [(one.name, one.options & 3) for one in packet.filters] == [("t/#", 0)]
    near.connect().publish("t/1", "x", qos=2)
    assert conn.message(ack=False).qos == (2 if direction == "in" else 0)


# --- what is told ---


def test_words_of_the_remote(run_broker, plugins, remote):
    """They are shown on a terminal."""
    near = run_broker(config(plugins, bridge(remote.port, topic("out", "#", 1))))
    remote.connected().refuse(0x87, reason_string="\x1b[31mred\x7f \u00e9\u009b1m")
    wait_until(lambda: status(near)[0]["reason"] != "")
    reason = status(near)[0]["reason"]
    assert "?[31mred? ????1m" in reason and all(" " <= one <= "~" for one in reason)


def test_connections_that_go_are_shown(run_broker, plugins, remote):
    def instance(count):
        return bridge(remote.port, topic("out", "t/#", 1), connections=count)

    near = run_broker(config(plugins, instance(2)))
    for _ in range(2):
        remote.up()
    wait_up(near)
    speaker = near.connect()
    for i in range(40):
        speaker.publish(f"t/{i}", str(i), qos=1)
    reload(near, [instance(1)], plugins)
    conns = {conn.greeting.client_id: conn for conn in (remote.up(1), remote.up(1))}
    wait_up(near)
    assert [(one["connection"], one["draining"]) for one in status(near)] == [(0, False), (1, True)]
    assert "draining" in control(near, "up", "status")
    goes = conns["bridge-up-1"]
    while (packet := goes.recv()).kind == "PUBLISH":
        goes.acknowledge(packet)
    assert packet.kind == "DISCONNECT"
    wait_until(lambda: len(status(near)) == 1)
    assert "draining" not in control(near, "up", "status")


@needs_scram
def test_the_library_is_not_set_up_for_nothing(run_broker, plugins):
    """A bridge without a mechanism needs none of SASL's plugins."""
    near = run_broker(config(plugins, bridge(1, topic("out", "#", 1))))
    with open(f"/proc/{near.process.pid}/maps", encoding="utf-8") as maps:
        assert "libscram" not in maps.read()
