# SPDX-License-Identifier: Apache-2.0
"""The plugin persist-sqlite on disks that are full, slow, broken or damaged."""

import os
import sqlite3

import pytest

import disk as disks
from mqtt import Timeout, wait_until
from test_store import (LASTING, PLUGIN_DIR, again, config, control, join, make_disk, merged_config, pytestmark,     # noqa: F401
                        refused, sleeper)


# The disk

@pytest.fixture
def disk(tmp_path):
    if not disks.compiler():
        pytest.skip("there is no compiler")
    return make_disk(tmp_path)


def is_failing(broker, text):
    return lambda: text in broker.log()


@pytest.mark.parametrize("ballast", (0, 1 << 20))
def test_a_full_disk(run_broker, disk, name, ballast):
    broker = run_broker(config(ballast=ballast), env=disk.environment, expected_errors="store fails|is full")
    sleeper(broker, f"{name}s", (name, 1))
    publisher, quick = broker.connect(), broker.connect()
    quick.subscribe((f"{name}/0", 0))
    disk.quota = 300000
    # What was not refused waits for the disk and is never refused; what comes then is.
    acked = 0
    with pytest.raises(Timeout):
        while acked < 5000:
            publisher.send(publisher.publish_packet(name, f"{acked:05}" + "x" * 3000, qos=1))
            ack = publisher.wait("PUBACK", timeout=1.5)
            if ack.reason >= 0x80:
                assert ack.reason == 0x97 and ballast
                raise Timeout("refused")
            acked += 1
    assert acked < 5000
    wait_until(is_failing(broker, "The store fails"))
    other = broker.connect()
    other.publish(name, "no", qos=1, expect=0x97)
    old = broker.connect(version=4)
    old.send(old.publish_packet(name, "parked", qos=1))     # 3.1.1 waits
    quick.publish(f"{name}/0", "goes on", qos=0)
    quick.message(payload="goes on")
    quick.publish(f"{name}/nobody", "goes on", qos=1, expect=0x10)
    quick.subscribe(("$SYS/broker/store/state", 0))
    quick.message(topic="$SYS/broker/store/state", payload="failing")
    fresh = broker.open(5)
    assert fresh.connect(f"{name}new", clean=False, **LASTING, expect=0x88) is not None
    resumed, connack = join(broker, f"{name}s")
    assert connack.session_present == 1
    resumed.close()
    disk.quota = -1
    wait_until(is_failing(broker, "The store works again"))
    while quick.message(topic="$SYS/broker/store/state").payload != b"ok":
        pass
    assert old.wait("PUBACK").reason == 0
    other.publish(name, "yes", qos=1)
    again(broker)
    reader, _ = join(broker, f"{name}s")
    got = []
    while not got or got[-1] != b"yes":
        got.append(reader.message().payload[:6])
    assert {f"{i:05}x".encode() for i in range(acked)} <= set(got)
    assert b"parked" in got and b"no" not in got


def test_little_room_lets_nothing_new_in(run_broker, disk, name):
    broker = run_broker(config(min_free="1MiB"), env=disk.environment, expected_errors="store fails")
    client, _ = join(broker, f"{name}c")
    client.subscribe((name, 1))
    disk.quota = 500000
    client.publish(name, "stored", qos=1)
    client.message(payload="stored")
    wait_until(is_failing(broker, "The store fails"))
    assert "has 0 MiB left" in broker.log()
    client.publish(name, "refused", qos=1, expect=0x97)
    client.unsubscribe(name)        # frees, and need not wait for better days
    disk.quota = -1
    wait_until(is_failing(broker, "The store works again"))
    client.subscribe((name, 1))


def test_a_broken_disk(run_broker, disk, name):
    broker = run_broker(config(), env=disk.environment, expected_errors="store fails")
    sleeper(broker, f"{name}s", (name, 2))
    publisher, _ = join(broker, f"{name}p")
    disk.fails = 1
    packet_id = publisher.next_id()
    publisher.send(publisher.publish_packet(name, "waits", qos=2, packet_id=packet_id))
    wait_until(is_failing(broker, "The store fails"))
    publisher.expect_quiet(0.3)
    disk.fails = 0
    publisher.expect("PUBREC", packet_id=packet_id)
    publisher.release(packet_id)
    again(broker)
    reader, _ = join(broker, f"{name}s")
    reader.message(payload="waits")
    reader.expect_quiet(0.05)


