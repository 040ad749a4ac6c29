# SPDX-License-Identifier: Apache-2.0
"""Connections that move to another worker in the middle of records of TLS."""

import random
import shutil
import socket
import ssl

import pytest

import conftest
import test_tls
from mqtt import Client
from test_clients import every_version
from test_move import check_answers, stream_of
from test_tls import TLS12, TLS13, every_tls, raw, server

clients, tls = test_tls.clients, test_tls.tls       # fixtures
pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")


@pytest.fixture(scope="module")
def moving(ca, tmp_path_factory):
    running = conftest.Broker(tmp_path_factory.mktemp("moving"),
                              {"broker": {"workers": 4}, "listeners": [{"name": "tls", "tls": server(ca)}],
                               "limits": {"auth_delay": 0}}, conftest.TEST_BIN, ["--move-always"])
    yield running
    running.stop()


class Records:
    """TLS by hand on a socket: the test decides what becomes a record, and what is sent when."""

    def __init__(self, port, context):
        self.sock = raw(port)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")

    def shake_hands(self):
        """All but the last flight, which is returned: so that it goes out with what follows."""
        while True:
            try:
                self.tls.do_handshake()
                return self.outgoing.read()
            except ssl.SSLWantReadError:
                self.sock.sendall(self.outgoing.read())
                self.incoming.write(self.sock.recv(65536))

    def record(self, data):
        self.tls.write(data)
        return self.outgoing.read()


class Below:
    """The rest of a connection as Client wants it."""

    def __init__(self, records):
        self.records = records
        self.sock = records.sock

    def fileno(self):
        return self.sock.fileno()

    def settimeout(self, seconds):
        self.sock.settimeout(seconds)

    def recv(self, size):
        while True:
            try:
                return self.records.tls.read(size)
            except ssl.SSLWantReadError:
                data = self.sock.recv(65536)
                if not data:
                    return b""
                self.records.incoming.write(data)
            except ssl.SSLZeroReturnError:
                return b""

    def sendall(self, data):
        self.sock.sendall(self.records.record(data))

    def close(self):
        self.sock.close()


def answers_over_records(port, context, version, client_id, cut_data, cut_bytes):
    """cut_data: where the plain bytes become records; cut_bytes: where the encrypted ones become
    segments, from the client's last flight of the handshake on."""
    client = Client.__new__(Client)
    client.__init__(port, version)
    client.sock.close()
    records = Records(port, context)
    # TLS 1.2 ends with the server's flight.
    last = records.shake_hands()
    client.sock = Below(records)
    data = stream_of(client, client_id, f"{client_id}/t")
    sealed, begin = last, 0
    for cut in [*sorted(cut_data), len(data)]:
        if cut > begin:
            sealed += records.record(data[begin:cut])
            begin = cut
    begin = 0
    for cut in [*sorted(cut_bytes(len(sealed))), len(sealed)]:
        if cut > begin:
            client.sock.sock.sendall(sealed[begin:cut])
            begin = cut
    client._pending = lambda: records.tls.pending() or records.incoming.pending
    check_answers(client)
    client.close()
    return len(data)


@every_version
@every_tls
def test_moving_with_every_record_cut(moving, name, tls, version, settings):
    context = tls(**settings)
    size = len(stream_of(Client(moving.port, version), name, f"{name}/t"))
    for cut in range(0, size, 3):
        answers_over_records(moving.port, context, version, f"{name}c{cut % 7}", [cut], lambda _: [])
    answers_over_records(moving.port, context, version, f"{name}all", range(size), lambda _: [])


@every_tls
def test_moving_with_split_records(moving, name, tls, settings):
    context = tls(**settings)
    dice = random.Random(7)
    for i in range(40):
        cuts = [dice.randrange(200) for _ in range(dice.randrange(6))]
        answers_over_records(moving.port, context, 5, f"{name}{i % 5}", cuts,
                             lambda size: [dice.randrange(size) for _ in range(dice.randrange(1, 8))])


def test_moving_with_much_behind_connect(moving, name, tls):
    for settings in (TLS12, TLS13):
        client = moving.open(tls=tls(**settings))
        client.send(client.connect_packet(name), client.subscribe_packet((name, 0), packet_id=1),
                    *[client.publish_packet(name, bytes(1000 + i)) for i in range(100)])
        client.expect("CONNACK", reason=0)
        client.expect("SUBACK")
        for i in range(100):
            client.message(payload=bytes(1000 + i))
