# SPDX-License-Identifier: Apache-2.0
"""Bridges to other brokers: to Debian's mosquitto and to avocet, in both versions; what must not be lost."""

import os
import pathlib
import shutil
import signal
import subprocess
import time

import pytest

import test_plugin
from bridges import (CONTROL, bridge, config, control, needs_bridge, needs_scram, needs_store, plugins, relays, reload,
                     said, status, sub, topic, wait_down, wait_subscribed, wait_up)
from conftest import BIN, environment, free_port, yaml_text
from mqtt import Client, Filter, wait_until

MOSQUITTO = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
pytestmark = needs_bridge
needs_mosquitto = pytest.mark.skipif(not os.access(MOSQUITTO, os.X_OK), reason="there is no mosquitto")
LASTING = {"session_expiry_interval": 1000}
script = test_plugin.script         # a fixture


class Mosquitto:
    """Debian's mosquitto, as a remote."""

    def __init__(self, folder, lines=()):
        self.port = free_port()
        self.folder = folder
        self.file = folder / "mosquitto.conf"
        self.file.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n"
                             "max_inflight_messages 0\n" + "\n".join(lines) + "\n")
        self.start()

    def start(self):
        log = open(self.folder / "mosquitto.log", "ab")
        self.process = subprocess.Popen([MOSQUITTO, "-c", str(self.file)], stdout=log, stderr=log)

    def stop(self):
        self.process.terminate()
        self.process.wait(10)


@pytest.fixture
def mosquitto(tmp_path):
    made = []

    def make(*lines):
        made.append(Mosquitto(tmp_path, lines))
        return made[-1]

    yield make
    for one in made:
        one.stop()


class RemoteClients:
    """Opens clients at a mosquitto as a Broker does at an avocet."""

    def __init__(self, port):
        self.port = port

    def connect(self, client_id="", version=5, **options):
        def reach():
            try:
                return Client(self.port, version)
            except OSError:
                return None

        found = []
        wait_until(lambda: found.append(reach()) or found[-1] is not None, what="mosquitto")
        found[-1].connect(client_id, **options)
        return found[-1]


# --- topics ---


@pytest.mark.parametrize("version", ["3.1.1", "5.0"])
@pytest.mark.parametrize("kind", ["mosquitto", "avocet"])
def test_topics(run_broker, plugins, mosquitto, kind, version):
    """Out, in and both, with prefixes on either side, at each QoS."""
    if kind == "mosquitto" and not os.access(MOSQUITTO, os.X_OK):
        pytest.skip("there is no mosquitto")
    far = RemoteClients(mosquitto().port) if kind == "mosquitto" else run_broker()
    near = run_broker(config(plugins, bridge(far.port, topic("out", "o/#", 2, "here/", "there/"),
                                             topic("in", "i/#", 2, "here/", "there/"), topic("both", "b/+", 1),
                                             topic("out", "", 1, "one/name", "other/name"), version=version)))
    wait_up(near)
    inside, outside = sub(near, "here/i/#"), sub(far, "there/o/#", "b/+", "other/#")
    speaker, speaker_there = near.connect(), far.connect()
    for qos in (0, 1, 2):
        speaker.publish("here/o/a/b", f"out{qos}", qos=qos)
        assert said(outside) == ("there/o/a/b", b"out%d" % qos)
        speaker_there.publish("there/i/x", f"in{qos}", qos=qos)
        assert said(inside) == ("here/i/x", b"in%d" % qos)
        speaker.publish("b/1", f"both{qos}", qos=qos)
        assert said(outside) == ("b/1", b"both%d" % qos)
    speaker.publish("one/name", "renamed", qos=1)
    assert said(outside) == ("other/name", b"renamed")
    here = sub(near, "b/+")
    speaker_there.publish("b/2", "back", qos=1)
    assert said(here) == ("b/2", b"back") and said(outside) == ("b/2", b"back")
    speaker.publish("o/a", "is not bridged")
    speaker.publish("here/x", "nor this")
    outside.expect_quiet(0.1)
    here.expect_quiet(0.1)      # nothing came back


@pytest.mark.parametrize("version", ["3.1.1", "5.0"])
def test_qos_is_capped(run_broker, plugins, version):
    far = run_broker()
    near = run_broker(config(plugins, bridge(far.port, topic("out", "o/#", 1), topic("in", "i/#", 0), version=version)))
    wait_up(near)
    inside, outside = sub(near, "i/#"), sub(far, "o/#")
    near.connect().publish("o/1", "x", qos=2)
    assert outside.message().qos == 1
    far.connect().publish("i/1", "x", qos=2)
    assert inside.message().qos == 0


