# SPDX-License-Identifier: Apache-2.0
"""What a store changes: acknowledgements wait for the commit; what happens while it fails, and after. The
engine is the one in memory, which commits late, and fails while a file is there."""

import pathlib
import random
import time

import pytest

from mqtt import Closed, Packet, Timeout, Will, wait_until

every_version = pytest.mark.parametrize("version", (3, 4, 5))
DELAY = 0.2     # a commit comes so much later
SOON = 0.15     # what does not wait for one comes within this
CONFIG = {"broker": {"shutdown_timeout": "1s"}}


def lasting(version):
    """What a persistent session asks for."""
    return {"session_expiry_interval": 1000} if version == 5 else {}


def sleeper(broker, client_id, *filters, version=5):
    """A persistent session that is not there."""
    client = broker.open(version)
    client.connect(client_id, clean=False, **lasting(version))
    client.subscribe(*filters)
    client.disconnect()
    if getattr(broker, "is_late", False):
        # What its leaving has written would share a commit with what comes next, and shorten its wait.
        broker.open(5).connect(f"{client_id}-settler", clean=False, **lasting(5))


def wake(broker, client_id, version=5):
    client = broker.open(version)
    connack = client.connect(client_id, clean=False, **lasting(version))
    assert version == 3 or connack.session_present == 1
    return client


class Clock:
    """How long a block took."""

    def __enter__(self):
        self.begin = time.monotonic()
        return self

    def __exit__(self, *_):
        self.seconds = time.monotonic() - self.begin

    def was_soon(self):
        assert self.seconds < SOON, self.seconds

    def was_late(self, commits=1):
        assert DELAY * commits * 0.9 <= self.seconds < DELAY * commits + 1, self.seconds


# The commit is late

@pytest.fixture
def late(run_broker):
    milliseconds = int(DELAY * 1000)
    own = run_broker(CONFIG, test=True, args=["--engine", f"mem:delay={milliseconds}-{milliseconds}"])
    own.is_late = True
    return own


@every_version
@pytest.mark.parametrize("qos", [1, 2])
def test_acknowledgements_wait_for_the_rows(late, name, version, qos):
    sleeper(late, f"{name}s", (name, 2))
    client = late.connect(version=version)
    with Clock() as clock:
        client.send(client.publish_packet(name, "x", qos=qos))
        client.expect("PUBACK" if qos == 1 else "PUBREC")
    clock.was_late()
    wake(late, f"{name}s").message(payload="x", qos=qos)


@every_version
@pytest.mark.parametrize("qos", [1, 2])
def test_without_a_row_nothing_waits(late, name, version, qos):
    sleeper(late, f"{name}s", (f"{name}/other", 2), (f"{name}/0", 0))
    clean, client = late.connect(), late.connect(version=version)
    clean.subscribe((f"{name}/#", 2))
    with Clock() as clock:
        client.publish(f"{name}/live", "x", qos=qos)
        client.publish(f"{name}/0", "x", qos=qos)
        client.publish(f"{name}/nobody", "x", qos=qos)
        clean.message()
    clock.was_soon()


def test_acknowledgements_keep_their_order(late, name):
    sleeper(late, f"{name}s", (f"{name}/row", 2))
    client = late.connect()
    packets = [client.publish_packet(f"{name}/{'row' if i % 3 == 0 else 'none'}", "x", qos=1)
               for i in range(30)]
    with Clock() as clock:
        client.send(*packets)
        assert [client.recv().packet_id for _ in packets] == [one.packet_id for one in packets]
    clock.was_late()


@every_version
def test_connack_of_a_persistent_session_waits(late, name, version):
    with Clock() as clock:
        client = late.open(version)
        client.connect(name, clean=False, **lasting(version))
    clock.was_late()
    with Clock() as clock:
        late.connect(f"{name}c", version)
    clock.was_soon()


