# SPDX-License-Identifier: Apache-2.0
"""Tests the checker: each wall passes on a clean tree and fails on each planted violation.

The trees are tiny, lie in a temporary folder, and use the real core/ROOMS."""

import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True

# pylint: disable=wrong-import-position
from kit import Tap, cc, output, run, tool
from wall_format import formatter

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parents[1]

CLEAN = {
    "third/yaml.h": "int yaml_parse(void);\n",
    "core/base/clock.h": "long clock_now(void);\n",
    "core/base/clock.c": """#include "base/clock.h"
#include <time.h>

long
clock_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}
""",
    "core/base/mem.h": "void *mem_alloc(unsigned long size);\n",
    "core/base/mem.c": """#include "base/mem.h"
#include <stdlib.h>

void *
mem_alloc(unsigned long size)
{
	return malloc(size);
}
""",
    "core/base/utf8.h": "int utf8_is_ascii(const char *text, unsigned long len);\n",
    "core/base/utf8.c": """#include "base/utf8.h"
#include <string.h>

int
utf8_is_ascii(const char *text, unsigned long len)
{
	return memchr(text, 0x80, len) == 0;
}
""",
    "core/conf/yaml.h": "int conf_parse(void);\n",
    "core/conf/yaml.c": """#include "conf/yaml.h"
#include <yaml.h>
#include "base/mem.h"

int
conf_parse(void)
{
	return yaml_parse() && mem_alloc(1);
}
""",
    "core/wire/decode.h": "int wire_decode(const char *text);\n",
    "core/wire/decode.c": """#include "wire/decode.h"
#include <string.h>
/* An include in a comment is none:
#include "conn/conn.h"
*/
#include "base/utf8.h"

int
wire_decode(const char *text)
{
	return utf8_is_ascii(text, strlen(text));
}
""",
    "core/session/session.h": "int session_open(void);\n",
    "core/session/session_int.h": "int session_hidden(void);\n",
    "core/session/session.c": """#include "session/session.h"
#include "session/session_int.h"
#include "wire/decode.h"

int
session_open(void)
{
	return wire_decode("a");
}
""",
    "core/conn/conn.h": "int conn_open(void);\n",
    "core/conn/conn.c": """#include "conn/conn.h"
#include <avocet/avocet_base.h>
#include "session/session.h"

int
conn_open(void)
{
	return session_open();
}
""",
    "core/broker/broker.h": "int broker_run(void);\n",
    "core/broker/broker.c": """#include "broker/broker.h"
#include "conn/conn.h"

int
broker_run(void)
{
	return conn_open();
}
""",
    "core/cmd/avocet.c": """#include "broker/broker.h"

int
main(void)
{
	return broker_run();
}
""",
    "third/libyaml.c": "int yaml_parse(void);\n\nint\nyaml_parse(void)\n{\n\treturn 0;\n}\n",
    "plugins/sample/sample.h": "unsigned sample_length(const char *text);\n",
    "plugins/sample/sample.c": """#include "sample.h"
#include <string.h>
#include <avocet/avocet_base.h>

unsigned
sample_length(const char *text)
{
	return (unsigned)strlen(text);
}

AVOCET_EXPORT extern const struct avocet_error avocet_plugin_v0;
const struct avocet_error avocet_plugin_v0 = {0, 0, "sample"};
""",
}

# A function in its own file that calls another by its own declaration, unseen by the includes.
CALLS = """int {name}(void);
{declaration}

int
{name}(void)
{{
	{call};
	return 0;
}}
"""
STRUCT = """#include <stdint.h>

struct avocet_planted {{
{members}}};
"""


def calls(name, declaration, call):
    return CALLS.format(name=name, declaration=declaration, call=call)


def members(*declarations):
    return STRUCT.format(members="".join(f"\t{line};\n" for line in declarations))