def test_retained(run_broker, plugins):
    """What was retained before goes over, as retained; what is cleared does not stay; `clear` makes it ordinary."""
    far = run_broker()
    far.connect().publish("in/old", "from there", qos=1, retain=1)
    near = run_broker(config(plugins, bridge(far.port, topic("out", "#", 1, "keep/", "keep/"),
                                             topic("out", "#", 1, "plain/", "plain/", retain="clear"),
                                             topic("in", "in/#", 1))))
    wait_up(near)
    live, speaker = sub(far, "keep/#", "plain/#"), near.connect()
    for prefix in ("keep", "plain"):
        speaker.publish(f"{prefix}/x", "value", qos=1, retain=1)
        assert said(live) == (f"{prefix}/x", b"value")
    assert sub(far, Filter("keep/x", qos=1)).message(retain=1).payload == b"value"
    assert not _has_retained(far, "plain/x")
    wait_until(lambda: _has_retained(near, "in/old"), what="the message from there")
    assert sub(near, "in/#").message(topic="in/old", retain=1).payload == b"from there"
    speaker.publish("keep/x", "", qos=1, retain=1)
    assert said(live) == ("keep/x", b"")
    assert not _has_retained(far, "keep/x")


def _has_retained(broker, name):
    client = sub(broker, name, "$SYS/broker/version")
    found = client.message().topic == name
    client.close()
    return found


def test_retained_that_was_there_before(run_broker, plugins, relays):
    """It is sent when the bridge is new, and not again when only its connection is."""
    far = run_broker()
    relay = relays(far.port)
    seen = sub(far, Filter("#", qos=2))
    near = run_broker(config(plugins))
    speaker = near.connect()
    speaker.publish("r/1", "value", qos=2, retain=1)
    # By 3.1.1: with 5.0 the mark of a message would keep it from coming twice, however often it is sent.
    reload(near, [bridge(relay.port, topic("out", "r/#", 2), version="3.1.1")], plugins)
    assert said(seen) == ("r/1", b"value")
    wait_up(near)
    assert _has_retained(far, "r/1")
    relay.cut()
    wait_until(lambda: status(near)[0]["connects"] == 2)
    wait_up(near)
    speaker.publish("r/2", "next", qos=2)
    assert said(seen) == ("r/2", b"next")       # QoS 2: what was under way does not come twice, either
    seen.expect_quiet(0.2)


def test_retained_after_the_remote_has_lost_them(run_broker, plugins, relays):
    """It has no session of the bridge any more: what is retained here is sent again."""
    far = run_broker()
    relay = relays(lambda: far.port)
    near = run_broker(config(plugins, bridge(relay.port, topic("out", "r/#", 1))))
    wait_up(near)
    near.connect().publish("r/1", "value", qos=1, retain=1)
    wait_until(lambda: _has_retained(far, "r/1"))
    far.crash()
    far.start()
    wait_until(lambda: _has_retained(far, "r/1"), what="the retained message to come again")


def test_properties(run_broker, plugins):
    """MQTT 5's go over as they are, and the expiry is counted down."""
    far = run_broker()
    near = run_broker(config(plugins, bridge(far.port, topic("both", "p/#", 1))))
    wait_up(near)
    props = {"payload_format_indicator": 1, "content_type": "text/plain", "response_topic": "r/x",
             "correlation_data": b"\x00\x01", "user_property": [("a", "1"), ("a", "2"), ("b", "")],
             "message_expiry_interval": 1000}
    for source, sink in ((near, far), (far, near)):
        receiver = sub(sink, Filter("p/#", qos=1))
        source.connect().publish("p/1", "text", qos=1, **props)
        got = receiver.message().props
        marks = [pair for pair in got["user_property"] if pair[0] == "avocet-origin"]
        got["user_property"] = [pair for pair in got["user_property"] if pair[0] != "avocet-origin"]
        assert got.pop("message_expiry_interval") <= 1000
        expected = {key: value for key, value in props.items() if key != "message_expiry_interval"}
        assert {key: got[key] for key in expected} == expected
        assert len(marks) == 1
        receiver.close()


# --- what must not be lost ---


@needs_store
@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize("version", ["3.1.1", "5.0"])
def test_the_remote_is_away(run_broker, plugins, relays, version, qos):
    """It comes back, and everything arrives in order; so after a crash of this broker meanwhile."""
    far = run_broker()
    relay = relays(far.port)
    receiver = sub(far, Filter("o/#", qos=2))
    near = run_broker(config(plugins, bridge(relay.port, topic("out", "o/#", qos), version=version), store=True))
    wait_up(near)
    relay.open = False
    relay.cut()
    wait_down(near)
    speaker = near.connect()
    for i in range(200):
        speaker.publish("o/x", str(i), qos=qos)
    near.crash()
    near.start()
    relay.open = True
    assert [said(receiver)[1] for _ in range(200)] == [b"%d" % i for i in range(200)]
    receiver.expect_quiet(0.1)


