# SPDX-License-Identifier: Apache-2.0
"""Ordinary jobs of other people's clients that test_matrix.py does not have: large payloads, topics beyond ASCII,
properties of MQTT 5; and all jobs with libmosquitto."""

import os
import queue
import shutil
import subprocess

import pytest

from conftest import TOP
from mqtt import Packet, Will
from test_clients import SECONDS, VERSIONS, Subscriber, run, tool
from test_matrix import mqttjs_package  # noqa: F401

both = pytest.mark.parametrize("version", (4, 5))
HERE = TOP / "tests" / "broker"
JOBS = [("large", 4), ("large", 5), ("unicode", 4), ("unicode", 5), ("properties", 5)]
jobs = pytest.mark.parametrize("job, version", JOBS)
UNICODE = "h\u00f6he/\u6e29\u5ea6/\U0001f680"


def topic_of(name, job):
    return f"{name}/{UNICODE}" if job == "unicode" else name


def compiled(source, library, folder):
    """The program, or the test is skipped."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    done = subprocess.run([compiler, "-O1", "-o", folder / "job", HERE / source, f"-l{library}"], capture_output=True, text=True)
    if done.returncode != 0:
        assert "No such file" in done.stderr, done.stderr
        pytest.skip(f"the headers of {library} are not there")
    return folder / "job"


def must_be_ok(*command, **options):
    done = subprocess.run([str(one) for one in command], capture_output=True, text=True, timeout=SECONDS, **options)
    assert done.returncode == 0 and done.stdout == "ok\n", done.stdout + done.stderr[-2000:]


@pytest.fixture(scope="module")
def libmosquitto(tmp_path_factory):
    return compiled("libmosquitto.c", "mosquitto", tmp_path_factory.mktemp("libmosquitto"))


@both
@pytest.mark.parametrize("job", ["qos0", "qos1", "qos2", "retained", "will", "session", "large", "unicode", "properties"])
def test_libmosquitto(broker, name, libmosquitto, version, job):
    if job == "properties" and version == 4:
        pytest.skip("MQTT 3.1.1 has no properties")
    must_be_ok(libmosquitto, broker.port, version, job, topic_of(name, job))


@pytest.fixture(scope="module")
def paho_c(tmp_path_factory):
    return compiled("paho_c_jobs.c", "paho-mqtt3c", tmp_path_factory.mktemp("paho"))


@jobs
def test_paho_c(broker, name, paho_c, job, version):
    must_be_ok(paho_c, broker.port, version, job, topic_of(name, job))


@jobs
def test_mqttjs(broker, name, mqttjs_package, job, version):    # noqa: F811
    must_be_ok("node", HERE / "mqttjs_jobs.js", broker.port, version, job, topic_of(name, job),
               env={**os.environ, "MQTTJS": str(mqttjs_package)})


@jobs
def test_paho_python(broker, name, job, version):
    client = pytest.importorskip("paho.mqtt.client")
    properties = pytest.importorskip("paho.mqtt.properties")
    got, ready = queue.Queue(), queue.Queue()
    one = client.Client(protocol=client.MQTTv5 if version == 5 else client.MQTTv311)
    one.on_message = lambda _c, _u, message: got.put(message)
    one.on_subscribe = lambda *_: ready.put(1)
    one.connect("127.0.0.1", broker.port)
    one.loop_start()
    try:
        topic = topic_of(name, job)
        one.subscribe(topic, 1)
        ready.get(timeout=10)
        props = None
        if job == "properties":
            props = properties.Properties(properties.PacketTypes.PUBLISH)
            props.UserProperty = ("key", "value")
            props.ContentType = "text/plain"
        payload = bytes(1 << 20) if job == "large" else b"hello"
        one.publish(topic, payload, 1, properties=props) if version == 5 else one.publish(topic, payload, 1)
        message = got.get(timeout=10)
        assert message.topic == topic and message.payload == payload
        if job == "properties":
            assert message.properties.UserProperty == [("key", "value")] and message.properties.ContentType == "text/plain"
    finally:
        one.disconnect()
        one.loop_stop()


@both
@pytest.mark.parametrize("job", ["large", "unicode"])
def test_mosquitto_clients(broker, name, tmp_path, version, job):
    file, topic = tmp_path / "payload", topic_of(name, job)
    file.write_text("x" * (1 << 20) if job == "large" else "hello")
    where = ["-p", broker.port, "-V", VERSIONS[version]]
    process = Subscriber(where, "-t", topic, "-q", "1", "-C", "1", "-F", "%t %l")
    run(tool("mosquitto_pub"), *where, "-t", topic, "-q", "1", "-f", file)
    assert process.rest() == [f"{topic} {file.stat().st_size}"]


def test_the_will_of_a_mosquitto_bridge_goes_nowhere(broker, name):
    """Mosquitto's bridges have one below $SYS unless they are told not to: they come in all the same."""
    watcher = broker.connect()
    watcher.subscribe("$SYS/broker/connection/#")
    client = broker.open(4)
    client.send(Packet("CONNECT", bridge=1, client_id=name, clean_start=1, keep_alive=0, username=None, password=None, props={},
                       will=Will("$SYS/broker/connection/there/state", b"0", qos=1, retain=1)))
    client.expect("CONNACK", reason=0)
    client.publish("$SYS/broker/connection/there/state", b"1", qos=1, retain=1)
    client.close()
    assert watcher.messages_before(broker.connect()) == []
