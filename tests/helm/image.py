"""The binary, and the image's root file system around it."""

from __future__ import annotations

import os
import pathlib
import subprocess

from rendering import ROOT

DOCKER = ROOT / "deploy" / "docker"
USER = "65532:65532"
ROOTS = "etc/ssl/certs/ca-certificates.crt"


def run(*command: object, **options) -> subprocess.CompletedProcess[str]:
    words = [str(word) for word in command]
    return subprocess.run(words, capture_output=True, text=True, timeout=300, check=False, **options)


def built() -> pathlib.Path | None:
    """PORTAL_BIN, which must be there; else what was built in target/, release first; else nothing."""
    if chosen := os.environ.get("PORTAL_BIN"):
        path = pathlib.Path(chosen).absolute()
        assert path.is_file(), f"PORTAL_BIN: there is no {path}"
        return path
    candidates = (ROOT / "target" / profile / "portal" for profile in ("release", "debug"))
    return next((path for path in candidates if path.is_file()), None)


def assemble(binary: object, out: pathlib.Path) -> subprocess.CompletedProcess[str]:
    return run(DOCKER / "rootfs.sh", binary, out)


def inside(root: pathlib.Path, *command: object) -> list[str]:
    """A command with `root` as the root, as the image's user where that may be chosen."""
    if os.geteuid() == 0:
        entered = ("chroot", f"--userspec={USER}", root)
    else:
        entered = ("unshare", "--map-root-user", "chroot", root)
    return [str(word) for word in (*entered, *command)]


def enter(root: pathlib.Path, *command: object) -> subprocess.CompletedProcess[str]:
    return run(*inside(root, *command))
