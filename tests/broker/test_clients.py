# SPDX-License-Identifier: Apache-2.0
"""Clients that others wrote: Mosquitto's, Paho's in Python and C, MQTT.js."""

import fcntl
import os
import pathlib
import re
import select
import shutil
import subprocess
import threading
import time

import pytest

from conftest import TOP
from mqtt import wait_until

VERSIONS = {3: "31", 4: "311", 5: "5"}
every_version = pytest.mark.parametrize("version", VERSIONS)
SECONDS = 25


def tool(program):
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"{program} is not installed")
    return path


def run(*args, **options):
    done = subprocess.run([str(one) for one in args], capture_output=True, text=True, timeout=SECONDS,
                          **options)
    assert done.returncode == 0, f"{args}: {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


# Mosquitto

class Subscriber:
    """A mosquitto_sub that has subscribed."""

    def __init__(self, port, version, *args):
        # stdbuf, or it would keep what -d tells until it ends.
        self.process = subprocess.Popen(
            [tool("stdbuf"), "-oL", tool("mosquitto_sub"), "-d", "-p", str(port), "-V", VERSIONS[version],
             *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.text = b""
        self.read_until(lambda: b"\nSubscribed" in b"\n" + self.text)

    def read_until(self, enough):
        deadline = time.monotonic() + SECONDS
        while not enough():
            left = deadline - time.monotonic()
            ready = left > 0 and select.select([self.process.stdout], [], [], left)[0]
            piece = os.read(self.process.stdout.fileno(), 65536) if ready else b""
            if not piece:
                if enough == self.ended and ready:
                    return
                raise AssertionError(f"mosquitto_sub said no more than {self.text[-2000:]!r}")
            self.text += piece

    @staticmethod
    def ended():
        return False

    def rest(self):
        """The messages, when it has ended by itself."""
        self.read_until(self.ended)
        assert self.process.wait(SECONDS) == 0, self.text
        return [line for line in self.text.decode().splitlines()
                if not re.match(r"Client |Subscribed", line)]


@pytest.fixture
def sub(broker):
    """sub(version, args...): a Subscriber."""
    running = []

    def start(version, *args):
        running.append(Subscriber(broker.port, version, *args))
        return running[-1]

    yield start
    for one in running:
        one.process.kill()
        one.process.wait()
        one.process.stdout.close()


@every_version
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_mosquitto_pub_and_sub(broker, name, sub, version, qos):
    process = sub(version, "-t", f"{name}/#", "-q", str(qos), "-C", "20", "-v")
    for start in (0, 10):
        lines = "\n".join(str(i) for i in range(start, start + 10)) + "\n"
        run(tool("mosquitto_pub"), "-p", broker.port, "-V", VERSIONS[version], "-t", f"{name}/a", "-q", qos,
            "-l", input=lines)
    assert process.rest() == [f"{name}/a {i}" for i in range(20)]


@every_version
def test_mosquitto_pub_once(broker, name, sub, version):
    """CONNECT, PUBLISH, DISCONNECT and gone."""
    process = sub(version, "-t", name, "-q", "2", "-C", "6")
    for qos in (0, 1, 2):
        for size in (0, 1):
            run(tool("mosquitto_pub"), "-p", broker.port, "-V", VERSIONS[version], "-t", name, "-q", qos, "-m",
                "x" * (1 + size * 99999))
    got = process.rest()
    assert sorted(len(one) for one in got) == 3 * [1] + 3 * [100000]


@every_version
def test_mosquitto_retained_and_will(broker, name, sub, version):
    run(tool("mosquitto_pub"), "-p", broker.port, "-V", VERSIONS[version], "-t", f"{name}/r", "-m", "kept", "-r",
        "-q", "1")
    out = run(tool("mosquitto_sub"), "-p", broker.port, "-V", VERSIONS[version], "-t", f"{name}/r", "-C", "1",
              "-F", "%r %p")
    assert out == "1 kept\n"
    watcher = broker.connect()
    watcher.subscribe(f"{name}/will")
    process = sub(version, "-t", "x", "--will-topic", f"{name}/will", "--will-payload", "gone")
    process.process.kill()
    watcher.message(payload="gone")


def test_mosquitto_properties(broker, name, sub):
    process = sub(5, "-t", name, "-C", "1", "-F", "%R|%C|%P|%D|%p")
    run(tool("mosquitto_pub"), "-p", broker.port, "-V", "5", "-t", name, "-m", "x", "-D", "PUBLISH",
        "response-topic", "r/t", "-D", "PUBLISH", "content-type", "text", "-D", "PUBLISH", "user-property",
        "k", "v", "-D", "PUBLISH", "correlation-data", "c")
    assert process.rest() == ["r/t|text|k:v|c|x"]


def test_mosquitto_sub_sleeps_and_wakes(broker, name):
    for version in (4, 5):
        args = [tool("mosquitto_sub"), "-p", broker.port, "-V", VERSIONS[version], "-i", f"{name}{version}", "-c",
                "-t", name, "-q", "1"] + (["-x", "100"] if version == 5 else [])
        run(*args, "-E")
        run(tool("mosquitto_pub"), "-p", broker.port, "-t", name, "-m", "waited", "-q", "1")
        assert run(*args, "-C", "1") == "waited\n"
        run(*args[:7], "-E", "-t", name)


def test_mosquitto_rr(broker, name):
    tool("mosquitto_rr")
    server = broker.connect()
    server.subscribe((f"{name}/q", 1))
    process = subprocess.Popen([tool("mosquitto_rr"), "-p", str(broker.port), "-V", "5", "-t", f"{name}/q", "-e",
                                f"{name}/a", "-m", "question", "-q", "1", "-W", "10"],
                               stdout=subprocess.PIPE, text=True)
    question = server.message(payload="question")
    extra = {key: question.props[key] for key in ("correlation_data",) if key in question.props}
    server.publish(question.props["response_topic"], "answer", qos=1, **extra)
    out, _ = process.communicate(timeout=SECONDS)
    assert out == "answer\n"


# Paho, Python

@every_version
def test_paho_python(broker, name, version):
    client_module = pytest.importorskip("paho.mqtt.client")
    options = {} if version == 5 else {"clean_session": True}
    if hasattr(client_module, "CallbackAPIVersion"):
        options["callback_api_version"] = client_module.CallbackAPIVersion.VERSION1
    client = client_module.Client(client_id=name, protocol=version, **options)
    got, events = [], {one: threading.Event() for one in ("connect", "subscribe", "unsubscribe")}
    client.on_connect = lambda *_: events["connect"].set()
    client.on_subscribe = lambda *_: events["subscribe"].set()
    client.on_unsubscribe = lambda *_: events["unsubscribe"].set()
    client.on_message = lambda _client, _data, message: got.append((message.qos, message.payload))
    client.connect("127.0.0.1", broker.port, 10)
    client.loop_start()
    try:
        assert events["connect"].wait(SECONDS)
        client.subscribe([(f"{name}/0", 0), (f"{name}/1", 1), (f"{name}/2", 2)]) if version < 5 else \
            client.subscribe([(f"{name}/{qos}", client_module.SubscribeOptions(qos=qos))
                              for qos in range(3)])
        assert events["subscribe"].wait(SECONDS)
        infos = [client.publish(f"{name}/{qos}", f"{i}", qos=qos) for i in range(100) for qos in range(3)]
        for info in infos:
            info.wait_for_publish(SECONDS)
        wait_until(lambda: len(got) == 300, timeout=SECONDS, what="300 messages")
        for qos in range(3):
            assert [int(text) for found, text in got if found == qos] == list(range(100))
        client.unsubscribe(f"{name}/0")
        assert events["unsubscribe"].wait(SECONDS)
    finally:
        client.disconnect()
        client.loop_stop()


# Paho, C

@pytest.fixture(scope="module")
def paho_c(tmp_path_factory):
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or not pathlib.Path("/usr/include/MQTTClient.h").exists():
        pytest.skip("a compiler or libpaho-mqtt-dev is not installed")
    program = tmp_path_factory.mktemp("paho") / "paho_c"
    run(compiler, "-std=c11", "-Wall", "-Wextra", "-o", program, TOP / "tests/broker/paho_c.c",
        "-lpaho-mqtt3cs")
    return program


@every_version
def test_paho_c(broker, name, paho_c, version):
    run(paho_c, f"tcp://127.0.0.1:{broker.port}", name, version)


# MQTT.js

@pytest.fixture(scope="module")
def mqttjs():
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


@every_version
def test_mqttjs(broker, name, mqttjs, version):
    run("node", TOP / "tests/broker/mqttjs.js", mqttjs, f"mqtt://127.0.0.1:{broker.port}", name, version)
