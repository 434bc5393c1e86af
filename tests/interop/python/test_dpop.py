"""Tokens that are bound to a key (RFC 9449), by proofs that jwcrypto signs: at the token endpoint, by JSON, gRPC and gRPC-Web, at
UserInfo and in introspection. And sign-outs that an application is told of, by tokens that jwcrypto verifies."""

import base64
import hashlib
import json
import os
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import grpc
import pytest
import requests
from authlib.common.security import generate_token
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from jwcrypto import jwk, jws

from stubs import Refusal, message_class, module, refusal
from test_oauth import CALLBACK, metadata, oauth, register  # noqa: F401

PORTAL = os.environ.get("PORTAL_URL", "")
KINDS = {
    "ML-DSA-65": {"kty": "AKP", "alg": "ML-DSA-65"},
    "ES256": {"kty": "EC", "crv": "P-256"},
    "EdDSA": {"kty": "OKP", "crv": "Ed25519"},
}


class Key:
    """A key of an application, and the nonce that it was told last."""

    def __init__(self, algorithm):
        self.algorithm, self.key, self.nonce = algorithm, jwk.JWK.generate(**KINDS[algorithm]), None

    @property
    def thumbprint(self):
        return self.key.thumbprint()

    def proof(self, method, url, token=None, typ="dpop+jwt", **changes):
        public = self.key.export_public(as_dict=True)
        header = {"typ": typ, "alg": self.algorithm, "jwk": {name: public[name] for name in public if name != "kid"}}
        claims = {"jti": str(uuid.uuid4()), "htm": method, "htu": url, "iat": int(time.time()), **changes}
        if token:
            claims.setdefault("ath", encoded(hashlib.sha256(token.encode()).digest()))
        signed = jws.JWS(json.dumps({name: value for name, value in claims.items() if value is not None}))
        signed.allowed_algs = [self.algorithm]
        signed.add_signature(self.key, protected=json.dumps(header))
        return signed.serialize(compact=True)

    def ask(self, metadata, client, **parameters):
        """Asks for tokens, once more if it takes a nonce."""
        url = metadata["token_endpoint"]
        for _ in range(2):
            changes = {"nonce": self.nonce} if self.nonce else {}
            reply = requests.post(
                url,
                data=parameters,
                auth=(client.client_id, client.client_secret),
                headers={"dpop": self.proof("POST", url, **changes)},
                timeout=30,
            )
            self.nonce = reply.headers["dpop-nonce"]
            if reply.json().get("error") != "use_dpop_nonce":
                break
        return reply


def encoded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@pytest.fixture(scope="module")
def machine(register):  # noqa: F811
    return register(grant_types=["client_credentials"], scopes=["consent.read"], require_dpop=True)


@pytest.fixture(params=sorted(KINDS))
def bound(request, metadata, machine):  # noqa: F811
    """A token of a service, and its key."""
    key = Key(request.param)
    reply = key.ask(metadata, machine, grant_type="client_credentials")
    assert (reply.status_code, reply.json()["token_type"]) == (200, "DPoP"), reply.text
    return key, reply.json()["access_token"]


def purposes(token, *proofs, scheme="DPoP"):
    headers = [("authorization", f"{scheme} {token}"), *(("dpop", proof) for proof in proofs)]
    request = requests.Request("GET", f"{PORTAL}/v1/purposes?page_size=1").prepare()
    for name, value in headers:
        request.headers[name] = value
    with requests.Session() as session:
        return session.send(request, timeout=30)


def test_what_is_told(metadata):  # noqa: F811
    assert metadata["dpop_signing_alg_values_supported"] == ["ML-DSA-65", "ES256", "EdDSA"]
    assert metadata["backchannel_logout_supported"] and metadata["backchannel_logout_session_supported"]


def test_a_bound_token_takes_a_proof_for_each_request(bound, metadata, machine):  # noqa: F811
    key, token = bound
    url = f"{PORTAL}/v1/purposes"
    proof = key.proof("GET", url, token)
    assert purposes(token, proof).status_code == 200
    replayed = purposes(token, proof)
    assert (replayed.status_code, replayed.json()["details"][0]["reason"]) == (401, "DPOP_PROOF_REJECTED")
    told = requests.post(
        metadata["introspection_endpoint"],
        data={"token": token},
        auth=(machine.client_id, machine.client_secret),
        timeout=30,
    ).json()
    assert (told["token_type"], told["cnf"]) == ("DPoP", {"jkt": key.thumbprint})
    as_bearer = purposes(token, scheme="Bearer")
    assert (as_bearer.status_code, as_bearer.json()["details"][0]["reason"]) == (401, "DPOP_PROOF_NEEDED")
    challenge = as_bearer.headers["www-authenticate"]
    assert 'DPoP error="invalid_token", algs="ML-DSA-65 ES256 EdDSA"' in challenge
    stolen = purposes(token, Key(key.algorithm).proof("GET", url, token))
    assert (stolen.status_code, stolen.json()["details"][0]["reason"]) == (401, "TOKEN_INVALID")
    for wrong in (
        key.proof("POST", url, token),
        key.proof("GET", f"{PORTAL}/v1/notices", token),
        key.proof("GET", "https://portal.example.org/v1/purposes", token),
        key.proof("GET", url),
        key.proof("GET", url, token + "x"),
        key.proof("GET", url, token, typ="JWT"),
        key.proof("GET", url, token, iat=int(time.time()) - 90),
        key.proof("GET", url, token, iat=int(time.time()) + 90),
        key.proof("GET", url, token, jti=None),
        "rubbish",
    ):
        reply = purposes(token, wrong)
        assert (reply.status_code, reply.json()["details"][0]["reason"]) == (401, "DPOP_PROOF_REJECTED"), wrong
        assert 'DPoP error="invalid_dpop_proof"' in reply.headers["www-authenticate"]
    assert purposes(token).json()["details"][0]["reason"] == "DPOP_PROOF_REJECTED"


