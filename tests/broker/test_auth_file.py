# SPDX-License-Identifier: Apache-2.0
"""The plugin auth-file: who is let in, in every scheme of the users file, and what is told to whom is not."""

import base64
import hashlib
import hmac
import os
import signal
import subprocess

import pytest

from conftest import BIN
from mqtt import wait_until

PLUGIN_DIR = os.path.join(os.path.dirname(os.path.abspath(BIN)), "plugins", "auth-file")
pytestmark = pytest.mark.skipif(not os.path.exists(os.path.join(PLUGIN_DIR, "auth-file.so")),
                                reason="built without auth-file")


def b64(data):
    return base64.b64encode(data).decode()


def scram(name, password, digest="sha256", iterations=4096, salt=b"0123456789abcdef"):
    salted = hashlib.pbkdf2_hmac(digest, password.encode(), salt, iterations)
    client = hmac.new(salted, b"Client Key", digest).digest()
    server = hmac.new(salted, b"Server Key", digest).digest()
    return (f"{name}:SCRAM-SHA-{digest[3:]}${iterations}:{b64(salt)}"
            f"${b64(hashlib.new(digest, client).digest())}:{b64(server)}\n")


def sha512(name, password, salt=b"saltsaltsalt"):
    return f"{name}:$6${b64(salt)}${b64(hashlib.sha512(password.encode() + salt).digest())}\n"


def pbkdf2(name, password, iterations=101, salt=b"saltsaltsalt"):
    key = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, iterations)
    return f"{name}:$7${iterations}${b64(salt)}${b64(key)}\n"


USERS = ("# people\n" + scram("alice", "wonder") + scram("bob", "builder", "sha512") +
         sha512("carol", "carols") + pbkdf2("dave", "daves") + "\n" + scram("jürgen", "grüße"))
RIGHT = [("alice", "wonder"), ("bob", "builder"), ("carol", "carols"), ("dave", "daves"),
         ("jürgen", "grüße")]


def expect_no(client):
    """The password is wrong, or there is no such user: both look alike."""
    client.expect("CONNACK", reason=0x86 if client.version == 5 else 4)
    client.expect_closed()


@pytest.fixture
def with_users(run_broker, tmp_path):
    """run(text, **config): a broker with that users file; its path is broker.users."""
    def run(text=USERS, chain=None, limits=None, **config):
        users = tmp_path / "users"
        users.write_text(text)
        users.chmod(0o600)
        own = run_broker(config={
            "broker": {"plugin_dir": PLUGIN_DIR},
            "limits": limits or {"auth_delay": 0},
            "plugins": [{"name": "users", "module": "auth-file",
                         "config": {"file": str(users), "max_delay": 0, **config}}],
            "chains": {"default": {"authenticate": chain or ["users"]}}})
        own.users = users
        return own
    return run


@pytest.mark.parametrize("version", [3, 4, 5])
@pytest.mark.parametrize("name, password", RIGHT)
def test_the_right_password_lets_in(with_users, version, name, password):
    own = with_users()
    own.connect(version=version, username=name, password=password).ping()


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("name, password", [
    ("alice", "wonde"), ("alice", "wonder "), ("alice", ""), ("carol", "daves"), ("eve", "wonder"),
    ("", "wonder"), ("Alice", "wonder"), ("alice:x", "wonder")])
def test_anything_else_does_not(with_users, version, name, password):
    own = with_users()
    client = own.open(version=version)
    client.send(client.connect_packet("x", username=name, password=password))
    expect_no(client)


def test_a_name_without_a_password_is_refused(with_users):
    own = with_users()
    client = own.open()
    client.send(client.connect_packet("x", username="alice"))
    expect_no(client)


def test_a_changed_file_counts_without_a_reload(with_users):
    own = with_users(check_interval="50ms")
    own.users.write_text(scram("new", "born"))
    wait_until(lambda: "the users file has changed" in own.log())
    own.connect(username="new", password="born").ping()
    client = own.open()
    client.send(client.connect_packet("x", username="alice", password="wonder"))
    expect_no(client)


def test_a_broken_file_leaves_the_old_one_in_force(with_users):
    own = with_users(check_interval="50ms")
    own.expected_errors = "stays unread"
    own.users.write_text("nonsense\n")
    wait_until(lambda: "stays unread" in own.log())
    assert f"{own.users}:1: a line is name:hash" in own.log()
    own.connect(username="alice", password="wonder").ping()


def test_a_reload_reads_it_again_and_refuses_what_is_broken(with_users):
    own = with_users(check_interval=0)
    own.users.write_text(scram("new", "born"))
    own.terminate(signal.SIGHUP)
    wait_until(lambda: "loaded again" in own.log())
    own.connect(username="new", password="born").ping()
    own.users.write_text("new:plain\n")
    own.terminate(signal.SIGHUP)
    wait_until(lambda: "reload refused" in own.log())
    assert "passwords do not stand in this file" in own.log()
    own.connect("again", username="new", password="born").ping()


