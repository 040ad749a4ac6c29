# SPDX-License-Identifier: Apache-2.0
"""Certificates for tests, made by the openssl program when they are needed."""

import pathlib
import shutil
import subprocess

import pytest

CONFIG = """
[ca]
default_ca = own
[own]
dir = {folder}
database = {folder}/index.txt
serial = {folder}/serial
new_certs_dir = {folder}
certificate = {folder}/ca.pem
private_key = {folder}/ca.key
default_md = sha256
default_crl_days = 30
policy = any
unique_subject = no
copy_extensions = copy
[any]
organizationName = optional
commonName = optional
"""


def openssl(*args, **options):
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("openssl is not installed")
    done = subprocess.run([program, *map(str, args)], capture_output=True, text=True, timeout=30, **options)
    assert done.returncode == 0, f"{args}:\n{done.stdout}{done.stderr}"
    return done.stdout


class Authority:
    """An authority with its folder: `cafile`, and what it has issued."""

    def __init__(self, folder, name="Test authority"):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.cafile = self.folder / "ca.pem"
        self._config = self.folder / "ca.cnf"
        self._config.write_text(CONFIG.format(folder=self.folder))
        (self.folder / "index.txt").write_text("")
        (self.folder / "serial").write_text("1000\n")
        self._key(self.folder / "ca.key")
        openssl("req", "-x509", "-new", "-key", self.folder / "ca.key", "-subj", f"/CN={name}", "-days", "30",
                "-out", self.cafile)

    @staticmethod
    def _key(path):
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", path)

    def issue(self, name, subject=None, san=None, ends="20371231235959Z"):
        """(certificate, key) of these names, as paths; a server's by default has SAN localhost."""
        certificate, key, request = (self.folder / f"{name}.{end}" for end in ("pem", "key", "csr"))
        self._key(key)
        extra = ["-addext", f"subjectAltName={san}"] if san else []
        openssl("req", "-new", "-key", key, "-subj", subject or f"/CN={name}", *extra, "-out", request)
        openssl("ca", "-batch", "-notext", "-config", self._config, "-in", request, "-out", certificate,
                "-startdate", "20200101000000Z", "-enddate", ends)
        return certificate, key

    def server(self, name="server", **options):
        return self.issue(name, "/CN=localhost", "DNS:localhost,IP:127.0.0.1", **options)

    def revoke(self, certificate):
        openssl("ca", "-config", self._config, "-revoke", certificate)

    def crl(self):
        """A list of what is revoked by now."""
        path = self.folder / "crl.pem"
        openssl("ca", "-config", self._config, "-gencrl", "-out", path)
        return path
