# SPDX-License-Identifier: Apache-2.0
"""Clients that others wrote, over every transport that they can, in every version: each cell of the matrix does
QoS 0, 1 and 2, a retained message, a will, and comes back to a session.

`/usr/bin/python3 tests/broker/test_matrix.py` runs it and prints the matrix as a table in Markdown.
"""

import fcntl
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading

import pytest

import conftest
from conftest import TOP
from mqtt import wait_until
from test_clients import SECONDS, VERSIONS, Subscriber, run, tool

STEPS = ("QoS 0", "QoS 1", "QoS 2", "retained", "will", "session")
NAMES = {3: "3.1", 4: "3.1.1", 5: "5.0"}
TRANSPORTS = {
    "Mosquitto": ("tcp", "unix", "tls", "tls+certificate"),
    "Paho Python": ("tcp", "tls", "tls+certificate", "ws", "wss"),
    "Paho C": ("tcp", "tls", "tls+certificate", "ws", "wss"),
    "MQTT.js": ("tcp", "unix", "tls", "tls+certificate", "ws", "wss"),
}
COUNT = 20


@pytest.fixture(scope="module")
def module_broker(ca, tmp_path_factory):
    certificate, key = ca.server_pair
    pair = {"certfile": str(certificate), "keyfile": str(key)}
    folder = pathlib.Path(tempfile.mkdtemp(prefix="avocet-"))      # short: for the socket
    listeners = [
        {"name": "tcp"},
        {"name": "unix", "bind": f"unix:{folder}/mqtt.sock"},
        {"name": "tls", "tls": pair},
        {"name": "tls+certificate", "allow_anonymous": False,
         "tls": {**pair, "cafile": str(ca.cafile), "require_certificate": True, "username_from": "cn"}},
        {"name": "ws", "protocol": "websocket"},
        {"name": "wss", "protocol": "websocket", "tls": pair},
    ]
    running = conftest.Broker(tmp_path_factory.mktemp("matrix"), {"listeners": listeners}, conftest.BIN)
    running.path = folder / "mqtt.sock"
    running.alice = ca.issue("alice")
    yield running
    running.stop()
    shutil.rmtree(folder, ignore_errors=True)


class Cell:
    """One client, transport and version; and what it has done so far."""

    def __init__(self, broker, ca, name, transport, version, record):
        self.name, self.transport, self.version = name, transport, version
        self.path = broker.path
        self.port = broker.ports.get(transport)
        self.tls = transport.startswith("tls") or transport == "wss"
        self.cafile = str(ca.cafile) if self.tls else None
        self.pair = [str(one) for one in broker.alice] if transport == "tls+certificate" else []
        self.steps = []
        self._record = record

    def done(self, step):
        self.steps.append(step)
        self._record("step", step)

    def run(self, *command):
        """A program that writes "ok STEP"; then come its arguments of TLS."""
        command = [*command, *([self.cafile] if self.tls else []), *self.pair]
        done = subprocess.run([str(one) for one in command], capture_output=True, text=True, timeout=SECONDS)
        for line in done.stdout.splitlines():
            self.done(line.removeprefix("ok "))
        assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stderr[-3000:]}"


# --- Mosquitto ---

