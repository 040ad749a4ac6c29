# SPDX-License-Identifier: Apache-2.0
"""Reloads under load: many clients that publish to each other, and random configurations, good and bad. Who
is not concerned by a change must not notice it.

AVOCET_RELOAD_CLIENTS (500) and AVOCET_RELOADS (40) make the run larger: 5000 and 200 for a release.
"""

import collections
import os
import random
import resource
import select
import signal
import socket
import time

import pytest

import conftest
from certificates import Authority
from mqtt import Client, decode_body, proxy_v1, split, tls_context, wait_until

CLIENTS = int(os.environ.get("AVOCET_RELOAD_CLIENTS", "500"))
RELOADS = int(os.environ.get("AVOCET_RELOADS", "40"))
SEED = int(os.environ.get("AVOCET_RELOAD_SEED", "1"))
VERSIONS = (3, 4, 5)


class Crowd:
    """Clients on one epoll. Each subscribes to a topic of its own, publishes to another's at QoS 1, and must
    get exactly what was published to it, in order; anything else that comes is a complaint."""

    def __init__(self, name):
        self.name = name
        self.poll = select.epoll()
        self.members = {}           # by descriptor
        self.list = []
        self.complaints = []

    def add(self, client, group):
        member = Member(client, len(self.list), group)
        self.list.append(member)
        self.members[client.sock.fileno()] = member
        client.sock.settimeout(10)
        self.poll.register(client.sock.fileno(), select.EPOLLIN | select.EPOLLRDHUP)

    def publish(self, member, target):
        number = target.sent[member.index] = target.sent.get(member.index, 0) + 1
        member.packet_id = member.packet_id % 65535 + 1
        member.acks.append(member.packet_id)
        packet = member.client.publish_packet(f"{self.name}/{target.index}", f"{member.index} {number}", qos=1,
                                              packet_id=member.packet_id)
        target.due += 1
        member.client.send(packet)

    def is_quiet(self):
        return all(not one.acks and not one.due for one in self.list)

    def turn(self, seconds):
        for number, _events in self.poll.poll(seconds):
            member = self.members[number]
            try:
                self.read(member)
            except Exception as error:      # pylint: disable=broad-except
                self.complain(member, repr(error))
                self.poll.unregister(number)

    def read(self, member):
        client = member.client
        while True:
            data = client.sock.recv(65536)
            if not data:
                raise ConnectionError("closed")
            client._buffer += data
            if not client._pending():
                break
        while (sizes := split(client._buffer)) is not None and len(client._buffer) >= sum(sizes):
            packet = decode_body(client._buffer[0], bytes(client._buffer[sizes[0]:sum(sizes)]), client.version)
            del client._buffer[:sum(sizes)]
            self.take(member, packet)

    def take(self, member, packet):
        if packet.kind == "PUBACK" and member.acks and packet.packet_id == member.acks[0]:
            member.acks.popleft()
        elif packet.kind == "PUBLISH":
            source, number = map(int, packet.payload.split())
            expected = member.got[source] = member.got.get(source, 0) + 1
            member.due -= 1
            if number != expected:
                self.complain(member, f"message {number} of {source} instead of {expected}")
            if packet.qos:
                member.client.ack("PUBACK", packet.packet_id)
        else:
            self.complain(member, repr(packet))

    def complain(self, member, text):
        self.complaints.append(f"{member.group} {member.index} (version {member.client.version}): {text}")

    def settle(self, what):
        deadline = time.monotonic() + 30
        while not self.is_quiet():
            assert not self.complaints, (what, self.complaints[:20])
            assert time.monotonic() < deadline, (what, [(one.group, one.index, one.due, list(one.acks)[:3])
                                                        for one in self.list if one.due or one.acks][:20])
            self.turn(0.2)
        assert not self.complaints, (what, self.complaints[:20])


class Member:
    """A client of the crowd, and what it still waits for."""

    def __init__(self, client, index, group):
        self.client, self.index, self.group = client, index, group
        self.acks = collections.deque()
        self.packet_id = 1
        self.due = 0
        self.sent, self.got = {}, {}


