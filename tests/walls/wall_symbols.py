# SPDX-License-Identifier: Apache-2.0
"""Wall 2: what the objects of a room define and use, as nm sees it.

This finds what includes cannot show: an `extern` declaration in a .c file, a call of libc that only
some rooms may make, and what a pure room reaches through base."""

import re
from collections import deque
from pathlib import Path

from kit import cc, output, run, tool
from rooms import matches

# Symbols of the compiler's own run-time libraries: sanitizers, coverage, instrumentation.
RUNTIME = ("__asan_", "__odr_asan", "__ubsan_", "__tsan_", "__msan_", "__hwasan_", "__lsan_",
           "__sanitizer_", "__sancov_", "__gcov_", "__llvm_", "__prof", "__covrec_",
           "llvm_gcov_", "llvm_gcda_",
           "__cyg_profile_", "__emutls_", "__afl_")
LINKER = ("_GLOBAL_OFFSET_TABLE_", "__start_*", "__stop_*", "__dso_handle", "__ehdr_start")


class Member:
    """One object file of a room."""

    def __init__(self, room, source):
        self.room = room
        self.source = source
        self.defined = set()
        self.undefined = set()

    def instrumented(self):
        return any(name.startswith(RUNTIME) for name in self.undefined)


def source_of(room, object_name):
    """core_conf_libconf_a-yaml.o and yaml.o are both conf/yaml.c."""
    return f"{room}/{Path(object_name).stem.rpartition('-')[2]}.c"


def object_files(folder):
    """The archives of a room; its loose objects where there is no archive (cmd)."""
    return sorted(folder.glob("lib*.a")) or sorted(folder.glob("*.o"))


def read_members(room, folder):
    members = {}
    for path in object_files(folder):
        for line in output([*tool("NM", "nm"), "-A", "-P", "-g", path]).splitlines():
            where, _, symbol = line.rpartition(": ")
            name, kind = symbol.split()[:2]
            inside = re.search(r"\[(.+)\]$", where)
            object_name = inside.group(1) if inside else Path(where).name
            member = members.setdefault((path, object_name),
                                        Member(room, source_of(room, object_name)))
            (member.undefined if kind in "Uwv" else member.defined).add(name)
    return list(members.values())


def libc_names():
    """All that libc, libm, the loader and the compiler's helper library define."""
    compiler, names = cc(), set()
    libraries = [asked(compiler, f"-print-file-name={name}")
                 for name in ("libc.so.6", "libm.so.6", "libc_nonshared.a")]
    libraries.append(asked(compiler, "-print-libgcc-file-name"))
    if not libraries[0].is_absolute():    # musl
        libraries[0] = asked(compiler, "-print-file-name=libc.so")
    readelf = [*tool("READELF", "readelf"), "-d", libraries[0]]
    for needed in re.findall(r"\(NEEDED\).*\[(.+)\]", run(readelf).stdout):
        libraries.append(asked(compiler, f"-print-file-name={needed}"))
    for library in libraries:
        if library.is_absolute():
            names |= defined_names(library)
    return names


def asked(compiler, question):
    return Path(output([*compiler, question]).strip())


def defined_names(library):
    """The names a library defines; a shared one shows them without their versions."""
    options = [] if library.suffix == ".a" else ["-D"]
    listing = run([*tool("NM", "nm"), *options, "-P", "-g", "--defined-only", library]).stdout
    words = (line.split() for line in listing.splitlines())
    return {word[0].partition("@")[0] for word in words if len(word) > 1}


class CoreObjects:
    """The objects of all rooms against the table."""

    def __init__(self, rooms, builddir):
        self.rooms = rooms
        self.libc = libc_names()
        self.members = {room: read_members(room, builddir / "core" / room) for room in rooms.rooms}
        self.definers = {}
        for members in self.members.values():
            for member in members:
                for name in member.defined:
                    self.definers.setdefault(name, []).append(member)

    def problems(self, room):
        for member in self.members[room]:
            for name in sorted(member.undefined):
                problem = self.undefined(member, name)
                if problem:
                    yield f"{member.source}: {problem}"
            for name in sorted(member.defined):
                problem = self.defined(member, name)
                if problem:
                    yield f"{member.source}: {problem}"

    def undefined(self, member, name):
        rule = self.rooms.symbol(name, member.source)
        if rule and not rule[0]:
            return f"{name} may be used by {rule[1]} only"
        if name in self.definers:
            return self.of_a_room(member, name)
        system = name in self.libc or name.startswith(RUNTIME) or matches(name, LINKER)
        if not rule and not system:
            return f"{name} is defined by no room and not by libc"
        return None

    def of_a_room(self, member, name):
        """Is one of the sources that define a name within reach, and is its header's door open?"""
        allowed, problem = self.rooms.allowed(member.source), None
        for definer in self.definers[name]:
            door = self.rooms.door(definer.source[:-1] + "h", member.source)
            if definer.room not in allowed:
                problem = f"{name} of {definer.source} is out of bounds: " \
                          f"{member.source} may call {' '.join(allowed)}"
            elif door and not door[0]:
                problem = f"{name} of {definer.source} is open to {door[1]} only"
            else:
                return None
        return problem

    def defined(self, member, name):
        if name.startswith(RUNTIME):
            return None
        others = [other.source for other in self.definers[name] if other.room != member.room]
        if others:
            return f"{name} is also defined in {', '.join(others)}"
        prefixes = [*self.prefixes(member), *self.rooms.names.get(member.room, [])]
        if not name.startswith(tuple(prefixes)):
            return f"{name} must begin with {' or '.join(prefixes)}"
        return None

    @staticmethod
    def prefixes(member):
        if member.room != "base":
            return [f"{member.room}_"]
        stem = Path(member.source).stem
        return list(dict.fromkeys([f"{stem}_", f"{stem.partition('_')[0]}_"]))

    def impurities(self, room):
        """The chains by which a pure room reaches a symbol that it may not use."""
        near = self.members[room] + (self.members["base"] if room != "base" else [])
        home = {name: member for member in near for name in member.defined}
        white = [*self.rooms.pure[room], "_GLOBAL_OFFSET_TABLE_"]
        for start in self.members[room]:
            found, seen = set(), {start}
            queue = deque([(start, start.source)])
            while queue:
                member, chain = queue.popleft()
                for name in sorted(member.undefined):
                    target = home.get(name)
                    if target and target not in seen:
                        seen.add(target)
                        queue.append((target, f"{chain} -> {name} of {target.source}"))
                    elif not target and name not in found and not matches(name, white):
                        found.add(name)
                        yield f"{chain} -> {name}, but {room} must be pure"


def check(tap, rooms, args):
    core = CoreObjects(rooms, args.builddir)
    for room in rooms.rooms:
        members = core.members[room]
        if members:
            tap.result(f"symbols of the room {room} ({len(members)} objects)", core.problems(room))
            check_purity(tap, core, room)
        elif any((args.srcdir / "core" / room).glob("*.c")):
            tap.skip(f"symbols of the room {room}", "it is not built")


def check_purity(tap, core, room):
    text = f"the room {room} is pure"
    if room not in core.rooms.pure:
        return
    if any(member.instrumented() for member in core.members[room]):
        tap.skip(text, "instrumented build")
    else:
        tap.result(text, core.impurities(room))
