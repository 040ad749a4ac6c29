# SPDX-License-Identifier: Apache-2.0
"""Wall 5: clang-format clean; the longest files and functions are shown, but are no gate."""

import re

from kit import run, tool

FOLDERS = ("core", "include", "plugins", "tests")
MAJOR = "14"
BATCH = 100
NAME = re.compile(r"(\w+)\(")


def sources(srcdir):
    """The .c and .h files, below srcdir; in a checkout those that git knows or would add."""
    listed = run(["git", "ls-files", "-z", "-co", "--exclude-standard", "--", *FOLDERS], cwd=srcdir)
    if (srcdir / ".git").exists() and listed.returncode == 0:
        names = listed.stdout.split("\0")
    else:
        names = [path.relative_to(srcdir).as_posix()
                 for folder in FOLDERS for path in (srcdir / folder).rglob("*")]
    return sorted({name for name in names
                   if name.endswith((".c", ".h")) and (srcdir / name).is_file()})


def formatter():
    """(command, reason why there is none)."""
    command = tool("CLANG_FORMAT", f"clang-format-{MAJOR}", "clang-format")
    if not command:
        return None, "no clang-format"
    version = run([*command, "--version"]).stdout
    if not re.search(rf"version {MAJOR}\.", version):
        return None, f"clang-format must be version {MAJOR}, this is: {version.strip()}"
    return command, None


def unformatted(command, srcdir, names):
    """One sentence per file that clang-format would change."""
    options = ["--style=file", "--fallback-style=none", "--dry-run", "-Werror"]
    seen = set()
    for start in range(0, len(names), BATCH):
        result = run([*command, *options, *names[start:start + BATCH]], cwd=srcdir)
        for line in result.stderr.splitlines():
            place = re.match(r"([^:]+):(\d+):\d+: error:", line)
            if place and place.group(1) not in seen:
                seen.add(place.group(1))
                yield f"{line[:place.end(2)]}: clang-format would change this line first"
        if result.returncode != 0 and not seen:
            yield result.stderr.strip() or "clang-format failed"


def functions(lines):
    """Yields (name, first line, length): a name at column 0, a body up to a `}` at column 0."""
    name, start = None, 0
    for number, line in enumerate(lines, 1):
        head = NAME.match(line)
        if head and not line.rstrip().endswith(";"):
            name, start = head.group(1), number
        elif line.startswith("}") and name:
            yield name, start, number - start + 1
            name = None


def report(tap, srcdir, names):
    files, bodies = [], []
    for name in names:
        if name.startswith(("core/", "plugins/")):
            lines = (srcdir / name).read_text(encoding="utf-8", errors="replace").splitlines()
            files.append((len(lines), name))
            bodies.extend((length, f"{name}:{start} {function}")
                          for function, start, length in functions(lines))
    for title, rows, count in (("files", files, 10), ("functions", bodies, 15)):
        longest = sorted(rows, key=lambda row: (-row[0], row[1]))[:count]
        tap.note(f"the longest {title}, in lines:")
        for length, text in longest:
            tap.note(f"  {length:5} {text}")


def check(tap, args):
    names = sources(args.srcdir)
    text = f"clang-format {MAJOR} would change none of {len(names)} files"
    command, why = formatter()
    if command:
        tap.result(text, unformatted(command, args.srcdir, names))
    else:
        tap.skip(text, why)
    report(tap, args.srcdir, names)
