# SPDX-License-Identifier: Apache-2.0
"""Tests the guards, on a copy of avocet_base.h and a small header beside it.

Each forbidden change of the table in README.md is put to an ABI of major 1 whose minor was raised,
as if somebody tried to slip it in; the guards named must say BROKEN, and update must refuse."""

import re
import shutil
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "walls"))

# pylint: disable=wrong-import-position
from kit import Tap, run, tool

BASE, SAMPLE = "include/avocet/avocet_base.h", "include/avocet/avocet_sample.h"
SAMPLE_TEXT = """#ifndef AVOCET_SAMPLE_H
#define AVOCET_SAMPLE_H
#include <avocet/avocet_base.h>

#define AVOCET_SAMPLE "avocet.sample/1"
#define AVOCET_SAMPLE_YES 1
#define AVOCET_SAMPLE_NO 2

/* Two numbers, FROZEN. */
typedef struct avocet_fixed {
	uint32_t code;
	uint32_t line;
} avocet_fixed;

/* Rows come in arrays with a stride. */
typedef struct avocet_row {
	const char *name;
	uint32_t kind;
	uint32_t flags;
} avocet_row;

typedef struct avocet_table {
	uint32_t struct_size;
	uint32_t reserved;
	void (*ref)(avocet_buf *b);
	void (*unref)(avocet_buf *b);
	int32_t (*stop)(avocet_self *self, uint32_t status);
	void (*take)(avocet_self *self, const avocet_fixed *f, const avocet_row *rows);
} avocet_table;
#endif
"""
REF, UNREF = "void (*ref)(avocet_buf *b);", "void (*unref)(avocet_buf *b);"
TAKE = "const avocet_row *rows);\n"
YES_NO = "#define AVOCET_SAMPLE_YES 1\n#define AVOCET_SAMPLE_NO 2"

# (the change, text, its replacement, the guards that must say BROKEN)
FORBIDDEN = [
    ("a function inserted in the middle of a table", UNREF, f"void (*new)(void);\n\t{UNREF}",
     {"layout", "declarations", "types"}),
    ("a FROZEN struct that grows", "\tuint32_t line;\n", "\tuint32_t line;\n\tuint64_t more;\n",
     {"layout", "types"}),
    ("two constants that swap their values", YES_NO,
     "#define AVOCET_SAMPLE_YES 2\n#define AVOCET_SAMPLE_NO 1", {"layout", "declarations"}),
    ("two functions of equal type that swap places", f"{REF}\n\t{UNREF}", f"{UNREF}\n\t{REF}",
     {"layout", "declarations"}),
    ("an unsigned argument that becomes signed", "uint32_t status", "int32_t status",
     {"declarations"}),
    ("a function that is removed", f"\t{UNREF}\n", "", {"layout", "declarations", "types"}),
    ("a constant that is removed", "#define AVOCET_SAMPLE_NO 2\n", "",
     {"layout", "declarations"}),
    ("a name that is changed", '"avocet.sample/1"', '"avocet.simple/1"',
     {"layout", "declarations"}),
    ("a FROZEN struct that is called growing", "numbers, FROZEN", "numbers with a stride",
     {"layout", "declarations"}),
]

ALLOWED = [
    ("a function and a field at the end of a table", TAKE,
     f"{TAKE}\tint32_t (*more)(avocet_self *self);\n\tuintptr_t reserved2;\n"),
    ("a field at the end of a struct with a stride", "\tuint32_t flags;\n} avocet_row;",
     "\tuint32_t flags;\n\tuintptr_t more;\n} avocet_row;"),
    ("a constant, a type and a function", "/* Two numbers",
     "#define AVOCET_SAMPLE_MAYBE 3\n/* New. */\ntypedef struct avocet_new {\n"
     "\tuint32_t struct_size;\n\tuint32_t reserved;\n} avocet_new;\n/* Two numbers"),
]


class Copy:
    """A source tree of headers and golden files, made from another one."""

    def __init__(self, root, origin=None):
        self.root = root
        self.golden = root / "tests" / "abi"
        if origin:
            shutil.copytree(origin.root, root)

    def edit(self, name, old, new):
        path = self.root / name
        text = path.read_text(encoding="utf-8")
        if old not in text:
            raise RuntimeError(f"{name} does not hold: {old}")
        path.write_text(text.replace(old, new), encoding="utf-8")
        return self

    def version(self, major, minor):
        path = self.root / BASE
        text = path.read_text(encoding="utf-8")
        for name, value in (("MAJOR", major), ("MINOR", minor)):
            text = re.sub(rf"(#define AVOCET_ABI_{name}) \d+u", rf"\1 {value}u", text)
        path.write_text(text, encoding="utf-8")
        return self

    def abi(self, command):
        return run([sys.executable, HERE / "abi.py", command, "--srcdir", self.root])


