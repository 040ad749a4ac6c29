#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes ./configure from a checkout. Run it again when a plugin's folder comes or goes.
set -eu
cd "$(dirname "$0")"
for tool in autoreconf automake pkg-config; do
	command -v "$tool" >/dev/null 2>&1 || {
		echo "autogen.sh: $tool is missing (Debian packages: autoconf automake pkgconf)" >&2
		exit 1
	}
done
# A plugin is found by its folder, so that no list names it but the line in configure.ac.
{
	echo '# Made by autogen.sh from the folders of plugins/.'
	for inc in plugins/*/Makefile.inc; do
		[ -e "$inc" ] && echo "include \$(top_srcdir)/$inc"
	done
	:
} >plugins/plugins.am
mkdir -p build-aux
autoreconf --install --force --warnings=all,no-portability
# configure cleans up after a crash of the compiler with `rm -f core`; here core/ is a folder, and rm would complain.
sed 's/rm -f core /rm -f /' configure >configure.tmp
cat configure.tmp >configure
rm configure.tmp
