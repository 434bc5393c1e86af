"""Clients as people have them: each gets a certificate that it can verify, and none has to be told which."""

import json
import os
import shutil
import ssl
import subprocess
import urllib.request
import uuid
from pathlib import Path

import grpc
import pytest
from stubs import Portal, Person

HERE = Path(__file__).parent
CLASSICAL = "ECDSA-P256"
QUANTUM_SAFE = "ML-DSA-65"


def accepted(group, signature):
    return {("accepted", "1.3", group, signature)}


def test_grpcio(port, roots, agreed):
    credentials = grpc.ssl_channel_credentials(roots.read_bytes())
    with grpc.secure_channel(f"localhost:{port}", credentials) as channel:
        tag = uuid.uuid4().hex
        person = Person(Portal(channel), f"python-{tag}@example.org", f"a long password {tag}").register("Python").sign_in()
        account = person.accounts.GetAccount(account_id=person.account_id)
    assert (account.email, account.display_name) == (person.email, "Python")
    # BoringSSL offers the group but not the signature.
    assert agreed() == accepted("X25519MLKEM768", CLASSICAL)


@pytest.mark.parametrize(
    ("version", "group", "signature"),
    [("20", "X25519", CLASSICAL), ("26", "X25519MLKEM768", QUANTUM_SAFE)],
)
def test_grpc_js(version, group, signature, agreed):
    node = HERE / "node_modules" / f"node{version}" / "bin" / "node"
    done = subprocess.run([node, HERE / "client.mjs"], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["node"].startswith(f"v{version}.") and told["name"] == "Node"
    assert agreed() == accepted(group, signature)


def test_the_standard_library(port, roots, agreed):
    """JSON and the console over HTTP/1.1."""
    context = ssl.create_default_context(cafile=str(roots))
    with urllib.request.urlopen(f"https://localhost:{port}/", context=context, timeout=10) as answer:
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.headers["strict-transport-security"] == "max-age=31536000"
    with urllib.request.urlopen(f"https://localhost:{port}/.well-known/jwks.json", context=context, timeout=10) as answer:
        assert json.load(answer)["keys"]
    assert {signature for *_, signature in agreed()} <= {CLASSICAL, QUANTUM_SAFE}


@pytest.mark.parametrize("http", ["--http1.1", "--http2"])
def test_curl(http, port, roots):
    if not shutil.which("curl"):
        pytest.fail("curl is not there: .ci/run setup")
    command = ["curl", "--silent", "--fail", http, "--cacert", roots, "--write-out", "%{http_version}"]
    done = subprocess.run(
        [*command, f"https://localhost:{port}/.well-known/jwks.json"], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    body, version = done.stdout.rsplit("}", 1)
    assert json.loads(body + "}")["keys"]
    assert version == {"--http1.1": "1.1", "--http2": "2"}[http]


def test_older_versions_of_tls_are_refused(port, roots, agreed):
    context = ssl.create_default_context(cafile=str(roots))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(OSError, match="(?i)alert protocol version|protocol_version|version"):
        urllib.request.urlopen(f"https://localhost:{port}/", context=context, timeout=10)
    assert agreed() == {("refused", "none", "none", "none")}


def test_who_does_not_know_the_authority_does_not_talk(port, agreed):
    context = ssl.create_default_context()
    with pytest.raises(OSError, match="(?i)certificate verify failed"):
        urllib.request.urlopen(f"https://localhost:{port}/", context=context, timeout=10)
    with grpc.secure_channel(f"localhost:{port}", grpc.ssl_channel_credentials()) as channel:
        with pytest.raises(grpc.RpcError) as refused:
            channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=5)
    assert refused.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
    assert not any(outcome == "timed_out" for outcome, *_ in agreed())


def test_the_other_certificate_alone_would_not_do(roots):
    """That the two are needed: with the ML-DSA-65 root alone the clients of today verify nothing."""
    classical, quantum_safe = (f"{part}-----END CERTIFICATE-----\n" for part in roots.read_text().split("-----END CERTIFICATE-----\n")[:2])
    port = int(os.environ["PORTAL_URL"].rsplit(":", 1)[1])
    for root, verified in ((classical, True), (quantum_safe, False)):
        with grpc.secure_channel(f"localhost:{port}", grpc.ssl_channel_credentials(root.encode())) as channel:
            check = channel.unary_unary("/grpc.health.v1.Health/Check")
            if verified:
                check(b"", timeout=10)
            else:
                with pytest.raises(grpc.RpcError):
                    check(b"", timeout=5)