# (what is planted, {file: text}, the sentence that the wall must say)
INCLUDES = [
    ("an upward include", {"core/wire/bad.h": '#include "session/session.h"\n'},
     r'core/wire/bad.h:1: "session/session.h" is out of bounds: wire/bad.h may include wire base$'),
    ("an internal header of another room",
     {"core/conn/bad.h": '\n#include "session/session_int.h"\n'},
     r'core/conn/bad.h:2: "session/session_int.h" belongs to the room session alone'),
    ("a library's header in the wrong room", {"core/wire/bad.h": "#include <yaml.h>\n"},
     r"core/wire/bad.h:1: <yaml.h> is open to conf/\* only"),
    ("the clock in a session", {"core/session/bad.h": '#include "base/clock.h"\n'},
     r'core/session/bad.h:1: "base/clock.h" is open to base/\* loop/\* .* cmd/\* only'),
    ("a header that has no door", {"core/conn/bad.h": "#include <ncurses.h>\n"},
     r"core/conn/bad.h:1: <ncurses.h> has no door in core/ROOMS"),
    ("an include without its room", {"core/conn/bad.h": '#include "conn.h"\n'},
     r'core/conn/bad.h:1: "conn.h" is not of the form "room/file.h"'),
    ("an include of a file that is not there", {"core/conn/bad.h": '#include "conn/gone.h"\n'},
     r'core/conn/bad.h:1: "conn/gone.h" does not exist'),
    ("a core header in angle brackets", {"core/wire/bad.h": "#include <conn/conn.h>\n"},
     r"core/wire/bad.h:1: <conn/conn.h> is a header of core/ and must be quoted"),
    ("an include by a macro", {"core/wire/bad.h": "#include HEADER\n"},
     r"core/wire/bad.h:1: an include must name its header, not a macro"),
    ("a source whose own header comes second",
     {"core/conn/bad.h": "", "core/conn/bad.c": '#include <string.h>\n#include "conn/bad.h"\n'},
     r'core/conn/bad.c:1: its own header "conn/bad.h" must come first'),
    ("a file in no room", {"core/helpers/bad.h": ""},
     r"core/helpers/bad.h: lies in no room of core/ROOMS"),
    ("avocetctl that sees the broker", {"core/cmd/avocetctl.c": '#include "broker/broker.h"\n'},
     r'core/cmd/avocetctl.c:1: "broker/broker.h" is out of bounds'),
    ("a plugin that includes a core header", {"plugins/sample/bad.h": '#include "conn/conn.h"\n'},
     r'plugins/sample/bad.h:1: "conn/conn.h" is a header of core/'),
    ("a plugin that climbs into core/",
     {"plugins/sample/bad.h": "#include <../../core/conn/conn.h>\n"},
     r"plugins/sample/bad.h:1: .* is a header of core/"),
    ("a plugin that includes another's file",
     {"plugins/other/bad.h": '#include "../sample/sample.h"\n',
      "plugins/sample/Makefile.inc": "\n"},
     r'plugins/other/bad.h:1: "../sample/sample.h" is not a file of this plugin'),
    ("a table in which a room names one above it", {"core/ROOMS": "room a : b\nroom b :\n"},
     r"Bail out! core/ROOMS:1: room b does not stand above this line"),
    ("a table with an unknown word", {"core/ROOMS": "room a :\n\nwindow b : a\n"},
     r"Bail out! core/ROOMS:3: unknown statement `window`"),
]