class Suite:
    def __init__(self, tap, folder):
        self.tap = tap
        self.folder = folder
        self.copies = 0
        self.released = Copy(folder / "released")
        (self.released.root / SAMPLE).parent.mkdir(parents=True)
        self.released.golden.mkdir(parents=True)
        base = (HERE.parents[1] / BASE).read_text(encoding="utf-8")
        (self.released.root / BASE).write_text(base, encoding="utf-8")
        (self.released.root / SAMPLE).write_text(SAMPLE_TEXT, encoding="utf-8")
        self.released.version(1, 0)

    def copy(self):
        self.copies += 1
        return Copy(self.folder / str(self.copies), self.released)

    def expect(self, text, result, status, *sentences, broken=None):
        """The exit status, what the output says, and which guards say BROKEN."""
        wrong = [f"missing: {sentence}" for sentence in sentences
                 if not re.search(sentence, result.stdout, re.MULTILINE)]
        if result.returncode != status:
            wrong.append(f"exit status {result.returncode} instead of {status}")
        if broken is not None and broken_guards(result.stdout) != broken:
            wrong.append(f"BROKEN: {sorted(broken_guards(result.stdout))}, not {sorted(broken)}")
        self.tap.result(text, wrong, [result.stdout + result.stderr] if wrong else [])

    def released_abi(self):
        self.expect("without golden files check fails", self.released.abi("check"), 1)
        self.expect("update writes golden files", self.released.abi("update"), 0)
        self.expect("what was just written passes", self.released.abi("check"), 0,
                    r"^ok 1 - layout", r"^ok 2 - declarations", r"^ok 3 - types", broken=set())
        dump = (self.released.golden / "abi_probe.abi").read_text(encoding="utf-8")
        missing = [struct for struct in ("msg", "fixed", "row", "table", "client_info")
                   if f"name='abi_avocet_{struct}'" not in dump]
        self.tap.result("the probe reaches every public struct", missing)
        paths = [path.name for path in self.released.golden.iterdir()
                 if str(self.folder) in path.read_text(encoding="utf-8")]
        self.tap.result("the golden files hold no path of the machine", paths)

    def forbidden(self):
        has_abidiff = tool("ABIDIFF", "abidiff") is not None
        for change, old, new, guards in FORBIDDEN:
            guards = guards if has_abidiff else guards - {"types"}
            tree = self.copy().edit(SAMPLE, old, new).version(1, 1)
            self.expect(f"caught: {change}", tree.abi("check"), 1, broken=guards)
            self.expect(f"update refuses {change}", tree.abi("update"), 1, r"^refused: \w+: ")

    def allowed(self):
        for change, old, new in ALLOWED:
            tree = self.copy().edit(SAMPLE, old, new)
            self.expect(f"without a new minor update refuses {change}", tree.abi("update"), 1,
                        r"^refused: AVOCET_ABI_MINOR must be more than 0\n\Z")
            tree.version(1, 1)
            self.expect(f"not in the golden files, not broken: {change}", tree.abi("check"), 1,
                        "^# nothing is broken: run abi.py update", broken=set())
            self.expect(f"with a new minor update accepts {change}", tree.abi("update"), 0)
        self.expect("after the update check passes", tree.abi("check"), 0, broken=set())

    def majors(self):
        tree = self.copy().version(0, 0)
        self.expect("the major may not go back", tree.abi("update"), 1, "the major went back")
        for golden in tree.golden.iterdir():
            golden.unlink()
        tree.abi("update")
        tree.edit(SAMPLE, UNREF, f"void (*new)(void);\n\t{UNREF}")
        self.expect("at major 0 a change fails until update", tree.abi("check"), 1, "BROKEN")
        self.expect("at major 0 update accepts any change", tree.abi("update"), 0)
        self.expect("then check passes", tree.abi("check"), 0)
        self.expect("the freeze renames once", tree.version(1, 0).abi("update"), 0)

    def rules(self):
        for what, line in (("an enum", "enum avocet_bad { AVOCET_BAD };"),
                           ("a long", "long avocet_bad(void);"),
                           ("an anonymous struct", "typedef struct { int32_t n; } avocet_bad;")):
            tree = self.copy().edit(SAMPLE, "/* Two numbers", f"{line}\n/* Two numbers")
            self.expect(f"the headers may not hold {what}", tree.abi("check"), 1,
                        r"^Bail out! avocet_sample.h: ")


def broken_guards(text):
    """The guards whose result has a line that begins with BROKEN."""
    found, guard = set(), None
    for line in text.splitlines():
        result = re.match(r"(?:not )?ok \d+ - (\w+)", line)
        guard = result.group(1) if result else guard
        if line.startswith("# BROKEN"):
            found.add(guard)
    return found


def main():
    tap = Tap()
    if not tool("ABIDW", "abidw"):
        return tap.finish("no abidw (abigail-tools)")
    with tempfile.TemporaryDirectory(prefix="abi-") as folder:
        suite = Suite(tap, Path(folder))
        suite.released_abi()
        suite.forbidden()
        suite.allowed()
        suite.majors()
        suite.rules()
    return tap.finish()


if __name__ == "__main__":
    sys.exit(main())
