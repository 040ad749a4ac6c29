#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Shows that the tests of conformance can fail: breaks the broker, one rule at a time.

`mutants/*.mut` say how: each mutant is a small change of core that breaks named statements. `build` puts
all of them into a copy of the sources, each behind a condition on the number in AVOCET_MUTATE, and makes
of that one program, avocet-test with mutants. Without AVOCET_MUTATE it is avocet-test. `run` starts, for
each mutant, the tests of its statements against that program; a statement is shown when one of its tests
fails. Core itself knows nothing of mutants.

    mutants.py build --dir DIR [--only FILE]...
    mutants.py run --dir DIR [--only FILE]... [--json FILE] [--jobs N] [NAME]...
    mutants.py list

Exit status: 0 all killed, 1 some survived or do not apply, 2 usage. A mutant that the broker does not
even start with kills nothing: that is an error too.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parents[1]
LIBS = "-lyaml -lssl -lcrypto -lwslay -levent_core -levent_pthreads -lpthread".split()
CFLAGS = "-std=c11 -D_GNU_SOURCE -O1 -g1 -fno-common -w".split() + ['-DPACKAGE_VERSION="mutants"', '-DAVOCET_PLUGIN_DIR=""']
CONDITION = "(avocet_mutant == {})"


class Wrong(Exception):
    """A .mut file that cannot be used; the text says which and why."""


class Mutant:
    def __init__(self, name, where):
        self.name = name
        self.where = where
        self.number = 0
        self.what = ""
        self.statements = []
        self.changes = []       # (file, function or None, old lines, new lines)


# --- reading ---

def read_mutants(files):
    """The mutants of these files, numbered from 1 in the order of file name and place."""
    found = []
    for path in files:
        found += read_file(path)
    names = [one.name for one in found]
    for name in names:
        if names.count(name) > 1:
            raise Wrong(f"two mutants are called {name}")
    for number, one in enumerate(found, 1):
        one.number = number
    return found


def read_file(path):
    found = []
    file = within = None
    old, new = [], []

    def close():
        if old or new:
            if not old or not new or file is None:
                raise Wrong(f"{path.name}: {found[-1].name}: a change needs file:, - and + lines")
            found[-1].changes.append((file, within, list(old), list(new)))
            old.clear()
            new.clear()

    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line.startswith("-"):
            if new:
                close()
            old.append(line[1:].strip())
            continue
        if line.startswith("+"):
            new.append(line[1:].strip())
            continue
        if found:
            close()
        if not line.strip() or line.startswith("#"):
            continue
        key, colon, value = line.partition(":")
        value = value.strip()
        if key == "mutant" and colon:
            file = within = None
            found.append(Mutant(value, f"{path.name}:{number}"))
        elif not found:
            raise Wrong(f"{path.name}:{number}: before the first mutant")
        elif key == "what":
            found[-1].what = (found[-1].what + " " + value).strip()
        elif key == "statements":
            found[-1].statements += value.split()
        elif key == "file":
            file, within = value, None
        elif key == "within":
            within = value
        else:
            raise Wrong(f"{path.name}:{number}: what is {line!r}?")
    if found:
        close()
    for one in found:
        if not one.what or not one.statements or not one.changes:
            raise Wrong(f"{one.where}: {one.name} needs what:, statements: and a change")
    return found


# --- changing the sources ---

def function_span(text, function, where):
    """From the line that begins with `function(` to the closing brace at the left margin."""
    match = re.search(rf"^{re.escape(function)}\(", text, re.M)
    while match and ";" in text[match.start():].partition("{")[0]:      # a declaration
        match = re.compile(rf"^{re.escape(function)}\(", re.M).search(text, match.end())
    if match is None:
        raise Wrong(f"{where}: no function {function}")
    end = text.find("\n}", match.start())
    return match.start(), end


def find_fragment(text, mutant, change):
    """The one place of the old lines in the text."""
    file, within, old, _ = change
    pattern = r"\s*\n\s*".join(re.escape(line) for line in old)
    start, end = function_span(text, within, f"{mutant.where} {mutant.name}") if within else (0, len(text))
    places = list(re.finditer(pattern, text[start:end]))
    if len(places) != 1:
        raise Wrong(f"{mutant.where}: {mutant.name}: {len(places)} places in {file} have {old[0]!r}")
    return start + places[0].start(), start + places[0].end()


def changed_sources(mutants):
    """{file: its text with all the mutants}; raises Wrong with all that does not apply."""
    edits, wrong, out = {}, [], {}
    for mutant in mutants:
        for change in mutant.changes:
            try:
                path = TOP / change[0]
                if not path.is_file():
                    raise Wrong(f"{mutant.where}: {mutant.name}: there is no {change[0]}")
                first, last = find_fragment(path.read_text(), mutant, change)
                text = "\n".join(change[3])
                if not any("MUTANT" in line for other in mutant.changes for line in other[3]):
                    raise Wrong(f"{mutant.where}: {mutant.name}: + lines without MUTANT")
                edits.setdefault(change[0], []).append(
                    (first, last, text.replace("MUTANT", CONDITION.format(mutant.number)), mutant))
            except Wrong as error:
                wrong.append(str(error))
    for file, places in edits.items():
        places.sort(key=lambda place: place[:2])
        for one, two in zip(places, places[1:]):
            if one[1] > two[0]:
                wrong.append(f"{two[3].where}: {two[3].name} overlaps {one[3].name} in {file}")
        text = (TOP / file).read_text()
        for first, last, new, _ in reversed(places):
            text = text[:first] + new + text[last:]
        out[file] = "extern int avocet_mutant;\n#line 1\n" + text
    if wrong:
        raise Wrong("\n".join(wrong))
    return out


