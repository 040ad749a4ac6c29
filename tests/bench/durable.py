#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What durable QoS 1 and 2 costs: one persistent session that is not there, messages of 200 bytes.

    durable.py BENCH BUILD [--seconds 4] [--rounds 1] [--only rates,quiet,restart,churn]

BENCH: the folder of mqload. BUILD: a build of avocet (-O2 -DNDEBUG).

rates    acknowledged messages a second and latencies: 1 publisher with 100 unacknowledged, 50 with 20, 10 with 20 at
         QoS 2; with this disk and with one whose fsync takes 10 ms longer; avocet with its store, without one, and Debian's
         mosquitto with its own persistence
quiet    latency of QoS 0 between others meanwhile, with and without the slow disk
restart  from exec to the first CONNACK with 1 000 000 queued messages, and with 100 000 sessions of 3 subscriptions each
churn    1 000 000 sessions that come, are used and end; the file's size"""

import argparse
import json
import os
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[0] / "lib")]
import disk as disks    # noqa: E402

PORT = 21970
CONFIG = """
broker: {{data_dir: {data}, plugin_dir: {plugins}, control: {run}/control, workers: {workers}, sys_interval: 0}}
log: {{level: warning}}
listeners: [{{bind: 127.0.0.1:{port}, allow_anonymous: true}}]
limits: {{max_queued_messages: 0, max_queued_bytes: 0}}
"""
STORE = "plugins: [{{name: db, module: persist-sqlite, config: {{min_free: 0{more}}}}}]\nstore: db\n"
MOSQUITTO = """
listener {port} 127.0.0.1
allow_anonymous true
persistence true
persistence_location {data}/
max_queued_messages 0
max_inflight_messages 0
log_dest none
"""


