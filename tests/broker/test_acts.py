# SPDX-License-Identifier: Apache-2.0
"""What plugins do unasked: publish, send clients away, run jobs; and what observers see (plugins/acts.c)."""

import os
import re
import shutil
import signal
import struct

import pytest

import conftest
from mqtt import Filter, Will, wait_until
from test_control import ask, told
from test_plugin import CC, HERE, build

pytestmark = pytest.mark.skipif(not shutil.which(CC), reason="there is no compiler")
INVAL, AGAIN = -1, -3
MAIN = 1


@pytest.fixture(scope="session")
def acts(tmp_path_factory):
    folder, made = tmp_path_factory.mktemp("acts"), {}

    def get(*flags):
        if flags not in made:
            made[flags] = build(folder / f"a{len(made)}.so", os.path.join(HERE, "plugins", "acts.c"), *flags)
        return made[flags]
    return get


@pytest.fixture
def with_acts(run_broker, acts):
    def run(*flags, chains=None, workers=conftest.WORKERS, **options):
        broker = run_broker(config={"limits": {"auth_delay": 0}, "broker": {"workers": workers},
                                    "plugins": [{"name": "act", "module": acts(*flags), **options}],
                                    **({"chains": chains} if chains else {})})
        broker.socket = str(broker.run / "control.sock")
        return broker
    return run


def act(broker, *words):
    done = ask(broker, "act", *words)
    assert done.returncode == 0, done.stderr
    return int(re.search(r"gave (-?\d+)", done.stdout)[1])


def events(broker, *names):
    """The events of these kinds, in order."""
    lines = [re.sub(r"^\S+ info ", "", line) for line in broker.log().splitlines()]
    return [line.removesuffix(" plugin=act").strip() for line in lines if line.split(" ")[0] in names]


def sees(broker, kind, *wanted):
    wait_until(lambda: events(broker, kind) == list(wanted), what=f"{kind}: {events(broker, kind)}")


# --- acting ---

def test_a_plugin_publishes(with_acts):
    broker = with_acts()
    client = broker.connect("c")
    client.subscribe(Filter("#", 2))
    assert act(broker, "say", "a/b", "hello") == 0
    assert act(broker, "say", "a/c", "there", "qos2", "expiry", "props", "retain") == 0
    first, second = client.wait("PUBLISH"), client.wait("PUBLISH")
    assert (first.topic, first.payload, first.qos, first.props) == ("a/b", b"hello", 0, {})
    assert (second.topic, second.qos, second.retain) == ("a/c", 2, False)
    assert second.props == {"content_type": "text", "user_property": [("k", "v")], "message_expiry_interval": 99}
    late = broker.connect("late")
    late.subscribe(Filter("a/+", 1))
    retained = late.wait("PUBLISH")
    assert retained.retain and retained.payload == b"there"


@pytest.mark.parametrize("topic, more", [("a/#", ()), ("$SYS/x", ()), ("$share/g/x", ()), ("a", ("badprops",))])
def test_what_cannot_be_published_is_refused(with_acts, topic, more):
    assert act(with_acts(), "say", topic, "x", *more) == INVAL


def test_a_message_waits_for_who_sleeps(with_acts):
    broker = with_acts()
    client = broker.connect("c", session_expiry_interval=100)
    client.subscribe(Filter("a", 1))
    client.disconnect()
    wait_until(lambda: not told(broker, "sessions", "show", "c")[0]["connected"])
    assert act(broker, "say", "a", "x", "qos1") == 0
    client = broker.connect("c", clean=False, session_expiry_interval=100)
    assert client.wait("PUBLISH").payload == b"x"


def test_a_plugin_sends_clients_away(with_acts):
    broker = with_acts()
    clients = {name: broker.connect(name, session_expiry_interval=100) for name in ("a", "b", "c")}
    assert act(broker, "kick", "a") == 0
    assert clients["a"].wait("DISCONNECT", reason=0x98).props["reason_string"] == "a plugin sent it away"
    assert act(broker, "kick", "b", "0x87", "go away") == 0
    assert clients["b"].wait("DISCONNECT", reason=0x87).props["reason_string"] == "go away"
    long = broker.connect("long")
    assert act(broker, "kick", "long", "0x87", 300 * "\u00e4") == 0        # whole, not cut off inside of a letter
    assert long.wait("DISCONNECT", reason=0x87).props["reason_string"] == 300 * "\u00e4"
    assert act(broker, "kick", "nobody") == 0
    assert act(broker, "kick", "c", "0x10") == INVAL        # no reason of DISCONNECT
    clients["c"].ping()
    assert {s["client_id"]: s["connected"] for s in told(broker, "sessions")} == {"a": False, "b": False, "c": True}


def test_jobs_run_elsewhere_and_are_done_on_main(with_acts):
    broker = with_acts(threads=3)
    assert act(broker, "jobs", "7", "10") == 0
    wait_until(lambda: len(re.findall(r"done \d run on thread 1", broker.log())) == 7)
    assert len(re.findall(r"ran \d on thread 5", broker.log())) == 7       # a thread that is no loop's


