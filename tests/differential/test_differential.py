# SPDX-License-Identifier: Apache-2.0
"""The same packets to avocet and to Debian's mosquitto: every difference is one that doc/differences.md explains."""

import os
import re
import types

import pytest

import differ
import scenarios

pytestmark = pytest.mark.skipif(differ.MOSQUITTO is None, reason="mosquitto is not there")
differ.AVOCET = os.environ.get("AVOCET_BIN", differ.AVOCET)


@pytest.fixture(scope="module")
def brokers():
    pair = differ.Broker("avocet"), differ.Broker("mosquitto")
    yield pair
    for one in pair:
        one.close()


def check(area, found, stale=True):
    known, used = differ.read_known(), set()
    new = differ.judge(area, found, known, used)
    assert not new, "\n".join(f"{one}: {cases[0]}" for one, cases in new.items())
    unused = [expression.pattern for where, expression, _ in known
              if where == area and (where, expression.pattern) not in used]
    assert not (stale and unused), f"these do not occur any more: {unused}"


def test_fixtures(brokers):
    found, equal = differ.compare_fixtures(*brokers)
    assert equal > 1500
    check("fixtures", found)


def test_scenarios(brokers):
    found, equal = differ.compare_scenarios(*brokers)
    assert len(scenarios.SCENARIOS) >= 60 and equal >= 60
    check("scenarios", found)


@pytest.mark.parametrize("seed", range(1, 41))
def test_random_sequences(brokers, seed):
    steps, _ = differ.draw(seed, 60)
    found = differ.play_random(*brokers, steps, f"t{seed}")
    check("random", {one: [f"differ.py --only random --seed {seed} --count 1"] for one in found}, stale=False)


def test_a_difference_is_seen(brokers):
    """An avocet with other limits differs from itself."""
    other = differ.Broker("avocet", more=", limits: {lenient: true, max_qos: 1}")
    try:
        table = [item for item in differ.rows() if item[0].packet == "PUBLISH" and item[1] == 5]
        found, _ = differ.compare_fixtures(brokers[0], other, table)
        assert any("avocet DISCONNECT(81) closed, mosquitto open" in one for one in found)
        steps = [scenarios.connect("s"), scenarios.connect("p"), scenarios.subscribe("s", ("a", 2)),
                 scenarios.publish("p", "a", qos=1)]
        assert differ.play_both(brokers[0], other, steps, "x")
    finally:
        other.close()


def test_every_known_class_is_explained():
    text = (differ.TOP / "doc" / "differences.md").read_text()
    anchors = set(re.findall(r'<a id="([a-z0-9-]+)"></a>', text))
    known = {anchor for _, _, anchor in differ.read_known()}
    assert known == anchors


def test_a_class_that_is_not_known_fails():
    with pytest.raises(AssertionError):
        check("fixtures", {"CONNECT v5 ok: avocet nothing, mosquitto everything": ["x"]}, stale=False)


def test_shortening_keeps_what_differs(monkeypatch):
    steps = [("connect", "p", {}), ("publish", "p"), ("connect", "q", {}), ("publish", "q"), ("drop", "p")]
    monkeypatch.setattr(differ, "play_random", lambda _a, _m, some, _t: ["bad"] if ("publish", "q") in some else [])
    fake = types.SimpleNamespace()
    assert differ.shorten(fake, fake, steps, lambda one: one == "bad", "t") == [("connect", "q", {}), ("publish", "q")]