SYMBOLS = [
    ("an upward call without an include",
     {"core/wire/bad.c": calls("wire_bad", "int session_open(void);", "session_open()")},
     r"wire/bad.c: session_open of session/session.c is out of bounds: "
     "wire/bad.c may call wire base$"),
    ("wire that calls malloc",
     {"core/wire/bad.c": calls("wire_bad", "void *malloc(unsigned long);", "malloc(1)")},
     r"wire/bad.c -> malloc, but wire must be pure"),
    ("wire that calls malloc through base",
     {"core/wire/bad.c": calls("wire_bad", '#include "base/mem.h"', "mem_alloc(1)")},
     r"wire/bad.c -> mem_alloc of base/mem.c -> malloc, but wire must be pure"),
    ("wire that calls printf",
     {"core/wire/bad.c": calls("wire_bad", "#include <stdio.h>", 'printf("%d", 1)')},
     r"wire/bad.c: printf may be used by base/log.c .* only"),
    ("a session that reads the clock of libc",
     {"core/session/bad.c": calls("session_bad", "#include <time.h>", "clock_gettime(0, 0)")},
     r"session/bad.c: clock_gettime may be used by base/clock.c only"),
    ("a session that calls base's clock without its header",
     {"core/session/bad.c": calls("session_bad", "long clock_now(void);", "clock_now()")},
     r"session/bad.c: clock_now of base/clock.c is open to base/\* loop/\* .* only"),
    ("a library's function in the wrong room",
     {"core/wire/bad.c": calls("wire_bad", "int yaml_parse(void);", "yaml_parse()")},
     r"wire/bad.c: yaml_parse may be used by conf/\* only"),
    ("one symbol in two rooms", {"core/session/bad.c": calls("conn_open", "", "")},
     r"session/bad.c: conn_open is also defined in conn/conn.c"),
    ("a symbol without the prefix of its room",
     {"core/session/bad.c": calls("open_session", "", "")},
     r"session/bad.c: open_session must begin with session_"),
    ("a symbol of base without the name of its file",
     {"core/base/bad.c": calls("mem_bad", "", "")},
     r"base/bad.c: mem_bad must begin with bad_"),
    ("a symbol that nobody defines",
     {"core/conn/bad.c": calls("conn_bad", "int nobody(void);", "nobody()")},
     r"conn/bad.c: nobody is defined by no room and not by libc"),
    ("a main program that opens a session itself",
     {"core/cmd/avocet.c": calls("main", "int session_open(void);", "session_open()")},
     r"cmd/avocet.c: session_open of session/session.c is out of bounds"),
]

EXPORT = "AVOCET_EXPORT int sample_second(void);\n\nint\nsample_second(void)\n{\n\treturn 0;\n}\n"
UNDEFINED = calls("sample_call", "int log_write(void);", "log_write()")

# (what is planted, {file: text}, options of the linker, the sentence)
PLUGINS = [
    ("a plugin that exports two symbols",
     {"plugins/sample/sample.c": CLEAN["plugins/sample/sample.c"] + "\n" + EXPORT}, [],
     r"sample.so exports sample_second: a plugin exports avocet_plugin_v0 and nothing else"),
    ("a plugin that exports none", {"plugins/sample/sample.c": "int sample_nothing;\n"}, [],
     r"sample.so does not export avocet_plugin_v0"),
    ("a plugin whose symbol is a function",
     {"plugins/sample/sample.c":
      '__attribute__((visibility("default")))\n' + calls("avocet_plugin_v0", "", "")}, [],
     r"sample.so: avocet_plugin_v0 must be data, but nm calls it T"),
    ("a plugin with an undefined symbol of the broker",
     {"plugins/sample/sample.c": CLEAN["plugins/sample/sample.c"] + "\n" + UNDEFINED}, [],
     r"sample.so: log_write is in none of the libraries it names"),
    ("a plugin with an executable stack", {}, ["-Wl,-z,execstack"],
     r"sample.so asks for an executable stack"),
]

