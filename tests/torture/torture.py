# SPDX-License-Identifier: Apache-2.0
"""Kills a broker under load, again and again, and compares what clients saw acknowledged with what comes out.

    python3 tests/torture/torture.py [--cycles 1000] [--how kill|power|call|mixed] [--seed N] [--workers 2] [--fsync-ms N]

kill: kill -9 at some moment. power: the same, and what was not synced is lost, by chance (disk.c). call: the process
dies in a call that writes a file or sends to a socket, half done.

What is checked, over the whole run (durability.md, I1 to I7):
  - a message whose PUBACK or PUBREC was seen comes out at each subscriber: at one that is always there, at one that
    comes now and then, and at members of a shared group together;
  - no message of QoS 2 comes twice;
  - messages of a publisher and QoS come in their order (what comes again may be old);
  - a retained value is at least the newest that was acknowledged;
  - a session whose CONNACK was seen is there; a subscription whose SUBACK was seen delivers, one whose UNSUBACK was
    seen does not;
  - the will of who was connected at the crash comes;
  - at the end no row names a message or session that is not there, and no packet id is left that was released.
"""

import argparse
import collections
import os
import pathlib
import random
import shutil
import sqlite3
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import conftest     # noqa: E402
import disk as disks    # noqa: E402
from mqtt import Closed, Filter, Timeout, Will     # noqa: E402

PLUGIN_DIR = os.path.join(os.path.dirname(os.path.abspath(conftest.BIN)), "plugins", "persist-sqlite")
LASTING = {"session_expiry_interval": 100000}
WINDOW = 20
GONE = (Closed, OSError)


def is_there():
    return os.path.exists(os.path.join(PLUGIN_DIR, "persist-sqlite.so")) and disks.compiler() is not None


def copy_of(counter):
    """While another thread adds to it."""
    while True:
        try:
            return set(counter)
        except RuntimeError:
            pass


class Wrong(Exception):
    """A promise was broken."""


class Life:
    """A client that comes back: one thread while the broker lives."""

    def __init__(self, torture, client_id):
        self.torture = torture
        self.client_id = client_id
        self.was_connected = False
        self.thread = None
        self.error = None
        self.client = None

    def begin(self):
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        try:
            self.client = self.torture.broker.open(5, timeout=30)
            connack = self.client.connect(self.client_id, clean=False, **LASTING, **self.connect_options())
            if self.was_connected and connack.session_present != 1:
                raise Wrong(f"{self.client_id}: its session is gone")
            self.was_connected = True
            self.live()
        except GONE:
            pass
        except Exception as error:      # pylint: disable=broad-except
            self.error = error

    def connect_options(self):
        return {}

    def end(self):
        self.thread.join(60)
        if self.thread.is_alive():
            raise Wrong(f"{self.client_id}: hangs")
        if self.error is not None:
            raise self.error


class Publisher(Life):
    """Numbers, at one QoS, to its own topic; what is not acknowledged is sent again."""

    def __init__(self, torture, client_id, qos):
        super().__init__(torture, client_id)
        self.qos = qos
        self.topic = f"t/{client_id}"
        self.next = 0
        self.under_way = collections.OrderedDict()      # packet id: number; None: released
        self.acked = set()
        self.last_id = 0

    def _new_id(self):
        while True:
            self.last_id = self.last_id % 65535 + 1
            if self.last_id not in self.under_way:
                return self.last_id

    def _put(self, packet_id, number, dup):
        self.client.send(self.client.publish_packet(self.topic, f"{number:07}" + "x" * 80, qos=self.qos, packet_id=packet_id,
                                                    dup=dup))

    def _take(self, packet):
        packet_id = packet.packet_id
        if packet.kind in ("PUBACK", "PUBREC"):
            if packet.reason >= 0x80:
                raise Wrong(f"{self.client_id}: {packet}")
            number = self.under_way.get(packet_id)
            if number is not None:
                self.acked.add(number)
            if packet.kind == "PUBACK":
                del self.under_way[packet_id]
            else:
                self.under_way[packet_id] = None
                self.client.ack("PUBREL", packet_id)
        elif packet.kind == "PUBCOMP":
            self.under_way.pop(packet_id, None)
        else:
            raise Wrong(f"{self.client_id}: {packet}")

    def live(self):
        for packet_id, number in list(self.under_way.items()):
            if number is None:
                self.client.ack("PUBREL", packet_id)
            else:
                self._put(packet_id, number, 1)
        while not self.torture.is_ending or self.under_way:
            while len(self.under_way) < WINDOW and not self.torture.is_ending:
                packet_id = self._new_id()
                self.under_way[packet_id] = self.next
                self.next += 1
                self._put(packet_id, self.next - 1, 0)
            self._take(self.client.recv())


