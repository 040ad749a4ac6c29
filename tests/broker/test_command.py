# SPDX-License-Identifier: Apache-2.0
"""The command line and the configuration: what is printed, and the exit status."""

import re
import socket
import subprocess

import pytest

from conftest import BIN, environment, free_port, need
from mqtt import Client, wait_until

# The top of the file has no path.
ERROR = re.compile(r"^(?:.*[: ])?(\S*\.yaml):(\d+):(\d+): (?:([^:\s]+): )?(.+)$", re.M)


@pytest.fixture
def check(command, tmp_path):
    """check(text): runs -t on it; (exit code, [(line, column, path, sentence)], stderr)."""
    def run(text):
        (tmp_path / "a.yaml").write_text(text)
        code, out, err = command("-t", "-c", "a.yaml")
        found = [(int(line), int(column), path, sentence)
                 for _, line, column, path, sentence in ERROR.findall(err)]
        return code, found, out + err
    return run


def test_the_version(command):
    code, out, err = command("-V")
    assert code == 0 and re.search(r"avocet.*\d+\.\d+", out + err)


@pytest.mark.parametrize("args", [("--no-such-option",), ("-Z",), ("-c",), ("stray",), ("-p",),
                                  ("-p", "x"), ("-p", "70000")])
def test_wrong_usage_is_2(command, args):
    code, out, err = command(*args)
    assert code == 2, (code, err)
    assert err.strip()


def test_an_empty_file_is_a_valid_configuration(check):
    code, errors, text = check("")
    assert code == 0 and not errors, text


def test_t_says_what_it_would_run(check):
    code, _, text = check("listeners:\n  - name: home\n    bind: 127.0.0.1:21883\n")
    assert code == 0 and "127.0.0.1:21883" in text, text