def mosquitto(cell):
    where = ["--unix", cell.path] if cell.transport == "unix" else ["-h", "localhost", "-p", cell.port]
    where += ["-V", VERSIONS[cell.version]]
    where += ["--cafile", cell.cafile] if cell.tls else []
    where += ["--cert", cell.pair[0], "--key", cell.pair[1]] if cell.pair else []
    running = []

    def sub(*args):
        running.append(Subscriber(where, *args))
        return running[-1]

    def pub(topic, *args, **options):
        run(tool("mosquitto_pub"), *where, "-t", f"{cell.name}/{topic}", *args, **options)

    try:
        for qos in range(3):
            process = sub("-t", f"{cell.name}/{qos}", "-q", qos, "-C", COUNT, "-F", "%q %p")
            for start in (0, COUNT // 2):
                pub(qos, "-q", qos, "-l",
                    input="".join(f"{i}\n" for i in range(start, start + COUNT // 2)))
            assert process.rest() == [f"{qos} {i}" for i in range(COUNT)]
            cell.done(f"QoS {qos}")

        pub("kept", "-m", "kept", "-r", "-q", 1)
        assert run(tool("mosquitto_sub"), *where, "-t", f"{cell.name}/kept", "-q", 1, "-C", 1, "-F", "%r %q %p") == \
            "1 1 kept\n"
        pub("kept", "-n", "-r", "-q", 1)
        cell.done("retained")

        watcher = sub("-t", f"{cell.name}/will", "-q", 1, "-C", 1)
        sub("-t", "x", "--will-topic", f"{cell.name}/will", "--will-payload", "gone", "--will-qos", 1).kill()
        assert watcher.rest() == ["gone"]
        cell.done("will")

        sleeper = [tool("mosquitto_sub"), *where, "-i", cell.name, "-c", "-t", f"{cell.name}/s", "-q", 1,
                   *(["-x", 100] if cell.version == 5 else [])]
        run(*sleeper, "-E")
        pub("s", "-m", "while you slept", "-q", 1)
        assert run(*sleeper, "-C", 1) == "while you slept\n"
        cell.done("session")
    finally:
        for one in running:
            one.kill()


# --- Paho, Python ---

class PahoPython:
    """A client of Paho Python that has subscribed to all below the cell's name."""

    def __init__(self, cell, suffix="", clean=True, will=None):
        module = pytest.importorskip("paho.mqtt.client")
        options = {"clean_session": clean} if cell.version < 5 else {}
        if hasattr(module, "CallbackAPIVersion"):
            options["callback_api_version"] = module.CallbackAPIVersion.VERSION1
        self.client = module.Client(client_id=cell.name + suffix, protocol=cell.version,
                                    transport="websockets" if cell.transport in ("ws", "wss") else "tcp",
                                    **options)
        self.got, self.present, self.ready = [], [], threading.Event()
        self.client.on_connect = self._connected
        self.client.on_subscribe = lambda *_: self.ready.set()
        self.client.on_message = lambda _client, _data, message: self.got.append(
            (message.topic.removeprefix(f"{cell.name}/"), message.payload.decode(), message.qos, message.retain))
        if will:
            self.client.will_set(f"{cell.name}/{will}", "gone", 1)
        if cell.transport in ("ws", "wss"):
            self.client.ws_set_options(path="/mqtt")
        if cell.tls:
            self.client.tls_set(cell.cafile, *cell.pair)
        more = {}
        if cell.version == 5:
            types = pytest.importorskip("paho.mqtt.packettypes").PacketTypes
            more["properties"] = pytest.importorskip("paho.mqtt.properties").Properties(types.CONNECT)
            more["properties"].SessionExpiryInterval = 0 if clean else 100
        self.client.connect("localhost", cell.port, 10, **more)
        self.client.loop_start()
        wait_until(lambda: self.present, timeout=SECONDS, what="CONNACK")
        self.client.subscribe(f"{cell.name}/#", 2)
        assert self.ready.wait(SECONDS)

    def _connected(self, _client, _data, flags, _code, *_properties):
        self.present.append(flags["session present"])

    def expect(self, *messages):
        """The next ones: (topic below the name, payload, QoS, RETAIN)."""
        wait_until(lambda: len(self.got) >= len(messages), timeout=SECONDS, what=f"{len(messages)} messages")
        assert self.got == list(messages)
        self.got.clear()

    def cut(self):
        """It ends without DISCONNECT."""
        self.client.loop_stop()
        self.client.socket().close()

    def come_back(self):
        self.present.clear()
        self.client.reconnect()
        self.client.loop_start()
        wait_until(lambda: self.present, timeout=SECONDS, what="CONNACK")

    def end(self):
        self.client.disconnect()
        self.client.loop_stop()


def paho_python(cell):
    client = PahoPython(cell, clean=False, will="will")
    running = [client]
    try:
        for qos in range(3):
            for i in range(COUNT):
                client.client.publish(f"{cell.name}/{qos}", f"{i}" * 100, qos)
            client.expect(*((f"{qos}", f"{i}" * 100, qos, False) for i in range(COUNT)))
            cell.done(f"QoS {qos}")

        client.client.publish(f"{cell.name}/kept", "kept", 1, True)
        client.expect(("kept", "kept", 1, False))
        other = PahoPython(cell, "other")
        running.append(other)
        other.expect(("kept", "kept", 1, True))
        other.client.publish(f"{cell.name}/kept", "", 1, True)
        for one in running:
            one.expect(("kept", "", 1, False))
        cell.done("retained")

        client.cut()
        other.expect(("will", "gone", 1, False))
        cell.done("will")

        other.client.publish(f"{cell.name}/s", "while you slept", 2)
        other.expect(("s", "while you slept", 2, False))
        client.come_back()
        assert cell.version == 3 or client.present == [1]
        client.expect(("will", "gone", 1, False), ("s", "while you slept", 2, False))
        cell.done("session")
    finally:
        for one in running:
            one.end()


# --- Paho, C ---

@pytest.fixture(scope="module")
def paho_c_program(tmp_path_factory):
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or not pathlib.Path("/usr/include/MQTTClient.h").exists():
        pytest.skip("a compiler or libpaho-mqtt-dev is not installed")
    program = tmp_path_factory.mktemp("paho") / "paho_c"
    run(compiler, "-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-o", program, TOP / "tests/broker/paho_c.c",
        "-lpaho-mqtt3cs")
    return program


def paho_c(cell, program):
    scheme = {"tcp": "tcp", "wss": "wss"}.get(cell.transport, "ssl")
    path = "/mqtt" if scheme == "wss" else ""
    cell.run(program, f"{scheme}://localhost:{cell.port}{path}", cell.name, cell.version)


# --- MQTT.js ---

@pytest.fixture(scope="module")
def mqttjs_package():
    """The folder of MQTT.js, installed once into build/npm."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("npm or node is not installed")
    folder = TOP / "build" / "npm"
    package = folder / "node_modules" / "mqtt"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (package / "package.json").exists():
            done = subprocess.run(["npm", "install", "--prefix", str(folder), "--no-audit", "--no-fund",
                                   "--ignore-scripts", "mqtt@5"], capture_output=True, text=True,
                                  timeout=120, env={**os.environ, "npm_config_update_notifier": "false"})
            if done.returncode:
                pytest.skip("npm cannot install mqtt: " + done.stderr.strip()[-300:])
    return package


def mqttjs(cell, package):
    url = {"tcp": f"mqtt://localhost:{cell.port}", "unix": f"mqtt+unix://{cell.path}",
           "ws": f"ws://localhost:{cell.port}/mqtt", "wss": f"wss://localhost:{cell.port}/mqtt"}
    cell.run("node", TOP / "tests/broker/mqttjs.js", package,
             url.get(cell.transport, f"mqtts://localhost:{cell.port}"), cell.name, cell.version)


# --- the matrix ---

CELLS = [(client, transport, version)
         for client, transports in TRANSPORTS.items() for transport in transports for version in NAMES]


@pytest.mark.parametrize("client,transport,version", CELLS,
                         ids=[f"{client}/{transport}/{NAMES[version]}" for client, transport, version in CELLS])
def test_cell(request, broker, ca, name, record_property, client, transport, version):
    cell = Cell(broker, ca, name, transport, version, record_property)
    if client == "Mosquitto":
        mosquitto(cell)
    elif client == "Paho Python":
        paho_python(cell)
    elif client == "MQTT.js":
        mqttjs(cell, request.getfixturevalue("mqttjs_package"))
    elif transport == "ws":
        # A PUBACK in one segment with the PUBLISH before it is seen only when something else comes.
        pytest.skip("over ws Paho C 1.3.11 forgets what it has read already")
    else:
        paho_c(cell, request.getfixturevalue("paho_c_program"))
    assert tuple(cell.steps) == STEPS


class Table:
    """A plugin of pytest that prints the matrix in the end."""

    SHORT = dict(zip(STEPS, ("0", "1", "2", "R", "W", "S")))

    def __init__(self):
        self.cells, self.reasons = {}, []

    def pytest_runtest_logreport(self, report):
        found = re.search(r"test_cell\[(.+)/(.+)/(.+)\]$", report.nodeid)
        if not found or (report.when != "call" and report.outcome == "passed"):
            return
        text = " ".join(self.SHORT.get(value, value) for key, value in report.user_properties if key == "step")
        if report.outcome == "skipped":
            reason = report.longrepr[2].removeprefix("Skipped: ")
            if reason not in self.reasons:
                self.reasons.append(reason)
            text = f"not run ({self.reasons.index(reason) + 1})"
        elif report.outcome == "failed":
            text = f"{text} **failed**".strip()
        self.cells[found.groups()] = text

    def pytest_terminal_summary(self, terminalreporter):
        lines = ["", "| client | transport | " + " | ".join(NAMES.values()) + " |", "|---" * (2 + len(NAMES)) + "|"]
        for client, transports in TRANSPORTS.items():
            for transport in transports:
                row = [self.cells.get((client, transport, one), "") for one in NAMES.values()]
                lines.append(f"| {client} | {transport} | " + " | ".join(row) + " |")
        lines += ["", "0, 1, 2: messages of that QoS there and back; R: retained; W: will; S: back to a session."]
        lines += [f"({i}) {reason}" for i, reason in enumerate(self.reasons, 1)]
        for line in lines:
            terminalreporter.write_line(line)


if __name__ == "__main__":
    raise SystemExit(pytest.main([__file__, "-q", "-p", "no:cacheprovider", "-n", str(os.cpu_count()), *sys.argv[1:]],
                                 plugins=[Table()]))