class Subscriber(Life):
    """Takes all; knows what it has over its lives."""

    def __init__(self, torture, client_id, *filters):
        super().__init__(torture, client_id)
        self.filters = filters
        self.has_subscribed = False
        self.got = collections.Counter()    # (topic, number)
        self.newest = {}                    # topic: number
        self.wills = set()
        self.retained = {}
        self.released = set()               # packet ids of QoS 2 that were received

    def _take(self, packet):
        topic, text = packet.topic, packet.payload.decode()
        if topic.startswith("w/"):
            self.wills.add(text)
            return
        if topic.startswith("r/"):
            self.retained[topic] = int(text)
            return
        number = int(text[:7])
        before = self.newest.get(topic, -1)
        first = (topic, number) not in self.got
        self.got[topic, number] += 1
        if packet.qos == 2 and not first:
            raise Wrong(f"{self.client_id}: {topic} {number} came twice at QoS 2")
        if first and number < before and not self.may_mix():
            raise Wrong(f"{self.client_id}: {topic} {number} came after {before}")
        self.newest[topic] = max(before, number)

    def may_mix(self):
        return False

    def live(self):
        if not self.has_subscribed:
            self.client.subscribe(*[Filter(one, 2) for one in self.filters])
            self.has_subscribed = True
        while True:
            packet = self.client.recv(timeout=3600)
            if packet.kind == "PUBLISH":
                if packet.qos == 2:
                    if packet.packet_id not in self.released:
                        self._take(packet)
                        self.released.add(packet.packet_id)
                    self.client.ack("PUBREC", packet.packet_id)
                else:
                    self._take(packet)
                    if packet.qos == 1:
                        self.client.ack("PUBACK", packet.packet_id)
            elif packet.kind == "PUBREL":
                self.released.discard(packet.packet_id)
                self.client.ack("PUBCOMP", packet.packet_id)
            else:
                raise Wrong(f"{self.client_id}: {packet}")

    def missing(self, publishers):
        for publisher in publishers:
            for number in publisher.acked:
                if (publisher.topic, number) not in self.got:
                    yield publisher.topic, number


class Member(Subscriber):
    """Of a shared group: what another gave back may come later."""

    def may_mix(self):
        return True


class Keeper(Life):
    """Retained values that rise."""

    def __init__(self, torture, client_id):
        super().__init__(torture, client_id)
        self.sent = 0
        self.acked = 0
        self.is_open = False    # the newest was not acknowledged to its end

    def _give(self, dup):
        """At QoS 2 by a packet id of its own, which is free again when all of it was acknowledged."""
        qos, packet_id = 1 + self.sent % 2, self.sent % 65535 + 1
        self.client.send(self.client.publish_packet("r/value", str(self.sent), qos=qos, retain=1, packet_id=packet_id,
                                                    dup=dup))
        self.client.expect("PUBACK" if qos == 1 else "PUBREC", packet_id=packet_id, reason=0)
        self.acked = self.sent
        if qos == 2:
            self.client.ack("PUBREL", packet_id)
            self.client.expect("PUBCOMP", packet_id=packet_id)
        self.is_open = False

    def live(self):
        if self.is_open:
            self._give(1)
        while not self.torture.is_ending:
            self.sent += 1
            self.is_open = True
            self._give(0)


