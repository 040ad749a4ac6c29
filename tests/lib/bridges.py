# SPDX-License-Identifier: Apache-2.0
"""What the tests of bridges share: configurations, what a bridge says of itself, and a bridge that dials a remote.

    from bridges import bridge, config, plugins, sub, topic, wait_up      # plugins, relays, remote, dial: fixtures
    near = run_broker(config(plugins, bridge(far.port, topic("out", "o/#", 1))))
    near = dial(OUT, IN, version=4)         # a bridge to the fixture `remote`, which is of remote.py
"""

import json
import pathlib
import subprocess

import pytest

from conftest import BIN, WORKERS, environment, yaml_text
from mqtt import Closed, Filter, Timeout, wait_until
from relay import Relay
from remote import Remote

FOLDER = pathlib.Path(BIN).resolve().parent
CONTROL = str(FOLDER / "avocetctl")
needs_bridge = pytest.mark.skipif(not (FOLDER / "plugins/bridge/bridge.so").exists(), reason="built without bridge")
needs_store = pytest.mark.skipif(not (FOLDER / "plugins/persist-sqlite/persist-sqlite.so").exists(),
                                 reason="built without persist-sqlite")
needs_scram = pytest.mark.skipif(not (FOLDER / "plugins/auth-sasl/auth-sasl.so").exists(),
                                 reason="built without auth-sasl")
FAST = {"backoff_min": "50ms", "backoff_max": "200ms"}
VERY_FAST = {"backoff_min": "10ms", "backoff_max": "20ms"}
TEXT = {3: "3.1", 4: "3.1.1", 5: "5.0"}
BOTH = pytest.mark.parametrize("version", [4, 5])


@pytest.fixture(scope="module")
def plugins(tmp_path_factory):
    """A folder with all plugins."""
    folder = tmp_path_factory.mktemp("plugins")
    for module in FOLDER.glob("plugins/*/*.so"):
        (folder / module.name).symlink_to(module)
    return str(folder)


@pytest.fixture
def relays():
    made = []

    def make(target):
        made.append(Relay(target))
        return made[-1]

    yield make
    for relay in made:
        relay.close()


def bridge(port, *topics, name="up", **more):
    """An instance; `more` goes to remote where remote has such a key."""
    of_bridge = ("connections", "start", "threshold", "idle_timeout", "local_username", "max_age", "notifications",
                 "notifications_local_only", "notification_topic")
    remote = {"address": f"mqtt://127.0.0.1:{port}" if isinstance(port, int) else port, "client_id": f"bridge-{name}",
              **FAST, **{key: value for key, value in more.items() if key not in of_bridge}}
    return {"name": name, "module": "bridge",
            "config": {"remote": remote, "topics": list(topics),
                       **{key: value for key, value in more.items() if key in of_bridge}}}


def topic(direction, filter_, qos=0, local="", remote="", **more):
    return {"direction": direction, "filter": filter_, "qos": qos, "local_prefix": local, "remote_prefix": remote,
            **more}


OUT, IN = topic("out", "o/#", 2), topic("in", "i/#", 2)


def config(plugins, *instances, store=False, **more):
    made = {"broker": {"plugin_dir": plugins, "shutdown_timeout": "2s"}, "plugins": list(instances), **more}
    if store:
        made["plugins"].insert(0, {"name": "db", "module": "persist-sqlite", "config": {"min_free": 0, "ballast": 0}})
        made["store"] = "db"
    return made


def control(broker, *words):
    """What avocetctl answers, which must not fail."""
    done = subprocess.run([CONTROL, "--control", str(broker.run / "control.sock"), *words], capture_output=True,
                          text=True, env=environment(), timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def status(broker, name="up"):
    return json.loads(control(broker, "--json", name, "status"))


def wait_up(broker, name="up"):
    wait_until(lambda: all(one["connected"] for one in status(broker, name)), what="the bridge to be up")


def wait_down(broker, name="up"):
    wait_until(lambda: not any(one["connected"] for one in status(broker, name)), what="the bridge to be down")


def wait_subscribed(remote, count=1, client_id="bridge-up"):
    """A remote that is an avocet has the subscriptions of a bridge, so what is published there comes."""
    def told():
        return json.loads(control(remote, "--json", "sessions", "show", client_id))[0]["subscriptions"]
    wait_until(lambda: told() == count, what="the subscriptions at the remote")


def sub(broker, *filters, version=5, **more):
    client = broker.connect(version=version, **more)
    client.subscribe(*[one if isinstance(one, Filter) else Filter(one, qos=2) for one in filters])
    return client


def said(client):
    packet = client.message()
    return packet.topic, bytes(packet.payload)


def reload(broker, instances, plugins, until="the configuration was loaded again", **more):
    """Writes another configuration with the same ports and loads it."""
    listeners = [{"name": name, "bind": f"127.0.0.1:{port}"} for name, port in broker.ports.items()]
    made = config(plugins, *instances, listeners=listeners, **more)
    made["broker"].update({"workers": WORKERS, "data_dir": str(broker.folder), "sys_interval": "1s",
                           "control": str(broker.run / "control.sock")})
    broker.config_file.write_text(yaml_text(made))
    before = broker.log().count(until)
    broker.process.send_signal(1)
    wait_until(lambda: broker.log().count(until) > before, what="the reload")


# --- against a remote that does what a test says ---


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
