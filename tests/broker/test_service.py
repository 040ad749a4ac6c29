# SPDX-License-Identifier: Apache-2.0
"""The broker as a service: what it tells systemd, sockets it is handed, the user it becomes, its log
files, and that a crash leaves no secrets."""

import fcntl
import json
import os
import pwd
import re
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import threading
import time

import pytest

from conftest import BIN, SANITIZER, START_SECONDS, STOP_SECONDS, environment, free_port, need, yaml_text
from mqtt import Client, Closed, wait_until

# What systemd does between fork and exec: LISTEN_PID is the process itself.
HAND_OVER = 'export LISTEN_PID=$$; exec "$@"'


class Manager:
    """A service manager: its socket for notifications, and the process it has started."""

    def __init__(self, folder, abstract=False):
        self.folder = folder
        self.process = None
        self.run = tempfile.mkdtemp(prefix="avocet-")
        os.chmod(self.run, 0o755)
        self.name = f"@avocet-{os.getpid()}-{free_port()}" if abstract else self.run + "/notify"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + self.name[1:] if abstract else self.name)
        if not abstract:
            os.chmod(self.name, 0o777)
        self.log_file = folder / "stderr"
        self.config_file = folder / "avocet.yaml"

    def configure(self, config):
        base = {"broker": {"workers": 2, "data_dir": str(self.folder), "control": self.run + "/c"}}
        for key, value in config.items():
            base[key] = {**base[key], **value} if key in base else value
        self.config_file.write_text(yaml_text(base))

    def start(self, config, sockets=(), names=None, stderr=None, args=(), **env):
        need(BIN)
        self.configure(config)
        env = {**environment(), "NOTIFY_SOCKET": self.name, **env}
        line = [BIN, "-c", str(self.config_file), *args]
        fds = {}
        if sockets:
            env["LISTEN_FDS"] = str(len(sockets))
            if names:
                env["LISTEN_FDNAMES"] = ":".join(names)
            # The shell moves them to 3 and on: first out of the way, then into place.
            moves = "".join(f"exec {30 + i}<&{one.fileno()}; " for i, one in enumerate(sockets))
            moves += "".join(f"exec {3 + i}<&{30 + i} {30 + i}<&-; " for i in range(len(sockets)))
            line = ["bash", "-c", moves + HAND_OVER, "bash", *line]
            fds = {"pass_fds": [one.fileno() for one in sockets]}
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen(line, env=env, stderr=stderr or log, stdout=log, cwd=self.folder,
                                            stdin=subprocess.DEVNULL, **fds)

    def hear(self, timeout=START_SECONDS):
        """The next datagram as a dict; None when none came in time."""
        self.socket.settimeout(timeout)
        try:
            text = self.socket.recv(4096).decode()
        except TimeoutError:
            return None
        return dict(line.split("=", 1) for line in text.split("\n"))

    def expect(self, **words):
        heard = self.hear()
        assert heard is not None, self.log()
        assert words.items() <= heard.items(), (heard, self.log())
        return heard

    def log(self):
        return self.log_file.read_text(errors="replace")

    def close(self, code=0):
        try:
            if self.process is not None:
                self.process.terminate()
                try:
                    got = self.process.wait(STOP_SECONDS)
                finally:
                    self.process.kill()
                assert got == code, f"exit code {got}:\n{self.log()}"
                assert not SANITIZER.search(self.log()), self.log()
        finally:
            self.socket.close()
            shutil.rmtree(self.run, ignore_errors=True)