def test_eight_at_once(bound):
    key, token = bound
    url = f"{PORTAL}/v1/purposes"
    with ThreadPoolExecutor(8) as pool:
        own = list(pool.map(lambda _: purposes(token, key.proof("GET", url, token)).status_code, range(8)))
        one = key.proof("GET", url, token)
        same = list(pool.map(lambda _: purposes(token, one).status_code, range(8)))
    assert own == [200] * 8
    assert sorted(same) == [200] + [401] * 7


def test_by_grpc_and_grpc_web(bound, channel):
    key, token = bound
    method = "/portal.consent.v1.PurposeService/ListPurposes"
    messages = module("portal.consent.v1.purpose_service_pb2")
    call = messages.DESCRIPTOR.services_by_name["PurposeService"].methods_by_name["ListPurposes"]
    stub = module("portal.consent.v1.purpose_service_pb2_grpc").PurposeServiceStub(channel)
    request = message_class(call.input_type)(page_size=1)

    def ask(proof):
        return stub.ListPurposes(request, timeout=30, metadata=[("authorization", f"DPoP {token}"), ("dpop", proof)])

    proof = key.proof("POST", PORTAL + method, token)
    ask(proof)
    rejected = Refusal(grpc.StatusCode.UNAUTHENTICATED, "DPOP_PROOF_REJECTED")
    assert refusal(lambda: ask(proof)) == rejected
    assert refusal(lambda: ask(key.proof("GET", PORTAL + method, token))) == rejected

    def ask_web(proof):
        headers = {"authorization": f"DPoP {token}", "dpop": proof, "content-type": "application/grpc-web+proto"}
        return requests.post(PORTAL + method, data=b"\0\0\0\0\0", headers=headers, timeout=30)

    good = ask_web(key.proof("POST", PORTAL + method, token))
    assert good.status_code == 200 and b"grpc-status:0" in good.content.replace(b": ", b":")
    bad = ask_web(key.proof("POST", f"{PORTAL}/", token))
    assert bad.headers.get("grpc-status") == "16" or b"grpc-status:16" in bad.content.replace(b": ", b":")


def test_the_token_endpoint_takes_a_fresh_proof(metadata, machine):  # noqa: F811
    key, url = Key("ML-DSA-65"), metadata["token_endpoint"]
    assert key.ask(metadata, machine, grant_type="client_credentials").status_code == 200

    def ask(*proofs):
        headers = {"dpop": proofs[0]} if proofs else {}
        auth, data = (machine.client_id, machine.client_secret), {"grant_type": "client_credentials"}
        reply = requests.post(url, data=data, auth=auth, headers=headers, timeout=30)
        return reply.status_code, reply.json().get("error")

    refused = (400, "invalid_dpop_proof")
    assert ask() == refused
    assert ask(key.proof("POST", url)) == (400, "use_dpop_nonce")
    assert ask(key.proof("POST", url, nonce="of another time")) == (400, "use_dpop_nonce")
    assert ask(key.proof("GET", url, nonce=key.nonce)) == refused
    assert ask(key.proof("POST", f"{url}/x", nonce=key.nonce)) == refused
    assert ask(key.proof("POST", url, nonce=key.nonce, iat=int(time.time()) - 90)) == refused
    once = key.proof("POST", url, nonce=key.nonce)
    assert ask(once) == (200, None)
    assert ask(once) == refused


def approved(metadata, client, person, **more):  # noqa: F811
    """A code that `person` approves, and its verifier."""
    verifier = generate_token(48)
    pushed = requests.post(
        metadata["pushed_authorization_request_endpoint"],
        data={
            "client_id": client.client_id,
            "redirect_uri": CALLBACK,
            "response_type": "code",
            "scope": "openid email offline_access",
            "code_challenge": create_s256_code_challenge(verifier),
            "code_challenge_method": "S256",
            **more.pop("data", {}),
        },
        timeout=30,
        **more,
    )
    assert pushed.status_code == 201, pushed.text
    decided = oauth(person).DecideAuthorization(request_uri=pushed.json()["request_uri"], decision="DECISION_APPROVE")
    (code,) = parse_qs(decided.redirect_uri.split("?", 1)[1])["code"]
    return {"grant_type": "authorization_code", "code": code, "code_verifier": verifier}