def test_others_do_not_feel_a_slow_disk(run_broker, disk, name):
    broker = run_broker(config(), env=disk.environment)
    sleeper(broker, f"{name}s", (name, 1))
    slow, quick = broker.connect(), broker.connect()
    quick.subscribe((f"{name}/0", 0))
    disk.delay_us = 3000000
    slow.send(slow.publish_packet(name, "x", qos=1))
    for i in range(100):
        quick.publish(f"{name}/0", str(i), qos=0)
        quick.message(payload=str(i))
    slow.expect_quiet(0.01)         # all of that while it waited for the disk
    slow.wait("PUBACK")
    disk.delay_us = 0


# Damage

def fill_some(broker, name, count=400):
    sleeper(broker, f"{name}s", (f"{name}/#", 1))
    client = broker.connect()
    for i in range(count):
        client.send(client.publish_packet(f"{name}/{i}", f"{i:05}" + "p" * 800, qos=1, packet_id=i + 1))
        if i % 50 == 49:
            for _ in range(50):
                client.wait("PUBACK")
    broker.stop()


def damage_page(path, table, by_another=False):
    """Overwrites a leaf of the table in the middle, by chance; or by the first leaf, and the one behind it by chance."""
    with sqlite3.connect(path) as db:
        root = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchone()[0]
    with open(path, "r+b") as file:
        file.seek((root - 1) * 4096)
        page = file.read(4096)
        assert page[0] == 5, "the root is not an interior page: too few rows"
        cells = int.from_bytes(page[3:5], "big")

        def leaf(i):
            at = int.from_bytes(page[12 + i * 2:14 + i * 2], "big")
            return (int.from_bytes(page[at:at + 4], "big") - 1) * 4096

        middle = cells // 2
        if by_another:
            file.seek(leaf(0))
            other = file.read(4096)
            file.seek(leaf(middle))
            file.write(other)
            middle += 1
        file.seek(leaf(middle))
        file.write(os.urandom(4096))


@pytest.mark.parametrize("by_another", [False, True])
def test_a_damaged_page_is_salvaged(run_broker, name, by_another):
    """What it held is lost and nothing else: also where a page is that of another place, with lower numbers."""
    broker = run_broker(config(check_on_start="always"), expected_errors="damaged|salvage|Salvage")
    fill_some(broker, name)
    path = broker.folder / "avocet.db"
    damage_page(path, "message", by_another)
    broker.start()
    wait_until(is_failing(broker, "set aside as"))
    aside = list(broker.folder.glob("avocet.db.corrupt-*"))
    assert len([one for one in aside if not one.name.endswith("-wal")]) == 1
    client, connack = join(broker, f"{name}s")
    assert connack.session_present == 1
    got = set()
    publisher = broker.connect()
    publisher.publish(f"{name}/end", "end", qos=1)
    while b"end" not in got:
        got.add(client.message().payload[:5])
    assert 394 - 4 * by_another < len(got) < 401        # a page holds four of them
    assert "structure: ok" in control(broker, "store", "check")


def test_damage_that_shows_at_reading_is_salvaged_by_the_next_start(run_broker, name):
    """After a clean stop the structure is not checked, and what was read already cannot be taken back: this start ends
    with 3, which start() answers by another one, as systemd does."""
    broker = run_broker(config(), expected_errors="damaged|salvage|set aside")
    fill_some(broker, name)
    damage_page(broker.folder / "avocet.db", "message")
    broker.start()
    wait_until(lambda: "set aside as" in broker.log() or broker.process.poll() is not None)
    if broker.process.poll() is not None:       # it had taken connections before it looked at its store
        assert broker.process.poll() == 3 and "malformed" in broker.log()
        broker.start()
    client, connack = join(broker, f"{name}s")
    assert connack.session_present == 1 and list(broker.folder.glob("avocet.db.corrupt-*"))
    client.message()


