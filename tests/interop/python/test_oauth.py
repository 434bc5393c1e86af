"""An application written with Authlib signs people in; ID tokens are verified by others' code, whatever they are signed with.

The person approves by gRPC, with their own token: the pages are tried by a browser (`../browser`)."""

import json
import os
from urllib.parse import parse_qs, urlsplit

import grpc
import pytest
import requests
from authlib.common.security import generate_token
from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from authlib.jose import JsonWebKey, JsonWebToken
from jwcrypto import jwk, jws

from stubs import Refusal, refusal

PORTAL = os.environ.get("PORTAL_URL", "")
CALLBACK = "https://news.example.org/callback"
SCOPE = "openid profile email offline_access consent.read"


@pytest.fixture(scope="module", autouse=True)
def over_loopback():
    """Authlib refuses http; here it is the own machine."""
    os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "true"
    yield
    del os.environ["AUTHLIB_INSECURE_TRANSPORT"]


@pytest.fixture(scope="module")
def metadata():
    return requests.get(f"{PORTAL}/.well-known/openid-configuration", timeout=30).json()


@pytest.fixture(scope="module")
def register(portal, operator):
    clients = portal.service("portal.auth.v1", "client_service", "ClientService", operator.token)

    def create(**client):
        return clients.CreateClient(client={"display_name": "News", "type": "TYPE_CONFIDENTIAL", **client})

    return create


@pytest.fixture(scope="module")
def newsletter(register):
    def create(algorithm):
        return register(
            grant_types=["authorization_code", "refresh_token"],
            redirect_uris=[CALLBACK],
            scopes=SCOPE.split(),
            id_token_signing_alg=algorithm,
        )

    return create


def oauth(person):
    return person.portal.service("portal.auth.v1", "oauth_service", "OAuthService", person.token)


def signed_in(session, metadata, person, nonce):
    """The tokens that `session` gets when `person` approves."""
    verifier = generate_token(48)
    url, state = session.create_authorization_url(metadata["authorization_endpoint"], code_verifier=verifier, nonce=nonce)
    waiting = requests.get(url, allow_redirects=False, timeout=30)
    assert waiting.status_code == 303
    (request_uri,) = parse_qs(urlsplit(waiting.headers["location"]).query)["request_uri"]
    decided = oauth(person).DecideAuthorization(request_uri=request_uri, decision="DECISION_APPROVE")
    assert parse_qs(urlsplit(decided.redirect_uri).query)["iss"] == [metadata["issuer"]]
    return session.fetch_token(
        metadata["token_endpoint"], authorization_response=decided.redirect_uri, code_verifier=verifier, state=state
    )


def application(client, method="client_secret_basic"):
    return OAuth2Session(
        client.client_id,
        client.client_secret,
        scope=SCOPE,
        redirect_uri=CALLBACK,
        code_challenge_method="S256",
        token_endpoint_auth_method=method,
    )


