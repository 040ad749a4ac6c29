# SPDX-License-Identifier: Apache-2.0
"""A client of SCRAM that can be made to lie [RFC 5802, RFC 7677]."""

import base64
import hashlib
import hmac
import secrets


def _xor(a, b):
    return bytes(x ^ y for x, y in zip(a, b))


def fields(message):
    return dict(one.split("=", 1) for one in message.decode().split(",") if "=" in one)


class Scram:
    """first(), then final(server_first); proves() says whether server_final is the server's."""

    def __init__(self, user, password, digest="sha256", header="n,,", binding=b""):
        self.password, self.digest, self.header, self.binding = password, digest, header, binding
        self.nonce = base64.b64encode(secrets.token_bytes(18)).decode()
        self.bare = f"n={user.replace('=', '=3D').replace(',', '=2C')},r={self.nonce}"

    def _hmac(self, key, data):
        return hmac.new(key, data, self.digest).digest()

    def first(self):
        return (self.header + self.bare).encode()

    def final(self, server_first, spoil=False):
        given = fields(server_first)
        assert given["r"].startswith(self.nonce)
        salted = hashlib.pbkdf2_hmac(self.digest, self.password.encode(), base64.b64decode(given["s"]), int(given["i"]))
        client_key = self._hmac(salted, b"Client Key")
        channel = base64.b64encode(self.header.encode() + self.binding).decode()
        bare = f"c={channel},r={given['r']}"
        message = f"{self.bare},{server_first.decode()},{bare}".encode()
        proof = _xor(client_key, self._hmac(hashlib.new(self.digest, client_key).digest(), message))
        self.expected = self._hmac(self._hmac(salted, b"Server Key"), message)
        proof = bytes([proof[0] ^ spoil]) + proof[1:]
        return f"{bare},p={base64.b64encode(proof).decode()}".encode()

    def proves(self, server_final):
        return base64.b64decode(fields(server_final)["v"]) == self.expected