@needs_store
@pytest.mark.parametrize("version", ["3.1.1", "5.0"])
def test_cut_while_it_flows(run_broker, plugins, relays, version):
    """Both ways at QoS 2, the network cut again and again: each once, in order."""
    far = run_broker(config(plugins, store=True))
    relay = relays(far.port)
    near = run_broker(config(plugins, bridge(relay.port, topic("out", "o/#", 2), topic("in", "i/#", 2),
                                             version=version), store=True))
    wait_up(near)
    wait_subscribed(far)
    inside, outside = sub(near, Filter("i/#", qos=2)), sub(far, Filter("o/#", qos=2))
    speaker, speaker_there = near.connect(), far.connect()
    count = 300
    for i in range(count):
        speaker.publish("o/x", str(i), qos=2)
        speaker_there.publish("i/x", str(i), qos=2)
        if i % 40 == 20:
            relay.cut()
    expected = [b"%d" % i for i in range(count)]
    assert [said(outside)[1] for _ in range(count)] == expected
    assert [said(inside)[1] for _ in range(count)] == expected
    outside.expect_quiet(0.1)
    inside.expect_quiet(0.1)
    assert relay.count > 3


@needs_store
def test_both_crash(run_broker, plugins, relays):
    """kill -9 of either side while QoS 2 flows."""
    far = run_broker(config(plugins, store=True))
    relay = relays(lambda: far.port)
    near = run_broker(config(plugins, bridge(relay.port, topic("out", "o/#", 2)), store=True))
    wait_up(near)
    asleep = far.connect("reader", clean=True, **LASTING)
    asleep.subscribe(Filter("o/#", qos=2))
    asleep.disconnect()
    sent = 0
    for round_ in range(4):
        speaker = near.connect()
        for _ in range(60):
            speaker.publish("o/x", str(sent), qos=2)
            sent += 1
        victim = near if round_ % 2 else far
        victim.crash()
        victim.start()
    wait_up(near)
    far_clients = far.connect("reader", clean=False, **LASTING)
    assert [said(far_clients)[1] for _ in range(sent)] == [b"%d" % i for i in range(sent)]
    far_clients.expect_quiet(0.1)


@needs_store
def test_a_remote_that_forgets(run_broker, plugins, relays):
    """It has lost the session with all that was under way: nothing that it did not acknowledge is lost, new messages
    go on, and the log says what may have come twice."""
    far = run_broker()
    relay = relays(lambda: far.port)
    near = run_broker(config(plugins, bridge(relay.port, topic("out", "o/#", 2), topic("in", "i/#", 2)), store=True))
    wait_up(near)
    speaker = near.connect()
    far.process.send_signal(signal.SIGSTOP)     # what is sent is not answered
    wait_until(lambda: "State:\tT" in pathlib.Path(f"/proc/{far.process.pid}/status").read_text())
    for i in range(50):
        speaker.publish("o/x", str(i), qos=2)
    relay.open = False
    far.crash()
    far.start()
    receiver = sub(far, Filter("o/#", qos=2))
    relay.open = True       # not before: nobody would be there for what comes
    got = []
    wait_until(lambda: got.append(said(receiver)[1]) or got[-1] == b"49", what="the last message")
    assert got == [b"%d" % i for i in range(50)]
    inside = sub(near, "i/#")
    wait_up(near)
    wait_subscribed(far)
    far.connect().publish("i/1", "in", qos=2)
    assert said(inside) == ("i/1", b"in")
    wait_until(lambda: "the remote has forgotten the session" in near.log())


@needs_store
def test_the_session_here_is_ended(run_broker, plugins):
    """An operator ends it: it begins anew, with its subscriptions."""
    far = run_broker()
    near = run_broker(config(plugins, bridge(far.port, topic("out", "o/#", 1)), store=True))
    wait_up(near)
    control(near, "sessions", "end", "$link/up/0")
    receiver = sub(far, Filter("o/#", qos=1))
    wait_until(lambda: status(near)[0]["connects"] >= 2)
    wait_up(near)
    near.connect().publish("o/1", "x", qos=1)
    assert said(receiver) == ("o/1", b"x")


@needs_store
def test_an_operator_sends_it_away(run_broker, plugins):
    """It comes back; its session is listed as others are."""
    far = run_broker()
    near = run_broker(config(plugins, bridge(far.port, topic("out", "o/#", 1)), store=True))
    wait_up(near)
    assert "$link/up/0" in control(near, "clients") and "$link/up/0" in control(near, "sessions")
    control(near, "kick", "$link/up/0")
    wait_until(lambda: status(near)[0]["connects"] == 2)
    wait_up(near)
    receiver = sub(far, "o/#")
    near.connect().publish("o/1", "x", qos=1)
    assert said(receiver) == ("o/1", b"x")


@needs_store
def test_a_bridge_that_is_no_more(run_broker, plugins):
    """Its session stays, since nothing is lost by mistake, and is named until somebody ends it."""
    far = run_broker()
    near = run_broker(config(plugins, bridge(far.port, topic("out", "o/#", 1)), store=True))
    wait_up(near)
    reload(near, [], plugins, store=True)
    wait_until(lambda: "session $link/up/0 belongs to no link any more" in near.log())
    control(near, "sessions", "end", "$link/up/0")
    assert "$link/up/0" not in control(near, "sessions")


