"""A web page's session: the refresh token in a cookie that no script reads, for pages of the portal alone."""

import os
import uuid
from http.cookies import SimpleCookie

import pytest
import requests

URL = os.environ.get("PORTAL_URL", "")
REFRESH, ACCESS = "__Host-portal-refresh", "__Host-portal-access"
OWN = {"portal-session": "cookie", "origin": URL}


def post(path, body, headers=OWN, cookies=None):
    headers = dict(headers)
    if cookies:
        headers["cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items())
    return requests.post(f"{URL}/v1/{path}", json=body, headers=headers, timeout=30)


def set_cookies(response):
    found = {}
    for line in response.raw.headers.getlist("set-cookie"):
        found.update(SimpleCookie(line))
    return found


def reason(response):
    return next(detail["reason"] for detail in response.json()["details"] if "reason" in detail)


@pytest.fixture
def ada():
    person = {"email": f"ada-{uuid.uuid4().hex[:12]}@example.org", "password": "ada has a long password 7"}
    response = post("accounts", person | {"displayName": "Ada"}, headers={})
    assert response.status_code == 200, response.text
    return person


def test_a_page_never_holds_its_refresh_token(ada):
    signed_in = post("sessions", ada)
    assert signed_in.status_code == 200, signed_in.text
    session = signed_in.json()["session"]
    assert "refreshToken" not in session and session["accessToken"]
    kept = set_cookies(signed_in)
    assert kept[ACCESS].value == session["accessToken"]
    for name in (REFRESH, ACCESS):
        cookie = kept[name]
        assert cookie["httponly"] and cookie["secure"] and cookie["samesite"] == "Lax" and cookie["path"] == "/"
        assert not cookie["domain"]
    # Not remembered: the cookie goes with the browser.
    assert kept[REFRESH]["max-age"] == ""
    remembered = set_cookies(post("sessions", ada | {"rememberMe": True}))
    assert 29 * 86_400 < int(remembered[REFRESH]["max-age"]) <= 30 * 86_400

    refreshed = post("sessions:refresh", {}, cookies={REFRESH: kept[REFRESH].value})
    assert refreshed.status_code == 200, refreshed.text
    assert "refreshToken" not in refreshed.json()
    fresh = refreshed.json()["accessToken"]
    assert fresh != session["accessToken"]
    successor = set_cookies(refreshed)[REFRESH].value
    assert successor != kept[REFRESH].value
    account = requests.get(
        f"{URL}/v1/accounts/{session['accountId']}", headers={"authorization": f"Bearer {fresh}"}, timeout=30
    )
    assert account.status_code == 200

    headers = OWN | {"authorization": f"Bearer {fresh}"}
    ended = post(f"sessions/{session['sessionId']}:revoke", {}, headers=headers)
    assert ended.status_code == 200, ended.text
    assert {name: cookie["max-age"] for name, cookie in set_cookies(ended).items()} == {ACCESS: "0", REFRESH: "0"}
    over = post("sessions:refresh", {}, cookies={REFRESH: successor})
    assert (over.status_code, reason(over)) == (401, "TOKEN_INVALID")
    assert set_cookies(over)[REFRESH]["max-age"] == "0", "the browser forgets what is over"


@pytest.mark.parametrize(
    "headers",
    [
        {"portal-session": "cookie"},
        {"portal-session": "cookie", "origin": "https://evil.example"},
        {"portal-session": "cookie", "origin": "null"},
        {"portal-session": "cookie", "sec-fetch-site": "cross-site"},
        {"portal-session": "cookie", "sec-fetch-site": "same-site"},
    ],
)
def test_no_other_page_uses_the_cookie(ada, headers):
    kept = set_cookies(post("sessions", ada))
    refused = post("sessions:refresh", {}, headers=headers, cookies={REFRESH: kept[REFRESH].value})
    assert (refused.status_code, reason(refused)) == (403, "FOREIGN_ORIGIN")
    assert not set_cookies(refused)
    refused = post("sessions", ada, headers=headers)
    assert (refused.status_code, reason(refused)) == (403, "FOREIGN_ORIGIN")
    assert not set_cookies(refused)
    # It was not spent.
    own = {"portal-session": "cookie", "sec-fetch-site": "same-origin"}
    assert post("sessions:refresh", {}, headers=own, cookies={REFRESH: kept[REFRESH].value}).status_code == 200


def test_the_cookie_alone_does_nothing(ada):
    kept = set_cookies(post("sessions", ada))
    cookies = {name: cookie.value for name, cookie in kept.items()}
    plain = post("sessions:refresh", {}, headers={"origin": URL}, cookies=cookies)
    assert (plain.status_code, reason(plain)) == (401, "TOKEN_INVALID"), "it is not even looked at"
    account = requests.get(
        f"{URL}/v1/purposes",
        headers={"cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())},
        timeout=30,
    )
    assert (account.status_code, reason(account)) == (401, "TOKEN_MISSING")
    nobody = post("sessions:refresh", {})
    assert (nobody.status_code, reason(nobody)) == (401, "TOKEN_MISSING")
    twice = post("sessions:refresh", {"refreshToken": "A" * 43}, cookies=cookies)
    assert (twice.status_code, reason(twice)) == (400, "INVALID_FIELD")
    other = post("sessions", ada, headers=OWN | {"portal-session": "body"})
    assert (other.status_code, reason(other)) == (400, "INVALID_FIELD")


def test_who_keeps_tokens_themselves_gets_no_cookie(ada):
    signed_in = post("sessions", ada, headers={"origin": URL})
    assert len(signed_in.json()["session"]["refreshToken"]) == 43
    assert not set_cookies(signed_in)


def test_a_wrong_password_leaves_the_browser_as_it_was(ada):
    wrong = post("sessions", ada | {"password": "another long password 8"})
    assert wrong.status_code == 401
    assert not set_cookies(wrong)
