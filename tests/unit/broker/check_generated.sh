#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What is made from the option tables is what lies in the tree. To renew: generate yaml >etc/avocet.yaml, generate man
# >doc/man/avocet.yaml.5.
generate=${AVOCET_BUILDDIR:-.}/tests/unit/broker/generate
top=${AVOCET_SRCDIR:-.}

# check NUMBER WHAT FILE
check() {
	if "$generate" "$2" | diff - "$top/$3" | sed 's/^/# /' | grep .; then
		echo "not ok $1 - $3 is what the tables say"
	else
		echo "ok $1 - $3 is what the tables say"
	fi
}

echo 1..2
check 1 yaml etc/avocet.yaml
check 2 man doc/man/avocet.yaml.5
