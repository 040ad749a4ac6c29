#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Sends the same packets to avocet and to Debian's mosquitto, and reports every difference in the answers.

    differ.py [--seed N] [--count N] [--steps N] [--only fixtures|scenarios|random] [--all]

Fixtures are the packets of tests/lib, each on a connection of its own; scenarios are written down in
scenarios.py; random sequences are valid ones drawn from a seed. A difference has a class: a text without
what is by chance. known.tsv names the classes that doc/differences.md explains, as regular expressions with
the id of an explanation. Exit status: 1 if a class is not known, or a known one of fixtures and scenarios no
longer occurs. A random sequence that differs is shortened, and printed with its seed.
"""

import argparse
import collections
import concurrent.futures
import os
import pathlib
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parents[1]
sys.path[:0] = [str(TOP / "tests" / "lib"), str(HERE)]
sys.dont_write_bytecode = True

import mqtt  # noqa: E402
import packets  # noqa: E402
import scenarios  # noqa: E402

MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin:" + os.environ.get("PATH", ""))
AVOCET = os.environ.get("AVOCET_BIN", str(TOP / "build/gcc/avocet"))
MOSQUITTO_CONF = """listener {port} 127.0.0.1
allow_anonymous true
persistence false
max_inflight_messages 100
max_queued_messages 10000
max_topic_alias 64
sys_interval 0
set_tcp_nodelay true
log_dest none
"""
AVOCET_CONF = """broker: {{workers: 1, sys_interval: 0, control: "", data_dir: "{folder}"}}
listeners: [{{bind: "127.0.0.1:{port}"{more}}}]
log: {{level: error}}
limits: {{max_topic_alias_broker: 0, auth_delay: 0}}
"""
QUIET = 0.4
OWN = {"mosquitto": "mosquitto", "avocet": "avocet"}


# --- the brokers ---

def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Broker:
    """A broker that runs until close()."""

    def __init__(self, kind, more=""):
        self.folder = tempfile.mkdtemp(prefix="differ-")
        self.port = free_port()
        conf = pathlib.Path(self.folder, "conf")
        text = MOSQUITTO_CONF if kind == "mosquitto" else AVOCET_CONF
        conf.write_text(text.format(port=self.port, folder=self.folder, more=more))
        program = [MOSQUITTO, "-c", str(conf)] if kind == "mosquitto" else [AVOCET, "-c", str(conf)]
        self.process = subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self.folder)
        deadline = time.monotonic() + 15
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{kind} does not start") from None
                time.sleep(0.02)

    def close(self):
        self.process.terminate()
        self.process.wait(10)
        shutil.rmtree(self.folder, ignore_errors=True)


# --- what was answered ---

def describe(packet, version):
    """A packet without what may differ by chance or configuration."""
    if packet.kind == "CONNACK":
        return f"CONNACK({packet.reason:02x},{packet.session_present})"
    if packet.kind == "PUBLISH":
        props = {name: value for name, value in packet.props.items() if name != "topic_alias"}
        if "subscription_identifier" in props:
            props["subscription_identifier"] = sorted(props["subscription_identifier"])
        shown = ",".join(f"{name}={props[name]}" for name in sorted(props))
        payload = packet.payload if len(packet.payload) < 40 else f"{len(packet.payload)} bytes".encode()
        return f"PUBLISH({packet.topic},{payload.decode('latin-1')},q{packet.qos}r{packet.retain}d{packet.dup},{shown})"
    if packet.kind in ("SUBACK", "UNSUBACK"):
        return f"{packet.kind}({','.join(f'{code:02x}' for code in packet.reasons)})" if version == 5 or \
            packet.kind == "SUBACK" else packet.kind
    if packet.kind == "PINGRESP":
        return "PINGRESP"
    reason = getattr(packet, "reason", 0)
    if packet.kind in ("PUBACK", "PUBREC") and reason == 0x10:
        reason = 0      # No matching subscribers: may be said, need not
    return f"{packet.kind}({reason:02x})"


def answers(client, version):
    """All packets up to PINGRESP or the end."""
    found = []
    try:
        while True:
            packet = client.recv(QUIET)
            if packet.kind == "PINGRESP":
                return found + ["open"]
            if packet.kind != "PUBLISH":        # what other fixtures have left retained
                found.append(describe(packet, version))
    except mqtt.Closed:
        return found + ["closed"]
    except mqtt.Timeout:
        return found + ["silent"]
    except mqtt.Malformed:
        return found + ["malformed answer"]


# --- fixtures ---

def rows():
    for row in packets.load():
        if row.to == "server" and not row.max_size and not row.control and not row.lenient and row.result != "more":
            for version in row.versions:
                yield row, version


def send_fixture(port, row, version):
    client = mqtt.Client(port, version, timeout=5)
    try:
        if row.packet != "CONNECT":
            client.connect("", clean=True) if version > 3 else client.connect(f"f{random.random()}")
        client.send(row.data)
        client.send(b"\xc0\0")
        return answers(client, version)
    except mqtt.Closed:
        return answers(client, version) if row.packet == "CONNECT" else ["closed"]
    except mqtt.Timeout:
        return ["no CONNACK"]
    finally:
        client.finish()
        client.close()


def fixture_class(row, version, one, two):
    return f"{row.packet} v{version} {row.result}: avocet {' '.join(one)}, mosquitto {' '.join(two)}"


def compare_fixtures(avocet, mosquitto, table=None):
    """{class: [titles]}, and how many were equal."""
    work = list(rows()) if table is None else table
    found, equal = collections.defaultdict(list), 0

    def both(item):
        return item, send_fixture(avocet.port, *item), send_fixture(mosquitto.port, *item)

    # CONNECTs share client ids: one at a time, and until the broker has let go of the one before.
    alone = [item for item in work if item[0].packet == "CONNECT"]
    others = [item for item in work if item[0].packet != "CONNECT"]
    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        results = list(pool.map(both, others))
    results += [both(item) for item in alone]
    for (row, version), one, two in results:
        if one == two:
            equal += 1
        else:
            found[fixture_class(row, version, one, two)].append(row.title)
    return found, equal


# --- sequences ---

class Player:
    """Plays the steps of a sequence at one broker and keeps what each client got in each step."""

    def __init__(self, port, tag):
        self.port, self.tag, self.clients, self.trace = port, tag, {}, []

    def name(self, text):
        return f"{self.tag}/{text}" if not text.startswith("$share/") else \
            "/".join(text.split("/")[:2] + [self.tag] + text.split("/")[2:])

    def own(self, text):
        return text.replace(self.tag + "/", "").replace(self.tag, "")

    def collect(self, client, got):
        """All that has come, up to the answer to a ping; acknowledged."""
        client.send(b"\xc0\0")
        while True:
            packet = client.recv(3)
            if packet.kind == "PINGRESP":
                if not client.owed:
                    return
                client.owed = False
                client.send(b"\xc0\0")
                continue
            got.append(self.own(describe(packet, client.version)))
            if not client.manual:
                client.owed |= packet.kind in ("PUBLISH", "PUBREL") and self.acknowledge(client, packet)

    @staticmethod
    def acknowledge(client, packet):
        if packet.kind == "PUBREL":
            client.ack("PUBCOMP", packet.packet_id)
            return True
        if packet.qos == 1:
            client.ack("PUBACK", packet.packet_id)
        elif packet.qos == 2:
            client.ack("PUBREC", packet.packet_id)
        return packet.qos != 0

    def fence(self):
        """What every client has got."""
        for _ in range(2):
            for key, client in list(self.clients.items()):
                got = self.step.setdefault(key, [])
                try:
                    self.collect(client, got)
                except mqtt.Closed:
                    got.append("closed")
                    client.close()
                    del self.clients[key]
                except (mqtt.Timeout, mqtt.Malformed) as error:
                    got.append(type(error).__name__)
                    client.close()
                    del self.clients[key]

    def play(self, steps):
        for step in steps:
            self.step = {}
            try:
                getattr(self, "do_" + step[0])(*step[1:], **getattr(step, "keywords", {}))
            except mqtt.Closed:
                self.step.setdefault(step[1], []).append("closed")
                self.clients.pop(step[1]).close()
            self.fence()
            self.trace.append({key: sorted(got) for key, got in self.step.items()})
        for client in self.clients.values():
            client.close()
        return self.trace

    # steps

    def do_connect(self, key, version=5, clean=True, will=None, manual=False, **props):
        if key in self.clients:
            old = self.clients.pop(key)
            self.clients[key + "'"] = old
        client = mqtt.Client(self.port, version, timeout=5)
        client.owed, client.manual = False, manual
        self.clients[key] = client
        if will is not None:
            topic, payload, qos, retain, will_props = will
            will = mqtt.Will(self.name(topic), payload, qos, retain, **will_props)
        client.send(client.connect_packet(f"{self.tag}{key}", clean=clean, will=will, **props))
        packet = client.recv()
        self.step.setdefault(key, []).append(describe(packet, version))
        client.client_id = key

    def do_subscribe(self, key, *filters, **props):
        client = self.clients[key]
        client.send(client.subscribe_packet(
            *(mqtt.Filter(self.name(one[0]), *one[1:]) for one in filters), **props))

    def do_unsubscribe(self, key, *filters):
        client = self.clients[key]
        client.send(mqtt.Packet("UNSUBSCRIBE", packet_id=client.next_id(), props={},
                                filters=[self.name(one) for one in filters]))

    def do_publish(self, key, topic, payload=b"", qos=0, retain=0, **props):
        client = self.clients[key]
        if "response_topic" in props:
            props["response_topic"] = self.name(props["response_topic"])
        packet = client.publish_packet(self.name(topic) if topic else "", payload, qos, retain, **props)
        client.send(packet)
        if qos == 2:
            got = self.step.setdefault(key, [])
            while True:
                answer = client.recv(3)
                got.append(self.own(describe(answer, client.version)))
                if answer.kind == "PUBLISH" and not client.manual:
                    client.owed |= self.acknowledge(client, answer)
                if answer.kind == "PUBREC" and answer.packet_id == packet.packet_id:
                    break
            if answer.reason < 0x80:
                client.ack("PUBREL", packet.packet_id)

    def do_raw(self, key, *what):
        self.clients[key].send(*(one if isinstance(one, bytes) else one(self, self.clients[key]) for one in what))

    def do_drop(self, key):
        self.clients.pop(key).close()
        time.sleep(0.03)

    def do_bye(self, key, reason=0, **props):
        client = self.clients.pop(key)
        client.send(mqtt.Packet("DISCONNECT", reason=reason, props=props))
        try:
            client.recv(2)
        except (mqtt.Closed, mqtt.Timeout):
            pass
        client.close()

    def do_wait(self, seconds):
        time.sleep(seconds)


def differences(steps, one, two):
    """Classes of the steps that differ."""
    found = []
    for step, left, right in zip(steps, one, two):
        for key in sorted(set(left) | set(right)):
            mine, theirs = left.get(key, []), right.get(key, [])
            if mine != theirs:
                here, there = collections.Counter(mine), collections.Counter(theirs)
                only_here = " ".join(sorted((here - there).elements())) or "nothing"
                only_there = " ".join(sorted((there - here).elements())) or "nothing"
                found.append(f"{step[0]}: avocet {only_here}, mosquitto {only_there}")
    return found


def play_both(avocet, mosquitto, steps, tag):
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        one = pool.submit(Player(avocet.port, tag).play, steps)
        two = pool.submit(Player(mosquitto.port, tag).play, steps)
        return differences(steps, one.result(), two.result())


def compare_scenarios(avocet, mosquitto):
    found, equal = collections.defaultdict(list), 0
    work = list(scenarios.SCENARIOS.items())
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for (name, _), classes in zip(work, pool.map(
                lambda item: play_both(avocet, mosquitto, item[1][1], f"s{item[0]}"),
                enumerate(work))):
            equal += not classes
            for one in classes:
                found[f"{name}: {one}"].append(name)
    return found, equal


# --- random sequences ---

TOPICS = ("a", "a/b", "a/b/c", "b", "b/c", "x y/\u00e9")
FILTERS = TOPICS + ("#", "a/#", "a/+", "+/b", "+", "+/+/c")


def overlaps(one, other):
    """Does a topic of ours match both?"""
    return one != other and any(matches(one, topic) and matches(other, topic) for topic in TOPICS)


def matches(filter_, topic):
    pattern = "/".join("[^/]*" if level == "+" else ".*" if level == "#" else re.escape(level)
                       for level in filter_.split("/"))
    return re.fullmatch(pattern, topic) is not None or filter_ == topic + "/#"


def draw_connect(dice, key, version, held):
    options = {"version": version, "clean": dice.random() < 0.5}
    if version == 5 and dice.random() < 0.6:
        options["session_expiry_interval"] = 1000
    if version == 5 and dice.random() < 0.2:
        options["receive_maximum"] = dice.choice((1, 2, 10))
    if dice.random() < 0.3:
        options["will"] = (dice.choice(TOPICS), b"will of " + key.encode(), dice.randrange(3), 0, {})
    if options["clean"]:
        held[key] = set()
    return "connect", key, options


def draw_publish(dice, key, version, number):
    props = {}
    if version == 5:
        if dice.random() < 0.2:
            props["user_property"] = [("k", str(dice.randrange(9))), ("k", "v")]
        if dice.random() < 0.2:
            props["content_type"] = "text/plain"
        if dice.random() < 0.1:
            props["response_topic"] = "a/b"
        if dice.random() < 0.1:
            props["correlation_data"] = b"\0\1"
    retain = int(dice.random() < 0.2)
    payload = b"" if retain and dice.random() < 0.3 else str(number).encode()
    return "publish", key, dice.choice(TOPICS), payload, dice.randrange(3), retain, props


def draw_subscribe(dice, key, version, held):
    """Subscriptions of a client do not overlap: that is for the scenarios."""
    entries = []
    for one in dice.sample(FILTERS, dice.choice((1, 1, 2))):
        if any(overlaps(one, other) for other in held[key]) or (version == 5 and one in held[key]):
            continue
        held[key].add(one)
        if version == 5:
            entries.append((one, dice.randrange(3), int(dice.random() < 0.15), int(dice.random() < 0.2),
                            dice.choice((0, 0, 0, 1, 2))))
        else:
            entries.append((one, dice.randrange(3)))
    props = {"subscription_identifier": [dice.randrange(1, 9)]} if version == 5 and dice.random() < 0.3 else {}
    return ("subscribe", key, entries, props) if entries else ("unsubscribe", key, ["none"])


def draw(seed, steps):
    """A valid sequence."""
    dice = random.Random(seed)
    versions = {key: dice.choice((4, 5, 5)) for key in "pqrs"}
    out, here, held = [], set(), {key: set() for key in "pqrs"}
    for _ in range(steps):
        key = dice.choice("pqrs")
        version = versions[key]
        if key not in here:
            out.append(draw_connect(dice, key, version, held))
            here.add(key)
            continue
        what = dice.choices(("publish", "subscribe", "unsubscribe", "drop", "bye"), (12, 5, 2, 1, 1))[0]
        if what == "publish":
            out.append(draw_publish(dice, key, version, len(out)))
        elif what == "subscribe":
            out.append(draw_subscribe(dice, key, version, held))
        elif what == "unsubscribe":
            gone = dice.sample(FILTERS, dice.choice((1, 2)))
            held[key].difference_update(gone)
            out.append(("unsubscribe", key, gone))
        else:
            out.append((what, key))
            here.discard(key)
    return out, held


class RandomPlayer(Player):
    """Steps of draw() carry their options as one value."""

    def do_connect(self, key, options):
        super().do_connect(key, **options)

    def do_publish(self, key, topic, payload, qos, retain, props):
        super().do_publish(key, topic, payload, qos, retain, **dict(props))

    def do_subscribe(self, key, entries, props):
        super().do_subscribe(key, *entries, **props)

    def do_unsubscribe(self, key, filters):
        super().do_unsubscribe(key, *filters)


def is_valid(steps):
    here = set()
    for step in steps:
        if step[0] == "connect":
            if step[1] in here:
                return False
            here.add(step[1])
        elif step[1] not in here:
            return False
        elif step[0] in ("drop", "bye"):
            here.discard(step[1])
    return True


def play_random(avocet, mosquitto, steps, tag):
    one = RandomPlayer(avocet.port, tag).play(steps)
    two = RandomPlayer(mosquitto.port, tag).play(steps)
    return differences(steps, one, two)


def shorten(avocet, mosquitto, steps, wanted, tag):
    """Leaves steps out as long as a difference of a wanted class stays."""
    count, at = 0, len(steps) - 1
    while at >= 0 and count < 200:
        shorter = steps[:at] + steps[at + 1:]
        count += 1
        if is_valid(shorter) and any(wanted(one) for one in play_random(avocet, mosquitto, shorter, f"{tag}s{count}")):
            steps = shorter
        at -= 1
    return steps


# --- judging ---

def read_known():
    """[(area, compiled expression, id)]"""
    found = []
    for line in (HERE / "known.tsv").read_text().splitlines():
        if line and not line.startswith("#"):
            area, expression, anchor = line.split("\t")
            found.append((area, re.compile(expression, re.S), anchor))
    return found


def judge(area, found, known, used):
    """The classes that nobody has explained."""
    new = {}
    for one, cases in found.items():
        for where, expression, anchor in known:
            if where in (area, "any") and expression.fullmatch(one):
                used.add((where, expression.pattern))
                break
        else:
            new[one] = cases
    return new


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--only", choices=("fixtures", "scenarios", "random"))
    parser.add_argument("--all", action="store_true", help="show the known classes, too")
    given = parser.parse_args()
    known, used, bad = read_known(), set(), 0
    avocet, mosquitto = Broker("avocet"), Broker("mosquitto")
    try:
        for area, compare in (("fixtures", compare_fixtures), ("scenarios", compare_scenarios)):
            if given.only not in (None, area):
                continue
            found, equal = compare(avocet, mosquitto)
            new = judge(area, found, known, used)
            print(f"{area}: {equal} equal, {sum(map(len, found.values()))} differ in {len(found)} classes, "
                  f"{len(new)} of them not explained")
            for one, cases in sorted((found if given.all else new).items()):
                print(f"  {one}\n      {len(cases)}: {cases[0]}")
            bad += len(new)
        if given.only in (None, "random"):
            bad += run_random(avocet, mosquitto, given, known, used)
        if given.only is None:
            for where, expression, anchor in known:
                if where != "random" and (where, expression.pattern) not in used:
                    print(f"stale: {expression.pattern} ({anchor}) does not occur any more")
                    bad += 1
    finally:
        avocet.close()
        mosquitto.close()
    return 1 if bad else 0


def run_random(avocet, mosquitto, given, known, used):
    equal, bad, classes = 0, 0, collections.Counter()
    for seed in range(given.seed, given.seed + given.count):
        steps, _ = draw(seed, given.steps)
        found = play_random(avocet, mosquitto, steps, f"r{seed}")
        equal += not found
        classes.update(found)
        new = judge("random", {one: [seed] for one in found}, known, used)
        if new:
            bad += 1
            wanted = lambda one: bool(judge("random", {one: [0]}, known, used))  # noqa: E731
            print(f"seed {seed}: {sorted(new)[:3]}")
            for step in shorten(avocet, mosquitto, steps, wanted, f"r{seed}"):
                print("   ", step)
    print(f"random: {equal} of {given.count} equal, {len(classes)} classes of differences, {bad} sequences not explained")
    return bad


if __name__ == "__main__":
    sys.exit(main())
