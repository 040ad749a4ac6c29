#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The proof of conformance: runs the tests and writes what became of each statement.

    report.py [--build DIR] [--jobs N] [--check]     doc/conformance.md
    report.py mutants [--json FILE] [--check]        doc/mutants.md, from a run of mutants.py

With --check nothing is written, and what differs from the file is an error. Always an error: a statement
that binds a server and has no test, one whose test failed or was not run; one for clients whose tests are not all
there, or failed, or were not run, where bridges are built.
"""

import argparse
import collections
import difflib
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parents[1]
sys.path.insert(0, str(TOP / "tests" / "lib"))
sys.dont_write_bytecode = True

import statements  # noqa: E402

FOLDERS = (HERE, TOP / "tests" / "broker")
VERSIONS = {"MQTT5": "MQTT 5.0", "MQTT311": "MQTT 3.1.1"}
CHAPTERS = {
    "MQTT5": {
        "1": "Data representation", "2": "Packet format", "3.1": "CONNECT", "3.2": "CONNACK", "3.3": "PUBLISH",
        "3.4": "PUBACK", "3.5": "PUBREC", "3.6": "PUBREL", "3.7": "PUBCOMP", "3.8": "SUBSCRIBE",
        "3.9": "SUBACK", "3.10": "UNSUBSCRIBE", "3.11": "UNSUBACK", "3.12": "PINGREQ",
        "3.14": "DISCONNECT", "3.15": "AUTH", "4.1": "Session state", "4.2": "Network connections",
        "4.3": "Quality of Service levels", "4.4": "Message delivery retry", "4.5": "Message receipt",
        "4.6": "Message ordering", "4.7": "Topic names and filters", "4.8": "Subscriptions",
        "4.9": "Flow control", "4.12": "Enhanced authentication", "4.13": "Handling errors",
        "6": "WebSocket"},
    "MQTT311": {
        "1": "Data representation", "2": "Packet format", "3.1": "CONNECT", "3.2": "CONNACK", "3.3": "PUBLISH",
        "3.6": "PUBREL", "3.8": "SUBSCRIBE", "3.9": "SUBACK", "3.10": "UNSUBSCRIBE", "3.12": "PINGREQ",
        "3.14": "DISCONNECT", "4.1": "Storing state", "4.3": "Quality of Service levels",
        "4.4": "Message delivery retry", "4.5": "Message receipt", "4.6": "Message ordering",
        "4.7": "Topic names and filters", "4.8": "Handling errors", "6": "WebSocket", "7": "Conformance"},
}
PASSED, FAILED, NOT_RUN, NO_TEST, OPEN, OTHER = ("passed", "**failed**", "**not run**", "**no test**", "open",
                                                  "not a server's")
BAD = (FAILED, NOT_RUN, NO_TEST)
# It says that a bridge conforms as a client, too: as all the statements for clients of that version.
ALL_OF_CLIENTS = ("MQTT311-7.0.0-1",)


def run_tests(build, jobs):
    """The results of all cases, and whether pytest was content."""
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        env = dict(os.environ, AVOCET_STATEMENTS=file.name, AVOCET_BIN=str(build / "avocet"),
                   AVOCET_TEST_BIN=str(build / "tests/broker/avocet-test"), PYTHONDONTWRITEBYTECODE="1")
        done = subprocess.run(["/usr/bin/python3", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n",
                               str(jobs), "-m", "statement", *map(str, FOLDERS)], env=env, cwd=TOP, capture_output=True, text=True)
        if done.returncode != 0:
            print("\n".join(done.stdout.splitlines()[-200:]), done.stderr[-5000:])
        try:
            return json.loads(pathlib.Path(file.name).read_text()), done.returncode == 0
        except ValueError:
            return [], False


def judge(cases):
    """{id: (result, {test: programs})}"""
    by_id = collections.defaultdict(list)
    for case in cases:
        for one in case["statements"]:
            by_id[one].append(case)
    out = {}
    for one, (role, _, _) in statements.read_statements().items():
        mine = by_id[one]
        if one in ALL_OF_CLIENTS and not mine:
            mine = [case for case in cases if any(name.startswith("BRIDGE311-") for name in case["statements"])]
        elif role == "client" and not mine:
            mine = by_id[one.replace("MQTT", "BRIDGE", 1)]
        if role not in ("server", "both") and not mine:
            result = OTHER if role.startswith("n/a") else OPEN
        else:
            result = verdict(mine)
        tests = {} if one in ALL_OF_CLIENTS else tests_of(mine)
        out[one] = (result, tests)
    return out


def verdict(cases):
    results = {case["result"] for case in cases}
    if not cases:
        return NO_TEST
    return FAILED if "failed" in results else PASSED if "passed" in results else NOT_RUN


def tests_of(cases):
    tests = {}
    for case in cases:
        tests.setdefault(case["test"], set()).update(case["program"])
    return dict(sorted(tests.items()))


def judge_clients(cases):
    """{id of statements-client.tsv: (result, {test: programs})}; a test that is named but not there is none."""
    out = {}
    for one, (_, names) in statements.read_client_statements().items():
        mine = [case for case in cases if one in case["statements"]]
        missing = set(names) - {case["test"].split("::")[1] for case in mine}
        out[one] = (NO_TEST if missing else verdict(mine), tests_of(mine))
    return out


def chapter_of(prefix, one):
    number = one.split("-", 1)[1]
    two = ".".join(number.split("-")[0].split(".")[:2])
    return two if two in CHAPTERS[prefix] else two.split(".")[0]


def cell(text):
    text = re.sub(r"[&<>]", lambda match: {"&": "&amp;", "<": "&lt;", ">": "&gt;"}[match.group()], text)
    return text.replace("|", "\\|").replace("*", "\\*").replace("_", "\\_").replace("`", "\\`")


def counts(judged):
    table = {prefix: collections.Counter() for prefix in VERSIONS}
    for one, (result, _) in judged.items():
        table[one.split("-")[0]][result] += 1
    return table


def named(tests):
    return "<br>".join(f"`{test.replace('.py::', ': ')}`"
                       + (" (avocet-test)" if programs == {"avocet-test"} else
                          " (both programs)" if len(programs) > 1 else "")
                       for test, programs in tests.items())


def clients_page(clients):
    """The part about bridges."""
    lines = ["", "## As a client", "",
             "A bridge dials another broker and is its client. What the standards ask of clients, in our words, against a "
             "remote that does what each test says (`tests/lib/remote.py`)."]
    last = None
    for one, (requirement, _) in statements.read_client_statements().items():
        version = one.split("-")[0].replace("BRIDGE", "MQTT")
        if version != last:
            lines += ["", f"### {VERSIONS[version]}", "", "| id | requirement | result | tests |", "|---|---|---|---|"]
            last = version
        result, tests = clients[one]
        lines.append(f"| {one.replace('BRIDGE', 'MQTT')} | {cell(requirement)} | {result} | {named(tests)} |")
    return lines


def page(judged, clients):
    known = statements.read_statements()
    kinds = [kind for kind in (PASSED, FAILED, NOT_RUN, NO_TEST, OPEN, OTHER)
             if kind in (PASSED, OPEN) or any(row[kind] for row in counts(judged).values())]
    lines = ["<!-- SPDX-License-Identifier: Apache-2.0 -->",
             "<!-- Made by `make conformance`. Do not edit. -->", "# Proof of conformance", "",
             f"The {len(known)} normative statements of MQTT 5.0 and 3.1.1, each with the tests that prove it: they run "
             "the real program and talk to it over a real socket. `make conformance` runs them and writes this page; "
             "CI fails when it is stale, when a statement has no test, or when a test fails.", "",
             "*passed*: all tests of the statement passed. *open*: it binds clients, and no test of a bridge proves it. "
             "*not a server's*: it binds neither a server nor a bridge. What binds bridges is at the end, too: "
             f"{sum(result == PASSED for result, _ in clients.values())} of {len(clients)} statements passed.", "",
             "The program is avocet, or *avocet-test* where a test says so: the same archives with a store and an "
             "authority for tests. Requirements are in our words; the clause is the number of the id. "
             "That these tests can fail is shown in [mutants.md](mutants.md).", "",
             "| | " + " | ".join(kinds) + " | all |", "|---|" + "---:|" * (len(kinds) + 1)]
    for prefix, row in counts(judged).items():
        lines.append(f"| {VERSIONS[prefix]} | " + " | ".join(str(row[kind]) for kind in kinds)
                     + f" | {sum(row.values())} |")
    last = None
    for one, (role, _, requirement) in known.items():
        prefix = one.split("-")[0]
        chapter = chapter_of(prefix, one)
        if (prefix, chapter) != last:
            if last is None or last[0] != prefix:
                lines += ["", f"## {VERSIONS[prefix]}"]
            lines += ["", f"### {chapter} {CHAPTERS[prefix].get(chapter, '')}".rstrip(), "",
                      "| id | binds | requirement | result | tests |", "|---|---|---|---|---|"]
            last = (prefix, chapter)
        result, tests = judged[one]
        lines.append(f"| {one} | {'other' if role.startswith('n/a') else role} | {cell(requirement)} | {result} "
                     f"| {named(tests)} |")
    return "\n".join(lines + clients_page(clients)) + "\n"


def mutants_page(table):
    shown = {}
    for row in table:
        for one, tests in row["killed"].items():
            if tests:
                shown.setdefault(one, []).append(row["number"])
    known = statements.read_statements()
    lines = ["<!-- SPDX-License-Identifier: Apache-2.0 -->",
             "<!-- Made by `make mutants`. Do not edit. -->", "# The tests can fail", "",
             "Each line is a small change of the broker that breaks one rule (`tests/conformance/mutants/*.mut`). "
             "One program holds them all; `AVOCET_MUTATE=n` switches number n on. `make mutants` runs, for each, the "
             "tests of the statements it breaks: at least one of each must fail.", "",
             f"{len(table)} mutants; {len(shown)} statements whose tests were seen to fail "
             + "(" + ", ".join(f"{sum(one.startswith(prefix + '-') for one in shown)} of {VERSIONS[prefix]}"
                               for prefix in VERSIONS) + "); "
             f"{sum(not tests for row in table for tests in row['killed'].values())} survived.", "",
             "| n | mutant | what it breaks | file | statements whose tests fail | survived |",
             "|---:|---|---|---|---|---|"]
    for row in table:
        died = [one for one, tests in row["killed"].items() if tests]
        lived = [one for one, tests in row["killed"].items() if not tests]
        lines.append(f"| {row['number']} | {row['name']} | {cell(row['what'])} | `{row['file']}` | "
                     f"{', '.join(died)} | {', '.join(lived)} |")
    none = [one for one, (role, _, _) in known.items() if role in ("server", "both") and one not in shown]
    lines += ["", "## Statements without a mutant", "",
              "Their tests pass; that they can fail was not shown by a mutant.", "", ", ".join(none) + ".",
              ""]
    return "\n".join(lines)


def keep(path, text, check):
    """Writes the page, or compares; True if it is as it should be."""
    if not check:
        path.write_text(text)
        return True
    old = path.read_text() if path.exists() else ""
    if old == text:
        return True
    print(f"doc/{path.name} is stale: run `make {'conformance' if path.stem == 'conformance' else 'mutants'}`")
    print("\n".join(list(difflib.unified_diff(old.splitlines(), text.splitlines(), "kept", "now", "", "",
                                              0, ""))[:40]))
    return False


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", nargs="?", choices=("statements", "mutants"), default="statements")
    parser.add_argument("--build", type=pathlib.Path, default=TOP / "build/gcc")
    parser.add_argument("--jobs", type=int, default=(os.cpu_count() or 2) + 1)
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    if given.what == "mutants":
        table = json.loads(given.json.read_text())
        return 0 if keep(TOP / "doc/mutants.md", mutants_page(table), given.check) else 1
    cases, content = run_tests(given.build.resolve(), given.jobs)
    judged, clients = judge(cases), judge_clients(cases)
    for prefix, row in counts(judged).items():
        print(f"{VERSIONS[prefix]}: " + ", ".join(f"{count} {kind.strip('*')}" for kind, count in row.items()))
    print(f"as a client: {sum(result == PASSED for result, _ in clients.values())} of {len(clients)} passed")
    bad = {one: result for one, (result, _) in [*judged.items(), *clients.items()] if result in BAD}
    for one, result in bad.items():
        print(f"not ok {one}: {result.strip('*')}")
    fresh = keep(TOP / "doc/conformance.md", page(judged, clients), given.check)
    failed = sum(case["result"] == "failed" for case in cases)
    print(f"{len(judged)} statements, {len(cases)} cases; {sum(case['result'] == 'passed' for case in cases)} passed, "
          f"{failed or (0 if content and not bad and fresh else 1)} failed")
    return 0 if content and fresh and not bad else 1


if __name__ == "__main__":
    sys.exit(main())