def test_limits_of_the_queue(run_broker, plugins, relays):
    """`links: NAME: limits` bounds what waits; without it more than usual may wait."""
    far = run_broker()
    relay = relays(far.port)
    relay.open = False
    near = run_broker(config(plugins, bridge(relay.port, topic("out", "o/#", 1)),
                             bridge(relay.port, topic("out", "p/#", 1), name="small"),
                             links={"small": {"limits": {"max_queued_messages": 10}}},
                             limits={"max_queued_messages": 100}))
    speaker = near.connect()
    for i in range(300):
        speaker.publish("o/x", str(i), qos=1)
        speaker.publish("p/x", str(i), qos=1)
    receiver = sub(far, Filter("#", qos=1))
    relay.open = True
    got = []
    wait_until(lambda: got.append(said(receiver)) or len([one for one in got if one[0] == "o/x"]) == 300)
    wait_up(near, "small")
    speaker.publish("p/x", "last", qos=1)
    wait_until(lambda: ("p/x", b"last") in got or got.append(said(receiver)))
    assert len([one for one in got if one[0] == "p/x"]) == 11


def test_max_age(run_broker, plugins, relays):
    far = run_broker()
    relay = relays(far.port)
    relay.open = False
    near = run_broker(config(plugins, bridge(relay.port, topic("out", "o/#", 1), max_age="1s")))
    speaker = near.connect()
    speaker.publish("o/x", "old", qos=1)
    time.sleep(2.1)
    speaker.publish("o/x", "young", qos=1)
    receiver = sub(far, Filter("#", qos=1))
    relay.open = True
    assert said(receiver) == ("o/x", b"young")
    assert status(near)[0]["dropped"] == 1


# --- loops ---


def test_a_ring(run_broker, plugins):
    """Three avocets, each bridged to the next, `#` both ways: a message arrives once everywhere, and that is all."""
    ports = [free_port() for _ in range(3)]
    ring = []
    for i in range(3):
        ring.append(run_broker(config(
            plugins, bridge(ports[(i + 1) % 3], topic("both", "#", 2), name=f"to{(i + 1) % 3}"),
            listeners=[{"name": "mqtt"}, {"name": "fixed", "bind": f"127.0.0.1:{ports[i]}"}])))
    for i in range(3):
        wait_up(ring[i], f"to{(i + 1) % 3}")
    receivers = [sub(one, Filter("t/#", qos=2)) for one in ring]
    speakers = [one.connect() for one in ring]
    for round_ in range(5):
        for i, speaker in enumerate(speakers):
            speaker.publish(f"t/{i}", f"{round_}", qos=round_ % 3)
    for receiver in receivers:
        got = sorted(said(receiver) for _ in range(15))
        assert got == sorted((f"t/{i}", b"%d" % k) for i in range(3) for k in range(5))
        receiver.expect_quiet(0.2)
    total = [sum(one["sent"] for one in status(broker, f"to{(i + 1) % 3}")) for i, broker in enumerate(ring)]
    time.sleep(0.3)
    assert total == [sum(one["sent"] for one in status(broker, f"to{(i + 1) % 3}")) for i, broker in enumerate(ring)]


def test_a_remote_of_version_3_that_sends_back(run_broker, plugins):
    """An avocet does not know private bridges of MQTT 3: what it sends back is known, and dropped once for each."""
    far = run_broker()
    near = run_broker(config(plugins, bridge(far.port, topic("both", "#", 1), version="3.1.1", try_private=False)))
    wait_up(near)
    here = sub(near, Filter("t/#", qos=1))
    speaker = near.connect()
    for i in range(20):
        speaker.publish("t/x", str(i % 3), qos=1)
    assert [said(here)[1] for _ in range(20)] == [b"%d" % (i % 3) for i in range(20)]
    here.expect_quiet(0.2)
    far.connect().publish("t/x", "1", qos=1)    # the same text, but of somebody else
    assert said(here) == ("t/x", b"1")


# --- connections ---


@pytest.mark.parametrize("store", [False, pytest.param(True, marks=needs_store)])
def test_several_connections(run_broker, plugins, store):
    """Each topic goes over one of them: order per topic, and nothing twice, also of what came in."""
    far = run_broker()
    near = run_broker(config(plugins, bridge(far.port, topic("both", "#", 2), connections=4), store=store))
    wait_up(near)
    receiver, here = sub(far, Filter("t/#", qos=2)), sub(near, Filter("t/#", qos=2))
    speaker = near.connect()
    for i in range(40):
        for k in range(10):
            speaker.publish(f"t/{k}", str(i), qos=i % 3)
    got = {}
    for _ in range(400):
        name, payload = said(receiver)
        got.setdefault(name, []).append(int(payload))
    for qos in (0, 1, 2):
        for name in got:
            assert [i for i in got[name] if i % 3 == qos] == [i for i in range(40) if i % 3 == qos]
    assert len([one for one in status(near) if one["sent"] > 0]) > 1
    for _ in range(400):
        said(here)
    far.connect().publish("t/0", "in", qos=1)
    assert said(here) == ("t/0", b"in") and said(receiver) == ("t/0", b"in")
    here.expect_quiet(0.2)
    receiver.expect_quiet(0.1)


