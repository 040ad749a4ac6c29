# SPDX-License-Identifier: Apache-2.0
"""Certificates that are replaced, revoked or wrong, while clients are connected and before."""

import re
import shutil
import signal
import socket
import ssl

import pytest

import test_tls
from certificates import Authority
from mqtt import tls_context, wait_until
from test_tls import CONNECT, TLS12, TLS13, refused

clients, tls = test_tls.clients, test_tls.tls       # fixtures
pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")


def serial_of(port, cafile):
    with tls_context(cafile).wrap_socket(socket.create_connection(("127.0.0.1", port)),
                                         server_hostname="localhost") as sock:
        return sock.getpeercert()["serialNumber"]


def reload(own, text):
    """SIGHUP, and what the log says of it then."""
    before = len(own.log())
    own.terminate(signal.SIGHUP)
    wait_until(lambda: text in own.log()[before:], what=text)
    return own.log()[before:]


def test_certificates_are_replaced_under_live_connections(run_broker, ca, tmp_path, name):
    pair = tmp_path / "s.pem", tmp_path / "s.key"

    def install(made):
        for source, target in zip(made, pair):
            target.write_bytes(source.read_bytes())

    authority = Authority(tmp_path / "own")
    install(authority.server("one"))
    own = run_broker({"listeners": [{"name": "tls", "tls": {"certfile": str(pair[0]), "keyfile": str(pair[1]),
                                                            "cafile": str(authority.cafile),
                                                            "username_from": "cn"}}]})
    port = own.ports["tls"]
    first = serial_of(port, authority.cafile)
    old = Authority(tmp_path / "two", "The next authority")
    alice = authority.issue("alice")
    live = [own.connect(listener="tls", transport={"tls": tls_context(authority.cafile, *alice, **one)})
            for one in (TLS12, TLS13) for _ in range(10)]
    live[0].subscribe((name, 1))

    def check_live():
        for client in live:
            client.publish(name, "still here", qos=1)
            live[0].message(payload="still here")

    install(authority.server("next"))
    reload(own, "loaded again")
    second = serial_of(port, authority.cafile)
    assert second != first
    check_live()

    # What cannot be used is refused as a whole, with the place of the key.
    for bad, text in (((authority.server("old", ends="20210101000000Z")), "has expired"),
                      ((authority.issue("a")[0], authority.issue("b")[1]), "is not that of the certificate"),
                      ((authority.folder / "serial", authority.issue("c")[1]), "as a certificate")):
        install(bad)
        said = reload(own, "reload refused")
        assert re.search(rf"avocet\.yaml:\d+:\d+: listeners\[0\]\.tls\.\w+: .*{text}", said), said
        assert serial_of(port, authority.cafile) == second
        check_live()
    pair[0].unlink()
    assert "No such file" in reload(own, "reload refused")
    check_live()

    # Another authority: who is connected stays, who comes must have a certificate of the new one.
    install(old.server("three"))
    own.config_file.write_text(own.config_file.read_text().replace(str(authority.cafile), str(old.cafile)))
    reload(own, "loaded again")
    check_live()
    with pytest.raises(ssl.SSLError):
        serial_of(port, authority.cafile)
    refused(own, "tls", tls_context(old.cafile, *alice))
    own.open(listener="tls", tls=tls_context(old.cafile, *old.issue("bob"))).connect("bob")


def test_revoked_while_running(run_broker, tmp_path):
    authority = Authority(tmp_path / "own")
    certificate, key = authority.server()
    alice = authority.issue("alice")
    own = run_broker({"listeners": [{"name": "tls", "tls": {
        "certfile": str(certificate), "keyfile": str(key), "cafile": str(authority.cafile),
        "crlfile": str(authority.crl()), "username_from": "cn"}}]})
    context = tls_context(authority.cafile, *alice)
    live = own.connect(listener="tls", transport={"tls": context})
    session = live.sock.session
    authority.revoke(alice[0])
    authority.crl()
    reload(own, "loaded again")
    live.ping()
    refused(own, "tls", context)
    # Nor by a ticket from before.
    with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
        sock = context.wrap_socket(socket.create_connection(("127.0.0.1", own.ports["tls"])),
                                   server_hostname="localhost", session=session)
        sock.sendall(CONNECT)
        assert sock.recv(4)


def test_tls_comes_and_goes_by_reload(run_broker, ca, tls):
    own = run_broker({"listeners": [{"name": "mqtt"}]})
    plain = own.connect()
    text = own.config_file.read_text()
    certificate, key = ca.server_pair
    own.config_file.write_text(f"{text}    tls:\n      certfile: {certificate}\n      keyfile: {key}\n")
    reload(own, "loaded again")
    plain.ping()
    secret = own.connect(transport={"tls": tls()})
    own.config_file.write_text(text)
    reload(own, "loaded again")
    secret.ping()
    plain.ping()
    own.connect().ping()


def test_a_bad_certificate_starts_nothing(command, ca, tmp_path):
    certificate, key = ca.server("gone", ends="20210101000000Z")
    (tmp_path / "a.yaml").write_text(f"listeners:\n  - tls:\n      certfile: {certificate}\n      keyfile: {key}\n")
    for args in (("-t",), ()):
        code, _, err = command(*args, "-c", "a.yaml")
        assert code == 1 and re.search(r"a\.yaml:3:17: listeners\[0\]\.tls\.certfile: .*has expired", err), err


def test_t_tells_what_it_found(command, ca, tmp_path):
    certificate, key = ca.server_pair
    for source, target in ((certificate, "s.pem"), (key, "s.key")):
        (tmp_path / target).write_bytes(source.read_bytes())
    (tmp_path / "a.yaml").write_text("listeners:\n  - name: s\n    bind: 8883\n    tls: {certfile: s.pem, "
                                     "keyfile: s.key, min_version: '1.3'}\n")
    code, out, err = command("-t", "-c", "a.yaml")
    assert code == 0 and re.search(r"listener s: 8883, .*TLS 1\.3 or later, certificate of CN=localhost until "
                                   r"2037-12-31", out), out + err
