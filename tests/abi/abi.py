# SPDX-License-Identifier: Apache-2.0
"""The three guards of the plugin ABI. See README.md beside this file.

    abi.py check  [--srcdir DIR] [--golden DIR]    compares; prints TAP
    abi.py update [--srcdir DIR] [--golden DIR]    rewrites the golden files, where allowed"""

import argparse
import re
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "walls"))

# pylint: disable=wrong-import-position
from headers import HeaderError, read_headers, version
from kit import Tap, cc, output, run, tool

LAYOUT, DECLARATIONS, DUMP = "abi_layout.golden", "abi_declarations.golden", "abi_probe.abi"
LICENCE = "SPDX-License-Identifier: Apache-2.0"
MODEL = "LP64"
INTEGER = re.compile(r"[(\-+~ ]*(0x[0-9a-fA-F]|\d|AVOCET_)")
SHOW_MODEL = """	printf("model %s\\n", sizeof(int) != 4 ? "unknown"
	    : sizeof(void *) == 4 ? "ILP32" : sizeof(long) == 8 ? "LP64" : "LLP64");"""


class Verdict:
    """What a guard found: old promises that are broken, and new ones that no golden file holds."""

    def __init__(self, broken=(), new=(), skipped=None):
        self.broken = list(broken)
        self.new = list(new)
        self.skipped = skipped

    def details(self):
        yield from (f"BROKEN {line}" for line in self.broken)
        yield from (f"new {line}" for line in self.new)
        if self.new and not self.broken:
            yield "nothing is broken: run abi.py update (from major 1 on, first raise the minor)"


