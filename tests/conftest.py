# SPDX-License-Identifier: Apache-2.0
"""Starts and stops the broker that the tests of the folders below talk to.

`broker` is shared by the tests of a module (one per pytest-xdist worker), with the module's CONFIG if
it has one; `run_broker(config)` starts one for a single test. When a broker is stopped it must exit
with 0, and its log must have no line of level error and no report of a sanitizer.

AVOCET_BIN names the program, AVOCET_TEST_BIN the one that `run_broker(test=True)` starts.
"""

import itertools
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import pytest

TOP = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TOP / "tests" / "lib"), str(TOP / "tests" / "broker")]
sys.dont_write_bytecode = True

import certificates  # noqa: E402
import mqtt  # noqa: E402
import statements  # noqa: E402

BIN = os.environ.get("AVOCET_BIN", str(TOP / "build/gcc/avocet"))
TEST_BIN = os.environ.get("AVOCET_TEST_BIN", str(TOP / "build/gcc/tests/broker/avocet-test"))
WORKERS = int(os.environ.get("AVOCET_TEST_WORKERS", "2"))       # of a broker whose test does not care
START_SECONDS = 15
STOP_SECONDS = 15

SANITIZER = re.compile(r"AddressSanitizer|LeakSanitizer|ThreadSanitizer|MemorySanitizer|"
                       r"UndefinedBehaviorSanitizer|runtime error:")
# `2026-11-24T11:13:23.042Z error sentence key=value`, the time may be missing; or a JSON object.
LEVEL = re.compile(r'^(?:\d{4}-\d\d-\d\dT\S+ )?(error|warning|info|debug) |"level":"(\w+)"')

_ports = itertools.count()
_ids = itertools.count(1)


def free_port():
    """A port below those that the system gives to outgoing connections, another for each worker."""
    worker = int(re.sub(r"\D", "", os.environ.get("PYTEST_XDIST_WORKER", "0")) or 0)
    while True:
        port = 12000 + worker % 8 * 2400 + (os.getpid() * 37 + next(_ports)) % 2400
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def _scalar(value):
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9/][A-Za-z0-9/_.-]*", value):
        return value
    return json.dumps(value)


def yaml_text(value, indent=0):
    """A configuration of dicts, lists and scalars as YAML in block style."""
    pad = "  " * indent
    lines = []
    if isinstance(value, dict):
        for key, inner in value.items():
            if isinstance(inner, (dict, list)) and inner:
                lines.append(f"{pad}{key}:\n{yaml_text(inner, indent + 1)}")
            elif isinstance(inner, (dict, list)):
                lines.append(f"{pad}{key}: {'{}' if isinstance(inner, dict) else '[]'}\n")
            else:
                lines.append(f"{pad}{key}: {_scalar(inner)}\n")
    else:
        for inner in value:
            if isinstance(inner, dict):
                lines.append(f"{pad}- " + yaml_text(inner, indent + 1).lstrip())
            else:
                lines.append(f"{pad}- {_scalar(inner)}\n")
    return "".join(lines)


def merged(base, over):
    """`over` laid over `base`; a list replaces a list."""
    out = dict(base)
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(out.get(key), dict):
            out[key] = merged(out[key], value)
        else:
            out[key] = value
    return out


def environment():
    env = dict(os.environ)
    env.setdefault("ASAN_OPTIONS", "detect_leaks=1:abort_on_error=0")
    env.setdefault("UBSAN_OPTIONS", "print_stacktrace=1")
    env.pop("NOTIFY_SOCKET", None)
    return env


def need(program):
    if not os.access(program, os.X_OK):
        pytest.skip(f"{program} is not there: build it, or set AVOCET_BIN or AVOCET_TEST_BIN")


