"""Clients as people have them: each gets a certificate that it can verify, and none has to be told which."""

import json
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
    # What it knows is what its OpenSSL knows: 3.5 is the first with both.
    knows = ssl.OPENSSL_VERSION_INFO >= (3, 5)
    assert agreed() == (accepted("X25519MLKEM768", QUANTUM_SAFE) if knows else accepted("X25519", CLASSICAL))


@pytest.mark.parametrize("http", ["--http1.1", "--http2"])
def test_curl(http, port, roots, agreed):
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
    assert {told[:2] for told in agreed()} == {("accepted", "1.3")}


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
    told = {outcome for outcome, *_ in agreed()}
    assert "refused" in told and told <= {"refused", "broken_off"}, told


def test_the_other_certificate_alone_would_not_do(port, roots):
    """That the two are needed: with the ML-DSA-65 root alone the clients of today verify nothing."""
    end = "-----END CERTIFICATE-----\n"
    classical, quantum_safe, rest = (part + end for part in roots.read_text().split(end))
    assert rest == end, "two roots, and no more"
    for root, verified in ((classical, True), (quantum_safe, False)):
        with grpc.secure_channel(f"localhost:{port}", grpc.ssl_channel_credentials(root.encode())) as channel:
            check = channel.unary_unary("/grpc.health.v1.Health/Check")
            if verified:
                check(b"", timeout=10)
            else:
                with pytest.raises(grpc.RpcError):
                    check(b"", timeout=5)
