# SPDX-License-Identifier: Apache-2.0
# Tests of the build itself, as TAP, each in a copy of the sources: what configure says when something is missing, that a
# plugin needs nothing outside its folder but one line, what make install puts where.
set -eu
cd "$(dirname "$0")/../.."
top=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
n=0
failed=0

report() { # STATUS TITLE
	n=$((n + 1))
	if [ "$1" = 0 ]; then
		echo "ok $n - $2"
	else
		echo "not ok $n - $2"
		sed 's/^/# /' "$work/log" | tail -n 20
		failed=1
	fi
}

copy() { # a copy of the sources, as git would give them
	rm -rf "$work/src"
	mkdir "$work/src"
	if [ -d .git ]; then
		git -c safe.directory="$PWD" ls-files -co --exclude-standard -z | xargs -0 tar cf - | tar xf - -C "$work/src"
	else
		tar cf - --exclude=./build . | tar xf - -C "$work/src"
	fi
}

# configure in $work/out, with a pkg-config that does not know the modules named in $hidden
configure() {
	rm -rf "$work/out"
	mkdir -p "$work/out" "$work/bin"
	cat >"$work/bin/pkg-config" <<EOF
#!/bin/sh
for word in "\$@"; do
	case " $hidden " in
	*" \${word%% *} "*) echo "Package \$word was not found" >&2; exit 1 ;;
	esac
done
exec $(command -v pkg-config) "\$@"
EOF
	chmod +x "$work/bin/pkg-config"
	(cd "$work/out" && "$work/src/configure" -q PKG_CONFIG="$work/bin/pkg-config" "$@" >"$work/log" 2>&1)
}

says() { # a word of configure's error
	grep -q -- "$1" "$work/log"
}

try() { # TITLE COMMAND...
	title=$1
	shift
	status=0
	"$@" || status=1
	report "$status" "$title"
}

refused() { # WORD OPTIONS...: configure fails and names WORD
	word=$1
	shift
	! configure "$@" && says "$word"
}

echo "1..14"
copy
(cd "$work/src" && ./autogen.sh >"$work/log" 2>&1) || { cat "$work/log"; exit 1; }

hidden=yaml-0.1
try "a missing libyaml is named with Debian's package" refused libyaml-dev
hidden=cmocka
try "a missing cmocka is named with Debian's package" refused libcmocka-dev
try "without tests cmocka is not needed" configure --disable-tests
hidden=none
try "an unknown sanitizer is refused" refused address,undefined --enable-sanitizers=wrong
try "a folder must be a folder" refused systemdsystemunitdir --disable-tests --without-systemdsystemunitdir
try "fuzzing with gcc is refused and says what it needs" refused clang --enable-fuzzing CC=gcc

install_all() {
	configure --disable-tests --prefix=/usr &&
		make -s -C "$work/out" -j 2 install DESTDIR="$work/dest" >"$work/log" 2>&1 &&
		[ -x "$work/dest/usr/sbin/avocet" ] && [ -f "$work/dest/usr/share/man/man8/avocet.8" ] &&
		"$work/dest/usr/sbin/avocet" -V | grep -q '^avocet [0-9]'
}
try "make install puts program and manual page below DESTDIR" install_all

# What a service needs, and the operator's files.
installs_service() {
	for file in usr/sbin/avocetctl usr/share/man/man8/avocetctl.8 usr/share/man/man5/avocet.yaml.5 \
		usr/lib/systemd/system/avocet.service usr/lib/systemd/system/avocet.socket usr/lib/sysusers.d/avocet.conf \
		usr/etc/logrotate.d/avocet usr/etc/avocet/avocet.yaml usr/share/doc/avocet/examples/quickstart.yaml \
		usr/share/bash-completion/completions/avocet usr/share/bash-completion/completions/avocetctl \
		usr/share/zsh/site-functions/_avocet usr/share/zsh/site-functions/_avocetctl; do
		[ -f "$work/dest/$file" ] || { echo "$file is missing" >"$work/log"; return 1; }
	done
	unit=$work/dest/usr/lib/systemd/system/avocet.service
	cp "$unit" "$work/log"
	says '^ExecStart=/usr/sbin/avocet -c /usr/etc/avocet/avocet.yaml$' && ! says '@[a-z]*@' || return 1
	# The plugins are not where they will be.
	sed "s|#plugin_dir:.*|plugin_dir: $work/dest/usr/lib/avocet/plugins|" "$work/dest/usr/etc/avocet/avocet.yaml" \
		>"$work/avocet.yaml"
	"$work/dest/usr/sbin/avocet" -t -c "$work/avocet.yaml" >"$work/log" 2>&1 && says '^store: db' || return 1
	# The score that etc/README.md states, where there is a systemd to ask.
	! command -v systemd-analyze >/dev/null || systemd-analyze security --offline=true --threshold=15 \
		"$unit" >"$work/log" 2>&1
}
try "… and units, users, log rotation, completions and configuration" installs_service

