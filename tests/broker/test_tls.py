# SPDX-License-Identifier: Apache-2.0
"""TLS: who gets through the handshake, and who a client is by its certificate or key."""

import os
import random
import re
import select
import shutil
import socket
import ssl
import subprocess
import threading
import time

import pytest

import conftest
from certificates import Authority
from mqtt import Will, encode, tls_context, wait_until
from test_clients import every_version, tool

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
PSK = bytes(range(16)).hex()


@pytest.fixture(scope="module")
def clients(ca, tmp_path_factory):
    """Certificates of clients: name -> (certificate, key)."""
    stranger = Authority(tmp_path_factory.mktemp("stranger"), "Somebody else")
    pairs = {"alice": ca.issue("alice", "/O=Home/CN=alice", "email:alice@example.org"),
             "nameless": ca.issue("nameless", "/O=Nobody"),
             "good": ca.issue("good"), "stranger": ca.issue("stranger"),
             "revoked": ca.issue("revoked"), "expired": ca.issue("expired", ends="20210101000000Z"),
             "foreign": stranger.issue("alice")}
    ca.revoke(pairs["revoked"][0])
    ca.crlfile = ca.crl()
    return pairs


def server(ca, **more):
    certificate, key = ca.server_pair
    return {"certfile": str(certificate), "keyfile": str(key), **more}


@pytest.fixture(scope="module")
def module_broker(ca, clients, tmp_path_factory):
    cafile = str(ca.cafile)
    listeners = [
        {"name": "mqtt"},
        {"name": "tls", "tls": server(ca)},
        {"name": "tls13", "tls": server(ca, min_version="1.3")},
        {"name": "ciphers", "tls": server(ca, ciphers="ECDHE-ECDSA-AES256-GCM-SHA384",
                                          ciphersuites="TLS_AES_256_GCM_SHA384")},
        {"name": "cn", "allow_anonymous": False,
         "tls": server(ca, cafile=cafile, crlfile=str(ca.crlfile), require_certificate=True,
                       username_from="cn")},
        {"name": "subject", "tls": server(ca, cafile=cafile, username_from="subject")},
        {"name": "san", "tls": server(ca, cafile=cafile, username_from="san")},
        {"name": "id", "username_as_client_id": True,
         "tls": server(ca, cafile=cafile, username_from="cn")},
    ]
    running = conftest.Broker(tmp_path_factory.mktemp("tls"),
                              {"listeners": listeners, "limits": {"auth_delay": 0}}, conftest.BIN)
    yield running
    running.stop()


@pytest.fixture
def tls(ca, clients):
    """tls(name=None, **settings): a client's context, with the certificate of that name."""
    return lambda name=None, **settings: tls_context(ca.cafile, *clients.get(name, (None, None)), **settings)


def version_of(number):
    return {"minimum_version": number, "maximum_version": number}


TLS12, TLS13 = version_of(ssl.TLSVersion.TLSv1_2), version_of(ssl.TLSVersion.TLSv1_3)
every_tls = pytest.mark.parametrize("settings", [TLS12, TLS13], ids=["1.2", "1.3"])


# --- exchanges ---

@every_version
@every_tls
def test_messages_of_all_kinds(broker, name, tls, version, settings):
    subscriber = broker.connect(version=version, listener="tls", transport={"tls": tls(**settings)})
    subscriber.subscribe((f"{name}/#", 2))
    publisher = broker.connect(version=version, listener="tls", transport={"tls": tls(**settings)})
    for qos in (0, 1, 2):
        for size in (0, 1, 16384, 300000):
            payload = os.urandom(size)
            publisher.publish(f"{name}/{qos}", payload, qos=qos)
            subscriber.message(payload=payload, qos=qos)
    subscriber.disconnect()


def test_a_burst_in_both_directions(broker, name, tls):
    client = broker.connect(listener="tls", transport={"tls": tls()})
    client.subscribe(name)
    payloads = [os.urandom(random.choice((0, 10, 5000, 40000))) for _ in range(200)]
    writer = threading.Thread(target=lambda: [client.send(client.publish_packet(name, one))
                                              for one in payloads[:40]])
    writer.start()
    for payload in payloads[:40]:
        client.message(payload=payload)
    writer.join()


