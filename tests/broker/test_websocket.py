# SPDX-License-Identifier: Apache-2.0
"""WebSocket, and WebSocket over TLS: the HTTP request, frames however they are cut, ping and close, who is
behind a proxy, and moving in the middle of a frame."""

import os
import random
import re
import select
import signal
import socket
import time

import pytest

import conftest
from mqtt import Client, Closed, Timeout, WebSocket, Will, encode, tls_context, wait_until, ws_frame
from test_clients import VERSIONS, every_version, run, tool
from test_move import check_answers, stream_of
from test_tls import last_failure, raw, read_to_end, server

ORIGIN = "https://pages.example"


@pytest.fixture(scope="module")
def module_broker(ca, tmp_path_factory):
    listeners = [{"name": "ws", "protocol": "websocket"},
                 {"name": "wss", "protocol": "websocket", "tls": server(ca)},
                 {"name": "other", "protocol": "websocket", "path": "/other", "origins": [ORIGIN]},
                 {"name": "anywhere", "protocol": "websocket", "path": None},
                 {"name": "mqtt"}]
    running = conftest.Broker(tmp_path_factory.mktemp("ws"),
                              {"broker": {"trusted_proxies": ["127.0.0.0/8", "10.0.0.0/8"]},
                               "listeners": listeners}, conftest.BIN)
    yield running
    running.stop()


@pytest.fixture
def transports(ca):
    """The arguments of mqtt.Client for each listener."""
    return {"ws": {"websocket": {}}, "wss": {"websocket": {}, "tls": tls_context(ca.cafile)},
            "wss-alpn": {"websocket": {}, "tls": tls_context(ca.cafile, alpn=["http/1.1"])}}


def over(transports, kind):
    return {"listener": kind.split("-")[0], "transport": transports[kind]}


every_kind = pytest.mark.parametrize("kind", ["ws", "wss"])


# --- exchanges ---

@every_version
@pytest.mark.parametrize("kind", ["ws", "wss", "wss-alpn"])
def test_messages_of_all_kinds(broker, name, transports, version, kind):
    subscriber = broker.connect(version=version, **over(transports, kind))
    subscriber.subscribe((f"{name}/#", 2))
    publisher = broker.connect(version=version, **over(transports, kind))
    for qos in (0, 1, 2):
        for size in (0, 1, 120, 126, 65530, 300000):
            payload = os.urandom(size)
            publisher.publish(f"{name}/{qos}", payload, qos=qos)
            subscriber.message(payload=payload, qos=qos)
    subscriber.disconnect()


def test_between_transports(broker, name, transports):
    subscribers = [broker.connect(listener="mqtt"), broker.connect(**over(transports, "ws")),
                   broker.connect(**over(transports, "wss"))]
    for one in subscribers:
        one.subscribe((name, 1))
    for publisher in subscribers:
        publisher.publish(name, "x", qos=1)
        for one in subscribers:
            one.message(payload="x", qos=1)


@every_kind
def test_disconnect_and_wills(broker, name, transports, kind):
    watcher = broker.connect(listener="mqtt")
    watcher.subscribe(f"{name}/#")
    client = broker.connect(**over(transports, kind), will=Will(f"{name}/no", "x"))
    client.disconnect()
    assert client.sock.close_code == 1000
    for way in ("close", "close frame", "cut"):
        client = broker.connect(**over(transports, kind), will=Will(f"{name}/{way}", way))
        if way == "close frame":
            client.sock.raw.sendall(ws_frame(b"\x03\xe8", opcode=8))
            client.expect_closed()
            assert client.sock.close_code == 1000
        elif way == "cut":
            client.sock.raw.sendall(ws_frame(b"\x30\x05\0\1xabc")[:7])
            client.close()
        else:
            client.close()
        watcher.message(payload=way, topic=f"{name}/{way}")


@every_kind
def test_goodbye_at_shutdown(run_broker, ca, transports, kind):
    listeners = [{"name": "ws", "protocol": "websocket"},
                 {"name": "wss", "protocol": "websocket", "tls": server(ca)}]
    own = run_broker({"listeners": listeners})
    clients = [own.connect(**over(transports, kind)) for _ in range(5)]
    own.terminate()
    for one in clients:
        one.expect_refused(0x8B)
        assert one.sock.close_code == 1000
    assert own.wait() == 0


# --- the request ---

@pytest.mark.parametrize("protocol", ["mqtt", "mqttv3.1", "mqtt, mqttv3.1", "mqttv3.1, mqtt"])
def test_sub_protocols(broker, protocol):
    client = broker.open(4, listener="ws", websocket={"protocol": protocol})
    client.connect("x")


