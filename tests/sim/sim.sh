#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Part of `make check`: 500 seeds of the simulator, as TAP, a case for each 100. More: AVOCET_SIM_SEEDS,
# from AVOCET_SIM_FIRST. A seed that fails says so on stderr; `tests/sim/sim --seed N -v` replays it.
sim=${AVOCET_BUILDDIR:-.}/tests/sim/sim
count=${AVOCET_SIM_SEEDS:-500}
first=${AVOCET_SIM_FIRST:-1}
part=$(((count + 4) / 5))

echo 1..5
for i in 1 2 3 4 5; do
	if output=$("$sim" --seed "$first" --seeds "$part" --keep-going 2>&1); then
		echo "ok $i - seeds $first to $((first + part - 1)) keep every promise"
	else
		echo "$output" | sed 's/^/# /'
		echo "not ok $i - seeds $first to $((first + part - 1)) keep every promise"
	fi
	first=$((first + part))
done
