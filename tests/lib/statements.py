# SPDX-License-Identifier: Apache-2.0
"""The marker `statement`, and what became of the tests that carry it.

`@pytest.mark.statement("MQTT5-3.3.1-2", "MQTT311-3.3.1-2")` says that a test proves these statements of
the standards, or a part of them. A case with a parameter `version` (3, 4 or 5) counts for the ids of its
version only. An id that tests/conformance/statements*.tsv do not have ends the run.

What the standards ask of clients is in tests/conformance/statements-client.tsv, each with the names of the tests in
tests/broker/test_bridge_*.py that prove it for a bridge; those tests carry the marker without ids. The ids
begin with BRIDGE5- and BRIDGE311-.

AVOCET_STATEMENTS names a file to write at the end: a JSON list of
{"test": file::function, "statements": [id], "result": passed|failed|skipped, "program": [avocet, avocet-test]}.
AVOCET_ONLY_STATEMENTS is a list of ids: other tests are not run, nor those that could say nothing new
because a test of each of their ids has failed.
"""

import csv
import json
import os
import pathlib

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "conformance"
FILES = {"MQTT5": FOLDER / "statements-5.tsv", "MQTT311": FOLDER / "statements-3.1.1.tsv"}
CLIENT_FILE, CLIENT_TESTS = FOLDER / "statements-client.tsv", "test_bridge_"

_results = []
_failed = set()         # ids of which a test has failed in this process


def read_statements():
    """{id with its version: (role, packet, requirement)}, in the order of the standards, 5.0 first."""
    found = {}
    for prefix, path in FILES.items():
        with open(path, encoding="utf-8") as file:
            for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
                found[row["id"].replace("MQTT-", prefix + "-", 1)] = (row["role"], row["packet"],
                                                                      row["requirement"])
    return found


def read_client_statements():
    """{id: (requirement, names of tests)}"""
    found = {}
    with open(CLIENT_FILE, encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            prefix = "BRIDGE5-" if row["version"] == "5.0" else "BRIDGE311-"
            found[row["id"].replace("MQTT-", prefix, 1)] = (row["requirement"], row["tests"].split())
    return found


def of_item(item):
    """The ids that this case counts for."""
    ids = [one for mark in item.iter_markers("statement") for one in mark.args]
    if item.path.name.startswith(CLIENT_TESTS):
        name = getattr(item, "originalname", item.name)
        ids += [one for one, (_, tests) in read_client_statements().items() if name in tests]
    version = getattr(item, "callspec", None) and item.callspec.params.get("version")
    if version in (3, 4, 5):
        ids = [one for one in ids if one.split("-")[0].endswith("5" if version == 5 else "311")]
    return list(dict.fromkeys(ids))


def configure(config):
    config.addinivalue_line("markers", "statement(*ids): the normative statements that a test proves")


def select(config, items):
    """Judges the ids, and leaves out what AVOCET_ONLY_STATEMENTS does not ask for."""
    import pytest
    known = read_statements()
    for item in items:
        for mark in item.iter_markers("statement"):
            unknown = [one for one in mark.args if one not in known]
            if unknown:
                raise pytest.UsageError(f"{item.nodeid}: there is no statement {' '.join(unknown)}")
    only = os.environ.get("AVOCET_ONLY_STATEMENTS")
    if only is not None:
        wanted = set(only.split())
        out = [item for item in items if not wanted.intersection(of_item(item))]
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if wanted.intersection(of_item(item))]


def note(item):
    """Puts the ids where the process that collects the reports sees them."""
    ids = of_item(item)
    if ids:
        item.user_properties.append(("statements", ids))
    only = os.environ.get("AVOCET_ONLY_STATEMENTS")
    if only is not None and _failed.issuperset(set(only.split()).intersection(ids)):
        import pytest
        pytest.skip("a test of this statement has failed")


def program(request, name):
    """Says which program a test has started."""
    request.node.user_properties.append(("program", name))


def collect(report):
    """Called for each report, in the process that collects them."""
    properties = dict(one for one in report.user_properties if one[0] == "statements")
    if "statements" not in properties:
        return
    if report.outcome == "failed":
        _failed.update(properties["statements"])
    if report.when == "call" or report.outcome != "passed":
        path, function = report.nodeid.split("[")[0].split("::", 1)
        programs = sorted({value for key, value in report.user_properties if key == "program"})
        _results.append({"test": f"{path.rsplit('/', 1)[-1]}::{function}", "case": report.nodeid,
                         "statements": properties["statements"], "result": report.outcome,
                         "program": programs or ["avocet"]})


def finish(session):
    path = os.environ.get("AVOCET_STATEMENTS")
    if path and not hasattr(session.config, "workerinput"):
        pathlib.Path(path).write_text(json.dumps(_results))
