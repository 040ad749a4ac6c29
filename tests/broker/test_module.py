# SPDX-License-Identifier: Apache-2.0
"""Modules that are judged before they are loaded: what is refused, with what was found and what is needed."""

import os
import re
import shutil
import subprocess

import pytest

from conftest import BIN, STOP_SECONDS, environment
from test_plugin import CC, build

pytestmark = pytest.mark.skipif(not shutil.which(CC), reason="there is no compiler")

DESCRIPTOR = """
#include <avocet/avocet_plugin.h>
#include <stdio.h>
#include <stdlib.h>
%(before)s
static int32_t create(const avocet_host *h, avocet_self *s, void **i, avocet_error *e) { *i = 0; return 0; }
static void destroy(void *i) {}
static int32_t prepare(void *i, const avocet_conf *c, void **n, avocet_error *e) { return 0; }
static void commit(void *i, void *n, void **o) {}
static const avocet_lifecycle lifecycle = {AVOCET_SIZED(avocet_lifecycle), .create = create, .destroy = destroy,
    .prepare = prepare, .commit = commit};
#define SYMBOL %(symbol)s
AVOCET_EXPORT const avocet_plugin SYMBOL = {.magic = AVOCET_MAGIC, .struct_size = sizeof(avocet_plugin),
    .abi_major = AVOCET_ABI_MAJOR, .abi_minor = AVOCET_ABI_MINOR, .name = "odd", .version = "1",
    .lifecycle = &lifecycle, %(members)s};
__attribute__((constructor)) static void run(void) { fputs("A CONSTRUCTOR HAS RUN\\n", stderr); }
%(after)s
"""


def odd(folder, members="", symbol="avocet_plugin_v0", before="", after="", flags=()):
    source = folder / "odd.c"
    source.write_text(DESCRIPTOR % {"members": members, "symbol": symbol, "before": before, "after": after})
    return build(folder / "odd.so", source, "-w", *flags)


SERVICE = ('static const avocet_service s = {AVOCET_SIZED(avocet_service), .id = "%s", .vtable = %s};'
           'static const avocet_service *const services[] = {&s, 0};')
ODD = {
    "another major, newer": (dict(symbol="avocet_plugin_v3"), "was made for major 3 of the plugin ABI, this broker "
                             "has major 0: the plugin is newer"),
    "another major in the descriptor": (dict(members=".abi_major = 9"), "was made for major 9 of the plugin ABI, "
                                        "this broker has major 0"),
    "a newer minor is needed": (dict(members=".abi_minor_needed = 7"), "needs the plugin ABI 0.7, this broker has 0.3: "
                                "the broker is older"),
    "a short descriptor": (dict(members=".struct_size = 40"), "has a descriptor of 40 bytes, .* are needed: it is cut off"),
    "not even a major": (dict(members=".struct_size = 8"), "was made for major 0"),
    "a wrong magic": (dict(members=".magic = 7"), "is not a plugin of avocet: its descriptor begins with 0x7"),
    "no such symbol": (dict(symbol="something"), "is not a plugin of avocet: it does not export avocet_plugin_v0"),
    "two symbols": (dict(after="AVOCET_EXPORT int helper(void) { return 1; }"),
                    r'exports 1 symbols besides avocet_plugin_v0, the first is "helper"'),
    "an undefined symbol": (dict(after="void nowhere(void); AVOCET_EXPORT void (*const avocet_plugin_v9)(void) = nowhere;"),
                            "cannot be opened: .*undefined symbol: nowhere"),
    "no name": (dict(members=".name = \"A b\""), "has no name"),
    "no version": (dict(members=".version = 0"), "no version"),
    "no lifecycle": (dict(members=".lifecycle = 0"), "lacks one of create, destroy, prepare and commit"),
    "an unknown service": (dict(before=SERVICE % ("avocet.future/0", "&s"), members=".services = services"),
                           'offers a service that this broker does not know: "avocet.future/0"'),
    "a service without a table": (dict(before=SERVICE % ("avocet.authenticator/0", "0"), members=".services = services"),
                                  "a table that is too short, or lacks what it must have"),
    "an unknown need": (dict(before='static const char *const needs[] = {"avocet.future/0", 0};', members=".needs = needs"),
                        'needs a host interface that this broker does not offer: "avocet.future/0"'),
    "a schema without a name": (dict(before='static const avocet_conf_item i[] = {{"A", AVOCET_CONF_STR}};',
                                     members=".conf = i, .n_conf = 1, .conf_item_size = sizeof(i[0])"),
                                'its configuration schema is malformed: of "A", its name is not one'),
    "a schema of an unknown type": (dict(before='static const avocet_conf_item i[] = {{"a", 77}};',
                                         members=".conf = i, .n_conf = 1, .conf_item_size = sizeof(i[0])"),
                                    'of "a", its type is not known'),
    "a default that does not fit": (dict(before='static const avocet_conf_item i[] = {{"a", AVOCET_CONF_INT, 0, "x"}};',
                                         members=".conf = i, .n_conf = 1, .conf_item_size = sizeof(i[0])"),
                                    'of "a", its default does not fit it'),
}
BEFORE_ANY_CODE = {"another major, newer", "no such symbol", "two symbols"}


