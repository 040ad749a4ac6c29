# SPDX-License-Identifier: Apache-2.0
"""Wall 1: who includes whom, in core/ and in plugins/."""

import os.path
import re

from kit import without_comments
from rooms import room_of

INCLUDE = re.compile(r"^[ \t]*#[ \t]*(?:include|include_next|import)\b[ \t]*(.*?)[ \t]*$",
                     re.MULTILINE)
ARGUMENT = re.compile(r'"([^"]+)"|<([^>]+)>')


def includes_of(path):
    """Yields (line, header, quoted); header is None where a macro stands for it."""
    text = without_comments(path.read_text(encoding="utf-8", errors="replace"))
    for match in INCLUDE.finditer(text):
        argument = ARGUMENT.match(match.group(1))
        line = text.count("\n", 0, match.start()) + 1
        if argument:
            yield line, argument.group(1) or argument.group(2), argument.group(1) is not None
        else:
            yield line, None, False


def c_files(folder, endings=(".c", ".h")):
    return sorted(path for path in folder.rglob("*") if path.suffix in endings and path.is_file())


class CoreFiles:
    """The includes of core/ against the table."""

    def __init__(self, rooms, srcdir, builddir):
        self.rooms = rooms
        self.core = srcdir / "core"
        self.generated = builddir / "core"

    def exists(self, header):
        return (self.core / header).is_file() or (self.generated / header).is_file()

    def problems(self, path):
        """Yields one sentence for each thing that is wrong in one file."""
        source = path.relative_to(self.core).as_posix()
        own = source[:-1] + "h"
        for index, (line, header, quoted) in enumerate(includes_of(path)):
            if header is None:
                problem = "an include must name its header, not a macro"
            elif index == 0 and path.suffix == ".c" and self.exists(own) and header != own:
                problem = f'its own header "{own}" must come first'
            elif quoted:
                problem = self.quoted(source, header)
            else:
                problem = self.angled(source, header)
            if problem:
                yield f"core/{source}:{line}: {problem}"

    def quoted(self, source, header):
        target, allowed = room_of(header), self.rooms.allowed(source)
        if header.count("/") != 1 or target not in self.rooms.rooms:
            return f'"{header}" is not of the form "room/file.h"'
        if target not in allowed:
            return f'"{header}" is out of bounds: {source} may include {" ".join(allowed)}'
        if header.endswith("_int.h") and target != room_of(source):
            return f'"{header}" belongs to the room {target} alone'
        door = self.rooms.door(header, source)
        if door and not door[0]:
            return f'"{header}" is open to {door[1]} only'
        if not self.exists(header):
            return f'"{header}" does not exist'
        return None

    def angled(self, source, header):
        if self.exists(header):
            return f'<{header}> is a header of core/ and must be quoted'
        door = self.rooms.door(header, source)
        if door:
            return None if door[0] else f"<{header}> is open to {door[1]} only"
        if header not in self.rooms.libc:
            return f"<{header}> has no door in core/ROOMS"
        return None


def is_shared(srcdir, path, header):
    target = (path.parent / header).resolve()
    folder = target.parent
    return (target.is_file() and folder.parent == (srcdir / "plugins").resolve()
            and not (folder / "Makefile.inc").exists())


def plugin_problems(srcdir, folder, path):
    """A plugin may include <avocet/*>, libraries, quoted files of its own folder, and as "../NAME/x.h"
    those of a folder that is no plugin (it has no Makefile.inc): sources that several compile in."""
    where = path.relative_to(srcdir).as_posix()
    core = srcdir / "core"
    for line, header, quoted in includes_of(path):
        problem = None
        if header is None:
            problem = "an include must name its header, not a macro"
        elif quoted and (below(folder, folder / header) or below(folder, path.parent / header)):
            continue
        elif quoted and is_shared(srcdir, path, header):
            continue
        elif below(core, core / header) or below(core, path.parent / header):
            problem = f'"{header}" is a header of core/: a plugin sees <avocet/*> only'
        elif quoted:
            problem = f'"{header}" is not a file of this plugin; other headers stand in <>'
        if problem:
            yield f"{where}:{line}: {problem}"


def below(folder, path):
    """Is path a file below folder, whatever `..` it contains?"""
    path = os.path.normpath(path)
    return os.path.isfile(path) and path.startswith(os.path.normpath(folder) + os.sep)


def check(tap, rooms, args):
    core = CoreFiles(rooms, args.srcdir, args.builddir)
    homeless, files = [], {room: [] for room in rooms.rooms}
    for path in c_files(core.core):
        source = path.relative_to(core.core).as_posix()
        if room_of(source) in files:
            files[room_of(source)].append(path)
        else:
            homeless.append(f"core/{source}: lies in no room of core/ROOMS")
    tap.result("every file of core/ lies in a room", homeless)
    for room, paths in files.items():
        problems = [problem for path in paths for problem in core.problems(path)]
        tap.result(f"includes of the room {room} ({len(paths)} files)", problems)
    problems, count = [], 0
    for folder in sorted(path for path in (args.srcdir / "plugins").glob("*") if path.is_dir()):
        for path in c_files(folder, (".c", ".h", ".cc", ".cpp", ".hpp")):
            problems.extend(plugin_problems(args.srcdir, folder, path))
            count += 1
    tap.result(f"includes of the plugins ({count} files)", problems)