def test_a_public_application_keeps_its_key(metadata, register, person):  # noqa: F811
    ada, key, other = person("ada"), Key("ML-DSA-65"), Key("ML-DSA-65")
    client = register(
        type="TYPE_PUBLIC",
        grant_types=["authorization_code", "refresh_token"],
        redirect_uris=[CALLBACK],
        scopes=["openid", "email", "offline_access"],
    )

    def ask(key, **parameters):
        url = metadata["token_endpoint"]
        for _ in range(2):
            changes = {"nonce": key.nonce} if key.nonce else {}
            headers = {"dpop": key.proof("POST", url, **changes)}
            reply = requests.post(url, data={"client_id": client.client_id, **parameters}, headers=headers, timeout=30)
            key.nonce = reply.headers["dpop-nonce"]
            if reply.json().get("error") != "use_dpop_nonce":
                return reply.json()

    par = metadata["pushed_authorization_request_endpoint"]
    code = approved(metadata, client, ada, headers={"dpop": key.proof("POST", par)})
    assert ask(other, **code)["error"] == "invalid_grant", "the request named another key"
    tokens = ask(key, **code)
    assert tokens["token_type"] == "DPoP"
    userinfo = metadata["userinfo_endpoint"]

    def info(token, key, scheme="DPoP"):
        headers = {"authorization": f"{scheme} {token}", "dpop": key.proof("GET", userinfo, token)}
        return requests.get(userinfo, headers=headers, timeout=30)

    assert info(tokens["access_token"], key).json()["email"] == ada.email
    for reply in (info(tokens["access_token"], other), info(tokens["access_token"], key, "Bearer")):
        assert reply.status_code == 401 and "DPoP error=" in reply.headers["www-authenticate"]
    refresh = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    assert ask(other, **refresh)["error"] == "invalid_grant"
    tokens = ask(key, **refresh)
    assert info(tokens["access_token"], key).json()["sub"] == ada.account_id
    mismatch = requests.post(
        par,
        data={"client_id": client.client_id, "dpop_jkt": other.thumbprint},
        headers={"dpop": key.proof("POST", par)},
        timeout=30,
    )
    assert (mismatch.status_code, mismatch.json()["error"]) == (400, "invalid_dpop_proof")


@pytest.fixture
def application():
    """An application's server, and the logout tokens that it was told."""
    told = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            form = parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
            told.append((self.headers["content-type"], form))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/logout", told
    server.shutdown()


@pytest.mark.parametrize("algorithm", sorted(KINDS))
def test_an_application_is_told_who_is_signed_out(metadata, register, person, application, algorithm):  # noqa: F811
    (uri, told), ada = application, person("ada")
    client = register(
        grant_types=["authorization_code", "refresh_token"],
        redirect_uris=[CALLBACK],
        scopes=["openid", "email", "offline_access"],
        id_token_signing_alg=algorithm,
        backchannel_logout_uri=uri,
        backchannel_logout_session_required=True,
    )
    auth = (client.client_id, client.client_secret)
    code = approved(metadata, client, ada, auth=auth, data={"client_id": client.client_id})
    tokens = requests.post(metadata["token_endpoint"], data=code, auth=auth, timeout=30).json()
    assert tokens["token_type"] == "Bearer"

    def claims(token, typ):
        signed = jws.JWS()
        signed.deserialize(token)
        signed.allowed_algs = [algorithm]
        keys = requests.get(metadata["jwks_uri"], timeout=30).text
        signed.verify(jwk.JWKSet.from_json(keys).get_key(signed.jose_header["kid"]))
        assert signed.jose_header["typ"] == typ
        return json.loads(signed.payload)

    sid = claims(tokens["id_token"], "JWT")["sid"]
    ada.portal.service("portal.auth.v1", "session_service", "SessionService", ada.token).RevokeAllSessions(
        account_id=ada.account_id
    )
    until = time.monotonic() + 10
    while not told and time.monotonic() < until:
        time.sleep(0.02)
    ((content_type, form),) = told
    assert content_type == "application/x-www-form-urlencoded" and list(form) == ["logout_token"]
    said = claims(form["logout_token"][0], "logout+jwt")
    assert (said["iss"], said["aud"], said["sub"], said["sid"]) == (
        metadata["issuer"],
        client.client_id,
        ada.account_id,
        sid,
    )
    assert said["events"] == {"http://schemas.openid.net/event/backchannel-logout": {}}
    assert "nonce" not in said and said["jti"] and 0 < said["exp"] - said["iat"] <= 120
