# SPDX-License-Identifier: Apache-2.0
"""Wall 3: the program exports nothing; a plugin exports one object and needs only its libraries."""

import re
from functools import lru_cache
from pathlib import Path

from kit import cc, output, run, tool
from wall_symbols import RUNTIME, defined_names

# What the linker and the C library put into the dynamic symbols of a file.
LINKER_OWN = {"_init", "_fini", "__bss_start", "_edata", "_end", "_IO_stdin_used", "__data_start",
              "data_start", "_start", "__bss_start__", "_bss_end__", "__bss_end__", "__end__"}
SANITIZER = {"__asan_init", "__tsan_init", "__msan_init", "__ubsan_handle_add_overflow"}


def readelf(option, path):
    return output([*(tool("READELF", "readelf") or ["readelf"]), option, path])


def dynamic_symbols(path):
    """Yields (name without its version, nm's letter)."""
    for line in output([*tool("NM", "nm"), "-D", "-P", path]).splitlines():
        name, kind = line.split()[:2]
        yield name.partition("@")[0], kind


def own_exports(path):
    """{name: nm's letter} of what a file defines for others."""
    copies = set(re.findall(r"_COPY +\S+ (\w+)", readelf("-rW", path)))
    return {name: kind for name, kind in dynamic_symbols(path)
            if kind not in "Uwv" and name not in LINKER_OWN | copies
            and not name.startswith(RUNTIME)}


def has_static_sanitizer(path):
    """clang links its sanitizers into the program, and they export what they intercept."""
    return any(kind in "TW" and name in SANITIZER for name, kind in dynamic_symbols(path))


def program_problems(path):
    for name in sorted(own_exports(path)):
        yield f"{path.name} exports {name}: the core exports nothing"


def plugin_problems(path, symbol):
    exports = own_exports(path)
    if symbol not in exports:
        yield f"{path.name} does not export {symbol}"
    elif exports[symbol] not in "DRBVGS":
        yield f"{path.name}: {symbol} must be data, but nm calls it {exports[symbol]}"
    for name in sorted(set(exports) - {symbol}):
        yield f"{path.name} exports {name}: a plugin exports {symbol} and nothing else"
    yield from undefined_problems(path)
    dynamic, headers = readelf("-dW", path), readelf("-lW", path)
    if "TEXTREL" in dynamic:
        yield f"{path.name} has text relocations: build it with -fPIC"
    if not re.search(r"GNU_STACK(?: +0x\w+){5} +RW +", headers):
        yield f"{path.name} asks for an executable stack"


def undefined_problems(path):
    known = set()
    for library in re.findall(r"\(NEEDED\).*\[(.+)\]", readelf("-dW", path)):
        found = find_library(library)
        if re.match(r"(lib)?avocet", library):
            yield f"{path.name} needs {library}: a plugin links nothing of the core"
        elif not found:
            yield f"{path.name} needs {library}, which is not found"
        else:
            known |= exported_by(found)
    for name, kind in dynamic_symbols(path):
        if kind == "U" and name not in known and not name.startswith(RUNTIME):
            yield f"{path.name}: {name} is in none of the libraries it names"


@lru_cache(maxsize=None)
def exported_by(library):
    return defined_names(library)


@lru_cache(maxsize=None)
def find_library(name):
    asked = Path(output([*cc(), f"-print-file-name={name}"]).strip())
    if asked.is_absolute():
        return asked.resolve()
    ldconfig = tool("LDCONFIG", "ldconfig", "/sbin/ldconfig")
    cache = run([*ldconfig, "-p"]).stdout if ldconfig else ""
    found = re.search(rf"^\s*{re.escape(name)} .*=> (.+)$", cache, re.MULTILINE)
    return Path(found.group(1)).resolve() if found else None


def entry_symbol(srcdir):
    """avocet_plugin_v and the major that the public header states."""
    header = srcdir / "include" / "avocet" / "avocet_base.h"
    major = re.search(r"#define\s+AVOCET_ABI_MAJOR\s+(\d+)", header.read_text(encoding="utf-8"))
    return f"avocet_plugin_v{major.group(1)}"


def check(tap, args):
    for program in args.program:
        text = f"the program {program.name} exports nothing"
        if has_static_sanitizer(program):
            tap.skip(text, "its sanitizer is linked in and exports itself")
        else:
            tap.result(text, program_problems(program))
    symbol = entry_symbol(args.srcdir) if args.plugins else None
    for plugin in args.plugins:
        tap.result(f"the plugin {plugin.name} exports {symbol} only and needs only its libraries",
                   plugin_problems(plugin, symbol))
