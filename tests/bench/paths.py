#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Instructions of the main paths through the broker, by callgrind, against those that are recorded.

    paths.py BENCH_PATHS [--record] [--only CASE]... [--profile CASE]

BENCH_PATHS: tests/bench/bench_paths of a build with -O2 -DNDEBUG. Per delivered message (per connection, where a
case is one), what happens inside the broker only. Fails when a case takes more than 5 % over tests/bench/paths.tsv; a
change that is meant to cost so much records the new numbers in the same commit (--record). The C library uses its plain
x86-64 functions, so that the processor does not matter. Another compiler gives other numbers: they are recorded with
the compiler's name, and where that is another one nothing is compared: the last line says so, and nothing has passed.
--profile prints where one case goes."""

import argparse
import os
import pathlib
import platform
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

RECORD = pathlib.Path(__file__).resolve().parent / "paths.tsv"
FEW, MANY, GROWTH = 40, 80, 1.05
PLAIN = "glibc.cpu.hwcaps=" + ",".join("-" + name for name in (
    "AVX", "AVX2", "AVX2_Usable", "AVX512F", "AVX512VL", "AVX_Fast_Unaligned_Load", "BMI2", "ERMS", "FSRM", "SSE4_1",
    "SSE4_2", "SSSE3"))


def compiler_of(program):
    """For what, and what the compiler says of itself: `x86_64, GCC: (Debian 12.2.0-14+deb12u1) 12.2.0`."""
    said = subprocess.run(["readelf", "-p", ".comment", program], capture_output=True, text=True, check=True).stdout
    names = re.findall(r"\]\s+(.*)", said)
    return ", ".join([platform.machine(), *sorted(set(name.strip() for name in names))])


def callgrind(program, case, rounds, out="/dev/null"):
    done = subprocess.run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", "--toggle-collect=sim_settle",
                           program, str(case), str(rounds)], capture_output=True, text=True,
                          env=os.environ | {"GLIBC_TUNABLES": PLAIN})
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or not found:
        raise SystemExit(f"paths.py: case {case} ends with {done.returncode}: {done.stderr[-500:]}")
    return int(found.group(1))


def measure(program, case, messages):
    number = (callgrind(program, case, MANY) - callgrind(program, case, FEW)) / ((MANY - FEW) * messages)
    if number < 1:
        raise SystemExit(f"paths.py: nothing was counted in case {case}: is sim_settle a function of its own?")
    return number


def read_record():
    compiler, numbers = "", {}
    for line in RECORD.read_text().splitlines() if RECORD.exists() else []:
        if line.startswith("# with "):
            compiler = line.removeprefix("# with ")
        elif line and not line.startswith("#"):
            name, number = line.split("\t")
            numbers[name] = float(number)
    return compiler, numbers


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--only", type=int, action="append", metavar="CASE")
    parser.add_argument("--profile", type=int, metavar="CASE")
    options = parser.parse_args()
    program = options.program.resolve()
    if options.profile is not None:
        with tempfile.NamedTemporaryFile() as out:
            callgrind(program, options.profile, MANY, out.name)
            subprocess.run(["callgrind_annotate", out.name], check=True)
        return 0
    said = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    cases = {i: line.split(" ", 1) for i, line in enumerate(said.splitlines())}
    cases = {i: case for i, case in cases.items() if not options.only or i in options.only}
    compiler, recorded = read_record()
    is_same = compiler == compiler_of(program)
    with ThreadPoolExecutor(2) as pool:
        running = {i: pool.submit(measure, program, i, int(messages)) for i, (messages, _) in cases.items()}
        got = {i: future.result() for i, future in running.items()}
    print("| path | instructions | recorded | |\n|---|---|---|---|")
    grown = 0
    for i, number in got.items():
        name = cases[i][1]
        old = recorded.get(name)
        change = f"{(number / old - 1) * 100:+.1f} %" if old else "new"
        if is_same and not options.record and (old is None or number > old * GROWTH):
            grown += 1
            change += ", TOO MUCH"
        print(f"| {name} | {number:.0f} | {f'{old:.0f}' if old else '–'} | {change} |")
    if options.record:
        recorded = {name: recorded.get(name) for _, name in (line.split(" ", 1) for line in said.splitlines())}
        recorded.update({cases[i][1]: number for i, number in got.items()})
        RECORD.write_text("# SPDX-License-Identifier: Apache-2.0\n"
                          "# Instructions of the main paths: tests/bench/paths.py --record writes them.\n"
                          f"# with {compiler_of(program)}\n"
                          + "".join(f"{name}\t{number:.0f}\n" for name, number in recorded.items() if number))
    elif not is_same:
        print(f"not compared: recorded with {compiler or 'nothing'}, this is {compiler_of(program)}")
        return 0
    print("recorded" if options.record else f"{len(got) - grown} passed, {grown} failed")
    return 1 if grown else 0


if __name__ == "__main__":
    sys.exit(main())