def test_connack_of_a_clean_start_over_a_stored_session_waits(late, name):
    sleeper(late, name, (name, 1))
    with Clock() as clock:
        assert late.open().connect(name, clean=True).session_present == 0
    clock.was_late()


def test_what_follows_connect_waits_with_it(late, name):
    client = late.open()
    with Clock() as clock:
        client.send(client.connect_packet(name, session_expiry_interval=100),
                    client.subscribe_packet((name, 1)), client.publish_packet(name, "x", qos=1))
        client.expect("CONNACK")
    clock.was_late()
    client.wait("SUBACK")
    client.acknowledge(client.wait("PUBLISH"))
    client.wait("PUBACK")


@every_version
def test_suback_and_unsuback_of_a_persistent_session_wait(late, name, version):
    client = late.open(version)
    client.connect(name, clean=False, **lasting(version))
    with Clock() as clock:
        client.subscribe((name, 1))
    clock.was_late()
    with Clock() as clock:
        client.unsubscribe(name)
    clock.was_late()
    clean = late.connect(version=version)
    with Clock() as clock:
        clean.subscribe((name, 1))
        clean.unsubscribe(name)
    clock.was_soon()


def test_a_delivery_of_qos_2_waits_and_qos_1_does_not(late, name):
    client = late.connect(name, session_expiry_interval=100)
    client.subscribe((f"{name}/1", 1), (f"{name}/2", 2))
    publisher = late.connect()
    publisher.send(publisher.publish_packet(f"{name}/1", "x", qos=1))
    with Clock() as clock:
        client.message(qos=1)
    clock.was_soon()
    publisher.wait("PUBACK")
    publisher.send(publisher.publish_packet(f"{name}/2", "x", qos=2))
    with Clock() as clock:
        client.message(qos=2, ack=False)
    clock.was_late()


@pytest.mark.parametrize("qos", [0, 1])
def test_a_retained_publication_waits(late, name, qos):
    client = late.connect()
    with Clock() as clock:
        client.publish(name, "x", qos=qos, retain=1)
        client.ping()
    (clock.was_late if qos else clock.was_soon)()


def test_the_receiving_of_qos_2_is_stored_for_persistent_publishers(late, name):
    for expiry in (0, 100):
        client = late.connect(f"{name}{expiry}", session_expiry_interval=expiry)
        with Clock() as clock:
            client.send(client.publish_packet(name, "x", qos=2, packet_id=7))
            client.expect("PUBREC")
        (clock.was_late if expiry else clock.was_soon)()
        with Clock() as clock:
            client.release(7)
        (clock.was_late if expiry else clock.was_soon)()


def test_a_resend_gets_its_pubrec_when_the_rows_are_durable(late, name):
    sleeper(late, f"{name}s", (name, 2))
    options = {"clean": False, "session_expiry_interval": 100}
    late.connect(f"{name}p", **options).disconnect()
    client = late.connect(f"{name}p", **options)
    client.send(client.publish_packet(name, "x", qos=2, packet_id=7))
    client.expect_quiet(0.02)
    client.close()
    client = late.open()
    with Clock() as clock:
        client.send(client.connect_packet(f"{name}p", **options),
                    client.publish_packet(name, "x", qos=2, packet_id=7, dup=1))
        client.wait("PUBREC", reason=0)
    assert clock.seconds > DELAY / 2
    client.release(7)
    subscriber = wake(late, f"{name}s")
    assert [one.payload for one in subscriber.messages_before(client)] == [b"x"]


# The store fails

@pytest.fixture
def failing(run_broker, tmp_path):
    return make_failing(run_broker, tmp_path)


def make_failing(run_broker, tmp_path, *args):
    own = run_broker(CONFIG, test=True, expected_errors="The store fails|store",
                     args=["--engine", "mem", "--fail-file", tmp_path / "fail", *args])
    own.fail_file = pathlib.Path(tmp_path / "fail")
    return own


