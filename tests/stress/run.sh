#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The load program against brokers: each given program with 1, 2 and 8 workers, SECONDS each (default 10).
#
#     tests/stress/run.sh STRESS AVOCET...
#
# Environment: SECONDS_EACH, CLIENTS, SEED, WORKERS (a list), ARGS (for the broker, e.g. of avocet-test).
# A run fails when the load program finds a fault, when the broker does not end with 0 (a sanitizer with a
# report makes it so), or when its log has an error. Speaks TAP.
set -u

STRESS=$1
shift
SECONDS_EACH=${SECONDS_EACH:-10}
CLIENTS=${CLIENTS:-500}
SEED=${SEED:-$$}
WORKERS=${WORKERS:-1 2 8}
ARGS=${ARGS:-}
FOLDER=$(mktemp -d "${TMPDIR:-/tmp}/avocet-stress.XXXXXX")
PID=
COUNT=0
BAD=0

cleanup() {
	[ -z "$PID" ] || kill -KILL "$PID" 2>/dev/null
	rm -rf "$FOLDER"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

export ASAN_OPTIONS="${ASAN_OPTIONS:-detect_leaks=1}"
export TSAN_OPTIONS="${TSAN_OPTIONS:-halt_on_error=0}"
export UBSAN_OPTIONS="${UBSAN_OPTIONS:-print_stacktrace=1}"

# one PROGRAM WORKERS: what went wrong goes to $FOLDER/out.
one() {
	port=$((20000 + ($$ * 7 + COUNT * 13) % 10000))
	cat >"$FOLDER/avocet.yaml" <<YAML
broker:
  workers: $2
  sys_interval: 1s
log:
  level: warning
listeners:
  - name: mqtt
    bind: 127.0.0.1:$port
YAML
	# shellcheck disable=SC2086 # a list of words
	"$1" -c "$FOLDER/avocet.yaml" $ARGS >"$FOLDER/log" 2>&1 &
	PID=$!
	sleep 1
	"$STRESS" "$port" "$SECONDS_EACH" "$CLIENTS" "$SEED" >"$FOLDER/out" 2>&1
	status=$?
	kill -TERM "$PID" 2>/dev/null
	wait "$PID"
	ended=$?
	PID=
	[ "$ended" = 0 ] || echo "the broker ended with $ended" >>"$FOLDER/out"
	if grep -Eq 'Sanitizer|runtime error|^([0-9-]+T[^ ]+ )?error ' "$FOLDER/log"; then
		status=1
		grep -Ev ' warning ' "$FOLDER/log" | head -n 100 >>"$FOLDER/out"
	fi
	[ "$status" = 0 ] && [ "$ended" = 0 ]
}

for program in "$@"; do
	for workers in $WORKERS; do
		COUNT=$((COUNT + 1))
		if one "$program" "$workers"; then
			echo "ok $COUNT - $program, $workers workers, seed $SEED"
			tail -n 1 "$FOLDER/out" | sed 's/^/# /'
		else
			BAD=$((BAD + 1))
			echo "not ok $COUNT - $program, $workers workers, seed $SEED"
			sed 's/^/# /' "$FOLDER/out"
		fi
	done
done
echo "1..$COUNT"
[ "$BAD" = 0 ]
