# SPDX-License-Identifier: Apache-2.0
"""Signals: TERM and INT end it in order, HUP reloads, USR1 reopens the log."""

import signal
import time

import pytest

from mqtt import Closed, Will, wait_until


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_clients_are_told_and_the_exit_status_is_0(run_broker, number):
    own = run_broker()
    clients = [own.connect(version=version) for version in (3, 4, 5) for _ in range(5)]
    persistent = own.connect("p", session_expiry_interval=100)
    own.terminate(number)
    for client in clients + [persistent]:
        client.expect_refused(0x8B)
    assert own.wait() == 0


def test_without_clients_it_ends_at_once(run_broker):
    own = run_broker()
    begin = time.monotonic()
    own.terminate()
    assert own.wait() == 0
    assert time.monotonic() - begin < 3


def test_signals_count_from_the_first_connection_on(run_broker):
    for _ in range(10):
        own = run_broker()
        own.terminate(signal.SIGUSR1)
        own.terminate(signal.SIGHUP)
        own.terminate()
        assert own.wait() == 0


def test_a_signal_more_does_not_kill_what_has_stopped(run_broker):
    for _ in range(10):
        own = run_broker()
        own.connect()
        while own.process.poll() is None:
            own.terminate()
        assert own.wait() == 0


def test_no_new_client_gets_in_afterwards(run_broker):
    own = run_broker()
    own.connect()
    own.terminate()
    assert own.wait() == 0
    with pytest.raises(OSError):
        own.open()


def test_what_was_acknowledged_is_delivered_first(run_broker):
    own = run_broker()
    subscriber, publisher = own.connect(), own.connect()
    subscriber.subscribe(("a", 1))
    publisher.send(*[publisher.publish_packet("a", str(i), qos=1) for i in range(50)])
    for _ in range(50):
        publisher.expect("PUBACK")
    own.terminate()
    for i in range(50):
        subscriber.expect("PUBLISH", payload=str(i))
    subscriber.expect_refused(0x8B)


def test_a_client_that_reads_nothing_delays_it_no_longer_than_the_timeout(run_broker):
    own = run_broker({"broker": {"shutdown_timeout": "2s"}})
    slow = own.open(receive_buffer=4096)
    slow.connect("slow")
    slow.subscribe(("a", 0))
    publisher = own.connect()
    for _ in range(20):
        publisher.publish("a", bytes(1000000), qos=1)
    begin = time.monotonic()
    own.terminate()
    assert own.wait() == 0
    assert time.monotonic() - begin < 6


def test_half_open_connections_do_not_hold_it_up(run_broker):
    own = run_broker()
    own.open()
    own.open().send(b"\x10\x20")
    own.connect().send(b"\x30\xff\xff\x01")
    begin = time.monotonic()
    own.terminate()
    assert own.wait() == 0
    assert time.monotonic() - begin < 5


def test_a_second_signal_is_no_harm(run_broker):
    own = run_broker()
    for _ in range(20):
        own.connect()
    own.terminate()
    own.terminate()
    assert own.wait() == 0


def test_wills_are_not_fired_by_a_stop(run_broker):
    own = run_broker()
    watcher = own.connect()
    watcher.subscribe("will")
    own.connect(will=Will("will", "x"))
    own.terminate()
    packet = watcher.recv()
    assert packet.kind == "DISCONNECT", packet


def test_it_starts_again_on_the_same_port(run_broker):
    own = run_broker()
    for _ in range(3):
        own.connect().ping()
        own.close_clients()
        own.terminate()
        assert own.wait() == 0
        own.start()
    own.connect().ping()


def test_hup_keeps_the_connections(run_broker):
    own = run_broker()
    client = own.connect()
    client.subscribe("a")
    own.terminate(signal.SIGHUP)
    client.ping()
    client.publish("a", "x")
    client.message(payload="x")
    own.connect().ping()


def test_hup_brings_new_limits(run_broker):
    own = run_broker()
    text = own.config_file.read_text()
    own.config_file.write_text(text + "limits:\n  receive_maximum: 77\n")
    own.terminate(signal.SIGHUP)
    wait_until(lambda: own.open().connect("x").props.get("receive_maximum") == 77,
               what="the new receive maximum")


def test_hup_with_an_error_changes_nothing_and_says_why(run_broker):
    own = run_broker()
    client = own.connect()
    text = own.config_file.read_text()
    own.config_file.write_text(text + "limits:\n  max_qos: 99\n")
    own.terminate(signal.SIGHUP)
    wait_until(lambda: "max_qos" in own.log(), what="the reason in the log")
    client.ping()
    own.connect().ping()
    own.terminate()
    with pytest.raises(Closed):
        while True:
            client.recv()
    assert own.wait() == 0
    # It is an error of the configuration; stop() would take it for one of the broker.
    own.log_file.write_text("")


def test_usr1_reopens_the_log(run_broker, tmp_path):
    log = tmp_path / "avocet.log"
    own = run_broker({"log": {"to": str(log), "level": "debug"}})
    own.connect("first").disconnect()
    wait_until(lambda: log.exists() and log.read_text(), what="a line in the log")
    log.rename(tmp_path / "old.log")
    own.terminate(signal.SIGUSR1)

    def written():
        own.connect("second").disconnect()
        return log.exists() and log.read_text()
    wait_until(written, what="a new log")
