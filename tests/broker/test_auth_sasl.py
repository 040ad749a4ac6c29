# SPDX-License-Identifier: Apache-2.0
"""The plugin auth-sasl: SCRAM and the others over AUTH, with GNU SASL's client and with one that lies
(lib/scram.py), re-authentication, and the traps of Cyrus SASL, each of which would be open otherwise."""

import base64
import glob
import os
import random
import shutil
import ssl
import subprocess

import pytest

import gnusasl
from conftest import BIN, STOP_SECONDS, environment, free_port, yaml_text
from mqtt import Closed, Filter, Packet, tls_context, wait_until
from scram import Scram, fields
from test_auth_file import scram, sha512
from test_control import told
from test_matrix import mqttjs_package    # noqa: F401, a fixture

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
FOLDER = os.path.dirname(os.path.abspath(BIN))
PLUGIN = os.path.join(FOLDER, "plugins", "auth-sasl", "auth-sasl.so")
pytestmark = pytest.mark.skipif(not os.path.exists(PLUGIN), reason="built without auth-sasl")
ALL = [f"SCRAM-SHA-{size}{plus}" for size in (512, 384, 256, 1) for plus in ("-PLUS", "")] + ["PLAIN", "EXTERNAL"]
DIGESTS = {"SCRAM-SHA-1": "sha1", "SCRAM-SHA-256": "sha256", "SCRAM-SHA-384": "sha384", "SCRAM-SHA-512": "sha512"}
USERS = "".join(scram("user", "pencil", digest) for digest in DIGESTS.values()) + scram("other", "brush") + \
    scram("jürgen", "grüße") + sha512("old", "fashioned")
GSASL = pytest.mark.skipif(gnusasl.library() is None, reason="libgsasl is not installed")


@pytest.fixture
def with_sasl(run_broker, tmp_path, ca):
    """run(mechanisms=, limits=, **config): a broker with listeners mqtt and tls."""
    def run(mechanisms=ALL, limits=None, listener=None, text=USERS, **config):
        users = tmp_path / "users"
        users.write_text(text)
        users.chmod(0o600)
        certificate, key = ca.server_pair
        own = run_broker(config={
            "listeners": [{"name": "mqtt", **(listener or {})},
                          {"name": "tls", "tls": {"certfile": str(certificate), "keyfile": str(key),
                                                  "cafile": str(ca.cafile), "username_from": "cn"}}],
            "limits": {"auth_delay": 0, **(limits or {})},
            "plugins": [{"name": "sasl", "module": PLUGIN,
                         "config": {"file": str(users), "mechanisms": mechanisms, "max_delay": 0, **config}}],
            "chains": {"default": {"authenticate": ["sasl"]}}})
        own.users, own.socket = users, str(own.run / "control.sock")
        return own
    return run


def tls(ca, *pair, version=None):
    context = tls_context(ca.cafile, *pair)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


def begin(client, method, data=None, **props):
    """CONNECT with the method; data None: without."""
    props.update(authentication_method=method)
    if data is not None:
        props.update(authentication_data=data)
    client.method = method
    client.send(client.connect_packet(props.pop("client_id", "c"), **props))


def data_of(packet):
    return packet.props.get("authentication_data", b"")


def more(client, data=None, reason=0x18):
    props = {} if data is None else {"authentication_data": data}
    client.auth(reason, authentication_method=client.method, **props)


def login(client, method="SCRAM-SHA-256", user="user", password="pencil", **options):
    """With our own client; gives CONNACK."""
    props = options.pop("props", {})
    proof = Scram(user, password, DIGESTS[method.removesuffix("-PLUS")], **options)
    begin(client, method, proof.first(), **props)
    packet = client.recv()
    if packet.kind == "CONNACK":
        return packet
    assert packet.kind == "AUTH" and packet.reason == 0x18
    more(client, proof.final(data_of(packet)))
    connack = client.expect("CONNACK")
    if connack.reason == 0:
        assert proof.proves(data_of(connack))
    return connack