class Configurations:
    """Random configurations. Listeners named here with a fixed name and bind are always there; others come
    and go."""

    def __init__(self, own, folder, seed):
        self.dice = random.Random(seed)
        self.own = own
        self.authority = Authority(folder / "authority")
        self.pair = folder / "live.pem", folder / "live.key"
        self.install()
        self.extra = {}             # name -> bind of those that come and go, as last written
        self.next_extra = 0
        self.shared = {"name": "taken", "bind": f"127.0.0.1:{conftest.free_port()}"}

    def install(self):
        for source, target in zip(self.authority.server(f"s{self.dice.randrange(10 ** 9)}"), self.pair):
            target.write_bytes(source.read_bytes())

    def stable(self):
        tls = {"certfile": str(self.pair[0]), "keyfile": str(self.pair[1])}
        return [{"name": "mqtt"}, {"name": "tls", "tls": tls}, {"name": "ws", "protocol": "websocket"},
                {"name": "wss", "protocol": "websocket", "tls": tls},
                {"name": "proxy", "proxy_protocol": True, "allow_anonymous": True},
                {"name": "unix", "bind": f"unix:{self.own}"}]

    def base(self):
        return {"broker": {"trusted_proxies": ["127.0.0.0/8"], "max_connections": 0}, "listeners": self.stable()}

    def good(self):
        """Changes that concern nobody who is connected to a stable listener."""
        dice, config = self.dice, self.base()
        config["log"] = {"level": dice.choice(["info", "debug"]), "format": dice.choice(["text", "json"])}
        config["broker"]["sys_interval"] = f"{dice.randrange(1, 20)}s"
        config["broker"]["max_connect_rate"] = dice.choice([0, 100000])
        if dice.random() < 0.4:
            config["broker"]["trusted_proxies"].append("192.0.2.0/24")
        config["limits"] = {"receive_maximum": dice.randrange(50, 1000), "max_qos": dice.choice([1, 2]),
                            "max_queued_messages": dice.randrange(1000, 20000),
                            "max_packet_size": f"{dice.randrange(1, 16)}MiB",
                            "connect_timeout": f"{dice.randrange(5, 60)}s"}
        if dice.random() < 0.5:
            self.install()
        for listener in config["listeners"]:
            if dice.random() < 0.2:
                listener["max_connections"] = dice.choice([0, 100000])
            if listener.get("protocol") == "websocket" and dice.random() < 0.3:
                listener["origins"] = ["https://pages.example"]
        for name in [one for one in self.extra if dice.random() < 0.4]:
            del self.extra[name]
        while len(self.extra) < 3 and dice.random() < 0.6:
            self.next_extra += 1
            self.extra[f"extra{self.next_extra}"] = f"127.0.0.1:{conftest.free_port()}"
        config["listeners"] += [{"name": name, "bind": bind} for name, bind in self.extra.items()]
        dice.shuffle(config["listeners"])
        return config

    def bad(self):
        """(configuration, what the log must say)."""
        config = self.base()
        tls = dict(config["listeners"][1]["tls"])
        config["listeners"].append({"name": "new", "bind": f"127.0.0.1:{conftest.free_port()}"})
        key, value, text = self.dice.choice([
            ("limits", {"max_qos": 7}, "limits.max_qos"), ("limits", {"max_qoss": 1}, "max_qoss"),
            ("broker", {"workers": 3}, "broker.workers cannot change"),
            ("broker", {"data_dir": "/elsewhere"}, "broker.data_dir cannot change"),
            ("broker", {"trusted_proxies": ["nobody"]}, "broker.trusted_proxies"),
            ("log", {"to": "/no/such/folder/log"}, "/no/such/folder/log"),
            ("add", self.shared, "cannot bind"),
            ("add", {"name": "mqtt", "bind": "127.0.0.1:9"}, "this name already"),
            ("add", {"name": "x", "bind": "unix:/no/such/folder/socket"}, "/no/such/folder/socket"),
            ("add", {"name": "x", "bind": "127.0.0.1:9", "tls": {**tls, "certfile": "/no/such/file"}}, "/no/such/file"),
            ("add", {"name": "x", "bind": "127.0.0.1:9", "tls": {**tls, "keyfile": tls["certfile"]}}, "tls.keyfile"),
            ("text", "listeners: [", ".yaml:"),
        ])
        if key == "add":
            config["listeners"].append(value)
        elif key == "text":
            return value, text
        else:
            config[key] = {**config.get(key, {}), **value}
        return config, text


