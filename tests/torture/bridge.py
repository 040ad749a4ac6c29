# SPDX-License-Identifier: Apache-2.0
"""Two brokers and a bridge between them, tormented while messages flow both ways: kill -9 of either, the network cut.

    python3 tests/torture/bridge.py [--messages 200000] [--far 20] [--near 10] [--cuts 30] [--seed N] [--version 5.0]

What is checked: each message whose PUBACK or PUBREC was seen at one broker comes out at the other; none of QoS 2 comes
twice; those of a publisher and QoS come in their order.
"""

import argparse
import json
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import conftest     # noqa: E402
from relay import Relay     # noqa: E402
from torture import Publisher, Subscriber, Wrong    # noqa: E402

PUBLISHERS = 4
BUILD = pathlib.Path(conftest.BIN).resolve().parent


def is_there():
    return all((BUILD / f"plugins/{name}/{name}.so").exists() for name in ("bridge", "persist-sqlite"))


class Side:
    """A broker, who publishes there, and who takes what comes from the other side."""

    def __init__(self, folder, name, own, other, plugins, instances):
        self.name = name
        self.is_ending = False
        folder.mkdir()
        self.broker = conftest.Broker(
            folder, {"broker": {"workers": 2, "plugin_dir": str(plugins)},
                     "plugins": [{"name": "db", "module": "persist-sqlite", "config": {"ballast": 0, "min_free": 0}},
                                 *instances], "store": "db", "limits": {"max_queued_messages": 0}}, conftest.BIN)
        self.publishers = [Publisher(self, f"{own}{i}q{1 + i % 2}", 1 + i % 2) for i in range(PUBLISHERS)]
        for publisher in self.publishers:
            publisher.topic = f"{own}/{publisher.client_id}"
        self.taker = Subscriber(self, f"takes-{other}", f"{other}/#")

    def begin(self):
        for life in (*self.publishers, self.taker):
            life.begin()

    def crash(self):
        self.broker.process.kill()
        self.broker.process.wait(60)
        for life in (*self.publishers, self.taker):
            life.end()
        self.broker.clients.clear()
        self.broker.start()
        self.begin()

    def failed(self):
        return next((life.error for life in (*self.publishers, self.taker) if life.error is not None), None)


class Torture:
    def __init__(self, folder, seed=1, version="5.0", say=lambda text: None):
        self.random = random.Random(seed)
        self.say = say
        folder = pathlib.Path(folder)
        plugins = folder / "plugins"
        plugins.mkdir()
        for module in BUILD.glob("plugins/*/*.so"):
            (plugins / module.name).symlink_to(module)
        self.far = Side(folder / "far", "far", "i", "o", plugins, [])
        self.relay = Relay(lambda: self.far.broker.port)
        self.near = Side(folder / "near", "near", "o", "i", plugins, [
            {"name": "up", "module": "bridge", "config": {
                "remote": {"address": f"mqtt://127.0.0.1:{self.relay.port}", "client_id": "near", "version": version,
                           "backoff_min": "20ms", "backoff_max": "200ms"},
                "topics": [{"direction": "out", "filter": "o/#", "qos": 2},
                           {"direction": "in", "filter": "i/#", "qos": 2}]}}])
        self.sides = (self.near, self.far)

    def _sent(self):
        return min(sum(len(one.acked) for one in side.publishers) for side in self.sides)

    def _check(self):
        for side in self.sides:
            if side.failed() is not None:
                raise side.failed()

    def _wait(self, condition, what, seconds=300):
        end = time.monotonic() + seconds
        while not condition():
            self._check()
            if time.monotonic() > end:
                raise Wrong(what())
            time.sleep(0.02)

    def _is_subscribed(self):
        """The remote has the subscription of the bridge: what is published there comes."""
        done = subprocess.run([BUILD / "avocetctl", "--json", "--control", self.far.broker.run / "control.sock",
                               "sessions", "show", "near"], capture_output=True, text=True, env=conftest.environment(),
                              timeout=60)
        return done.returncode == 0 and json.loads(done.stdout)[0]["subscriptions"] == 1

    def run(self, messages, far, near, cuts):
        """So many messages each way; the torments are spread over them."""
        events = ["far"] * far + ["near"] * near + ["cut"] * cuts
        self.random.shuffle(events)
        self._wait(lambda: "connected to" in self.near.broker.log(), lambda: "the bridge is not up")
        self._wait(self._is_subscribed, lambda: "the bridge has not subscribed")
        for side in self.sides:     # who takes must have subscribed before anything flows
            side.taker.begin()
            self._wait(lambda one=side: one.taker.has_subscribed, lambda: "no subscription")
        for side in self.sides:
            for publisher in side.publishers:
                publisher.begin()
        for i, event in enumerate(events):
            due = messages * (i + self.random.random()) / len(events)
            self._wait(lambda due=due: self._sent() >= due, lambda: f"stuck before {event} {i}", 600)
            self.say(f"{event}: {self._sent()} messages each way")
            if event == "cut":
                self.relay.cut()
            else:
                (self.far if event == "far" else self.near).crash()
        self._wait(lambda: self._sent() >= messages, lambda: "stuck at the end", 600)
        self.settle()
        return sum(len(one.acked) for side in self.sides for one in side.publishers)

    def settle(self):
        for side in self.sides:
            side.is_ending = True
        for side in self.sides:
            for publisher in side.publishers:
                publisher.end()
        for source, sink in ((self.near, self.far), (self.far, self.near)):
            def missing(source=source, sink=sink):
                return [one for publisher in source.publishers for number in list(publisher.acked)
                        if (one := (publisher.topic, number)) not in sink.taker.got]
            self._wait(lambda: not missing(), lambda: f"lost on the way to {sink.name}: {len(missing())} of {sum(len(one.acked) for one in source.publishers)}, "
                       f"{missing()[:20]}", 60)
        time.sleep(0.3)
        self._check()

    def end(self):
        self.relay.close()
        for side in self.sides:
            side.broker.process.kill()
            side.broker.process.wait(60)
            side.broker.close_clients()
            shutil.rmtree(side.broker.run, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--messages", type=int, default=200000)
    parser.add_argument("--far", type=int, default=20)
    parser.add_argument("--near", type=int, default=10)
    parser.add_argument("--cuts", type=int, default=30)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    parser.add_argument("--version", default="5.0")
    args = parser.parse_args()
    threading.excepthook = lambda _: None
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        run = Torture(folder, args.seed, args.version, lambda text: print(text, flush=True))
        try:
            total = run.run(args.messages, args.far, args.near, args.cuts)
        except BaseException:
            for side in run.sides:
                print(side.broker.log()[-3000:])
            print(f"seed {args.seed}")
            raise
        finally:
            run.end()
    twice = sum(count - 1 for side in run.sides for count in side.taker.got.values())
    print(f"{total} messages, {args.far} crashes of the remote, {args.near} of this broker, {args.cuts} cuts, "
          f"{time.monotonic() - begun:.0f} s: nothing lost, nothing of QoS 2 twice; of QoS 1 {twice} twice")


if __name__ == "__main__":
    main()
