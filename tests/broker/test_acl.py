# SPDX-License-Identifier: Apache-2.0
"""The plugin acl: what a client may do over the wire, what changes when the file does, what the log says."""

import json
import os
import re
import signal
import subprocess

import pytest

from conftest import BIN, STOP_SECONDS, environment
from mqtt import Will, wait_until
from test_auth_file import sha512

PLUGINS = os.path.join(os.path.dirname(os.path.abspath(BIN)), "plugins")
ACL = os.path.join(PLUGINS, "acl", "acl.so")
AUTH_FILE = os.path.join(PLUGINS, "auth-file", "auth-file.so")
pytestmark = pytest.mark.skipif(not (os.path.exists(ACL) and os.path.exists(AUTH_FILE)),
                                reason="built without acl or auth-file")
NOT_AUTHORIZED = 0x87
USERS = "".join(sha512(name, name) for name in ("alice", "bob", "eve", "a+b"))

RULES = """\
groups: { operators: [alice, bob] }
rules:
- { allow: publish, users: eve, topics: [sensors/eve/#] }
- { allow: [subscribe, publish], groups: operators, topics: ["#", "$SYS/#"] }
- { allow: [publish, subscribe], topics: ["devices/%c/#", "users/%u"] }
- { deny: [publish], topics: [admin/#] }
"""


@pytest.fixture
def with_rules(run_broker, tmp_path):
    """run(text, **config): a broker with those rules; their path is broker.rules."""
    def run(text=RULES, chain=None, log_level="info", **config):
        (tmp_path / "users").write_text(USERS)
        (tmp_path / "users").chmod(0o600)
        rules = tmp_path / "rules"
        rules.write_text(text)
        own = run_broker(config={
            "limits": {"auth_delay": 0},
            "log": {"level": log_level},
            "plugins": [
                {"name": "users", "module": AUTH_FILE, "config": {"file": str(tmp_path / "users"), "max_delay": 0}},
                {"name": "rules", "module": ACL,
                 "config": {"file": str(rules), "check_interval": "50ms", **config}}],
            "chains": {"default": {"authenticate": ["users"], "authorize": chain or ["rules"]}}})
        own.rules = rules
        return own
    return run


def enter(broker, client_id, user=None, version=5, **options):
    return broker.connect(client_id, version, username=user, password=user, **options)


def reason_of_publish(client, topic):
    packet_id = client.next_id()
    client.send(client.publish_packet(topic, b"x", qos=1, packet_id=packet_id))
    return client.expect("PUBACK", packet_id=packet_id).reason


def reason_of_subscribe(client, topic):
    packet_id = client.next_id()
    client.send(client.subscribe_packet(topic, packet_id=packet_id))
    return client.wait("SUBACK", packet_id=packet_id).reasons[0]


def test_publishing(with_rules):
    broker = with_rules()
    eve, alice, nobody = enter(broker, "e", "eve"), enter(broker, "a", "alice"), enter(broker, "dev1")
    refused = NOT_AUTHORIZED
    for client, topic, reason in (
            (eve, "sensors/eve/x", 0), (eve, "sensors/eve", 0), (eve, "sensors/bob/x", refused),
            (eve, "devices/e/state", 0), (eve, "users/eve", 0), (eve, "users/alice", refused),
            (alice, "anything", 0), (alice, "admin/x", refused), (alice, "admin", refused),
            (nobody, "devices/dev1", 0), (nobody, "devices/dev2/x", refused), (nobody, "users/", refused)):
        # Twice: the second answer may be a remembered one.
        for _ in range(2):
            have = reason_of_publish(client, topic)
            assert (have == reason) if reason else have in (0, 0x10), topic


def test_subscribing(with_rules):
    broker = with_rules()
    alice, nobody = enter(broker, "a", "alice"), enter(broker, "dev1")
    for client, topic, reason in (
            (alice, "#", 0), (alice, "$SYS/#", 0), (alice, "$share/g/x/+", 0), (nobody, "devices/dev1/#", 0),
            (nobody, "devices/+/#", 0x87), (nobody, "#", 0x87), (nobody, "$share/g/devices/dev1/x", 0),
            (nobody, "$share/g/other", 0x87)):
        assert reason_of_subscribe(client, topic) == reason, topic