def write(own, config):
    """The ports of those listeners that are always there stay the same."""
    if isinstance(config, str):
        own.config_file.write_text(config)
        return
    base = {"broker": {"workers": conftest.WORKERS, "data_dir": str(own.folder), "control": str(own.run / "control.sock")}}
    config = conftest.merged(base, config)
    for listener in config["listeners"]:
        listener.setdefault("bind", f"127.0.0.1:{own.ports.get(listener['name'])}")
    own.config_file.write_text(conftest.yaml_text(config))


@pytest.fixture
def descriptors():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard < CLIENTS + 200:
        pytest.skip(f"a process may have {hard} descriptors")
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def fill(crowd, own, made):
    context = tls_context(made.authority.cafile)
    kinds = {"mqtt": {}, "tls": {"tls": context}, "ws": {"websocket": {}},
             "wss": {"tls": context, "websocket": {}}, "proxy": {"proxy": proxy_v1("192.0.2.7")},
             "unix": {"path": made.own}}
    for i in range(CLIENTS):
        kind = list(kinds)[i % len(kinds)]
        client = Client(own.ports.get(kind), VERSIONS[i // len(kinds) % 3], timeout=30, **kinds[kind])
        own.clients.append(client)
        client.connect(f"{crowd.name}x{i}", clean=i % 2 == 0 or client.version < 5, keep_alive=0)
        client.subscribe((f"{crowd.name}/{i}", 1))
        crowd.add(client, kind)


def said(own, offset, *texts):
    """Waits until the log says one of these behind the offset."""
    def look():
        with open(own.log_file, "rb") as log:
            log.seek(offset)
            found = log.read().decode(errors="replace")
        return found if any(text in found for text in texts) else None
    return wait_until(look, timeout=30, what=f"one of {texts}")


def test_nobody_notices_reloads(run_broker, tmp_path, name, descriptors):
    socket_path = f"/tmp/avocet-{os.getpid()}-{conftest.free_port()}.sock"
    made = Configurations(socket_path, tmp_path, SEED)
    own = run_broker(made.base())
    crowd = Crowd(name)
    with socket.socket() as taken:
        host, port = made.shared["bind"].split(":")
        taken.bind((host, int(port)))
        taken.listen()
        fill(crowd, own, made)
        times = run_reloads(own, crowd, made)
    for member in crowd.list:
        member.client.sock.settimeout(10)
        member.client.ping()
    assert not crowd.complaints
    print(f"{CLIENTS} clients, {times['good']} good and {times['bad']} bad reloads, "
          f"{times['messages']} messages, {times['gone']} clients of removed listeners; a reload took at most "
          f"{max(times['ms']):.0f} ms, {sum(times['ms']) / len(times['ms']):.0f} ms on average")


def run_reloads(own, crowd, made):
    times = {"good": 0, "bad": 0, "messages": 0, "gone": 0, "ms": []}
    dice = random.Random(SEED + 1)
    guests = {}                     # of listeners that come and go: name -> (bind, clients)
    active = dict(made.extra)
    for round_ in range(RELOADS):
        is_good = dice.random() < 0.6
        config, text = (made.good(), None) if is_good else made.bad()
        write(own, config)
        for _ in range(60):
            crowd.publish(dice.choice(crowd.list), dice.choice(crowd.list))
            times["messages"] += 1
        offset = own.log_file.stat().st_size
        begin = time.monotonic()
        own.terminate(signal.SIGHUP)
        for _ in range(60):
            crowd.publish(dice.choice(crowd.list), dice.choice(crowd.list))
            times["messages"] += 1
        if is_good:
            found = said(own, offset, "was loaded again", "reload refused")
            assert "reload refused" not in found, found
        else:
            said(own, offset, text)
        times["ms"].append((time.monotonic() - begin) * 1000)
        times["good" if is_good else "bad"] += 1
        if is_good:
            active = dict(made.extra)
            for gone in [one for one in guests if one not in active]:
                guests[gone].expect_refused(0x8B)
                times["gone"] += 1
                del guests[gone]
            for new in active:
                if new not in guests:
                    guests[new] = Client(int(active[new].split(":")[1]), 5)
                    own.clients.append(guests[new])
                    guests[new].connect(f"{crowd.name}{new}")
        for one in guests.values():
            one.ping()
        if round_ % 5 == 4:
            crowd.settle(f"reload {round_}")
    crowd.settle("the end")
    return times