def refused(broker, status, listener="ws", **websocket):
    with pytest.raises((Closed, ConnectionError)):
        client = broker.open(listener=listener, websocket={"expect": status, **websocket})
        client.sock.raw.settimeout(10)
        while client.sock.raw.recv(4096):
            pass
        raise Closed
    return last_failure(broker, "WebSocket: ")


def test_paths_and_origins(broker):
    refused(broker, 404, path="/")
    refused(broker, 404, path="/other")
    refused(broker, 404, listener="other")
    refused(broker, 403, listener="other", path="/other", headers=["Origin: https://evil.example"])
    for headers in ([], [f"Origin: {ORIGIN}"]):
        broker.open(listener="other", websocket={"path": "/other", "headers": headers}).connect("x")
    broker.open(listener="anywhere", websocket={"path": "/any/where?x=1"}).connect("x")
    broker.open(listener="ws", websocket={"path": "/mqtt?token=x", "headers": ["Origin: null"]}).connect("x")


def test_protocols_of_others_are_refused(broker):
    refused(broker, 400, protocol="chat")
    refused(broker, 400, protocol=None)


def answer_to(port, data):
    with raw(port) as sock:
        sock.sendall(data)
        return read_to_end(sock)


def test_requests_that_are_no_upgrade(broker):
    port = broker.ports["ws"]
    good = WebSocket.request()
    for data in (b"GET /mqtt HTTP/1.1\r\nHost: x\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n",
                 good.replace(b"GET", b"POST"), good.replace(b"Version: 13", b"Version: 8"),
                 good.replace(b"Upgrade: websocket\r\n", b""), good.replace(WebSocket.KEY, b"short"),
                 good.replace(b"\r\nHost", b"\r\n Host")):
        head = answer_to(port, data)
        assert re.match(rb"HTTP/1\.1 4\d\d ", head), (data, head)
        assert last_failure(broker, "WebSocket: ")


def test_what_is_no_http_is_refused(broker, ca):
    client = Client(broker.port, 4)
    for data in (encode(client.connect_packet("x"), 4), b"\x16\x03\x01\0\x05hello", b"\0" * 1000):
        head = answer_to(broker.ports["ws"], data)
        assert b"\x20\x02\0\0" not in head
    client.close()
    assert re.match(rb"HTTP/1\.1 431 ", answer_to(broker.ports["ws"], b"GET /mqtt HTTP/1.1\r\nX: " + b"x" * 20000))


def test_websocket_at_a_plain_listener_is_refused(broker):
    assert b"HTTP" not in answer_to(broker.ports["mqtt"], WebSocket.request())


def test_connect_right_behind_the_request(broker, name):
    for cut in (0, 1, 20, 100, 180, None):
        with raw(broker.ports["ws"]) as sock:
            client = Client(broker.ports["mqtt"], 4)
            client.close()
            data = WebSocket.request() + ws_frame(encode(client.connect_packet(name), 4))
            for piece in (data[:cut], data[cut:]) if cut is not None else (data[i:i + 1] for i in range(len(data))):
                sock.sendall(piece)
            got = b""
            while not got.endswith(b"\x82\x04\x20\x02\0\0"):
                piece = sock.recv(4096)
                assert piece, got
                got += piece


def test_half_open_handshakes_are_bounded_by_connect_timeout(run_broker, ca, transports):
    listeners = [{"name": "ws", "protocol": "websocket"}, {"name": "wss", "protocol": "websocket", "tls": server(ca)}]
    own = run_broker({"listeners": listeners, "limits": {"connect_timeout": "1s"}})
    data = WebSocket.request()
    begin = time.monotonic()
    open_ = set()
    for i in range(40):
        sock = raw(own.ports["ws"])
        # nothing, the middle of the head, all of it, and half a frame
        sock.sendall((b"", data[:i + 1], data, data + ws_frame(b"\x10\x20")[:3])[i % 4])
        open_.add(sock)
    trickle, at = raw(own.ports["ws"]), 0
    honest = [own.connect(**over(transports, kind)) for kind in ("ws", "wss")]
    while open_ or trickle is not None:
        assert time.monotonic() - begin < 5, len(open_)
        if trickle is not None:
            try:
                trickle.sendall(data[at:at + 1])
            except OSError:
                trickle = None
            at += 1
        for sock in select.select(list(open_), [], [], 0.02)[0]:
            try:
                if sock.recv(65536):
                    continue
            except ConnectionResetError:
                pass
            sock.close()
            open_.remove(sock)
    assert time.monotonic() - begin > 0.9
    for one in honest:
        one.ping()


# --- frames ---