def test_one_subscribe_with_many_filters(with_rules):
    client = enter(with_rules(), "dev1")
    filters = [f"devices/dev{i % 2}/{i}" for i in range(40)]
    packet_id = client.next_id()
    client.send(client.subscribe_packet(*filters, packet_id=packet_id))
    assert list(client.expect("SUBACK").reasons) == [0 if i % 2 else NOT_AUTHORIZED for i in range(40)]


@pytest.mark.parametrize("version", [3, 4])
def test_older_versions(with_rules, version):
    broker = with_rules()
    client = enter(broker, "dev1", version=version)
    watcher = enter(broker, "w", "alice")
    watcher.subscribe("#")
    packet_id = client.next_id()
    client.send(client.subscribe_packet("secret", "devices/dev1/x", packet_id=packet_id))
    assert list(client.expect("SUBACK").reasons) == [0x80, 0]
    client.publish("secret", "x", qos=1)                # acknowledged, and delivered to nobody
    client.publish("devices/dev1/y", "y", qos=1)
    assert watcher.message().topic == "devices/dev1/y"


@pytest.mark.parametrize("client_id,topic", [("+", "devices/+/x"), ("#", "devices/#"), ("a/b", "devices/a/b")])
def test_a_client_id_never_widens_a_rule(with_rules, client_id, topic):
    client = enter(with_rules(), client_id)
    assert reason_of_subscribe(client, topic) == NOT_AUTHORIZED
    assert reason_of_subscribe(client, "devices/other/x") == NOT_AUTHORIZED


def test_a_user_name_never_widens_a_rule(with_rules):
    client = enter(with_rules("rules:\n- { allow: [publish, subscribe], topics: ['u/%u/x'] }\n"), "c", "a+b")
    assert reason_of_publish(client, "u/a+b/x".replace("+", "_")) == NOT_AUTHORIZED
    assert reason_of_subscribe(client, "u/+/x") == NOT_AUTHORIZED


def test_a_will_is_judged(with_rules):
    broker = with_rules()
    watcher = enter(broker, "w", "alice")
    watcher.subscribe("#")
    client = broker.open()
    client.send(client.connect_packet("dev1", will=Will("secret", "x")))
    assert client.expect("CONNACK").reason == NOT_AUTHORIZED
    client = enter(broker, "dev1", will=Will("devices/dev1/gone", "x"))
    client.reset()
    assert watcher.message().topic == "devices/dev1/gone"


def test_a_denied_part_of_a_subscription_is_not_delivered(with_rules):
    broker = with_rules("rules:\n- { allow: [publish, subscribe], topics: '#' }\n"
                        "- { deny: subscribe, client_ids: reader, topics: secret/# }\n")
    reader, other = enter(broker, "reader"), enter(broker, "other")
    reader.subscribe("#")
    other.subscribe("#")
    for topic in ("secret/x", "secret", "open"):
        other.publish(topic, "1", qos=1)
    assert reader.message().topic == "open"
    assert [other.message().topic for _ in range(3)] == ["secret/x", "secret", "open"]
    assert reason_of_subscribe(reader, "secret/#") == NOT_AUTHORIZED


def test_an_aclfile_as_it_is(with_rules):
    broker = with_rules("topic read public/#\nuser eve\ntopic read a/#\ntopic write b\npattern write in/%c\n")
    nobody, eve = enter(broker, "n"), enter(broker, "e", "eve")
    writer = enter(broker, "in-1")
    nobody.subscribe("#")
    eve.subscribe("#")
    assert reason_of_publish(eve, "b") in (0, 0x10)
    assert reason_of_publish(eve, "a/x") == NOT_AUTHORIZED
    assert reason_of_publish(writer, "in/in-1") in (0, 0x10)
    assert reason_of_publish(writer, "in/in-2") == NOT_AUTHORIZED
    # Nobody may read what was published; retained or not.
    eve.expect_quiet(0.2)
    nobody.ping()


# --- changes ---

