# SPDX-License-Identifier: Apache-2.0
"""Mosquitto's clients, beyond what test_matrix.py does with them and others."""

import os
import re
import select
import shutil
import subprocess
import time

import pytest

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


class Subscriber:
    """A mosquitto_sub that has subscribed. where: its arguments for host, version and so on."""

    def __init__(self, where, *args):
        # stdbuf, or it would keep what -d tells until it ends.
        self.process = subprocess.Popen(
            [tool("stdbuf"), "-oL", tool("mosquitto_sub"), "-d", *map(str, where), *map(str, args)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
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

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture
def sub(broker):
    """sub(version, args...): a Subscriber."""
    running = []

    def start(version, *args):
        running.append(Subscriber(["-p", broker.port, "-V", VERSIONS[version]], *args))
        return running[-1]

    yield start
    for one in running:
        one.kill()


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


def test_mosquitto_properties(broker, name, sub):
    process = sub(5, "-t", name, "-C", "1", "-F", "%R|%C|%P|%D|%p")
    run(tool("mosquitto_pub"), "-p", broker.port, "-V", "5", "-t", name, "-m", "x", "-D", "PUBLISH",
        "response-topic", "r/t", "-D", "PUBLISH", "content-type", "text", "-D", "PUBLISH", "user-property",
        "k", "v", "-D", "PUBLISH", "correlation-data", "c")
    assert process.rest() == ["r/t|text|k:v|c|x"]


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
