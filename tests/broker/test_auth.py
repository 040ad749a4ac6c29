# SPDX-License-Identifier: Apache-2.0
"""AUTH, where no plugin offers a method."""

import pytest

from mqtt import Packet

statement = pytest.mark.statement


@statement("MQTT5-4.12.0-1")
def test_any_method_is_refused_by_connack(broker):
    for method in ("SCRAM-SHA-256", "PLAIN", "", "x" * 1000):
        client = broker.open()
        client.connect("x", authentication_method=method, authentication_data=b"data", expect=0x8C)
        client.expect_closed()


def test_a_refused_method_leaves_no_session(broker, name):
    client = broker.open()
    client.connect(name, clean=False, session_expiry_interval=100, authentication_method="NONE",
                   expect=0x8C)
    assert broker.open().connect(name, clean=False).session_present == 0


def test_a_refused_method_takes_nothing_over(broker, name):
    holder = broker.connect(name)
    broker.open().connect(name, authentication_method="NONE", expect=0x8C)
    holder.ping()


@statement("MQTT5-4.12.0-7")
@pytest.mark.parametrize("reason", [0x00, 0x18, 0x19])
def test_auth_without_a_method_in_connect_is_a_protocol_error(broker, reason):
    for method in ({}, {"authentication_method": "x"}):
        client = broker.connect()
        client.auth(reason, **method)
        client.expect_refused(0x82)


def test_auth_before_connect_closes(broker):
    client = broker.open()
    client.send(Packet("AUTH", reason=0x18, props={"authentication_method": "x"}))
    client.expect_closed()


@statement("MQTT5-3.15.1-1")
@pytest.mark.parametrize("first", [0xF1, 0xF2, 0xF8])
def test_the_flags_of_auth_are_checked(broker, first):
    client = broker.connect()
    client.send(bytes([first, 0]))
    client.expect_refused(0x81)


@pytest.mark.parametrize("version", [3, 4])
def test_there_is_no_auth_before_version_5(broker, version):
    client = broker.connect(version=version)
    client.send(b"\xf0\0")
    client.expect_closed()


@statement("MQTT5-4.12.0-6")
def test_connack_has_no_method_if_none_was_given(broker):
    assert "authentication_method" not in broker.open().connect("").props