@pytest.fixture
def manager(tmp_path):
    made = []

    def make(**options):
        made.append(Manager(tmp_path, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def listening(host="127.0.0.1"):
    sock = socket.create_server((host, 0))
    return sock, sock.getsockname()[1]


def one_listener(port):
    return {"listeners": [{"name": "mqtt", "bind": f"127.0.0.1:{port}"}]}


# --- what is told ---

@pytest.mark.parametrize("abstract", [False, True])
def test_the_manager_hears_of_start_reload_and_stop(manager, abstract):
    own = manager(abstract=abstract)
    port = free_port()
    own.start(one_listener(port))
    own.expect(READY="1")
    client = Client(port)           # it accepts when it says so
    client.connect("x")
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    own.process.send_signal(signal.SIGHUP)
    reloading = own.expect(RELOADING="1")
    assert int(reloading["MONOTONIC_USEC"]) >= before
    own.expect(READY="1", STATUS="Ready")
    client.ping()
    own.process.terminate()
    stopping = own.expect(STOPPING="1")
    assert int(stopping["EXTEND_TIMEOUT_USEC"]) >= 10_000_000
    client.close()


def test_a_refused_reload_is_ready_again_and_says_why(manager):
    own = manager()
    port = free_port()
    own.start(one_listener(port))
    own.expect(READY="1")
    own.configure({**one_listener(port), "broker": {"workers": 3}})
    own.process.send_signal(signal.SIGHUP)
    own.expect(RELOADING="1")
    assert "broker.workers" in own.expect(READY="1")["STATUS"]
    own.config_file.write_text("nonsense: 1\n")
    own.process.send_signal(signal.SIGHUP)
    own.expect(RELOADING="1")
    assert "refused" in own.expect(READY="1")["STATUS"]


def test_without_a_configuration_file_a_reload_is_answered_too(manager):
    own = manager()
    if os.path.exists("/etc/avocet/avocet.yaml"):
        pytest.skip("there is a configuration")
    need(BIN)
    with open(own.log_file, "ab") as log:
        own.process = subprocess.Popen([BIN, "-p", str(free_port())], stderr=log,
                                       env={**environment(), "NOTIFY_SOCKET": own.name})
    own.expect(READY="1")
    own.process.send_signal(signal.SIGHUP)
    own.expect(RELOADING="1")
    own.expect(READY="1")


def test_nobody_is_told_ready_who_cannot_start(manager, tmp_path):
    own = manager()
    taken, port = listening()
    with taken:
        own.start(one_listener(port))
        assert own.process.wait(START_SECONDS) == 3
    assert own.hear(0.1) is None
    own.process = None


def test_a_manager_that_is_gone_is_no_harm(manager):
    own = manager()
    port = free_port()
    own.start(one_listener(port), WATCHDOG_USEC="100000")
    own.expect(READY="1")
    os.unlink(own.name)
    client = Client(port)
    client.connect("x")
    own.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "the service manager cannot be told" in own.log(), what="a warning")
    client.ping()
    client.close()


# --- the watchdog ---

def test_the_watchdog_is_told_at_half_of_its_time(manager):
    own = manager()
    own.start(one_listener(free_port()), WATCHDOG_USEC="400000")
    own.expect(READY="1")
    begin = time.monotonic()
    for _ in range(5):
        own.expect(WATCHDOG="1")
    took = time.monotonic() - begin
    assert 0.9 < took < 5, took


def test_a_watchdog_of_another_process_is_not_ours(manager):
    own = manager()
    own.start(one_listener(free_port()), WATCHDOG_USEC="100000", WATCHDOG_PID="1")
    own.expect(READY="1")
    assert own.hear(0.5) is None


def test_while_main_hangs_the_watchdog_is_not_told(manager):
    """It hangs because nobody reads its log, and the pipe is small."""
    own = manager()
    port = free_port()
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    own.start({**one_listener(port), "log": {"level": "debug"}}, stderr=writing, WATCHDOG_USEC="200000")
    os.close(writing)
    own.expect(READY="1")
    own.expect(WATCHDOG="1")
    clients = []
    while own.hear(1) is not None and len(clients) < 1000:      # ten times its period
        for _ in range(10):
            clients.append(Client(port, timeout=2))
            clients[-1].send(b"\xf0\0")                         # no CONNECT: a line of the log
    assert len(clients) < 1000, "it does not hang"
    reader = threading.Thread(target=drain, args=(reading,))
    reader.start()
    try:
        own.expect(WATCHDOG="1")
    finally:
        own.process.terminate()
        own.process.wait(STOP_SECONDS)
        reader.join()
        for client in clients:
            client.close()


def drain(fd):
    while os.read(fd, 65536):
        pass
    os.close(fd)


# --- sockets from the manager ---

def test_a_handed_socket_is_used_by_its_address(manager):
    own = manager()
    sock, port = listening()
    with sock:
        early = Client(port)        # before it is there
        own.start(one_listener(port), [sock])
        own.expect(READY="1")
        early.connect("early")
        early.close()
    assert "is not used" not in own.log()


def test_a_handed_socket_is_used_by_its_name(manager):
    own = manager()
    one, one_port = listening()
    two, two_port = listening()
    free = free_port()
    with one, two:
        own.start({"listeners": [{"name": "mqtt", "bind": f"127.0.0.1:{free}"},
                                 {"name": "other", "bind": f"127.0.0.1:{free_port()}"}]},
                  [one, two], ["other", "mqtt"])
        own.expect(READY="1")
        for port in (one_port, two_port):
            client = Client(port)
            client.connect(f"c{port}")
            client.close()
        with pytest.raises(OSError):
            Client(free)


def test_a_socket_that_fits_no_listener_is_told_and_waits_for_a_reload(manager):
    own = manager()
    sock, port = listening()
    first = one_listener(free_port())
    both = {"listeners": first["listeners"] + [{"name": "late", "bind": f"127.0.0.1:{port}"}]}
    with sock:
        own.start(first, [sock], ["stray"])
        own.expect(READY="1")
        wait_until(lambda: re.search(r"is not used.*stray", own.log()), what="a warning")
        for config in (both, first, both):      # it may go and come back
            own.configure(config)
            own.process.send_signal(signal.SIGHUP)
            own.expect(RELOADING="1")
            own.expect(READY="1", STATUS="Ready")
        client = Client(port)
        client.connect("x")
        client.close()


def test_who_comes_while_it_starts_anew_waits_in_the_queue(manager):
    own = manager()
    sock, port = listening()
    with sock:
        own.start(one_listener(port), [sock])
        own.expect(READY="1")
        Client(port).close()
        own.process.terminate()
        own.expect(STOPPING="1")
        assert own.process.wait(STOP_SECONDS) == 0
        waiting = Client(port)
        own.start(one_listener(port), [sock])
        own.expect(READY="1")
        waiting.connect("x")
        waiting.close()


def test_a_unix_socket_that_was_handed_over_keeps_its_file(manager):
    own = manager()
    path = own.run + "/mqtt"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
        sock.listen()
        own.start({"listeners": [{"name": "mqtt", "bind": f"unix:{path}"}]}, [sock])
        own.expect(READY="1")
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5)
            client.connect(path)
            client.sendall(b"\x10\x0d\0\4MQTT\4\2\0\0\0\1u")
            assert client.recv(4) == b"\x20\x02\0\0"
        own.process.terminate()
        assert own.process.wait(STOP_SECONDS) == 0
        assert stat.S_ISSOCK(os.stat(path).st_mode)


