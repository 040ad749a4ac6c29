# SPDX-License-Identifier: Apache-2.0
"""GNU SASL's client, and the channel of a TLS socket that it may be bound to. Nothing here is ours but the glue."""

import base64
import ctypes
import ctypes.util

OK, NEEDS_MORE = 0, 1
AUTHID, AUTHZID, PASSWORD, SERVICE, HOSTNAME = 1, 2, 3, 5, 6
CB_TLS_EXPORTER = 25


def library():
    """libgsasl, or None."""
    try:
        return ctypes.CDLL("libgsasl.so.18")
    except OSError:
        return None


def mechanisms():
    lib, context, names = library(), ctypes.c_void_p(), ctypes.c_char_p()
    lib.gsasl_init(ctypes.byref(context))
    lib.gsasl_client_mechlist(context, ctypes.byref(names))
    result = names.value.decode().split()
    lib.gsasl_done(context)
    return result


class Session:
    """One exchange; step() gives what is to be sent, and notes in `status` whether it wants more."""

    def __init__(self, mechanism, user=None, password=None, authzid=None, exporter=None, service=None, host=None):
        self.lib = library()
        self.context, self.session = ctypes.c_void_p(), ctypes.c_void_p()
        assert self.lib.gsasl_init(ctypes.byref(self.context)) == OK
        self._check(self.lib.gsasl_client_start(self.context, mechanism.encode(), ctypes.byref(self.session)))
        for number, value in ((AUTHID, user), (PASSWORD, password), (AUTHZID, authzid), (SERVICE, service),
                              (HOSTNAME, host)):
            if value is not None:
                self._check(self.lib.gsasl_property_set(self.session, number, value.encode()))
        if exporter is not None:
            self._check(self.lib.gsasl_property_set(self.session, CB_TLS_EXPORTER, base64.b64encode(exporter)))
        self.status = NEEDS_MORE

    def _check(self, status):
        self.lib.gsasl_strerror.restype = ctypes.c_char_p
        assert status in (OK, NEEDS_MORE), self.lib.gsasl_strerror(status).decode()
        return status

    def step(self, data=b""):
        out, length = ctypes.c_void_p(), ctypes.c_size_t()
        self.status = self._check(self.lib.gsasl_step(self.session, data, ctypes.c_size_t(len(data)),
                                                      ctypes.byref(out), ctypes.byref(length)))
        result = ctypes.string_at(out, length.value) if out.value else b""
        self.lib.gsasl_free(out)
        return result

    def close(self):
        self.lib.gsasl_finish(self.session)
        self.lib.gsasl_done(self.context)


def exporter(sock):
    """tls-exporter of RFC 9266. Python's ssl does not give it: OpenSSL is asked, by the pointer that the object
    of CPython's _ssl module has behind its header and its socket."""
    pointer = ctypes.c_void_p.from_address(id(sock._sslobj) + 2 * ctypes.sizeof(ctypes.c_void_p)
                                           + ctypes.sizeof(ctypes.c_void_p))
    out, label = ctypes.create_string_buffer(32), b"EXPORTER-Channel-Binding"
    done = ctypes.CDLL("libssl.so.3").SSL_export_keying_material(
        pointer, out, ctypes.c_size_t(32), label, ctypes.c_size_t(len(label)), b"", ctypes.c_size_t(0), 1)
    assert done == 1
    return out.raw