# (what is planted, the text of the header, the tool that this needs, the lines that must be there)
HEADERS = [
    ("a padded public struct", members("uint32_t a", "uint64_t b"),
     ("CLANG", "clang"), [r"not ok \d+ - planted.h has no padding \(native\)"]),
    ("a public struct that is padded on armv7 and riscv32 only",
     members("uint32_t a", "uint32_t b", "uint64_t c", "void *d"), ("CLANG", "clang"),
     [r"^ok \d+ - planted.h has no padding \(native\)",
      r"not ok \d+ - planted.h has no padding \(armv7a\)",
      r"not ok \d+ - planted.h has no padding \(riscv32\)",
      r"^ok \d+ - planted.h has no padding \(i686\)"]),
    ("a public header that does not compile alone", "uint32_t avocet_planted(void);\n",
     ("CC", "cc"),
     [r"not ok \d+ - planted.h compiles alone as C11", r"avocet/planted.h:1:1: error: "]),
    ("a public header that is no C++", "int avocet_planted(int new);\n", ("CXX", "c++"),
     [r"^ok \d+ - planted.h compiles alone as C11",
      r"not ok \d+ - planted.h compiles alone as C\+\+11"]),
]


class Tree:
    """A copy of the clean tree, or the clean tree itself."""

    def __init__(self, root, clean=None):
        self.root = root
        if clean:
            shutil.copytree(clean.root, root, copy_function=os.link)

    def plant(self, files):
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            path.write_text(text, encoding="utf-8")

    def compile(self, names, *options):
        """Objects of core/, as automake names them: core/cmd/avocet.o, libROOM.a(...-x.o)."""
        for name in names:
            path = Path(name)
            if path.suffix != ".c" or path.parts[0] != "core":
                continue
            room, loose = path.parts[1], path.parts[1] == "cmd"
            prefix = "" if loose else f"core_{room}_lib{room}_a-"
            target = path.with_name(f"{prefix}{path.stem}.o")
            (self.root / target).unlink(missing_ok=True)
            output([*cc(), "-std=c11", "-D_GNU_SOURCE", "-w", "-fPIC", *options, "-Icore",
                    "-Ithird", "-Iinclude", "-c", "-o", target, name], cwd=self.root)
            if not loose:
                self.archive(room, target)

    def archive(self, room, target):
        """Puts an object into a new copy of the archive: the old one is linked to other trees."""
        library = self.root / "core" / room / f"lib{room}.a"
        old = library.read_bytes() if library.exists() else None
        library.unlink(missing_ok=True)
        if old:
            library.write_bytes(old)
        output([*tool("AR", "ar"), "rcs", library, self.root / target])

    def link_plugin(self, *options):
        output([*cc(), "-w", "-fPIC", "-fvisibility=hidden", "-Iinclude", "-shared", "-o",
                "sample.so", "plugins/sample/sample.c", *options], cwd=self.root)
        return self.root / "sample.so"

    def link_program(self, *options):
        rooms = ["broker", "conn", "session", "wire", "conf", "base"]
        output([*cc(), "-w", *options, "-o", "avocet", "core/cmd/avocet.o", "third/libyaml.c",
                *(f"core/{room}/lib{room}.a" for room in rooms)], cwd=self.root)
        return self.root / "avocet"

    def wall(self, name, *arguments):
        return run([sys.executable, HERE / "walls.py", name, "--srcdir", self.root, *arguments])


