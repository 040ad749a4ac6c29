# SPDX-License-Identifier: Apache-2.0
"""A broker that does what a test says, packet by packet: the remote of a bridge.

    remote = Remote()                       listens on remote.port
    conn = remote.connected()               the next connection, with its CONNECT in conn.greeting
    conn.accept(receive_maximum=2)          CONNACK; conn = remote.up(...) does both
    conn.expect("PUBLISH", qos=1)           all that mqtt.Client can do: send, ack, wait, expect_quiet …

Nothing is answered by itself. What comes is judged, and what no client may send, whatever the test is about,
raises Malformed: a packet that is not CONNECT first, or a second one; anything but AUTH and DISCONNECT before
CONNACK when there is a method; anything after DISCONNECT; more than the CONNACK allows (Receive Maximum, Maximum
QoS, Retain Available, Maximum Packet Size, Topic Alias Maximum); an id that is still in use; a PUBLISH that is sent
again on its own connection. It is used by one thread.
"""

import collections
import itertools
import socket

import mqtt
from mqtt import Client, Malformed, Packet, TIMEOUT


class Connection(Client):
    """One that a client has opened. Packets that are sent as raw bytes are not taken into account."""

    def __init__(self, sock, timeout=TIMEOUT):
        self.version = 5        # until CONNECT says it
        self.timeout = timeout
        self.inbox = collections.deque()
        self.aliases = {}
        self.sock = sock
        self.greeting = self.connack = None
        self.in_flight = {}     # id: QoS of a PUBLISH, or 0 after its PUBREC
        self.asked = set()      # ids of SUBSCRIBE and UNSUBSCRIBE that are not answered
        self.has_left = False
        self._buffer = bytearray()
        self._ids = itertools.cycle(range(1, 65536))
        sock.settimeout(timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    # judging

    def _judge(self, packet):
        kind = packet.kind
        mqtt.check_from_client(packet)
        if self.has_left:
            raise Malformed(f"{packet} after DISCONNECT")
        if (self.greeting is None) != (kind == "CONNECT"):
            raise Malformed(f"{packet}: CONNECT is not the first packet, or comes twice")
        if kind == "CONNECT":
            self.greeting, self.version = packet, packet.version
            return
        if self.connack is None and "authentication_method" in self.greeting.props and kind not in ("AUTH",
                                                                                                  "DISCONNECT"):
            raise Malformed(f"{packet} before it is authenticated")
        if kind == "AUTH" and "authentication_method" not in self.greeting.props:
            raise Malformed(f"{packet} without a method")
        most = self._said("maximum_packet_size", 0)
        if most and packet.size > most:
            raise Malformed(f"{packet} has {packet.size} bytes, {most} are allowed")
        if kind == "PUBLISH":
            self._judge_publish(packet)
        elif kind in ("SUBSCRIBE", "UNSUBSCRIBE"):
            if packet.packet_id in self.asked:
                raise Malformed(f"{packet}: the id is in use")
            self.asked.add(packet.packet_id)
        elif kind == "DISCONNECT":
            self.has_left = True

    def _said(self, name, default):
        return self.connack.props.get(name, default) if self.connack is not None else default

    def _judge_publish(self, packet):
        if not 0 <= packet.props.get("topic_alias", 0) <= self._said("topic_alias_maximum", 0):
            raise Malformed(f"{packet}: the alias is above the maximum")
        if packet.qos > self._said("maximum_qos", 2):
            raise Malformed(f"{packet} is above the Maximum QoS")
        if packet.retain and not self._said("retain_available", 1):
            raise Malformed(f"{packet}: nothing is retained here")
        if not packet.qos:
            return
        if packet.packet_id in self.in_flight:
            raise Malformed(f"{packet}: the id is in use on this connection")
        self.in_flight[packet.packet_id] = packet.qos
        if len(self.in_flight) > self._said("receive_maximum", 65535):
            raise Malformed(f"{packet} is more than the Receive Maximum")

    def send(self, *what):
        for one in what:
            kind = getattr(one, "kind", None)
            if kind == "CONNACK":
                self.connack = one
            elif kind in ("SUBACK", "UNSUBACK"):
                self.asked.discard(one.packet_id)
            elif kind in ("PUBACK", "PUBCOMP") or kind == "PUBREC" and one.reason >= 0x80:
                self.in_flight.pop(one.packet_id, None)
            elif kind == "PUBREC" and one.packet_id in self.in_flight:
                self.in_flight[one.packet_id] = 0
        super().send(*what)

    # answering

    def connack_packet(self, present=0, reason=0, **props):
        return Packet("CONNACK", session_present=present, reason=reason, props=props)

    def accept(self, present=0, **props):
        self.send(self.connack_packet(present, **props))
        return self

    def refuse(self, reason, **props):
        self.send(self.connack_packet(0, reason, **props))

    def subscribed(self, *reasons):
        """The next SUBSCRIBE is answered, by default as it asks; it is returned."""
        packet = self.wait("SUBSCRIBE")
        self.send(Packet("SUBACK", packet_id=packet.packet_id, props={},
                         reasons=list(reasons) or [one.options & 3 for one in packet.filters]))
        return packet


class Remote:
    """The listener. Connections wait in its queue until they are asked for."""

    def __init__(self):
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._listener.getsockname()[1]
        self.connections = []

    def accepted(self, timeout=TIMEOUT):
        """The next connection, of which nothing is read yet."""
        self._listener.settimeout(timeout)
        sock, _ = self._listener.accept()
        self.connections.append(Connection(sock))
        return self.connections[-1]

    def connected(self, timeout=TIMEOUT):
        """The next connection, with its CONNECT in `greeting`."""
        conn = self.accepted(timeout)
        conn.expect("CONNECT")
        return conn

    def up(self, present=0, **props):
        """The next connection, accepted with a CONNACK."""
        return self.connected().accept(present, **props)

    def close(self):
        self._listener.close()
        for conn in self.connections:
            conn.close()
