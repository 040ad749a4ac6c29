# SPDX-License-Identifier: Apache-2.0
"""avocet-plugintest: our plugins and examples pass, and a faulty one does not."""

import os
import subprocess

import pytest

from conftest import BIN, environment, need
from test_auth_file import sha512
from test_module import DESCRIPTOR
from test_plugin import HERE, INCLUDE, SCRIPT, build

PROGRAM = os.path.join(os.path.dirname(BIN), "avocet-plugintest")
BUILD = os.path.dirname(os.path.abspath(BIN))
EXAMPLES = os.path.join(HERE, "..", "..", "doc", "examples")


def drive(*args):
    need(PROGRAM)
    return subprocess.run([PROGRAM, *map(str, args)], capture_output=True, text=True, timeout=60, env=environment(),
                          stdin=subprocess.DEVNULL)


@pytest.mark.parametrize("name,config", [
    ("acl", "file: rules\n"), ("auth-file", "file: users\nlockout_failures: 0\nlockout_user_failures: 0\nmax_delay: 0\n"),
    ("template/my-auth", "password: open sesame\n"), ("stamp/stamp", "from: a\nto: b/c\n"), ("script", "name: w1\n")])
def test_a_plugin_that_is_well_behaved(tmp_path, name, config):
    (tmp_path / "rules").write_text("rules:\n- { allow: [publish, subscribe], topics: ['a/#'] }\n"
                                    "- { deny: [publish], users: bob, topics: ['a/+/7'] }\n")
    (tmp_path / "users").write_text(sha512("alice", "x") + sha512("bob", "open sesame"))
    (tmp_path / "users").chmod(0o600)
    (tmp_path / "config.yaml").write_text(config)
    if name == "script":
        module = build(tmp_path / "script.so", SCRIPT, "-DEXEC=AVOCET_EXEC_POOL")
    elif "/" in name:
        module = build(tmp_path / "example.so", os.path.join(EXAMPLES, f"{name}.c"))
    else:
        module = os.path.join(BUILD, "plugins", name, f"{name}.so")
        if not os.path.exists(module):
            pytest.skip(f"built without {name}")
    done = drive("--config", tmp_path / "config.yaml", "--secs", 2, module)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no fault was seen" in done.stdout and "questions" in done.stdout
    assert int(done.stdout.split()[0]) > 1000


def test_a_faulty_one_is_told(tmp_path):
    source = tmp_path / "odd.c"
    service = ("#include <avocet/avocet_message.h>\n"
               "static int32_t publish(void *i, avocet_req_h r, uint32_t p, const avocet_msg *m,"
               " const avocet_client_info *w, avocet_edit *e) { return 77; }\n"
               "static const avocet_interceptor x = {AVOCET_SIZED(avocet_interceptor), .exec = AVOCET_EXEC_INLINE,"
               " .points = AVOCET_AT_IN, .publish = publish};\n"
               "static const avocet_service s = {AVOCET_SIZED(avocet_service), .id = AVOCET_SERVICE_INTERCEPTOR, .vtable = &x};"
               "static const avocet_service *const services[] = {&s, 0};")
    source.write_text(DESCRIPTOR % {"before": service, "members": ".services = services", "symbol": "avocet_plugin_v0",
                                    "after": ""})
    done = drive("--secs", 1, build(tmp_path / "odd.so", source, "-w"))
    assert done.returncode == 1 and "fault value: " in done.stdout
    assert "gave a verdict that is none here" in done.stderr


def test_what_cannot_be_driven(tmp_path):
    assert drive().returncode == 2 and drive("--secs", 0, "x").returncode == 2
    done = drive(tmp_path / "none.so")
    assert done.returncode == 3 and "No such file" in done.stderr
    (tmp_path / "c.yaml").write_text("passwort: x\n")
    module = build(tmp_path / "example.so", os.path.join(EXAMPLES, "template/my-auth.c"), f"-I{INCLUDE}")
    done = drive("--config", tmp_path / "c.yaml", module)
    assert done.returncode == 3 and "did you mean password" in done.stderr
    assert drive(module).returncode == 3         # its password is required
