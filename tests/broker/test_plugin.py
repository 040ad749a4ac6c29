# SPDX-License-Identifier: Apache-2.0
"""The host of plugins, by a plugin that does what it is told (plugins/script.c): how verdicts fold, late and
wrong answers, threads that hang, reloads, commands and numbers."""

import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time

import pytest

from conftest import BIN, STOP_SECONDS, environment
from mqtt import Filter, wait_until

HERE = os.path.dirname(os.path.abspath(__file__))
INCLUDE = os.path.join(HERE, "..", "..", "include")
SCRIPT = os.path.join(HERE, "plugins", "script.c")
CC = os.environ.get("CC", "cc").split()[0]
CFLAGS = os.environ.get("AVOCET_PLUGIN_CFLAGS", "").split()     # e.g. -fsanitize=address, as the broker has
pytestmark = pytest.mark.skipif(not shutil.which(CC), reason="there is no compiler")
EXECS = ("WORKER", "POOL", "SERIAL", "INLINE")
VERDICTS = ("accept", "deny", "defer", "error")


def build(out, source, *flags):
    subprocess.run([CC, "-std=c11", "-D_GNU_SOURCE", "-Wall", "-shared", "-fPIC", "-fvisibility=hidden", "-O1", "-g",
                    f"-I{INCLUDE}", *CFLAGS, *flags, "-o", out, source, "-lpthread"], check=True)
    return str(out)


@pytest.fixture(scope="session")
def script(tmp_path_factory):
    """script(exec): the plugin, compiled."""
    folder, made = tmp_path_factory.mktemp("script"), {}

    def get(exec_name, *flags):
        key = (exec_name, *flags)
        if key not in made:
            made[key] = build(folder / f"s{len(made)}.so", SCRIPT, f"-DEXEC=AVOCET_EXEC_{exec_name}", *flags)
        return made[key]
    return get


@pytest.fixture
def with_plugin(run_broker, script):
    """run(exec): a broker with the instances a and b; chain: of authenticate, authorize and intercept."""
    def run(exec_name="WORKER", chains=None, instances=("a", "b"), listeners=None, flags=(), **options):
        module = script(exec_name, *flags)
        own = run_broker(config={
            "limits": {"auth_delay": 0},
            "plugins": [{"name": name, "module": module, "config": {"name": name}, **options} for name in instances],
            **({"listeners": listeners} if listeners else {}),
            "chains": chains or {"default": {
                "authenticate": [{"use": "a"}, {"use": "b"}], "authorize": [{"use": "a"}, {"use": "b"}],
                "intercept": ["a", "b"]}}})
        return own
    return run


def login(broker, words, listener=None, version=5):
    client = broker.open(version, listener)
    client.send(client.connect_packet("", username=words, password="x"))
    return client


def reason_of_login(broker, words, listener=None, version=5):
    client = login(broker, words, listener, version)
    reason = client.expect("CONNACK").reason
    client.close()
    return reason


def put(client, topic, payload=b"x", **props):
    packet_id = client.next_id()
    client.send(client.publish_packet(topic, payload, qos=1, packet_id=packet_id, **props))
    return packet_id


def reason_of_publish(client, topic):
    packet_id = put(client, topic)
    return client.wait("PUBACK", packet_id=packet_id).reason


# --- how verdicts fold ---

def fold(members):
    """(verdict, is required, on_error defers) of each: is it a yes?"""
    for verdict, required, defers in members:
        if verdict == "error":
            verdict = "defer" if defers and not required else "deny"
        if required:
            if verdict != "accept":
                return False
        elif verdict != "defer":
            return verdict == "accept"
    return all(required for _, required, _ in members)


def test_the_fold_itself():
    assert fold([("accept", False, False)]) and fold([("accept", True, False), ("accept", True, False)])
    assert not fold([("defer", False, False)]) and not fold([("accept", True, False), ("defer", False, False)])


CONTROLS = list(itertools.product((False, True), (False, True), (False, True)))     # a required, b required, defers


def every_chain(kind):
    chains = {}
    for number, (a, b, defers) in enumerate(CONTROLS):
        chains[f"c{number}"] = {kind: [
            {"use": name, "control": "required" if required else "sufficient", "timeout": "5s",
             "on_error": "defer" if defers else "deny"} for name, required in (("a", a), ("b", b))]}
    return chains


LISTENERS = [{"name": f"l{i}", "chains": f"c{i}"} for i in range(len(CONTROLS))]