class Changer(Life):
    """Subscribes and unsubscribes; knows what was promised."""

    def __init__(self, torture, client_id):
        super().__init__(torture, client_id)
        self.promised = {}      # filter: True, False, None: asked and not answered

    def live(self):
        while not self.torture.is_ending:
            name = f"s/{self.torture.random.randrange(50)}"
            wanted = not self.promised.get(name, False)
            self.promised[name] = None
            if wanted:
                self.client.subscribe(Filter(name, 1))
            else:
                self.client.unsubscribe(name, expect=None)
            self.promised[name] = wanted

    def check(self):
        """In a quiet broker: each filter delivers or does not, as was promised."""
        client = self.torture.broker.open(5, timeout=30)
        connack = client.connect(self.client_id, clean=False, **LASTING)
        if self.was_connected and connack.session_present != 1:
            raise Wrong(f"{self.client_id}: its session is gone")
        publisher = self.torture.broker.connect()
        for name in self.promised:
            publisher.publish(name, "x", qos=1)
        client.subscribe(Filter("s/end", 1))
        publisher.publish("s/end", "x", qos=1)
        seen = set()
        while "s/end" not in seen:
            seen.add(client.message().topic)
        client.ping()
        for name, promise in self.promised.items():
            if promise is not None and promise != (name in seen):
                raise Wrong(f"{self.client_id}: the subscription {name} is {name in seen} and not {promise}")
            self.promised[name] = name in seen
        client.disconnect()


class Dying(Life):
    """Has a will that is another in each life."""

    def __init__(self, torture, client_id):
        super().__init__(torture, client_id)
        self.will = None
        self.owed = set()

    def connect_options(self):
        self.will = f"will {self.torture.cycle}"
        return {"will": Will(f"w/{self.client_id}", self.will, 1)}

    def live(self):
        self.owed.add(self.will)
        self.client.recv(timeout=3600)