keeps_configuration() {
	config=$work/dest/usr/etc/avocet/avocet.yaml
	echo "# mine" >>"$config"
	make -s -C "$work/out" install DESTDIR="$work/dest" >"$work/log" 2>&1 && grep -q '^# mine' "$config" &&
		make -s -C "$work/out" uninstall DESTDIR="$work/dest" >"$work/log" 2>&1 && grep -q '^# mine' "$config" || return 1
	find "$work/dest" -type f >"$work/log"
	[ "$(wc -l <"$work/log")" = 1 ]
}
try "a configuration that was changed survives install and uninstall, nothing else does" keeps_configuration

other_folders() {
	rm -rf "$work/dest"
	configure --disable-tests --prefix=/usr --sysconfdir=/etc --with-systemdsystemunitdir=/u --with-sysusersdir=/s \
		--with-bashcompletiondir=/b --with-zshcompletiondir=/z &&
		make -s -C "$work/out" -j 2 install DESTDIR="$work/dest" >"$work/log" 2>&1 &&
		[ -f "$work/dest/u/avocet.socket" ] && [ -f "$work/dest/s/avocet.conf" ] && [ -f "$work/dest/b/avocetctl" ] &&
		[ -f "$work/dest/z/_avocet" ] && [ -f "$work/dest/etc/logrotate.d/avocet" ] &&
		grep -q '^ExecStart=/usr/sbin/avocet -c /etc/avocet/avocet.yaml$' "$work/dest/u/avocet.service" &&
		make -s -C "$work/out" uninstall DESTDIR="$work/dest" >"$work/log" 2>&1 &&
		[ -z "$(find "$work/dest" -type f)" ]
}
try "folders may be chosen, and make uninstall leaves nothing" other_folders

# What the hardened program and its objects must show, where the compiler can do it.
hardened() {
	# Not nm: it shows what is there for link-time optimisation.
	readelf -sW "$work/out/core/base/libbase.a" >"$work/log" 2>&1 && says __stack_chk_fail &&
		says '__v*snprintf_chk' || return 1
	readelf -nW "$work/out/core/base/buf.o" >"$work/log" && { [ "$(uname -m)" != x86_64 ] || says IBT; } || return 1
	readelf -hW -lW -dW "$work/out/avocet" >"$work/log" &&
		says 'DYN (Position-Independent' && says GNU_RELRO && says 'BIND_NOW\|FLAGS_1.*NOW' &&
		! grep -E 'GNU_STACK.*RWE' "$work/log"
}
try "the program is position independent, with full RELRO and no executable stack" hardened

# A plugin: a folder and one line.
add_plugin() {
	mkdir -p "$work/src/plugins/demo-x"
	cat >"$work/src/plugins/demo-x/Makefile.inc" <<'EOF'
if PLUGIN_DEMO_X
plugin_PROGRAMS += plugins/demo-x/demo-x.so
endif
plugins_demo_x_demo_x_so_SOURCES = plugins/demo-x/demo.c
plugins_demo_x_demo_x_so_CPPFLAGS = $(CPPFLAGS_PLUGIN) $(DEMO_X_CFLAGS)
plugins_demo_x_demo_x_so_CFLAGS = $(CFLAGS_PLUGIN)
plugins_demo_x_demo_x_so_LDFLAGS = $(LDFLAGS_PLUGIN)
plugins_demo_x_demo_x_so_LDADD = $(DEMO_X_LIBS)
EOF
	cat >"$work/src/plugins/demo-x/demo.c" <<'EOF'
#include <avocet/avocet_base.h>
extern AVOCET_EXPORT const uint32_t avocet_plugin_v0;
const uint32_t avocet_plugin_v0 = AVOCET_MAGIC;
EOF
	sed -i 's/^AC_CONFIG_FILES/AVOCET_PLUGIN([demo-x], [auto], [yaml-0.1], [libyaml-dev])\n&/' "$work/src/configure.ac"
	(cd "$work/src" && ./autogen.sh >"$work/log" 2>&1)
}
plugin_builds() {
	add_plugin && configure --disable-tests &&
		make -s -C "$work/out" -j 2 install DESTDIR="$work/dest" >"$work/log" 2>&1 &&
		"${PYTHON:-python3}" "$top/tests/walls/walls.py" exports --srcdir "$work/src" \
			"$work/dest/usr/local/lib/avocet/plugins/demo-x.so" >"$work/log" 2>&1
}
plugin_is_left_out() {
	hidden=yaml-0.1
	sed -i 's/^AVOCET_NEED(\[YAML\].*//' "$work/src/configure.ac"
	(cd "$work/src" && ./autogen.sh >"$work/log" 2>&1)
	configure --disable-tests --disable-acl && grep -q "^PLUGIN_DEMO_X_TRUE='#'" "$work/out/config.log"
}
try "a plugin is a folder and one line of configure.ac, and passes the wall" plugin_builds
try "a plugin whose library is missing is left out when its default is auto" plugin_is_left_out
try "… and refused by name when it was asked for" refused 'disable-demo-x' --disable-tests --disable-acl --enable-demo-x
exit $failed
