#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""CPU per delivered message and memory, beside `floor` and Debian's mosquitto in the same run.

    peers.py BENCH AVOCET [--rounds 5] [--secs 2] [--only messages|memory]

BENCH: the folder of mqload and floor (built there). Each broker has CPU 0 (avocet: one worker, so that all
are compared on one core), the generator CPU 1. Rounds go round the brokers, so that what else happens on the
machine hits all of them. Prints a table of medians in Markdown."""

import argparse
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time

PORT = 21790
TOPOLOGIES = [("pairs", 50, 50), ("fanin", 50, 1), ("fanout", 1, 50)]


def command(broker, options, folder):
    if broker == "floor":
        return [str(options.bench / "floor"), str(PORT)]
    path = pathlib.Path(folder) / "conf"
    if broker == "mosquitto":
        path.write_text(f"listener {PORT} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n"
                        "max_inflight_messages 1000\nlog_dest none\nset_tcp_nodelay true\n")
        return ["mosquitto", "-c", str(path)]
    path.write_text(f"broker: {{workers: 1}}\nlisteners: [{{bind: '127.0.0.1:{PORT}'}}]\n"
                    "limits: {max_subscriptions: 0, max_inflight_messages: 1000}\nlog: {level: warning}\n")
    return [str(options.avocet), "-c", str(path)]


def run(broker, options, arguments):
    with tempfile.TemporaryDirectory() as folder:
        server = subprocess.Popen(["taskset", "-c", "0", *command(broker, options, folder)],
                                  stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        time.sleep(0.5)
        try:
            done = subprocess.run([str(options.bench / "mqload"), arguments[0], "--port", str(PORT),
                                   "--broker-pid", str(server.pid), "--cpu", "1", *arguments[1:]],
                                  capture_output=True, text=True, timeout=300)
            return json.loads(done.stdout.strip().splitlines()[-1])
        finally:
            server.send_signal(signal.SIGTERM)
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def medians(brokers, options, arguments, keys):
    rows = {broker: [] for broker in brokers}
    for _ in range(options.rounds):
        for broker in brokers:
            try:
                rows[broker].append(run(broker, options, arguments))
            except (ValueError, IndexError, subprocess.TimeoutExpired) as error:
                print(f"{broker} {arguments}: {error}", file=sys.stderr)
    return {broker: {key: statistics.median(row[key] for row in got) for key in keys} if got else None
            for broker, got in rows.items()}


def messages(options):
    print("| topology | QoS | floor, us | avocet, us | mosquitto, us | avocet : mosquitto | avocet, msg/s | lost |")
    print("|---|---|---|---|---|---|---|---|")
    for topology, pubs, subs in TOPOLOGIES:
        for qos in (0, 1, 2):
            brokers = ["avocet", "mosquitto"] + (["floor"] if topology == "pairs" else [])
            arguments = ["pubsub", "--topology", topology, "--pubs", str(pubs), "--subs", str(subs),
                         "--qos", str(qos), "--secs", str(options.secs), "--window", "100"]
            got = medians(brokers, options, arguments, ("cpu_us_per_msg", "msgs_per_s", "lost"))
            cell = {b: f"{got[b]['cpu_us_per_msg']:.3f}" if got.get(b) else "–"
                    for b in ("floor", "avocet", "mosquitto")}
            ours, theirs = got["avocet"], got["mosquitto"]
            print(f"| {topology} {pubs}:{subs} | {qos} | {cell['floor']} | {cell['avocet']} | {cell['mosquitto']} | "
                  f"{ours['cpu_us_per_msg'] / theirs['cpu_us_per_msg']:.3f} | {ours['msgs_per_s']:.0f} | "
                  f"{ours['lost']:.0f} |", flush=True)


def memory(options):
    print("\n| what | avocet, bytes | mosquitto, bytes |")
    print("|---|---|---|")
    tests = [("idle connection, of 19 500", ["conns", "--n", "19500"], "rss_bytes_per_conn"),
             ("the same with a subscription each", ["conns", "--n", "19500", "--subscribe"], "rss_bytes_per_conn_sub")]
    for title, arguments, key in tests:
        got = medians(["avocet", "mosquitto"], options, arguments, (key,))
        print(f"| {title} | {got['avocet'][key]:.0f} | {got['mosquitto'][key]:.0f} |", flush=True)
    rows = [run("avocet", options, ["subs", "--n", "1000000", "--subs", "100"]) for _ in range(options.rounds)]
    print(f"| subscription, of 1 000 000 | "
          f"{statistics.median(row['levels'][-1]['rss_bytes_per_sub'] for row in rows):.0f} | – |")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("bench", type=pathlib.Path)
    parser.add_argument("avocet", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--secs", type=int, default=2)
    parser.add_argument("--only", choices=("messages", "memory"))
    options = parser.parse_args()
    os.nice(0)
    if options.only != "memory":
        messages(options)
    if options.only != "messages":
        memory(options)


if __name__ == "__main__":
    main()
