"""The binary understands what the chart renders, and starts in the image with the files mounted as a node does it.

The binary is PORTAL_BIN, else target/release/portal, else target/debug/portal. Without one these tests are skipped;
the last ones also without root, as they give files away. PORTAL_REQUIRE_ENGINE=1 turns the skips into failures.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from image import ROOTS, USER, assemble, built, inside, run
from rendering import ALL, SERVICES, manifests, of_kind, pod, with_value
from test_schema import SCHEMA

KEYS = SCHEMA["properties"]["keys"]["properties"]
LIMITS = {
    "provider_timeout_seconds": "providerTimeoutSeconds",
    "cache_ttl_seconds": "cacheTtlSeconds",
    "epoch_days": "epochDays",
}
USER_ID, GROUP_ID = map(int, USER.split(":"))


def missing(reason: str) -> None:
    if os.environ.get("PORTAL_REQUIRE_ENGINE") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def portal() -> pathlib.Path:
    return built() or missing("no binary: cargo build --release, or set PORTAL_BIN")


def toml(values, service: str) -> str:
    return of_kind(manifests(values), "ConfigMap")[f"portal-{service}"]["data"]["config.toml"]


def check(portal, directory: pathlib.Path, service: str, text: str) -> subprocess.CompletedProcess[str]:
    file = directory / "config.toml"
    file.write_text(text)
    # The certificate files are those of a pod.
    return run(portal, "check-config", file, "--service", service, "--no-files")


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("name", ALL)
def test_it_understands_every_configuration(name, service, portal, tmp_path):
    result = check(portal, tmp_path, service, toml(ALL[name], service))
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("name", ["default", "production"])
def test_it_needs_what_is_rendered(name, portal, tmp_path):
    """The check above can fail: without its keys the configuration is refused."""
    text = toml(ALL[name], "consent")
    result = check(portal, tmp_path, "consent", text.replace("[keys]", "[secrets]"))
    assert result.returncode == 2 and "keys: missing" in result.stderr


@pytest.mark.parametrize("key", LIMITS)
def test_its_limits_are_those_of_the_schema(key, portal, tmp_path):
    limit = KEYS[LIMITS[key]]
    for value, accepted in (
        (limit["minimum"], True),
        (limit["maximum"], True),
        (limit["minimum"] - 1, False),
        (limit["maximum"] + 1, False),
    ):
        text = toml({"keys": {LIMITS[key]: 7}}, "consent").replace(f"{key} = 7", f"{key} = {value}")
        assert f"{key} = {value}" in text
        result = check(portal, tmp_path, "consent", text)
        assert (result.returncode == 0) == accepted, (value, result.stderr)


def volume(root: pathlib.Path, path: str, files: dict[str, bytes], mode: int) -> None:
    """Writes `files` as the node mounts a Secret: root's, the pod's group may read, behind two symbolic links."""
    mount = root / path.lstrip("/")
    data = mount / "..2026_01_01"
    data.mkdir(parents=True)
    for name, content in files.items():
        (data / name).write_bytes(content)
        (data / name).chmod(mode)
        os.chown(data / name, 0, GROUP_ID)
        (mount / name).symlink_to(f"..data/{name}")
    (mount / "..data").symlink_to(data.name)


def secrets(portal, directory: pathlib.Path, service: str) -> dict[str, bytes]:
    """Key of a Secret → content, made by the commands that README.md of the chart has."""
    made = [
        run(portal, "certs", "issue", "--ca", directory / "ca", "--service", service, "--out", directory),
        run(portal, "keys", "create-root", "--out", directory / "root-keys.json"),
    ]
    assert [result.returncode for result in made] == [0, 0], [result.stderr for result in made]
    (directory / "password").write_text("a long enough password")
    (directory / "service-secret").write_text("5a" * 32)
    return {file.name: file.read_bytes() for file in directory.iterdir() if file.is_file()}


def mounted(values, service: str, root: pathlib.Path, content: dict[str, bytes]) -> dict[str, pathlib.Path]:
    """Mounts what the pod of `service` has; returns the directories by the names of their volumes."""
    documents = manifests(values)
    spec = pod(documents, service)
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    places = {}
    for mount in spec["containers"][0]["volumeMounts"]:
        described = volumes[mount["name"]]
        places[mount["name"]] = root / mount["mountPath"].lstrip("/")
        if "secret" in described:
            secret = described["secret"]
            files = {item["path"]: content[item["key"]] for item in secret["items"]}
            volume(root, mount["mountPath"], files, secret["defaultMode"])
        elif "configMap" in described:
            data = of_kind(documents, "ConfigMap")[described["configMap"]["name"]]["data"]
            volume(root, mount["mountPath"], {name: text.encode() for name, text in data.items()}, 0o644)
        else:
            os.chown(places[mount["name"]], USER_ID, GROUP_ID)
    return places


def free_address() -> str:
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{chosen.getsockname()[1]}"


@contextlib.contextmanager
def started(values, service: str, root: pathlib.Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The pod's command in `root`, as the image's user, on ports of its own; ends by SIGTERM."""
    container = pod(manifests(values), service)["containers"][0]
    admin = free_address()
    environment = {"PATH": os.environ["PATH"]}
    environment |= {variable["name"]: variable["value"] for variable in container.get("env", [])}
    environment |= {"PORTAL__SERVER__LISTEN": free_address(), "PORTAL__SERVER__ADMIN_LISTEN": admin}
    command, log = inside(root, *container["command"]), root.parent / "log"
    with log.open("w") as output, subprocess.Popen(command, stdout=output, stderr=output, env=environment) as process:
        try:
            yield process, admin
        finally:
            process.terminate()
            process.wait(timeout=60)


def until_ready(process: subprocess.Popen[str], admin: str, log: pathlib.Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            if urllib.request.urlopen(f"http://{admin}/readyz", timeout=5).status == 200:
                return
        going_on = process.poll() is None and time.monotonic() < deadline
        assert going_on, log.read_text()[-2000:]
        time.sleep(0.05)


@pytest.mark.parametrize("name", ["dev", "dev-import"])
def test_it_starts_in_the_image_with_what_the_chart_mounts(name, portal, tmp_path):
    if os.geteuid() != 0:
        missing("only root can give files to the image's user")
    values = with_value(ALL["dev"], "keys.importServiceSecret", name == "dev-import")
    (tmp_path / "made").mkdir()
    content = secrets(portal, tmp_path / "made", "auth")
    root = tmp_path / "rootfs"
    assert assemble(portal, root).returncode == 0
    places = mounted(values, "auth", root, content)
    # Twice: what the first one made, the second one opens.
    for _ in range(2):
        with started(values, "auth", root) as (process, admin):
            until_ready(process, admin, tmp_path / "log")
        assert process.returncode == 0, (tmp_path / "log").read_text()[-2000:]
    assert {"auth.db", "auth.keys.db"} <= {file.name for file in places["data"].iterdir()}
    unbelieving = "the system has no root certificates"
    assert unbelieving not in (tmp_path / "log").read_text()
    (root / ROOTS).unlink()
    with started(values, "auth", root) as (process, admin):
        until_ready(process, admin, tmp_path / "log")
    assert unbelieving in (tmp_path / "log").read_text()
    # Another keyring does not open what the first one sealed.
    (tmp_path / "other").mkdir()
    other = secrets(portal, tmp_path / "other", "auth")
    shutil.rmtree(places["keys"])
    volume(root, "/etc/portal/keys", {name: other[name] for name in ("root-keys.json", "service-secret")}, 0o440)
    with started(values, "auth", root) as (process, _):
        assert process.wait(timeout=60) != 0