def claims_of(token, keys, algorithm):
    """By jwcrypto, which knows ML-DSA; by Authlib too if that knows the algorithm."""
    signed = jws.JWS()
    signed.deserialize(token)
    signed.allowed_algs = [algorithm]
    signed.verify(jwk.JWKSet.from_json(json.dumps(keys)).get_key(signed.jose_header["kid"]))
    claims = json.loads(signed.payload)
    if algorithm != "ML-DSA-65":
        known = JsonWebKey.import_key_set({"keys": [key for key in keys["keys"] if key["kty"] != "AKP"]})
        assert JsonWebToken([algorithm]).decode(token, known) == claims
    return claims


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA", "ML-DSA-65"])
@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_somebody_signs_in(metadata, newsletter, person, algorithm, method):
    ada, client = person("ada"), newsletter(algorithm)
    session = application(client, method)
    tokens = signed_in(session, metadata, ada, "a nonce")
    keys = requests.get(metadata["jwks_uri"], timeout=30).json()
    claims = claims_of(tokens["id_token"], keys, algorithm)
    assert (claims["iss"], claims["aud"], claims["nonce"]) == (metadata["issuer"], client.client_id, "a nonce")
    assert (claims["sub"], claims["subject_id"], claims["acr"]) == (ada.account_id, ada.subject_id, "pwd")
    info = session.get(metadata["userinfo_endpoint"], timeout=30).json()
    assert (info["sub"], info["email"]) == (ada.account_id, ada.email)

    first = tokens["refresh_token"]
    tokens = session.refresh_token(metadata["token_endpoint"], refresh_token=first)
    assert tokens["refresh_token"] != first
    told = session.introspect_token(metadata["introspection_endpoint"], tokens["access_token"]).json()
    assert told["active"] and told["client_id"] == client.client_id
    assert session.revoke_token(metadata["revocation_endpoint"], tokens["refresh_token"]).status_code == 200
    told = session.introspect_token(metadata["introspection_endpoint"], tokens["access_token"]).json()
    assert told == {"active": False}
    with pytest.raises(OAuthError, match="invalid_grant"):
        session.refresh_token(metadata["token_endpoint"], refresh_token=tokens["refresh_token"])


def test_a_client_reaches_what_its_scopes_name(metadata, newsletter, person, portal, study):
    ada = person("ada")
    ada.consents.GiveConsent(**study.shown(ada, study.research))
    tokens = signed_in(application(newsletter("ES256")), metadata, ada, "n")
    consents = portal.service("portal.consent.v1", "consent_service", "ConsentService", tokens["access_token"])
    (consent,) = consents.ListConsents(subject_id=ada.subject_id).consents
    assert consent.purpose_id == study.research
    accounts = portal.service("portal.auth.v1", "account_service", "AccountService", tokens["access_token"])
    denied = grpc.StatusCode.PERMISSION_DENIED
    for call in (
        lambda: consents.WithdrawConsent(subject_id=ada.subject_id, purpose_id=study.research),
        lambda: accounts.GetAccount(account_id=ada.account_id),
        lambda: accounts.ListAccounts(),
    ):
        assert refusal(call) == Refusal(denied, "SCOPE_MISSING")
    assert refusal(lambda: consents.ListConsents(subject_id=study.research)) == Refusal(denied, "NOT_YOUR_DATA")


def test_a_service_acts_for_itself(metadata, register, portal, person, study):
    ada = person("ada")
    ada.consents.GiveConsent(**study.shown(ada, study.research))
    client = register(grant_types=["client_credentials"], scopes=["consent.check"])
    session = OAuth2Session(client.client_id, client.client_secret, scope="consent.check")
    token = session.fetch_token(metadata["token_endpoint"], grant_type="client_credentials")["access_token"]
    decisions = portal.service("portal.consent.v1", "decision_service", "DecisionService", token)
    asked = {"subject_id": ada.subject_id, "purpose_id": study.research}
    assert decisions.CheckConsent(**asked).consent_id
    consents = portal.service("portal.consent.v1", "consent_service", "ConsentService", token)
    denied = Refusal(grpc.StatusCode.PERMISSION_DENIED, "SCOPE_MISSING")
    assert refusal(lambda: consents.ListConsents(subject_id=ada.subject_id)) == denied


DEVICE = "urn:ietf:params:oauth:grant-type:device_code"


