# SPDX-License-Identifier: Apache-2.0
"""The plugin persist-sqlite: what outlives a kill -9 and a stop; modes; configuration; commands."""

import json
import os
import shutil
import subprocess
import time

import pytest

import disk as disks
from conftest import BIN, environment
from mqtt import Filter, Will, wait_until

FOLDER = os.path.dirname(os.path.abspath(BIN))
PLUGIN_DIR = os.path.join(FOLDER, "plugins", "persist-sqlite")
CONTROL = os.path.join(FOLDER, "avocetctl")
pytestmark = pytest.mark.skipif(not os.path.exists(os.path.join(PLUGIN_DIR, "persist-sqlite.so")),
                                reason="built without persist-sqlite")
needs_disk = pytest.mark.skipif(not disks.compiler(), reason="there is no compiler")
LASTING = {"session_expiry_interval": 1000}


def config(**options):
    options = {"min_free": 0, "ballast": 0, **options}
    return {"broker": {"plugin_dir": PLUGIN_DIR, "shutdown_timeout": "2s"},
            "plugins": [{"name": "db", "module": "persist-sqlite", "config": options}], "store": "db"}


def merged_config(over, **options):
    base = config(**options)
    base.update(over)
    return base


@pytest.fixture
def stored(run_broker):
    return run_broker(config())


def join(broker, client_id, version=5, clean=False, **more):
    client = broker.open(version)
    connack = client.connect(client_id, clean=clean, **(LASTING if version == 5 else {}), **more)
    return client, connack


def sleeper(broker, client_id, *filters, version=5):
    client, _ = join(broker, client_id, version)
    client.subscribe(*filters)
    client.disconnect()


def again(broker):
    broker.crash()
    broker.start()


def control(broker, *words, fails=False):
    done = subprocess.run([CONTROL, "--plugin-dir", PLUGIN_DIR, "--control", str(broker.run / "control.sock"), *map(str, words)],
                          capture_output=True, text=True, env=environment(), timeout=60)
    assert fails or done.returncode == 0, done.stderr
    return done.stderr if fails else done.stdout


def offline(*words, code=0):
    done = subprocess.run([CONTROL, "--plugin-dir", PLUGIN_DIR, "store", *map(str, words)], capture_output=True,
                          text=True, env=environment(), timeout=60)
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def rows(broker, table):
    """Of the running broker."""
    lines = [json.loads(line) for line in control(broker, "store", "dump").splitlines()]
    return [line for line in lines if line["table"] == table]


def make_disk(tmp_path):
    folder = tmp_path / "broker0"
    folder.mkdir(exist_ok=True)
    return disks.Disk(disks.build(tmp_path), tmp_path / "disk", folder)


def refused(broker, text):
    """It may have taken connections before it looked at its store."""
    try:
        broker.start()
        assert broker.process.wait(10) == 3 and text in broker.log(), broker.log()
    except AssertionError as error:
        assert "exited with 3" in str(error) and text in str(error), error


# What outlives the process

@pytest.mark.parametrize("version", (3, 4, 5))
@pytest.mark.parametrize("how", ("crash", "stop"))
def test_a_queue_outlives_the_process(stored, name, version, how):
    sleeper(stored, name, (f"{name}/#", 2), version=version)
    client = stored.connect(version=version)
    for qos in (1, 2):
        client.publish(f"{name}/{qos}", f"m{qos}", qos=qos)
    if how == "stop":
        stored.stop()
        stored.start()
    else:
        again(stored)
    client, connack = join(stored, name, version)
    assert version == 3 or connack.session_present == 1
    client.message(topic=f"{name}/1", payload="m1", qos=1, dup=0)
    client.message(topic=f"{name}/2", payload="m2", qos=2, dup=0)
    client.ping()
    client.publish(f"{name}/new", "n", qos=1)
    client.message(payload="n")


def test_topics_survive_byte_for_byte(stored, name):
    topics = [f"{name}/{last}" for last in ("007", "7", "1e3", "1000", "0.50", "0.5", "\ufeffbom", "ä/ö", " blank ", "NULL", "'; --")]
    client = stored.connect()
    for topic in topics:
        client.publish(topic, topic, qos=1, retain=1)
    again(stored)
    client = stored.connect()
    client.subscribe((f"{name}/#", 1))
    got = [client.message(retain=1) for _ in topics]
    assert sorted(one.topic for one in got) == sorted(topics)
    assert all(one.payload == one.topic.encode() for one in got)