def fail(broker):
    """From now on it fails, and the broker knows. What makes it try is a publication that was routed
    before: returns its publisher, which owes a PUBACK."""
    prober = broker.connect(f"prober{id(broker)}", session_expiry_interval=1000)
    prober.subscribe(("probe", 1))
    seen = broker.log().count("The store fails")
    broker.fail_file.touch()
    time.sleep(0.05)
    prober.send(prober.publish_packet("probe", "routed before", qos=1))
    wait_until(lambda: broker.log().count("The store fails") > seen, 3, what="the failure")
    return prober


def mend(broker):
    broker.fail_file.unlink()


@pytest.mark.parametrize("qos", [1, 2])
def test_a_publication_that_would_write_a_row_is_refused(failing, name, qos):
    sleeper(failing, f"{name}s", (name, 2))
    client = failing.connect()
    fail(failing)
    for _ in range(3):
        client.publish(name, "no", qos=qos, expect=0x97)
    mend(failing)
    wait_until(lambda: _is_taken(client, name, qos), 4)
    got = wake(failing, f"{name}s").messages_before(client)
    assert [one.payload for one in got] == [b"yes"]


def _is_taken(client, topic, qos):
    packet = client.publish_packet(topic, "yes", qos=qos)
    client.send(packet)
    ack = client.wait("PUBACK" if qos == 1 else "PUBREC", packet_id=packet.packet_id)
    if qos == 2 and ack.reason == 0:
        client.release(packet.packet_id)
    return ack.reason == 0


def test_what_was_routed_before_only_waits(failing, name):
    prober = fail(failing)
    prober.message(payload="routed before")
    prober.expect_quiet(0.5)
    mend(failing)
    prober.expect("PUBACK", reason=0, timeout=3)


@every_version
def test_qos_0_and_clean_sessions_go_on(failing, name, version):
    lasting_one = failing.open(version)
    lasting_one.connect(f"{name}l", clean=False, **lasting(version))
    lasting_one.subscribe((f"{name}/0", 2), (f"{name}/low", 0))
    fail(failing)
    clean, client = failing.connect(version=version), failing.connect(version=version)
    clean.subscribe((f"{name}/#", 2))
    for qos in (0, 1, 2):
        client.publish(f"{name}/live", str(qos), qos=qos)
        clean.message(payload=str(qos), qos=qos)
    client.publish(f"{name}/0", "x", qos=0)
    lasting_one.message(topic=f"{name}/0", qos=0)
    client.publish(f"{name}/low", "x", qos=1)
    lasting_one.message(topic=f"{name}/low", qos=0)
    clean.unsubscribe(f"{name}/#")
    clean.disconnect()


def test_the_qos_2_of_a_persistent_publisher_is_refused(failing, name):
    client = failing.connect(name, session_expiry_interval=100)
    clean = failing.connect()
    clean.subscribe((name, 2))
    fail(failing)
    client.publish(name, "no", qos=2, expect=0x97)
    client.publish(name, "one", qos=1)
    clean.message(payload="one")


@every_version
def test_subscriptions_of_persistent_sessions_are_refused(failing, name, version):
    client = failing.open(version)
    client.connect(name, clean=False, **lasting(version))
    fail(failing)
    no = 0x97 if version == 5 else 0x80
    client.subscribe((name, 1), (f"{name}/x", 0), expect=[no, no])
    mend(failing)
    wait_until(lambda: _is_subscribed(client, name), 4)
    publisher = failing.connect()
    publisher.publish(name, "x", qos=1)
    client.message(payload="x")


def _is_subscribed(client, topic, qos=1):
    packet = client.subscribe_packet((topic, qos))
    client.send(packet)
    return client.wait("SUBACK", packet_id=packet.packet_id).reasons == [qos]


@every_version
def test_new_persistent_sessions_are_refused(failing, name, version):
    fail(failing)
    client = failing.open(version)
    client.connect(name, clean=False, expect=0x88 if version == 5 else 3, **lasting(version))
    client.expect_closed()
    failing.connect(name, version).ping()


