# SPDX-License-Identifier: Apache-2.0
"""The walls of the house, checked by a machine. See README.md beside this file.

    walls.py includes|symbols|exports|headers|format [--srcdir DIR] [--builddir DIR]
    walls.py exports --program FILE [PLUGIN.so ...]

Prints TAP; the exit status is 1 if a wall is broken."""

import argparse
import sys
from pathlib import Path

sys.dont_write_bytecode = True

# pylint: disable=wrong-import-position
import wall_exports
import wall_format
import wall_headers
import wall_includes
import wall_symbols
from kit import Tap
from rooms import Rooms, RoomsError


def arguments():
    parser = argparse.ArgumentParser(description="checks the walls between the rooms of avocet")
    walls = parser.add_subparsers(dest="wall", required=True)
    for name in ("includes", "symbols", "exports", "headers", "format"):
        wall = walls.add_parser(name)
        wall.add_argument("--srcdir", type=Path, default=Path(__file__).parents[2])
        wall.add_argument("--builddir", type=Path)
        if name == "exports":
            wall.add_argument("--program", type=Path, action="append", default=[])
            wall.add_argument("plugins", type=Path, nargs="*")
    args = parser.parse_args()
    args.builddir = args.builddir or args.srcdir
    return args


def main():
    args, tap = arguments(), Tap()
    try:
        if args.wall in ("includes", "symbols"):
            wall = {"includes": wall_includes, "symbols": wall_symbols}[args.wall]
            wall.check(tap, Rooms(args.srcdir / "core" / "ROOMS"), args)
        else:
            {"exports": wall_exports, "headers": wall_headers,
             "format": wall_format}[args.wall].check(tap, args)
    except (RoomsError, RuntimeError, OSError) as error:
        print(f"Bail out! {error}")
        return 1
    return tap.finish()


if __name__ == "__main__":
    sys.exit(main())