def again(client, user="user", password="pencil", digest="sha256"):
    """Re-authentication; gives the AUTH or DISCONNECT that ends it."""
    proof = Scram(user, password, digest)
    more(client, proof.first(), 0x19)
    packet = client.wait("AUTH")
    assert packet.reason == 0x18
    more(client, proof.final(data_of(packet)))
    packet = client.recv()
    while packet.kind not in ("AUTH", "DISCONNECT"):
        packet = client.recv()
    if packet.kind == "AUTH":
        assert packet.reason == 0 and proof.proves(data_of(packet))
    return packet


# --- an independent client ---

def exchange(client, session, method, first=True):
    """GNU SASL until the broker says CONNACK, which it must understand."""
    begin(client, method, session.step() if first else None)
    if not first:
        assert "authentication_data" not in client.expect("AUTH", reason=0x18).props
        more(client, session.step())
    packet = client.recv()
    while packet.kind == "AUTH":
        more(client, session.step(data_of(packet)))
        packet = client.recv()
    if packet.reason == 0 and session.status == gnusasl.NEEDS_MORE:
        session.step(data_of(packet))       # the server's signature: it throws if that is wrong
        assert session.status == gnusasl.OK
    session.close()
    return packet


@GSASL
@pytest.mark.parametrize("first", (True, False), ids=("with data in CONNECT", "without"))
@pytest.mark.parametrize("method", DIGESTS)
def test_gnu_sasl_logs_in(with_sasl, method, first):
    if method not in gnusasl.mechanisms():
        pytest.skip(f"this GNU SASL has no {method}")
    broker = with_sasl()
    client = broker.open()
    assert exchange(client, gnusasl.Session(method, "user", "pencil"), method, first).reason == 0
    client.ping()
    assert exchange(broker.open(), gnusasl.Session(method, "user", "pen"), method, first).reason == 0x87
    assert exchange(broker.open(), gnusasl.Session(method, "nobody", "pencil"), method, first).reason == 0x87


