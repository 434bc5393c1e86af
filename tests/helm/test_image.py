"""The image's root file system: assembled, entered and run as the user it names; built by an engine where one starts.

The binary is PORTAL_BIN, else target/release/portal, else target/debug/portal, else `getent` (dynamically linked, and
it resolves names as Portal does): see image.py. PORTAL_REQUIRE_ENGINE=1 turns the skip of the engine's test into a failure.
"""

from __future__ import annotations

import io
import os
import pathlib
import shutil
import ssl
import subprocess
import tarfile
import time

import pytest
from image import DOCKER, ROOTS, USER, assemble, built, enter, run
from rendering import ROOT


@pytest.fixture(scope="module")
def binary() -> pathlib.Path:
    return built() or pathlib.Path("/usr/bin/getent")


@pytest.fixture(scope="module")
def root(binary, tmp_path_factory) -> pathlib.Path:
    out = tmp_path_factory.mktemp("image") / "rootfs"
    result = assemble(binary, out)
    assert result.returncode == 0, result.stderr
    return out


def files(root: pathlib.Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def test_it_runs_where_nothing_else_is(root, binary):
    result = enter(root, "/portal", "--version")
    assert result.returncode == 0, result.stderr
    assert result.stdout == run(binary, "--version").stdout != ""


def test_it_holds_the_binary_its_libraries_and_nothing_else(root):
    beside = files(root) - {"portal", "etc/nsswitch.conf", ROOTS}
    listed = run("ldd", root / "portal").stdout
    assert beside and all(f"/{name}" in listed for name in beside)
    assert not (root / "etc" / "passwd").exists()
    names = {pathlib.PurePath(name).name for name in files(root)}
    assert not names & {"sh", "bash", "dash", "busybox", "apt", "dpkg"}
    size = sum((root / name).stat().st_size for name in files(root))
    print(f"root file system: {size / 1e6:.1f} MB, {len(files(root))} files")


def test_it_believes_whom_the_building_system_believes(root):
    assert (root / ROOTS).read_bytes() == pathlib.Path("/", ROOTS).read_bytes()
    assert ssl.create_default_context(cafile=str(root / ROOTS)).get_ca_certs()


def test_it_can_be_given_other_roots(binary, tmp_path):
    (tmp_path / "roots.pem").write_bytes(pathlib.Path("/", ROOTS).read_bytes()[:2_000])
    environment = os.environ | {"CA_CERTIFICATES": str(tmp_path / "roots.pem")}
    result = run(DOCKER / "rootfs.sh", binary, tmp_path / "rootfs", env=environment)
    assert result.returncode == 0, result.stderr
    assert len((tmp_path / "rootfs" / ROOTS).read_bytes()) == 2_000


@pytest.mark.parametrize("content", [None, b"", b"not a certificate"])
def test_there_is_no_image_without_roots(content, binary, tmp_path):
    roots = tmp_path / "roots.pem"
    if content is not None:
        roots.write_bytes(content)
    result = run(DOCKER / "rootfs.sh", binary, tmp_path / "rootfs", env=os.environ | {"CA_CERTIFICATES": str(roots)})
    assert result.returncode == 2 and "ca-certificates" in result.stderr
    assert not (tmp_path / "rootfs").exists()


def test_nothing_in_it_is_writable_or_privileged(root):
    for name in files(root):
        mode = (root / name).stat().st_mode
        assert mode & 0o7222 == 0, name


def test_a_missing_library_is_noticed(root, tmp_path):
    """The check above can fail: without libc the binary does not start."""
    broken = tmp_path / "broken"
    shutil.copytree(root, broken)
    (libc,) = broken.rglob("libc.so.6")
    libc.unlink()
    assert enter(broken, "/portal", "--version").returncode != 0


def test_names_are_resolved_by_glibc_alone(tmp_path):
    out = tmp_path / "rootfs"
    assert assemble("/usr/bin/getent", out).returncode == 0
    (out / "etc" / "hosts").write_text("192.0.2.7 database.example\n")
    assert enter(out, "/portal", "ahostsv4", "database.example").stdout.startswith("192.0.2.7")


def test_two_assemblies_are_identical(root, binary, tmp_path):
    again = tmp_path / "again"
    assert assemble(binary, again).returncode == 0

    def archive(path):
        command = ["tar", "--sort=name", "--numeric-owner", "-cf", "-", "-C", str(path), "."]
        return subprocess.run(command, capture_output=True, check=True).stdout

    assert archive(root) == archive(again)


@pytest.mark.parametrize("arguments", [(), ("only-one",), ("a", "b", "c"), ("/no/such/file", "out")])
def test_bad_use_is_refused(arguments, tmp_path):
    result = run(DOCKER / "rootfs.sh", *arguments, cwd=tmp_path)
    assert result.returncode == 2 and result.stderr
    assert list(tmp_path.iterdir()) == []


def test_it_does_not_write_over_what_is_there(binary, tmp_path):
    (tmp_path / "kept").write_text("kept")
    result = assemble(binary, tmp_path)
    assert result.returncode == 2 and "not empty" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_the_dockerfile_ends_from_scratch_as_a_number():
    stages = (DOCKER / "Dockerfile").read_text().split("\nFROM ")
    runtime = stages[-1].splitlines()
    assert runtime[0] == "scratch"
    assert f"USER {USER}" in runtime
    assert 'ENTRYPOINT ["/portal"]' in runtime
    assert not [line for line in runtime if line.startswith(("RUN", "ADD", "CMD", "VOLUME"))]


def test_the_context_is_an_allow_list():
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert lines[0] == "*"
    for name in ("Cargo.toml", "Cargo.lock", "crates/", "deploy/docker/rootfs.sh"):
        assert f"!{name}" in lines and (ROOT / name).exists()


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    """The environment of a docker client that reaches an engine: the machine's, else one started here."""
    environment = os.environ | {"DOCKER_BUILDKIT": "0"}
    if shutil.which("docker") and run("docker", "info", env=environment).returncode == 0:
        yield environment
        return
    missing = [name for name in ("docker", "dockerd", "containerd", "runc") if not shutil.which(name)]
    if missing or os.geteuid() != 0:
        reason = f"no container engine: {', '.join(missing) or 'not root'}"
        if os.environ.get("PORTAL_REQUIRE_ENGINE") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    home = tmp_path_factory.mktemp("dockerd")
    environment["DOCKER_HOST"] = f"unix://{home}/socket"
    paths = ["--data-root", home / "data", "--exec-root", home / "exec", "--pidfile", home / "pid"]
    offline = ["--iptables=false", "--bridge=none", "--storage-driver=vfs"]
    command = ["dockerd", "-H", environment["DOCKER_HOST"], *map(str, paths), *offline]
    with (home / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as daemon:
        try:
            deadline = time.monotonic() + 30
            while run("docker", "info", env=environment).returncode != 0:
                started = daemon.poll() is None and time.monotonic() < deadline
                assert started, (home / "log").read_text()[-2000:]
                time.sleep(0.2)
            yield environment
        finally:
            daemon.terminate()
            daemon.wait(timeout=30)


def test_an_engine_builds_and_runs_the_runtime_stage(root, binary, engine, tmp_path):
    """The stage as the Dockerfile has it; only where it copies from differs, as no registry is needed then."""
    runtime = "FROM " + (DOCKER / "Dockerfile").read_text().split("\nFROM ")[-1]
    local = runtime.replace("--from=build ", "").replace("/rootfs/", "./rootfs/")
    assert local.count("./rootfs/") == 2 and "--from" not in local
    (tmp_path / "Dockerfile").write_text(local)
    shutil.copytree(root, tmp_path / "rootfs")
    tag = "portal-image-test"
    built = run("docker", "build", "--quiet", "--tag", tag, tmp_path, env=engine)
    assert built.returncode == 0, built.stderr
    try:
        facts = run("docker", "image", "inspect", tag, "--format", "{{.Config.User}} {{.Size}}", env=engine)
        user, size = facts.stdout.split()
        print(f"image: {int(size) / 1e6:.1f} MB")
        assert user == USER
        hardened = ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--network", "none"]
        result = run("docker", "run", "--rm", *hardened, tag, "--version", env=engine)
        assert result.returncode == 0, result.stderr
        assert result.stdout == run(binary, "--version").stdout
        # A new volume takes over the owner of the directory it is mounted on: the embedded database can write there.
        container = run("docker", "create", tag, env=engine).stdout.strip()
        try:
            export = subprocess.run(["docker", "export", container], capture_output=True, env=engine, check=True)
        finally:
            run("docker", "rm", container, env=engine)
        with tarfile.open(fileobj=io.BytesIO(export.stdout)) as archive:
            data = archive.getmember("var/lib/portal")
        assert f"{data.uid}:{data.gid}" == USER
        shell = run("docker", "run", "--rm", *hardened, "--entrypoint", "/bin/sh", tag, "-c", "true", env=engine)
        assert shell.returncode == 127, "there is a shell"
    finally:
        run("docker", "image", "rm", "--force", tag, env=engine)
