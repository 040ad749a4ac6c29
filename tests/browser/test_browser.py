# SPDX-License-Identifier: Apache-2.0
"""A page with MQTT.js inside headless Chromium: publishes and subscribes over WS and WSS.

`./dev test --browser` runs it, and installs the browser; no other suite does. The page and MQTT.js come from a
server on loopback, its origin is the only one that the listeners let in. The page posts what it has done.
"""

import base64
import hashlib
import http.server
import pathlib
import queue
import shutil
import subprocess
import sys
import threading
import urllib.parse

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "broker"))

import conftest  # noqa: E402
from conftest import ca, name  # noqa: E402, F401
from test_matrix import NAMES, STEPS, mqttjs_package  # noqa: E402, F401

SECONDS = 40
FLAGS = ("--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
         "--disable-component-update --disable-sync").split()


@pytest.fixture(scope="module")
def pages(mqttjs_package):  # noqa: F811
    """A server of the page: its `origin`, and the queue of what pages have posted."""
    files = {"/page.html": (HERE / "page.html", "text/html"),
             "/mqttjs.js": (conftest.TOP / "tests/broker/mqttjs.js", "text/javascript"),
             "/mqtt.min.js": (mqttjs_package / "dist/mqtt.min.js", "text/javascript")}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            path, kind = files.get(urllib.parse.urlsplit(self.path).path, (None, None))
            if path is None:
                self.send_error(404)
                return
            body = path.read_bytes()
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self):
            self.server.posted.put(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.posted = queue.Queue()
    server.origin = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def module_broker(ca, pages, tmp_path_factory):  # noqa: F811
    certificate, key = ca.server_pair
    tls = {"certfile": str(certificate), "keyfile": str(key)}
    web = {"protocol": "websocket", "origins": [pages.origin]}
    running = conftest.Broker(
        tmp_path_factory.mktemp("browser"),
        {"listeners": [{"name": "ws", **web}, {"name": "wss", **web, "tls": tls},
                       {"name": "elsewhere", **web, "origins": ["https://elsewhere.example"]}]}, conftest.BIN)
    yield running
    running.stop()


@pytest.fixture
def chromium(ca, pages, tmp_path):  # noqa: F811
    """chromium(url): opens it, and gives the lines that the page has posted."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("chromium is not installed")
    public = subprocess.run(["openssl", "x509", "-in", ca.server_pair[0], "-noout", "-pubkey"],
                            capture_output=True, check=True).stdout
    der = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "DER"], input=public, capture_output=True,
                         check=True).stdout
    pin = base64.b64encode(hashlib.sha256(der).digest()).decode()

    def open_page(**query):
        url = f"{pages.origin}/page.html?{urllib.parse.urlencode(query)}"
        log = tmp_path / "chromium.log"
        with open(log, "wb") as out:
            process = subprocess.Popen([program, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}",
                                        f"--ignore-certificate-errors-spki-list={pin}", url],
                                       stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        try:
            return pages.posted.get(timeout=SECONDS).splitlines()
        except queue.Empty:
            raise AssertionError(f"the page posted nothing:\n{log.read_text(errors='replace')[-3000:]}") from None
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    return open_page


@pytest.mark.parametrize("version", NAMES)
@pytest.mark.parametrize("kind", ["ws", "wss"])
def test_a_page(module_broker, chromium, name, kind, version):  # noqa: F811
    lines = chromium(url=f"{kind}://localhost:{module_broker.ports[kind]}/mqtt", prefix=name, version=version)
    print(f"MQTT.js, {kind}, {NAMES[version]}: {'; '.join(lines)}")
    assert lines[:-1] == [f"ok {step}" for step in STEPS]
    assert lines[-1].startswith("end ")


def test_a_page_of_another_origin_is_refused(module_broker, chromium, name):  # noqa: F811
    lines = chromium(url=f"ws://localhost:{module_broker.ports['elsewhere']}/mqtt", prefix=name, version=4)
    print(f"MQTT.js, ws, a page of another origin: {'; '.join(lines)}")
    assert len(lines) == 1 and lines[0].startswith("error "), lines
    assert "WebSocket: " in module_broker.log()