def test_a_client_that_reads_nothing_costs_others_nothing(run_broker, ca, tls, name):
    own = run_broker({"listeners": [{"name": "tls", "tls": server(ca)}], "limits": {"write_timeout": "1s"}})
    slow = own.open(listener="tls", tls=tls(), receive_buffer=4096)
    slow.connect("slow")
    slow.subscribe(name)
    publisher = own.connect(listener="tls", transport={"tls": tls()})
    for _ in range(60):
        publisher.publish(name, bytes(300000), qos=1)
    wait_until(lambda: "took nothing for too long" in own.log(), what="the end of who reads nothing")
    publisher.ping()


def test_goodbyes_are_said(run_broker, ca, tls):
    own = run_broker({"listeners": [{"name": "tls", "tls": server(ca)}]})
    clients = [own.connect(listener="tls", transport={"tls": tls(**one)}) for one in (TLS12, TLS13)]
    for one in clients:
        one.sock.suppress_ragged_eofs = False       # the end must be said, too
    own.terminate()
    for one in clients:
        one.expect_refused(0x8B)
    assert own.wait() == 0


# --- the handshake ---

def refused(broker, listener, context, **options):
    """The handshake fails, or what follows it: in TLS 1.3 a client learns only then of its refusal."""
    with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
        client = broker.open(listener=listener, tls=context, **options)
        client.connect("x")


def last_failure(broker, text):
    found = wait_until(lambda: [line for line in broker.lines("info") if re.search(text, line)],
                       what=f"a line with {text}")
    assert "listener=" in found[-1] and "address=127.0.0.1:" in found[-1], found[-1]
    return found[-1]


