# SPDX-License-Identifier: Apache-2.0
"""avocetctl: its own commands, those of plugins, and what it says of plugin files."""

import json
import os
import pty
import shutil
import subprocess
import termios

import pytest

from conftest import BIN, STOP_SECONDS, environment, need
from mqtt import wait_until

CTL = os.path.join(os.path.dirname(BIN), "avocetctl")
AUTH_FILE = os.path.join(os.path.dirname(os.path.abspath(BIN)), "plugins", "auth-file", "auth-file.so")
with_auth_file = pytest.mark.skipif(not os.path.exists(AUTH_FILE), reason="built without auth-file")


def control(*args, **options):
    need(CTL)
    return subprocess.run([CTL, *map(str, args)], capture_output=True, text=True, timeout=STOP_SECONDS,
                          env=environment(), **{"stdin": subprocess.DEVNULL, **options})


@pytest.fixture
def plugin_dir(tmp_path):
    folder = tmp_path / "modules"
    folder.mkdir()
    os.symlink(AUTH_FILE, folder / "auth-file.so")
    return folder


def test_it_checks_a_configuration_as_the_broker_does(tmp_path, command):
    (tmp_path / "good.yaml").write_text("listeners:\n  - bind: 127.0.0.1:21883\n")
    (tmp_path / "bad.yaml").write_text("limits:\n  max_qos: 7\n")
    for name in ("good.yaml", "bad.yaml", "none.yaml"):
        done = control("config", "check", name, cwd=tmp_path)
        assert (done.returncode, done.stdout, done.stderr) == command("-t", "-c", name)
    assert control("config", "check", "good.yaml", cwd=tmp_path).returncode == 0
    assert control("config", "check", "bad.yaml", cwd=tmp_path).returncode == 1


@pytest.mark.parametrize("args", [(), ("--no-such-option",), ("config",), ("config", "check"),
                                  ("config", "eat", "x"), ("config", "check", "a", "b"), ("-V", "x"), ("",),
                                  ("plugin",), ("plugin", "info"), ("plugin", "eat", "x"), ("--plugin-dir",),
                                  ("--stdin", "--password-file", "x", "user", "add")])
def test_wrong_usage_is_2(args):
    done = control(*args)
    assert done.returncode == 2 and "usage:" in done.stderr and not done.stdout


def test_an_unknown_command_is_2(tmp_path):
    done = control("--plugin-dir", tmp_path, "nonsense", "x")
    assert done.returncode == 2 and f'no command "nonsense", and no plugin in {tmp_path} brings it' in done.stderr


@pytest.mark.parametrize("args,word", [(("-h",), "config check"), (("--help",), "config check"),
                                       (("-V",), "avocetctl "), (("--version",), "avocetctl ")])
def test_it_speaks(args, word):
    done = control(*args)
    assert done.returncode == 0 and word in done.stdout and not done.stderr


def test_without_a_broker_beside_it_is_3(tmp_path):
    need(CTL)
    alone = tmp_path / "avocetctl"
    shutil.copy(CTL, alone)
    done = subprocess.run([alone, "config", "check", "x"], capture_output=True, text=True,
                          env={**environment(), "PATH": str(tmp_path)}, timeout=STOP_SECONDS)
    assert done.returncode == 3 and "cannot run avocet" in done.stderr


# --- plugins as files ---

@with_auth_file
def test_the_help_lists_what_plugins_bring(plugin_dir):
    done = control("--plugin-dir", plugin_dir, "--help")
    assert "user add FILE NAME" in done.stdout and "(auth-file)" in done.stdout


@with_auth_file
def test_plugin_info(plugin_dir):
    for name in (AUTH_FILE, "auth-file"):
        done = control("--plugin-dir", plugin_dir, "plugin", "info", name)
        assert done.returncode == 0 and "avocet.authenticator/0" in done.stdout
        told = json.loads(control("--plugin-dir", plugin_dir, "--json", "plugin", "info", name).stdout)
        assert told["name"] == "auth-file" and "avocet.tool/0" in told["services"]
        assert "file" in told["config"] and told["abi"] == [0, 3]
    # A file of the working folder, by its bare name.
    assert control("plugin", "info", "auth-file.so", cwd=plugin_dir).returncode == 0
    listed = control("--plugin-dir", plugin_dir, "plugin", "list", "--json")
    assert [plugin["name"] for plugin in json.loads(listed.stdout)] == ["auth-file"]


@with_auth_file
def test_plugin_doc_and_check(plugin_dir):
    done = control("plugin", "doc", AUTH_FILE)
    assert done.returncode == 0 and "lockout_failures: number, 0..1000000, default 10" in done.stdout
    done = control("plugin", "check", AUTH_FILE)
    assert done.returncode == 0 and "keeps the rules" in done.stdout


def test_what_is_no_plugin_is_refused(tmp_path):
    broken = tmp_path / "broken.so"
    broken.write_bytes(b"\x7fELF")
    for verb in ("info", "check", "doc"):
        done = control("plugin", verb, broken)
        assert done.returncode == 1 and "is cut off" in done.stderr and not done.stdout
    assert control("plugin", "info", tmp_path / "none.so").returncode == 1
    # It does not hide the others, and is named where the command is not found.
    done = control("--plugin-dir", tmp_path, "plugin", "list")
    assert done.returncode == 0 and "broken.so is cut off" in done.stderr
    done = control("--plugin-dir", tmp_path, "user", "add")
    assert done.returncode == 2 and "broken.so is cut off" in done.stderr


