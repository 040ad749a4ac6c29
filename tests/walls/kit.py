# SPDX-License-Identifier: Apache-2.0
"""What all checkers share: TAP output, the tools of the build, C text without comments."""

import os
import re
import shlex
import shutil
import subprocess


class Tap:
    """Prints one TAP line per result; finish() prints the plan and gives the exit status."""

    def __init__(self):
        self.count = 0
        self.failed = False

    def result(self, text, details=(), notes=()):
        """Details say what is wrong: without any, the result is ok. Notes are only information."""
        details = list(details)
        self._line("not ok" if details else "ok", text)
        self.failed = self.failed or bool(details)
        for line in [*details, *notes]:
            self.note(line)

    def skip(self, text, why):
        self._line("ok", f"{text} # SKIP {why}")

    def note(self, text):
        for line in text.splitlines():
            print(f"# {line}", flush=True)

    def finish(self, nothing="nothing to check"):
        print(f"1..{self.count}" if self.count else f"1..0 # SKIP {nothing}", flush=True)
        return 1 if self.failed else 0

    def _line(self, status, text):
        self.count += 1
        print(f"{status} {self.count} - {text}", flush=True)


def tool(variable, *names):
    """The command (a list) that the environment variable or else the first name found gives."""
    command = shlex.split(os.environ.get(variable, ""))
    for candidate in [command] if command else [[name] for name in names]:
        if shutil.which(candidate[0]):
            return candidate
    return None


def cc():
    return tool("CC", "cc", "gcc", "clang") or ["cc"]


def run(command, **options):
    """Run a command with English messages; the result has returncode, stdout and stderr."""
    environment = dict(os.environ, LC_ALL="C", GIT_OPTIONAL_LOCKS="0")
    return subprocess.run([str(word) for word in command], capture_output=True, text=True,
                          check=False, env=environment, **options)


def output(command, **options):
    """The standard output of a command that must not fail."""
    result = run(command, **options)
    if result.returncode != 0:
        raise RuntimeError(f"{command[0]} failed: {result.stderr.strip()}")
    return result.stdout


TOKEN = re.compile(r"""/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'""", re.DOTALL)


def without_comments(text):
    """C text with each comment replaced by a blank; the number of lines stays."""
    def blank(match):
        token = match.group()
        return " " + "\n" * token.count("\n") if token[0] == "/" else token
    return TOKEN.sub(blank, text)