def pieces_of(data, cuts):
    begin = 0
    for cut in [*sorted(cuts), len(data)]:
        yield data[begin:cut]
        begin = cut


def fragments(data, cuts, ping=False):
    """One message in several frames, with pings between them."""
    parts = list(pieces_of(data, cuts))
    out = b""
    for i, part in enumerate(parts):
        out += ws_frame(part, opcode=2 if i == 0 else 0, fin=int(i == len(parts) - 1))
        if ping:
            out += ws_frame(b"p%d" % i, opcode=9)
    return out


@every_version
@every_kind
def test_frames_cut_and_coalesced(broker, name, transports, version, kind):
    """Frames have nothing to do with packets."""
    dice = random.Random(version)
    for i in range(25):
        client = broker.open(version, kind, **transports[kind])
        data = stream_of(client, f"{name}{i}", f"{name}/t{i}")
        cuts = [dice.randrange(len(data)) for _ in range(dice.randrange(8))]
        if i % 3 == 0:
            sent = fragments(data, cuts, ping=i % 2 == 0)
        elif i % 3 == 1:
            sent = b"".join(ws_frame(one) for one in pieces_of(data, cuts))
        else:
            sent = b"".join(ws_frame(data[at:at + 1]) for at in range(len(data)))
        for piece in pieces_of(sent, [dice.randrange(len(sent)) for _ in range(3)]):
            client.sock.raw.sendall(piece)
        check_answers(client)
        client.close()


def test_pings_are_answered(broker, transports):
    for kind in ("ws", "wss"):
        client = broker.connect(**over(transports, kind))
        for payload in (b"", b"hello", bytes(125)):
            client.sock.raw.sendall(ws_frame(payload, opcode=9))
            client.ping()
        assert client.sock.pongs == [b"", b"hello", bytes(125)]
        client.sock.raw.sendall(ws_frame(b"unasked", opcode=10))
        client.ping()


@pytest.mark.parametrize("data,code,why", [
    (ws_frame(b"\xc0\0", mask=None), 1002, "mask"),
    (ws_frame(b"\xc0\0", opcode=1), 1003, ""),
    (ws_frame(b"\xc0\0", opcode=3), 1002, ""),
    (ws_frame(b"\xc0\0", rsv=4), 1002, ""),
    (ws_frame(b"\xc0\0", opcode=0), 1002, ""),
    (ws_frame(bytes(126), opcode=9), 1002, ""),
    (ws_frame(b"x", opcode=9, fin=0), 1002, ""),
    (ws_frame(b"\x03", opcode=8), 1002, ""),
], ids=["unmasked", "text", "opcode", "rsv", "continuation", "long ping", "cut ping", "short close"])
def test_frames_that_are_refused(broker, name, transports, data, code, why):
    watcher = broker.connect(listener="mqtt")
    watcher.subscribe(name)
    client = broker.connect(**over(transports, "ws"), will=Will(name, "bad"))
    client.sock.raw.sendall(data)
    client.expect_closed()
    assert client.sock.close_code == code
    watcher.message(payload="bad")
    last_failure(broker, f"WebSocket: .*{why}")


def test_a_flood_of_pings_is_bounded(broker, transports):
    client = broker.connect(**over(transports, "ws"))
    client.sock.raw.settimeout(5)
    flood = ws_frame(bytes(125), opcode=9) * 500
    try:
        for _ in range(40):
            client.sock.raw.sendall(flood)
    except (socket.timeout, ConnectionError):
        pass
    broker.connect(listener="mqtt").ping()


def test_packets_too_large_are_refused_as_ever(broker, transports):
    client = broker.connect(**over(transports, "ws"))
    client.sock.raw.sendall(ws_frame(b"\x30\xff\xff\xff\x7f\0\1x"))
    client.expect_refused(0x95)


# --- behind a proxy ---

@pytest.mark.parametrize("headers,address", [
    (["X-Forwarded-For: 192.0.2.7"], "192.0.2.7"),
    (["X-Forwarded-For: 192.0.2.9, 192.0.2.7, 10.1.2.3"], "192.0.2.7"),
    (["X-Forwarded-For: 192.0.2.9", "X-Forwarded-For: 192.0.2.7"], "192.0.2.7"),
    (["X-Forwarded-For: 2001:db8::7"], "2001:db8::7"),
    (["X-Forwarded-For: nonsense"], "127.0.0.1"),
    ([], "127.0.0.1"),
])
def test_x_forwarded_for_of_a_trusted_proxy(broker, name, headers, address):
    broker.open(listener="ws", websocket={"headers": headers}).connect(name)
    line = wait_until(lambda: [one for one in broker.lines("info") if f"client_id={name}" in one])[-1]
    assert re.search(rf'address="?\[?{re.escape(address)}\]?:\d', line), line


