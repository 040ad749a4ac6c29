# SPDX-License-Identifier: Apache-2.0
"""The fuzzers' corpora.

corpus.py expand NAME DIR   writes the seeds of fuzzer NAME into DIR: those made from the tables of
                            packets (tests/lib) and the stored ones (NAME.hex beside this file)
corpus.py store NAME DIR    makes NAME.hex from DIR, which libFuzzer has minimised (-merge=1):
                            one input a line, in hex; what expand makes anyhow is left out
"""
import hashlib
import pathlib
import struct
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "lib"))
import packets  # noqa: E402

LONGEST = 4096  # bytes of a seed; the tables hold some far longer ones
STORED = 1024  # bytes of a stored input
VERSION_CODE = {"wire_decode": {3: 1, 4: 2, 5: 3}, "wire_round": {3: 0, 4: 1, 5: 2}}
TOPICS = ["a/b", "+", "#", "a/#", "+/+", "$share/g/a", "$SYS/#", "/", "a//b", "\u00fc/\U0001f426", "a+", "#/a"]
STORED_ONLY = ("ws", "proxy_head", "broker")
YAML = [
    "", "workers: 2\n", "limits: {max_packet_size: 1MiB, max_session_expiry: 1h30m}\n",
    "listeners:\n  - bind: 0.0.0.0:1883\n    origins: [a, b]\n    protocol_versions: [5.0]\n"
    "    tls: {certfile: x.pem, psk: yes}\n    limits: {max_qos: 1}\n",
    "chains:\n  default: {authenticate: [users, {use: scram, timeout: 2s}]}\n",
    "password: !env NAME\nworkers: !env {name: 1, default: 3}\n", "password: !file x\n",
    "a: &a [1]\nb: [*a, *a]\n", "config: {a: [1, {b: c}], d: \"x\\ty\"}\n", "workerz: 1\n",
    "? a\n: b\n", "<<: {a: b}\n", "--- \nworkers: 1\n...\n", "workers:\t1\n", "x: |\n  text\n  more\n", "'k': >-\n  folded\n",
]
ACLS = [
    "groups: { g: [a, b] }\nrules:\n- { allow: [publish], users: [a], topics: [a/#, 'x/%u/+'] }\n"
    "- { deny: [subscribe, receive], groups: g, client_ids: [c], addresses: [192.0.2.0/24, '::1'], topics: '#' }\n",
    "topic read $SYS/#\nuser a b\ntopic deny a/b\npattern write %c/%u/+\n", "rules: ~\n", "- a\n", "user\n",
]
USERS = [
    "alice:SCRAM-SHA-256$4096:c2FsdHNhbHQ=$" + "A" * 43 + "=:" + "A" * 43 + "=\n",
    "alice:SCRAM-SHA-512$4096:c2FsdHNhbHQ=$" + "A" * 86 + "==:" + "A" * 86 + "==\n# x\n\n",
    "alice:$6$c2FsdHNhbHQ=$" + "A" * 86 + "==\n", "bob:$7$101$c2FsdHNhbHQ=$" + "A" * 86 + "==\nalice:x\n",
]
ANSWERS = [
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Accept: \1\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n",
    "HTTP/1.1 101\r\nSec-WebSocket-Protocol:mqtt\r\nSec-WebSocket-Extensions:\r\nSec-WebSocket-Accept:\1\r\n"
    "connection: keep-alive, ,UPGRADE\r\nUPGRADE:WebSocket \r\n\r\n",
    "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 101 x\r\nSec-WebSocket-Extensions: x\r\n\r\n",
]
FRAMES = b"\x02\1a\x89\1?\x80\1b\x82\0\x82\x7e\0\x7e" + 126 * b"x" + b"\x88\2\3\xe8"


def elf():
    """The smallest shared object that is a module: headers, a symbol table, a dynamic section."""
    names = b"\0avocet_plugin_v0\0malloc\0"
    symbols = (bytes(24) + struct.pack("<IBBHQQ", 1, 0x11, 0, 1, 0, 8) + struct.pack("<IBBHQQ", 18, 0x12, 0, 0, 0, 0))
    dynamic = struct.pack("<QQQQ", 22, 0, 0, 0)
    at = 64 + 2 * 56
    programs = (struct.pack("<IIQQQQQQ", 2, 6, at, at, at, len(dynamic), len(dynamic), 8) +
                struct.pack("<IIQQQQQQ", 0x6474e551, 6, 0, 0, 0, 0, 0, 16))
    body = dynamic + symbols + names + bytes(-len(names) % 8)
    symbols_at, names_at = at + len(dynamic), at + len(dynamic) + len(symbols)
    sections = bytes(64)
    sections += struct.pack("<IIQQQQIIQQ", 0, 11, 2, 0, symbols_at, len(symbols), 2, 1, 8, 24)
    sections += struct.pack("<IIQQQQIIQQ", 0, 3, 2, 0, names_at, len(names), 0, 0, 1, 0)
    sections += struct.pack("<IIQQQQIIQQ", 0, 14, 3, 0, at, 16, 0, 0, 8, 8)
    header = (b"\x7fELF\2\1\1" + bytes(9) +
              struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, at + len(body), 0, 64, 56, 2, 64, 4, 0))
    return header + programs + body + sections


