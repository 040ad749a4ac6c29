# SPDX-License-Identifier: Apache-2.0
"""The PROXY protocol, versions 1 and 2: who may speak for others, whom the broker takes for the client, and
headers that come late, cut or wrong."""

import re
import select
import struct
import time

import pytest

import conftest
from mqtt import Client, Closed, WebSocket, encode, proxy_v1, proxy_v2, tls_context, wait_until, ws_frame
from test_move import check_answers, send_in_pieces, stream_of
from test_tls import last_failure, raw, read_to_end, server


@pytest.fixture(scope="module")
def module_broker(ca, tmp_path_factory):
    listeners = [{"name": "proxy", "proxy_protocol": True, "allow_anonymous": True},
                 {"name": "tls", "proxy_protocol": True, "allow_anonymous": True, "tls": server(ca)},
                 {"name": "ws", "proxy_protocol": True, "allow_anonymous": True, "protocol": "websocket"},
                 {"name": "wss", "proxy_protocol": True, "allow_anonymous": True, "protocol": "websocket",
                  "tls": server(ca)},
                 {"name": "closed", "proxy_protocol": True}, {"name": "mqtt"}]
    running = conftest.Broker(tmp_path_factory.mktemp("proxy"),
                              {"broker": {"trusted_proxies": ["127.0.0.1", "unix"]}, "listeners": listeners,
                               "limits": {"auth_delay": 0}}, conftest.BIN)
    yield running
    running.stop()


def address_of(broker, client_id):
    line = wait_until(lambda: [one for one in broker.lines("info", "warning") if f"client_id={client_id}" in one],
                      what="a line of the client")[-1]
    return re.search(r'address="?([^ "]+)', line).group(1)


TLV = b"\x05" + struct.pack("!H", 4) + b"uniq"

HEADERS = [(proxy_v1("192.0.2.7"), "192.0.2.7:4711"), (proxy_v1("2001:db8::7", "::1"), "[2001:db8::7]:4711"),
           (proxy_v2("192.0.2.7"), "192.0.2.7:4711"), (proxy_v2("2001:db8::7"), "[2001:db8::7]:4711"),
           (proxy_v2("192.0.2.7", tlvs=TLV), "192.0.2.7:4711"),
           (b"PROXY UNKNOWN\r\n", None), (proxy_v2(), None)]


@pytest.mark.parametrize("header,address", HEADERS)
@pytest.mark.parametrize("listener", ["proxy", "tls", "ws", "wss"])
def test_the_address_is_the_clients(broker, ca, name, listener, header, address):
    options = {"tls": tls_context(ca.cafile)} if listener in ("tls", "wss") else {}
    if listener in ("ws", "wss"):
        options["websocket"] = {}
    client = broker.open(listener=listener, proxy=header, **options)
    client.connect(name)
    client.subscribe((name, 1))
    client.publish(name, bytes(100000), qos=1)
    client.message()
    own = address_of(broker, name)
    assert own == address if address else own.startswith("127.0.0.1:"), own


def test_x_forwarded_for_is_from_behind_the_proxy(broker, name):
    # The header names a client that is not trusted: what that one says of others is not believed.
    client = broker.open(listener="ws", proxy=proxy_v1("192.0.2.7"),
                         websocket={"headers": ["X-Forwarded-For: 203.0.113.5"]})
    client.connect(name)
    assert address_of(broker, name) == "192.0.2.7:4711"


