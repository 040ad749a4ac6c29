# SPDX-License-Identifier: Apache-2.0
"""Loader of the packet fixture tables packets.tsv and packets-props.tsv.

The format is described in README.md. Use from a test:

    import packets
    for fixture in packets.load():
        for version in fixture.versions:
            ...

From the shell: `packets.py` checks both tables and prints counts, `--ids` adds one line for every
statement id with the number of its rows, `--spec DIR` refuses ids that the statement lists in DIR
(mqtt5-normative.tsv, mqtt311-normative.tsv) do not have. The exit status is 1 if a table is broken.
"""

import argparse
import pathlib
import re
import sys
from dataclasses import dataclass, field

HERE = pathlib.Path(__file__).resolve().parent
TABLES = (HERE / "packets.tsv", HERE / "packets-props.tsv")

PACKETS = ("reserved", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP",
           "SUBSCRIBE", "SUBACK", "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT",
           "AUTH")
REASONS = ("81", "82", "84", "85", "94", "95")
LARGEST_ROW = 70000

_ID = re.compile(r"MQTT(?:5|311)-[1-9]\.[0-9]{1,2}\.[0-9]{1,2}-[1-9][0-9]?")
_TITLE = re.compile(r"[!-~](?:[ -~]*[!-~])?")
_TEXT = re.compile(r"[!-~](?:[ -~]*[!-~])?")
_MAX = re.compile(r"max=([1-9][0-9]*)")
_TOKEN = re.compile(r"(s?)'([ -&(-~]*)'"                        # 'text' and s'text'
                    r"|([0-9A-Fa-f]{2})\*([1-9][0-9]*)"          # HH*N
                    r"|((?:[0-9A-Fa-f]{2})+)")                   # hex pairs


class TableError(ValueError):
    """A table breaks the format; the message names the file and the line."""


@dataclass(frozen=True)
class Fixture:
    """One row. `text` is empty unless `result` is "ok"."""
    ids: tuple
    title: str
    versions: tuple
    to: str
    options: tuple
    data: bytes = field(repr=False)
    result: str
    text: str = field(repr=False)
    source: str = field(default="", compare=False)

    @property
    def lenient(self):
        return "lenient" in self.options

    @property
    def control(self):
        return "control" in self.options

    @property
    def canonical(self):
        """True if encoding the decoded packet again gives the same bytes."""
        return self.result == "ok" and "nocanon" not in self.options

    @property
    def max_size(self):
        """The receiver's maximum packet size in bytes, 0 without a limit."""
        for option in self.options:
            if option.startswith("max="):
                return int(option[4:])
        return 0

    @property
    def packet(self):
        """Name of the packet type in the first byte."""
        return PACKETS[self.data[0] >> 4]


def parse_bytes(text):
    """The bytes that a text in the mini language of the bytes column stands for."""
    out = bytearray()
    pos = 0
    while pos < len(text):
        match = _TOKEN.match(text, pos)
        if match is None:
            raise ValueError(f"bad token at {text[pos:pos + 20]!r}")
        counted, quoted, byte, times, pairs = match.groups()
        if quoted is not None:
            raw = quoted.encode("ascii")
            if counted:
                out += len(raw).to_bytes(2, "big")
            out += raw
        elif byte is not None:
            if int(times) > LARGEST_ROW:
                raise ValueError(f"{match.group()} is too long")
            out += bytes.fromhex(byte) * int(times)
        else:
            out += bytes.fromhex(pairs)
        pos = match.end()
        if pos < len(text):
            if text[pos] != " ":
                raise ValueError(f"no blank before {text[pos:pos + 20]!r}")
            while pos < len(text) and text[pos] == " ":
                pos += 1
            if pos == len(text):
                raise ValueError("blank at the end")
    if len(out) > LARGEST_ROW:
        raise ValueError(f"{len(out)} bytes are too many")
    return bytes(out)


def _framing(data, version, lenient, limit):
    """How the fixed header alone looks: "partial", "complete", "extra", or the reason code that is
    decided before the body is read."""
    kind, flags = data[0] >> 4, data[0] & 15
    if kind == 0 or (kind == 15 and version < 5):
        return "81"
    right = 2 if kind in (6, 8, 10) else 0
    if version == 3 and right == 2:
        flags &= ~8     # DUP, which 3.1 sets when it sends again
    if kind != 3 and flags != right:
        return "81"
    length = 0
    for used in range(1, 5):
        if used == len(data):
            return "partial"
        length |= (data[used] & 127) << (7 * (used - 1))
        if data[used] < 128:
            break
    else:
        return "81"
    if data[used] == 0 and used > 1 and not lenient:
        return "81"
    total = 1 + used + length
    if limit and total > limit:
        return "95"
    if len(data) == total:
        return "complete"
    return "partial" if len(data) < total else "extra"


def _check_result(fixture):
    """Compare the result column with what the fixed header says; a ValueError on contradiction."""
    for version in fixture.versions:
        state = _framing(fixture.data, version, fixture.lenient, fixture.max_size)
        if state == "extra":
            raise ValueError("bytes behind the packet")
        if state in REASONS:
            if fixture.result != state:
                raise ValueError(f"fixed header gives {state} in version {version}")
        elif fixture.result == "95":
            raise ValueError("packet is not above the limit")
        elif (state == "partial") != (fixture.result == "more"):
            raise ValueError(f"packet is {state} in version {version}")