class Suite:
    def __init__(self, tap, folder):
        self.tap = tap
        self.folder = folder
        self.trees = 0
        self.clean = Tree(folder / "clean")
        self.clean.plant(CLEAN)
        for path in [PROJECT / "core" / "ROOMS", PROJECT / ".clang-format",
                     *(PROJECT / "include").rglob("*.h")]:
            self.clean.plant({path.relative_to(PROJECT): path.read_text(encoding="utf-8")})
        self.clean.compile(CLEAN)

    def tree(self, files):
        self.trees += 1
        tree = Tree(self.folder / str(self.trees), self.clean)
        tree.plant(files)
        return tree

    def passes(self, text, result, *sentences):
        wrong = self.missing(result, sentences)
        if result.returncode != 0 or "not ok" in result.stdout:
            wrong.append("the wall must pass")
        self.tap.result(text, wrong, [result.stdout + result.stderr] if wrong else [])

    def fails(self, planted, result, *sentences):
        wrong = self.missing(result, sentences)
        if result.returncode != 1:
            wrong.append(f"exit status {result.returncode} instead of 1")
        self.tap.result(f"finds {planted}", wrong, [result.stdout + result.stderr] if wrong else [])

    @staticmethod
    def missing(result, sentences):
        return [f"missing: {sentence}" for sentence in sentences
                if not re.search(sentence, result.stdout, re.MULTILINE)]

    def includes(self):
        self.passes("includes: passes a clean tree", self.clean.wall("includes"))
        for planted, files, sentence in INCLUDES:
            self.fails(planted, self.tree(files).wall("includes"), sentence)

    def symbols(self):
        self.passes("symbols: passes a clean tree", self.clean.wall("symbols"),
                    r"^ok \d+ - the room wire is pure$")
        for planted, files, sentence in SYMBOLS:
            tree = self.tree(files)
            tree.compile(files)
            self.fails(planted, tree.wall("symbols"), sentence)
        tree = self.tree({})
        tree.compile(["core/wire/decode.c"], "--coverage")
        self.passes("symbols: an instrumented build is not asked for purity", tree.wall("symbols"),
                    r"^ok \d+ - the room wire is pure # SKIP instrumented build")

    def exports(self):
        plugin, program = self.clean.link_plugin(), self.clean.link_program()
        self.passes("exports: passes a clean program and plugin",
                    self.clean.wall("exports", "--program", program, plugin), r"^1\.\.2$")
        tree = self.tree({})
        (tree.root / "avocet").unlink()
        self.fails("a program that exports its functions",
                   tree.wall("exports", "--program", tree.link_program("-rdynamic")),
                   "avocet exports broker_run: the core exports nothing")
        for planted, files, options, sentence in PLUGINS:
            tree = self.tree(files)
            (tree.root / "sample.so").unlink()
            self.fails(planted, tree.wall("exports", tree.link_plugin(*options)), sentence)
        self.library_of_the_core()

    def library_of_the_core(self):
        tree = self.tree({"plugins/sample/sample.c":
                          CLEAN["plugins/sample/sample.c"] + "\n" + UNDEFINED,
                          "log.c": calls("log_write", "", "")})
        (tree.root / "sample.so").unlink()
        output([*cc(), "-w", "-fPIC", "-shared", "-o", "libavocet-core.so", "log.c"], cwd=tree.root)
        plugin = tree.link_plugin("-L.", "-l:libavocet-core.so")
        self.fails("a plugin that links a library of the core", tree.wall("exports", plugin),
                   "sample.so needs libavocet-core.so: a plugin links nothing of the core")

    def headers(self):
        self.passes("headers: passes the public headers", self.clean.wall("headers"))
        for planted, text, needed, sentences in HEADERS:
            if not tool(*needed):
                self.tap.skip(f"finds {planted}", f"no {needed[1]}")
                continue
            tree = self.tree({"include/avocet/planted.h": text})
            for path in (tree.root / "include" / "avocet").glob("avocet_*.h"):
                path.unlink()
            self.fails(planted, tree.wall("headers"), *sentences)

    def format(self):
        why = formatter()[1]
        if why:
            self.tap.skip("format", why)
            return
        self.passes("format: passes a clean tree", self.clean.wall("format"),
                    r"#\s+7 core/base/clock.c:5 clock_now")
        tree = self.tree({"core/conn/bad.c": "\nint conn_bad( void ){ return 0; }\n"})
        self.fails("a badly formatted file", tree.wall("format"),
                   r"core/conn/bad.c:2: clang-format would change this line first")


def main():
    tap = Tap()
    with tempfile.TemporaryDirectory(prefix="walls-") as folder:
        suite = Suite(tap, Path(folder))
        suite.includes()
        suite.symbols()
        suite.exports()
        suite.headers()
        suite.format()
    return tap.finish()


if __name__ == "__main__":
    sys.exit(main())