def test_t_does_not_start(command, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        (tmp_path / "a.yaml").write_text(
            f"listeners:\n  - bind: 127.0.0.1:{taken.getsockname()[1]}\n")
        code, _, err = command("-t", "-c", "a.yaml")
        assert code == 0, err


@pytest.mark.parametrize("text,line,column,path", [
    ("limits:\n  max_packet_sise: 1MiB\n", 2, 3, "limits"),        # an unknown key has its parent's
    ("limit:\n  max_qos: 1\n", 1, 1, ""),
    ("limits:\n  max_qos: 3\n", 2, 12, "limits.max_qos"),
    ("limits:\n  max_qos: many\n", 2, 12, "limits.max_qos"),
    ("limits:\n  max_packet_size: 1MB?\n", 2, 20, "limits.max_packet_size"),
    ("limits:\n  queue_full: drop_all\n", 2, 15, "limits.queue_full"),
    ("limits:\n  connect_timeout: 10 parsecs\n", 2, 20, "limits.connect_timeout"),
    ("limits: 5\n", 1, 9, "limits"),
    ("broker:\n  workers: -1\n", 2, 12, "broker.workers"),
    ("listeners:\n  - bind: 127.0.0.1:99999\n", 2, 11, r"listeners\[0\].bind"),
    ("listeners:\n  - protocol: coap\n", 2, 15, r"listeners\[0\].protocol"),
    ("listeners:\n  - limits: { max_qos: 7 }\n", 2, 24, r"listeners\[0\].limits.max_qos"),
    ("log:\n  level: loud\n", 2, 10, "log.level"),
])
def test_an_error_names_its_place(check, text, line, column, path):
    code, errors, output = check(text)
    assert code == 1, output
    assert len(errors) == 1, output
    assert errors[0][:2] == (line, column), output
    # An element of a list may be shown by its index in either of two common ways.
    assert re.fullmatch(path, errors[0][2]) or \
        errors[0][2] == re.sub(r"\\\[(\d+)\\\]", r".\1", path), output
    assert len(errors[0][3]) > 10, output


def test_the_nearest_known_key_is_named(check):
    _, errors, output = check("limits:\n  max_packet_sise: 1MiB\n")
    assert "max_packet_size" in errors[0][3], output


def test_all_errors_come_in_one_run(check):
    code, errors, output = check("limits:\n  a: 1\n  max_qos: 9\nbroker:\n  workers: x\nlog:\n"
                                 "  format: xml\n")
    assert code == 1
    assert [one[0] for one in errors] == [2, 3, 5, 7], output


def test_broken_yaml_has_a_place(command, tmp_path):
    (tmp_path / "a.yaml").write_text("limits:\n  a: [1, 2\nb: }\n")
    code, _, err = command("-t", "-c", "a.yaml")
    assert code == 1 and re.search(r"a\.yaml:[23]:\d+", err), err


def test_nothing_is_started_with_errors(tmp_path):
    need(BIN)
    port = free_port()
    (tmp_path / "a.yaml").write_text(f"listeners:\n  - bind: 127.0.0.1:{port}\nlimits:\n  max_qos: 5\n")
    done = subprocess.run([BIN, "-c", "a.yaml"], cwd=tmp_path, capture_output=True, text=True, timeout=15,
                          env=environment())
    assert done.returncode == 1 and ERROR.search(done.stderr), done.stderr


def test_a_missing_file_is_told(command):
    code, _, err = command("-c", "none.yaml")
    assert code in (1, 3) and "none.yaml" in err


def test_a_taken_port_is_3(command, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        (tmp_path / "a.yaml").write_text(f"broker:\n  data_dir: {tmp_path}\n"
                                         f"  control: {tmp_path}/c\nlisteners:\n"
                                         f"  - bind: 127.0.0.1:{port}\n")
        code, _, err = command("-c", "a.yaml")
    assert code == 3 and str(port) in err, (code, err)


def test_the_control_socket_is_there_before_a_port(command, tmp_path):
    """Whoever reaches a port may ask avocetctl: of two that cannot be opened the control socket is the first."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        (tmp_path / "a.yaml").write_text(f"broker:\n  data_dir: {tmp_path}\n  control: {tmp_path}/none/c\n"
                                         f"listeners:\n  - bind: 127.0.0.1:{taken.getsockname()[1]}\n")
        code, _, err = command("-c", "a.yaml")
    assert code == 3 and "broker.control: cannot bind" in err, (code, err)


def test_one_port_for_two_listeners_is_refused(command, tmp_path):
    port = free_port()
    (tmp_path / "a.yaml").write_text(f"broker:\n  control: {tmp_path}/c\n  data_dir: {tmp_path}\n"
                                     f"listeners:\n  - bind: 127.0.0.1:{port}\n    name: a\n"
                                     f"  - bind: 127.0.0.1:{port}\n    name: b\n")
    code, _, err = command("-c", "a.yaml")
    assert code in (1, 3) and str(port) in err, (code, err)


def test_an_unknown_store_or_plugin_is_refused(check):
    for text in ("store: db\n", "chains:\n  default:\n    authenticate: [users]\n"):
        code, _, output = check(text)
        assert code == 1, output


def test_the_dump_has_every_key_and_is_valid(command, tmp_path):
    yaml = pytest.importorskip("yaml")
    code, out, err = command("--dump-config")
    assert code == 0, err
    dump = yaml.safe_load(out)
    assert dump["limits"]["max_qos"] == 2 and dump["limits"]["receive_maximum"] == 1000
    for key in ("workers", "data_dir", "plugin_dir", "user", "sys_interval", "max_memory",
                "max_connections", "max_connect_rate", "max_connections_per_address", "shutdown_timeout",
                "max_transit", "control", "trusted_proxies", "stall_warn"):
        assert key in dump["broker"], key
    for key in ("max_packet_size max_connect_size max_qos retain_available wildcard_subscriptions "
                "shared_subscriptions subscription_identifiers max_keepalive max_session_expiry "
                "max_inflight_messages receive_maximum max_queued_messages max_queued_bytes queue_full "
                "queue_qos0 max_topic_alias max_topic_alias_broker max_topic_levels max_subscriptions "
                "max_sessions max_retained_messages max_retained_bytes max_publish_rate "
                "max_publish_bytes_rate allow_empty_client_id auto_id_prefix connect_timeout "
                "write_timeout upgrade_outgoing_qos lenient max_pending max_grants response_information "
                "auth_delay max_delayed").split():
        assert key in dump["limits"], key
    (tmp_path / "a.yaml").write_text(out)
    code, again, err = command("--dump-config", "-c", "a.yaml")
    assert code == 0 and again == out, err
    assert command("-t", "-c", "a.yaml")[0] == 0


def test_the_dump_shows_what_is_set_but_no_secret(command, tmp_path):
    (tmp_path / "secret").write_text("hunter2\n")
    (tmp_path / "a.yaml").write_text("limits:\n  max_qos: 1\n  auto_id_prefix: !file secret\n")
    code, out, err = command("--dump-config", "-c", "a.yaml")
    assert code == 0 and re.search(r"max_qos: 1\b", out), err
    assert "hunter2" not in out + err


def test_env_and_include(check, tmp_path):
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d/x.yaml").write_text("limits:\n  max_qos: 7\n")
    code, errors, output = check("include: conf.d/*.yaml\n")
    assert code == 1 and errors[0][:3] == (2, 12, "limits.max_qos"), output
    code, errors, output = check("limits:\n  max_qos: !env {name: AVOCET_NOT_SET, default: 1}\n")
    assert code == 0, output
    code, errors, output = check("limits:\n  max_qos: !env AVOCET_NOT_SET\n")
    assert code == 1 and "AVOCET_NOT_SET" in output


def test_p_sets_the_port(tmp_path):
    need(BIN)
    port = free_port()
    (tmp_path / "a.yaml").write_text(f"broker:\n  control: {tmp_path}/c\n  data_dir: {tmp_path}\n")
    process = subprocess.Popen([BIN, "-c", "a.yaml", "-p", str(port)], cwd=tmp_path, env=environment(),
                               stderr=subprocess.PIPE)
    try:
        def opened():
            assert process.poll() is None, process.stderr.read()
            try:
                return Client(port)
            except OSError:
                return None
        client = wait_until(opened, what="the port")
        client.connect("x")
        client.close()
    finally:
        process.terminate()
        _, err = process.communicate(timeout=15)
    assert process.returncode == 0, err


def test_several_listeners_and_a_unix_socket(run_broker, tmp_path):
    path = f"/tmp/avocet-{free_port()}.sock"
    own = run_broker({"listeners": [{"name": "a"}, {"name": "b"},
                                    {"name": "c", "bind": f"unix:{path}"}]})
    subscriber = own.connect(listener="a")
    subscriber.subscribe("x")
    own.connect(listener="b").publish("x", "hello", qos=1)
    subscriber.message(payload="hello")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(5)
        sock.connect(path)
        sock.sendall(b"\x10\x0d\0\4MQTT\4\2\0\0\0\1u")
        assert sock.recv(4) == b"\x20\x02\0\0"