# --- commands that plugins bring ---

@with_auth_file
def test_the_life_of_a_user(plugin_dir, tmp_path, run_broker):
    users = tmp_path / "users"

    def user(*args, **options):
        return control("--plugin-dir", plugin_dir, "user", *args, **options)

    def add(*args, text):
        return user(*args, "--stdin", stdin=None, input=text)

    assert add("add", users, "alice", text="wonder\nland\n").returncode == 0
    assert users.stat().st_mode & 0o777 == 0o600
    (tmp_path / "secret").write_text("builder\n")
    (tmp_path / "secret").chmod(0o600)
    done = user("add", users, "bob", "--sha-512", "--password-file", tmp_path / "secret")
    assert (done.returncode, done.stderr) == (0, "")
    done = add("add", users, "alice", text="x\n")
    assert done.returncode == 1 and "is there already" in done.stderr
    assert json.loads(user("list", users, "--json").stdout) == [
        {"name": "alice", "scheme": "SCRAM-SHA-256"}, {"name": "bob", "scheme": "SCRAM-SHA-512"}]
    broker = run_broker({
        "plugins": [{"name": "users", "module": AUTH_FILE,
                     "config": {"file": str(users), "check_interval": "50ms", "max_delay": 0}}],
        "limits": {"auth_delay": 0},
        "chains": {"default": {"authenticate": ["users"]}},
    })

    def gets(name, password):
        client = broker.open()
        client.send(client.connect_packet("x", username=name, password=password))
        reason = client.expect("CONNACK").reason
        client.close()
        return reason

    assert gets("alice", b"wonder") == 0
    assert gets("bob", b"builder") == 0 and gets("alice", b"land") != 0
    assert add("passwd", users, "alice", text="glass\n").returncode == 0
    wait_until(lambda: gets("alice", b"glass") == 0)
    assert user("del", users, "bob").returncode == 0
    wait_until(lambda: gets("bob", b"builder") != 0)
    assert user("del", users, "bob").returncode == 1
    assert add("passwd", users, "bob", text="x\n").returncode == 1
    assert user("list", users).stdout == "alice\tSCRAM-SHA-256\n"


@with_auth_file
def test_wrong_words_of_a_plugins_command(plugin_dir, tmp_path):
    done = control("--plugin-dir", plugin_dir, "user", "add", tmp_path / "u")
    assert done.returncode == 2 and "usage: avocetctl user add FILE NAME" in done.stderr
    done = control("--plugin-dir", plugin_dir, "user", "add", tmp_path / "u", "a:b", "--stdin")
    assert done.returncode == 1 and "no user name" in done.stderr
    done = control("--plugin-dir", plugin_dir, "user", "add", tmp_path / "u", "a", "--password-file",
                   tmp_path / "none")
    assert done.returncode == 1 and "none: No such file" in done.stderr
    done = control("--plugin-dir", plugin_dir, "user", "add", tmp_path / "u", "a", "--stdin")
    assert done.returncode == 1 and "standard input: there is no password" in done.stderr
    done = control("--plugin-dir", plugin_dir, "user", "add", tmp_path / "u", "a", "--stdin", stdin=None,
                   input="x" * 5000)
    assert done.returncode == 1 and "too long" in done.stderr
    assert not (tmp_path / "u").exists()


@with_auth_file
def test_two_plugins_with_one_command(plugin_dir, tmp_path):
    os.symlink(AUTH_FILE, plugin_dir / "other.so")
    done = control("--plugin-dir", plugin_dir, "user", "list", tmp_path / "u")
    assert done.returncode == 2 and "choose by --plugin NAME" in done.stderr


def at_terminal(*args, answers):
    """Runs it with a terminal; types each answer when its prompt is there. (status, what the terminal showed)"""
    pid, fd = pty.fork()
    if pid == 0:
        os.execve(CTL, [CTL, *map(str, args)], environment())
    shown = b""
    for prompt, answer in answers:
        while prompt not in shown:
            shown += os.read(fd, 1000)
        assert not termios.tcgetattr(fd)[3] & termios.ECHO
        shown = shown.replace(prompt, b"", 1)
        os.write(fd, answer)
    try:
        while more := os.read(fd, 1000):
            shown += more
    except OSError:
        pass
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.close(fd)
    return status, shown


@with_auth_file
def test_a_terminal_is_asked_and_does_not_show_it(plugin_dir, tmp_path):
    add = ("--plugin-dir", plugin_dir, "user", "add", tmp_path / "users", "alice")
    status, shown = at_terminal(*add, answers=[(b"Password: ", b"wonder\n"), (b"Again: ", b"wander\n")])
    assert status == 1 and b"two different" in shown
    status, shown = at_terminal(*add, answers=[(b"Password: ", b"wond\x03")])
    assert status == 1 and not (tmp_path / "users").exists()
    status, shown = at_terminal(*add, answers=[(b"Password: ", b"wonder\n"), (b"Again: ", b"wonder\n")])
    assert status == 0 and b"wonder" not in shown
    assert "alice:SCRAM-SHA-256$" in (tmp_path / "users").read_text()


@with_auth_file
def test_without_a_terminal_it_says_what_to_give(plugin_dir, tmp_path):
    done = control("--plugin-dir", plugin_dir, "user", "add", tmp_path / "users", "alice",
                   start_new_session=True)
    assert done.returncode == 1 and "--password-file FILE" in done.stderr