@GSASL
@pytest.mark.parametrize("version", (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3))
@pytest.mark.parametrize("method", ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS"))
def test_gnu_sasl_binds_to_the_channel(with_sasl, ca, method, version):
    if method not in gnusasl.mechanisms():
        pytest.skip(f"this GNU SASL has no {method}")
    broker = with_sasl()
    client = broker.open(5, "tls", tls=tls(ca, version=version))
    session = gnusasl.Session(method, "user", "pencil", exporter=gnusasl.exporter(client.sock))
    assert exchange(client, session, method).reason == 0
    client.ping()
    # Somebody in the middle has another channel.
    client = broker.open(5, "tls", tls=tls(ca, version=version))
    exporter = bytearray(gnusasl.exporter(client.sock))
    exporter[5] ^= 1
    assert exchange(client, gnusasl.Session(method, "user", "pencil", exporter=bytes(exporter)), method).reason == 0x87


@GSASL
def test_gnu_sasl_with_plain(with_sasl, ca):
    broker = with_sasl()
    client = broker.open(5, "tls", tls=tls(ca))
    assert exchange(client, gnusasl.Session("PLAIN", "user", "pencil"), "PLAIN").reason == 0
    assert exchange(broker.open(5, "tls", tls=tls(ca)), gnusasl.Session("PLAIN", "old", "fashioned"), "PLAIN").reason == 0
    for user, password in (("user", "pen"), ("nobody", "pencil"), ("user", "pencil ")):
        client = broker.open(5, "tls", tls=tls(ca))
        assert exchange(client, gnusasl.Session("PLAIN", user, password), "PLAIN").reason == 0x87


def test_the_example_of_mqttjs(with_sasl, mqttjs_package):
    broker = with_sasl()
    done = subprocess.run(["node", os.path.join(TOP, "doc/examples/scram/login.js"), f"mqtt://127.0.0.1:{broker.port}",
                           "user", "pencil"], capture_output=True, text=True, timeout=60,
                          env={**os.environ, "MQTT_PACKAGE": str(mqttjs_package)})
    assert (done.returncode, done.stdout) == (0, "logged in\nauthenticated again\n"), done.stderr
    done = subprocess.run(["node", os.path.join(TOP, "doc/examples/scram/login.js"), f"mqtt://127.0.0.1:{broker.port}",
                           "user", "pen"], capture_output=True, text=True, timeout=60,
                          env={**os.environ, "MQTT_PACKAGE": str(mqttjs_package)})
    assert done.returncode == 1 and "Not authorized" in done.stderr


# --- who is in, and how ---

@pytest.mark.parametrize("method", DIGESTS)
def test_every_scram(with_sasl, method):
    broker = with_sasl()
    client = broker.open()
    connack = login(client, method)
    assert connack.reason == 0 and connack.props["authentication_method"] == method
    client.ping()
    assert told(broker, "clients")[0]["user"] == "user"


def test_names_beyond_ascii(with_sasl):
    assert login(with_sasl().open(), user="jürgen", password="grüße").reason == 0


def test_who_has_a_certificate(with_sasl, ca):
    pair = ca.issue("alice", "/CN=alice")
    broker = with_sasl()
    client = broker.open(5, "tls", tls=tls(ca, *pair))
    begin(client, "EXTERNAL", b"")
    assert client.expect("CONNACK").reason == 0
    assert told(broker, "clients")[0]["user"] == "alice"
    more(client, b"", 0x19)
    assert client.wait("AUTH").reason == 0
    other = broker.open(5, "tls", tls=tls(ca, *pair))
    begin(other, "EXTERNAL", b"bob", client_id="d")         # for somebody else
    assert other.expect("CONNACK").reason == 0x87
    none = broker.open(5, "tls", tls=tls(ca))
    begin(none, "EXTERNAL", b"", client_id="e")
    assert none.expect("CONNACK").reason == 0x8c


@pytest.mark.parametrize("method, listener, text", (
    ("PLAIN", None, "PLAIN is for TLS only"), ("SCRAM-SHA-256-PLUS", None, "there is no TLS channel to bind to"),
    ("EXTERNAL", None, "no certificate has proven who it is")))
def test_what_is_not_to_be_had_here(with_sasl, method, listener, text):
    client = with_sasl().open()
    begin(client, method, b"\0user\0pencil")
    connack = client.expect("CONNACK")
    assert connack.reason == 0x8c and connack.props["reason_string"] == text


def test_what_is_not_offered(with_sasl):
    broker = with_sasl(mechanisms=["SCRAM-SHA-256"])
    for method in ("SCRAM-SHA-1", "SCRAM-SHA-256-PLUS", "PLAIN", "ANONYMOUS", "CRAM-MD5", "scram-sha-256",
                   "SCRAM-SHA-256 ", "", "x" * 40000):
        client = broker.open()
        begin(client, method, b"n,,n=user,r=x")
        assert client.expect("CONNACK").reason == 0x8c, method
    assert login(broker.open()).reason == 0


@pytest.mark.parametrize("config, sentence", (
    ({"mechanisms": ["CRAM-MD5"]}, 'mechanisms: there is no "CRAM-MD5" here'), ({"mechanisms": []}, "mechanisms: names none"),
    ({"file": "/nonexistent/users"}, "No such file"), ({"secret_file": "/nonexistent/secret"}, "No such file")))
def test_configurations_that_cannot_be(tmp_path, config, sentence):
    users, file = tmp_path / "users", tmp_path / "avocet.yaml"
    users.write_text(USERS)
    file.write_text(yaml_text({
        "broker": {"data_dir": str(tmp_path), "control": ""}, "listeners": [{"bind": f"127.0.0.1:{free_port()}"}],
        "plugins": [{"name": "sasl", "module": PLUGIN, "config": {"file": str(users), **config}}],
        "chains": {"default": {"authenticate": ["sasl"]}}}))
    done = subprocess.run([BIN, "-c", str(file)], capture_output=True, text=True, env=environment(), timeout=STOP_SECONDS)
    assert done.returncode in (1, 3) and sentence in done.stderr


# --- Kerberos, with a realm of our own ---

@pytest.fixture
def realm(tmp_path, monkeypatch):
    """A KDC with alice, who has a ticket, and with the broker, whose key the environment names."""
    tools = [shutil.which(tool, path=os.environ["PATH"] + ":/usr/sbin")
             for tool in ("kdb5_util", "kadmin.local", "krb5kdc", "kinit")]
    if not all(tools) or gnusasl.library() is None or "GSSAPI" not in gnusasl.mechanisms() or \
            not glob.glob("/usr/lib/*/sasl2/libgssapiv2.so"):
        pytest.skip("krb5-kdc, krb5-admin-server, krb5-user, libgsasl or libsasl2-modules-gssapi-mit is not installed")
    create, kadmin, kdc, kinit = tools
    port, keytab = free_port(), tmp_path / "keytab"
    (tmp_path / "krb5.conf").write_text(
        "[libdefaults]\n default_realm = TEST\n dns_lookup_kdc = false\n rdns = false\n dns_canonicalize_hostname = false\n"
        f"[realms]\n TEST = {{\n kdc = 127.0.0.1:{port}\n }}\n[domain_realm]\n localhost = TEST\n")
    (tmp_path / "kdc.conf").write_text(
        f"[kdcdefaults]\n kdc_listen = 127.0.0.1:{port}\n kdc_tcp_listen = 127.0.0.1:{port}\n[realms]\n TEST = {{\n"
        f" database_name = {tmp_path}/db\n key_stash_file = {tmp_path}/stash\n acl_file = {tmp_path}/acl\n }}\n")
    monkeypatch.setenv("KRB5_CONFIG", str(tmp_path / "krb5.conf"))
    monkeypatch.setenv("KRB5_KDC_PROFILE", str(tmp_path / "kdc.conf"))
    monkeypatch.setenv("KRB5CCNAME", f"FILE:{tmp_path}/tickets")
    monkeypatch.setenv("KRB5_KTNAME", str(keytab))
    subprocess.run([create, "create", "-s", "-r", "TEST", "-P", "master"], check=True, capture_output=True, timeout=60)
    for query in ("addprinc -pw secret alice", "addprinc -randkey mqtt/localhost", f"ktadd -k {keytab} mqtt/localhost"):
        subprocess.run([kadmin, "-r", "TEST", "-q", query], check=True, capture_output=True, timeout=60)
    process = subprocess.Popen([kdc, "-n", "-r", "TEST"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: subprocess.run([kinit, "alice"], input="secret\n", text=True, capture_output=True,
                                          timeout=30).returncode == 0)
        yield
    finally:
        process.kill()
        process.wait()


def test_kerberos(with_sasl, realm):
    broker = with_sasl(mechanisms=["GSSAPI", "SCRAM-SHA-256"], hostname="localhost")
    client = broker.open()
    session = gnusasl.Session("GSSAPI", authzid="alice", service="mqtt", host="localhost")
    assert exchange(client, session, "GSSAPI").reason == 0
    client.ping()
    assert told(broker, "clients")[0]["user"] == "alice"
    liar = gnusasl.Session("GSSAPI", authzid="bob", service="mqtt", host="localhost")
    assert exchange(broker.open(), liar, "GSSAPI").reason == 0x87
    for data in (b"", b"x" * 500, None):
        client = broker.open()
        begin(client, "GSSAPI", data, client_id="d")
        packet = client.recv()
        if packet.kind == "AUTH":
            more(client, b"rubbish")
            packet = client.recv()
        assert packet.kind == "CONNACK" and packet.reason == 0x87
    assert login(broker.open()).reason == 0


# --- what a client may do wrong ---

def test_wrong_proofs(with_sasl):
    broker = with_sasl()
    for user, password in (("user", "pen"), ("nobody", "pencil"), ("old", "fashioned"), ("other", "pencil"), ("User", "pencil")):
        assert login(broker.open(), user=user, password=password).reason == 0x87
    client, proof = broker.open(), Scram("user", "pencil")
    begin(client, "SCRAM-SHA-256", proof.first())
    more(client, proof.final(data_of(client.expect("AUTH")), spoil=True))
    assert client.expect("CONNACK").reason == 0x87
    client.expect_closed()


def test_a_proof_is_good_once(with_sasl):
    broker = with_sasl()
    client, proof = broker.open(), Scram("user", "pencil")
    begin(client, "SCRAM-SHA-256", proof.first())
    final = proof.final(data_of(client.expect("AUTH")))
    more(client, final)
    assert client.expect("CONNACK").reason == 0
    thief = broker.open()
    begin(thief, "SCRAM-SHA-256", proof.first(), client_id="thief")
    thief.expect("AUTH")
    more(thief, final)
    assert thief.expect("CONNACK").reason == 0x87


@pytest.mark.parametrize("data", (
    b"", b"x", b"n,,", b"n,,n=,r=x", b"n,,n=user", b"n,,r=x", b"p=tls-exporter,,n=user,r=x", b"n,,n=user,r=", b"n,,m=e,n=user,r=x",
    b"n,,n=us=er,r=x", b"n,,n=user,r=\0", b"\xff" * 100, b"n,,n=" + b"u" * 3000 + b",r=x", b"n,,n=user,r=" + b"r" * 60000,
    b"n,a=admin,n=user,r=x"), ids=range(15))
def test_a_first_message_that_is_none(with_sasl, data):
    broker = with_sasl()
    client = broker.open()
    begin(client, "SCRAM-SHA-256", data)
    packet = client.recv()
    if packet.kind == "AUTH":       # an empty one is a request for the first; others may pass so far
        more(client, b"c=biws,r=x,p=AAAA")
        packet = client.recv()
    assert packet.kind == "CONNACK" and packet.reason == 0x87
    assert login(broker.open()).reason == 0


@pytest.mark.parametrize("data", (None, b"", b"x", b"c=biws", b"c=biws,r=x,p=AAAA", b"y" * 3000, b"\0" * 60000), ids=range(7))
def test_a_last_message_that_is_none(with_sasl, data):
    broker = with_sasl()
    client = broker.open()
    begin(client, "SCRAM-SHA-256", Scram("user", "pencil").first())
    client.expect("AUTH")
    more(client, data)
    assert client.expect("CONNACK").reason == 0x87
    client.expect_closed()
    assert login(broker.open()).reason == 0


def test_the_order_of_packets(with_sasl):
    broker = with_sasl()
    early = broker.open()                                   # AUTH before CONNECT
    early.auth(0x18, authentication_method="SCRAM-SHA-256", authentication_data=b"x")
    early.expect_closed()
    for method, reason in (("SCRAM-SHA-512", 0x18), (None, 0x18), ("SCRAM-SHA-256", 0x19), ("SCRAM-SHA-256", 0)):
        client = broker.open()
        begin(client, "SCRAM-SHA-256", Scram("user", "pencil").first())
        client.expect("AUTH")
        client.auth(reason, **({"authentication_method": method} if method else {}), authentication_data=b"x")
        assert client.expect("CONNACK").reason in (0x82, 0x8c)
        client.expect_closed()
    bare = broker.open()                                    # AUTH although CONNECT had no method
    bare.connect("bare", expect=None)
    leaves = broker.open()
    begin(leaves, "SCRAM-SHA-256", Scram("user", "pencil").first(), client_id="leaves")
    leaves.expect("AUTH")
    leaves.send(Packet("DISCONNECT", reason=0, props={}))
    leaves.expect_closed()
    impatient = broker.open()                               # another packet in the middle
    begin(impatient, "SCRAM-SHA-256", Scram("user", "pencil").first(), client_id="impatient")
    impatient.expect("AUTH")
    impatient.send(impatient.publish_packet("t", b"x"))
    assert impatient.expect("CONNACK").reason == 0x82
    assert login(broker.open()).reason == 0


def test_who_does_not_go_on(with_sasl):
    broker = with_sasl(limits={"connect_timeout": "300ms"})
    client = broker.open()
    begin(client, "SCRAM-SHA-256", Scram("user", "pencil").first())
    client.expect("AUTH")
    client.expect_closed()


# --- names that are not there ---

def first_of(broker, user, method="SCRAM-SHA-256"):
    client = broker.open()
    begin(client, method, Scram(user, "x").first())
    given = fields(data_of(client.expect("AUTH", reason=0x18)))
    client.reset()
    return given["s"], given["i"]


def test_names_that_are_not_there_look_as_if_they_were(with_sasl):
    broker = with_sasl()
    known, unknown = first_of(broker, "user"), first_of(broker, "nobody")
    assert len(base64.b64decode(known[0])) == len(base64.b64decode(unknown[0])) and known[1] == unknown[1]
    assert unknown == first_of(broker, "nobody") != first_of(broker, "somebody")
    # So do those who are there, but not with this mechanism.
    assert first_of(broker, "other", "SCRAM-SHA-512") == first_of(broker, "other", "SCRAM-SHA-512")
    secret = broker.folder / "auth-sasl.secret"
    assert secret.stat().st_size == 32 and secret.stat().st_mode & 0o777 == 0o600
    broker.terminate()
    broker.wait()
    broker.start()
    assert first_of(broker, "nobody") == unknown and first_of(broker, "user") == known
    broker.terminate()
    broker.wait()
    secret.unlink()
    broker.start()
    assert first_of(broker, "nobody") != unknown and first_of(broker, "user") == known


def test_guessing_is_slowed_down_and_shut_out(with_sasl):
    broker = with_sasl(lockout_failures=3, lockout_time="1h")
    for _ in range(3):
        assert login(broker.open(), password="guess").reason == 0x87
    client = broker.open()
    begin(client, "SCRAM-SHA-256", Scram("user", "pencil").first())
    assert client.expect("CONNACK").reason == 0x87          # the right one, too, and at once
    broker = with_sasl(lockout_failures=0, lockout_user_failures=3, lockout_time="1h")
    for _ in range(3):
        assert login(broker.open(), password="guess").reason == 0x87
    assert login(broker.open()).reason == 0x87              # after a proof that was good
    assert login(broker.open(), user="other", password="brush").reason == 0


# --- once more ---

def test_authenticating_again_while_messages_flow(with_sasl):
    broker = with_sasl()
    client = broker.open()
    assert login(client).reason == 0
    client.subscribe(Filter("t", 1))
    for i in range(20):
        client.send(client.publish_packet("t", b"%d" % i, qos=1, packet_id=1000 + i))
        if i % 5 == 0:
            proof = Scram("user", "pencil")
            more(client, proof.first(), 0x19)
            more_at = i
            packet = client.wait("AUTH", reason=0x18)
            client.send(client.publish_packet("t", b"between", qos=0))
            more(client, proof.final(data_of(packet)))
            assert proof.proves(data_of(client.wait("AUTH", reason=0)))
    assert more_at == 15
    got = [client.wait("PUBLISH").payload for _ in range(24)]
    assert [one for one in got if one != b"between"] == [b"%d" % i for i in range(20)]


def test_who_fails_to_authenticate_again_is_disconnected(with_sasl):
    broker = with_sasl()
    for user, password in (("user", "pen"), ("nobody", "x"), ("other", "brush")):     # the last is another identity
        client = broker.open()
        assert login(client).reason == 0
        assert again(client, user, password).reason == 0x87
        client.expect_closed()
    client = broker.open()
    assert login(client).reason == 0 and again(client).reason == 0 and again(client).reason == 0
    client.auth(0x19, authentication_method="SCRAM-SHA-512", authentication_data=b"x")
    assert client.wait("DISCONNECT").reason == 0x82
    bare = broker.open()
    assert login(bare).reason == 0
    bare.auth(0x18, authentication_method="SCRAM-SHA-256", authentication_data=b"x")
    assert bare.wait("DISCONNECT").reason == 0x82


def test_a_login_that_expires(with_sasl):
    broker = with_sasl(reauth_after="3s")
    client, lazy = broker.open(), broker.open()
    assert login(lazy, props={"client_id": "lazy"}).reason == 0
    assert login(client).reason == 0
    assert again(client).reason == 0
    assert lazy.wait("DISCONNECT", reason=0xa0).props["reason_string"] == "the credential has expired"
    assert client.wait("DISCONNECT").reason == 0xa0


def test_a_changed_file_counts(with_sasl):
    broker = with_sasl(check_interval="50ms")
    client, proof = broker.open(), Scram("user", "pencil")
    begin(client, "SCRAM-SHA-256", proof.first())
    first = data_of(client.expect("AUTH"))
    broker.users.write_text(scram("new", "born"))
    wait_until(lambda: "the users file has changed: 1 lines" in broker.log())
    more(client, proof.final(first))                        # it had begun before
    assert client.expect("CONNACK").reason == 0
    assert login(broker.open(), user="new", password="born").reason == 0
    assert login(broker.open()).reason == 0x87
    broker.expected_errors = "stays unread"
    broker.users.write_text("rubbish\n")
    wait_until(lambda: "stays unread" in broker.log())
    assert login(broker.open(), user="new", password="born").reason == 0


# --- the traps of the library (sasl.md, section 5) ---

def test_trap_1_a_refused_binding_stays_refused(with_sasl, ca):
    broker = with_sasl()
    client = broker.open(5, "tls", tls=tls(ca))
    proof = Scram("user", "pencil", header="y,,")           # "you offer no -PLUS": it does
    begin(client, "SCRAM-SHA-256", proof.first())
    packet = client.recv()
    for _ in range(3):                                      # it goes on as if nothing was
        if packet.kind != "AUTH":
            break
        more(client, proof.final(data_of(packet)) if data_of(packet).startswith(b"r=") else b"")
        packet = client.recv()
    assert packet.kind == "CONNACK" and packet.reason == 0x87
    client.expect_closed()


def test_trap_2_each_exchange_begins_anew(with_sasl):
    broker = with_sasl()
    client = broker.open()
    assert login(client).reason == 0
    more(client, b"", 0x19)
    packet = client.recv()
    assert packet.kind == "AUTH" and packet.reason == 0x18 and data_of(packet) == b""     # nothing is proven yet
    more(client, b"c=biws,r=x,p=AAAA")
    assert client.wait("DISCONNECT").reason == 0x87


def test_trap_3_a_step_without_an_exchange(with_sasl):
    broker = with_sasl()
    client = broker.open()
    assert login(client).reason == 0
    more(client, Scram("user", "pencil").first(), 0x18)
    assert client.wait("DISCONNECT").reason == 0x82
    assert login(broker.open()).reason == 0                 # it lives


@pytest.mark.parametrize("again_too", (False, True))
def test_trap_4_nobody_acts_for_another(with_sasl, again_too):
    broker = with_sasl()
    client, proof = broker.open(), Scram("user", "pencil", header="n,a=other,")
    if again_too:
        assert login(client).reason == 0
        more(client, proof.first(), 0x19)
    else:
        begin(client, "SCRAM-SHA-256", proof.first())
    packet = client.recv()
    if packet.kind == "AUTH":
        more(client, proof.final(data_of(packet)))
        packet = client.recv()
    assert packet.reason == 0x87
    client.expect_closed()
    assert told(broker, "clients") == []
    itself = broker.open()
    assert login(itself, header="n,a=user,").reason == 0


def test_trap_5_plus_means_bound(with_sasl, ca):
    broker = with_sasl()
    for header, binding in (("n,,", b""), ("y,,", b""), ("p=tls-unique,,", b"x" * 12), ("p=tls-exporter,,", b"x" * 32)):
        client = broker.open(5, "tls", tls=tls(ca))
        assert login(client, "SCRAM-SHA-256-PLUS", header=header, binding=binding).reason == 0x87, header
    client = broker.open(5, "tls", tls=tls(ca))
    assert login(client, "SCRAM-SHA-256-PLUS", header="p=tls-exporter,,",
                 binding=gnusasl.exporter(client.sock)).reason == 0


def test_trap_6_names_of_methods_have_a_case(with_sasl):
    client = with_sasl().open()
    begin(client, "Scram-Sha-256", Scram("user", "pencil").first())
    assert client.expect("CONNACK").reason == 0x8c


# --- at random ---

@pytest.mark.parametrize("seed", range(4))
def test_at_random_nobody_gets_in(with_sasl, seed):
    broker, dice = with_sasl(lockout_failures=0, lockout_user_failures=0), random.Random(seed)
    proof = Scram("user", "pencil")
    words = [b"n,,", b"n=user", b"r=x", b"c=biws", b"p=", b"a=user", b"=", b",", b"\0", proof.first(), b"\xff\xfe", b"m=e"]

    def data():
        return dice.choice((None, b"".join(dice.choice(words) + dice.choice((b"", b",")) for _ in range(dice.randrange(6))),
                            dice.randbytes(dice.randrange(200))))
    for _ in range(60):
        client = broker.open()
        begin(client, dice.choice(ALL[:8]), data())
        try:
            for _ in range(dice.randrange(5)):
                client.method = dice.choice((client.method, client.method, client.method, dice.choice(ALL)))
                more(client, data(), dice.choice((0x18, 0x18, 0x18, 0x19, 0)))
                packet = client.recv()
                assert packet.kind == "AUTH" or packet.reason >= 0x80
        except (Closed, ConnectionError):
            pass
        client.reset()
    assert login(broker.open()).reason == 0
