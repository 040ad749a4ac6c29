# SPDX-License-Identifier: Apache-2.0
"""Follows doc/plugins.md command by command, with what is installed.

follow.py GUIDE PREFIX FOLDER

Each ```sh block goes to one shell, in order; what the ```output block behind it says must come out, line by line in
that order. A block ```KIND file=NAME is written to that file of the shell's folder. TAP, a case for each block.
"""
import os
import pathlib
import re
import signal
import subprocess
import sys

BLOCK = re.compile(r"^```(\w+)(?: file=(\S+))?\n(.*?)^```$", re.M | re.S)
SECONDS = 120        # of a block; what hangs longer is ended
END = "== the block has ended: "


def main():
    guide, prefix, folder = pathlib.Path(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3])
    folder.mkdir(parents=True, exist_ok=True)
    env = dict(os.environ, PATH=f"{prefix}/sbin:{prefix}/bin:{os.environ['PATH']}",
               PKG_CONFIG_PATH=f"{prefix}/lib/pkgconfig", LC_ALL="C")
    shell = subprocess.Popen(["bash"], cwd=folder, env=env, text=True, stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
    shell.stdin.write("set -m\n")      # jobs have numbers
    signal.signal(signal.SIGALRM, lambda *_: os.killpg(shell.pid, signal.SIGKILL))
    count, failed, said = 0, 0, ""

    def say(good, text, detail=""):
        nonlocal count, failed
        count += 1
        failed += not good
        print(f"{'ok' if good else 'not ok'} {count} - {text}")
        if not good:
            print("".join(f"# {line}\n" for line in detail.splitlines()), end="", flush=True)

    for kind, name, text in BLOCK.findall(guide.read_text()):
        title = text.strip().splitlines()[0]
        if kind == "sh":
            # The status of the block; the shell itself goes on with its folder and jobs.
            shell.stdin.write(f"fail=0\n{{\n{text}\n}} || fail=$?\necho \"{END}$fail\"\n")
            shell.stdin.flush()
            said = line = ""
            signal.alarm(SECONDS)
            for line in shell.stdout:
                if line.startswith(END):
                    break
                said += line
            signal.alarm(0)
            say(line.strip() == END + "0", title, said)
            if not line.startswith(END):
                break           # the shell is gone
        elif kind == "output":
            lines = iter(said.splitlines())
            missing = [want for want in text.splitlines() if not any(want in line for line in lines)]
            say(not missing, f"it says: {title}", f"missing: {missing}\nin:\n{said}")
        elif name:
            shell.stdin.write(f"cat >{name} <<'END_OF_THE_FILE'\n{text}END_OF_THE_FILE\n")
    if shell.poll() is None:
        shell.stdin.close()
    shell.wait(30)
    print(f"1..{count}")
    return 1 if failed else 0


sys.exit(main())