MANNERS = [(exec_name, manner) for exec_name in EXECS for manner in ("%s", "inside-%s", "later-%s:3")
           if exec_name != "INLINE" or manner == "%s"]


@pytest.mark.parametrize("exec_name,manner", MANNERS)
def test_authentication_folds(with_plugin, exec_name, manner):
    broker = with_plugin(exec_name, every_chain("authenticate"), listeners=LISTENERS)
    waiting = []
    for number, (a_required, b_required, defers) in enumerate(CONTROLS):
        for a, b in itertools.product(VERDICTS, VERDICTS):
            client = login(broker, f"a={manner % a};b={manner % b}", f"l{number}")
            waiting.append((client, (a, b), (a_required, b_required, defers),
                            fold([(a, a_required, defers), (b, b_required, defers)])))
    for client, verdicts, control, yes in waiting:
        reason = client.expect("CONNACK").reason
        assert (reason == 0) == yes, (verdicts, control, reason)
        client.close()


@pytest.mark.parametrize("exec_name,manner", MANNERS)
def test_authorization_folds(with_plugin, exec_name, manner):
    broker = with_plugin(exec_name, every_chain("authorize"), listeners=LISTENERS)
    for number, (a_required, b_required, defers) in enumerate(CONTROLS):
        client = broker.connect(listener=f"l{number}")
        asked = {}
        for a, b in itertools.product(VERDICTS, VERDICTS):
            words = f"do/a={manner % a}/b={manner % b}"
            asked[put(client, words)] = (a, b)
        for packet_id, (a, b) in asked.items():
            yes = fold([(a, a_required, defers), (b, b_required, defers)])
            reason = client.expect("PUBACK", packet_id=packet_id).reason
            assert (reason in (0, 0x10)) == yes, (a, b, a_required, b_required, defers, reason)
        # The same for filters, all in one packet: each item folds by itself.
        if "error" in manner or manner != "%s" or exec_name == "INLINE":
            continue
        pairs = list(itertools.product(VERDICTS[:3], VERDICTS[:3]))
        packet_id = client.next_id()
        client.send(client.subscribe_packet(*(f"do/a={a}/b={b}" for a, b in pairs), packet_id=packet_id))
        for (a, b), reason in zip(pairs, client.expect("SUBACK").reasons):
            assert (reason == 0) == fold([(a, a_required, defers), (b, b_required, defers)]), (a, b, reason)


@pytest.mark.parametrize("exec_name,manner", MANNERS)
def test_interception(with_plugin, exec_name, manner):
    broker = with_plugin(exec_name, {"default": {"intercept": ["a", "b"]}})
    watcher, client = broker.connect(), broker.connect()
    watcher.subscribe("#")
    for words, topic in (("pass", "%s"), ("topic-pass", "new/%s"), ("stamp-pass", "%s"), ("drop", None), ("reject", None)):
        if manner != "%s" and words in ("topic-pass", "stamp-pass"):
            continue        # one verb each
        sent = f"do/a={manner % words}" if "-" not in words else f"do/a={words}"
        reason = reason_of_publish(client, sent)
        assert (reason in (0, 0x10)) == (words != "reject"), (words, reason)
        if topic:
            message = watcher.message()
            assert message.topic == topic % sent
            assert message.payload == (b"x!" if words == "stamp-pass" else b"x")
    client.publish(f"do/a={manner % 'disconnect'}", "x")
    client.wait("DISCONNECT")


def test_interceptors_see_what_the_one_before_made(with_plugin):
    broker = with_plugin(chains={"default": {"intercept": ["a", "b"]}})
    watcher, client = broker.connect(), broker.connect()
    watcher.subscribe("#")
    put(client, "a=topic-pass/b=stamp-pass")
    message = watcher.message()
    assert message.topic == "new/a=topic-pass/b=stamp-pass" and message.payload == b"x!"
    assert ("by", "b") in message.props["user_property"]


def test_a_topic_that_is_none_is_refused_to_the_plugin(with_plugin):
    broker = with_plugin(chains={"default": {"intercept": ["a"]}})
    watcher, client = broker.connect(), broker.connect()
    watcher.subscribe("#")
    put(client, "a=bad-pass")
    assert watcher.message().topic == "a=bad-pass"
    wait_until(lambda: "set_topic gave -1" in broker.log())


