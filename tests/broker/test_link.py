# SPDX-License-Identifier: Apache-2.0
"""Local links: sessions without a socket that a plugin has (plugins/links.c)."""

import os
import pathlib
import re
import shutil

import pytest

import test_plugin
from conftest import BIN
from mqtt import Filter, wait_until
from test_control import ask
from test_plugin import CC, HERE, build

pytestmark = pytest.mark.skipif(not shutil.which(CC), reason="there is no compiler")
script = test_plugin.script      # a fixture
STORE = pathlib.Path(BIN).resolve().parent / "plugins/persist-sqlite/persist-sqlite.so"
INVAL, AGAIN, GONE, BUSY = -1, -3, -4, -14


@pytest.fixture(scope="session")
def module(tmp_path_factory):
    return build(tmp_path_factory.mktemp("links") / "links.so", os.path.join(HERE, "plugins", "links.c"), "-pthread")


@pytest.fixture
def with_link(run_broker, module):
    def run(store=False, plugins=(), **more):
        if store and not STORE.exists():
            pytest.skip("built without persist-sqlite")
        stores = [{"name": "db", "module": str(STORE), "config": {"min_free": 0, "ballast": 0}}] if store else []
        broker = run_broker({"plugins": [*stores, {"name": "tap", "module": module}, *plugins],
                             **({"store": "db"} if store else {}), **more})
        broker.socket = str(broker.run / "control.sock")
        wait_until(lambda: "link opened" in broker.log(), what="the link")
        return broker
    return run


def do(broker, *words):
    done = ask(broker, "tap", *map(str, words))
    assert done.returncode == 0, done.stderr
    return int(re.search(r"gave (-?\d+)", done.stdout)[1])


def told(broker, kind):
    """What the plugin has logged of this kind."""
    return re.findall(rf"info link {kind} ?(.*?) plugin=tap", broker.log())


def test_messages(with_link):
    """At each QoS, with properties and retained; acknowledged ones are not sent again."""
    broker = with_link()
    client = broker.connect("speaker")
    for qos in (0, 1, 2):
        client.publish("in/x", f"m{qos}", qos=qos, content_type="text", user_property=[("a", "b")])
    wait_until(lambda: len(told(broker, "message")) == 3)
    assert told(broker, "message") == [f"in/x m{qos} qos={qos} props=2 by=speaker" for qos in (0, 1, 2)]
    do(broker, "sub", "r/#", 1)
    wait_until(lambda: told(broker, "subscribed") == ["7: 0x01 of 1"])
    client.publish("r/1", "kept", qos=1, retain=1)
    wait_until(lambda: "r/1 kept qos=1 props=0 by=speaker" in told(broker, "message"))
    do(broker, "unsub", "r/#")
    do(broker, "sub", "r/#", 0)
    wait_until(lambda: "r/1 kept qos=0 retain props=0 by=speaker" in told(broker, "message"))
    do(broker, "unsub", "r/#")
    do(broker, "sub", "in/#", 1)    # behind it in the mail
    wait_until(lambda: len(told(broker, "subscribed")) == 3)
    client.publish("r/1", "unheard", qos=1)
    client.publish("in/last", "x", qos=1)
    wait_until(lambda: "in/last x qos=1 props=0 by=speaker" in told(broker, "message"))
    assert not [one for one in told(broker, "message") if "unheard" in one]


@pytest.mark.parametrize("store", [False, True])
def test_echo(with_link, store):
    """It publishes, is told when that is taken over, and acknowledges then."""
    broker = with_link(store)
    receiver = broker.connect("reader", **({"session_expiry_interval": 1000} if store else {}))
    receiver.subscribe(Filter("out/#", qos=2))
    client = broker.connect()
    for qos in (0, 1, 2):
        client.publish("in/echo/a", f"e{qos}", qos=qos)
        packet = receiver.message()
        assert (packet.topic, bytes(packet.payload), packet.qos) == ("out/a", b"e%d" % qos, qos)
    wait_until(lambda: len(told(broker, "published")) == 2)
    assert set(told(broker, "published")) == {"0x00"}


def test_flow_control(with_link):
    """As many as it said are open; the rest comes as it acknowledges."""
    broker = with_link()
    do(broker, "close", "end")
    wait_until(lambda: told(broker, "closed") == ["0x00"])
    do(broker, "open", "max", 5)
    wait_until(lambda: len(told(broker, "opened")) == 2)
    client = broker.connect()
    for i in range(12):
        client.publish("in/keep/x", str(i), qos=1 + i % 2)
    wait_until(lambda: len(told(broker, "message")) == 5)
    for count in (10, 12):
        do(broker, "ack")
        wait_until(lambda count=count: len(told(broker, "message")) == count)
    assert [one.split()[1] for one in told(broker, "message")] == [str(i) for i in range(12)]