def test_jobs_are_bounded(with_acts):
    broker = with_acts(threads=1, queue=3)
    assert act(broker, "jobs", "6", "300") == AGAIN
    wait_until(lambda: re.findall(r"done (\d) run", broker.log())[-1:] in (["3"], ["4"]))
    assert act(broker, "jobs", "1") == 0


def test_jobs_are_done_when_the_broker_stops(with_acts):
    broker = with_acts(threads=1)
    assert act(broker, "jobs", "3", "2000") == 0
    wait_until(lambda: told(broker, "plugins"))
    broker.stop()
    log = broker.log()
    # The one that runs ends; the others are not begun.
    assert len(re.findall(r"done \d unrun", log)) in (2, 3) and len(re.findall(r"done \d", log)) == 3
    assert log.index("unrun") < log.index("info stop plugin=act")


# --- values that are kept ---

NOTFOUND, IO, BUSY = -6, -12, -14


def end(broker):
    broker.terminate()
    broker.wait()


def restart(broker):
    end(broker)
    broker.start()


def kept(broker, *words):
    done = ask(broker, "act", *words)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_values_are_kept_over_restarts(with_acts):
    broker = with_acts()
    assert kept(broker, "get", "a") == [f"{NOTFOUND} a "]
    assert kept(broker, "put", "a", "one") == ["0 a "] and kept(broker, "put", "ab", "two") == ["0 ab "]
    assert kept(broker, "put", "b", "three") == ["0 b "]
    assert kept(broker, "put", "a", "four") == ["0 a "] and kept(broker, "get", "a") == ["0 a four"]
    assert kept(broker, "del", "b") == ["0 b "] and kept(broker, "del", "b") == [f"{NOTFOUND} b "]
    broker.process.kill()                               # what was answered is on the disk
    broker.process.wait()
    broker.start()
    assert sorted(kept(broker, "scan", "a")) == [f"{NOTFOUND}  ", "0 a four", "0 ab two"]
    assert kept(broker, "scan", "no") == [f"{NOTFOUND}  "] and len(kept(broker, "scan")) == 3
    assert act(broker, "put", 1025 * "k", "x") == INVAL


def test_the_file_of_values_does_not_grow_for_ever(with_acts):
    broker = with_acts()
    file = broker.folder / "kv" / "act.kv"
    for _ in range(5):
        kept(broker, "many", "500")                     # 10 keys of 1000 bytes
    assert file.stat().st_size < 100000 + 2 * 10 * 1024
    restart(broker)
    assert len(kept(broker, "scan", "many")) == 11
    assert act(broker, "many", "5000") == AGAIN


def whole_records(data):
    at, count = len(b"avocet kv 1\n"), 0
    while at + 16 <= len(data):
        at += 16 + sum(struct.unpack_from("<II", data, at + 8))
        count += at <= len(data)
    return count


def test_a_file_of_values_that_was_cut_off_or_is_none(with_acts):
    broker = with_acts()
    file = broker.folder / "kv" / "act.kv"
    for i in range(20):
        kept(broker, "put", f"k{i}", "value")
    end(broker)
    whole = file.read_bytes()
    for cut in (len(whole) - 1, len(whole) - 20, 40):
        file.write_bytes(whole[:cut])
        broker.start()
        assert len(kept(broker, "scan", "k")) - 1 == whole_records(whole[:cut])
        assert kept(broker, "put", "more", "x") == ["0 more "]
        end(broker)
    broker.expected_errors = "Invalid argument"
    file.write_bytes(b"something else altogether")
    broker.start()
    assert kept(broker, "get", "k1") == [f"{IO} k1 "] and kept(broker, "put", "k1", "x") == [f"{IO} k1 "]
    assert file.read_bytes() == b"something else altogether"


# --- observing ---

OBSERVING = pytest.mark.parametrize("exec_name", ("WORKER", "POOL", "SERIAL", "INLINE"))