@pytest.mark.parametrize("header", [proxy_v1("192.0.2.7"), proxy_v2("2001:db8::7", tlvs=TLV * 30)])
def test_headers_cut_anywhere(broker, name, header):
    for cut in range(1, len(header), 1 + len(header) // 40):
        with raw(broker.ports["proxy"]) as sock:
            client = Client(broker.ports["mqtt"], 4)
            client.close()
            sock.sendall(header[:cut])
            sock.sendall(header[cut:] + encode(client.connect_packet(f"{name}{cut}"), 4))
            assert sock.recv(4) == b"\x20\x02\0\0"
        assert "127.0.0.1" not in address_of(broker, f"{name}{cut}")
    with raw(broker.ports["proxy"]) as sock:
        data = header + encode(client.connect_packet(name), 4)
        for at in range(len(data)):
            sock.sendall(data[at:at + 1])
        assert sock.recv(4) == b"\x20\x02\0\0"


CONNECT = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01u"


@pytest.mark.parametrize("header", [
    CONNECT, b"\x16\x03\x01\0\x05hello", b"GET / HTTP/1.1\r\n\r\n", b"PROXY TCP4 192.0.2.7\r\n",
    b"PROXY TCP4 192.0.2.7 127.0.0.1 1 99999\r\n", b"PROXY TCP4 192.0.2.256 127.0.0.1 1 2\r\n",
    b"PROXY TCP6 192.0.2.7 127.0.0.1 1 2\r\n", b"PROXY TCP4 192.0.2.7 127.0.0.1 1 2\n" + bytes(120),
    b"PROXY " + b"x" * 200, proxy_v2("192.0.2.7", version=3), proxy_v2("192.0.2.7", command=5),
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff" + bytes(100), b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\4" + bytes(4),
])
def test_what_is_no_header_is_refused(broker, header):
    with raw(broker.ports["proxy"]) as sock:
        sock.sendall(header)
        assert read_to_end(sock) == b""
    last_failure(broker, "PROXY header: ")


def test_a_second_header_is_no_mqtt(broker):
    with raw(broker.ports["proxy"]) as sock:
        sock.sendall(proxy_v1("192.0.2.7") * 2 + CONNECT)
        assert read_to_end(sock) == b""


def test_a_header_at_another_listener_is_refused(broker):
    with raw(broker.ports["mqtt"]) as sock:
        sock.sendall(proxy_v1("192.0.2.7") + CONNECT)
        assert read_to_end(sock) == b""


def test_strangers_are_closed_at_once(run_broker, name):
    own = run_broker({"broker": {"trusted_proxies": ["10.0.0.0/8", "::1"]},
                      "listeners": [{"name": "mqtt"}, {"name": "proxy", "proxy_protocol": True}]})
    for _ in range(3):
        with raw(own.ports["proxy"]) as sock:
            try:
                sock.sendall(proxy_v1("192.0.2.7") + CONNECT)
            except ConnectionError:
                pass
            assert read_to_end(sock) == b""
    own.connect("behind").ping()
    wait_until(lambda: "client_id=behind" in own.log(), what="the line of who came later")
    lines = [one for one in own.lines("warning") if "trusted_proxies" in one]
    # Said once a minute.
    assert len(lines) == 1 and "address=127.0.0.1:" in lines[0] and "listener=proxy" in lines[0], lines


def test_anonymous_clients_are_not_of_this_machine(broker, name):
    # allow_anonymous: auto, on loopback: but the proxy is there, not the client.
    for header in (proxy_v1("192.0.2.7"), proxy_v1("127.0.0.1"), proxy_v2()):
        client = broker.open(listener="closed", proxy=header)
        client.connect(name, expect=0x87)
    assert [one for one in broker.lines("warning") if f"client_id={name}" in one]


def test_checks_of_a_proxy_are_no_news(broker, name):
    # What tests before it have left is in the log by then.
    broker.connect(f"{name}first", listener="mqtt").ping()
    wait_until(lambda: f"{name}first" in broker.log())
    before = len(broker.lines("info", "warning"))
    for data in (b"", proxy_v2(), b"PROXY UNKNOWN\r\n"):
        with raw(broker.ports["proxy"]) as sock:
            sock.sendall(data)
    broker.connect(f"{name}marker", listener="mqtt").ping()
    wait_until(lambda: f"{name}marker" in broker.log())
    assert not [one for one in broker.lines("info", "warning")[before:]
                if "marker" not in one and "listener=closed" not in one]


def test_the_limit_per_address_counts_proxies(run_broker, name):
    own = run_broker({"broker": {"trusted_proxies": ["127.0.0.1"], "max_connections_per_address": 3},
                      "listeners": [{"name": "proxy", "proxy_protocol": True, "allow_anonymous": True}]})
    clients = []
    for i in range(3):
        clients.append(own.open(proxy=proxy_v1(f"192.0.2.{i}")))
        clients[-1].connect(f"{name}{i}")
    with pytest.raises((Closed, ConnectionError)):
        own.open(proxy=proxy_v1("192.0.2.77")).connect("x")
    clients[0].disconnect()
    wait_until(lambda: connects(own, name), what="room for another")


def connects(own, name):
    try:
        own.open(proxy=proxy_v1("192.0.2.77")).connect(name)
        return True
    except (Closed, ConnectionError):
        return False


def test_late_headers_are_bounded_by_connect_timeout(run_broker, ca):
    own = run_broker({"broker": {"trusted_proxies": ["127.0.0.1"]}, "limits": {"connect_timeout": "1s"},
                      "listeners": [{"name": "proxy", "proxy_protocol": True, "allow_anonymous": True},
                                    {"name": "tls", "proxy_protocol": True, "allow_anonymous": True,
                                     "tls": server(ca)}]})
    begin = time.monotonic()
    open_ = set()
    for i in range(40):
        sock = raw(own.ports["proxy" if i % 2 else "tls"])
        sock.sendall((b"", b"PROXY", proxy_v1("192.0.2.7"), proxy_v2("192.0.2.7")[:15])[i // 2 % 4])
        open_.add(sock)
    honest = own.open(listener="proxy", proxy=proxy_v1("192.0.2.8"))
    honest.connect("honest")
    trickle, at = raw(own.ports["proxy"]), 0
    long = proxy_v2("192.0.2.7", tlvs=TLV * 500)
    while open_ or trickle is not None:
        assert time.monotonic() - begin < 5, len(open_)
        if trickle is not None:
            try:
                trickle.sendall(long[at:at + 1])
            except OSError:
                trickle = None
            at += 1
        for sock in select.select(list(open_), [], [], 0.02)[0]:
            assert sock.recv(100) == b""
            sock.close()
            open_.remove(sock)
    assert time.monotonic() - begin > 0.9
    honest.ping()


@pytest.mark.parametrize("version", (3, 4, 5))
def test_moving_behind_a_proxy(run_broker, ca, name, version):
    own = run_broker({"broker": {"trusted_proxies": ["127.0.0.1"], "workers": 4},
                      "listeners": [{"name": "proxy", "proxy_protocol": True, "allow_anonymous": True}]},
                     test=True, args=["--move-always"])
    header = proxy_v2("192.0.2.7", tlvs=TLV)
    with Client(own.port, version) as probe:
        size = len(header) + len(stream_of(probe, name, f"{name}/t"))
    for cut in range(0, size, 3):
        client = own.open(version)
        send_in_pieces(client, header + stream_of(client, f"{name}{cut % 5}", f"{name}/t"), [cut, size - 1 - cut // 2]
                       if cut < size - 1 - cut // 2 else [cut])
        check_answers(client)
        client.close()
    assert "192.0.2.7:4711" in own.log()


def test_all_together_in_one_write(broker, ca, name):
    """PROXY header, WebSocket request and MQTT: each layer finds its bytes."""
    with raw(broker.ports["ws"]) as sock:
        sock.sendall(proxy_v2("192.0.2.7") + WebSocket.request() + ws_frame(CONNECT))
        got = b""
        while not got.endswith(b"\x20\x02\0\0"):
            piece = sock.recv(4096)
            assert piece, got
            got += piece


def test_proxy_protocol_needs_somebody_to_trust(command, tmp_path):
    (tmp_path / "a.yaml").write_text("listeners:\n  - proxy_protocol: true\n")
    code, _, err = command("-t", "-c", "a.yaml")
    assert code == 1 and "a.yaml:2:21: listeners[0].proxy_protocol" in err, err
    (tmp_path / "a.yaml").write_text("broker:\n  trusted_proxies: [10.0.0.1/8, proxy.example]\n")
    code, _, err = command("-t", "-c", "a.yaml")
    assert code == 1 and len(re.findall(r"a\.yaml:2:20: broker\.trusted_proxies", err)) == 2, err
