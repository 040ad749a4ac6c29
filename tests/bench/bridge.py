#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What goes over a bridge, beside Debian's mosquitto bridging in the same run.

    bridge.py BUILD [--seconds 4] [--rounds 3] [--queued 1000000] [--only flow,outage]

BUILD: a build of avocet (-O2 -DNDEBUG). The remote is always the same, an avocet without a store. What was lost has a
column: a line in which something was means nothing.

flow    messages a second from a client here to one at the remote, and CPU per message of this broker: QoS 0 and 1, 64
        bytes, 20 publishers with 50 messages under way each; mosquitto and avocet (MQTT 3.1.1 and 5.0, with and without its
        store); and with one message under way in all
outage  a remote that is away while messages of 200 bytes at QoS 1 come: memory, how fast they go out, what is given back"""

import argparse
import json
import pathlib
import random
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
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


def free_port():
    """Below those that the system gives to outgoing connections: a bridge dials it before somebody listens."""
    while True:
        port = random.randrange(12000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


class Broker:
    def __init__(self, process, port):
        self.port, self.process = port, process
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
        self.processes = []
        self.near_port, self.far_port = free_port(), free_port()
        self.plugins = self.run / "plugins"
        self.plugins.mkdir()
        for module in pathlib.Path(options.build).resolve().glob("plugins/*/*.so"):
            (self.plugins / module.name).symlink_to(module)
        self.program = self.run / "bridge_load"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()      # does nothing where it has ended
            process.wait()
        shutil.rmtree(self.run)

    def build(self):
        subprocess.run(["cc", "-O2", "-Wall", "-o", self.program, HERE / "bridge_load.c"], check=True)

    def start(self, command, **more):
        words = [str(one) for one in command]
        self.processes.append(subprocess.Popen(words, stdin=subprocess.DEVNULL, text=True, **more))
        return self.processes[-1]

    def broker(self, command, port):
        return Broker(self.start(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL), port)

    def load(self, *arguments):
        return self.start([self.program, *arguments], stdout=subprocess.PIPE)

    def avocet(self, name, port, more):
        folder = self.run / f"{name}{time.monotonic_ns()}"
        folder.mkdir()
        (folder / "config").write_text(AVOCET.format(run=folder, plugins=self.plugins, port=port) + more)
        return self.broker([pathlib.Path(self.options.build) / "avocet", "-c", folder / "config"], port)

    def far(self):
        return self.avocet("far", self.far_port, "")

    def near(self, what):
        kind, version, store = what
        if kind == "mosquitto":
            config = self.run / "mosquitto"
            config.write_text(MOSQUITTO.format(port=self.near_port, far=self.far_port, version=version))
            return self.broker([shutil.which("mosquitto") or "/usr/sbin/mosquitto", "-c", config], self.near_port)
        config = BRIDGE.format(far=self.far_port, version=version, store=STORE if store else "")
        return self.avocet("near", self.near_port, config + ("store: db\n" if store else ""))

    def measure(self, what, qos, publishers, window):
        far = self.far()
        near = self.near(what)
        time.sleep(1)
        process = self.load("flow", near.port, far.port, qos, publishers, window, self.options.seconds, 64)
        time.sleep(1)
        before, begin = near.cpu(), time.monotonic()
        time.sleep(self.options.seconds)
        spent, lasted = near.cpu() - before, time.monotonic() - begin
        told = json.loads(process.communicate()[0])
        told["cpu_us"] = spent / lasted / max(told["rate"], 1) * 1e6
        near.stop()
        far.stop()
        return told

    def flow(self):
        brokers = {"mosquitto 2.0.11, 3.1.1": ("mosquitto", "mqttv311", False), "avocet, 3.1.1": ("avocet", "3.1.1", False),
                   "mosquitto 2.0.11, 5.0": ("mosquitto", "mqttv50", False), "avocet, 5.0": ("avocet", "5.0", False),
                   "avocet, 5.0, store": ("avocet", "5.0", True)}
        print("| QoS, publishers x under way | this broker | messages/s | CPU us a message | latency us | lost |")
        print("|---|---|---|---|---|---|")
        for qos, publishers, window in ((0, 20, 50), (1, 20, 50), (0, 1, 1), (1, 1, 1)):
            for name, what in brokers.items():
                rounds = [self.measure(what, qos, publishers, window) for _ in range(self.options.rounds)]
                line = [statistics.median(one[key] for one in rounds) for key in ("rate", "cpu_us", "latency_us")]
                print(f"| {qos}, {publishers} x {window} | {name} | {line[0]:,.0f} | {line[1]:.2f} | {line[2]:,.0f} | "
                      f"{sum(one['lost'] for one in rounds):,} |", flush=True)

    def outage(self):
        count = self.options.queued
        print("| this broker | MiB before | MiB with all queued | bytes each beside payload and topic | out, messages/s | "
              "MiB afterwards | lost |")
        print("|---|---|---|---|---|---|---|")
        for name, what in {"avocet, 5.0, store": ("avocet", "5.0", True), "avocet, 5.0": ("avocet", "5.0", False),
                           "mosquitto 2.0.11, 5.0": ("mosquitto", "mqttv50", False)}.items():
            near = self.near(what)
            time.sleep(0.5)
            before = near.memory()
            told = json.loads(self.load("fill", near.port, 1, count, 200).communicate()[0])
            time.sleep(1)
            full = near.memory()
            far = self.far()
            taker = self.load("take", far.port, 1, told["acknowledged"])
            taker.stdout.readline()
            out = json.loads(taker.stdout.read())
            taker.wait()
            time.sleep(10)
            mib = 1 << 20
            print(f"| {name} | {before / mib:.0f} | {full / mib:.0f} | {(full - before) / count - 205:.0f} | "
                  f"{out['rate']:,.0f} of {out['delivered']:,} | {near.memory() / mib:.0f} | {out['lost']:,} |",
                  flush=True)
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
    with Bench(options) as bench:
        bench.build()
        for one in options.only.split(","):
            getattr(bench, one)()


if __name__ == "__main__":
    main()
