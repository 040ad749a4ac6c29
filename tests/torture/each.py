# SPDX-License-Identifier: Apache-2.0
"""Every point of a short life: the same things are done again and again, and each time the broker dies one call later.

    python3 tests/torture/each.py [--stride 1] [--torn]

A call is one that changes a file or sends to a socket (disk.c), so the points lie before each write, sync and
truncation of the store, between them, and before each packet that leaves. After each death the broker starts with what is
on disk, and what clients had seen acknowledged must be there."""

import argparse
import pathlib
import shutil
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import conftest     # noqa: E402
import disk as disks    # noqa: E402
from mqtt import Closed, Filter, Will   # noqa: E402
from torture import GONE, LASTING, PLUGIN_DIR, Wrong    # noqa: E402


class Life:
    """What was promised so far."""

    def __init__(self, broker):
        self.broker = broker
        self.sessions = {}      # client id: True, or None when it was asked for
        self.filters = {}       # (client id, filter): True, False, None
        self.messages = {}      # payload: (QoS, acknowledged)
        self.retained = []      # values in order; how many were acknowledged
        self.retained_acked = 0
        self.will = None
        self.received = {}      # payload: how often it came at QoS 2

    def join(self, client_id, **more):
        self.sessions.setdefault(client_id, None)
        client = self.broker.open(5)
        connack = client.connect(client_id, clean=False, **LASTING, **more)
        if self.sessions[client_id] and connack.session_present != 1:
            raise Wrong(f"the session {client_id} is gone")
        self.sessions[client_id] = True
        return client

    def subscribe(self, client, client_id, name):
        self.filters[client_id, name] = None
        client.subscribe(Filter(name, 2))
        self.filters[client_id, name] = True

    def publish(self, client, payload, qos, packet_id):
        self.messages[payload] = (qos, False)
        client.send(client.publish_packet("t", payload, qos=qos, packet_id=packet_id))
        client.expect("PUBACK" if qos == 1 else "PUBREC", packet_id=packet_id, reason=0)
        self.messages[payload] = (qos, True)
        if qos == 2:
            client.release(packet_id)

    def retain(self, client, value):
        self.retained.append(value)
        client.publish("r", value, qos=1, retain=1)
        self.retained_acked = len(self.retained)

    def take(self, client, count):
        for _ in range(count):
            packet = client.expect("PUBLISH")
            payload = packet.payload.decode()
            if packet.qos == 2:
                self.received[payload] = packet.packet_id
            client.acknowledge(packet)

    def run(self):
        """Ends with Closed where the broker dies."""
        sleeper = self.join("sleeper")
        self.subscribe(sleeper, "sleeper", "t")
        sleeper.disconnect()
        taker = self.join("taker")
        self.subscribe(taker, "taker", "t")
        self.subscribe(taker, "taker", "gone")
        publisher = self.join("publisher")
        for i in range(2):
            self.publish(publisher, f"one {i}", 1, 10 + i)
            self.publish(publisher, f"two {i}", 2, 20 + i)
        self.take(taker, 4)
        self.retain(publisher, "a")
        self.retain(publisher, "b")
        self.filters["taker", "gone"] = None
        taker.unsubscribe("gone")
        self.filters["taker", "gone"] = False
        self.join("dying", will=Will("w", "dead", 1))
        self.will = "dead"
        self.publish(publisher, "two last", 2, 30)
        taker.expect("PUBLISH")         # it is not acknowledged
        publisher.ping()

    def check(self):
        """Another process, the same disk."""
        for client_id, promised in self.sessions.items():
            if promised:
                client = self.broker.open(5)
                connack = client.connect(client_id, clean=False, **LASTING)
                if connack.session_present != 1:
                    raise Wrong(f"the session {client_id} is gone")
                client.close()
        if not self.filters.get(("sleeper", "t")):
            return
        probe = self.broker.connect()
        probe.publish("t", "end", qos=1)
        for client_id in ("sleeper", "taker"):
            if not self.filters.get((client_id, "t")):
                continue
            self._drain(client_id)
        if self.filters.get(("taker", "gone")) is not None:
            probe.publish("gone", "x", qos=1, expect=0 if self.filters["taker", "gone"] else 0x10)
        if self.retained_acked:
            probe.subscribe(("r", 1))
            value = probe.message().payload.decode()
            if value not in self.retained[self.retained_acked - 1:]:
                raise Wrong(f"retained is {value}, acknowledged was {self.retained[self.retained_acked - 1]}")

    def _drain(self, client_id):
        client = self.broker.open(5)
        client.connect(client_id, clean=False, **LASTING)
        got = []
        while "end" not in got:
            packet = client.wait("PUBLISH")
            payload = packet.payload.decode()
            got.append(payload)
            client.acknowledge(packet)
            was = self.received.get(payload)
            if client_id == "taker" and packet.qos == 2 and was is not None and was != packet.packet_id:
                raise Wrong(f"{payload} came twice at QoS 2")
        for payload, (qos, acked) in self.messages.items():
            there = got.count(payload)
            if acked and there == 0 and (client_id == "sleeper" or payload == "two last"):
                raise Wrong(f"{client_id}: {payload} is lost")
            if qos == 2 and there > 1:
                raise Wrong(f"{client_id}: {payload} came {there} times")


def start(data, disk):
    config = {"broker": {"workers": 2, "plugin_dir": PLUGIN_DIR},
              "plugins": [{"name": "db", "module": "persist-sqlite", "config": {"ballast": 0, "min_free": 0}}], "store": "db"}
    return conftest.Broker(data, config, conftest.BIN, env=disk.environment)


def run_each(folder, stride=1, torn=False, say=lambda text: None):
    """How many points were visited."""
    library = disks.build(folder)
    visited, at = 0, 1
    while True:
        data = pathlib.Path(folder) / f"at{at}"
        data.mkdir()
        disk = disks.Disk(library, pathlib.Path(folder) / "disk", data)
        disk.is_torn, disk.crash_at = torn, at
        try:
            broker = start(data, disk)
        except AssertionError:
            # It died before it was up: a start is what must go well then.
            disk.crash_at = 0
            start(data, disk).stop()
            shutil.rmtree(data)
            visited, at = visited + 1, at + stride
            continue
        life = Life(broker)
        try:
            life.run()
            broker.close_clients()
            broker.terminate()      # the stop has points too
        except GONE:
            pass
        if broker.process.wait(30) == 0:
            say(f"{disk.calls} calls in the whole life")
            return visited
        broker.close_clients()
        disk.crash_at = 0
        broker.start()
        try:
            life.check()
        except (Wrong, AssertionError, Closed) as error:
            raise Wrong(f"died at call {at}: {error}\n{broker.log()[-2000:]}") from error
        broker.stop()
        shutil.rmtree(data)
        visited, at = visited + 1, at + stride
        if visited % 50 == 0:
            say(f"{visited} points")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stride", type=int, default=1)
    parser.add_argument("--torn", action="store_true", help="the call is done by half")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="avocet-each-") as folder:
        count = run_each(folder, options.stride, options.torn, lambda text: print(text, flush=True))
    print(f"{count} points: nothing lost, nothing twice")


if __name__ == "__main__":
    main()