def test_a_salvage_may_be_interrupted_anywhere(run_broker, disk, name):
    broker = run_broker(config(check_on_start="always"), env=disk.environment, expected_errors="damaged|salvage|set aside")
    fill_some(broker, name)
    damage_page(broker.folder / "avocet.db", "message")
    before = {one.name: one.read_bytes() for one in broker.folder.glob("avocet.db*")}
    disk.calls = 0
    broker.start()
    client, _ = join(broker, f"{name}s")
    all_calls = disk.calls
    broker.stop()
    for at in range(2, all_calls, max(1, all_calls // 25)):
        for one in broker.folder.glob("avocet.db*"):
            one.unlink()
        for file, data in before.items():
            (broker.folder / file).write_bytes(data)
        disk.calls, disk.crash_at = 0, at
        try:
            broker.start()
        except AssertionError:
            pass
        broker.crash()
        disk.crash_at = 0
        broker.start()
        client, connack = join(broker, f"{name}s")
        assert connack.session_present == 1, at
        broker.connect().publish(f"{name}/end", "end", qos=1)
        got = set()
        while b"end" not in got:
            got.add(client.message().payload[:5])
        assert len(got) > 350, (at, len(got))
        broker.stop()


def test_a_file_that_is_none_is_set_aside(run_broker, name):
    broker = run_broker(config(), expected_errors="damaged|salvage")
    broker.stop()
    path = broker.folder / "avocet.db"
    path.write_bytes(os.urandom(20000))
    broker.start()
    client, _ = join(broker, name)
    client.subscribe((name, 1))
    assert list(broker.folder.glob("avocet.db.corrupt-*"))


def test_on_corrupt_refuse_and_fresh(run_broker, name):
    broker = run_broker(config(on_corrupt="refuse"))
    sleeper(broker, name, (name, 1))
    broker.stop()
    path = broker.folder / "avocet.db"
    path.write_bytes(os.urandom(20000))
    refused(broker, "on_corrupt: salvage would start")
    assert path.stat().st_size == 20000
    broker._given = config(on_corrupt="fresh")
    broker.expected_errors = "damaged|set aside|without what was stored"
    broker.start()
    _, connack = join(broker, name)
    assert connack.session_present == 0


def test_a_truncated_log(run_broker, name):
    """What is cut off the log was not acknowledged; what was is there."""
    broker = run_broker(config())
    sleeper(broker, f"{name}s", (name, 1))
    broker.connect().publish(name, "kept", qos=1)
    broker.crash()
    wal = broker.folder / "avocet.db-wal"
    broker.start()
    broker.crash()
    with open(wal, "ab") as file:
        file.write(os.urandom(5000))
    os.truncate(wal, wal.stat().st_size - 100)
    broker.start()
    client, _ = join(broker, f"{name}s")
    client.message(payload="kept")


def test_what_is_not_ours_is_refused(run_broker):
    broker = run_broker(config())
    broker.stop()
    path = broker.folder / "avocet.db"
    for suffix in ("", "-wal"):
        (broker.folder / f"avocet.db{suffix}").unlink(missing_ok=True)
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE x (y)")
    db.close()
    refused(broker, "database of another program")
    path.unlink()
    broker.start()
    broker.stop()
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 9")
    db.commit()
    db.close()
    refused(broker, "it has version 9, and this program knows versions up to 1")
    path.unlink()
    broker.start()


def test_two_brokers_do_not_share_a_file(run_broker, name):
    first = run_broker(config())
    second = run_broker(config())
    second.stop()
    good, second._given = second._given, merged_config({"broker": {"plugin_dir": PLUGIN_DIR, "data_dir": str(first.folder)}})
    refused(second, "another process uses the file")
    second._given = good
    second.start()
    db = sqlite3.connect(first.folder / "avocet.db", timeout=0)
    with pytest.raises(sqlite3.OperationalError):
        db.execute("SELECT * FROM session")
    db.close()


def test_a_read_only_folder(run_broker):
    """Root may write everywhere, so it becomes nobody first."""
    broker = run_broker(config())
    broker.stop()
    user = {"user": "nobody"} if os.geteuid() == 0 else {}
    broker._given = merged_config({"broker": {"plugin_dir": PLUGIN_DIR, **user}})
    broker.folder.chmod(0o500)
    refused(broker, "avocet.db: ")
    broker.folder.chmod(0o700)
    broker._given = config()
    broker.start()


def test_a_folder_that_is_a_file(run_broker):
    broker = run_broker(config())
    broker.stop()
    (broker.folder / "file").write_text("x")
    broker._given = config(file="file/avocet.db")
    refused(broker, "file/avocet.db")
    broker._given = config()
    broker.start()