def test_versions(broker, tls):
    for listener, settings, fits in (("tls", TLS12, True), ("tls", TLS13, True), ("tls13", TLS12, False),
                                     ("tls13", TLS13, True)):
        if fits:
            client = broker.open(listener=listener, tls=tls(**settings))
            client.connect("x")
            assert client.sock.version() == {TLS12["minimum_version"]: "TLSv1.2"}.get(
                settings["minimum_version"], "TLSv1.3")
        else:
            refused(broker, listener, tls(**settings))
            last_failure(broker, "TLS: unsupported protocol")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("number", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_old_versions_are_refused(broker, tls, number):
    context = tls(**version_of(number))
    context.set_ciphers("ALL:@SECLEVEL=0")
    refused(broker, "tls", context)
    refused(broker, "tls13", context)


def test_ciphers(broker, tls):
    def context(ciphers):
        made = tls(**TLS12)
        made.set_ciphers(ciphers)
        return made

    for weak in ("AES128-SHA", "AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA256", "aNULL", "eNULL"):
        refused(broker, "tls", context(f"{weak}:@SECLEVEL=0"))
        last_failure(broker, "TLS: no shared cipher")
    broker.open(listener="tls", tls=context("ECDHE-ECDSA-AES128-GCM-SHA256")).connect("x")
    refused(broker, "ciphers", context("ECDHE-ECDSA-AES128-GCM-SHA256"))
    for settings, cipher in ((TLS12, "ECDHE-ECDSA-AES256-GCM-SHA384"), (TLS13, "TLS_AES_256_GCM_SHA384")):
        client = broker.open(listener="ciphers", tls=tls(**settings))
        client.connect("x")
        assert client.sock.cipher()[0] == cipher


def test_alpn(broker, tls):
    for offer in (["mqtt"], ["http/1.1", "mqtt"]):
        client = broker.open(listener="tls", tls=tls(alpn=offer))
        client.connect("x")
        assert client.sock.selected_alpn_protocol() == "mqtt"
    refused(broker, "tls", tls(alpn=["http/1.1"]))
    last_failure(broker, "TLS: no application protocol")


@every_tls
def test_resumption(broker, tls, settings):
    context = tls(**settings)
    first = broker.open(listener="tls", tls=context)
    first.connect("x")
    session = first.sock.session
    assert session.has_ticket
    sock = context.wrap_socket(socket.create_connection(("127.0.0.1", broker.ports["tls"])),
                               server_hostname="localhost", session=session)
    assert sock.session_reused
    sock.close()


@every_tls
def test_certificates_of_clients(broker, tls, clients, settings):
    for name, why in ((None, "peer did not return a certificate"), ("expired", "certificate has expired"),
                      ("revoked", "certificate revoked"), ("foreign", "unable to get local issuer|self-signed")):
        refused(broker, "cn", tls(name, **settings))
        last_failure(broker, f"TLS: .*({why})")
    # Where they need not have one, a wrong one is no better.
    refused(broker, "subject", tls("foreign", **settings))
    broker.open(listener="subject", tls=tls(**settings)).connect("x")


def test_handshakes_that_fail_are_counted(run_broker, ca, tls):
    own = run_broker({"listeners": [{"name": "tls", "tls": server(ca)}, {"name": "mqtt"}]})
    for _ in range(3):
        refused(own, "tls", tls(alpn=["h2"]))
    wait_until(lambda: len([one for one in own.lines("info") if "TLS: " in one]) == 3)
    own.connect(listener="tls", transport={"tls": tls()}).ping()


# --- openssl s_client ---

def s_client(port, *args, data=b"", cafile=None, until=None, interactive=False):
    """What it tells after it was given these bytes, and its exit status. until: it may stay until it has told this,
    or is sent away."""
    trust = ["-CAfile", str(cafile), "-verify_return_error"] if cafile else []
    process = subprocess.Popen(["openssl", "s_client", "-connect", f"127.0.0.1:{port}", *trust,
                                *([] if interactive else ["-quiet", "-no_ign_eof"]), *args],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        process.stdin.write(data)
        process.stdin.flush()
    except BrokenPipeError:
        pass
    told = read_until(process.stdout, until) if until else b""
    out, _ = process.communicate(timeout=10)
    return process.returncode, told + out


def read_until(pipe, text):
    """What comes from it until it has text in it, or ends."""
    out, deadline = b"", time.monotonic() + 10
    while text not in out and select.select([pipe], [], [], max(0, deadline - time.monotonic()))[0]:
        piece = os.read(pipe.fileno(), 65536)
        if not piece:
            break
        out += piece
    return out


CONNACK = b"\x20\x02\x00\x00"
CONNECT = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01u"


def test_s_client_gets_its_connack(broker, ca):
    for version in ("-tls1_2", "-tls1_3"):
        _, out = s_client(broker.ports["tls"], version, data=CONNECT, cafile=ca.cafile, until=CONNACK)
        assert CONNACK in out, out


def test_renegotiation_is_refused(broker, ca):
    # A line with R asks for it. The connection ends, or goes on as it was.
    code, out = s_client(broker.ports["tls"], "-tls1_2", data=b"R\n", cafile=ca.cafile, interactive=True,
                         until=CONNACK)
    assert b"RENEGOTIATING" in out and b"no renegotiation" in out, out
    assert code != 0
    broker.connect(listener="mqtt").ping()


def test_s_client_with_bad_certificates(broker, ca, clients):
    port = broker.ports["cn"]
    for name in ("expired", "revoked", "foreign"):
        certificate, key = clients[name]
        _, out = s_client(port, "-cert", certificate, "-key", key, data=CONNECT, until=CONNACK)
        assert CONNACK not in out and b"alert" in out, (name, out)
    certificate, key = clients["alice"]
    _, out = s_client(port, "-cert", certificate, "-key", key, data=CONNECT, until=CONNACK)
    assert CONNACK in out, out


# --- what is no TLS, and what ends in the middle ---

def raw(port):
    sock = socket.create_connection(("127.0.0.1", port), 10)
    sock.settimeout(10)
    return sock


def read_to_end(sock):
    data = b""
    try:
        while True:
            piece = sock.recv(4096)
            if not piece:
                return data
            data += piece
    except ConnectionResetError:
        return data


@pytest.mark.parametrize("data,why", [(CONNECT, "wrong version number|record"), (b"GET / HTTP/1.1\r\n\r\n", "http request"),
                                      (bytes(100), "TLS: "), (b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", "TLS: "),
                                      (b"\x15\x03\x01\x00\x02\x02\x28", "TLS: ")])
def test_what_is_no_tls_is_refused(broker, data, why):
    with raw(broker.ports["tls"]) as sock:
        sock.sendall(data)
        assert b"\x20\x02" not in read_to_end(sock)
    last_failure(broker, why)


def test_tls_at_a_plain_listener_is_refused(broker, tls):
    with pytest.raises((ssl.SSLError, ConnectionError)):
        broker.open(listener="mqtt", tls=tls())


def test_a_probe_without_a_byte_is_no_news(broker):
    wait_until(lambda: "is ready" in broker.log())
    before = len(broker.lines("info", "warning"))
    for _ in range(5):
        raw(broker.ports["tls"]).close()
    broker.connect("marker-of-probes", listener="mqtt").ping()
    wait_until(lambda: "marker-of-probes" in broker.log())
    assert not [one for one in broker.lines("info", "warning")[before:] if "marker" not in one]


@every_tls
def test_a_cut_connection_fires_the_will(broker, name, tls, settings):
    watcher = broker.connect(listener="mqtt")
    watcher.subscribe(name)
    client = broker.connect(listener="tls", transport={"tls": tls(**settings)}, will=Will(name, "cut"))
    client.sock.shutdown(socket.SHUT_WR)        # FIN without close_notify
    watcher.message(payload="cut")
    last_failure(broker, "TLS: the connection ended without close_notify")


@every_tls
def test_a_said_end_without_disconnect_fires_it_too(broker, name, tls, settings):
    watcher = broker.connect(listener="mqtt")
    watcher.subscribe(name)
    client = broker.connect(listener="tls", transport={"tls": tls(**settings)}, will=Will(name, "closed"))
    client.sock.settimeout(5)
    try:
        client.sock.unwrap()
    except (ssl.SSLError, OSError):
        pass
    watcher.message(payload="closed")


def hello(context):
    """A ClientHello as bytes."""
    outgoing = ssl.MemoryBIO()
    shake = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        shake.do_handshake()
    return outgoing.read()


def test_handshakes_cut_anywhere(broker, tls):
    data = hello(tls())
    for cut in [*range(1, 12), len(data) // 2, len(data) - 1, len(data)]:
        with raw(broker.ports["tls"]) as sock:
            sock.sendall(data[:cut])
    last_failure(broker, "TLS: the connection ended in the handshake")
    broker.connect(listener="tls", transport={"tls": tls()}).ping()


def test_half_open_handshakes_are_bounded_by_connect_timeout(run_broker, ca, tls):
    own = run_broker({"listeners": [{"name": "tls", "tls": server(ca)}], "limits": {"connect_timeout": "1s"}})
    data = hello(tls())
    begin = time.monotonic()
    open_ = {}
    for i in range(60):
        sock = raw(own.ports["tls"])
        sock.sendall(data[:(0, 3, len(data) // 2, len(data))[i % 4]])
        open_[sock] = i
    trickle = raw(own.ports["tls"])         # a byte now and then buys no time
    honest = own.connect(listener="tls", transport={"tls": tls()})
    at = 0
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
                    continue                # the server's part of the handshake
            except ConnectionResetError:
                pass
            sock.close()
            del open_[sock]
    assert time.monotonic() - begin > 0.9
    honest.ping()


# --- who it is ---

def user_of(broker, client_id):
    """The user in the line of its connection; None: it has none."""
    line = wait_until(lambda: [one for one in broker.lines("info") if f"client_id={client_id} " in one + " " and
                               "connected" in one], what="the line of the connection")[-1]
    found = re.search(r'user=("[^"]*"|\S+)', line)
    return found and found.group(1).strip('"')


@every_version
@pytest.mark.parametrize("listener,user", [("cn", "alice"), ("subject", "CN=alice,O=Home"),
                                           ("san", "alice@example.org")])
def test_the_user_name_is_in_the_certificate(broker, name, tls, version, listener, user):
    for claimed in ({}, {"username": "root", "password": "x"}):
        client = broker.open(version, listener, tls=tls("alice"))
        client.connect(name, **claimed)
        assert user_of(broker, name) == user
        client.disconnect()


@every_version
@pytest.mark.parametrize("listener", ["cn", "san"])
def test_a_certificate_without_the_name_is_refused(broker, name, tls, version, listener):
    client = broker.open(version, listener, tls=tls("nameless"))
    client.connect(name, username="root", password="x", expect=0x86 if version == 5 else 4)
    client.expect_closed()


def test_without_a_certificate_it_is_anonymous(broker, name, tls):
    broker.open(listener="subject", tls=tls()).connect(name, username="root")
    assert user_of(broker, name) is None


def test_the_name_may_become_the_client_id(broker, tls):
    client = broker.open(listener="id", tls=tls("alice"))
    assert client.connect("").props["assigned_client_identifier"] == "alice"


def test_a_resumed_session_of_tls_is_the_same_user(broker, name, tls):
    context = tls("alice")
    first = broker.open(listener="cn", tls=context)
    first.connect(name)
    sock = context.wrap_socket(socket.create_connection(("127.0.0.1", broker.ports["cn"])),
                               server_hostname="localhost", session=first.sock.session)
    assert sock.session_reused
    sock.sendall(encode(first.connect_packet(f"{name}r"), 5))
    assert sock.recv(4)[0] == 0x20
    assert user_of(broker, f"{name}r") == "alice"
    sock.close()


# --- with an authority ---

@pytest.fixture(scope="module", params=["at-once", "thread"])
def asking(request, ca, clients, tmp_path_factory):
    listeners = [{"name": "cert", "allow_anonymous": False,
                  "tls": server(ca, cafile=str(ca.cafile), username_from="cn")},
                 {"name": "psk", "allow_anonymous": False, "tls": {"psk": True}},
                 {"name": "both", "allow_anonymous": False, "tls": server(ca, psk=True)}, {"name": "mqtt"}]
    running = conftest.Broker(tmp_path_factory.mktemp("asking"),
                              {"listeners": listeners, "limits": {"auth_delay": 0}}, conftest.TEST_BIN,
                              ["--authority", request.param, "--move-always"])
    yield running
    running.stop()


@every_version
def test_the_chain_is_asked_about_the_certificates_name(asking, name, tls, version):
    for certificate, claimed, code in (("good", {}, 0), ("good", {"username": "bad", "password": "bad"}, 0),
                                       ("alice", {"username": "good", "password": "good"}, 0x86),
                                       (None, {"username": "good", "password": "good"}, 0),
                                       (None, {}, 0x87)):
        client = asking.open(version, "cert", tls=tls(certificate))
        expect = code if version == 5 else {0x86: 4, 0x87: 5}.get(code, code)
        client.connect(name, expect=expect, **claimed)
        if code == 0 and certificate:
            assert user_of(asking, name) == "good"
        client.close()


def mosquitto(asking, listener, identity, key, name, *args):
    return subprocess.run([tool("mosquitto_pub"), "-p", str(asking.ports[listener]), "-t", name, "-m", "x", "-q",
                           "1", "-i", name, "--psk-identity", identity, "--psk", key, *args],
                          capture_output=True, text=True, timeout=20)


@pytest.mark.parametrize("listener", ["psk", "both"])
def test_pre_shared_keys(asking, name, listener):
    watcher = asking.open(listener="mqtt")
    watcher.connect("", username="good", password="good")
    watcher.subscribe(name)
    for args in ((), ("--tls-version", "tlsv1.2"), ("-u", "claimed", "-P", "x")):
        done = mosquitto(asking, listener, "good", PSK, name, *args)
        assert done.returncode == 0, done.stderr
        watcher.message(payload="x")
        assert user_of(asking, name) == "good"
    for identity, key in (("nobody", PSK), ("good", "00" * 16), ("stranger", PSK)):
        assert mosquitto(asking, listener, identity, key, name).returncode != 0, identity
    asking.close_clients()


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_pre_shared_keys_by_openssl(asking, version):
    port = asking.ports["psk"]
    for identity, key, fits in (("good", PSK, True), ("good", "ff" * 16, False), ("nobody", PSK, False)):
        _, out = s_client(port, version, "-psk_identity", identity, "-psk", key, data=CONNECT, until=CONNACK)
        assert (CONNACK in out) == fits, (identity, out)