@needs_store
def test_fewer_connections(run_broker, plugins, relays):
    """Those that go send what they have."""
    far = run_broker()
    relay = relays(far.port)

    def instance(count):
        return bridge(relay.port, topic("out", "t/#", 1), connections=count)

    near = run_broker(config(plugins, instance(4), store=True))
    wait_up(near)
    relay.open = False
    relay.cut()
    wait_down(near)
    speaker = near.connect()
    for i in range(40):
        speaker.publish(f"t/{i}", str(i), qos=1)
    receiver = sub(far, Filter("t/#", qos=1))
    reload(near, [instance(1)], plugins, store=True)
    relay.open = True
    assert {said(receiver)[0] for _ in range(40)} == {f"t/{i}" for i in range(40)}
    wait_until(lambda: near.log().count("everything is sent: it ends") == 3)
    speaker.publish("t/last", "x", qos=1)
    assert said(receiver)[0] == "t/last"
    assert control(near, "sessions").count("$link/up/") == 1


def test_lazy(run_broker, plugins):
    """It connects when enough waits, and goes when there is nothing more."""
    far = run_broker()
    receiver = sub(far, Filter("#", qos=1))
    near = run_broker(config(plugins, bridge(far.port, topic("out", "o/#", 1), start="lazy", threshold=3,
                                             idle_timeout="1s")))
    speaker = near.connect()
    for i in range(2):
        speaker.publish("o/x", str(i), qos=1)
    receiver.expect_quiet(1.5)
    speaker.publish("o/x", "2", qos=1)
    assert [said(receiver)[1] for _ in range(3)] == [b"0", b"1", b"2"]
    wait_down(near)
    assert "nothing to do" in near.log()


def test_several_addresses(run_broker, plugins):
    """Those where nobody listens are passed over, and a name is looked up."""
    far = run_broker()
    dead = free_port()
    near = run_broker(config(plugins, bridge([f"mqtt://127.0.0.1:{dead}", f"localhost:{far.port}"],
                                             topic("out", "#", 1))))
    wait_up(near)
    missing = run_broker(config(plugins, bridge("mqtt://no.such.host.invalid", topic("out", "#", 1))))
    wait_until(lambda: status(missing)[0]["reason"] != "", what="the look-up to fail")


def test_unix_and_websocket(run_broker, plugins, tmp_path):
    far = run_broker({"listeners": [{"name": "mqtt"}, {"name": "ws", "protocol": "websocket"},
                                    {"name": "unix", "bind": f"unix:{tmp_path}/far.sock"}]})
    receiver = sub(far, Filter("#", qos=1))
    near = run_broker(config(plugins, bridge(f"unix:{tmp_path}/far.sock", topic("out", "u/#", 1), name="unix"),
                             bridge(f"ws://127.0.0.1:{far.ports['ws']}/mqtt", topic("out", "w/#", 1), name="ws")))
    speaker = near.connect()
    for name in ("unix", "ws"):
        wait_up(near, name)
        speaker.publish(f"{name[0]}/x", "a" * 100000, qos=1)
        assert said(receiver) == (f"{name[0]}/x", b"a" * 100000)


def test_tls(run_broker, plugins, ca):
    """The remote's certificate must be believed and be for its name; ours may be asked for."""
    server, key = ca.server_pair
    client, client_key = ca.issue("bridge")
    far = run_broker({"listeners": [{"name": "tls", "tls": {"certfile": str(server), "keyfile": str(key),
                                                            "cafile": str(ca.cafile), "require_certificate": True}}]})
    own = {"cafile": str(ca.cafile), "certfile": str(client), "keyfile": str(client_key)}

    def instance(name, **tls):
        return bridge(f"mqtts://localhost:{far.port}", topic("out", "#", 1), name=name, tls=tls)

    near = run_broker(config(plugins, instance("good", **own), instance("stranger", certfile=str(client),
                                                                      keyfile=str(client_key)),
                             instance("misnamed", server_name="elsewhere.example", **own),
                             instance("nobody", cafile=own["cafile"])))
    wait_up(near, "good")
    for name, why in (("stranger", "certificate verify failed"), ("misnamed", "certificate verify failed"),
                      ("nobody", "")):
        wait_until(lambda: status(near, name)[0]["reason"] != "", what=name)
        told = status(near, name)[0]
        assert not told["connected"] and why in told["reason"]


def add_user(plugins, users, *words):
    done = subprocess.run([CONTROL, "--plugin-dir", plugins, "--stdin", "user", "add", str(users), "bridge", *words],
                          input="secret\n", text=True, capture_output=True, env=environment(), timeout=60)
    assert done.returncode == 0, done.stderr