def test_its_session_stays(with_link):
    """What was not acknowledged comes again after close and open, and after a crash."""
    broker = with_link(store=True)
    client = broker.connect()
    client.publish("in/keep/x", "one", qos=1)
    client.publish("in/keep/x", "two", qos=2)
    wait_until(lambda: len(told(broker, "message")) == 2)
    do(broker, "close")
    wait_until(lambda: told(broker, "closed") == ["0x00"])
    client.publish("in/keep/x", "three", qos=1)
    do(broker, "open")
    wait_until(lambda: len(told(broker, "message")) == 5)
    assert [one.split()[1] for one in told(broker, "message")[2:]] == ["one", "two", "three"]
    assert "dup" in told(broker, "message")[2]
    broker.crash()
    seen = len(told(broker, "message"))
    broker.start()
    wait_until(lambda: len(told(broker, "message")) == seen + 3)
    assert told(broker, "opened")[-1] == "1"
    do(broker, "close")
    wait_until(lambda: len(told(broker, "closed")) == 2)
    do(broker, "open", "forget")
    wait_until(lambda: told(broker, "opened")[-1] == "0")


def test_its_will(with_link):
    """Comes when it closes that way, and when the process has died; not when it closes in peace."""
    broker = with_link(store=True)
    reader = broker.connect("reader", session_expiry_interval=1000)
    reader.subscribe(Filter("will/#", qos=1))

    def reopen(how, topic):
        do(broker, "close", *how)
        wait_until(lambda: len(told(broker, "closed")) > len(reopened), what="it to close")
        reopened.append(topic)
        do(broker, "open", "will", topic)
        wait_until(lambda: len(told(broker, "opened")) > len(reopened))

    reopened = []
    reopen((), "will/1")
    reopen(("will",), "will/2")
    packet = reader.message()
    assert (packet.topic, bytes(packet.payload)) == ("will/1", b"gone")
    reopen((), "will/3")
    reader.expect_quiet(0.1)
    broker.crash()
    broker.start()
    again = broker.connect("reader", clean=False, session_expiry_interval=1000)
    assert again.message().topic == "will/3"


def test_too_much_at_once(with_link, script):
    """AGAIN, while as many are under way as may, wherever they wait; and then it is told that it may go on."""
    broker = with_link(plugins=[{"name": "a", "module": script("WORKER"), "config": {"name": "a"}}],
                       chains={"slow": {"authorize": ["a"]}}, links={"tap": {"chains": "slow"}})
    receiver = broker.connect()
    receiver.subscribe(Filter("out/#", qos=0))
    assert do(broker, "flood", 5000, "a=later-accept:1000") == 1024
    assert do(broker, "flood", 1, "a=accept") == 0
    assert told(broker, "writable") == []
    wait_until(lambda: told(broker, "writable") == [""])
    assert do(broker, "flood", 1, "a=accept") == 1
    for _ in range(1025):
        receiver.message()


def test_wrong_calls(with_link):
    broker = with_link()
    do(broker, "bad")
    wait_until(lambda: "info bad " in broker.log())
    assert re.search(r"info bad (.*?) plugin", broker.log())[1] == " ".join(map(str, [INVAL, GONE, INVAL, INVAL, INVAL,
                                                                                      INVAL]))
    assert do(broker, "open") == BUSY
    broker.connect().publish("in/x", "alive", qos=1)
    wait_until(lambda: told(broker, "message"))


def test_who_may_what(with_link, tmp_path):
    """Its chains decide: what it may not have it does not get, what it may not say is refused."""
    acl = pathlib.Path(BIN).resolve().parent / "plugins/acl/acl.so"
    if not acl.exists():
        pytest.skip("built without acl")
    (tmp_path / "acl.yaml").write_text("rules:\n- { allow: [subscribe], users: [tap], topics: ['in/#'] }\n")
    broker = with_link(plugins=[{"name": "rules", "module": str(acl), "config": {"file": str(tmp_path / "acl.yaml")}}],
                       chains={"narrow": {"authorize": ["rules"]}}, links={"tap": {"chains": "narrow"}})
    do(broker, "sub", "other/#", 1)
    wait_until(lambda: told(broker, "subscribed") == ["7: 0x87 of 1"])
    broker.connect().publish("in/echo/x", "y", qos=1)
    wait_until(lambda: told(broker, "published") == ["0x87"])


def test_an_operator_ends_its_session(with_link):
    broker = with_link()
    assert ask(broker, "sessions", "end", "$link/tap/tap").returncode == 0
    wait_until(lambda: told(broker, "closed") == ["0x98"])
    do(broker, "open", "brief")
    wait_until(lambda: len(told(broker, "opened")) == 2)
    assert ask(broker, "sessions", "end", "$link/tap/tap").returncode == 0
    wait_until(lambda: told(broker, "closed") == ["0x98"] * 2)
    assert do(broker, "open") == 0
    broker.connect().publish("in/x", "alive", qos=1)
    wait_until(lambda: told(broker, "message"))


def test_it_is_there_before_clients_are(with_link):
    """What is published at once is not missed."""
    broker = with_link(store=True)
    for _ in range(3):
        broker.crash()
        broker.start()
        before = len(told(broker, "message"))
        broker.connect().publish("in/x", "first", qos=1)
        wait_until(lambda before=before: len(told(broker, "message")) > before)
