#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What logins by SCRAM-SHA-256 cost, and what they cost others.

    sasl.py BENCH BUILD [--rounds 5]

BENCH: the folder of mqload. BUILD: a build of avocet (-O2 -DNDEBUG). The broker has one worker on CPU 0, the clients
are on CPU 1. Logins per second of one core of the broker (by its CPU time, CONNECT to CONNACK and the end of the
connection, over TCP); memory after 1 000 and after 100 000; latency of a hundred others' messages meanwhile; the time
of a wrong password and of an unknown name, by turns."""

import argparse
import base64
import hashlib
import hmac
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent)]
from plugins import HERE, PORT, Broker, load    # noqa: E402

TICK = os.sysconf("SC_CLK_TCK")

def verifier(password, iterations=4096, salt=b"0123456789abcdef"):
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    client = hmac.new(salted, b"Client Key", "sha256").digest()
    server = hmac.new(salted, b"Server Key", "sha256").digest()
    stored = hashlib.sha256(client).digest()
    return "SCRAM-SHA-256$%d:%s$%s:%s" % (iterations, *(base64.b64encode(x).decode() for x in (salt, stored, server)))


def cpu(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def rss(pid):
    return int(next(line for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
                    if line.startswith("VmRSS")).split()[1])


def login(program, count, at_once=20, user="user", password="pencil"):
    done = subprocess.run(["taskset", "-c", "1", program, str(PORT), user, password, str(count), str(at_once)],
                          capture_output=True, text=True, check=True)
    good, secs = done.stdout.split()
    return int(good), float(secs)


def speed(options, text, folder, program):
    per_core, wall, memory = [], [], []
    for _ in range(options.rounds):
        with Broker(options, folder, text, ", auth_delay: 0") as pid:
            assert login(program, 1000)[0] == 1000
            time.sleep(0.5)
            first, before = rss(pid), cpu(pid)
            good, secs = login(program, 99000)
            assert good == 99000
            time.sleep(0.5)
            per_core.append(99000 / (cpu(pid) - before))
            wall.append(99000 / secs)
            memory.append((first, rss(pid)))
    print(f"logins per second of a core: {statistics.median(per_core):.0f} ({min(per_core):.0f} to {max(per_core):.0f}); "
          f"by the clock, with the client on another core: {statistics.median(wall):.0f}")
    print("memory after 1 000 and after 100 000 logins, KiB: " + ", ".join(f"{a} -> {b}" for a, b in memory), flush=True)


def others(options, text, folder, program):
    rows = {False: [], True: []}
    for _ in range(options.rounds):
        for with_logins in (False, True):
            with Broker(options, folder, text, ", auth_delay: 0") as pid:
                logger = subprocess.Popen(["sh", "-c", f"sleep 1; exec taskset -c 1 {program} {PORT} user pencil 20000 20"],
                                          stdout=subprocess.PIPE, text=True) if with_logins else None
                row = load(options, pid, "--pubs", "50", "--subs", "50", "--qos", "1", "--secs", "4", "--rate", "1000")
                if logger:
                    row["secs"] = float(logger.communicate()[0].split()[1])
                rows[with_logins].append(row)
    print("| logins | p50, us | p99, us | max, us |\n|---|---|---|---|")
    for with_logins, got in rows.items():
        name = f"20 000 in {statistics.median(row['secs'] for row in got):.1f} s" if with_logins else "none"
        print(f"| {name} | " + " | ".join(f"{statistics.median(row[key] for row in got):.0f}"
                                          for key in ("p50_us", "p99_us", "max_us")) + " |", flush=True)


def unknown(options, text, folder, program):
    got = {"user": [], "nobody": []}
    with Broker(options, folder, text, ", auth_delay: 0") as pid:
        for _ in range(30):
            for user, times in got.items():
                before = cpu(pid)
                _, secs = login(program, 2000, 1, user, "wrong")
                times.append((secs / 2000 * 1e6, (cpu(pid) - before) / 2000 * 1e6))
    for user, times in got.items():
        print(f"{'a wrong password' if user == 'user' else 'an unknown name'}: {statistics.median(t for t, _ in times):.1f} us "
              f"by the clock, {statistics.mean(c for _, c in times):.1f} us of the broker's CPU")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("bench", type=pathlib.Path)
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    options.build = options.build.resolve()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        program = folder / "sasl_login"
        subprocess.run(["cc", "-O2", "-o", program, HERE / "sasl_login.c", "-lcrypto"], check=True)
        users = folder / "users"
        users.write_text(f"user:{verifier('pencil')}\n")
        users.chmod(0o600)
        text = (f"plugins: [{{ name: sasl, module: {options.build}/plugins/auth-sasl/auth-sasl.so, config: {{ file: {users}, "
                "lockout_failures: 0, lockout_user_failures: 0, max_delay: 0 } }]\n"
                "chains: { default: { authenticate: [sasl] } }\n")
        speed(options, text, folder, program)
        unknown(options, text, folder, program)
        others(options, text, folder, program)


if __name__ == "__main__":
    sys.exit(main())
