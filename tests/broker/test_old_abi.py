# SPDX-License-Identifier: Apache-2.0
"""A plugin that was built with the headers of an earlier minor loads and works (tests/abi/minor-0: those of ABI 0.0),
and today's plugins in a host of that time, or are refused by it with a reason."""

import os
import shutil
import subprocess

import pytest

import test_plugin
from conftest import BIN, environment
from mqtt import Filter
from test_auth_file import scram
from test_plugin import CC, CFLAGS, HERE, ONE, SCRIPT, login, put, reason_of_login, reason_of_publish

OLD = os.path.join(HERE, "..", "abi", "minor-0")
FOLDER = os.path.dirname(os.path.abspath(BIN))
pytestmark = pytest.mark.skipif(not shutil.which(CC), reason="there is no compiler")


def compile_old(out, source, *flags):
    subprocess.run([CC, "-std=c11", "-D_GNU_SOURCE", "-Wall", "-Werror", "-O1", "-g", f"-I{OLD}", *CFLAGS, *flags, "-o", out,
                    source, "-lpthread", "-ldl"], check=True)
    return str(out)


@pytest.fixture(scope="session")
def script(tmp_path_factory):
    """As that of test_plugin, with the old headers."""
    folder, made = tmp_path_factory.mktemp("old"), {}

    def get(exec_name, *flags):
        if exec_name not in made:
            made[exec_name] = compile_old(folder / f"{exec_name}.so", SCRIPT, "-shared", "-fPIC", "-fvisibility=hidden",
                                          f"-DEXEC=AVOCET_EXEC_{exec_name}")
        return made[exec_name]
    return get


with_plugin = test_plugin.with_plugin


def test_the_old_headers_are_older(script):
    told = subprocess.run([os.path.join(FOLDER, "avocetctl"), "plugin", "info", script("WORKER")], capture_output=True,
                          text=True, env=environment(), check=True).stdout
    assert "0.0" in told


@pytest.mark.parametrize("exec_name", ("WORKER", "POOL", "INLINE"))
def test_an_old_plugin_works(with_plugin, exec_name):
    broker = with_plugin(exec_name, {"default": {"authenticate": ["a"], "authorize": ["a"]}}, instances=("a",))
    assert reason_of_login(broker, "a=accept") == 0 and reason_of_login(broker, "a=deny") == 0x87
    client = login(broker, "a=accept")
    assert client.expect("CONNACK").reason == 0
    client.subscribe(Filter("a=accept/#", 1), Filter("new/#", 1), expect=[1, 0x87])
    assert reason_of_publish(client, "a=accept") == 0 and reason_of_publish(client, "a=deny") == 0x87
    assert client.wait("PUBLISH").topic == "a=accept"


@pytest.mark.parametrize("exec_name", ("WORKER", "POOL", "INLINE"))
def test_an_old_interceptor_works(with_plugin, exec_name):
    broker = with_plugin(exec_name, {"default": {"intercept": ["a"]}}, instances=("a",))
    client = broker.connect("c")
    client.subscribe(Filter("#", 1))
    put(client, "a=stamp-pass", b"x", message_expiry_interval=50)
    message = client.wait("PUBLISH")
    assert message.payload == b"x!" and message.props["user_property"] == [("by", "a")]
    assert message.props["message_expiry_interval"] == 50
    put(client, "a=topic-pass", b"x")
    assert client.wait("PUBLISH").topic == "new/a=topic-pass"


def test_an_old_exchange(with_plugin):
    broker = with_plugin("WORKER", ONE, instances=("a",))
    client = broker.open()
    client.send(client.connect_packet("c", authentication_method="SCRIPT", authentication_data=b"more"))
    client.expect("AUTH", reason=0x18)
    client.auth(0x18, authentication_method="SCRIPT", authentication_data=b"yes")
    connack = client.expect("CONNACK", reason=0)
    assert connack.props["authentication_data"] == b"step 2" and "reason_string" not in connack.props


def sanitizer_of(module):
    """A module that was built with one needs a host that was, too."""
    with open(module, "rb") as file:
        data = file.read()
    return ("-fsanitize=address,undefined" if b"__asan_init" in data else
            "-fsanitize=thread" if b"__tsan_init" in data else None)


@pytest.fixture
def old_host(tmp_path):
    users = tmp_path / "users"
    users.write_text(scram("alice", "wonder"))
    users.chmod(0o600)

    def run(name, *logins):
        module = os.path.join(FOLDER, "plugins", name, f"{name}.so")
        if not os.path.exists(module):
            pytest.skip(f"built without {name}")
        flag = sanitizer_of(module)
        if flag and not shutil.which("clang"):
            pytest.skip("clang is not installed")
        program = tmp_path / "old_host"
        subprocess.run(["clang" if flag else CC, "-std=c11", "-D_GNU_SOURCE", "-O1", "-g", f"-I{OLD}", *([flag] if flag else []),
                        "-o", program, os.path.join(HERE, "plugins", "old_host.c"), "-ldl"], check=True)
        return subprocess.run([program, module, str(users), *logins], capture_output=True, text=True, timeout=60,
                              env=environment())
    return run


def test_a_new_plugin_in_an_old_host(old_host):
    done = old_host("auth-file", "alice", "wonder", "alice", "wrong", "eve", "wonder")
    assert (done.returncode, done.stdout.split()) == (0, ["1", "2", "2"]), done.stderr


def test_a_plugin_that_needs_more_than_an_old_host_has(old_host):
    done = old_host("auth-sasl")
    assert (done.returncode, done.stdout) == (1, "needs 0.1\n"), done.stderr
