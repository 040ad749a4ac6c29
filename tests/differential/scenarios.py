# SPDX-License-Identifier: Apache-2.0
"""Sequences written down: name -> steps. A step is its kind, the client, and the arguments of Player.do_KIND in
differ.py; after each step all clients say what they have got."""


def connect(key, version=5, clean=True, **props):
    return Step("connect", (key,), {"version": version, "clean": clean, **props})


def subscribe(key, *filters, **props):
    return Step("subscribe", (key, *(one if isinstance(one, tuple) else (one,) for one in filters)), props)


def publish(key, topic, payload=b"x", qos=0, retain=0, **props):
    return Step("publish", (key, topic, payload, qos, retain), props)


class Step(tuple):
    """(kind, arguments...) whose keywords are given, too, when it is played."""

    def __new__(cls, kind, args, keywords):
        self = super().__new__(cls, (kind, *args))
        self.keywords = keywords
        return self


def unsubscribe(key, *filters):
    return Step("unsubscribe", (key, *filters), {})


def drop(key):
    return Step("drop", (key,), {})


def bye(key, reason=0, **props):
    return Step("bye", (key, reason), props)


def wait(seconds):
    return Step("wait", (seconds,), {})


def will(topic, qos=1, retain=0, **props):
    return (topic, b"gone", qos, retain, props)


SCENARIOS = {}
for _v in (4, 5):
    _keep = {"session_expiry_interval": 300} if _v == 5 else {}
    for _q in (0, 1, 2):
        SCENARIOS[f"deliver q{_q} v{_v}"] = [
            connect("s", _v), connect("p", _v), subscribe("s", ("a/#", _q)), publish("p", "a", qos=0),
            publish("p", "a/b", qos=1), publish("p", "a/b/c", qos=2), publish("p", "b", qos=1)]
        SCENARIOS[f"retained q{_q} v{_v}"] = [
            connect("p", _v), publish("p", "r", b"one", _q, 1), publish("p", "r", b"two", _q, 1), connect("s", _v),
            subscribe("s", ("r", 2)), publish("p", "r", b"", _q, 1), connect("t", _v), subscribe("t", ("r", 2))]
        SCENARIOS[f"asleep q{_q} v{_v}"] = [
            connect("s", _v, False, **_keep), connect("p", _v), subscribe("s", ("a", _q)), bye("s"),
            publish("p", "a", b"0", 0), publish("p", "a", b"1", 1), publish("p", "a", b"2", 2),
            connect("s", _v, False, **_keep), connect("s2", _v, False, **_keep)]
        SCENARIOS[f"will q{_q} v{_v}"] = [
            connect("w", _v), subscribe("w", ("will", 2)), connect("c", _v, will=will("will", _q)), drop("c"),
            connect("c", _v, will=will("will", _q)), bye("c"), connect("c", _v, will=will("will", _q, 1)), drop("c"),
            connect("t", _v), subscribe("t", ("will", 2))]
    SCENARIOS[f"overlap v{_v}"] = [
        connect("s", _v), connect("p", _v), subscribe("s", ("a/b", 0)), subscribe("s", ("a/+", 1)), subscribe("s", ("#", 2)),
        publish("p", "a/b", qos=2), unsubscribe("s", "#"), publish("p", "a/b", qos=2)]
    SCENARIOS[f"replace v{_v}"] = [
        connect("s", _v), connect("p", _v), subscribe("s", ("a", 0)), subscribe("s", ("a", 2)), publish("p", "a", qos=2),
        subscribe("s", ("a", 1)), publish("p", "a", qos=2), unsubscribe("s", "a", "a", "none"), publish("p", "a", qos=1)]
    SCENARIOS[f"wildcards v{_v}"] = [
        connect("s", _v), connect("p", _v), subscribe("s", ("+", 1), ("+/b", 1), ("a/#", 1), ("+/+/+", 1))] + [
        publish("p", topic, topic.encode(), 1) for topic in ("a", "b", "a/b", "b/b", "/b", "a/b/c", "a/", "//", "/")]
    SCENARIOS[f"take over v{_v}"] = [
        connect("s", _v, False, **_keep), subscribe("s", ("a", 1)), connect("p", _v), connect("s", _v, False, **_keep),
        publish("p", "a", qos=1)]
    SCENARIOS[f"take over with will v{_v}"] = [
        connect("w", _v), subscribe("w", ("will", 1)), connect("s", _v, will=will("will")), connect("s", _v)]
    SCENARIOS[f"clean after kept v{_v}"] = [
        connect("s", _v, False, **_keep), subscribe("s", ("a", 1)), bye("s"), connect("p", _v), publish("p", "a", qos=1),
        connect("s", _v, True), publish("p", "a", qos=1), bye("s"), connect("s", _v, False)]
    SCENARIOS[f"dollar v{_v}"] = [
        connect("s", _v), connect("p", _v), subscribe("s", ("#", 1)), publish("p", "a", qos=1)]
    SCENARIOS[f"empty payload v{_v}"] = [
        connect("s", _v), connect("p", _v), subscribe("s", ("a", 1)), publish("p", "a", b"", 1), publish("p", "a", b"", 1, 1)]
    SCENARIOS[f"many filters v{_v}"] = [
        connect("s", _v), subscribe("s", *((f"f/{i}", i % 3) for i in range(30))), connect("p", _v)] + [
        publish("p", f"f/{i}", str(i).encode(), 2) for i in range(0, 30, 5)]