def test_a_changed_file_rules_at_once(with_rules):
    broker = with_rules()
    alice, eve = enter(broker, "a", "alice"), enter(broker, "e", "eve")
    alice.subscribe("#", "users/alice")
    assert reason_of_publish(eve, "sensors/eve/x") in (0, 0x10)
    alice.message()
    broker.rules.write_text(
        "rules:\n- { allow: publish, users: eve, topics: [other, users/alice] }\n"
        "- { allow: subscribe, topics: [users/alice, '#'], client_ids: nobody }\n"
        "- { allow: subscribe, topics: users/alice }\n")
    wait_until(lambda: "it is not allowed any more" in broker.log())
    assert reason_of_publish(eve, "sensors/eve/x") == NOT_AUTHORIZED    # was remembered
    # The subscription to # has ended, the other one stands.
    for topic in ("other", "users/alice"):
        eve.publish(topic, "y", qos=1)
    assert alice.message().topic == "users/alice"


def test_rules_that_begin_to_judge_deliveries(with_rules):
    broker = with_rules("rules:\n- { allow: [publish, subscribe], topics: '#' }\n")
    reader, writer = enter(broker, "reader"), enter(broker, "writer")
    reader.subscribe("#")
    writer.publish("secret/x", "1", qos=1)
    assert reader.message().topic == "secret/x"
    broker.rules.write_text("rules:\n- { allow: [publish, subscribe], topics: '#' }\n"
                            "- { deny: receive, topics: secret/# }\n")
    wait_until(lambda: "the rules have changed" in broker.log())
    writer.publish("secret/x", "2", qos=1)
    writer.publish("open", "3", qos=1)
    assert reader.message().topic == "open"


def test_a_wrong_file_leaves_the_old_rules(with_rules):
    broker = with_rules()
    broker.expected_errors = "stay unread"
    eve = enter(broker, "e", "eve")
    broker.rules.write_text("rules:\n- { allow: eat, topics: a }\n")
    wait_until(lambda: "stay unread" in broker.log())
    assert re.search(r'stay unread: \S*rules:2:\d+: "eat" is none of', broker.log())
    assert reason_of_publish(eve, "sensors/eve/x") in (0, 0x10)
    broker.rules.write_text("rules: []\n")
    wait_until(lambda: "rules has 0" in broker.log())
    assert reason_of_publish(eve, "sensors/eve/x") == NOT_AUTHORIZED


def test_a_reload_takes_the_file(with_rules):
    broker = with_rules(check_interval=0)
    eve = enter(broker, "e", "eve")
    assert reason_of_publish(eve, "sensors/eve/x") in (0, 0x10)
    broker.rules.write_text("rules: []\n")
    broker.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "was loaded again" in broker.log())
    wait_until(lambda: reason_of_publish(eve, "sensors/eve/x") == NOT_AUTHORIZED)


def test_a_wrong_file_refuses_the_start(tmp_path, command):
    (tmp_path / "rules").write_text("rules:\n- x\n")
    (tmp_path / "c.yaml").write_text(
        f"plugins:\n- {{ name: r, module: {ACL}, config: {{ file: rules }} }}\n"
        "chains: { default: { authorize: [r] } }\n")
    done = subprocess.run([BIN, "-c", tmp_path / "c.yaml"], capture_output=True, text=True, env=environment(),
                          timeout=STOP_SECONDS)
    assert done.returncode != 0 and "rules:2:3: a rule is a mapping" in done.stderr


# --- the chain, and the log ---

def test_no_match_may_defer(with_rules):
    broker = with_rules("rules:\n- { deny: publish, topics: bad }\n", no_match="defer",
                        chain=[{"use": "rules", "control": "sufficient"}])
    client = enter(broker, "c")
    assert reason_of_publish(client, "good") == NOT_AUTHORIZED      # the last of the chain has deferred


def test_each_denial_is_told_with_its_rule(with_rules):
    broker = with_rules()
    alice, nobody = enter(broker, "a", "alice"), enter(broker, "dev1")
    reason_of_publish(alice, "admin/x")
    reason_of_publish(alice, "admin/x")
    reason_of_subscribe(nobody, "#")
    wait_until(lambda: broker.log().count("may not") == 3)
    log = broker.log()
    assert len(re.findall(r'may not publish to "admin/x" by \S*rules:6: client_id="a" user="alice" '
                          r'address=127\.0\.0\.1:\d+', log)) == 2
    assert re.search(r'may not subscribe to "#" since no rule of \S*rules allows it: client_id="dev1"', log)


