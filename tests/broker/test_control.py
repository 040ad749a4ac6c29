# SPDX-License-Identifier: Apache-2.0
"""The control socket: what avocetctl asks a running broker, page by page, and what a hostile peer cannot do."""

import json
import os
import re
import socket
import struct
import subprocess
import time

import pytest

from conftest import BIN, STOP_SECONDS, WORKERS, environment
from mqtt import Closed, Filter, wait_until

CTL = os.path.join(os.path.dirname(BIN), "avocetctl")
CONFIG = {"limits": {"auth_delay": 0}}


@pytest.fixture
def own(run_broker):
    broker = run_broker(config=CONFIG)
    broker.socket = str(broker.run / "control.sock")
    return broker


def ask(broker, *words):
    return subprocess.run([CTL, "--control", broker.socket, *words], capture_output=True, text=True,
                          env=environment(), timeout=60, stdin=subprocess.DEVNULL)


def told(broker, *words):
    done = ask(broker, *words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_status(own):
    client = own.connect("c")
    client.subscribe("a", "b")
    client.publish("r", "x", retain=1, qos=1)
    status = told(own, "status")
    assert status["clients"] == 1 and status["subscriptions"] == 2 and status["retained"] >= 1
    assert status["workers"] == WORKERS and status["uptime_s"] >= 0
    assert re.search(r"^clients +1 connected, 1 sessions$", ask(own, "status").stdout, re.M)


def test_clients_and_sessions(own):
    awake = own.connect("awake", username=None)
    awake.subscribe("t/1", "t/2")
    asleep = own.connect("a sleep\u00fc", session_expiry_interval=1000)
    asleep.subscribe(Filter("q", qos=1))
    asleep.disconnect()
    for _ in range(3):
        awake.publish("q", "12345", qos=1)
    wait_until(lambda: sum(s["queued"] for s in told(own, "sessions")) == 3)
    clients, sessions = told(own, "clients"), {s["client_id"]: s for s in told(own, "sessions")}
    assert [c["client_id"] for c in clients] == ["awake"]
    assert clients[0]["address"].startswith("127.0.0.1:") and clients[0]["protocol"] == "5.0"
    assert clients[0]["subscriptions"] == 2 and clients[0]["listener"] == "mqtt"
    sleeper = sessions["a sleep\u00fc"]
    assert not sleeper["connected"] and sleeper["expiry_s"] == 1000 and sleeper["asleep_s"] >= 0
    assert sleeper["queued"] == 3 and sleeper["queued_bytes"] > 15
    assert "a sleep\u00fc" in ask(own, "sessions").stdout
    shown = ask(own, "sessions", "show", "a sleep\u00fc")
    assert shown.returncode == 0 and "queued          3 messages" in shown.stdout
    assert told(own, "sessions", "show", "awake")[0]["connected"]
    none = ask(own, "sessions", "show", "nobody")
    assert none.returncode == 1 and none.stderr == 'avocetctl: there is no session "nobody"\n'


def test_more_than_a_page(own):
    for i in range(3000):
        client = own.open(version=4)
        client.send(client.connect_packet(f"many{i}", clean=False))
        own.clients.pop()
        client.expect("CONNACK")
        client.close()
    wait_until(lambda: len(told(own, "clients")) == 0)
    sessions = told(own, "sessions")
    assert {s["client_id"] for s in sessions} == {f"many{i}" for i in range(3000)} and len(sessions) == 3000
    assert len(ask(own, "sessions").stdout.splitlines()) == 3001
    # Who does not read for a while makes the pages wait, loses none of them and holds up nobody.
    slow = raw(own)
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    slow.sendall(b"sessions\0--json\0\0")
    assert told(own, "status")["sessions"] == 3000
    frames = answer(slow)
    assert frames[-1] == ("x", b"\0")
    assert len(json.loads(b"".join(text for kind, text in frames if kind == "o"))) == 3000
    assert ask(own, "sessions", "end", "--idle", "1h").stdout == "ended: 0\n"
    time.sleep(1.1)
    late = own.connect("late")
    assert ask(own, "sessions", "end", "--idle", "1s").stdout == "ended: 3000\n"
    assert [s["client_id"] for s in told(own, "sessions")] == ["late"]
    late.ping()


def test_kick(own):
    client = own.connect("c", session_expiry_interval=100)
    client.subscribe("q")
    assert ask(own, "kick", "c").stdout == "kicked: 1\n"
    client.expect("DISCONNECT", reason=0x98)
    client.expect_closed()
    assert "an operator sent it away" in own.log()
    assert told(own, "sessions", "show", "c")[0]["subscriptions"] == 1      # the session stays
    again = ask(own, "kick", "c")
    assert again.returncode == 1 and 'no client "c" is connected' in again.stderr


def test_end_a_session(own):
    client = own.connect("c", session_expiry_interval=100)
    assert told(own, "sessions", "end", "c") == {"ended": 1}
    client.expect("DISCONNECT", reason=0x98)
    assert own.open().connect("c", clean=False).session_present == 0
    assert ask(own, "sessions", "end", "nobody").returncode == 1


def reload(broker):
    """The verdict. While the workers have not all heard of the reload before, there is none yet."""
    done = []
    wait_until(lambda: done.append(ask(broker, "reload")) or "will be" not in done[-1].stdout, what="a verdict")
    return done[-1]


def test_reload(own):
    assert reload(own).stdout == "the configuration was loaded again\n"
    text = own.config_file.read_text()
    own.config_file.write_text(text + "nonsense: 1\n")
    own.expected_errors = "nonsense"
    done = reload(own)
    assert done.returncode == 1 and "refused, everything stays as it was" in done.stderr
    own.config_file.write_text(text)
    assert reload(own).stdout == "the configuration was loaded again\n"


def test_wrong_words(own):
    for words in (("status", "x"), ("kick",), ("sessions", "show"), ("sessions", "eat"), ("sessions", "end", "--idle"), ("sessions", "end", "a", "b"),
                  ("sessions", "end", "--idle", "x"), ("sessions", "end", "--idle", "0s")):
        done = ask(own, *words)
        assert done.returncode in (1, 2) and done.stderr and not done.stdout, words
    assert ask(own, "kick", "").returncode == 2


def test_no_broker_there(tmp_path):
    class Nowhere:
        socket = str(tmp_path / "none")
    done = ask(Nowhere, "status")
    assert done.returncode == 3 and "no broker answers at" in done.stderr


# --- hostile peers ---

def raw(broker):
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(STOP_SECONDS)
    sock.connect(broker.socket)
    return sock


def answer(sock):
    """(kind, text) of each frame until the end."""
    frames, data = [], b""
    while chunk := sock.recv(65536):
        data += chunk
    while data:
        kind, size = data[:1].decode(), struct.unpack(">I", data[1:5])[0]
        frames.append((kind, data[5:5 + size]))
        data = data[5 + size:]
    return frames


@pytest.mark.parametrize("request_bytes", [b"\0", b"\0" * 10, b"x\0" * 40 + b"\0", b"\xff\xfe\0\0", b"--json\0\0"])
def test_what_is_no_request(own, request_bytes):
    sock = raw(own)
    sock.sendall(request_bytes)
    frames = answer(sock)
    assert frames[-1] == ("x", b"\x02") and frames[0][0] == "e"
    assert told(own, "status")


def test_a_request_byte_by_byte_and_one_that_never_ends(own):
    sock = raw(own)
    for byte in b"status\0--json\0\0":
        sock.sendall(bytes([byte]))
        time.sleep(0.005)
    frames = answer(sock)
    assert json.loads(frames[0][1])["workers"] == WORKERS and frames[-1] == ("x", b"\0")
    endless = raw(own)
    with pytest.raises(OSError):
        for _ in range(100):
            endless.sendall(b"x" * 65536)
    assert told(own, "status")


def test_what_follows_a_request_is_dropped(own):
    for i in range(50):
        own.open(version=4).connect(f"m{i}", clean=False)
    for _ in range(20):
        sock = raw(own)
        sock.sendall(b"sessions\0show\0m7\0\0")
        try:
            for _ in range(30):
                sock.sendall(b"y" * 30000)
        except OSError:
            pass            # it was answered, and closed
        sock.close()
    wait_until(lambda: ask(own, "status").returncode == 0)
    assert "m7" in ask(own, "sessions", "show", "m7").stdout


def test_who_leaves_in_the_middle(own):
    for i in range(200):
        own.open(version=4).connect(f"m{i}", clean=False)
    for _ in range(40):
        sock = raw(own)
        try:
            sock.sendall(b"sessions\0\0")
        except OSError:
            pass            # turned away: sixteen are there, or on their way
        sock.close()
    wait_until(lambda: ask(own, "status").returncode == 0)     # some pages may still be on their way
    assert len(told(own, "sessions")) == 200


def test_who_does_not_read_holds_up_nobody(own):
    client = own.connect("c")
    socks = []
    for _ in range(5):
        sock = raw(own)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        sock.sendall(b"sessions\0\0")
        socks.append(sock)
    client.ping()
    assert told(own, "status")["clients"] == 1


def test_too_many_at_once_are_turned_away(own):
    socks = [raw(own) for _ in range(16)]
    with pytest.raises((OSError, AssertionError, Closed)):
        extra = raw(own)
        extra.sendall(b"status\0\0")
        assert answer(extra)
    for sock in socks:
        sock.close()
    wait_until(lambda: ask(own, "status").returncode == 0)


def test_the_socket_is_for_the_brokers_user_and_goes_with_it(own):
    assert os.stat(own.socket).st_mode & 0o007 == 0
    own.stop()
    assert not os.path.exists(own.socket)


def test_a_socket_that_cannot_be_made_refuses_the_start(tmp_path):
    (tmp_path / "c.yaml").write_text("broker: { control: /nonexistent/x.sock }\nlisteners: [{ bind: '127.0.0.1:0' }]\n")
    done = subprocess.run([BIN, "-c", tmp_path / "c.yaml"], capture_output=True, text=True, env=environment(),
                          timeout=STOP_SECONDS)
    assert done.returncode == 3 and "broker.control: cannot bind unix:/nonexistent/x.sock" in done.stderr
