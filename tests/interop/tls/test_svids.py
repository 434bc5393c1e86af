"""Workload certificates through somebody else's eyes: py-spiffe takes them for X.509-SVIDs, and pyca/cryptography verifies them."""

import datetime
import os
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import mldsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from spiffe import SpiffeId, TrustDomain, X509Bundle, X509Svid

WORKLOADS = ["auth", "consent", "gateway", "valuation"]


@pytest.fixture(params=WORKLOADS)
def workload(request):
    return request.param


@pytest.fixture
def files(workload):
    directory = Path(os.environ["PORTAL_DATA_DIR"]) / "tls" / workload
    return {name: (directory / name).read_bytes() for name in ("tls.crt", "tls.key", "ca.crt")}


def test_py_spiffe_takes_it_for_an_svid(workload, files):
    svid = X509Svid.parse(files["tls.crt"], files["tls.key"])
    assert svid.spiffe_id == SpiffeId(f"spiffe://portal.local/{workload}")
    bundle = X509Bundle.parse(TrustDomain("portal.local"), files["ca.crt"])
    assert len(bundle.x509_authorities) == 1


def test_it_keeps_the_rules(workload, files):
    leaf, root = (x509.load_pem_x509_certificate(files[name]) for name in ("tls.crt", "ca.crt"))
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [(type(name), name.value) for name in names] == [
        (x509.UniformResourceIdentifier, f"spiffe://portal.local/{workload}")
    ]
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical and usage.value.digital_signature
    assert not (usage.value.key_cert_sign or usage.value.crl_sign)
    constraints = leaf.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical and not constraints.value.ca
    assert set(leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == {
        ExtendedKeyUsageOID.SERVER_AUTH,
        ExtendedKeyUsageOID.CLIENT_AUTH,
    }
    life = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    assert life <= datetime.timedelta(hours=24, minutes=1)
    assert leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME) != root.subject.get_attributes_for_oid(NameOID.COMMON_NAME)

    names = root.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [name.value for name in names] == ["spiffe://portal.local"]
    usage = root.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.key_cert_sign and root.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_its_signature_is_verified(files):
    leaf, root = (x509.load_pem_x509_certificate(files[name]) for name in ("tls.crt", "ca.crt"))
    assert isinstance(root.public_key(), mldsa.MLDSA65PublicKey)
    leaf.verify_directly_issued_by(root)
    root.verify_directly_issued_by(root)
    private = load_pem_private_key(files["tls.key"], password=None)
    assert isinstance(private, mldsa.MLDSA65PrivateKey)
    assert private.public_key().public_bytes_raw() == leaf.public_key().public_bytes_raw()
    changed = bytearray(leaf.public_bytes(Encoding.DER))
    changed[-1] ^= 1
    with pytest.raises(InvalidSignature):
        x509.load_der_x509_certificate(bytes(changed)).verify_directly_issued_by(root)
