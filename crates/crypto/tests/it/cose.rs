//! RFC 9964 in COSE.

use portal_crypto::cose::{CoseError, Expect, InvalidKey, Key, SigningKey, verify1};
use portal_crypto::sign::SigningKey as MlDsa65;
use portal_crypto::suite::Suites;

use super::{array, hex, json};

#[test]
fn rfc_9964_key_thumbprint_and_signature() {
    let vector = json(include_str!("../vectors/rfc9964-ml-dsa-65-cose.json"));
    let signing = MlDsa65::from_seed(&array(&vector["priv"])).unwrap();
    let key = SigningKey::MlDsa65(&signing).verifying_key();

    // The published key carries its private half, {-2: seed of 32 bytes} at its end, which no public key may.
    let published = hex(&vector["key"]);
    assert_eq!(Key::from_cose_key(&published), Err(InvalidKey));
    let (count, rest) = published.split_first().unwrap();
    let (rest, private) = rest.split_at(rest.len() - 35);
    assert_eq!(private[..3], [0x21, 0x58, 0x20]);
    let public = [&[count - 1], rest].concat();
    assert_eq!(Key::from_cose_key(&public), Ok(key.clone()));
    // {2: kid of 32 bytes} is its first member.
    assert_eq!(public[1..4], [2, 0x58, 0x20]);
    assert_eq!(key.thumbprint().as_bytes(), &public[4..36]);

    let object = hex(&vector["sign1"]);
    let expect = Expect { content_type: None, keys: &[key], external_aad: &[], suites: Suites::ALL };
    assert_eq!(verify1(&object, &expect).unwrap(), "hello post quantum signatures".as_bytes());
    let other = Expect { external_aad: b"other", ..expect };
    assert_eq!(verify1(&object, &other), Err(CoseError::BadSignature));
}
