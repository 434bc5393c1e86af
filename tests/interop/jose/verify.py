"""Tokens and their published keys, by verifiers that share no code with Portal: `python verify.py FILE`.

FILE has `jwks`, the text of /.well-known/jwks.json, and `tokens`: `alg`, `typ`, `token` and `claims` of each. jwcrypto has to take
all of them, and none that was changed. PyJWT and Authlib don't know ML-DSA: they take the others, and refuse that one in
their own words.
"""

import json
import sys

import jwt as pyjwt
from authlib.jose import JsonWebKey, JsonWebToken
from authlib.jose.errors import JoseError
from jwcrypto import jwk, jws

CLASSICAL = ["ES256", "EdDSA"]


def bent(token: str) -> list[str]:
    """The token with one character changed, in its header, claims and signature."""
    ends = [token.index("."), token.rindex("."), len(token)]
    return [token[: at - 4] + ("A" if token[at - 4] != "A" else "B") + token[at - 3 :] for at in ends]


def refused(what: str, error: type[Exception] | tuple[type[Exception], ...], call) -> None:
    try:
        call()
    except error:
        return
    raise AssertionError(f"{what} was not refused")


def by_jwcrypto(keys: jwk.JWKSet, named: dict) -> None:
    def verify(token: str) -> dict:
        object = jws.JWS()
        object.deserialize(token)
        key = keys.get_key(object.jose_header["kid"])
        assert key is not None and key.thumbprint() == object.jose_header["kid"]
        object.allowed_algs = [named["alg"]]
        object.verify(key)
        assert object.jose_header["typ"] == named["typ"]
        return json.loads(object.payload)

    assert verify(named["token"]) == named["claims"]
    for token in bent(named["token"]):
        refused("a changed token", (jws.InvalidJWSSignature, jws.InvalidJWSObject, AssertionError, ValueError), lambda: verify(token))


def by_pyjwt(keys: list[dict], named: dict) -> None:
    key = next(key for key in keys if key["kid"] == pyjwt.get_unverified_header(named["token"])["kid"])
    options = {"verify_aud": False, "verify_exp": False, "verify_iat": False, "verify_nbf": False, "verify_sub": False}

    def verify(token: str) -> dict:
        return pyjwt.decode(token, pyjwt.PyJWK(key).key, algorithms=CLASSICAL, options=options)

    if named["alg"] in CLASSICAL:
        assert verify(named["token"]) == named["claims"]
        for token in bent(named["token"]):
            refused("a changed token", pyjwt.PyJWTError, lambda: verify(token))
    else:
        refused("a key of ML-DSA", pyjwt.PyJWTError, lambda: pyjwt.PyJWK(key))
        other = next(key for key in keys if key["alg"] in CLASSICAL)
        refused("a token of ML-DSA", pyjwt.PyJWTError, lambda: pyjwt.decode(named["token"], pyjwt.PyJWK(other).key, algorithms=CLASSICAL))


def by_authlib(keys: list[dict], named: dict) -> None:
    decoder = JsonWebToken(CLASSICAL)
    known = JsonWebKey.import_key_set({"keys": [key for key in keys if key["kty"] != "AKP"]})
    if named["alg"] in CLASSICAL:
        assert dict(decoder.decode(named["token"], known)) == named["claims"]
        for token in bent(named["token"]):
            refused("a changed token", (JoseError, ValueError), lambda: decoder.decode(token, known))
    else:
        refused("a token of ML-DSA", (JoseError, ValueError), lambda: decoder.decode(named["token"], known))


def main(path: str) -> None:
    with open(path) as file:
        given = json.load(file)
    keys = json.loads(given["jwks"])["keys"]
    for named in given["tokens"]:
        by_jwcrypto(jwk.JWKSet.from_json(given["jwks"]), named)
        by_pyjwt(keys, named)
        by_authlib(keys, named)
        print("ok", named["alg"], named["typ"])


main(sys.argv[1])