class Peer:
    """A broker in a folder of its own."""

    more = ""       # of the store's config

    def __init__(self, what, build, library, delay_us=0, workers=2, folder=None, settings=""):
        self.run = pathlib.Path(tempfile.mkdtemp(prefix="avocet-durable-"))
        self.data = folder or self.run / "data"
        self.data.mkdir(exist_ok=True)
        self.disk = disks.Disk(library, self.run / "disk", self.data)
        self.disk.delay_us = delay_us
        config = self.run / "config"
        if what == "mosquitto":
            config.write_text(MOSQUITTO.format(port=PORT, data=self.data))
            self.data.chmod(0o777)
            command = [shutil.which("mosquitto") or "/usr/sbin/mosquitto", "-c", config]
        else:
            config.write_text(CONFIG.format(data=self.data, plugins=pathlib.Path(build) / "plugins/persist-sqlite",
                                            run=self.run, port=PORT, workers=workers) +
                              (STORE.format(more=Peer.more) if what == "store" else "") + settings)
            command = [pathlib.Path(build) / "avocet", "-c", config]
        environment = {**os.environ, **(self.disk.environment if delay_us else {})}
        self.begin = time.monotonic()
        self.process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.started = self._wait()

    def _wait(self):
        """Seconds to the first CONNACK."""
        packet = b"\x10\x10\x00\x04MQTT\x04\x02\x00\x00\x00\x04wait"
        while True:
            try:
                with socket.create_connection(("127.0.0.1", PORT), 60) as sock:
                    sock.sendall(packet)
                    if len(sock.recv(4)) == 4:
                        return time.monotonic() - self.begin
            except OSError:
                pass
            if self.process.poll() is not None:
                sys.exit(f"the broker has ended with {self.process.returncode}")
            time.sleep(0.005)

    def memory(self):
        return int(pathlib.Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * 4096

    def stop(self, number=signal.SIGTERM, keeps=False):
        self.process.send_signal(number)
        self.process.wait(120)
        if not keeps:
            shutil.rmtree(self.run)


def build_load(folder):
    out = pathlib.Path(folder) / "durable_load"
    subprocess.run(["cc", "-O2", "-Wall", "-o", out, HERE / "durable_load.c"], check=True)
    return out


def load(program, qos, publishers, window, seconds):
    done = subprocess.run([program, str(PORT), str(qos), str(publishers), str(window), str(seconds), "200"],
                          capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


SHAPES = ((1, 1, 100), (1, 50, 20), (2, 10, 20), (1, 1, 1))


def rates(options, program, library):
    print("| disk | QoS, publishers x window | broker | acknowledged/s | p50 ms | p99 ms | max ms |")
    print("|---|---|---|---|---|---|---|")
    for delay in (int(one) * 1000 for one in options.delays.split(",")):
        for qos, publishers, window in SHAPES:
            for what in options.peers.split(","):
                if delay and what == "none":
                    continue
                got = []
                for _ in range(options.rounds):
                    peer = Peer(what, options.build, library, delay)
                    got.append(load(program, qos, publishers, window, options.seconds))
                    peer.stop(signal.SIGKILL)
                median = {key: statistics.median(one[key] for one in got) for key in got[0]}
                name = {"store": "avocet, store", "none": "avocet, no store", "mosquitto": "mosquitto"}[what]
                print(f"| {'fsync +%d ms' % (delay // 1000) if delay else 'local'} | {qos}, {publishers} x {window} | {name} | "
                      f"{median['rate']:.0f} | {median['p50_us'] / 1000:.2f} | {median['p99_us'] / 1000:.2f} | "
                      f"{median['max_us'] / 1000:.1f} |", flush=True)


def quiet(options, program, library):
    """QoS 0 between 20 others, 1 000 a second, while 50 x 20 are stored."""
    for delay in (0, 10000):
        for loaded in (False, True):
            peer = Peer("store", options.build, library, delay)
            other = subprocess.Popen([program, str(PORT), "1", "50", "20", str(options.seconds + 2), "200"],
                                     stdout=subprocess.DEVNULL) if loaded else None
            done = subprocess.run([f"{options.bench}/mqload", "pubsub", "--port", str(PORT), "--broker-pid",
                                   str(peer.process.pid), "--topology", "pairs", "--pubs", "20", "--rate", "1000", "--secs",
                                   str(options.seconds)], capture_output=True, text=True, check=True)
            got = json.loads(done.stdout)
            if other is not None:
                other.wait()
            peer.stop(signal.SIGKILL)
            print(f"QoS 0, fsync +{delay // 1000} ms, {'50 x 20 stored meanwhile' if loaded else 'alone'}: "
                  f"{ {key: got.get(key) for key in ('p50_us', 'p99_us', 'max_us', 'lost')} }", flush=True)


def restart(options, program, library):
    peer = Peer("store", options.build, library)
    count = 0
    while count < 1000000:
        count += load(program, 1, 50, 100, 2)["count"]
    peer.stop(keeps=True)
    size = sum(one.stat().st_size for one in peer.data.iterdir())
    again = Peer("store", options.build, library, folder=peer.data)
    print(f"restart with {count} queued messages ({size >> 20} MiB): first CONNACK after {again.started:.2f} s, "
          f"resident {again.memory() >> 20} MiB", flush=True)
    again.stop(signal.SIGKILL, keeps=True)
    crashed = Peer("store", options.build, library, folder=peer.data)
    print(f"the same after a kill -9: {crashed.started:.2f} s", flush=True)
    crashed.stop()
    shutil.rmtree(peer.run)
    peer = Peer("store", options.build, library)
    make_sessions(100000, 3, 300)
    peer.stop(keeps=True)
    again = Peer("store", options.build, library, folder=peer.data)
    print(f"restart with 100000 sessions of 3 subscriptions: first CONNACK after {again.started:.2f} s, "
          f"resident {again.memory() >> 20} MiB", flush=True)
    again.stop()
    shutil.rmtree(peer.run)


def make_sessions(count, subscriptions, at_a_time, ends=False, first=0):
    """Sessions in batches: CONNECT, SUBSCRIBE, (a message for it,) DISCONNECT. ends: Session Expiry 1 s."""
    for begin in range(first, first + count, at_a_time):
        socks = []
        for i in range(begin, min(begin + at_a_time, first + count)):
            name = b"session-%07d" % i
            expiry = b"\x05\x11" + (1 if ends else 0xffffffff).to_bytes(4, "big")
            body = b"\x00\x04MQTT\x05\x00\x00\x00" + expiry + len(name).to_bytes(2, "big") + name
            filters = b"".join(len(one).to_bytes(2, "big") + one + b"\x01" for one in
                               (b"s/%07d/%d" % (i, k) for k in range(subscriptions)))
            sub = b"\x00\x01\x00" + filters
            topic = b"s/%07d/0" % i
            pub = len(topic).to_bytes(2, "big") + topic + b"\x00\x02\x00" + b"x" * 50
            sock = socket.create_connection(("127.0.0.1", PORT))
            sock.sendall(bytes([0x10, len(body)]) + body + bytes([0x82, len(sub)]) + sub +
                         (bytes([0x32, len(pub)]) + pub if ends else b""))
            socks.append(sock)
        for sock in socks:
            got = b""
            wanted = 3 if ends else 2       # CONNACK, SUBACK, PUBACK
            while True:
                got += sock.recv(4096)
                at = seen = 0
                while at + 2 <= len(got) and at + 2 + got[at + 1] <= len(got):
                    seen += got[at] >> 4 in (2, 4, 9)
                    at += 2 + got[at + 1]
                if seen == wanted:
                    break
            sock.close()


def churn(options, library):
    peer = Peer("store", options.build, library)
    sizes = []
    for part in range(20):
        make_sessions(options.sessions // 20, 1, 500, True, part * (options.sessions // 20))
        sizes.append(sum(one.stat().st_size for one in peer.data.iterdir() if "ballast" not in one.name) >> 10)
    time.sleep(5)
    end = sum(one.stat().st_size for one in peer.data.iterdir() if "ballast" not in one.name) >> 10
    print(f"{options.sessions} sessions came, were used and expired: KiB of the database and its log on the way {sizes}, "
          f"5 s after the last {end}; resident {peer.memory() >> 20} MiB", flush=True)
    peer.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench")
    parser.add_argument("build")
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--sessions", type=int, default=1000000)
    parser.add_argument("--config", default="", help="keys of the plugin, as in: checkpoint_size: 4MiB")
    parser.add_argument("--peers", default="store,none,mosquitto")
    parser.add_argument("--delays", default="0,10,30", help="ms of each fsync")
    parser.add_argument("--only", default="rates,quiet,restart,churn")
    options = parser.parse_args()
    Peer.more = f", {options.config}" if options.config else ""
    with tempfile.TemporaryDirectory() as folder:
        program, library = build_load(folder), disks.build(folder)
        for name in options.only.split(","):
            {"rates": lambda: rates(options, program, library), "quiet": lambda: quiet(options, program, library),
             "restart": lambda: restart(options, program, library), "churn": lambda: churn(options, library)}[name]()


if __name__ == "__main__":
    main()