def test_denials_are_counted_and_the_rules_in_force_are_told(with_rules):
    broker = with_rules()
    client = enter(broker, "dev1")
    for i in range(3):
        reason_of_publish(client, f"no/{i}")
    reason_of_subscribe(client, "#")
    ctl = [os.path.join(os.path.dirname(BIN), "avocetctl"), "--control", str(broker.run / "control.sock")]

    def told(*words):
        return subprocess.run([*ctl, *words], capture_output=True, text=True, env=environment(), timeout=STOP_SECONDS,
                              stdin=subprocess.DEVNULL).stdout
    text = told("metrics")
    assert 'avocet_acl_denied_total{instance="rules",action="publish"} 3\n' in text
    assert 'avocet_acl_denied_total{instance="rules",action="subscribe"} 1\n' in text
    assert told("rules", "status") == f"{broker.rules}: 4 rules\n"
    assert json.loads(told("rules", "status", "--json")) == {"rules": 4, "judges_receive": False}


def test_a_flood_of_denials_does_not_flood_the_log(with_rules):
    broker = with_rules(denials_logged=3)
    client = enter(broker, "dev1")
    for i in range(200):
        client.send(client.publish_packet(f"no/{i}", b"x"))
    client.ping()
    assert broker.log().count("may not publish") <= 6
    wait_until(lambda: (reason_of_publish(client, "no/more"), "more denials were not told" in broker.log())[1],
               step=0.3)


# --- avocetctl ---

def explain(*args):
    ctl = os.path.join(os.path.dirname(BIN), "avocetctl")
    return subprocess.run([ctl, "--plugin-dir", os.path.dirname(ACL), "acl", *map(str, args)], capture_output=True,
                          text=True, env=environment(), timeout=STOP_SECONDS, stdin=subprocess.DEVNULL)


@pytest.mark.parametrize("words,line", [
    (("--user", "eve", "publish", "sensors/eve/x"), 3), (("--user", "alice", "subscribe", "a/+"), 4),
    (("--client-id", "d", "subscribe", "devices/d/#"), 5), (("--user", "alice", "publish", "admin/x"), -6),
    (("--user", "alice", "receive", "x"), 4), (("publish", "x"), 0), (("--client-id", "+", "publish", "devices/x"), 0)])
def test_explain_says_which_rule_decides(tmp_path, words, line):
    rules = tmp_path / "acl.yaml"
    rules.write_text(RULES)
    done = explain("explain", rules, *words)
    assert done.returncode == (0 if line > 0 else 1)
    if line:
        text = RULES.splitlines()[abs(line) - 1]
        assert done.stdout == f"{'allowed' if line > 0 else 'denied'} by {rules}:{abs(line)}: {text}\n"
    else:
        assert done.stdout == f"denied: no rule of {rules} applies\n"
    told = json.loads(explain("explain", "--json", rules, *words).stdout)
    assert told == {"verdict": "allowed" if line > 0 else "denied", "line": abs(line), "rule": line != 0}


def test_explain_and_check_refuse(tmp_path):
    rules = tmp_path / "acl.yaml"
    rules.write_text("rules:\n- x\n")
    for words in (("check", rules), ("explain", rules, "publish", "a")):
        done = explain(*words)
        assert done.returncode == 1 and "acl.yaml:2:3: a rule is a mapping" in done.stderr
    assert explain("explain", rules, "publish").returncode == 2
    assert explain("explain", rules, "eat", "x").returncode == 2
    assert explain("explain", rules, "publish", "a/+").returncode == 1
    assert explain("check", tmp_path / "none").returncode == 1
    rules.write_text(RULES)
    assert explain("check", rules).stdout == f"{rules}: 4 rules\n"
    rules.write_text("user a\ntopic read x\n")
    assert explain("check", rules).stdout == f"{rules}: 1 rules; each delivery is judged\n"
