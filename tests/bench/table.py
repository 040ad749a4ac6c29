#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The table of doc/performance.md: avocet beside `floor` and Debian's mosquitto, in the same run.

    table.py LOAD AVOCET [--short] [--rounds 5] [--secs 2] [--only NAME]... [--lines FILE] [--list]

LOAD: the folder of mqload and floor. Each broker has CPU 0, the generator CPU 1; a round goes once round the brokers,
so that what else happens on the machine hits all of them. Prints a report in Markdown: medians, with least and most in
brackets, the ratio to floor, and whether the target is met. --short: two rounds of half a second and smaller numbers,
under three minutes. --lines: one line of JSON about this run is added to FILE, so that runs can be compared.

What is lost, refused or closed, and what was asked and did not come, is told below the table: a figure from such a run
means nothing, and the exit status is 1. A target that is missed is no such fault."""

import argparse
import contextlib
import dataclasses
import datetime
import json
import os
import pathlib
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

SERVER_CPU, LOAD_CPU = "0", "1"
FAULTS = ("lost", "dup", "out_of_order", "closed", "protocol_errors", "sub_failed", "refused", "bad", "stalled",
          "aborted", "said")
FLOOD_LEAST = 10000  # messages a second: ten times the quiet ones
# Figures of mqload, by sub-command, with what each must be.
ASKED = {
    "conns": {"up": lambda got: got["n"]},
    "subs": {"n": lambda got: got["asked"], "delivered": lambda got: got["expected"]},
    "retained": {"acked": lambda got: got["n"], "delivered": lambda got: got["n"]},
    "offline": {"queued": lambda got: got["sessions"] * got["per_session"],
                "reconnected": lambda got: got["sessions"], "session_present": lambda got: got["sessions"],
                "delivered": lambda got: got["sessions"] * got["per_session"]},
}


@dataclasses.dataclass(frozen=True)
class Row:
    """A workload: what mqload is asked, which of its figures counts, and what is aimed at."""
    name: str
    title: str
    arguments: tuple
    key: str = "cpu_us_per_msg"
    ratio: float = 0  # target: that many times floor; 0: none
    most: float = 0  # target: the figure itself; 0: none
    of_mosquitto: float = 0  # target: that part of mosquitto's; 0: none
    two: float = 0  # target of two workers on the CPU of one: that many times one's cost; 0: not measured
    floor: tuple | None = ()  # what floor is asked besides; None: floor cannot do it
    tls: bool = False
    timed: bool = True  # takes --secs
    unit: str = "us"


def pairs(name, title, qos, window, *more, **targets):
    return Row(name, title, ("pubsub", "--topology", "pairs", "--pubs", "50", "--subs", "50", "--qos", str(qos),
                             "--window", str(window), *more), **targets)


def rows(short):
    idle, filters, kept, queued = (2000, 100000, 50000, 20) if short else (19500, 1000000, 500000, 200)
    conns = ("conns", "--n", str(idle))
    return [
        pairs("pairs-0", "pairs 50 x 50, QoS 0, 32 under way each", 0, 32, ratio=2.0, two=1.1),
        pairs("pairs-0-1", "the same, one under way", 0, 1, ratio=1.12, two=1.5),
        Row("fanin", "fan-in 100 to 1, QoS 0", ("pubsub", "--topology", "fanin", "--pubs", "100", "--subs", "1"),
            ratio=1.15, two=1.1, floor=("--same-topic",)),
        Row("fanout", "fan-out 1 to 500, QoS 0", ("pubsub", "--topology", "fanout", "--pubs", "1", "--subs", "500"),
            ratio=1.2, two=1.1),
        pairs("pairs-1", "pairs QoS 1, 32 under way", 1, 32, ratio=1.6, two=1.1),
        pairs("pairs-1-1", "the same, one under way", 1, 1, ratio=1.1, two=1.5),
        pairs("pairs-2", "pairs QoS 2, 32 under way", 2, 32, ratio=1.5, two=1.1),
        pairs("pairs-tls", "pairs QoS 0 over TLS 1.3 (floor: plain)", 0, 32, ratio=3, two=1.1, tls=True),
        pairs("rate", "5 000 messages a second, QoS 0, over 50 publishers", 0, 32, "--rate", "5000", ratio=1.1),
        Row("idle", f"idle connection, of {idle}", conns, "rss_bytes_per_conn", most=700, timed=False, unit="bytes"),
        Row("idle-sub", "the same with a subscription each", (*conns, "--subscribe"), "rss_bytes_per_conn_sub",
            most=900, floor=None, timed=False, unit="bytes"),
        Row("idle-tls", f"idle connection over TLS 1.3, of {idle // 10}", ("conns", "--n", str(idle // 10)),
            "rss_bytes_per_conn", of_mosquitto=0.5, floor=None, tls=True, timed=False, unit="bytes"),
        Row("connect", "CONNECT", conns, "cpu_us_per_conn", most=20, timed=False),
        Row("subscription", f"subscription, of {filters}", ("subs", "--n", str(filters), "--subs", "100"),
            "rss_bytes_per_sub", most=250, floor=None, timed=False, unit="bytes"),
        Row("match", "PUBLISH that matches one of them", ("subs", "--n", str(filters), "--subs", "100"), "pub_cpu_us",
            most=3, floor=None, timed=False),
        Row("retained", f"retained message, of {kept}", ("retained", "--n", str(kept)), "rss_bytes_per_msg", most=250,
            floor=None, timed=False, unit="bytes"),
        Row("retained-drain", "all of them by one wildcard", ("retained", "--n", str(kept)), "drain_s", most=0.4,
            floor=None, timed=False, unit="s"),
        Row("queued", f"queued message, of {queued * 1000}", ("offline", "--n", str(queued), "--msgs", "1000"),
            "rss_bytes_per_msg", most=200, floor=None, timed=False, unit="bytes"),
        Row("queued-drain", "all of them drained", ("offline", "--n", str(queued), "--msgs", "1000"), "drain_s",
            most=0.15, floor=None, timed=False, unit="s"),
    ]


class Brokers:
    """Starts one of them on a free port; each keeps nothing on disk and refuses nobody."""

    def __init__(self, options, folder):
        self.options, self.folder, self.done = options, folder, {}
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-days", "2", "-subj", "/CN=localhost", "-keyout", folder / "key.pem", "-out",
                        folder / "cert.pem"],
                       check=True, capture_output=True)
        # Mosquitto gives up its privileges before it reads them.
        os.chmod(folder, 0o755)
        os.chmod(folder / "key.pem", 0o644)

    def command(self, name, port, tls):
        cert, key = self.folder / "cert.pem", self.folder / "key.pem"
        if name == "floor":
            return [self.options.load / "floor", str(port)]
        path = self.folder / "conf"
        if name == "mosquitto":
            path.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n"
                            "max_inflight_messages 1000\nlog_dest none\nset_tcp_nodelay true\n"
                            + (f"certfile {cert}\nkeyfile {key}\n" if tls else ""))
            return ["mosquitto", "-c", path]
        secret = f", tls: {{ certfile: {cert}, keyfile: {key} }}" if tls else ""
        path.write_text(f"broker: {{ workers: {2 if name == 'avocet, 2 workers' else 1}, data_dir: {self.folder}, "
                        f"control: {self.folder}/control.sock }}\nlisteners: [{{ bind: '127.0.0.1:{port}'{secret} }}]\n"
                        "limits: { max_subscriptions: 0, max_inflight_messages: 1000, max_queued_messages: 0 }\n"
                        "log: { level: warning }\n")
        return [self.options.avocet, "-c", path]

    @contextlib.contextmanager
    def run(self, name, tls=False, cpus=SERVER_CPU):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        server = subprocess.Popen(["taskset", "-c", cpus, *self.command(name, port, tls)], stdin=subprocess.DEVNULL,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            end = time.monotonic() + 10
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                if server.poll() is not None or time.monotonic() > end:
                    server.kill()
                    raise RuntimeError(f"{name} does not start: {server.stderr.read().strip()}")
                time.sleep(0.02)
            yield server.pid, port
        finally:
            server.send_signal(signal.SIGTERM)
            try:
                server.communicate(timeout=20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.communicate()

    def load(self, pid, port, arguments, cpu=LOAD_CPU):
        done = subprocess.run([self.options.load / "mqload", arguments[0], "--port", str(port), "--broker-pid",
                               str(pid), *(["--cpu", cpu] if cpu else []), *arguments[1:]], capture_output=True,
                              text=True, timeout=300)
        if not done.stdout.strip():
            raise RuntimeError(f"mqload {' '.join(arguments)}: {done.stderr.strip()}")
        got = json.loads(done.stdout.strip().splitlines()[-1])
        if "levels" in got:
            got |= got.pop("levels")[-1] | {"asked": int(arguments[arguments.index("--n") + 1])}
        return got | {"said": " ".join(done.stderr.split())}

    def once(self, name, tls, arguments, number):
        """Rows that ask different figures of the same load share its runs."""
        key = (name, tls, arguments, number)
        if key not in self.done:
            with self.run(name, tls) as (pid, port):
                self.done[key] = self.load(pid, port, arguments)
        return self.done[key]


def spread(values, unit):
    """Median, with least and most in brackets."""
    digits = 0 if unit == "bytes" else 3
    if not values:
        return "–"
    middle = f"{statistics.median(values):.{digits}f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def wrong_in(result):
    """What mqload tells that must not be, as a sentence; or nothing."""
    wrong = {key: result[key] for key in FAULTS if result.get(key)}
    for key, asked in ASKED.get(result["cmd"], {}).items():
        if result[key] != asked(result):
            wrong[key] = f"{result[key]} of {asked(result)}"
    return ", ".join(f"{key} {value}" for key, value in wrong.items())


def measure(options, brokers, row):
    names = ([] if row.floor is None else ["floor"]) + ["avocet"]
    names += (["avocet, 2 workers"] if row.two else []) + ["mosquitto"]
    got, faults = {name: [] for name in names}, []
    arguments = (*row.arguments, *(("--secs", str(options.secs)) if row.timed else ()))
    for number in range(options.rounds if row.timed else options.memory_rounds):
        for name in names:
            tls = row.tls and name != "floor"
            asked = (*arguments, *(row.floor or () if name == "floor" else ()), *(("--tls",) if tls else ()))
            try:
                result = brokers.once(name, tls, asked, number)
            except (RuntimeError, ValueError, subprocess.TimeoutExpired) as error:
                faults.append(f"{row.title}: {name}: {error}")
                continue
            got[name].append(result[row.key])
            if wrong_in(result):
                faults.append(f"{row.title}: {name}: {wrong_in(result)}")
    return got, faults


def verdict(row, middle):
    """The ratio of avocet to floor, and the target with what became of it."""
    ours, floor, theirs = (middle.get(name) for name in ("avocet", "floor", "mosquitto"))
    ratio = f"{ours / floor:.2f}" if ours and floor and row.ratio else "–"
    said = []
    if row.ratio and ours and floor:
        said.append(f"{row.ratio:g} x floor: {'met' if ours <= row.ratio * floor else 'MISSED'}")
    if row.most and ours is not None:
        said.append(f"{row.most:g} {row.unit}: {'met' if ours <= row.most else 'MISSED'}")
    if row.of_mosquitto and ours and theirs:
        said.append(f"{row.of_mosquitto:g} x mosquitto: {'met' if ours <= row.of_mosquitto * theirs else 'MISSED'}")
    two = middle.get("avocet, 2 workers")
    if row.two and ours and two:
        said.append(f"2 workers {row.two:g} x one: {two / ours:.2f} {'met' if two <= row.two * ours else 'MISSED'}")
    return ratio, "; ".join(said)


def table(options, brokers, chosen, record):
    print("| workload | unit | floor | avocet | 2 workers, same CPU | mosquitto | avocet : floor | target |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    faults = []
    for row in chosen:
        got, wrong = measure(options, brokers, row)
        faults += wrong
        middle = {name: statistics.median(values) for name, values in got.items() if values}
        ratio, said = verdict(row, middle)
        cells = [spread(got.get(name, []), row.unit) for name in ("floor", "avocet", "avocet, 2 workers", "mosquitto")]
        print(f"| {row.title} | {row.unit} | {' | '.join(cells)} | {ratio} | {said} |", flush=True)
        record[row.name] = got
    return faults


def wakeups(pid):
    """How often the threads of a process have gone to sleep so far: each time something woke them."""
    count = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        for line in (task / "status").read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches"):
                count += int(line.split()[1])
    return count


def at_rest(options, brokers, record):
    """What a broker takes that nobody speaks to."""
    print("\n| at rest, no plugin | avocet | mosquitto | target |\n|---|---|---|---|")
    resident, woken = {}, {}
    secs = 5 if options.short else 20
    for name in ("avocet", "mosquitto"):
        with brokers.run(name) as (pid, _):
            time.sleep(2)
            before = wakeups(pid)
            time.sleep(secs)
            woken[name] = (wakeups(pid) - before) / secs
            pages = int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1])
            resident[name] = pages * os.sysconf("SC_PAGE_SIZE") / 1e6
    for title, got, most in (("resident, MB", resident, 6), ("wake-ups a second", woken, 1)):
        print(f"| {title} | {got['avocet']:.1f} | {got['mosquitto']:.1f} | {most}: "
              f"{'met' if got['avocet'] <= most else 'MISSED'} |", flush=True)
    record["resident"], record["wakeups"] = resident, woken


class Flood:
    """One that publishes as fast as it can, until the block ends; then `rate` is what it got through, a second."""

    def __init__(self, options, port):
        self.command = [options.load / "mqload", "pubsub", "--port", str(port), "--topology", "pairs", "--pubs", "1",
                        "--window", "1000", "--prefix", "flood", "--warm", "0.2", "--secs", "3600"]
        self.rate, self.fault = 0, ""

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        time.sleep(1)
        return self

    def __exit__(self, *_):
        is_early = self.process.poll() is not None
        self.process.terminate()
        try:
            out, said = self.process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            out, said = self.process.communicate()
        result = json.loads(out) | {"said": " ".join(said.split())} if out.strip() else None
        self.fault = wrong_in(result) if result else f"the flood says nothing; {said.strip()}"
        if is_early:
            self.fault = f"the flood ended before the measurement did: {self.fault}"
        elif result and result["msgs_per_s"] < FLOOD_LEAST:
            self.fault = f"{result['msgs_per_s']} messages a second are no flood"
        elif result:
            self.rate = result["msgs_per_s"]


def flood(options, brokers, record):
    """Do quiet clients feel one that publishes as fast as it can?"""
    quiet = ("pubsub", "--topology", "pairs", "--pubs", "100", "--rate", "1000", "--secs", str(options.secs + 1),
             "--prefix", "quiet")
    got, rates, faults = {False: [], True: []}, [], []
    for _ in range(options.rounds):
        for is_flooded in got:
            try:
                with brokers.run("avocet, 2 workers", cpus=f"{SERVER_CPU},{LOAD_CPU}") as (pid, port):
                    with Flood(options, port) if is_flooded else contextlib.nullcontext() as other:
                        result = brokers.load(pid, port, quiet, cpu="")
            except (RuntimeError, ValueError, subprocess.TimeoutExpired) as error:
                faults.append(f"quiet clients: {error}")
                continue
            if wrong_in(result):
                faults.append(f"quiet clients: {wrong_in(result)}")
            if other and other.fault:
                faults.append(f"quiet clients: {other.fault}")
                continue
            got[is_flooded].append(result["p99_us"])
            rates += [other.rate] if other else []
    alone, beside = (statistics.median(got[key]) if got[key] else 0 for key in (False, True))
    ratio, said = "–", "3: not measured"
    if alone and beside:
        ratio, said = f"{beside / alone:.2f}", f"3: {'met' if beside <= 3 * alone else 'MISSED'}"
    print("\n| 100 quiet clients, 1 000 messages a second, p99, us | alone | beside a flood | messages of the flood a "
          "second | ratio | target |")
    print("|---|---|---|---|---|---|")
    print(f"| 2 workers | {spread(got[False], 'bytes')} | {spread(got[True], 'bytes')} | {spread(rates, 'bytes')} | "
          f"{ratio} | {said} |", flush=True)
    record["quiet"] = {"alone": got[False], "flooded": got[True], "flood": rates}
    return faults


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("load", type=pathlib.Path)
    parser.add_argument("avocet", type=pathlib.Path)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--secs", type=float)
    parser.add_argument("--only", action="append", metavar="NAME")
    parser.add_argument("--lines", type=pathlib.Path)
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    every = rows(options.short)
    names = [row.name for row in every] + ["rest", "flood"]
    if options.list:
        print("\n".join(names))
        return 0
    for name in options.only or []:
        if name not in names:
            parser.error(f"no row is called {name}; --list names them")
    options.rounds = options.rounds or (2 if options.short else 5)
    options.secs = options.secs or (0.5 if options.short else 2)
    options.memory_rounds = 1 if options.short else options.rounds
    wanted = options.only or names
    record, faults = {}, []
    with tempfile.TemporaryDirectory() as folder:
        brokers = Brokers(options, pathlib.Path(folder))
        chosen = [row for row in every if row.name in wanted]
        if chosen:
            faults += table(options, brokers, chosen, record)
        if "rest" in wanted:
            at_rest(options, brokers, record)
        if "flood" in wanted:
            faults += flood(options, brokers, record)
    for fault in faults:
        print(f"\nNot right: {fault}")
    if options.lines:
        line = {"at": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
                "short": options.short, "rounds": options.rounds, "secs": options.secs, "faults": faults,
                "rows": record}
        with options.lines.open("a") as out:
            out.write(json.dumps(line) + "\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