class Torture:
    def __init__(self, folder, how="kill", seed=1, workers=2, fsync_ms=0, durability="commit", say=lambda text: None):
        self.random = random.Random(seed)
        self.how = how
        self.say = say
        self.cycle = 0
        self.is_ending = False
        folder = pathlib.Path(folder)
        data = folder / "broker"
        data.mkdir()
        library = disks.build(folder)
        self.disk = disks.Disk(library, folder / "disk", data)
        self.disk.seed = seed
        self.disk.loses = how in ("power", "mixed")
        self.disk.delay_us = self.fsync_us = fsync_ms * 1000
        self.broker = conftest.Broker(
            data, {"broker": {"workers": workers, "plugin_dir": PLUGIN_DIR},
                   "plugins": [{"name": "db", "module": "persist-sqlite",
                                "config": {"ballast": 0, "min_free": 0, "checkpoint_size": "1MiB"}}], "store": "db",
                   "durability": durability, "limits": {"max_queued_messages": 1000000}},
            conftest.BIN, env=self.disk.environment)
        self.publishers = [Publisher(self, f"p{i}q{1 + i % 2}", 1 + i % 2) for i in range(4)]
        self.present = Subscriber(self, "present", "t/#", "w/#", "r/#")
        self.absent = Subscriber(self, "absent", "t/#")
        self.members = [Member(self, f"member{i}", "$share/g/t/#") for i in range(2)]
        self.keeper, self.changer, self.dying = Keeper(self, "keeper"), Changer(self, "changer"), Dying(self, "dying")

    def _kill(self):
        how = self.random.choice(("kill", "power", "call")) if self.how == "mixed" else self.how
        if how == "call":
            self.disk.is_torn = self.random.randrange(2)
            self.disk.crash_at = self.disk.calls + self.random.randrange(1, 400)
        else:
            time.sleep(self.random.uniform(0, 0.25))
            if how == "power":
                self.disk.cut_now = 1
            else:
                self.broker.process.kill()
        self.broker.process.wait(60)
        self.disk.crash_at = self.disk.is_torn = self.disk.cut_now = 0
        self.disk.seed = self.random.randrange(1 << 60)

    def _wait(self, condition, what, seconds=60):
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise Wrong(what())
            time.sleep(0.01)

    def _restart(self):
        self.broker.clients.clear()
        self.broker.start()

    def run_cycle(self):
        self.cycle += 1
        lives = [*self.publishers, self.present, self.keeper, self.changer, self.dying,
                 *self.random.sample(self.members, self.random.randrange(3))]
        if self.random.randrange(4) == 0:
            lives.append(self.absent)
        for life in lives:
            life.begin()
        time.sleep(self.random.uniform(0.05, 0.3))
        self._kill()
        for life in lives:
            life.end()
        self._restart()

    def settle(self):
        """Lets everything come out, and compares."""
        self.is_ending = True
        subscribers = [self.present, self.absent, *self.members]
        for life in (*self.publishers, *subscribers):
            life.begin()
        for publisher in self.publishers:
            publisher.end()
        for subscriber in (self.present, self.absent):
            self._wait(lambda one=subscriber: not any(one.missing(self.publishers)) or one.error,
                       lambda one=subscriber: f"{one.client_id}: lost {list(one.missing(self.publishers))[:20]}")

        def lost():
            both = copy_of(self.members[0].got) | copy_of(self.members[1].got)
            return [(one.topic, number) for one in self.publishers for number in one.acked if (one.topic, number) not in both]
        self._wait(lambda: not lost(), lambda: f"the group lost {lost()[:20]}")
        self._wait(lambda: self.dying.owed <= self.present.wills or self.present.error,
                   lambda: f"wills are missing: {self.dying.owed - self.present.wills}")
        reader = self.broker.connect()
        if self.keeper.acked:
            reader.subscribe(Filter("r/value", 1))
            value = int(reader.message().payload)
            if not self.keeper.acked <= value <= self.keeper.sent:
                raise Wrong(f"retained is {value}, acknowledged was {self.keeper.acked}")
        for subscriber in subscribers:
            subscriber.client.finish()
            subscriber.end()
        twice = [both for both, count in (self.members[0].got + self.members[1].got).items()
                 if count > 1 and both[0].endswith("q2")]
        if twice:
            raise Wrong(f"the group got twice at QoS 2: {twice[:20]}")
        self.changer.check()
        self.is_ending = False
        self._forget()

    def _forget(self):
        """What was compared need not be kept."""
        newest = {publisher.topic: publisher.next for publisher in self.publishers}
        for publisher in self.publishers:
            publisher.acked.clear()
        for subscriber in (self.present, self.absent, *self.members):
            subscriber.got = collections.Counter({key: count for key, count in subscriber.got.items()
                                                  if key[1] > newest[key[0]] - 5000})

    def run(self, cycles, settle_every=5):
        # Everybody is there once, before anything is killed.
        for life in (self.present, self.absent, *self.members):
            life.begin()
            self._wait(lambda one=life: one.has_subscribed or one.error, lambda: "no SUBACK")
            life.client.finish()
            life.end()
        begin = time.monotonic()
        for i in range(cycles):
            self.run_cycle()
            if i % settle_every == settle_every - 1 or i == cycles - 1:
                self.settle()
                self.say(f"{self.cycle} cycles, {sum(one.next for one in self.publishers)} messages sent, "
                         f"{time.monotonic() - begin:.0f} s")
        self.broker.stop()
        self._check_file()

    def _check_file(self):
        """Of a broker that has stopped: nothing names what is not there, and packet ids that were released are gone."""
        db = sqlite3.connect(self.broker.folder / "avocet.db")
        for sql, most in (("SELECT count(*) FROM queue WHERE mid NOT IN (SELECT mid FROM message)", 0),
                          ("SELECT count(*) FROM retained WHERE mid NOT IN (SELECT mid FROM message)", 0),
                          ("SELECT count(*) FROM queue WHERE sid NOT IN (SELECT sid FROM session)", 0),
                          ("SELECT count(*) FROM message WHERE mid NOT IN (SELECT mid FROM queue)"
                           " AND mid NOT IN (SELECT mid FROM retained)", 0),
                          ("SELECT count(*) FROM recv", 1 if self.keeper.is_open else 0)):
            count = db.execute(sql).fetchone()[0]
            if count > most:
                raise Wrong(f"{sql}: {count}")
        db.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cycles", type=int, default=1000)
    parser.add_argument("--how", choices=("kill", "power", "call", "mixed"), default="kill")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--fsync-ms", type=int, default=0)
    parser.add_argument("--durability", default="commit", help="relaxed: to see that this finds what is lost")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 30)
    folder = tempfile.mkdtemp(prefix="avocet-torture-")
    print(f"seed {seed}", flush=True)
    torture = Torture(folder, options.how, seed, options.workers, options.fsync_ms, options.durability,
                      lambda text: print(text, flush=True) if torture.cycle % 50 == 0 else None)
    try:
        torture.run(options.cycles)
    except (Wrong, AssertionError, Timeout) as error:
        print(f"WRONG in cycle {torture.cycle}: {error}\n{torture.broker.log()[-3000:]}\nfolder {folder}", flush=True)
        torture.broker.process.kill()
        return 1
    shutil.rmtree(folder)
    print(f"{options.cycles} cycles: nothing lost, nothing twice", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
