#!/usr/bin/env python3
"""Runs the tour of README.md as a reader would, and fails where it does not do what it says.

The blocks after `<!-- tour -->` and before `<!-- /tour -->` run in order, in one bash and against a portal of this
run's own. A block whose first line is a comment that names a file (`# tour.py`) is saved under that name. A comment
`→ text` says what the block must print; `…` in it stands for anything. `--print` shows the script and runs nothing.
PORTAL_BIN names the binary; without it `cargo run --release` builds it.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass

from with_portal import REPOSITORY, PortalFailed, portal

README = REPOSITORY / "README.md"
BLOCK = re.compile(r"^```(sh|python|js)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"(?:#|//) ([\w.-]+\.\w+)\n")
EXPECTED = re.compile(r"(?:#|//)\s*→ (.*)$", re.MULTILINE)
PATIENCE_SECONDS = 900
END = "--- end of block {} ---"


class TourFailed(Exception):
    """A block did not do what the README says."""


@dataclass(frozen=True)
class Block:
    """One fenced block, with the line of the README where it begins."""

    line: int
    language: str
    text: str

    @property
    def file(self):
        named = FILE.match(self.text)
        return named.group(1) if named else None

    @property
    def script(self):
        if self.file:
            return f"cat > {self.file} <<'END OF FILE'\n{self.text}END OF FILE\n"
        return self.text

    @property
    def expected(self):
        return [] if self.file else [line.strip() for line in EXPECTED.findall(self.text)]


def blocks(readme):
    tour = re.search(r"<!-- tour -->(.*?)<!-- /tour -->", readme, re.DOTALL)
    if not tour:
        raise TourFailed("README.md has no <!-- tour --> … <!-- /tour -->")
    found = [
        Block(readme.count("\n", 0, tour.start(1) + match.start()) + 2, match.group(1), match.group(2))
        for match in BLOCK.finditer(tour.group(1))
    ]
    stray = [block for block in found if block.language != "sh" and not block.file]
    if stray:
        raise TourFailed(f"README.md:{stray[0].line}: a block that is not sh must name its file in its first line")
    return found


def script(tour):
    """One bash script that stops at the first error and says where each block ended."""
    steps = [f"{block.script}echo '{END.format(number)}'\n" for number, block in enumerate(tour)]
    return "set -euo pipefail\n" + "".join(steps)


def run(tour, environment):
    shell = subprocess.Popen(
        ["bash", "-c", script(tour)],
        cwd=REPOSITORY,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    watchdog = threading.Timer(PATIENCE_SECONDS, kill, [shell])
    watchdog.start()
    try:
        for number, block in enumerate(tour):
            start = time.monotonic()
            judge(block, output_until(shell, block, END.format(number)))
            print(f"ok   README.md:{block.line:<4} {time.monotonic() - start:6.1f} s  {title(block)}", flush=True)
    finally:
        watchdog.cancel()
        kill(shell)


def output_until(shell, block, end):
    output = []
    for line in shell.stdout:
        if line.rstrip("\n") == end:
            return "".join(output)
        output.append(line)
    raise TourFailed(f"README.md:{block.line}: exit code {shell.wait()}\n{''.join(output)}")


def kill(shell):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(shell.pid, signal.SIGKILL)
    shell.wait()


def judge(block, output):
    """Each expectation must be met, in the order in which they stand."""
    rest = output
    for expected in block.expected:
        pattern = ".*?".join(re.escape(part) for part in expected.split("…"))
        met = re.search(pattern, rest)
        if not met:
            raise TourFailed(f"README.md:{block.line}: '{expected}' is not in what was printed:\n{output}")
        rest = rest[met.end() :]


def title(block):
    return f"saves {block.file}" if block.file else next(line for line in block.text.splitlines() if line.strip())[:72]


def main(arguments):
    try:
        tour = blocks(README.read_text())
        if arguments == ["--print"]:
            print(script(tour))
            return 0
        with portal() as environment:
            run(tour, environment)
    except (TourFailed, PortalFailed) as error:
        print(f"FAIL {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