@every_version
def test_a_clean_start_over_a_stored_session_is_refused_and_changes_nothing(failing, name, version):
    sleeper(failing, name, (name, 1), version=version)
    fail(failing)
    client = failing.open(version)
    client.connect(name, clean=True, expect=0x88 if version == 5 else 3)
    client.expect_closed()
    mend(failing)
    publisher = failing.connect()
    wait_until(lambda: _is_taken(publisher, name, 1), 4)
    wake(failing, name, version).message(payload="yes")


@every_version
def test_a_durable_session_is_resumed_at_once(failing, name, version):
    sleeper(failing, name, (f"{name}/0", 0), version=version)
    fail(failing)
    with Clock() as clock:
        client = wake(failing, name, version)
        failing.connect().publish(f"{name}/0", "x")
        client.message(payload="x")
    clock.was_soon()


def test_a_take_over_by_a_resume_works(failing, name):
    first = failing.connect(name, session_expiry_interval=100)
    fail(failing)
    with Clock() as clock:
        second = wake(failing, name)
        first.expect_refused(0x8E)
        second.ping()
    clock.was_soon()


def test_unsuback_pubcomp_and_deliveries_of_qos_2_wait(failing, name):
    client = failing.connect(name, session_expiry_interval=100)
    client.subscribe((f"{name}/a", 1), (f"{name}/2", 2))
    client.send(client.publish_packet(f"{name}/none", "x", qos=2, packet_id=7))
    client.expect("PUBREC", packet_id=7)
    fail(failing)
    client.ack("PUBREL", 7)
    client.send(Packet("UNSUBSCRIBE", packet_id=9, props={}, filters=[f"{name}/a"]))
    client.expect_quiet(0.3)
    client.ping()
    mend(failing)
    client.expect("PUBCOMP", packet_id=7, reason=0, timeout=3)
    client.expect("UNSUBACK", packet_id=9)


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize("asks", [False, True])
def test_version_3_is_parked_and_delivered_later(run_broker, tmp_path, name, version, qos, asks):
    own = make_failing(run_broker, tmp_path, *(["--authority", "thread"] if asks else []))
    sleeper(own, f"{name}s", (f"{name}/#", 2))
    client = own.connect(version=version)
    clean = own.connect()
    clean.subscribe((f"{name}/live", 2))
    fail(own)
    packets = [client.publish_packet(f"{name}/{i}", str(i), qos=qos) for i in range(20)]
    client.send(*packets)
    client.expect_quiet(0.3)
    mend(own)
    kind = "PUBACK" if qos == 1 else "PUBREC"
    for packet in packets:
        client.expect(kind, packet_id=packet.packet_id, timeout=3)
    if qos == 2:
        for packet in packets:
            client.release(packet.packet_id)
    got = wake(own, f"{name}s").messages_before(client)
    assert [one.payload for one in got] == [b"%d" % i for i in range(20)]


@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize("asks", [False, True])
def test_who_was_parked_and_left_comes_back(run_broker, tmp_path, name, qos, asks):
    own = make_failing(run_broker, tmp_path, *(["--authority", "thread"] if asks else []))
    sleeper(own, f"{name}s", (name, 2))
    sleeper(own, f"{name}p", f"{name}/none", version=4)
    client = wake(own, f"{name}p", 4)
    fail(own)
    packet = client.publish_packet(name, "once", qos=qos, packet_id=7)
    client.send(packet)
    client.expect_quiet(0.2)
    client.reset()
    client = wake(own, f"{name}p", 4)
    packet.dup = 1
    client.send(packet)
    client.expect_quiet(0.2)
    mend(own)
    client.expect("PUBACK" if qos == 1 else "PUBREC", packet_id=7, timeout=3)
    if qos == 2:
        client.release(7)
    got = [one.payload for one in wake(own, f"{name}s").messages_before(client)]
    assert got == [b"once"] if qos == 2 else got in ([b"once"], [b"once"] * 2)


