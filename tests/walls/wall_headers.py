# SPDX-License-Identifier: Apache-2.0
"""Wall 4: each public header compiles alone, as C11 and C++11, and pads no struct anywhere."""

import os

from kit import cc, run, tool

STRICT = ["-Wall", "-Wextra", "-pedantic", "-Werror", "-fsyntax-only"]
# clang lays out (and so warns about) a struct that nobody uses only for its debug information.
PADDED = ["-std=c11", "-Wpadded", "-Werror", "-g", "-fno-eliminate-unused-debug-types", "-S",
          "-emit-llvm", "-o", os.devnull]
TARGETS = ["armv7a-none-eabi", "riscv32-unknown-elf", "i686-unknown-elf"]


def modes():
    """Yields (what is shown, command or None, language, reason to skip)."""
    cxx, clang = tool("CXX", "c++", "g++", "clang++"), tool("CLANG", "clang", "clang-14")
    yield "compiles alone as C11", [*cc(), "-std=c11", *STRICT], "c", None
    yield "compiles alone as C++11", cxx and [*cxx, "-std=c++11", *STRICT], "c++", "no C++ compiler"
    yield "has no padding (native)", clang and [*clang, *PADDED], "c", "no clang"
    for target in TARGETS:
        command = clang and [*clang, *PADDED, f"--target={target}", "-ffreestanding"]
        yield f"has no padding ({target.split('-')[0]})", command, "c", "no clang"


def problems(command, language, include, header):
    """A translation unit that includes one header and nothing else, as a plugin would."""
    unit = f"#include <avocet/{header}>\ntypedef int walls_is_not_empty;\n"
    result = run([*command, "-I", include, "-x", language, "-"], input=unit)
    if result.returncode == 0:
        return []
    wrong = [line for line in result.stderr.splitlines() if "error:" in line]
    return [line.replace(f"{include}/", "") for line in wrong or result.stderr.splitlines()]


def check(tap, args):
    include = args.srcdir / "include"
    folder = include / "avocet"
    for path in sorted(folder.rglob("*.h")):
        header = path.relative_to(folder).as_posix()
        for text, command, language, why in modes():
            if command:
                tap.result(f"{header} {text}", problems(command, language, include, header))
            else:
                tap.skip(f"{header} {text}", why)
