#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What goes over a bridge, beside Debian's mosquitto bridging in the same run.

    bridge.py BUILD [--seconds 4] [--rounds 3] [--queued 1000000] [--only flow,outage]

BUILD: a build of avocet (-O2 -DNDEBUG). The remote is always the same, an avocet without a store.

flow    messages a second from a client here to one at the remote, and CPU per message of this broker: QoS 0 and 1, 64
        bytes, 20 publishers with 50 messages under way each; mosquitto and avocet (MQTT 3.1.1 and 5.0, with and without its
        store); and with one message under way in all
outage  a remote that is away while messages of 200 bytes at QoS 1 come: memory, how fast they go out, what is given back"""

import argparse
import json
import os
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
NEAR, FAR = 21980, 21981
AVOCET = """
broker: {{data_dir: {run}, plugin_dir: {plugins}, control: {run}/control, workers: 2, sys_interval: 0}}
log: {{level: warning}}
listeners: [{{bind: 127.0.0.1:{port}, allow_anonymous: true}}]
limits: {{max_queued_messages: 0, max_queued_bytes: 0}}
"""
BRIDGE = """plugins:
{store}- name: up
  module: bridge
  config:
    remote: {{address: "mqtt://127.0.0.1:{far}", version: "{version}", client_id: bench, backoff_min: 50ms, backoff_max: 100ms}}
    topics: [{{direction: out, filter: "b/#", qos: 1}}]
"""
STORE = "- {name: db, module: persist-sqlite, config: {min_free: 0}}\n"
MOSQUITTO = """
listener {port} 127.0.0.1
allow_anonymous true
max_queued_messages 0
max_inflight_messages 1000
log_dest none
connection up
address 127.0.0.1:{far}
topic b/# out 1
remote_clientid bench
bridge_protocol_version {version}
notifications false
restart_timeout 1 1
"""


class Broker:
    def __init__(self, command, port):
        self.port = port
        self.process = subprocess.Popen([str(one) for one in command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        end = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                if time.monotonic() > end or self.process.poll() is not None:
                    raise
                time.sleep(0.01)

    def memory(self):
        return int(pathlib.Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * 4096

    def cpu(self):
        """Seconds, of all threads."""
        total = 0
        for task in pathlib.Path(f"/proc/{self.process.pid}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0])
        return total / 1e9

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        self.process.wait(60)


class Bench:
    def __init__(self, options):
        self.options = options
        self.run = pathlib.Path(tempfile.mkdtemp(prefix="avocet-bridge-"))
        self.plugins = self.run / "plugins"
        self.plugins.mkdir()
        for module in pathlib.Path(options.build).resolve().glob("plugins/*/*.so"):
            (self.plugins / module.name).symlink_to(module)
        self.load = self.run / "bridge_load"
        subprocess.run(["cc", "-O2", "-Wall", "-o", self.load, HERE / "bridge_load.c"], check=True)

    def avocet(self, name, port, more):
        folder = self.run / f"{name}{time.monotonic_ns()}"
        folder.mkdir()
        (folder / "config").write_text(AVOCET.format(run=folder, plugins=self.plugins, port=port) + more)
        return Broker([pathlib.Path(self.options.build) / "avocet", "-c", folder / "config"], port)

    def far(self):
        return self.avocet("far", FAR, "")

    def near(self, what):
        kind, version, store = what
        if kind == "mosquitto":
            config = self.run / "mosquitto"
            config.write_text(MOSQUITTO.format(port=NEAR, far=FAR, version=version))
            return Broker([shutil.which("mosquitto") or "/usr/sbin/mosquitto", "-c", config], NEAR)
        return self.avocet("near", NEAR, BRIDGE.format(far=FAR, version=version, store=STORE if store else "") +
                           ("store: db\n" if store else ""))

    def measure(self, what, qos, publishers, window):
        far = self.far()
        near = self.near(what)
        time.sleep(1)
        process = subprocess.Popen([str(self.load), "flow", str(NEAR), str(FAR), str(qos), str(publishers), str(window),
                                    str(self.options.seconds), "64"], stdout=subprocess.PIPE, text=True)
        time.sleep(1)
        before, begin = near.cpu(), time.monotonic()
        out, _ = process.communicate()
        spent = near.cpu() - before
        told = json.loads(out)
        told["cpu_us"] = spent / (time.monotonic() - begin) / max(told["rate"], 1) * 1e6
        near.stop()
        far.stop()
        return told

    def flow(self):
        brokers = {"mosquitto 2.0.11, 3.1.1": ("mosquitto", "mqttv311", False), "avocet, 3.1.1": ("avocet", "3.1.1", False),
                   "mosquitto 2.0.11, 5.0": ("mosquitto", "mqttv50", False), "avocet, 5.0": ("avocet", "5.0", False),
                   "avocet, 5.0, store": ("avocet", "5.0", True)}
        print("| QoS, publishers x under way | this broker | messages/s | CPU us a message | latency us |")
        print("|---|---|---|---|---|")
        for qos, publishers, window in ((0, 20, 50), (1, 20, 50), (0, 1, 1), (1, 1, 1)):
            for name, what in brokers.items():
                rounds = [self.measure(what, qos, publishers, window) for _ in range(self.options.rounds)]
                line = [statistics.median(one[key] for one in rounds) for key in ("rate", "cpu_us", "latency_us")]
                print(f"| {qos}, {publishers} x {window} | {name} | {line[0]:,.0f} | {line[1]:.2f} | {line[2]:,.0f} |",
                      flush=True)

    def outage(self):
        count = self.options.queued
        print("| this broker | MiB before | MiB with all queued | bytes each beside payload and topic | out, messages/s | "
              "MiB afterwards |")
        print("|---|---|---|---|---|---|")
        for name, what in {"avocet, 5.0, store": ("avocet", "5.0", True), "avocet, 5.0": ("avocet", "5.0", False),
                           "mosquitto 2.0.11, 5.0": ("mosquitto", "mqttv50", False)}.items():
            near = self.near(what)
            time.sleep(0.5)
            before = near.memory()
            told = json.loads(subprocess.run([str(self.load), "fill", str(NEAR), "1", str(count), "200"], check=True,
                                             capture_output=True, text=True).stdout)
            time.sleep(1)
            full = near.memory()
            far = self.far()
            taker = subprocess.Popen([str(self.load), "take", str(FAR), "1", str(told["acknowledged"])],
                                     stdout=subprocess.PIPE, text=True)
            taker.stdout.readline()
            out = json.loads(taker.stdout.read())
            taker.wait()
            time.sleep(10)
            mib = 1 << 20
            print(f"| {name} | {before / mib:.0f} | {full / mib:.0f} | {(full - before) / count - 205:.0f} | "
                  f"{out['rate']:,.0f} of {out['delivered']:,} | {near.memory() / mib:.0f} |", flush=True)
            near.stop()
            far.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--queued", type=int, default=1000000)
    parser.add_argument("--only", default="flow,outage")
    options = parser.parse_args()
    bench = Bench(options)
    try:
        for one in options.only.split(","):
            getattr(bench, one)()
    finally:
        shutil.rmtree(bench.run)


if __name__ == "__main__":
    os.nice(0)
    main()