SCENARIOS.update({
    "no local": [connect("s"), connect("p"), subscribe("s", ("a", 1, 1)), publish("s", "a", b"own", 1), publish("p", "a", b"other", 1)],
    "no local and another": [connect("s"), subscribe("s", ("a", 0, 1)), subscribe("s", ("+", 1)), publish("s", "a", b"own", 1)],
    "retain as published": [connect("s"), connect("p"), subscribe("s", ("a", 1, 0, 1)), subscribe("s", ("b", 1)),
                            publish("p", "a", b"1", 1, 1), publish("p", "b", b"2", 1, 1), publish("p", "a", b"3", 1)],
    "retain handling": [connect("p"), publish("p", "a", b"kept", 1, 1), connect("s"), subscribe("s", ("a", 1, 0, 0, 2)),
                        subscribe("s", ("a", 1, 0, 0, 1)), subscribe("s", ("a", 1)), unsubscribe("s", "a"),
                        subscribe("s", ("a", 1, 0, 0, 1))],
    "subscription ids": [connect("s"), connect("p"), subscribe("s", ("a", 1), subscription_identifier=[5]),
                         subscribe("s", ("+", 2), subscription_identifier=[6]), publish("p", "a", qos=2),
                         subscribe("s", ("a", 1)), publish("p", "a", qos=1)],
    "retained with id": [connect("p"), publish("p", "a", b"kept", 1, 1), connect("s"),
                         subscribe("s", ("a", 1), subscription_identifier=[9])],
    "properties": [connect("s"), connect("t", 4), connect("p"), subscribe("s", ("a", 2)), subscribe("t", ("a", 2)),
                   publish("p", "a", b"text", 1, payload_format_indicator=1, content_type="t/x", response_topic="b",
                           correlation_data=b"\0\1", user_property=[("k", "1"), ("k", "2"), ("", "")])],
    "expiry": [connect("p"), connect("s", 5, False, session_expiry_interval=300), subscribe("s", ("a", 1)), bye("s"),
               publish("p", "a", b"short", 1, message_expiry_interval=1), publish("p", "a", b"long", 1), wait(2.2),
               connect("s", 5, False, session_expiry_interval=300)],
    "retained expiry": [connect("p"), publish("p", "a", b"short", 1, 1, message_expiry_interval=1), wait(2.2), connect("s"),
                        subscribe("s", ("a", 1))],
    "will delay": [connect("w"), subscribe("w", ("will", 1)),
                   connect("c", 5, False, will=will("will", will_delay_interval=1), session_expiry_interval=300), drop("c"), wait(2.5)],
    "will delay cancelled": [connect("w"), subscribe("w", ("will", 1)),
                             connect("c", 5, False, will=will("will", will_delay_interval=1), session_expiry_interval=300),
                             drop("c"), connect("c", 5, False, session_expiry_interval=300), wait(2.5)],
    "will delay beyond the session": [connect("w"), subscribe("w", ("will", 1)),
                                      connect("c", 5, True, will=will("will", will_delay_interval=100), session_expiry_interval=1),
                                      drop("c"), wait(3.0)],
    "disconnect with will": [connect("w"), subscribe("w", ("will", 1)), connect("c", will=will("will")), bye("c", 4)],
    "will properties": [connect("w"), subscribe("w", ("will", 1)),
                        connect("c", will=will("will", content_type="t/x", user_property=[("a", "b")])), drop("c")],
    "expiry at disconnect": [connect("c", 5, False, session_expiry_interval=300), subscribe("c", ("a", 1)),
                             bye("c", 0, session_expiry_interval=0), connect("c", 5, False, session_expiry_interval=300)],
    "session expires": [connect("c", 5, False, session_expiry_interval=1), subscribe("c", ("a", 1)), drop("c"), wait(3.0),
                        connect("c", 5, False, session_expiry_interval=300)],
    "shared alone": [connect("s"), connect("p"), subscribe("s", ("$share/g/a", 1)), publish("p", "a", b"1", 1), publish("p", "a", b"2", 0)],
    "shared and plain": [connect("s"), connect("t"), connect("p"), subscribe("s", ("$share/g/a", 1)), subscribe("t", ("a", 1)),
                         publish("p", "a", b"1", 1)],
    "shared and retained": [connect("p"), publish("p", "a", b"kept", 1, 1), connect("s"), subscribe("s", ("$share/g/a", 1))],
    "alias": [connect("s"), connect("p"), subscribe("s", ("a", 1)), publish("p", "a", b"1", 1, topic_alias=1),
              publish("p", "", b"2", 1, topic_alias=1)],
    "alias unknown": [connect("p"), publish("p", "", b"2", 0, topic_alias=3)],
    "alias too high": [connect("p"), publish("p", "a", b"2", 0, topic_alias=5000)],
    "receive maximum": [connect("s", 5, receive_maximum=2), connect("p"), subscribe("s", ("a", 1))] + [
        publish("p", "a", str(i).encode(), 1) for i in range(6)],
    "maximum packet size": [connect("s", 5, maximum_packet_size=60), connect("p"), subscribe("s", ("a", 1)),
                            publish("p", "a", b"x" * 100, 1), publish("p", "a", b"small", 1)],
    "keep alive": [connect("s", 5, keep_alive=30), connect("t", 4, keep_alive=30)],
    "assigned id": [connect("s"), publish("s", "a", qos=1)],
    "unknown pubrel": [connect("s"), Step("raw", ("s", b"\x62\x02\x01\x00"), {})],
    "ping": [connect("s"), Step("raw", ("s", b"\xc0\0\xc0\0"), {})],
    "second connect": [connect("s"), Step("raw", ("s", b"\x10\x0d\0\4MQTT\5\2\0\0\0\0\0"), {})],
    "publish to $SYS": [connect("p"), publish("p", "a", qos=1)],
})