def test_x_forwarded_for_of_others_is_ignored(run_broker, name):
    own = run_broker({"listeners": [{"name": "ws", "protocol": "websocket"}],
                      "broker": {"trusted_proxies": ["10.0.0.0/8"]}})
    own.open(listener="ws", websocket={"headers": ["X-Forwarded-For: 192.0.2.7"]}).connect(name)
    line = wait_until(lambda: [one for one in own.lines("info") if f"client_id={name}" in one])[-1]
    assert "address=127.0.0.1:" in line, line


# --- moving ---

@pytest.fixture(scope="module")
def moving(ca, tmp_path_factory):
    listeners = [{"name": "ws", "protocol": "websocket"}, {"name": "wss", "protocol": "websocket", "tls": server(ca)}]
    running = conftest.Broker(tmp_path_factory.mktemp("moving"),
                              {"broker": {"workers": 4}, "listeners": listeners, "limits": {"auth_delay": 0}},
                              conftest.TEST_BIN, ["--move-always"])
    yield running
    running.stop()


@every_version
@every_kind
def test_moving_with_every_frame_cut(moving, name, transports, version, kind):
    """One message of CONNECT, SUBSCRIBE and PUBLISHes in two frames, and one frame in two segments."""
    with Client(moving.port, version) as probe:
        size = len(stream_of(probe, name, f"{name}/t"))
    for cut in range(0, size, 4):
        client = moving.open(version, kind, **transports[kind])
        data = stream_of(client, f"{name}{cut % 7}", f"{name}/t")
        if cut % 8 == 0:
            client.sock.raw.sendall(fragments(data, [cut], ping=True))
        else:
            sent = ws_frame(data)
            client.sock.raw.sendall(sent[:cut])
            client.sock.raw.sendall(sent[cut:])
        check_answers(client)
        client.close()


@every_kind
def test_moving_with_all_behind_the_request(moving, name, ca, kind):
    context = tls_context(ca.cafile)
    for i in range(20):
        with Client(moving.port, 5) as client:
            data = stream_of(client, f"{name}{i % 3}", f"{name}/t")
        sock = raw(moving.ports[kind])
        if kind == "wss":
            sock = context.wrap_socket(sock, server_hostname="localhost")

        class Together(WebSocket):
            """Sends all at once."""

            @classmethod
            def request(cls, *args):
                return WebSocket.request(*args) + fragments(data, [i * 5, i * 7], ping=True)

        client.sock = Together(sock)
        client._buffer.clear()
        check_answers(client)
        client.close()


# --- reload ---

def test_a_reload_in_the_middle_of_the_request(run_broker, name):
    """The options of a handshake outlive the configuration that they are part of."""
    own = run_broker({"listeners": [{"name": "ws", "protocol": "websocket", "origins": [ORIGIN]}, {"name": "mqtt"}]})
    data = WebSocket.request(headers=[f"Origin: {ORIGIN}"])

    def reload():
        before = len(own.log())
        own.terminate(signal.SIGHUP)
        wait_until(lambda: "loaded again" in own.log()[before:], what="the reload")

    reload()        # the first configuration lives as long as the program
    socks = [raw(own.ports["ws"]) for _ in range(10)]
    for i, sock in enumerate(socks):
        sock.sendall(data[:i * 15])
    own.connect(listener="mqtt").ping()
    for _ in range(3):
        reload()
    own.connect(listener="mqtt").ping()
    for i, sock in enumerate(socks):
        sock.sendall(data[i * 15:])
        assert sock.recv(4096).startswith(b"HTTP/1.1 101 "), i
        sock.close()


# --- clients that others wrote ---

@every_version
def test_mosquitto_beside_it(broker, name, transports, version):
    """What a page publishes arrives at a device, and the other way round."""
    page = broker.connect(version=version, **over(transports, "wss"))
    page.subscribe((f"{name}/up", 1))
    run(tool("mosquitto_pub"), "-p", broker.ports["mqtt"], "-V", VERSIONS[version], "-t", f"{name}/up", "-m", "x", "-q", 1)
    page.message(payload="x", qos=1)
    page.publish(f"{name}/down", "y", qos=1, retain=1)
    assert run(tool("mosquitto_sub"), "-p", broker.ports["mqtt"], "-V", VERSIONS[version], "-t", f"{name}/down",
               "-C", 1) == "y\n"


def test_nothing_is_sent_before_connect(broker):
    client = broker.open(listener="ws", websocket={})
    with pytest.raises(Timeout):
        client.recv(0.2)
