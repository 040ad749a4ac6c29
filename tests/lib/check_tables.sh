# SPDX-License-Identifier: Apache-2.0
# The tables of packets are well formed, and the generated one is what its generator makes.
echo 1..2
lib=$AVOCET_SRCDIR/tests/lib
"$PYTHON" "$lib/packets.py" >/dev/null && echo "ok 1 - the tables are well formed" || echo "not ok 1 - the tables are well formed"
"$PYTHON" "$lib/gen_props.py" --check && echo "ok 2 - packets-props.tsv is fresh" || echo "not ok 2 - packets-props.tsv is fresh"