def test_rewriting_goes_before_authorizing(with_plugin):
    broker = with_plugin(chains={"default": {"intercept": ["a"], "authorize": ["b"]}})
    client = broker.connect()
    assert reason_of_publish(client, "a=topic-pass/b=accept") in (0, 0x10)
    wait_until(lambda: "asked for new/a=topic-pass/b=accept" in broker.log())


def test_filters_keep_messages_from_an_interceptor(run_broker, script):
    own = run_broker(config={
        "plugins": [{"name": "a", "module": script("WORKER"), "config": {"name": "a", "filters": ["x/#", "+/y/#"]}}],
        "chains": {"default": {"intercept": ["a"]}}})
    watcher, client = own.connect(), own.connect()
    watcher.subscribe("#")
    for topic, changed in (("x/a=topic-pass", 1), ("z/a=topic-pass", 0), ("z/y/a=topic-pass", 1)):
        put(client, topic)
        assert watcher.message().topic == ("new/" if changed else "") + topic


def test_grants_cap_the_qos(with_plugin):
    broker = with_plugin(chains={"default": {"authorize": ["a"]}})
    client = broker.connect()
    packet_id = client.next_id()
    client.send(client.subscribe_packet(Filter("a=qos-accept", qos=2), Filter("a=accept/x", qos=2), packet_id=packet_id))
    assert list(client.expect("SUBACK").reasons) == [1, 2]


def test_a_cover_is_remembered_for_all_that_it_covers(with_plugin):
    broker = with_plugin(chains={"default": {"authorize": ["a"]}})
    client = broker.connect()
    for topic in ("do/a=cover-accept", "do/other", "do/a=deny"):
        assert reason_of_publish(client, topic) in (0, 0x10)
    assert reason_of_publish(client, "a=deny") == 0x87
    wait_until(lambda: "asked for a=deny" in broker.log())
    assert broker.log().count("asked for do/") == 1


# --- AUTH ---

@pytest.mark.parametrize("exec_name", EXECS[:3])
def test_an_exchange_of_many_steps(with_plugin, exec_name):
    broker = with_plugin(exec_name, {"default": {"authenticate": ["a", "b"]}})
    client = broker.open()
    client.send(client.connect_packet("c", authentication_method="SCRIPT", authentication_data=b"more"))
    for step in range(1, 5):
        packet = client.expect("AUTH", reason=0x18)
        assert packet.props["authentication_data"] == b"step %d" % step
        client.auth(0x18, authentication_method="SCRIPT", authentication_data=b"more" if step < 4 else b"yes")
    assert client.expect("CONNACK", reason=0).props["authentication_data"] == b"step 5"
    client.ping()
    wait_until(lambda: "the exchange of 4 steps has ended" in broker.log())
    # Once more, on the live connection; then in vain.
    client.auth(0x19, authentication_method="SCRIPT", authentication_data=b"yes")
    client.expect("AUTH", reason=0)
    client.auth(0x19, authentication_method="SCRIPT", authentication_data=b"no")
    client.expect("DISCONNECT", reason=0x87)


def test_an_exchange_that_is_left_is_freed(with_plugin):
    broker = with_plugin(chains={"default": {"authenticate": ["a"]}})
    client = broker.open()
    client.send(client.connect_packet("c", authentication_method="SCRIPT", authentication_data=b"more"))
    client.expect("AUTH")
    client.reset()
    wait_until(lambda: "the exchange of 1 steps has ended" in broker.log())


# --- answers that are late, doubled, wrong, or never come ---

ONE = {"default": {"authenticate": [{"use": "a", "timeout": "300ms"}], "authorize": [{"use": "a", "timeout": "300ms"}]}}


def test_an_answer_after_its_time(with_plugin):
    broker = with_plugin(chains=ONE, instances=("a",))
    assert reason_of_login(broker, "a=later-accept:900") != 0
    wait_until(lambda: "complete gave -4" in broker.log())
    wait_until(lambda: "cancelled" in broker.log())
    assert re.search(r"did not answer in time .*plugin=a", broker.log())
    # It counts no fault for the answer that came too late, and serves on.
    assert "nobody had asked" not in broker.log()
    assert reason_of_login(broker, "a=later-accept:1") == 0