@needs_scram
@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_scram(run_broker, plugins, tmp_path, mechanism):
    """Enhanced authentication as a client; a wrong password does not get in."""
    users = tmp_path / "users"
    add_user(plugins, users, *(["--sha-512"] if mechanism.endswith("512") else []))
    far = run_broker(config(plugins, {"name": "scram", "module": "auth-sasl",
                                      "config": {"file": str(users), "mechanisms": [mechanism]}},
                            listeners=[{"name": "mqtt", "allow_anonymous": False}],
                            chains={"default": {"authenticate": ["scram"]}}))
    near = run_broker(config(plugins, bridge(far.port, topic("out", "#", 1), mechanism=mechanism, username="bridge",
                                             password="secret"),
                             bridge(far.port, topic("out", "#", 1), name="wrong", mechanism=mechanism,
                                    username="bridge", password="guess")))
    wait_up(near)
    wait_until(lambda: status(near, "wrong")[0]["reason"] != "")
    assert not status(near, "wrong")[0]["connected"]
    assert "secret" not in near.log() and "guess" not in near.log()


def test_user_name_and_password(run_broker, plugins, tmp_path):
    users = tmp_path / "users"
    add_user(plugins, users)
    far = run_broker(config(plugins, {"name": "users", "module": "auth-file", "config": {"file": str(users)}},
                            listeners=[{"name": "mqtt", "allow_anonymous": False}],
                            chains={"default": {"authenticate": ["users"]}}))
    near = run_broker(config(plugins, bridge(far.port, topic("out", "#", 1), username="bridge", password="secret",
                                             version="3.1.1"),
                             bridge(far.port, topic("out", "#", 1), name="wrong", username="bridge", password="guess")))
    wait_up(near)
    wait_until(lambda: "refuses" in status(near, "wrong")[0]["reason"])


# --- what it may, and what is told ---


def test_access_rules(run_broker, plugins, tmp_path):
    """A bridge has no more rights here than its rules say."""
    (tmp_path / "acl.yaml").write_text("rules:\n- { allow: [publish, subscribe], users: [friend], topics: ['ok/#'] }\n"
                                       "- { allow: [publish, subscribe], users: [''], topics: ['#'] }\n")
    far = run_broker()
    near = run_broker(config(plugins, {"name": "rules", "module": "acl",
                                       "config": {"file": str(tmp_path / "acl.yaml")}},
                             bridge(far.port, topic("both", "ok/#", 1), topic("both", "no/#", 1),
                                    local_username="friend"),
                             chains={"bridges": {"authorize": ["rules"]}}, links={"up": {"chains": "bridges"}}))
    wait_up(near)
    wait_subscribed(far, 2)
    inside, outside = sub(near, Filter("#", qos=1)), sub(far, Filter("#", qos=1))
    speaker, speaker_there = near.connect(), far.connect()
    speaker_there.publish("no/1", "x", qos=1)
    speaker_there.publish("ok/1", "x", qos=1)
    assert said(inside)[0] == "ok/1"
    assert said(outside)[0] == "no/1" and said(outside)[0] == "ok/1"
    speaker.publish("no/2", "x", qos=1)
    speaker.publish("ok/2", "x", qos=1)
    assert said(outside)[0] == "ok/2"
    assert 'may not have "no/#" of this broker' in near.log()
    wait_until(lambda: 'a message of the remote to "no/1" is refused' in near.log())


def test_an_authority_that_cannot_say(run_broker, plugins, script):
    """What the bridge has it keeps, when those that are asked again do not answer."""
    far = run_broker()

    def instances():
        return [{"name": "a", "module": script("WORKER"), "config": {"name": "a"}},
                bridge(far.port, topic("out", "o/a=later-accept:400/#", 1))]

    def more(patience):
        return {"chains": {"slow": {"authorize": [{"use": "a", "timeout": patience}]}},
                "links": {"up": {"chains": "slow"}}}

    near = run_broker(config(plugins, *instances(), **more("10s")))
    wait_up(near)
    receiver, speaker = sub(far, Filter("#", qos=1)), near.connect()
    speaker.publish("o/a=later-accept:400/1", "x", qos=1)
    assert said(receiver)[1] == b"x"
    reload(near, instances(), plugins, **more("50ms"))
    wait_until(lambda: "did not answer in time" in near.log(), what="the question to end")
    speaker.publish("o/a=later-accept:400/1", "y", qos=1)
    assert said(receiver)[1] == b"y"