def test_a_socket_that_cannot_accept_is_refused(manager):
    own = manager()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        own.start(one_listener(free_port()), [sock], ["mqtt"])
        assert own.process.wait(START_SECONDS) == 3
    assert re.search(r"listener mqtt: what was handed over is not", own.log()), own.log()
    own.process = None


# --- the process ---

def status_of(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as lines:
        return dict(line.rstrip("\n").split(":\t", 1) for line in lines if ":\t" in line)


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@needs_root
def test_it_becomes_the_user_and_keeps_no_right(run_broker, tmp_path):
    nobody = pwd.getpwnam("nobody")
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(folder.stat().st_mode | 0o755)
    log = tmp_path / "log" / "avocet.log"
    log.parent.mkdir()
    os.chown(log.parent, nobody.pw_uid, nobody.pw_gid)
    own = run_broker({"broker": {"user": "nobody"}, "log": {"to": str(log)}})
    own.connect().ping()
    have = status_of(own.process.pid)
    assert have["Uid"].split() == [str(nobody.pw_uid)] * 4
    assert have["Gid"].split() == [str(nobody.pw_gid)] * 4
    assert set(have["Groups"].split()) <= {str(nobody.pw_gid)}
    for rights in ("CapPrm", "CapEff", "CapAmb", "CapInh"):
        assert int(have[rights], 16) == 0, rights
    for task in os.listdir(f"/proc/{own.process.pid}/task"):
        assert status_of(task)["CapEff"] == have["CapEff"]
    # It can still open its log anew, as the user.
    log.rename(tmp_path / "log" / "old")
    own.terminate(signal.SIGUSR1)
    wait_until(log.exists, what="a new log")
    assert log.stat().st_uid == nobody.pw_uid


@needs_root
def test_an_unknown_user_is_refused(tmp_path, command):
    (tmp_path / "a.yaml").write_text(f"broker: {{user: no-such-user, data_dir: {tmp_path}}}\n"
                                     f"listeners: [{{bind: '127.0.0.1:{free_port()}'}}]\n")
    code, _, err = command("-c", "a.yaml")
    assert code == 3 and "no-such-user" in err


def core_limit(pid):
    with open(f"/proc/{pid}/limits", encoding="ascii") as lines:
        return next(line.split()[4:6] for line in lines if line.startswith("Max core file size"))


def may_be_dumped(pid):
    """Files of a process that may not be dumped are root's, with a mode that lets in nobody else."""
    return os.stat(f"/proc/{pid}/fd").st_uid == int(status_of(pid)["Uid"].split()[0])


@pytest.mark.parametrize("user", [pytest.param("nobody", marks=needs_root), ""])
@pytest.mark.parametrize("args", [(), ("--core-files",)])
def test_a_crash_leaves_no_core_file_unless_it_is_asked_for(run_broker, tmp_path, user, args):
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(folder.stat().st_mode | 0o755)
    own = run_broker({"broker": {"user": user}}, args=args)
    own.connect().ping()
    pid = own.process.pid
    assert (core_limit(pid) == ["0", "0"]) == (not args) or core_limit(os.getpid()) == ["0", "0"]
    if int(status_of(pid)["Uid"].split()[0]) != 0:
        assert may_be_dumped(pid) == bool(args)


# --- the log ---

def test_the_log_is_rotated_without_losing_a_line(run_broker, tmp_path):
    log = tmp_path / "avocet.log"
    own = run_broker({"log": {"to": str(log), "level": "debug"}})
    count = 0
    for turn in range(3):
        for _ in range(5):
            own.connect(f"rotated-{count}").disconnect()
            count += 1
        log.rename(tmp_path / f"avocet.log.{turn}")
        own.terminate(signal.SIGUSR1)
        wait_until(log.exists, what="a new log")
    assert stat.S_IMODE(log.stat().st_mode) & 0o137 == 0      # nobody else reads it
    own.connect("last").disconnect()
    wait_until(lambda: "last" in log.read_text(), what="the last line")
    text = "".join(one.read_text() for one in tmp_path.glob("avocet.log*"))
    for i in range(count):
        assert f"rotated-{i}" in text


def test_a_log_that_cannot_be_opened_again_is_kept(run_broker, tmp_path):
    folder = tmp_path / "log"
    folder.mkdir()
    own = run_broker({"log": {"to": str(folder / "avocet.log"), "level": "debug"}})
    folder.rename(tmp_path / "moved")
    old = tmp_path / "moved" / "avocet.log"
    own.terminate(signal.SIGUSR1)
    wait_until(lambda: "cannot be opened again" in old.read_text(), what="a warning")
    own.connect("still-here").disconnect()
    wait_until(lambda: "still-here" in old.read_text(), what="a line in the old file")


def test_each_json_line_parses_and_names_the_client(run_broker, tmp_path):
    log = tmp_path / "avocet.log"
    own = run_broker({"log": {"to": str(log), "level": "debug", "format": "json"}}, test=True,
                     args=("--authority", "at-once"))
    own.connect('id "quoted"\u00e9', username="good", password=b"good").disconnect()
    refused = own.open()
    refused.send(refused_connect("we\\ird", "mallory"))
    refused.wait("CONNACK")
    broken = own.connect("broken", username="good", password=b"good")
    broken.send(b"\xff\x00")
    with pytest.raises(Closed):
        while True:
            broken.recv()

    def lines():
        return [json.loads(line) for line in log.read_text().splitlines()]

    def find(client_id, reason=None):
        return [one for one in lines() if one.get("client_id") == client_id
                and (reason is None or one.get("reason"))]
    for client_id, user, has_reason in (('id "quoted"\u00e9', "good", None), ("we\\ird", "mallory", True),
                                        ("broken", "good", True)):
        wait_until(lambda: find(client_id, has_reason), what=f"a line about {client_id}: {log.read_text()}")
        for line in find(client_id, has_reason):
            assert re.fullmatch(r"127\.0\.0\.1:\d+", line["address"]), line
            assert line["user"] == user, line
            assert line["level"] in ("error", "warning", "info", "debug") and line["message"], line
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"]), line
        if has_reason:
            assert all(re.fullmatch(r"0x[0-9a-f]{2}", one["reason"]) for one in find(client_id, True))


def refused_connect(client_id, user):
    """CONNECT of version 5 with a password that is wrong."""
    def field(text):
        data = text.encode()
        return len(data).to_bytes(2, "big") + data
    body = field("MQTT") + b"\x05\xc2\0\0\0" + field(client_id) + field(user) + field("wrong")
    return b"\x10" + bytes([len(body)]) + body