@pytest.mark.parametrize("exec_name", EXECS[:3])
@pytest.mark.parametrize("chain", ["authorize", "intercept"])
def test_a_message_whose_answer_comes_after_its_time(with_plugin, exec_name, chain):
    """The message has gone by then; who was asked still reads it."""
    broker = with_plugin(exec_name, chains={"default": {chain: [{"use": "a", "timeout": "100ms"}]}}, instances=("a",),
                         threads=8)
    client = broker.connect()
    word = "sleep" if exec_name != "WORKER" else "later"
    sent = [put(client, f"do/{i}/a={word}-accept:400", b"x" * 5000) for i in range(6)]
    for packet_id in sent:
        assert client.wait("PUBACK", packet_id=packet_id).reason not in (0, 0x10)
    if exec_name == "WORKER":
        wait_until(lambda: broker.log().count("complete gave -4") == 6)
    else:
        wait_until(lambda: reason_of_publish(client, f"do/a={'accept' if chain == 'authorize' else 'pass'}") in (0, 0x10))


def test_an_answer_that_comes_twice(with_plugin):
    broker = with_plugin(chains=ONE, instances=("a",))
    assert reason_of_login(broker, "a=twice-accept:10") == 0
    wait_until(lambda: "complete gave -4" in broker.log() and "complete gave 0" in broker.log())
    wait_until(lambda: re.search(r"warning .*\(1 times so far\).*plugin=a", broker.log()))


def test_an_answer_that_is_none(with_plugin):
    for exec_name in EXECS:
        broker = with_plugin(exec_name, chains=ONE, instances=("a",))
        assert reason_of_login(broker, "a=bogus") != 0
        wait_until(lambda own=broker: re.search(r"verdict that is none here .*plugin=a", own.log()))


@pytest.mark.parametrize("exec_name", EXECS[:3])
def test_an_answer_that_never_comes(with_plugin, exec_name):
    broker = with_plugin(exec_name, chains=ONE, instances=("a",))
    assert reason_of_login(broker, "a=never") != 0
    assert reason_of_login(broker, "a=accept") == 0
    broker.expected_errors = "."
    broker.terminate(signal.SIGTERM)
    broker.process.wait(STOP_SECONDS)
    assert re.search(r"did not answer 1 questions until the end .*plugin=a", broker.log())


def test_an_answer_for_a_client_that_left(with_plugin):
    broker = with_plugin(chains={"default": {"authenticate": ["a"], "authorize": ["a"]}}, instances=("a",))
    clients = [login(broker, "a=later-accept:200") for _ in range(20)]
    other = broker.connect()
    for client in clients:
        client.reset()
    wait_until(lambda: broker.log().count("complete gave -4") == 20)
    wait_until(lambda: broker.log().count("cancelled") == 20)
    assert "times so far" not in broker.log()
    other.ping()


def test_what_was_received_is_carried_out_although_its_client_has_left(with_plugin):
    broker = with_plugin(chains={"default": {"intercept": ["a"]}}, instances=("a",))
    watcher, client = broker.connect(), broker.connect()
    watcher.subscribe("do/#")
    client.send(client.publish_packet("do/a=later-pass:300", b"kept"))
    wait_until(lambda: questions(broker, "a") == 1, what="the message to arrive")
    client.reset()
    assert watcher.message().payload == b"kept"


@pytest.mark.parametrize("exec_name", EXECS[:3])
def test_a_call_on_a_wrong_thread(with_plugin, exec_name):
    broker = with_plugin(exec_name, chains=ONE, instances=("a",))
    assert reason_of_login(broker, "a=thread-accept") == 0
    wait_until(lambda: "timer_add gave -7" in broker.log())
    wait_until(lambda: re.search(r"called timer_add on another thread than main .*plugin=a", broker.log()))


def test_inline_must_not_wait(with_plugin):
    broker = with_plugin("INLINE", chains=ONE, instances=("a",))
    assert reason_of_login(broker, "a=later-accept:10") != 0
    assert reason_of_login(broker, "a=accept") == 0
    wait_until(lambda: re.search(r"warning .*times so far\).*plugin=a", broker.log()))


# --- reloads ---

def reload(broker):
    before = broker.log().count("was loaded again")
    broker.terminate(signal.SIGHUP)
    wait_until(lambda: broker.log().count("was loaded again") > before)


def test_an_answer_after_a_reload_goes_to_who_asked(with_plugin):
    broker = with_plugin(chains={"default": {"authenticate": ["a"], "authorize": ["a"]}}, instances=("a",))
    clients = [login(broker, f"a=later-{'accept' if i % 2 else 'deny'}:400") for i in range(10)]
    reload(broker)
    for i, client in enumerate(clients):
        assert (client.expect("CONNACK").reason == 0) == bool(i % 2)


