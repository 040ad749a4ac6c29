# SPDX-License-Identifier: Apache-2.0
"""A few cycles of each kind; torture.py alone runs thousands."""

import random

import pytest

import bridge
import each
import torture


@pytest.mark.skipif(not torture.is_there(), reason="built without persist-sqlite, or no compiler")
@pytest.mark.parametrize("how, cycles, fsync_ms", (("kill", 25, 0), ("power", 12, 0), ("call", 12, 0), ("mixed", 5, 10)))
def test_nothing_is_lost_and_nothing_comes_twice(tmp_path, how, cycles, fsync_ms):
    seed = random.SystemRandom().randrange(1 << 30)
    run = torture.Torture(tmp_path, how, seed, fsync_ms=fsync_ms)
    try:
        run.run(cycles)
    except BaseException as error:
        run.broker.process.kill()
        raise AssertionError(f"seed {seed}, cycle {run.cycle}: {error}\n{run.broker.log()[-3000:]}") from error


@pytest.mark.skipif(not torture.is_there(), reason="built without persist-sqlite, or no compiler")
@pytest.mark.parametrize("stride, torn", ((6, False), (9, True)))
def test_points_of_a_short_life(tmp_path, stride, torn):
    assert each.run_each(tmp_path, stride, torn) > 10


@pytest.mark.skipif(not bridge.is_there(), reason="built without bridge or persist-sqlite")
@pytest.mark.parametrize("version", ("3.1.1", "5.0"))
def test_a_bridge_loses_nothing(tmp_path, version):
    seed = random.SystemRandom().randrange(1 << 30)
    run = bridge.Torture(tmp_path, seed, version)
    try:
        run.run(2000, 4, 3, 6)
    except BaseException as error:
        raise AssertionError(f"seed {seed}: {error}\n" + "\n".join(one.broker.log()[-3000:] for one in run.sides)) from error
    finally:
        run.end()