def test_rules_that_change(run_broker, plugins, tmp_path):
    """What a bridge may not have any more it does not get, at once."""
    acl = tmp_path / "acl.yaml"
    rule = "- {{ allow: [publish, subscribe], users: [friend], topics: ['{}/#'] }}\n"
    acl.write_text("rules:\n" + rule.format("a") + rule.format("b"))
    far = run_broker()
    instances = [{"name": "rules", "module": "acl", "config": {"file": str(acl)}},
                 bridge(far.port, topic("out", "a/#", 1), topic("out", "b/#", 1), local_username="friend")]
    more = {"chains": {"bridges": {"authorize": ["rules"]}}, "links": {"up": {"chains": "bridges"}}}
    near = run_broker(config(plugins, *instances, **more))
    wait_up(near)
    receiver, speaker = sub(far, Filter("#", qos=1)), near.connect()
    speaker.publish("a/1", "x", qos=1)
    assert said(receiver)[0] == "a/1"
    acl.write_text("rules:\n" + rule.format("b"))
    reload(near, instances, plugins, **more)
    wait_until(lambda: 'may not have "a/#" of this broker' in near.log())
    speaker.publish("a/2", "x", qos=1)
    speaker.publish("b/2", "x", qos=1)
    assert said(receiver)[0] == "b/2"
    assert status(near)[0]["connects"] == 1


@pytest.mark.parametrize("version", [4, 5])
def test_its_session_is_nobody_elses(run_broker, plugins, version):
    far = run_broker()
    near = run_broker(config(plugins, bridge(far.port, topic("out", "#", 1))))
    wait_up(near)
    client = near.open(version)
    client.send(client.connect_packet("$link/up/0", clean=True))
    assert client.recv().reason == (0x85 if version == 5 else 2)
    assert status(near)[0]["connected"]


def test_notifications(run_broker, plugins, relays):
    """$SYS/broker/connection/NAME/state here, and where it is wanted there, by a will."""
    far = run_broker()
    relay = relays(far.port)
    near = run_broker(config(plugins, bridge(relay.port, topic("out", "o/#"), notifications_local_only=False,
                                             notification_topic="state/up")))
    here, there = sub(near, "$SYS/broker/connection/up/state"), sub(far, "state/up")
    wait_up(near)
    _wait_said(here, b"1")
    _wait_said(there, b"1")
    relay.open = False
    relay.cut()
    _wait_said(here, b"0")
    _wait_said(there, b"0")     # its will
    relay.open = True
    _wait_said(there, b"1")
    near.stop()
    _wait_said(there, b"0")     # it said so itself
    assert not any("will" in one for one in far.lines("error"))


def _wait_said(client, payload):
    wait_until(lambda: said(client)[1] == payload, what=f"{payload}")


def test_reload(run_broker, plugins):
    """One is changed, one comes, one goes, and one is not touched."""
    far = run_broker()
    same = bridge(far.port, topic("out", "s/#", 1), name="same")
    near = run_broker(config(plugins, same,
                             bridge(far.port, topic("out", "a/#", 1), topic("in", "in/#", 1), name="changed"),
                             bridge(far.port, topic("out", "g/#", 1), name="goes")))
    for name in ("same", "changed", "goes"):
        wait_up(near, name)
    receiver = sub(far, Filter("#", qos=1))
    reload(near, [same, bridge(far.port, topic("out", "b/#", 1), name="changed"),
                  bridge(far.port, topic("out", "n/#", 1), name="new")], plugins)
    wait_up(near, "new")
    wait_until(lambda: status(near, "changed")[0]["connects"] == 2)
    wait_up(near, "changed")
    speaker = near.connect()
    for name in ("a", "g", "b", "n", "s"):
        speaker.publish(f"{name}/x", name, qos=1)
    assert {said(receiver)[0] for _ in range(3)} == {"b/x", "n/x", "s/x"}
    receiver.expect_quiet(0.1)
    assert status(near, "same")[0]["connects"] == 1
    # The remote was told that it is not wanted any more.
    inside = sub(near, Filter("in/#", qos=1))
    far.connect().publish("in/1", "x", qos=1)
    inside.expect_quiet(0.2)
    wait_until(lambda: "plugin goes has ended" in near.log())


@pytest.mark.parametrize("wrong, why", [
    ({"address": "http://x"}, "begins with a scheme that is not known"),
    ({"address": "mqtt://x/path"}, "has a path, which only ws and wss have"),
    ({"address": ["mqtt://x", "mqtts://x"]}, "all must be of one kind"),
    ({"address": "mqtt://x:99999"}, "port"),
    ({"address": "mqtts://x", "tls": {"cafile": "/no/such/file"}}, "/no/such/file"),
    ({"mechanism": "SCRAM-SHA-256"}, "needs a username and a password"),
    ({"mechanism": "SCRAM-SHA-256", "username": "a", "password": "b", "version": "3.1.1"}, "needs version 5.0"),
])
def test_wrong_remotes(plugins, tmp_path, wrong, why):
    """Are told before anything is done, or at the start."""
    log = _log_of_start(plugins, tmp_path, bridge(1, topic("out", "#"), **wrong))
    assert why in log, log


def _log_of_start(plugins, folder, instance):
    """What a broker with it says until it is ready, or has ended."""
    file = folder / "wrong.yaml"
    made = config(plugins, instance)
    made["listeners"] = [{"bind": f"127.0.0.1:{free_port()}"}]
    made["broker"].update({"data_dir": str(folder), "control": ""})
    file.write_text(yaml_text(made))
    process = subprocess.Popen([BIN, "-c", str(file)], stderr=subprocess.PIPE, text=True, env=environment())
    lines = []
    try:
        for line in process.stderr:
            lines.append(line)
            if "is ready" in line:
                break
    finally:
        process.terminate()
        process.wait(20)
        process.stderr.close()
    return "".join(lines)