# --- threads ---

@pytest.mark.parametrize("exec_name,at_once", [("POOL", 4), ("SERIAL", 1)])
def test_a_pool_runs_as_many_at_once_as_it_has_threads(with_plugin, exec_name, at_once):
    broker = with_plugin(exec_name, chains={"default": {"authenticate": ["a"]}}, instances=("a",), threads=4)
    begin = time.monotonic()
    clients = [login(broker, "a=sleep-accept:100") for _ in range(8)]
    for client in clients:
        assert client.expect("CONNACK").reason == 0
    took = time.monotonic() - begin
    assert took > 0.1 * 8 / at_once * 0.9


def test_a_pool_that_hangs_holds_up_nobody_else(with_plugin):
    """A POOL authenticator whose backend never answers; other chains' logins and all messages go on. It is named
    once, and recovers by itself."""
    broker = with_plugin("POOL", threads=4, queue=1000, chains={
        "default": {"authenticate": [{"use": "a", "timeout": "500ms"}]}, "other": {"authenticate": ["b"]}}, listeners=[
        {"name": "stuck"}, {"name": "free", "chains": "other"}])
    first, second = broker.connect(listener="free"), broker.connect(listener="free")
    second.subscribe("t")
    stuck = [login(broker, "a=sleep-accept:2500", "stuck") for _ in range(500)]
    done = 0
    end = time.monotonic() + 2
    while time.monotonic() < end:
        first.publish("t", "x", qos=1)
        second.message()
        assert reason_of_login(broker, "b=accept", "free") == 0
        done += 1
    assert done > 20
    for client in stuck:
        assert client.expect("CONNACK").reason != 0
    # Its threads come back by themselves.
    wait_until(lambda: reason_of_login(broker, "a=accept", "stuck") == 0)
    hung = [line for line in broker.log().splitlines() if "plugin=a" in line and "hang" in line]
    assert len(hung) == 1, hung


def test_a_worker_that_is_blocked_is_told_who_did_it(with_plugin):
    broker = with_plugin("WORKER", chains=ONE, instances=("a",))
    assert reason_of_login(broker, "a=sleep-accept:200") == 0
    wait_until(lambda: re.search(r"blocked a worker for \d+ ms \(authenticate\).*plugin=a", broker.log()))


def test_who_blocks_a_worker_is_named_while_it_does(with_plugin):
    broker = with_plugin("WORKER", chains={"default": {"authenticate": [{"use": "a", "timeout": "60s"}]}},
                         instances=("a",))
    client = login(broker, "a=sleep-accept:4000")
    wait_until(lambda: re.search(r"blocks worker \d, has done so for \d+ ms, and has not returned.*plugin=a",
                                 broker.log()))
    assert client.expect("CONNACK").reason == 0


# --- reloads are one transaction over all ---

def rewrite(broker, before, after):
    text = broker.config_file.read_text()
    assert before in text
    broker.config_file.write_text(text.replace(before, after))


def test_a_reload_that_one_refuses_changes_nothing(with_plugin):
    broker = with_plugin(chains={"default": {"authenticate": ["a", "b"]}})
    broker.expected_errors = "."
    rewrite(broker, "      name: a\n", "      name: x\n")
    rewrite(broker, "      name: b\n", "      name: b\n      refuse: I do not like it\n")
    broker.terminate(signal.SIGHUP)
    wait_until(lambda: "reload refused" in broker.log())
    wait_until(lambda: "plugin b: I do not like it" in broker.log())
    assert reason_of_login(broker, "a=accept") == 0 and reason_of_login(broker, "x=accept") != 0
    rewrite(broker, "      refuse: I do not like it\n", "")
    reload(broker)
    assert reason_of_login(broker, "x=accept") == 0


def test_a_change_that_needs_a_new_instance_makes_one(with_plugin):
    broker = with_plugin(chains={"default": {"authenticate": ["a"]}}, instances=("a",))
    waiting = login(broker, "a=later-accept:500")
    rewrite(broker, "      name: a\n", "      name: a\n      fixed: other\n")
    reload(broker)
    assert reason_of_login(broker, "a=accept") == 0
    assert waiting.expect("CONNACK").reason == 0        # by the old one, which ends when it has answered
    wait_until(lambda: "plugin a has ended" in broker.log())


