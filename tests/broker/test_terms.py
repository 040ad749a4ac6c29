# SPDX-License-Identifier: Apache-2.0
"""What authenticators say beyond yes and no: texts and properties of the packet that answers, attributes that
other plugins see, an end of the credential, limits, and what they see of TLS (plugins/says.c)."""

import os
import shutil
import ssl

import pytest

from mqtt import Filter, tls_context, wait_until
from test_control import told
from test_plugin import CC, HERE, build

pytestmark = pytest.mark.skipif(not shutil.which(CC), reason="there is no compiler")


@pytest.fixture(scope="session")
def says(tmp_path_factory):
    return build(tmp_path_factory.mktemp("says") / "says.so", os.path.join(HERE, "plugins", "says.c"))


@pytest.fixture
def broker(run_broker, says):
    return run_broker(config={"limits": {"auth_delay": 0}, "plugins": [{"name": "s", "module": says}],
                              "chains": {"default": {"authenticate": ["s"], "authorize": ["s"]}}})


def login(broker, words, **options):
    """CONNECT with these words; the client, and what came back."""
    client = broker.open(5)
    client.send(client.connect_packet(options.pop("client_id", "c"), username=words, password="x", **options))
    return client, client.wait("CONNACK")


def exchange(broker, words, **options):
    client = broker.open(5)
    client.send(client.connect_packet("c", authentication_method="SAYS", authentication_data=words.encode(), **options))
    return client


def test_a_refusal_says_why_and_where_to_go(broker):
    _, connack = login(broker, "deny=0x9c;server=other.example:1883;text=moved away;prop=a:1;prop=b:2")
    assert connack.reason == 0x9c
    assert connack.props["server_reference"] == "other.example:1883"
    assert connack.props["reason_string"] == "moved away"
    assert connack.props["user_property"] == [("a", "1"), ("b", "2")]
    wait_until(lambda: "the login is refused: moved away" in broker.log())


def test_a_welcome_may_have_properties(broker):
    _, connack = login(broker, "text=hello;prop=a:1;user=someone")
    assert connack.reason == 0 and connack.props["reason_string"] == "hello"
    assert connack.props["user_property"] == [("a", "1")]


def test_auth_packets_have_them_too(broker):
    client = exchange(broker, "more=1;text=go on;prop=step:1;data=challenge")
    auth = client.expect("AUTH", reason=0x18)
    assert (auth.props["authentication_data"], auth.props["reason_string"]) == (b"challenge", "go on")
    assert auth.props["user_property"] == [("step", "1")]
    client.auth(0x18, authentication_method="SAYS", authentication_data=b"user=u;prop=step:2;data=done")
    connack = client.expect("CONNACK", reason=0)
    assert connack.props["user_property"] == [("step", "2")] and "reason_string" not in connack.props
    client.auth(0x19, authentication_method="SAYS", authentication_data=b"user=u;text=again;data=more")
    auth = client.expect("AUTH", reason=0)
    assert (auth.props["authentication_data"], auth.props["reason_string"]) == (b"more", "again")
    client.auth(0x19, authentication_method="SAYS", authentication_data=b"deny=0x87;text=not any more;prop=x:y")
    end = client.expect("DISCONNECT", reason=0x87)
    assert end.props["reason_string"] == "not any more" and end.props["user_property"] == [("x", "y")]


def test_who_wants_no_texts_gets_none_in_auth(broker):
    client = exchange(broker, "more=1;text=go on;prop=a:b;data=d", request_problem_information=0)
    auth = client.expect("AUTH", reason=0x18)
    assert set(auth.props) == {"authentication_method", "authentication_data"}


def test_a_text_that_is_none_is_not_sent(broker):
    _, connack = login(broker, "bad=1")
    assert connack.reason == 0x88 and "reason_string" not in connack.props or "\ufffd" not in str(connack.props)
    wait_until(lambda: "gave a text that is not UTF-8" in broker.log())