def test_a_device_is_connected(metadata, register, person):
    ada = person("ada")
    client = register(
        type="TYPE_PUBLIC", grant_types=[DEVICE, "refresh_token"], scopes=SCOPE.split(), id_token_signing_alg="EdDSA"
    )
    session = OAuth2Session(client.client_id, scope=SCOPE, token_endpoint_auth_method="none")
    asked = {"client_id": client.client_id, "scope": SCOPE}
    begun = requests.post(metadata["device_authorization_endpoint"], data=asked, timeout=30).json()
    assert (begun["expires_in"], begun["interval"], len(begun["device_code"])) == (600, 5, 43)
    assert begun["verification_uri_complete"] == f"{begun['verification_uri']}?user_code={begun['user_code']}"

    def poll():
        return session.fetch_token(metadata["token_endpoint"], grant_type=DEVICE, device_code=begun["device_code"])

    with pytest.raises(OAuthError, match="authorization_pending"):
        poll()
    with pytest.raises(OAuthError, match="slow_down"):
        poll()
    found = oauth(ada).FindDeviceAuthorization(user_code=begun["user_code"].lower())
    assert (found.client_id, sorted(found.scopes)) == (client.client_id, sorted(SCOPE.split()))
    oauth(ada).DecideDeviceAuthorization(user_code=begun["user_code"], decision="DECISION_APPROVE")
    tokens = poll()
    keys = requests.get(metadata["jwks_uri"], timeout=30).json()
    claims = claims_of(tokens["id_token"], keys, "EdDSA")
    assert (claims["sub"], claims["aud"]) == (ada.account_id, client.client_id)
    assert session.get(metadata["userinfo_endpoint"], timeout=30).json()["email"] == ada.email
    assert session.refresh_token(metadata["token_endpoint"], refresh_token=tokens["refresh_token"])["access_token"]
    with pytest.raises(OAuthError, match="invalid_grant"):
        poll()


@pytest.mark.parametrize("code", ["", "x", "A" * 43, "device_code", "123456"])
def test_a_fixed_device_code_never_verifies(metadata, register, code):
    client = register(type="TYPE_PUBLIC", grant_types=[DEVICE], scopes=["openid"])
    form = {"client_id": client.client_id, "grant_type": DEVICE, "device_code": code}
    reply = requests.post(metadata["token_endpoint"], data=form, timeout=30)
    assert (reply.status_code, reply.json()["error"]) in [(400, "invalid_grant"), (400, "invalid_request")]


@pytest.mark.parametrize(
    ("endpoint", "body", "type", "status"),
    [
        ("token", b"\xff\xfe=", "application/x-www-form-urlencoded", 400),
        ("token", b"{}", "application/json", 415),
        ("token", b"a=b&" * 20_000, "application/x-www-form-urlencoded", 413),
        ("token", b"grant_type=x&grant_type=y", "application/x-www-form-urlencoded", 400),
        ("introspect", b"", "application/x-www-form-urlencoded", 401),
        ("device_authorization", b"", "application/x-www-form-urlencoded", 400),
        ("device_authorization", b"client_id=%00&scope=openid", "application/x-www-form-urlencoded", 400),
        ("device", b"user_code=BCDF-GHJK", "application/x-www-form-urlencoded", 403),
        ("revoke", b"token=%00", "application/x-www-form-urlencoded", 400),
        ("par", b"client_id=1", "application/x-www-form-urlencoded", 400),
        ("sign-in", b"email=x", "application/x-www-form-urlencoded", 403),
        ("consent", b"decision=approve", "application/x-www-form-urlencoded", 403),
        ("nothing", b"", "application/x-www-form-urlencoded", 404),
    ],
)
def test_garbage_is_refused(endpoint, body, type, status):
    reply = requests.post(f"{PORTAL}/oauth2/{endpoint}", data=body, headers={"content-type": type}, timeout=30)
    assert reply.status_code == status
    assert requests.get(f"{PORTAL}/.well-known/openid-configuration", timeout=30).ok


@pytest.mark.parametrize("query", ["", "client_id=x", "client_id=1&client_id=2", "request_uri=urn:x&client_id=y", "%ff"])
def test_a_garbled_question_sends_nobody_anywhere(query):
    reply = requests.get(f"{PORTAL}/oauth2/authorize?{query}", allow_redirects=False, timeout=30)
    assert reply.status_code == 400 and "location" not in reply.headers
    assert reply.headers["content-type"].startswith("text/html") and "default-src 'none'" in reply.headers["content-security-policy"]
