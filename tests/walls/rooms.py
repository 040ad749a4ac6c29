# SPDX-License-Identifier: Apache-2.0
"""Reads core/ROOMS, the layer table, and answers what it allows. The file explains its statements.

A "source" is a path relative to core/, e.g. conf/yaml.c; its room is its first folder."""

from fnmatch import fnmatchcase


class RoomsError(Exception):
    """core/ROOMS cannot be read; the text is file:line: sentence."""


def matches(name, patterns):
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def room_of(source):
    return source.split("/")[0] if "/" in source else ""


class Rooms:
    def __init__(self, path):
        self.rooms = {}      # room -> the rooms it may include, as written
        self.only = []       # (file patterns, rooms)
        self.doors = []      # (header patterns, file patterns)
        self.symbols = []    # (symbol patterns, file patterns)
        self.libc = set()    # headers that all may include
        self.pure = {}       # room -> symbol patterns
        self.names = {}      # room -> further prefixes
        for number, line in statements(path.read_text(encoding="utf-8")):
            try:
                self._statement(line)
            except ValueError as error:
                raise RoomsError(f"core/ROOMS:{number}: {error}") from None

    def _statement(self, line):
        word, _, rest = line.partition(" ")
        left, colon, right = (part.strip() for part in rest.partition(":"))
        left, right = left.split(), right.split()
        if word == "libc" and not colon:
            self.libc.update(left)
            return
        if not colon or not left:
            raise ValueError(f"expected `{word} ... : ...`")
        if word in ("room", "pure", "names"):
            self._about_room(word, left, right)
        elif word == "only":
            self._known(right)
            self.only.append((left, right))
        elif word in ("door", "symbol"):
            {"door": self.doors, "symbol": self.symbols}[word].append((left, right))
        else:
            raise ValueError(f"unknown statement `{word}`")

    def _about_room(self, word, left, right):
        if len(left) != 1:
            raise ValueError(f"`{word}` names one room before the colon")
        table = {"room": self.rooms, "pure": self.pure, "names": self.names}[word]
        if left[0] in table:
            raise ValueError(f"a second `{word} {left[0]}`")
        self._known(right if word == "room" else left)
        table[left[0]] = right

    def _known(self, rooms):
        for room in rooms:
            if room not in self.rooms:
                raise ValueError(f"room {room} does not stand above this line")

    def allowed(self, source):
        """The rooms that a source may include: its own, base, and what the table names."""
        room = room_of(source)
        listed = next((rooms for patterns, rooms in self.only if matches(source, patterns)),
                      self.rooms.get(room, []))
        return list(dict.fromkeys([room, "base", *listed]))

    def door(self, header, source):
        """None: the header has no door. Else the pair (does it let source in, who may enter)."""
        return gate(self.doors, header, source)

    def symbol(self, name, source):
        """As door(), for an undefined symbol of the object of source."""
        return gate(self.symbols, name, source)


def gate(rules, name, source):
    entered = [files for patterns, files in rules if matches(name, patterns)]
    if not entered:
        return None
    files = [pattern for files in entered for pattern in files]
    return matches(source, files), " ".join(files) or "nobody"


def statements(text):
    """Yields (line number, statement), with comments removed and continuations joined."""
    pending, start = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        line = line.split("#")[0].rstrip()
        if not line:
            continue
        if line[0] in " \t":
            pending += " " + line.strip()
            continue
        if pending:
            yield start, pending
        pending, start = line, number
    if pending:
        yield start, pending