def start(folder, module):
    (folder / "c.yaml").write_text(f"listeners: [{{ bind: 'unix:{folder}/s' }}]\n"
                                   f"plugins:\n- {{ name: odd, module: {module} }}\n")
    return subprocess.run([BIN, "-t", "-c", folder / "c.yaml"], capture_output=True, text=True, env=environment(),
                          timeout=STOP_SECONDS)


@pytest.mark.parametrize("what", ODD)
def test_what_is_no_plugin_of_ours_is_refused(tmp_path, what):
    options, sentence = ODD[what]
    module = odd(tmp_path, **options)
    done = start(tmp_path, module)
    assert done.returncode == 1
    assert re.search(rf"c\.yaml:3:\d+: {re.escape(module)}:? {sentence}|c\.yaml:3:\d+: .*{sentence}", done.stderr), done.stderr
    if what in BEFORE_ANY_CODE:
        assert "A CONSTRUCTOR HAS RUN" not in done.stderr


@pytest.mark.parametrize("data,sentence", [
    (b"", "is not a shared object"), (b"#!/bin/sh\n", "is not a shared object"), (b"\x7fELF", "is cut off"),
    (b"\x7fELF\x01\x01\x01" + bytes(100), "was built for another kind of machine")])
def test_a_file_that_is_no_shared_object_is_refused(tmp_path, data, sentence):
    (tmp_path / "x.so").write_bytes(data)
    done = start(tmp_path, tmp_path / "x.so")
    assert done.returncode == 1 and sentence in done.stderr


def test_a_module_that_is_cut_off_anywhere_is_refused(tmp_path):
    whole = open(odd(tmp_path), "rb").read()
    assert start(tmp_path, tmp_path / "odd.so").returncode == 0
    cut = tmp_path / "cut.so"
    for part in range(0, len(whole), max(1, len(whole) // 40)):
        cut.write_bytes(whole[:part])
        done = start(tmp_path, cut)
        assert done.returncode == 1 and ("is cut off" in done.stderr or "is not a shared object" in done.stderr), part


@pytest.mark.parametrize("members,before,good", [
    # A service that may be left out, and a descriptor of a newer minor that is longer than ours.
    (".services = services", SERVICE.replace(".id", ".flags = AVOCET_SERVICE_OPTIONAL, .id") % ("avocet.future/0", "&s"), True),
    (".abi_minor = 12", "", True),
    (".struct_size = 4096", "", True),
])
def test_what_is_newer_but_can_do_without_is_taken(tmp_path, members, before, good):
    done = start(tmp_path, odd(tmp_path, members=members, before=before))
    assert (done.returncode == 0) == good, done.stderr


def test_keys_that_are_missing_are_told_where_the_instance_stands(tmp_path):
    items = ('static const avocet_conf_item i[] = {{"a", AVOCET_CONF_INT, AVOCET_CONF_REQUIRED},'
             '{"b", AVOCET_CONF_STR, AVOCET_CONF_REQUIRED}};')
    done = start(tmp_path, odd(tmp_path, before=items,
                               members=".conf = i, .n_conf = 2, .conf_item_size = sizeof(i[0])"))
    assert done.returncode == 1
    for key in "ab":
        assert re.search(rf"c\.yaml:3:\d+: plugins\[0\]\.config: the key {key} is missing", done.stderr), done.stderr


@pytest.mark.parametrize("body, finding", (
    ("static int n; *i = 0; return ++n % 2 ? 0 : AVOCET_E_BUSY;", "a second instance cannot be made, the first time"),
    ('static int n; *i = 0; snprintf(e->text, 99, "worn out"); return ++n > 2 ? AVOCET_E_STATE : 0;',
     "an instance cannot be made, a second time: plugin trial-1: worn out"),
    ("*i = 0; return AVOCET_E_INTERNAL;", "an instance cannot be made, the first time")))
def test_plugin_check_makes_instances(tmp_path, body, finding):
    source = tmp_path / "odd.c"
    source.write_text((DESCRIPTOR % {"members": "", "symbol": "avocet_plugin_v0", "before": "", "after": ""}).replace(
        "{ *i = 0; return 0; }\nstatic void destroy", "{ " + body + " }\nstatic void destroy"))
    done = subprocess.run([os.path.join(os.path.dirname(BIN), "avocetctl"), "plugin", "check",
                           build(tmp_path / "odd.so", source, "-w")],
                          capture_output=True, text=True, env=environment(), timeout=STOP_SECONDS)
    assert done.returncode == 1 and finding in done.stdout