def test_properties_survive(stored, name):
    sleeper(stored, name, Filter(name, 2))
    props = {"content_type": "text/x", "response_topic": "r/t", "correlation_data": b"\0\1", "payload_format_indicator": 1,
             "user_property": [("a", "1"), ("a", "2")]}
    stored.connect().publish(name, "x", qos=2, **props)
    again(stored)
    client, _ = join(stored, name)
    message = client.message(payload="x")
    for key, value in props.items():
        assert message.props[key] == value, key


def test_subscription_options_and_identifiers_survive(stored, name):
    client, _ = join(stored, name)
    client.subscribe(Filter(f"{name}/a", 1, retain_as_published=1), subscription_identifier=[77])
    client.subscribe(Filter(f"{name}/b", 2, no_local=1))
    again(stored)
    client, _ = join(stored, name)
    other = stored.connect()
    other.publish(f"{name}/a", "x", qos=2, retain=1)
    message = client.message(payload="x", qos=1, retain=1)
    assert message.props["subscription_identifier"] == [77]
    client.publish(f"{name}/b", "own", qos=1, expect=0x10)
    other.publish(f"{name}/b", "other", qos=1)
    client.message(payload="other")


def test_what_was_acknowledged_does_not_come_again(stored, name):
    client, _ = join(stored, name)
    client.subscribe((name, 2))
    for i in range(20):
        client.publish(name, str(i), qos=1 + i % 2)
    for i in range(20):
        client.message(payload=str(i))
    client.ping()
    wait_until(lambda: not rows(stored, "queue") and not rows(stored, "message"))
    again(stored)
    client, _ = join(stored, name)
    client.expect_quiet(0.1)


def test_qos_2_to_the_broker_is_not_routed_twice(stored, name):
    sleeper(stored, f"{name}s", (name, 2))
    client, _ = join(stored, name)
    client.send(client.publish_packet(name, "once", qos=2, packet_id=7))
    client.expect("PUBREC", packet_id=7)
    again(stored)
    client, connack = join(stored, name)
    assert connack.session_present == 1
    client.send(client.publish_packet(name, "once", qos=2, packet_id=7, dup=1))
    client.expect("PUBREC", packet_id=7)
    client.release(7)
    again(stored)
    client, _ = join(stored, name)
    client.send(client.publish_packet(name, "another", qos=2, packet_id=7))     # the id is free
    client.expect("PUBREC", packet_id=7)
    client.release(7)
    reader, _ = join(stored, f"{name}s")
    reader.message(payload="once")
    reader.message(payload="another")
    reader.expect_quiet(0.05)


def test_qos_2_from_the_broker_goes_on_where_it_was(stored, name):
    client, _ = join(stored, name)
    client.subscribe((name, 2))
    other = stored.connect()
    other.publish(name, "sent", qos=2)
    first = client.expect("PUBLISH", payload=b"sent")
    other.publish(name, "released", qos=2)
    second = client.expect("PUBLISH", payload=b"released")
    client.ack("PUBREC", second.packet_id)
    client.expect("PUBREL", packet_id=second.packet_id)
    again(stored)
    client, _ = join(stored, name)
    by_kind = {packet.kind: packet for packet in (client.recv(), client.recv())}
    assert by_kind["PUBREL"].packet_id == second.packet_id
    assert (by_kind["PUBLISH"].packet_id, by_kind["PUBLISH"].dup, by_kind["PUBLISH"].payload) == (first.packet_id, 1, b"sent")
    client.ack("PUBCOMP", second.packet_id)
    client.acknowledge(by_kind["PUBLISH"])
    other = stored.connect()
    other.publish(name, "next", qos=2)
    client.message(payload="next")


def test_qos_1_from_the_broker_comes_again_with_dup(stored, name):
    client, _ = join(stored, name)
    client.subscribe((name, 1))
    stored.connect().publish(name, "x", qos=1)
    first = client.expect("PUBLISH", dup=0)
    wait_until(lambda: [row["pid"] for row in rows(stored, "queue")] == [first.packet_id])
    again(stored)
    client, _ = join(stored, name)
    client.expect("PUBLISH", dup=1, packet_id=first.packet_id)