def test_who_guesses_is_shut_out_for_a_while(with_users):
    own = with_users(lockout_failures=3, lockout_time="1s")
    for i in range(3):
        client = own.open()
        client.send(client.connect_packet(f"x{i}", username="alice", password="guess"))
        expect_no(client)
    client = own.open()
    client.send(client.connect_packet("y", username="alice", password="wonder"))
    expect_no(client)

    def is_let_in():
        client = own.open()
        client.send(client.connect_packet("z", username="alice", password="wonder"))
        return client.recv().reason == 0
    wait_until(is_let_in)


def test_many_logins_at_once_are_all_answered(with_users):
    """However long 200 hashes take here."""
    own = with_users(lockout_failures=0, lockout_user_failures=0, chain=[{"use": "users", "timeout": "60s"}],
                     limits={"auth_delay": 0, "connect_timeout": "60s"})
    clients = [own.open(timeout=60) for _ in range(200)]
    for i, client in enumerate(clients):
        client.send(client.connect_packet(f"c{i}", username="alice", password="wonder" if i % 2 else "no"))
    for i, client in enumerate(clients):
        if i % 2:
            client.expect("CONNACK", reason=0)
        else:
            expect_no(client)


def test_who_leaves_before_the_answer_harms_nobody(with_users):
    own = with_users(text=scram("slow", "s", iterations=200000) + USERS)
    for i in range(20):
        client = own.open()
        client.send(client.connect_packet(f"c{i}", username="slow", password="no"))
        client.close()
    own.connect(username="alice", password="wonder").ping()


@pytest.mark.parametrize("text, sentence", [
    ("alice\n", "users:1: a line is name:hash"),
    ("alice:secret\n", 'users:1: user "alice": the hash is of no kind that is known'),
    ("\n\nbob:$7$0$eA==$eA==\n", 'users:3: user "bob": the hash is malformed'),
    (scram("a", "b")[:-9] + "\n", 'users:1: user "a": the hash is malformed'),
])
def test_a_file_that_cannot_be_read_stops_the_start(tmp_path, text, sentence):
    users = tmp_path / "users"
    users.write_text(text)
    config = tmp_path / "avocet.yaml"
    config.write_text(f"""
broker: {{plugin_dir: {PLUGIN_DIR}}}
listeners: [{{bind: "127.0.0.1:1"}}]
plugins: [{{name: users, module: auth-file, config: {{file: users}}}}]
chains: {{default: {{authenticate: [users]}}}}
""".replace("127.0.0.1:1\"", f"unix:{tmp_path}/s\""))
    done = subprocess.run([BIN, "-c", config], capture_output=True, text=True, timeout=30)
    assert done.returncode == 3
    assert sentence in done.stderr


@pytest.mark.parametrize("config, sentence", [
    ("{}", "plugins[0].config: the key file is missing"),
    ("{file: users, fil: x}", 'plugins[0].config: unknown key "fil"; did you mean file?'),
    ("{file: users, lockout_time: 1}", "plugins[0].config.lockout_time: "),
    ("{file: users, unknown_user: perhaps}", "plugins[0].config.unknown_user: "),
])
def test_its_configuration_is_checked_by_the_schema_of_the_module(tmp_path, config, sentence):
    path = tmp_path / "avocet.yaml"
    path.write_text(f"broker: {{plugin_dir: {PLUGIN_DIR}}}\n"
                    f"plugins: [{{name: users, module: auth-file, config: {config}}}]\n")
    done = subprocess.run([BIN, "-t", "-c", path], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert sentence in done.stderr and f"{path}:2:" in done.stderr


@pytest.mark.parametrize("content, sentence", [
    (b"", "is not a shared object"),
    (b"hello", "is not a shared object"),
    (b"\x7fELF\x02\x01\x01", "is cut off"),
    ("half", "is cut off"),
    ("libc", "it does not export avocet_plugin_v0"),
])
def test_what_is_no_plugin_is_refused_with_a_sentence(tmp_path, content, sentence):
    module = tmp_path / "m.so"
    if content == "half":
        with open(os.path.join(PLUGIN_DIR, "auth-file.so"), "rb") as whole:
            content = whole.read()
        content = content[:len(content) // 2]
    elif content == "libc":
        with open("/lib/x86_64-linux-gnu/libz.so.1", "rb") as other:
            content = other.read()
    module.write_bytes(content)
    path = tmp_path / "avocet.yaml"
    path.write_text(f"plugins: [{{name: a, module: {module}}}]\n")
    done = subprocess.run([BIN, "-t", "-c", path], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert f"plugins[0].module: {module} {sentence}" in done.stderr \
        or (f"plugins[0].module: {module}" in done.stderr and sentence in done.stderr)