class Broker:
    """A running broker: its ports, its log, and the clients that tests opened to it."""

    def __init__(self, folder, config, program, args=(), expected_errors=None, env=None):
        self.env = env or {}
        self.args = [str(one) for one in args]
        self.expected_errors = expected_errors
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.program = program
        self.run = pathlib.Path(tempfile.mkdtemp(prefix="avocet-"))     # short: for the socket
        self.log_file = self.folder / "stderr"
        self.config_file = self.folder / "avocet.yaml"
        self.clients = []
        self.process = None
        self._given = config
        self.start()

    def start(self):
        """Starts it, anew if it was stopped, and waits until it is ready; takes another port if somebody was faster."""
        need(self.program)
        self.run.mkdir(mode=0o700, exist_ok=True)
        for attempt in range(5):
            self._write_config()
            with open(self.log_file, "ab") as log, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
                told.bind("")       # the system gives it a name
                name = "@" + told.getsockname()[1:].decode()
                self.process = subprocess.Popen([self.program, "-c", str(self.config_file), *self.args],
                                                stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self.folder,
                                                env={**environment(), "NOTIFY_SOCKET": name, **self.env})
                if self._is_ready(told):
                    return
            if self.process.returncode != 3 or attempt == 4:
                raise AssertionError(f"{self.program} exited with {self.process.returncode}:\n"
                                     f"{self.log()}\n{self.config_file.read_text()}")
            self.log_file.unlink()

    def _write_config(self):
        base = {"broker": {"workers": WORKERS, "data_dir": str(self.folder), "sys_interval": "1s",
                           "control": str(self.run / "control.sock")},
                "listeners": [{"name": "mqtt"}]}
        config = merged(base, self._given)
        self.ports = {}
        listeners = []
        for listener in config["listeners"]:
            listener = dict(listener)
            if "bind" not in listener:
                self.ports[listener["name"]] = free_port()
                listener["bind"] = f"127.0.0.1:{self.ports[listener['name']]}"
            listeners.append(listener)
        config["listeners"] = listeners
        self.port = next(iter(self.ports.values()))
        self.config_file.write_text(yaml_text(config))

    def _is_ready(self, told):
        """Waits until it says so; False if the process has ended."""
        deadline = time.monotonic() + START_SECONDS
        told.settimeout(0.05)
        while self.process.poll() is None:
            try:
                if b"READY=1" in told.recv(4096):
                    return True
            except TimeoutError:
                pass
            if time.monotonic() > deadline:
                self.process.kill()
                self.process.wait()
                raise AssertionError(f"not ready within {START_SECONDS} s:\n{self.log()}")
        return False

    # clients

    def open(self, version=5, listener=None, **options):
        """A connection without CONNECT."""
        client = mqtt.Client(self.ports[listener] if listener else self.port, version, **options)
        self.clients.append(client)
        return client

    def connect(self, client_id=None, version=5, listener=None, transport=None, **options):
        """A client that has its CONNACK. Without a client id it has one that no other test uses.
        transport: arguments of mqtt.Client."""
        client = self.open(version, listener, **(transport or {}))
        client.connect(f"c{os.getpid()}x{next(_ids)}" if client_id is None else client_id, **options)
        return client

    def close_clients(self):
        for client in self.clients:
            client.close()
        self.clients.clear()

    # log

    def log(self):
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def lines(self, *levels):
        """The lines of the log that have one of these levels."""
        found = []
        for line in self.log().splitlines():
            match = LEVEL.search(line)
            if match and (match.group(1) or match.group(2)) in levels:
                found.append(line)
        return found

    # the end

    def terminate(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    def crash(self):
        """kill -9: start() begins anew with what is on disk."""
        self.process.kill()
        self.process.wait()
        self.close_clients()

    def wait(self):
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"still running {STOP_SECONDS} s after the signal:\n{self.log()}")

    def stop(self):
        """Ends it, if it still runs, and judges its life. The clients are closed first: a stop with
        clients is for the tests of shutdown."""
        self.close_clients()
        try:
            if self.process.poll() is None:
                self.terminate()
            code = self.wait()
            log = self.log()
            assert code == 0, f"exit code {code}:\n{log[-20000:]}"
            assert not SANITIZER.search(log), log[-40000:]
            errors = [one for one in self.lines("error")
                      if not (self.expected_errors and re.search(self.expected_errors, one))]
            assert not errors, "\n".join(errors)
        finally:
            shutil.rmtree(self.run, ignore_errors=True)


def pytest_configure(config):
    statements.configure(config)


def pytest_collection_modifyitems(config, items):
    statements.select(config, items)


def pytest_runtest_setup(item):
    statements.note(item)


def pytest_runtest_logreport(report):
    statements.collect(report)


def pytest_sessionfinish(session):
    statements.finish(session)


@pytest.fixture(scope="module")
def module_broker(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.module.__name__)
    running = Broker(folder, getattr(request.module, "CONFIG", {}), BIN)
    yield running
    running.stop()


@pytest.fixture
def broker(module_broker):
    """The broker of the module. A test that finds it dead starts another."""
    if module_broker.process.poll() is not None:
        module_broker.start()
    yield module_broker
    module_broker.close_clients()
    code = module_broker.process.poll()
    assert code is None, f"the broker has ended with {code}:\n{module_broker.log()[-20000:]}"


@pytest.fixture
def run_broker(request, tmp_path):
    """run_broker(config={}, test=False, args=(), expected_errors=None, env={}): a broker for this test alone.
    args go to the program; lines of level error that match expected_errors are no failure."""
    started = []

    def run(config=None, test=False, args=(), expected_errors=None, env=None):
        statements.program(request, "avocet-test" if test else "avocet")
        running = Broker(tmp_path / f"broker{len(started)}", config or {}, TEST_BIN if test else BIN,
                         args, expected_errors, env)
        started.append(running)
        return running

    yield run
    for running in started:
        running.stop()


@pytest.fixture(scope="session")
def ca(tmp_path_factory):
    """An authority that has issued a server's certificate, `ca.server_pair`."""
    authority = certificates.Authority(tmp_path_factory.mktemp("ca"))
    authority.server_pair = authority.server()
    return authority


@pytest.fixture
def name():
    """A text that no other test has: for client ids and topics. 0-9 a-z, short."""
    return f"n{os.getpid()}x{next(_ids)}"


@pytest.fixture
def command(tmp_path):
    """command(args...): runs the program to its end in tmp_path; (exit code, stdout, stderr)."""
    need(BIN)

    def run(*args, timeout=STOP_SECONDS):
        done = subprocess.run([BIN, *map(str, args)], cwd=tmp_path, capture_output=True, text=True,
                              timeout=timeout, env=environment(), stdin=subprocess.DEVNULL)
        assert not SANITIZER.search(done.stderr), done.stderr
        return done.returncode, done.stdout, done.stderr

    return run