@pytest.mark.parametrize("qos", [1, 2])
def test_what_is_parked_has_a_budget(run_broker, tmp_path, name, qos):
    # Clients that come and go while the store fails leave what was not acknowledged: not without end.
    own = run_broker({"broker": {**CONFIG["broker"], "workers": 1, "max_transit": "3MiB"}}, test=True,
                     expected_errors="The store fails|store",
                     args=["--engine", "mem", "--fail-file", tmp_path / "fail"])
    own.fail_file = pathlib.Path(tmp_path / "fail")
    sleeper(own, f"{name}s", (f"{name}/#", 2))
    fail(own)
    closed = 0
    for i in range(12):
        client = own.connect(version=4)
        client.send(client.publish_packet(f"{name}/{i}", bytes(600000), qos=qos, packet_id=1))
        try:
            client.expect_quiet(0.1)
        except Closed:
            closed += 1
        client.reset()
    assert 4 <= closed <= 11
    mend(own)
    client = own.connect()
    wait_until(lambda: "works again" in own.log() or "well" in own.log(), 5, what="the store")
    got = wake(own, f"{name}s").messages_before(client)
    assert len(got) == 12 - closed


def test_refusals_with_an_authority_that_waits(run_broker, tmp_path, name):
    own = make_failing(run_broker, tmp_path, "--authority", "out-of-order")
    sleeper(own, f"{name}s", (name, 2))
    client = own.connect()
    fail(own)
    packets = [client.publish_packet(name, "no", qos=1 + i % 2) for i in range(20)]
    client.send(*packets)
    for packet in packets:
        client.expect("PUBACK" if packet.qos == 1 else "PUBREC", reason=0x97,
                      packet_id=packet.packet_id)
    mend(own)
    wait_until(lambda: _is_taken(client, name, 2), 4)
    assert len(wake(own, f"{name}s").messages_before(client)) == 1


@every_version
@pytest.mark.parametrize("asks", [False, True])
def test_a_will_is_not_lost(run_broker, tmp_path, name, version, asks):
    own = make_failing(run_broker, tmp_path, *(["--authority", "thread"] if asks else []))
    sleeper(own, f"{name}s", (name, 2))
    client = own.connect(version=version, will=Will(name, "will", 1))
    fail(own)
    client.close()
    time.sleep(0.2)
    mend(own)
    prober = own.connect()
    wait_until(lambda: _is_taken(prober, name, 1), 4)
    got = [one.payload for one in wake(own, f"{name}s").messages_before(prober)]
    assert got == [b"will", b"yes"]


def test_a_session_that_expires_meanwhile(failing, name):
    client = failing.connect(name, session_expiry_interval=1)
    client.subscribe((name, 1))
    fail(failing)
    client.close()
    time.sleep(1.3)
    mend(failing)
    wait_until(lambda: "The store works again" in failing.log(), 4)
    assert failing.open().connect(name, clean=False).session_present == 0


def test_stopping_while_it_fails(failing, name):
    sleeper(failing, f"{name}s", (name, 2))
    client = failing.connect()
    fail(failing)
    parked = failing.connect(version=4)
    parked.send(parked.publish_packet(name, "x", qos=2))
    parked.expect_quiet(0.1)
    with Clock() as clock:
        failing.terminate()
        client.wait("DISCONNECT", reason=0x8B, timeout=5)
        failing.wait()
    assert clock.seconds < 4


# Commits that come late and fail, at random

