# SPDX-License-Identifier: Apache-2.0
"""A relay of TCP connections that a test can cut: the network between two brokers."""

import socket
import struct
import threading


class Relay:
    """Listens on a port of its own and passes on to `target`, a port or a function that says it.

    cut() resets all connections, in the middle of whatever they carry; while `open` is False new ones
    are reset at once. Each connection forwards by a thread of its own for either direction.
    """

    def __init__(self, target):
        self.target = target if callable(target) else lambda: target
        self.open = True
        self.count = 0
        self._lock = threading.Lock()
        self._pairs = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._listener.getsockname()[1]
        self._closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if not self.open or self._closed:
                _reset(near)
                continue
            try:
                far = socket.create_connection(("127.0.0.1", self.target()), 5)
            except OSError:
                _reset(near)
                continue
            far.settimeout(None)
            for one in (near, far):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self.count += 1
                self._pairs.append((near, far))
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source, sink):
        try:
            while True:
                data = source.recv(65536)
                if not data:
                    sink.shutdown(socket.SHUT_WR)
                    return
                sink.sendall(data)
        except OSError:
            _reset(source)
            _reset(sink)

    def cut(self):
        """Resets all connections; how many there were."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for near, far in pairs:
            _reset(near)
            _reset(far)
        return len(pairs)

    def close(self):
        self._closed = True
        self._listener.close()
        self.cut()


def _reset(sock):
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.shutdown(socket.SHUT_RDWR)     # wakes the thread that reads it
    except OSError:
        pass
    sock.close()