@pytest.mark.parametrize("topics, why", [
    ([], "topics"),
    ([topic("out", "a", local="x/#/")], "a prefix has no wildcards"),
    ([topic("out", "")], "without a filter both prefixes must be there"),
    ([topic("out", "a/#/b")], "is no topic filter"),
    ([topic("out", "a", 3)], "qos"),
    ([topic("sideways", "a")], "direction"),
])
def test_wrong_topics(plugins, tmp_path, topics, why):
    log = _log_of_start(plugins, tmp_path, bridge(1, *topics))
    assert why in log, log


def test_status_as_a_table(run_broker, plugins):
    near = run_broker(config(plugins, bridge(free_port(), topic("out", "#"))))
    wait_until(lambda: status(near)[0]["reason"] != "")
    table = control(near, "up", "status")
    assert "away" in table and "Connection refused" in table


@needs_store
def test_the_example(run_broker, plugins, tmp_path):
    """etc/bridge.yaml, with other ports and folders."""
    far = run_broker()
    text = (pathlib.Path(__file__).parents[2] / "etc/bridge.yaml").read_text()
    port = free_port()
    text = text.replace("127.0.0.1:1883", f"127.0.0.1:{port}").replace("127.0.0.1:1884", f"127.0.0.1:{far.port}")
    file = tmp_path / "bridge.yaml"
    file.write_text(f"broker: {{ plugin_dir: {plugins}, data_dir: {tmp_path}, control: '' }}\n{text}")
    process = subprocess.Popen([BIN, "-c", str(file)], stderr=subprocess.PIPE, text=True, env=environment())
    try:
        assert any("connected to 127.0.0.1" in line for line in process.stderr)
        receiver, near = sub(far, "site1/#"), RemoteClients(port).connect()
        near.subscribe(Filter("commands/#", qos=2))
        near.publish("sensors/1", "warm", qos=1)
        assert said(receiver) == ("site1/sensors/1", b"warm")
        far.connect().publish("site1/commands/x", "go", qos=2)
        assert said(near) == ("commands/x", b"go")
    finally:
        process.terminate()
        assert process.wait(20) == 0
        process.stderr.close()


def test_plugin_check(plugins):
    done = subprocess.run([CONTROL, "--plugin-dir", plugins, "plugin", "check", f"{plugins}/bridge.so"],
                          capture_output=True, text=True, env=environment(), timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_mosquitto
@pytest.mark.parametrize("version", ["3.1.1", "5.0"])
def test_mosquitto_over_tls(run_broker, plugins, mosquitto, ca, version):
    """Which asks for a certificate."""
    server, key = ca.server_pair
    own, own_key = ca.issue(f"own{version}")
    plain = free_port()
    far = mosquitto(f"certfile {server}", f"keyfile {key}", f"cafile {ca.cafile}", "require_certificate true",
                    "user root", f"listener {plain} 127.0.0.1")
    receiver = RemoteClients(plain).connect()
    receiver.subscribe(Filter("o/#", qos=2))
    near = run_broker(config(plugins, bridge(f"mqtts://localhost:{far.port}", topic("out", "o/#", 2),
                                             topic("in", "i/#", 2), version=version,
                                             tls={"cafile": str(ca.cafile), "certfile": str(own),
                                                  "keyfile": str(own_key)})))
    wait_up(near)
    inside = sub(near, "i/#")
    near.connect().publish("o/1", "a" * 50000, qos=2)
    assert said(receiver) == ("o/1", b"a" * 50000)
    RemoteClients(plain).connect().publish("i/1", "b" * 50000, qos=2)
    assert said(inside) == ("i/1", b"b" * 50000)


@needs_mosquitto
def test_mosquitto_restarts(run_broker, plugins, mosquitto, tmp_path):
    """With its persistence: it keeps the session, and what was sent meanwhile arrives, each once. (It keeps only
    sessions that did not begin with Clean Start.)"""
    far = mosquitto("persistence true", f"persistence_location {tmp_path}/", "user root")
    receiver = RemoteClients(far.port).connect("reader", clean=False, **LASTING)
    receiver.subscribe(Filter("o/#", qos=2))
    receiver.disconnect()
    near = run_broker(config(plugins, bridge(far.port, topic("out", "o/#", 2))))
    wait_up(near)
    speaker = near.connect()
    for i in range(50):
        speaker.publish("o/x", str(i), qos=2)
        if i == 25:
            far.stop()
            far.start()
    wait_up(near)
    again = RemoteClients(far.port).connect("reader", clean=False, **LASTING)
    assert [said(again)[1] for _ in range(50)] == [b"%d" % i for i in range(50)]
    again.expect_quiet(0.1)
