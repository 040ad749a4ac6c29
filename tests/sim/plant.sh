#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Is the simulator worth its time? Builds the broker with one fault after another (plants/*.sed, each a
# change of one file of core) and runs seeds until one fails. `plant.sh [-j JOBS] [-n SEEDS] [NAME …]`;
# sources from AVOCET_SRCDIR, work in AVOCET_PLANTDIR (build/plants). Ends with 1 if a fault was not found.
set -eu

src=${AVOCET_SRCDIR:-$(cd "$(dirname "$0")/../.." && pwd)}
work=${AVOCET_PLANTDIR:-$src/build/plants}
seeds=20000
while getopts n: option; do
	case $option in
	n) seeds=$OPTARG ;;
	*) exit 2 ;;
	esac
done
shift $((OPTIND - 1))

cc=${CC:-cc}
cflags="-std=c11 -D_GNU_SOURCE -O1 -g -I$src/core -I$src/include -I$src/tests -DPACKAGE_VERSION=\"sim\" -DAVOCET_PLUGIN_DIR=\"\""

# The rooms as the simulator links them.
sources() {
	for room in base wire msg loop topic store transport session peer plugin route conn link conf; do
		ls "$src/core/$room"/*.c
	done | grep -v loop/loop_event.c
	ls "$src"/tests/sim/*.c
}

# Of this room the linker takes what the house needs.
broker_sources() {
	ls "$src"/core/broker/*.c
}

object() {
	echo "$work/o/$(echo "${1#"$src"/}" | tr / _).o"
}

mkdir -p "$work/o"
all=
for file in $(sources) $(broker_sources); do
	out=$(object "$file")
	case $file in
	"$src"/core/broker/*) ;;
	*) all="$all $out" ;;
	esac
	if [ ! -e "$out" ] || [ -n "$(find "$src/core" "$src/tests/sim" -name '*.[ch]' -newer "$out" -print -quit)" ]; then
		$cc $cflags -c -o "$out" "$file"
	fi
done

rm -f "$work/broker.a"
ar rcs "$work/broker.a" $(for file in $(broker_sources); do object "$file"; done)

missed=0
count=0
for plant in ${*:-"$src"/tests/sim/plants/*.sed}; do
	[ -e "$plant" ] || plant=$src/tests/sim/plants/$plant.sed
	name=$(basename "$plant" .sed)
	file=$src/$(sed -n 's/^# file: //p' "$plant")
	count=$((count + 1))
	sed -f "$plant" "$file" >"$work/$name.c"
	if cmp -s "$file" "$work/$name.c"; then
		echo "$name: DOES NOT APPLY any more"
		missed=$((missed + 1))
		continue
	fi
	$cc $cflags -I"$(dirname "$file")" -c -o "$work/$name.o" "$work/$name.c"
	own=
	case $file in
	"$src"/core/broker/*) own=$work/$name.o ;;
	esac
	$cc -o "$work/$name" $own $(echo "$all" | sed "s|$(object "$file")|$work/$name.o|") "$work/broker.a" -lyaml -lssl -lcrypto -lwslay -lpthread
	if found=$("$work/$name" --seeds "$seeds" 2>&1 >/dev/null); then
		echo "$name: NOT FOUND in $seeds seeds ($(sed -n 's/^# what: //p' "$plant"))"
		missed=$((missed + 1))
	else
		echo "$name: found: $(echo "$found" | grep -v '^$' | tail -1 | cut -c1-150)"
	fi
	rm -f "$work/$name" "$work/$name.o" "$work/$name.c"
done
echo "$count planted, $missed missed"
[ "$missed" -eq 0 ]