def _columns(fields):
    ids, title, versions, to, options, data, result, text = fields
    idlist = () if ids == "-" else tuple(ids.split(","))
    for one in idlist:
        if not _ID.fullmatch(one):
            raise ValueError(f"bad statement id {one!r}")
    if len(set(idlist)) != len(idlist):
        raise ValueError("statement id given twice")
    if not _TITLE.fullmatch(title) or title != title.lower() or "  " in title:
        raise ValueError("bad title")
    if versions not in ("3", "4", "5", "3,4", "3,5", "4,5", "3,4,5"):
        raise ValueError(f"bad versions {versions!r}")
    verlist = tuple(int(v) for v in versions.split(","))
    for one in idlist:
        if (5 if one.startswith("MQTT5-") else 4) not in verlist:
            raise ValueError(f"{one} in a row of another version")
    if to not in ("server", "client"):
        raise ValueError(f"bad receiver {to!r}")
    optlist = () if options == "-" else tuple(options.split(","))
    for one in optlist:
        if one not in ("lenient", "control", "nocanon") and not _MAX.fullmatch(one):
            raise ValueError(f"bad option {one!r}")
    if len({one.partition("=")[0] for one in optlist}) != len(optlist):
        raise ValueError("option given twice")
    raw = parse_bytes(data)
    if not raw:
        raise ValueError("no bytes")
    if result not in ("ok", "more") + REASONS:
        raise ValueError(f"bad result {result!r}")
    if (result == "ok") == (text == "-"):
        raise ValueError("text goes with the result ok only")
    if result != "ok" and "nocanon" in optlist:
        raise ValueError("nocanon goes with the result ok only")
    if result == "ok":
        if not _TEXT.fullmatch(text):
            raise ValueError("bad text")
        if text.split(" ")[0] != PACKETS[raw[0] >> 4]:
            raise ValueError("text names another packet")
    return idlist, title, verlist, to, optlist, raw, result, "" if text == "-" else text


def load(paths=TABLES):
    """All rows of the tables in order, checked; TableError if one is broken."""
    fixtures = []
    titles = {}
    for path in map(pathlib.Path, paths):
        try:
            content = path.read_bytes().decode("utf-8")
        except UnicodeDecodeError as error:
            raise TableError(f"{path}: not UTF-8: {error}") from None
        if "\r" in content or content.startswith("\ufeff") or not content.endswith("\n"):
            raise TableError(f"{path}: carriage return, byte order mark, or no newline at the end")
        for number, line in enumerate(content[:-1].split("\n"), 1):
            if line == "" or line.startswith("#"):
                continue
            where = f"{path.name}:{number}"
            try:
                fields = line.split("\t")
                if len(fields) != 8:
                    raise ValueError(f"{len(fields)} columns instead of 8")
                for text in fields:
                    if text == "" or text != text.strip():
                        raise ValueError("empty column or blanks around one")
                fixture = Fixture(*_columns(fields), where)
                if fixture.title in titles:
                    raise ValueError(f"title {fixture.title!r} is also at {titles[fixture.title]}")
                _check_result(fixture)
            except ValueError as error:
                raise TableError(f"{where}: {error}") from None
            titles[fixture.title] = where
            fixtures.append(fixture)
    return fixtures


def _id_key(statement):
    version, rest = statement[4:].split("-", 1)
    return int(version), [int(number) for number in re.split("[.-]", rest)]


def _count(fixtures, key):
    counts = {}
    for fixture in fixtures:
        for value in key(fixture):
            counts[value] = counts.get(value, 0) + 1
    return counts


def _print_counts(label, counts):
    print(f"{label}: " + ", ".join(f"{name} {counts[name]}" for name in sorted(counts)))


def _spec_ids(folder):
    known = set()
    for name, prefix in (("mqtt5-normative.tsv", "MQTT5-"), ("mqtt311-normative.tsv", "MQTT311-")):
        lines = (pathlib.Path(folder) / name).read_text(encoding="utf-8").splitlines()
        known.update(prefix + line.split("\t")[0][5:] for line in lines[1:])
    return known


def main(argv=None):
    parser = argparse.ArgumentParser(description="Check the packet tables and print counts.")
    parser.add_argument("tables", nargs="*", default=TABLES, help="default: both tables")
    parser.add_argument("--ids", action="store_true", help="print all statement ids covered")
    parser.add_argument("--spec", metavar="DIR", help="folder of the statement lists to check the ids with")
    args = parser.parse_args(argv)
    try:
        fixtures = load(args.tables)
    except (TableError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    ids = _count(fixtures, lambda f: f.ids)
    print(f"rows: {len(fixtures)}, runs (row x version): {sum(len(f.versions) for f in fixtures)}")
    _print_counts("by table", _count(fixtures, lambda f: [f.source.split(":")[0]]))
    _print_counts("by result", _count(fixtures, lambda f: [f.result]))
    _print_counts("by receiver", _count(fixtures, lambda f: [f.to]))
    _print_counts("by version", _count(fixtures, lambda f: [str(v) for v in f.versions]))
    _print_counts("by packet", _count(fixtures, lambda f: [f.packet]))
    print(f"statement ids: {len(ids)} ({sum(i.startswith('MQTT5-') for i in ids)} of MQTT 5.0, "
          f"{sum(i.startswith('MQTT311-') for i in ids)} of MQTT 3.1.1)")
    if args.ids:
        for one in sorted(ids, key=_id_key):
            print(f"{one} {ids[one]}")
    if args.spec:
        unknown = sorted(set(ids) - _spec_ids(args.spec), key=_id_key)
        if unknown:
            print("unknown statement ids: " + ", ".join(unknown), file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