def stores():
    """Operations as a store gives them back: whole ones, and each with a part that does not fit."""
    def op(kind, a=0, b=0, t=0, *s):
        s = (*s, b"", b"", b"")[:3]
        return bytes([kind, a, b, 0, t, *map(len, s)]) + b"".join(s)

    def text(data):
        return struct.pack(">H", len(data)) + data
    message = struct.pack(">BBBIIq", 1, 2, 1, 0, 0, 1799999990000) + text(b"c") + text(b"u") + b"\x26\0\1k\0\1v"
    expiring = struct.pack(">BBBIIq", 1, 1, 4, 5, 0, 1799999990000) + text(b"c") + text(b"")
    session = struct.pack(">BBIqB", 1, 1, 1000, 0, 5) + text(b"u") + text(b"mqtt") + text(b"1.2.3.4:5") + text(b"") + text(b"")
    asleep = struct.pack(">BBIqB", 1, 0, 5, 1799999990000, 4) + 5 * text(b"")
    sub, shared = struct.pack(">BBIH", 1, 2, 7, 0), struct.pack(">BBIH", 1, 64 | 1, 0, 0)
    row, shared_row = struct.pack(">BBBH", 1, 2, 0, 0) + text(b""), struct.pack(">BBBH", 1, 1, 0, 0) + text(b"$share/g/a/b")
    will = struct.pack(">BIBB", 1, 1, 1, 0)
    world = [op(5, 10, 0, 0, b"a/b", b"payload", message), op(5, 11, 0, 0, b"a/b", b"", expiring), op(5, 12, 0, 0, b"r", b"x", message),
             op(1, 1, 0, 0, b"one", b"", session), op(1, 2, 0, 0, b"two", b"", asleep), op(1, 3, 0, 0, b"one", b"", asleep),
             op(3, 1, 0, 0, b"a/#", b"", sub), op(3, 2, 0, 0, b"$share/g/a/b", b"", shared), op(16, 1, 0, 0, b"a/#"),
             op(7, 20, 10, 1, b"", b"", row), op(8, 20, 1, 5), op(7, 21, 10, 1, b"", b"", row), op(8, 21, 2, 6),
             op(7, 22, 11, 1, b"", b"", row), op(7, 23, 10, 9, b"", b"", shared_row), op(7, 24, 99, 1, b"", b"", row),
             op(10, 1, 7), op(12, 12, 3, 0, b"r"), op(14, 1, 0, 0, b"w", b"dead", struct.pack(">H", len(will)) + will + message)]
    yield b"".join(world)
    for i, one in enumerate(world):
        yield one
        yield b"".join(world[:i] + world[i + 1:])


def near_answers():
    """Right but for one line, which is missing, twice there, or in other letters."""
    lines = ANSWERS[0].split("\r\n")[:-2]
    for i, line in enumerate(lines):
        for other in ([], [line, line], [line.upper()]):
            yield "\r\n".join(lines[:i] + other + lines[i + 1:]) + "\r\n\r\n"


def seeds(name):
    """The inputs that are made, not stored."""
    if name in VERSION_CODE:
        for fixture in packets.load():
            if len(fixture.data) < LONGEST:
                for version in fixture.versions:
                    code = VERSION_CODE[name][version] | (4 if fixture.to == "client" else 0)
                    code |= 8 if "lenient" in fixture.options else 0
                    yield bytes([code]) + fixture.data
    elif name == "topic":
        for topic in TOPICS:
            for other in TOPICS:
                yield topic.encode() + b"\n" + other.encode()
    elif name == "conf":
        yield from (text.encode() for text in YAML)
    elif name == "acl":
        yield from (bytes([kind]) + text.encode() for text in ACLS for kind in range(3))
    elif name == "ws_connect":
        for sizes in (b"\0\xfe", b"\1\0", b"\7\5"):
            yield from (b"\0" + sizes + text.encode() + FRAMES for text in ANSWERS + list(near_answers()))
            yield from (bytes([kind]) + sizes + FRAMES for kind in (1, 3, 0x73))
    elif name == "users":
        yield from (text.encode() for text in USERS)
    elif name == "elf":
        yield elf()
    elif name == "sasl":
        first = b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL"
        for method in range(14):
            for how in (0, 4, 8, 12):
                yield bytes([how, method, len(first)]) + first + bytes([how | 2, method, 20]) + b"c=biws,r=x,p=AAAAAAAA"[:20]
                yield bytes([how, method, 0, how | 2, method, len(first)]) + first + bytes([how | 1, method, 0])
        yield bytes([4, 8, 12]) + b"\0user\0pencil"
    elif name == "store":
        yield from stores()
    elif name == "kv":
        yield from (b"", b"\0avocet kv 1\n", b"\0avocet kv 1\n" + 16 * b"\1", b"\1a\5b\7a\xff", b"\x20a\x40a\x41b\3")
    elif name not in STORED_ONLY:
        sys.exit(f"corpus.py: no fuzzer {name}")


def expand(name, folder):
    folder.mkdir(parents=True, exist_ok=True)
    stored = HERE / f"{name}.hex"
    lines = stored.read_text().splitlines() if stored.exists() else []
    inputs = {bytes.fromhex(line) for line in lines if not line.startswith("#")}
    for data in inputs | set(seeds(name)):
        (folder / hashlib.sha1(data).hexdigest()).write_bytes(data)


def store(name, folder):
    made = set(seeds(name))
    inputs = {path.read_bytes() for path in folder.iterdir()}
    kept = sorted(data.hex() for data in inputs - made if len(data) <= STORED)
    text = "# SPDX-License-Identifier: Apache-2.0\n" + "".join(line + "\n" for line in kept)
    (HERE / f"{name}.hex").write_text(text)
    print(f"{name}: {len(kept)} inputs kept, {len(inputs) - len(kept)} are made or too long")


def main():
    if len(sys.argv) != 4 or sys.argv[1] not in ("expand", "store"):
        sys.exit(__doc__)
    (expand if sys.argv[1] == "expand" else store)(sys.argv[2], pathlib.Path(sys.argv[3]))


main()