def test_an_instance_that_no_one_names_any_more_ends(with_plugin):
    broker = with_plugin(chains={"default": {"authenticate": ["a"]}})
    client = broker.connect()
    text = broker.config_file.read_text()
    broker.config_file.write_text(re.sub(r"  - name: b\n    module: .*\n    config:\n      name: b\n", "", text))
    reload(broker)
    wait_until(lambda: "plugin b has ended" in broker.log())
    client.ping()


def test_many_reloads_while_questions_are_out(with_plugin):
    broker = with_plugin("POOL", chains={"default": {"authenticate": ["a"], "authorize": ["b"]}}, threads=4)
    client = broker.connect()
    for _ in range(15):
        waiting = [login(broker, f"a=sleep-{'accept' if i % 3 else 'deny'}:30") for i in range(12)]
        sent = [put(client, f"b=sleep-accept:20/{i}") for i in range(5)]
        reload(broker)
        for i, one in enumerate(waiting):
            assert (one.expect("CONNACK").reason == 0) == bool(i % 3)
            one.close()
        for packet_id in sent:
            assert client.wait("PUBACK", packet_id=packet_id).reason in (0, 0x10)


# --- commands and numbers, over the control socket ---

def control(broker, *words):
    return subprocess.run([os.path.join(os.path.dirname(BIN), "avocetctl"), "--control", str(broker.run / "control.sock"),
                           "--plugin-dir", str(broker.folder), *words], capture_output=True, text=True, timeout=30,
                          env=environment(), stdin=subprocess.DEVNULL)


def test_commands_of_running_instances(with_plugin):
    broker = with_plugin()
    told = {(c["instance"], c["command"]) for c in json.loads(control(broker, "commands", "--json").stdout)}
    assert told == {(name, command) for name in "ab" for command in ("echo", "answer later", "pipe")}
    assert "a echo [WORD ...]\n    say it again\n" in control(broker, "commands").stdout
    done = control(broker, "a", "echo", "one", "two words")
    assert (done.returncode, done.stdout, done.stderr) == (0, "one\ntwo words\n", "")
    assert control(broker, "b", "echo", "x", "--json").stdout == "x\n{}\n"
    done = control(broker, "a", "echo")
    assert (done.returncode, done.stderr) == (1, "avocetctl: there is nothing to say\n")
    done = control(broker, "a", "answer", "later", "100")
    assert (done.returncode, done.stdout) == (0, "late\n")
    done = control(broker, "a", "pipe", "x")
    assert (done.returncode, done.stdout, done.stderr) == (0, "x", "")
    for words in (("a",), ("a", "answer"), ("c", "echo"), ("a", "nothing")):
        done = control(broker, *words)
        assert done.returncode == 2 and "the broker knows no command" in done.stderr, words


def test_who_asked_for_a_command_and_left(with_plugin):
    broker = with_plugin(instances=("a",), chains={"default": {"authenticate": ["a"]}})
    for _ in range(5):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(broker.run / "control.sock"))
        sock.sendall(b"a\0answer\0later\x00100\0\0")
        time.sleep(0.02)
        sock.close()
    wait_until(lambda: control(broker, "a", "echo", "x").stdout == "x\n")
    time.sleep(0.2)
    assert control(broker, "a", "answer", "later", "1").stdout == "late\n"


def test_a_command_that_is_out_when_the_broker_stops(with_plugin):
    broker = with_plugin(instances=("a",), chains={"default": {"authenticate": ["a"]}})
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(broker.run / "control.sock"))
    sock.sendall(b"a\0answer\0later\x003000\0\0")
    time.sleep(0.1)
    broker.stop()
    sock.close()


def questions(broker, instance):
    """How many questions it was asked."""
    numbers = {(n["name"], n["instance"]): n for n in json.loads(control(broker, "metrics", "--json").stdout)}
    return numbers["avocet_script_questions_total", instance]["value"]


def test_metrics(with_plugin):
    broker = with_plugin()
    for _ in range(3):
        assert reason_of_login(broker, "a=accept") == 0
    numbers = {(n["name"], n["instance"]): n for n in json.loads(control(broker, "metrics", "--json").stdout)}
    assert questions(broker, "a") == 3 and questions(broker, "b") == 0
    assert numbers["avocet_script_level", "a"] == {"name": "avocet_script_level", "instance": "a", "labels": "",
                                                   "type": "gauge", "value": -7}
    text = control(broker, "metrics").stdout
    assert '# TYPE avocet_script_questions_total counter\n' in text
    assert 'avocet_script_questions_total{instance="a",kind="a\\"b"} 3\n' in text