def test_a_retained_message_is_replaced_and_deleted(stored, name):
    client = stored.connect()
    client.publish(f"{name}/a", "old", qos=1, retain=1)
    client.publish(f"{name}/a", "new", qos=1, retain=1)
    client.publish(f"{name}/b", "gone", qos=1, retain=1)
    client.publish(f"{name}/b", "", qos=1, retain=1)
    client.publish(f"{name}/c", "qos 0", qos=0, retain=1)
    client.ping()
    wait_until(lambda: len(rows(stored, "retained")) == 2)
    again(stored)
    client = stored.connect()
    client.subscribe((f"{name}/#", 1))
    assert sorted((client.message().payload for _ in range(2))) == [b"new", b"qos 0"]
    client.expect_quiet(0.05)


def test_sessions_that_ended_are_gone(stored, name):
    sleeper(stored, f"{name}a", (name, 1))
    stored.connect().publish(name, "x", qos=1)
    client, connack = join(stored, f"{name}a", clean=True)
    assert connack.session_present == 0
    short = stored.open(5)
    short.connect(f"{name}b", clean=False, session_expiry_interval=0)
    short.subscribe((name, 1))
    again(stored)
    client, connack = join(stored, f"{name}a")
    assert connack.session_present == 1
    client.expect_quiet(0.05)
    _, connack = join(stored, f"{name}b")
    assert connack.session_present == 0


def test_expiry_counts_while_the_broker_is_down(stored, name):
    client = stored.open(5)
    client.connect(f"{name}s", clean=False, session_expiry_interval=1)
    client.disconnect()
    sleeper(stored, f"{name}m", (name, 1))
    publisher = stored.connect()
    publisher.publish(name, "dies", qos=1, message_expiry_interval=1)
    publisher.publish(name, "lives", qos=1, message_expiry_interval=1000)
    publisher.publish(f"{name}/r", "dies", qos=1, retain=1, message_expiry_interval=1)
    stored.crash()
    time.sleep(1.6)     # nothing to wait for: the broker does not run
    stored.start()
    _, connack = join(stored, f"{name}s")
    assert connack.session_present == 0
    client, connack = join(stored, f"{name}m")
    message = client.message(payload="lives")
    assert connack.session_present == 1 and 990 <= message.props["message_expiry_interval"] <= 999
    client.subscribe((f"{name}/#", 1))
    client.expect_quiet(0.05)
    wait_until(lambda: not rows(stored, "retained"), timeout=30)


def test_the_will_of_who_was_connected_at_a_crash(stored, name):
    watcher, _ = join(stored, f"{name}w")
    watcher.subscribe((f"{name}/#", 2))
    for client_id, delay in (("now", 0), ("later", 1), ("returns", 2)):
        client = stored.open(5)
        client.connect(f"{name}{client_id}", clean=False, **LASTING,
                       will=Will(f"{name}/{client_id}", "dead", 1, will_delay_interval=delay))
    transient = stored.open(4)
    transient.connect(f"{name}t", clean=True, will=Will(f"{name}/transient", "dead", 1))
    wait_until(lambda: len(rows(stored, "will")) == 4)
    again(stored)
    _, connack = join(stored, f"{name}returns")
    assert connack.session_present == 1
    watcher, _ = join(stored, f"{name}w")
    got = [watcher.message().topic for _ in range(3)]
    assert sorted(got) == [f"{name}/later", f"{name}/now", f"{name}/transient"]
    watcher.expect_quiet(0.2)
    wait_until(lambda: len(rows(stored, "will")) == 0)


def test_assigned_client_ids_outlive_the_process(stored, name):
    client = stored.open(5)
    connack = client.connect("", clean=False, **LASTING)
    assigned = connack.props["assigned_client_identifier"]
    client.subscribe((name, 1))
    again(stored)
    _, connack = join(stored, assigned)
    assert connack.session_present == 1


def test_a_shared_groups_queue_outlives_the_process(stored, name):
    sleeper(stored, f"{name}s", (f"$share/g/{name}", 1))
    stored.connect().publish(name, "x", qos=1)
    again(stored)
    client, _ = join(stored, f"{name}s")
    client.message(payload="x")