def test_limits_are_told_and_hold(broker):
    client, connack = login(broker, "session=5;receive=2;packet=200", session_expiry_interval=1000)
    assert connack.props["session_expiry_interval"] == 5
    assert connack.props["receive_maximum"] == 2
    assert connack.props["maximum_packet_size"] == 200
    client.send(client.publish_packet("t", b"x" * 300, qos=0))
    client.expect("DISCONNECT", reason=0x95)
    # An answer that the listener does not allow is not exceeded.
    _, connack = login(broker, "session=1000;packet=2000000000;receive=65535", session_expiry_interval=10)
    assert "session_expiry_interval" not in connack.props
    assert connack.props["maximum_packet_size"] < 2000000000 and connack.props["receive_maximum"] == 1000


def test_more_at_a_time_than_was_granted(broker):
    client, _ = login(broker, "receive=2")
    for packet_id in (1, 2, 3):
        client.send(client.publish_packet("t", b"x", qos=2, packet_id=packet_id))
    client.wait("DISCONNECT", reason=0x93)


def test_a_disconnect_cannot_get_a_longer_session(broker):
    broker.socket = str(broker.run / "control.sock")
    client, _ = login(broker, "session=7", session_expiry_interval=5, client_id="short")
    assert told(broker, "sessions", "show", "short")[0]["expiry_s"] == 5
    client.disconnect(session_expiry_interval=100000)
    wait_until(lambda: told(broker, "sessions", "show", "short")[0]["expiry_s"] == 7)


def test_who_has_expired_is_sent_away(broker):
    client, connack = login(broker, "expires=300;user=u")
    assert connack.reason == 0
    client.expect("DISCONNECT", reason=0xa0)
    # At once, where it has expired already.
    client, _ = login(broker, "expires=-5000")
    client.expect("DISCONNECT", reason=0xa0)


def test_who_authenticates_again_stays(broker):
    client = exchange(broker, "user=u;expires=20000")
    client.expect("CONNACK", reason=0)
    client.auth(0x19, authentication_method="SAYS", authentication_data=b"user=u;expires=20000")
    client.expect("AUTH", reason=0)
    client.auth(0x19, authentication_method="SAYS", authentication_data=b"user=u")       # for ever
    client.expect("AUTH", reason=0)
    client.auth(0x19, authentication_method="SAYS", authentication_data=b"user=u;expires=200")
    client.expect("AUTH", reason=0)
    client.expect("DISCONNECT", reason=0xa0)


def test_attributes_are_seen_by_others(broker):
    client = exchange(broker, "more=1;user=u;attr=role:guest")
    client.expect("AUTH", reason=0x18)
    client.auth(0x18, authentication_method="SAYS", authentication_data=b"user=u;attr=role:admin;attr=site:north")
    client.expect("CONNACK", reason=0)
    client.publish("t", b"x", qos=1)
    wait_until(lambda: "client c, user u, certificate 0, exporter , role is admin, site is north" in broker.log())
    client.subscribe(Filter("f", 1))
    # Again, with others: what it has subscribed to is asked about again.
    client.auth(0x19, authentication_method="SAYS", authentication_data=b"user=u;attr=role:operator")
    client.expect("AUTH", reason=0)
    wait_until(lambda: "exporter , role is operator" in broker.log())
    client.publish("t", b"y", qos=1)


def test_what_is_seen_of_tls(run_broker, says, ca, tmp_path):
    certificate, key = ca.server_pair
    broker = run_broker(config={
        "listeners": [{"name": "tls", "tls": {"certfile": str(certificate), "keyfile": str(key),
                                              "cafile": str(ca.cafile), "username_from": "none"}}],
        "limits": {"auth_delay": 0}, "plugins": [{"name": "s", "module": says}],
        "chains": {"default": {"authenticate": ["s"], "authorize": ["s"]}}})
    own = ca.issue("alice", "/CN=alice")
    der = ssl.PEM_cert_to_DER_cert(open(own[0]).read())
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = tls_context(ca.cafile, *own)
        context.minimum_version = context.maximum_version = version
        client = broker.open(5, "tls", tls=context)
        client.send(client.connect_packet(f"c{version}", username="user=u", password="x"))
        client.expect("CONNACK", reason=0)
        client.publish("t", b"x", qos=1)
        wait_until(lambda: f"client c{version}, user u, certificate {len(der)}, exporter " in broker.log())
        line = next(line for line in broker.log().splitlines() if f"client c{version}, user u, cert" in line)
        exporter = line.split("exporter ")[1].split()[0]
        assert len(exporter) == 64 and exporter != 64 * "0"
        client.disconnect()