@OBSERVING
def test_an_observer_sees_what_happens(with_acts, exec_name):
    broker = with_acts(f"-DEXEC=AVOCET_EXEC_{exec_name}")
    client = broker.connect("c", session_expiry_interval=100)
    sees(broker, "CONNECTED", "CONNECTED c  reason=0 qos=0 by=0")
    client.subscribe(Filter("a/+", 1), Filter("$share/g/b", 0))
    client.unsubscribe("$share/g/b", "none", expect=[0, 0x11])
    sees(broker, "SUBSCRIBED", "SUBSCRIBED c a/+ reason=0 qos=1 by=1", "SUBSCRIBED c $share/g/b reason=0 qos=0 by=1")
    sees(broker, "UNSUBSCRIBED", "UNSUBSCRIBED c $share/g/b reason=0 qos=0 by=1")
    client.publish("a/1", b"x", qos=2)
    client.wait("PUBLISH")
    client.publish("nobody", b"x", qos=1)
    sees(broker, "PUBLISHED", "PUBLISHED c a/1 reason=0 qos=2 by=0", "PUBLISHED c nobody reason=16 qos=1 by=0")
    sees(broker, "DELIVERED", "DELIVERED c a/1 reason=0 qos=1 by=0")
    other = broker.connect("c", clean=False, session_expiry_interval=100)
    sees(broker, "TAKEN", "TAKEN c  reason=0 qos=0 by=1")
    sees(broker, "CONNECTED", "CONNECTED c  reason=0 qos=0 by=0", "CONNECTED c  reason=1 qos=0 by=0")
    other.disconnect()
    wait_until(lambda: len(events(broker, "DISCONNECTED")) == 2)
    assert events(broker, "DISCONNECTED") == [
        "DISCONNECTED c  reason=142 qos=0 by=2 the session is taken over by another connection",
        "DISCONNECTED c  reason=0 qos=0 by=1 the client disconnected"]
    assert ask(broker, "sessions", "end", "c").returncode == 0
    sees(broker, "ENDED", "ENDED c  reason=0 qos=0 by=0")


@OBSERVING
def test_wills_losses_and_refusals(with_acts, exec_name):
    broker = with_acts(f"-DEXEC=AVOCET_EXEC_{exec_name}", chains={"default": {"authorize": ["act"]}})
    client = broker.connect("c", will=Will("w", b"bye", qos=1))
    client.reset()
    sees(broker, "WILL", "WILL c w reason=16 qos=1 by=0")
    wait_until(lambda: events(broker, "DISCONNECTED"))
    assert events(broker, "DISCONNECTED")[0].startswith("DISCONNECTED c  reason=0 qos=0 by=4")
    client = broker.connect("d", maximum_packet_size=100)
    client.subscribe(Filter("secret/a", 1), Filter("b", 1), expect=[0x87, 0x87])        # the first decides for all
    client.subscribe(Filter("b", 1))
    client.send(client.publish_packet("secret/b", b"x", qos=1, packet_id=99))
    assert client.wait("PUBACK", packet_id=99).reason == 0x87
    wait_until(lambda: len(events(broker, "DENIED")) == 3)
    assert events(broker, "DENIED")[0] == "DENIED d secret/a reason=135 qos=0 by=3act"
    assert events(broker, "DENIED")[2] == "DENIED d secret/b reason=135 qos=1 by=3act"
    broker.connect("s").publish("b", 200 * b"x", qos=1)
    sees(broker, "DROPPED", "DROPPED d b reason=4 qos=1 by=2")
    refused = broker.open(5)
    refused.send(refused.connect_packet("r\u00e9", authentication_method="NONE"))
    assert refused.wait("CONNACK").reason == 0x8c
    wait_until(lambda: events(broker, "REFUSED"))
    assert events(broker, "REFUSED")[0].startswith("REFUSED r\u00e9  reason=140 qos=0 by=2")
    assert act(broker, "say", "own", "x") == 0
    wait_until(lambda: "PUBLISHED - own reason=16 qos=0 by=0" in events(broker, "PUBLISHED"))
    broker.process.send_signal(signal.SIGHUP)
    sees(broker, "RELOADED", "RELOADED -  reason=0 qos=0 by=2")


def test_what_is_not_wanted_is_not_told(with_acts):
    broker = with_acts("-DEVENTS=AVOCET_EV_DISCONNECTED")
    client = broker.connect("c")
    client.publish("a", b"x", qos=1)
    client.disconnect()
    wait_until(lambda: events(broker, "DISCONNECTED"))
    assert not events(broker, "CONNECTED", "PUBLISHED", "SUBSCRIBED")


def test_a_slow_observer_holds_up_nobody_and_loses_what_is_too_much(with_acts):
    broker = with_acts("-DEXEC=AVOCET_EXEC_SERIAL", "-DEVENTS=AVOCET_EV_PUBLISHED", queue=10)
    client = broker.connect("c")
    client.send(*(client.publish_packet(f"slow/{i}", b"x", qos=0) for i in range(100)))
    client.ping()
    wait_until(lambda: "lost events: its queue is full" in broker.log())
    faults = told(broker, "plugins")[0]["faults"]
    assert faults["lost"] >= 50
    wait_until(lambda: len(events(broker, "PUBLISHED")) == 100 - faults["lost"])
    assert [line.split()[2] for line in events(broker, "PUBLISHED")[:10]] == [f"slow/{i}" for i in range(10)]


def test_an_observer_that_goes_is_told_nothing_more(with_acts):
    broker = with_acts()
    client = broker.connect("c")
    text = broker.config_file.read_text()
    begin = text.index("plugins:")
    end = next((begin + m.start() + 1 for m in re.finditer(r"\n(?=\S)", text[begin:])), len(text))
    broker.config_file.write_text(text[:begin] + text[end:])
    broker.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "plugin act has ended" in broker.log())
    client.publish("a", b"x", qos=1)
    client.disconnect()
    assert events(broker, "PUBLISHED") == []
