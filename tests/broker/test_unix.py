# SPDX-License-Identifier: Apache-2.0
"""Listeners at unix sockets."""

import os
import pwd
import socket
import stat

import pytest

import conftest
from mqtt import Closed, encode, proxy_v1, tls_context, wait_until
from test_move import check_answers, send_in_pieces, stream_of
from test_tls import server
from test_tls_reload import reload


@pytest.fixture
def path(tmp_path_factory):
    """Short enough for an address."""
    path = conftest.pathlib.Path(f"/tmp/avocet-{os.getpid()}-{conftest.free_port()}.sock")
    yield path
    path.unlink(missing_ok=True)


def listener(path, **more):
    return {"name": "unix", "bind": f"unix:{path}", **more}


def test_anonymous_clients_are_of_this_machine(run_broker, path, name):
    own = run_broker({"listeners": [{"name": "mqtt"}, listener(path)]})
    client = own.open(path=path)
    client.connect(name)
    client.subscribe((name, 2))
    client.publish(name, bytes(300000), qos=2)
    client.message(payload=bytes(300000))
    line = wait_until(lambda: [one for one in own.lines("info") if f"client_id={name}" in one])[-1]
    assert "address=unix:" in line and "listener=unix" in line, line


def test_the_file_is_for_its_owner_and_group(run_broker, path):
    mask = os.umask(0)
    try:
        own = run_broker({"listeners": [{"name": "mqtt"}, listener(path)]})
    finally:
        os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    own.terminate()
    assert own.wait() == 0
    assert not path.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_the_file_belongs_to_the_user(run_broker, path):
    nobody = pwd.getpwnam("nobody")
    own = run_broker({"broker": {"user": "nobody"}, "listeners": [{"name": "mqtt"}, listener(path)]})
    found = path.stat()
    assert (found.st_uid, found.st_gid) == (nobody.pw_uid, nobody.pw_gid)
    own.open(path=path).connect("x")


def test_a_stale_file_is_replaced_and_a_live_one_is_not(run_broker, command, path, tmp_path):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    own = run_broker({"listeners": [{"name": "mqtt"}, listener(path)]})
    own.open(path=path).connect("x")
    (tmp_path / "a.yaml").write_text(f"listeners: [{{bind: 'unix:{path}'}}]\n")
    code, _, err = command("-c", "a.yaml")
    assert code == 3 and str(path) in err, err
    own.open(path=path).connect("y")
    with open(f"{path}x", "w", encoding="ascii"):
        (tmp_path / "a.yaml").write_text(f"listeners: [{{bind: 'unix:{path}x'}}]\n")
    assert command("-c", "a.yaml")[0] == 3 and os.path.exists(f"{path}x")
    os.unlink(f"{path}x")


def test_it_comes_and_goes_by_reload(run_broker, path):
    own = run_broker({"listeners": [{"name": "mqtt"}]})
    text = own.config_file.read_text()
    staying = own.connect()
    for _ in range(3):
        own.config_file.write_text(f"{text}  - name: unix\n    bind: unix:{path}\n")
        reload(own, "loaded again")
        client = own.open(path=path)
        client.connect("x")
        own.config_file.write_text(text)
        reload(own, "loaded again")
        client.expect_refused(0x8B)
        assert not path.exists()
        staying.ping()


def test_a_path_that_cannot_be_refuses_the_reload(run_broker, path):
    own = run_broker({"listeners": [{"name": "mqtt"}]})
    text = own.config_file.read_text()
    client = own.connect()
    own.config_file.write_text(f"{text}  - name: unix\n    bind: unix:/no/such/folder/x\n")
    assert "/no/such/folder/x" in reload(own, "reload refused")
    client.ping()


def test_tls_and_websocket_over_it(run_broker, ca, path, name):
    own = run_broker({"listeners": [{"name": "mqtt"}, listener(path, protocol="websocket", tls=server(ca))]})
    client = own.open(path=path, tls=tls_context(ca.cafile), websocket={})
    client.connect(name)
    client.subscribe(name)
    client.publish(name, "x")
    client.message(payload="x")


def test_a_proxy_may_come_through_it(run_broker, path, name):
    own = run_broker({"broker": {"trusted_proxies": ["unix"]},
                      "listeners": [{"name": "mqtt"}, listener(path, proxy_protocol=True)]})
    # auto is no for those behind a proxy
    own.open(path=path, proxy=proxy_v1("192.0.2.7")).connect(name, expect=0x87)
    assert wait_until(lambda: [one for one in own.lines("warning") if "address=192.0.2.7:4711" in one])
    other = run_broker({"broker": {"trusted_proxies": ["127.0.0.1"]},
                        "listeners": [{"name": "mqtt"}, listener(f"{path}2", proxy_protocol=True)]})
    with pytest.raises((Closed, ConnectionError)):
        other.open(path=f"{path}2", proxy=proxy_v1("192.0.2.7")).connect(name)


@pytest.mark.parametrize("version", (3, 4, 5))
def test_moving(run_broker, path, name, version):
    own = run_broker({"broker": {"workers": 4}, "listeners": [{"name": "mqtt"}, listener(path)]}, test=True,
                     args=["--move-always"])
    for cut in range(0, 80, 3):
        client = own.open(version, path=path)
        send_in_pieces(client, stream_of(client, f"{name}{cut % 5}", f"{name}/t"), [cut])
        check_answers(client)
        client.close()


def test_a_client_killed_in_the_middle(run_broker, path, name):
    own = run_broker({"listeners": [{"name": "mqtt"}, listener(path)]})
    for i in range(20):
        client = own.open(path=path)
        client.send(encode(client.connect_packet(name), 5)[:i])
        client.close()
    own.open(path=path).connect(name)
