# SPDX-License-Identifier: Apache-2.0
"""The fuzzers' corpora.

corpus.py expand NAME DIR   writes the seeds of fuzzer NAME into DIR: those made from the tables of
                            packets (tests/lib) and the stored ones (NAME.hex beside this file)
corpus.py store NAME DIR    makes NAME.hex from DIR, which libFuzzer has minimised (-merge=1):
                            one input a line, in hex; what expand makes anyhow is left out
"""
import hashlib
import pathlib
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