@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("asks", [False, True])
def test_exactly_once_whatever_the_store_does(run_broker, name, seed, asks):
    args = ["--engine", f"mem:delay=0-20,fail=150,length=1,seed={seed}"]
    args += ["--authority", "out-of-order"] if asks else []
    own = run_broker(CONFIG, test=True, args=args, expected_errors="The store fails|store")
    drawn = random.Random(seed)
    receivers = [Receiver(own, f"{name}r{i}", f"{name}/#", (5, 4)[i % 2]) for i in range(4)]
    senders = [Sender(own, f"{name}p{i}", f"{name}/{i}", (5, 4)[i % 2]) for i in range(4)]
    for _ in range(40):
        one = drawn.choice(receivers + senders)
        if drawn.random() < 0.15:
            one.lose()
        one.step()
    for one in senders:
        one.finish()
    for one in receivers:
        one.finish(senders)


def persistently(broker, client_id, version):
    """A new persistent session is refused while the store fails; comes again until it is not."""
    def attempt():
        client = broker.open(version, timeout=15)
        connack = client.connect(client_id, clean=False, expect=None, **lasting(version))
        return client if connack.reason == 0 else None

    return wait_until(attempt, 15, 0.1)


class Sender:
    """Sends numbers at QoS 2, one after the other, each until it is acknowledged to the end."""

    def __init__(self, broker, client_id, topic, version):
        self.broker, self.client_id, self.topic, self.version = broker, client_id, topic, version
        self.client = persistently(broker, client_id, version)
        self.number = 0
        self.state = None       # None, "sent", "received"

    def lose(self):
        self.client.reset()
        self.client = persistently(self.broker, self.client_id, self.version)

    def step(self):
        """One more number is sent, or the last one again; its acknowledgements may be missing."""
        is_new = self.state is None
        if is_new:
            self.number += 1
            self.state = "sent"
        if self.state == "sent":
            self.client.send(self.client.publish_packet(self.topic, str(self.number), qos=2, packet_id=5,
                                                        dup=int(not is_new)))
        else:
            self.client.ack("PUBREL", 5)
        self.take(0.05)

    def take(self, seconds):
        try:
            packet = self.client.recv(seconds)
        except (Timeout, Closed):
            return
        if packet.kind == "PUBREC" and packet.reason < 0x80 and self.state == "sent":
            self.state = "received"
        elif packet.kind == "PUBREC" and packet.reason >= 0x80:
            assert packet.reason == 0x97
        elif packet.kind == "PUBCOMP" and self.state == "received":
            self.state = None

    def finish(self):
        deadline = time.monotonic() + 30
        self.lose()
        while self.state is not None:
            assert time.monotonic() < deadline, (self.client_id, self.state, self.number)
            self.step()


class Receiver:
    """Collects numbers; takes part in QoS 2 across connections."""

    def __init__(self, broker, client_id, topic, version):
        self.broker, self.client_id, self.version = broker, client_id, version
        self.client = persistently(broker, client_id, version)
        wait_until(lambda: _is_subscribed(self.client, topic, 2), 15, 0.1)
        self.seen = []
        self.open = set()

    def lose(self):
        self.client.reset()
        self.client = persistently(self.broker, self.client_id, self.version)

    def step(self):
        while True:
            try:
                packet = self.client.recv(0.05)
            except (Timeout, Closed):
                return
            if packet.kind == "PUBLISH":
                assert packet.qos == 2
                if packet.packet_id not in self.open:
                    self.open.add(packet.packet_id)
                    self.seen.append((packet.topic, int(packet.payload)))
                self.client.ack("PUBREC", packet.packet_id)
            elif packet.kind == "PUBREL":
                self.open.discard(packet.packet_id)
                self.client.ack("PUBCOMP", packet.packet_id)

    def finish(self, senders):
        wanted = sorted((one.topic, i + 1) for one in senders for i in range(one.number))
        deadline = time.monotonic() + 30
        while len(self.seen) < len(wanted):
            assert time.monotonic() < deadline, set(wanted) - set(self.seen)
            self.step()
        self.step()
        assert sorted(self.seen) == wanted
        for sender in senders:
            mine = [number for topic, number in self.seen if topic == sender.topic]
            assert mine == sorted(mine)
