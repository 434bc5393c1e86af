#!/usr/bin/env python3
"""Verifies a receipt with the keys of the ledger alone: no network, none of Portal's code. Exit code: 0 valid, 1 not.
    pip install cbor2 dilithium-py && python3 verify-receipt.py RECEIPT.json KEYS.json
RECEIPT is what `GET /v1/receipts/{id}` answers, KEYS what `GET /v1/consent/ledger/keys` answers, or a JWK set.
`portal verify receipt` is stricter: it refuses every other encoding of the same."""
import base64, hashlib, json, sys, cbor2
from dilithium_py.ml_dsa import ML_DSA_65
ALGORITHM = ("ML-DSA-65", "LEDGER_KEY_ALGORITHM_ML_DSA_65")
def unbase64(text):
    return base64.urlsafe_b64decode(text.replace("+", "-").replace("/", "_") + "=" * (-len(text) % 4))
def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()
def need(holds, problem):
    if not holds:
        raise ValueError(problem)

def load_keys(path):
    """By their id: the SHA-256 of the COSE key {1: AKP, 3: ML-DSA-65, -1: public} (RFC 9679, 9964)."""
    named = [(key.get("alg", key.get("algorithm")), key) for key in json.load(open(path))["keys"]]
    keys = [unbase64(key.get("pub") or key.get("publicKey")) for name, key in named if name in ALGORITHM]
    return {sha256(cbor2.dumps({1: 7, 3: -49, -1: public})): public for public in keys}

def check_signature(protected, payload, signature, keys):
    """COSE_Sign1 (RFC 9052, section 4.4) with ML-DSA-65 (RFC 9964)."""
    header, signed = cbor2.loads(protected), cbor2.dumps(["Signature1", protected, b"", payload])
    need(header[1] == -49 and header[4] in keys, "it is signed by none of the keys")
    need(ML_DSA_65.verify(keys[header[4]], signed, signature), "the signature is wrong")
    return header

def root_of(node, index, last, path):
    """RFC 9162, section 2.1.3.2."""
    need(index <= last, "the leaf is beyond the tree")
    for sibling in path:
        need(last, "the path is too long")
        node = sha256(b"\1", sibling, node) if index & 1 or index == last else sha256(b"\1", node, sibling)
        while index == last and not index & 1:
            index, last = index >> 1, last >> 1
        index, last = index >> 1, last >> 1
    need(last == 0, "the path is too short")
    return node

def verify(receipt, keys):
    protected, _, payload, signature = cbor2.loads(unbase64(receipt["cose"])).value
    kind = check_signature(protected, payload, signature, keys)[3]
    version, salt, record = cbor2.loads(payload)
    need((kind, version) == ("application/vnd.portal.receipt+cbor", 1), "it is signed, but as something else")
    if not receipt.get("inclusion"):
        return "valid; it came without a proof of its place in the ledger"
    leaf = sha256(b"\0", sha256(b"portal/ledger-leaf/v1\0", salt, b"\0\0\0\rconsent.event", record))
    protected, unprotected, _, signature = cbor2.loads(unbase64(receipt["inclusion"])).value
    size, index, path = cbor2.loads(unprotected[396][-1][0])
    root = root_of(leaf, index, size - 1, path)
    need(check_signature(protected, root, signature, keys)[395] == 1, "it proves no inclusion (RFC 9942)")
    return f"valid; entry {index} of a ledger of {size}"

if __name__ == "__main__":
    try:
        print(verify(json.load(open(sys.argv[1])), load_keys(sys.argv[2])))
    except (AttributeError, KeyError, TypeError, ValueError, cbor2.CBORDecodeError) as error:
        sys.exit(f"NOT valid: {error}")
