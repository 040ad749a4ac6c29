# SPDX-License-Identifier: Apache-2.0
"""A disk that does what the test says: tests/torture/disk.c, which stands between a broker and its data."""

import mmap
import os
import pathlib
import shutil
import struct
import subprocess

SOURCE = pathlib.Path(__file__).resolve().parents[1] / "torture" / "disk.c"
CC = os.environ.get("CC", "cc").split()[0]
WORDS = ("quota", "fails", "delay_us", "crash_at", "is_torn", "loses", "seed", "calls", "syncs", "cut_now")


def compiler():
    return shutil.which(CC)


def build(folder):
    """The library to preload."""
    out = pathlib.Path(folder) / "disk.so"
    subprocess.run([CC, "-std=c11", "-Wall", "-Werror", "-O1", "-g", "-shared", "-fPIC", "-fvisibility=hidden", "-o", out,
                    SOURCE, "-ldl", "-lpthread"], check=True)
    return out


class Disk:
    """Of one data folder; its words are attributes."""

    def __init__(self, library, control, folder):
        self.__dict__["_path"] = pathlib.Path(control)
        self._path.write_bytes(struct.pack("=10q", -1, *[0] * 9))
        with open(self._path, "r+b") as file:
            self.__dict__["_map"] = mmap.mmap(file.fileno(), 80)
        self.__dict__["environment"] = {"LD_PRELOAD": str(library), "AVOCET_DISK_CONTROL": str(control),
                                        "AVOCET_DISK_FOLDER": str(folder)}

    def __getattr__(self, name):
        return struct.unpack_from("=q", self._map, WORDS.index(name) * 8)[0]

    def __setattr__(self, name, value):
        struct.pack_into("=q", self._map, WORDS.index(name) * 8, value)

    def mend(self):
        """A new life: nothing is wrong any more."""
        for name in WORDS:
            setattr(self, name, -1 if name == "quota" else 0)