class Abi:
    """The headers as they are now, beside the golden files."""

    def __init__(self, srcdir, golden, work):
        self.include = srcdir.resolve() / "include"
        self.golden = golden
        self.work = work
        self.headers = read_headers(self.include)
        self.version = version(self.include)
        self.structs = [struct for header in self.headers for struct in header.structs]
        self.model, *self.layout = self._layout()
        self.declarations = [line for header in self.headers for line in header.lines()]

    def _compile(self, name, text, *options):
        source, target = self.work / f"{name}.c", self.work / name
        includes = [f"#include <avocet/{header.name}>" for header in self.headers]
        source.write_text("\n".join([*includes, text]), encoding="utf-8")
        output([*cc(), "-std=c11", *options, "-I", self.include, "-o", target.name, source.name],
               cwd=self.work)
        return target

    def _layout(self):
        """Sizes, offsets and constants, as a compiled program prints them; first the data model."""
        body = [SHOW_MODEL]
        for struct in self.structs:
            kind = "grows" if struct.grows else "FROZEN"
            body.append(show(f"struct {struct.tag} {kind} size %zu",
                             f"sizeof(struct {struct.tag})"))
            for name in struct.names():
                body.append(show(f"{struct.tag}.{name} @%zu +%zu",
                                 f"offsetof(struct {struct.tag}, {name})",
                                 f"sizeof(((struct {struct.tag} *)0)->{name})"))
        for header in self.headers:
            for name, parameters, value in header.defines:
                if parameters is None and value.startswith('"'):
                    body.append(show(f"string {name} %s", name))
                elif parameters is None and INTEGER.match(value):
                    body.append(show(f"const {name} %lld", f"(long long)({name})"))
        text = "#include <stdio.h>\nint main(void)\n{\n" + "\n".join(body) + "\n\treturn 0;\n}\n"
        return output([self._compile("layout", text)]).splitlines()

    def probe(self):
        """A library in which every public struct is reachable from an exported function."""
        functions = (f"void abi_{struct.tag}(const struct {struct.tag} *p);\n"
                     f"void abi_{struct.tag}(const struct {struct.tag} *p)\n{{\n\t(void)p;\n}}\n"
                     for struct in self.structs)
        return self._compile("probe", "".join(functions), "-g", "-O0", "-fPIC", "-shared",
                             "-nostdlib", f"-ffile-prefix-map={self.work}=.",
                             f"-ffile-prefix-map={self.include}=include")

    def suppression(self):
        """Lets every struct grow at its end but the FROZEN ones."""
        frozen = "|".join(struct.tag for struct in self.structs if not struct.grows)
        path = self.work / "append.supp"
        path.write_text("[suppress_type]\n  type_kind = struct\n"
                        f"  name_not_regexp = ^({frozen or '-'})$\n"
                        "  has_data_member_inserted_at = end\n  has_size_change = yes\n",
                        encoding="utf-8")
        return path

    def judge_layout(self):
        if self.model != f"model {MODEL}":
            return Verdict(skipped=f"the golden file is for {MODEL}, this is {self.model}")
        old, new = read_golden(self.golden / LAYOUT), set(self.layout)
        broken = [line for line in old if line not in new and not self._grew(line)]
        return Verdict(broken, [line for line in self.layout if line not in set(old)])

    def _grew(self, line):
        """Is this the size of a struct that may grow, and has it grown?"""
        size = re.match(r"(struct \w+ grows size) (\d+)", line)
        now = [int(other.rpartition(" ")[2]) for other in self.layout
               if size and other.startswith(size.group(1))]
        return bool(now) and now[0] > int(size.group(2))

    def judge_declarations(self):
        old, new = read_golden(self.golden / DECLARATIONS), set(self.declarations)
        return Verdict([line for line in old if line not in new],
                       [line for line in self.declarations if line not in set(old)])

    def judge_abidiff(self):
        abidiff, dump = tool("ABIDIFF", "abidiff"), self.golden / DUMP
        if not abidiff:
            return Verdict(skipped="no abidiff")
        if self.model != f"model {MODEL}":
            return Verdict(skipped=f"the dump is for {MODEL}, this is {self.model}")
        if not dump.exists():
            return Verdict(new=[f"{DUMP} is missing"])
        plain = self.work / DUMP    # abidiff wants no comment before the first element
        plain.write_text(dump.read_text(encoding="utf-8").partition("\n")[2], encoding="utf-8")
        result = run([*abidiff, "--suppressions", self.suppression(), "--no-architecture",
                      "--no-added-syms", plain, self.probe()])
        if result.returncode == 0:
            return Verdict()
        report = (result.stdout + result.stderr).strip().splitlines()
        return Verdict(broken=report or [f"abidiff: exit status {result.returncode}"])

    def judge_version(self):
        old = self.golden_version()
        wanted = Verdict(new=[f"ABI {self.version[0]}.{self.version[1]}; the golden files are of "
                              f"{f'{old[0]}.{old[1]}' if old else 'none'}"])
        return Verdict() if old == self.version else wanted

    def golden_version(self):
        path = self.golden / LAYOUT
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        found = re.search(r"^# ABI (\d+)\.(\d+), ", text, re.MULTILINE)
        return (int(found.group(1)), int(found.group(2))) if found else None

    def verdicts(self):
        return {"layout: sizes, offsets and constants": self.judge_layout(),
                "declarations: the text of the headers": self.judge_declarations(),
                "types: what abidiff sees": self.judge_abidiff(),
                "version: the golden files are of this ABI": self.judge_version()}

    def refusal(self):
        """Why the golden files may not be rewritten; nothing if they may."""
        old = self.golden_version()
        if not old or old[0] == 0 or self.version[0] > old[0]:
            return []
        if self.version[0] < old[0]:
            return [f"the major went back from {old[0]} to {self.version[0]}"]
        verdicts = self.verdicts()
        refused = [f"{text.partition(':')[0]}: {line}" for text, verdict in verdicts.items()
                   for line in verdict.broken]
        changed = any(verdict.broken or verdict.new for verdict in verdicts.values())
        if changed and self.version[1] <= old[1]:
            refused.append(f"AVOCET_ABI_MINOR must be more than {old[1]}")
        return refused

    def write(self):
        abidw = tool("ABIDW", "abidw")
        if not abidw or self.model != f"model {MODEL}":
            raise RuntimeError(f"an update needs abidw (abigail-tools) and a machine with {MODEL}")
        head = [f"# {LICENCE}", "# Written by abi.py update: not to be edited.",
                f"# ABI {self.version[0]}.{self.version[1]}, {self.model}"]
        for name, lines in ((LAYOUT, self.layout), (DECLARATIONS, self.declarations)):
            (self.golden / name).write_text("\n".join([*head, *lines]) + "\n", encoding="utf-8")
            print(f"{name}: {len(lines)} lines")
        dump = output([*abidw, "--no-show-locs", "--no-comp-dir-path", "--no-corpus-path",
                       self.probe()])
        (self.golden / DUMP).write_text(f"<!-- {LICENCE} -->\n{dump}", encoding="utf-8")
        print(f"{DUMP}: {dump.count(chr(10))} lines")


def show(text, *values):
    return f'\tprintf("{text}\\n", {", ".join(values)});'


def read_golden(path):
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [line for line in lines if not line.startswith("#")]


def check(abi):
    tap = Tap()
    for text, verdict in abi.verdicts().items():
        if verdict.skipped:
            tap.skip(text, verdict.skipped)
        else:
            tap.result(text, verdict.details())
    return tap.finish()


def update(abi):
    refused = abi.refusal()
    for line in refused:
        print(f"refused: {line}")
    if not refused:
        abi.write()
    return 1 if refused else 0


def main():
    parser = argparse.ArgumentParser(description="guards the plugin ABI of avocet")
    parser.add_argument("command", choices=["check", "update"])
    parser.add_argument("--srcdir", type=Path, default=HERE.parents[1])
    parser.add_argument("--golden", type=Path, help="default: tests/abi below srcdir")
    args = parser.parse_args()
    golden = args.golden or args.srcdir / "tests" / "abi"
    try:
        with tempfile.TemporaryDirectory(prefix="abi-") as work:
            abi = Abi(args.srcdir, golden, Path(work))
            return {"check": check, "update": update}[args.command](abi)
    except (HeaderError, RuntimeError, OSError) as error:
        print(f"Bail out! {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