def test_a_replay_begins_anew(run_broker, name):
    broker = run_broker(merged_config({"limits": {"max_inflight_messages": 2}}))
    publisher = broker.connect()
    for i in range(10):
        publisher.publish(f"{name}/{i}", str(i), qos=1, retain=1)
    client, _ = join(broker, f"{name}c")
    client.subscribe((f"{name}/#", 1))
    client.wait("PUBLISH")
    wait_until(lambda: rows(broker, "cursor"))
    again(broker)
    client, _ = join(broker, f"{name}c")
    seen = set()
    while len(seen) < 10:
        seen.add(client.message().payload)


# Modes

def test_mode_none_stores_nothing(run_broker, name):
    broker = run_broker(merged_config({"durability": "none"}))
    sleeper(broker, f"{name}s", (name, 1))
    broker.connect().publish(name, "x", qos=1, retain=1)
    assert not rows(broker, "session") and not rows(broker, "message")
    again(broker)
    _, connack = join(broker, f"{name}s")
    assert connack.session_present == 0


@needs_disk
def test_relaxed_does_not_wait_and_commits_after_the_interval(run_broker, tmp_path, name):
    slow = make_disk(tmp_path)
    broker = run_broker(merged_config({"durability": {"default": "relaxed", "interval": "300ms"}}), env=slow.environment)
    sleeper(broker, f"{name}s", (name, 1))
    wait_until(lambda: rows(broker, "sub"))
    slow.delay_us = 400000
    before, begin = slow.syncs, time.monotonic()
    client = broker.connect()
    for i in range(50):
        client.publish(name, str(i), qos=1)
    assert slow.syncs - before < 20, time.monotonic() - begin      # 50 would be one for each
    wait_until(lambda: len(rows(broker, "queue")) == 50)
    again(broker)
    client, _ = join(broker, f"{name}s")
    for i in range(50):
        client.message(payload=str(i))


@needs_disk
def test_a_filter_has_its_own_mode(run_broker, tmp_path, name):
    slow = make_disk(tmp_path)
    broker = run_broker(merged_config({"durability": {"filters": [{"filter": f"{name}/quick", "mode": "relaxed"},
                                                                 {"filter": f"{name}/none", "mode": "none"}]}}),
                        env=slow.environment)
    sleeper(broker, f"{name}s", (f"{name}/#", 1))
    client, other = broker.connect(), broker.connect()
    slow.delay_us = 3000000
    other.send(other.publish_packet(f"{name}/safe", "x", qos=1))
    client.publish(f"{name}/quick", "x", qos=1)
    client.publish(f"{name}/none", "x", qos=1)
    other.expect_quiet(0.01)        # so they did not wait for the disk
    other.wait("PUBACK")
    slow.delay_us = 0
    wait_until(lambda: sorted(row["topic"] for row in rows(broker, "message")) == [f"{name}/quick", f"{name}/safe"])


# Configuration

@pytest.mark.parametrize("old, new, found", (("min_free: 0", "min_free: 12345", "cannot change while the broker runs"),
                                             ("store: db", "store: null", "store cannot change")))
def test_what_the_store_is_made_of_does_not_change(run_broker, old, new, found):
    broker = run_broker(config())
    good = broker.config_file.read_text()
    assert good.count(old) == 1
    broker.config_file.write_text(good.replace(old, new))
    assert found in control(broker, "reload", fails=True)
    broker.config_file.write_text(good)
    control(broker, "reload")


@pytest.mark.parametrize("text, found", (
    ("store: nobody", 'there is no plugin instance "nobody"'),
    ("plugins: [{name: db, module: persist-sqlite, config: {cache_size: 1}}]\nstore: db", "must be from 1MiB to 1024GiB"),
    ("plugins: [{name: db, module: persist-sqlite, config: {on_corrupt: hope}}]\nstore: db", "must be salvage, refuse or fresh"),
))
def test_configurations_that_are_refused(command, tmp_path, text, found):
    path = tmp_path / "a.yaml"
    path.write_text(f"broker: {{plugin_dir: {PLUGIN_DIR}}}\n{text}\n")
    code, _, errors = command("-t", "-c", path)
    assert code == 1 and found in errors, errors