MAIN = """\
#include <stdlib.h>
int avocet_mutant;
__attribute__((constructor)) static void
read_mutant(void)
{
	const char *number = getenv("AVOCET_MUTATE");
	avocet_mutant = number == NULL ? 0 : atoi(number);
}
"""


def put(path, text):
    """Writes a file unless it is the same."""
    if not path.exists() or path.read_text() != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def build(folder, mutants):
    sources = {str(path.relative_to(TOP)): path.read_text()
               for path in sorted(TOP.glob("core/*/*.[ch]")) + sorted(TOP.glob("include/*/*.h"))
               + sorted((TOP / "tests/broker").glob("*.[ch]"))}
    changed = changed_sources(mutants)
    sources.update(changed)
    sources["mutant.c"] = MAIN
    left_out = re.compile(r"core/cmd/|core/loop/loop_sim\.c|tests/broker/(?!avocet_test|authority)")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in sources.items():
        put(folder / name, text)
    headers = max((folder / name).stat().st_mtime for name in sources if name.endswith(".h"))
    compiler = shlex.split(os.environ.get("CC", "cc"))
    objects, work = [], []
    for name in sources:
        if not name.endswith(".c") or left_out.match(name):
            continue
        target = folder / (name[:-2] + ".o")
        objects.append(str(target))
        if not target.exists() or target.stat().st_mtime < max(headers, (folder / name).stat().st_mtime):
            work.append([*compiler, *CFLAGS, f"-I{folder}/core", f"-I{folder}/include",
                         f"-I{folder}/tests", "-c", "-o", str(target), str(folder / name)])
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for done in pool.map(lambda one: subprocess.run(one, capture_output=True, text=True), work):
            if done.returncode != 0:
                raise Wrong(done.stderr)
    subprocess.run([*compiler, "-o", str(folder / "avocet-test"), *objects, *LIBS], check=True)
    put(folder / "numbers.json", json.dumps({one.name: one.number for one in mutants}))


# --- running ---

def judge(folder, mutant):
    """Runs the tests of a mutant. {statement: names of the tests that fail}, and how many ran."""
    with tempfile.NamedTemporaryFile(suffix=".json") as result:
        env = dict(os.environ, AVOCET_MUTATE=str(mutant.number), AVOCET_BIN=str(folder / "avocet-test"),
                   AVOCET_TEST_BIN=str(folder / "avocet-test"), AVOCET_STATEMENTS=result.name,
                   AVOCET_ONLY_STATEMENTS=" ".join(mutant.statements), PYTHONDONTWRITEBYTECODE="1")
        env.setdefault("AVOCET_TEST_TIMEOUT", "2")
        done = subprocess.run(["/usr/bin/python3", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p",
                               "no:xdist", "--tb=no", str(HERE), str(TOP / "tests/broker")], env=env, capture_output=True, text=True,
                              cwd=TOP)
        try:
            cases = json.loads(pathlib.Path(result.name).read_text())
        except ValueError:
            raise Wrong(f"pytest for {mutant.name}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}") from None
    killed = {statement: sorted({case["test"] for case in cases if statement in case["statements"]
                                 and case["result"] == "failed"}) for statement in mutant.statements}
    # A broker that does not run at all would fail every test.
    return killed, len(cases), any(case["result"] == "passed" for case in cases)


def run(folder, mutants, jobs, json_file):
    numbers = json.loads((folder / "numbers.json").read_text())
    table, survived = [], 0
    for one in mutants:
        if one.name not in numbers:
            raise Wrong(f"{one.name} is not in the program: build first")
        one.number = numbers[one.name]
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for mutant, (killed, cases, alive) in zip(mutants, pool.map(lambda one: judge(folder, one), mutants)):
            for statement, tests in killed.items():
                verdict = f"killed by {len(tests)}: {tests[0]}" if tests else f"SURVIVED ({cases} cases ran)"
                print(f"{mutant.number:4} {mutant.name:40} {statement:16} {verdict}", flush=True)
                survived += not tests
            table.append({"number": mutant.number, "name": mutant.name, "what": mutant.what,
                          "file": mutant.changes[0][0], "killed": killed, "alive": alive})
    if json_file:
        pathlib.Path(json_file).write_text(json.dumps(table, indent=1))
    shown = {statement for row in table for statement, tests in row["killed"].items() if tests}
    print(f"{len(table)} mutants, {len(shown)} statements shown to fail, {survived} survived")
    return survived == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("command", choices=("build", "run", "list"))
    parser.add_argument("--dir", type=pathlib.Path, default=pathlib.Path("build/mutants"))
    parser.add_argument("--only", type=pathlib.Path, action="append")
    parser.add_argument("--json")
    parser.add_argument("--jobs", type=int, default=2 * (os.cpu_count() or 2) + 1)
    parser.add_argument("name", nargs="*")
    given = parser.parse_args()
    try:
        mutants = read_mutants(sorted(given.only or (HERE / "mutants").glob("*.mut")))
        folder = given.dir.resolve()
        if given.command == "list":
            changed_sources(mutants)
            for one in mutants:
                print(one.number, one.name, *one.statements)
            return 0
        if given.command == "build":
            build(folder, mutants)
            print(f"{len(mutants)} mutants in {given.dir / 'avocet-test'}")
            return 0
        unknown = set(given.name) - {one.name for one in mutants}
        if unknown:
            raise Wrong(f"no mutant is called {' '.join(sorted(unknown))}")
        wanted = [one for one in mutants if not given.name or one.name in given.name]
        return 0 if run(folder, wanted, given.jobs, given.json) else 1
    except Wrong as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
