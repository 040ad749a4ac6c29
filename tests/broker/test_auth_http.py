# SPDX-License-Identifier: Apache-2.0
"""The example auth-http with a real web service: slow, wrong, silent, and many questions at once."""

import http.server
import os
import shutil
import subprocess
import threading
import time
import urllib.parse

import pytest

from mqtt import wait_until
from test_plugin import CC, CFLAGS, HERE, INCLUDE, login, reason_of_login, reload, rewrite

SOURCE = os.path.join(HERE, "..", "..", "doc", "examples", "auth-http", "auth-http.c")


def has_curl():
    return shutil.which(CC) and shutil.which("pkg-config") and \
        subprocess.run(["pkg-config", "--exists", "libcurl"]).returncode == 0


pytestmark = pytest.mark.skipif(not has_curl(), reason="there is no compiler, or no libcurl")


@pytest.fixture(scope="session")
def module(tmp_path_factory):
    out = tmp_path_factory.mktemp("auth-http") / "auth-http.so"
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "libcurl"], capture_output=True, text=True).stdout.split()
    subprocess.run([CC, "-std=c11", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-fvisibility=hidden", f"-I{INCLUDE}",
                    *CFLAGS, SOURCE, "-o", out, *flags, "-lpthread"], check=True)
    return str(out)


class Service(http.server.ThreadingHTTPServer):
    """Answers by the user name: NUMBER is the status, NUMBER:MS comes so much later."""
    daemon_threads = True
    request_queue_size = 1024

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.forms, self.at_once, self.most, self.lock = [], 0, 0, threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/mqtt"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        service = self.server
        text = self.rfile.read(int(self.headers["Content-Length"])).decode()
        form = {key: value[0] for key, value in urllib.parse.parse_qs(text, keep_blank_values=True).items()}
        with service.lock:
            service.forms.append(form)
            service.at_once += 1
            service.most = max(service.most, service.at_once)
        status, _, ms = form["username"].partition(":")
        time.sleep(int(ms or 0) / 1000)
        with service.lock:
            service.at_once -= 1
        try:
            self.send_response(int(status))
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")
        except OSError:
            pass

    def log_message(self, *_):
        pass


@pytest.fixture
def service():
    made = Service()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def with_service(run_broker, module, service):
    def run(timeout="5s", **config):
        return run_broker(config={
            "limits": {"auth_delay": 0},
            "plugins": [{"name": "web", "module": module, "config": {"url": service.url, **config}}],
            "chains": {"default": {"authenticate": [{"use": "web", "timeout": timeout}]}}})
    return run


def test_the_status_is_the_answer(with_service, service):
    broker = with_service()
    for user, good in (("200", True), ("204", True), ("401", False), ("403", False), ("404", False), ("500", False),
                       ("302", False)):
        assert (reason_of_login(broker, user) == 0) == good, user
    assert service.forms[0] == {"username": "200", "password": "x", "address": "127.0.0.1",
                                "client_id": service.forms[0]["client_id"]}


def test_what_is_sent_is_escaped(with_service, service):
    broker = with_service()
    client = broker.open()
    client.send(client.connect_packet("c&d=e%", username="403", password="a&b=c d+é"))
    client.expect("CONNACK")
    assert service.forms[0]["password"] == "a&b=c d+é" and service.forms[0]["client_id"] == "c&d=e%"


def test_many_at_once_take_as_long_as_one(with_service, service):
    broker = with_service(connections=500)
    clients = [login(broker, f"{200 if i % 2 else 403}:800") for i in range(150)]
    bystander = broker.connect()
    bystander.subscribe("t")
    wait_until(lambda: service.at_once > 20)
    bystander.publish("t", "x", qos=1)          # while they are out
    bystander.message()
    for i, client in enumerate(clients):
        assert (client.expect("CONNACK").reason == 0) == bool(i % 2)
    assert service.most > 20


def test_a_silent_service_is_an_error_in_time(with_service):
    broker = with_service(timeout="300ms")
    begin = time.monotonic()
    assert reason_of_login(broker, "200:60000") != 0
    assert time.monotonic() - begin < 30
    assert reason_of_login(broker, "200") == 0


def test_no_service_is_an_error(with_service, service):
    broker = with_service()
    service.shutdown()
    service.server_close()
    assert reason_of_login(broker, "200") != 0
    broker.connect().ping()


def test_clients_that_leave_and_a_reload_meanwhile(with_service, service):
    broker = with_service()
    clients = [login(broker, "200:300") for _ in range(30)]
    for client in clients[::2]:
        client.reset()
    rewrite(broker, service.url, service.url + "/new")
    reload(broker)
    for client in clients[1::2]:
        assert client.expect("CONNACK").reason == 0
    assert reason_of_login(broker, "200") == 0
    wait_until(lambda: service.at_once == 0)
    assert "times so far" not in broker.log()