def test_an_instance_that_does_not_store(command, tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(f"broker: {{plugin_dir: {os.path.join(FOLDER, 'plugins', 'acl')}}}\n"
                    "plugins: [{name: rules, module: acl, config: {file: x}}]\nstore: rules\n")
    code, _, errors = command("-t", "-c", path)
    assert code == 1 and "store: rules (module acl) does not store" in errors, errors


# Commands

def test_backup_of_a_running_broker(stored, name, tmp_path):
    sleeper(stored, f"{name}s", (name, 1))
    client = stored.connect()
    for i in range(300):
        client.publish(name, "x" * 2000, qos=1)
    target = tmp_path / "copy.db"
    assert "was written" in control(stored, "store", "backup", target)
    assert "is there already" in control(stored, "store", "backup", target, fails=True)
    assert "absolute" in control(stored, "store", "backup", "copy.db", fails=True)
    assert "No such file" in control(stored, "store", "backup", tmp_path / "no" / "copy.db", fails=True)
    assert "structure: ok" in offline("check", target)
    assert "queue: 300" in offline("status", target)
    stored.stop()
    for suffix in ("", "-wal"):
        (stored.folder / f"avocet.db{suffix}").unlink(missing_ok=True)
    shutil.copy(target, stored.folder / "avocet.db")
    stored.start()
    client, connack = join(stored, f"{name}s")
    assert connack.session_present == 1
    for i in range(300):
        client.message()


def test_backup_under_load(stored, name, tmp_path):
    sleeper(stored, f"{name}s", (name, 1))
    client = stored.connect()
    client.publish(name, "before", qos=1)
    for i in range(3000):
        client.send(client.publish_packet(name, f"{i:04}" + "x" * 2000, qos=1, packet_id=i + 1))
        if i % 100 == 99:
            for _ in range(100):
                client.wait("PUBACK")
    target, acked = tmp_path / "copy.db", 0
    copying = subprocess.Popen([CONTROL, "--plugin-dir", PLUGIN_DIR, "--control", str(stored.run / "control.sock"), "store",
                                "backup", str(target)], stdout=subprocess.DEVNULL, env=environment())
    while copying.poll() is None:
        client.publish(name, "meanwhile", qos=1)
        acked += 1
    assert copying.returncode == 0 and "structure: ok" in offline("check", target)
    count = int(offline("status", target).split("queue: ")[1].split()[0])
    assert 3001 <= count <= 3001 + acked


def test_commands_by_file(stored, name, tmp_path):
    sleeper(stored, f"{name}s", (name, 1))
    client = stored.connect()
    for i in range(3):
        client.publish(name, f"m{i}", qos=1)
    path = stored.folder / "avocet.db"
    assert "another process uses the file" in offline("check", path, code=1)
    stored.stop()
    lines = [json.loads(line) for line in offline("dump", path).splitlines()]
    assert [bytes.fromhex(line["payload"]) for line in lines if line["table"] == "message"] == [b"m0", b"m1", b"m2"]
    assert [line["client_id"] for line in lines if line["table"] == "session"] == [f"{name}s"]
    assert "structure: ok" in offline("check", path)
    assert "bytes" in offline("compact", path)
    assert "was written" in offline("backup", path, tmp_path / "b.db")
    assert "structure: ok" in offline("check", tmp_path / "b.db")
    assert "unable to open" in offline("check", tmp_path / "none.db", code=1)
    assert not (tmp_path / "none.db").exists()
    stored.start()
    client, _ = join(stored, f"{name}s")
    for i in range(3):
        client.message(payload=f"m{i}")


def test_compact_and_shrinking(stored, name):
    sleeper(stored, f"{name}s", (name, 1))
    client = stored.connect()
    for i in range(1000):
        client.send(client.publish_packet(name, "x" * 4000, qos=1, packet_id=i + 1))
        if i % 50 == 49:
            for _ in range(50):
                client.wait("PUBACK")
    client, _ = join(stored, f"{name}s", clean=True)
    wait_until(lambda: not rows(stored, "queue"))

    def size():
        return int(control(stored, "store", "status").split("\nbytes: ")[1].split()[0])
    wait_until(lambda: size() < 2000000)
    assert "before it were" in control(stored, "store", "compact")
    client.subscribe((name, 1))
    client.publish(name, "still works", qos=1)
    client.message(payload="still works")


def test_store_commands_without_a_store(run_broker):
    broker = run_broker({})
    assert "knows no command" in control(broker, "store", "status", fails=True)
