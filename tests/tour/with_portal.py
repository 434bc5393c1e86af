#!/usr/bin/env python3
"""Runs a command against a portal of its own: `with_portal.py [--tls] COMMAND…`.

The portal is `portal up` on free loopback ports and a data directory that is removed afterwards. The command finds it
by PORTAL_URL, PORTAL_ADMIN_URL, PORTAL_OPERATOR_PASSWORD_FILE and PORTAL_DATA_DIR; with --tls it serves https, and
PORTAL_CA_FILE has the roots, which Node.js trusts by NODE_EXTRA_CA_CERTS. Exit code: the command's; 1 when the
portal does not start or does not stop cleanly. PORTAL_BIN names the binary; without it `cargo run --release` builds it.
"""

import contextlib
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
READY = "portal ready on "
START_SECONDS = 30
BUILD_SECONDS = 3600
STOP_SECONDS = 30
ROOTS = ("PORTAL_CA_FILE", "NODE_EXTRA_CA_CERTS")


class PortalFailed(Exception):
    """The portal did not do as it must."""


def command():
    if binary := os.environ.get("PORTAL_BIN"):
        return [str(Path(binary).resolve())], START_SECONDS
    return ["cargo", "run", "--quiet", "--release", "--"], BUILD_SECONDS


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def portal(tls=False):
    """The environment of a command, while a portal runs for it."""
    program, patience = command()
    # Whoever stops us stops the portal too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with tempfile.TemporaryDirectory(prefix="portal-tour-", ignore_cleanup_errors=True) as directory:
        data = Path(directory) / "data"
        admin = f"127.0.0.1:{free_port()}"
        arguments = ["up", "--data-dir", str(data), "--listen", "127.0.0.1:0", "--admin-listen", admin]
        arguments += ["--tls"] if tls else []
        clean = {name: value for name, value in os.environ.items() if name != "PORTAL_OPERATOR_PASSWORD_FILE"}
        process = subprocess.Popen(
            [*program, *arguments], cwd=REPOSITORY, env=clean, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        try:
            url = wait_until_ready(process, patience)
            yield {
                **clean,
                "PORTAL_URL": url,
                "PORTAL_ADMIN_URL": f"http://{admin}",
                "PORTAL_DATA_DIR": str(data),
                "PORTAL_OPERATOR_PASSWORD_FILE": str(data / "operator-password"),
                **({name: str(data / "tls" / "edge" / "ca.crt") for name in ROOTS} if tls else {}),
            }
        except BaseException:
            stop(process)
            raise
        if code := stop(process):
            raise PortalFailed(f"portal ended with {code} when it was asked to stop")


def wait_until_ready(process, patience):
    """The address in the ready line; what follows on standard output is read and dropped."""
    timer = threading.Timer(patience, lambda: os.killpg(process.pid, signal.SIGKILL))
    timer.start()
    for line in process.stdout:
        if line.startswith(READY):
            timer.cancel()
            threading.Thread(target=process.stdout.read, daemon=True).start()
            return line.removeprefix(READY).strip()
    timer.cancel()
    raise PortalFailed(f"portal ended with {process.wait()} before it was ready")


def stop(process):
    """SIGTERM drains; SIGKILL if that does not help."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
    try:
        return process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return f"SIGKILL, not having stopped in {STOP_SECONDS} s"


def main(arguments):
    tls = arguments[:1] == ["--tls"]
    arguments = arguments[tls:]
    if not arguments:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        with portal(tls) as environment:
            return subprocess.run(arguments, env=environment, check=False).returncode
    except (PortalFailed, OSError) as error:
        print(f"{shlex.join(arguments)}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
