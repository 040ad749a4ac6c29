#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What plugins cost per message, and what slow logins cost others.

    plugins.py BENCH BUILD [--rounds 5] [--secs 2] [--only messages|logins] [--chain NAME]...

BENCH: the folder of mqload. BUILD: a build of avocet (-O2 -DNDEBUG). The broker has one worker on CPU 0, the
generator CPU 1. messages: 50 publishers to 50 subscribers, CPU per delivered message, medians; rounds go round the
chains. logins: a hundred clients send to each other while 500 log in at an authenticator that takes 2 s."""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PORT = 21791
PREFIX = "bench"


def build(folder, source, *flags):
    out = folder / (source.stem + "-" + "".join(flags).replace("=", "").lower() + ".so")
    subprocess.run(["cc", "-std=c11", "-D_GNU_SOURCE", "-O2", "-shared", "-fPIC", "-fvisibility=hidden",
                    f"-I{ROOT}/include", *flags, "-o", out, source, "-lpthread"], check=True)
    return out


def rules(folder):
    """10 000 rules: for users, for client ids, and for everybody; the last one lets the load pass."""
    path = folder / "acl.yaml"
    lines = ["rules:"]
    for i in range(10000 - 1):
        about = (f"users: user{i}, ", f"client_ids: client{i}, ", "")[i % 3]
        lines.append(f"- {{ allow: [publish, subscribe], {about}topics: [devices/{i}/#, 'sensors/+/{i}'] }}")
    lines.append(f"- {{ allow: [publish, subscribe], topics: ['{PREFIX}/#'] }}")
    path.write_text("\n".join(lines) + "\n")
    return path


def chains(options, folder):
    acl, stamp = options.build / "plugins/acl/acl.so", build(folder, ROOT / "doc/examples/stamp/stamp.c")
    passing, waiting = (build(folder, HERE / "plugin_pass.c", f"-DEXEC=AVOCET_EXEC_{name}")
                        for name in ("INLINE", "WORKER"))
    file = rules(folder)

    def one(module, config, chain, limits=""):
        config = f", config: {{ {config} }}" if config else ""
        return (f"plugins: [{{ name: p, module: {module}{config} }}]\n"
                f"chains: {{ default: {{ {chain}: [p] }} }}\n", limits)
    return {
        "no plugin": ("", ""),
        "empty chains": (f"plugins: [{{ name: p, module: {acl}, config: {{ file: {file} }} }}]\n"
                         "chains: { default: { authenticate: [], authorize: [], intercept: [] } }\n", ""),
        "an interceptor, of other topics": one(stamp, "from: other, to: new, property: ''", "intercept"),
        "an interceptor that changes nothing, INLINE": one(passing, "", "intercept"),
        "the same, WORKER": one(waiting, "", "intercept"),
        "an interceptor that rewrites the topic": one(stamp, f"from: {PREFIX}, to: {PREFIX}, property: ''", "intercept"),
        "the same, and stamps": one(stamp, f"from: {PREFIX}, to: {PREFIX}", "intercept"),
        "acl, 10 000 rules, remembered": one(acl, f"file: {file}", "authorize"),
        "acl, 10 000 rules, each judged": one(acl, f"file: {file}", "authorize", ", max_grants: 0"),
    }


class Broker:
    def __init__(self, options, folder, text, limits=""):
        path = folder / "avocet.yaml"
        path.write_text(f"broker: {{ workers: 1, control: {folder}/control.sock, data_dir: {folder} }}\n"
                        f"listeners: [{{ bind: '127.0.0.1:{PORT}' }}]\n"
                        f"limits: {{ max_subscriptions: 0, max_inflight_messages: 1000{limits} }}\n"
                        "log: { level: warning }\n" + text)
        self.process = subprocess.Popen(["taskset", "-c", "0", options.build / "avocet", "-c", path],
                                        stderr=subprocess.DEVNULL)
        time.sleep(0.7)

    def __enter__(self):
        return self.process.pid

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(30)


def load(options, pid, *arguments):
    done = subprocess.run([options.bench / "mqload", "pubsub", "--port", str(PORT), "--broker-pid", str(pid), "--cpu", "1",
                           "--prefix", PREFIX, "--topology", "pairs", *arguments], capture_output=True, text=True, timeout=300)
    return json.loads(done.stdout.strip().splitlines()[-1])


def messages(options, folder):
    made = {name: chain for name, chain in chains(options, folder).items()
            if not options.chain or name == "no plugin" or name in options.chain}
    print("| chain | QoS 0, us | more, ns | QoS 1, us | more, ns | lost |\n|---|---|---|---|---|---|")
    got = {name: {0: [], 1: []} for name in made}
    lost = dict.fromkeys(made, 0)
    for _ in range(options.rounds):
        for name, (text, limits) in made.items():
            with Broker(options, folder, text, limits) as pid:
                for qos in (0, 1):
                    row = load(options, pid, "--pubs", "50", "--subs", "50", "--qos", str(qos), "--secs", str(options.secs),
                               "--window", "100")
                    got[name][qos].append(row["cpu_us_per_msg"])
                    lost[name] += row["lost"]
    base = {qos: statistics.median(got["no plugin"][qos]) for qos in (0, 1)}
    for name in made:
        cells = []
        for qos in (0, 1):
            value = statistics.median(got[name][qos])
            cells += [f"{value:.3f}", "" if name == "no plugin" else f"{(value - base[qos]) * 1000:+.0f}"]
        print(f"| {name} | {' | '.join(cells)} | {lost[name]} |", flush=True)


def logins(options, folder):
    module = build(folder, ROOT / "tests/broker/plugins/script.c", "-DEXEC=AVOCET_EXEC_WORKER")
    program = folder / "logins"
    subprocess.run(["cc", "-O2", "-o", program, HERE / "logins.c"], check=True)
    text = (f"plugins: [{{ name: a, module: {module}, config: {{ name: a }} }}]\n"
            "chains: { default: { authenticate: [a] } }\n")
    print("\n| 500 logins of 2 s | p50, us | p99, us | max, us | let in |\n|---|---|---|---|---|")
    rows = {False: [], True: []}
    for _ in range(options.rounds):
        for with_logins in (False, True):
            with Broker(options, folder, text) as pid:
                # 100 clients, 20 messages a second each; the logins begin behind the warm-up.
                logger = None
                if with_logins:
                    # It has the generator's CPU when that has nothing to do: the clients' own work is not measured.
                    logger = subprocess.Popen(["sh", "-c", "sleep 1; exec taskset -c 1 chrt --idle 0 "
                                               f"{program} {PORT} 500 a=later-accept:2000"],
                                              stdout=subprocess.PIPE, text=True)
                row = load(options, pid, "--pubs", "50", "--subs", "50", "--qos", "1", "--secs", "4", "--rate", "1000")
                row["let_in"] = int(logger.communicate()[0]) if logger else 0
                rows[with_logins].append(row)
    for with_logins, got in rows.items():
        print(f"| {'yes' if with_logins else 'no'} | " + " | ".join(
            f"{statistics.median(row[key] for row in got):.0f}" for key in ("p50_us", "p99_us", "max_us")) +
            f" | {min(row['let_in'] for row in got)} |", flush=True)
    moved = sorted(yes["p99_us"] - no["p99_us"] for no, yes in zip(rows[False], rows[True]))
    print(f"\np99 of a round with them less that of the one before without: median {statistics.median(moved):+.0f} us, "
          f"quartiles {moved[len(moved) // 4]:+.0f} and {moved[-1 - len(moved) // 4]:+.0f}", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("bench", type=pathlib.Path)
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--secs", type=int, default=2)
    parser.add_argument("--only", choices=("messages", "logins"))
    parser.add_argument("--chain", action="append", help="of messages, these alone")
    options = parser.parse_args()
    options.build = options.build.resolve()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        if options.only != "logins":
            messages(options, folder)
        if options.only != "messages":
            logins(options, folder)


if __name__ == "__main__":
    sys.exit(main())
