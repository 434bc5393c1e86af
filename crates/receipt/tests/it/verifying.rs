//! A receipt verifies with the keys alone, and whatever is changed in it is told by the step that found it.

use portal_crypto::cose::{self, Key, Message, SigningKey, receipt};
use portal_crypto::merkle::proof::inclusion_proof;
use portal_crypto::merkle::{TreeHead, leaf_hash};
use portal_crypto::pair::PairSigningKey;
use portal_crypto::suite::{Algorithm, Suites};
use portal_receipt::file::ReceiptFile;
use portal_receipt::record::{Delegation, Party};
use portal_receipt::{CONTENT_TYPE, Proof, Record, Report, keys, payload, sign, verify};

use super::records::{for_child, given, on, withdrawn};

pub fn pair(seed: u8) -> PairSigningKey {
    PairSigningKey::from_seed(&[seed; 64]).unwrap()
}

/// The keys of a ledger: both halves of one pair, and those of a pair that signed before it.
fn ledger_keys() -> Vec<Key> {
    [Key::both(pair(1).verifying_key()), Key::both(pair(2).verifying_key())].concat()
}

/// A receipt that is entry 4 of 9, and its receipt of inclusion.
pub fn issued() -> (Vec<u8>, Vec<u8>) {
    let pair = pair(1);
    let bytes = payload::payload(payload::content(&given()), &[9; 32]);
    let cose = sign(&bytes, pair.ml_dsa_65()).unwrap();
    let mut leaves: Vec<_> = (0_u8..9).map(|nth| leaf_hash(&[nth])).collect();
    leaves[4] = payload::leaf_hash(&bytes).unwrap();
    let inclusion =
        receipt::Inclusion { tree_size: 9, leaf_index: 4, path: inclusion_proof(&leaves, 4).unwrap() };
    let root = TreeHead::of(&leaves).root;
    (cose, receipt::issue(&inclusion, &root, SigningKey::MlDsa65(pair.ml_dsa_65())).unwrap())
}

fn check(cose: &[u8], inclusion: Option<&[u8]>) -> Report {
    verify(&Proof { cose, inclusion }, &ledger_keys(), Suites::ALL)
}

/// The steps, with a ! at those that failed.
fn steps(report: &Report) -> String {
    let step = |finding: &portal_receipt::Finding| {
        format!("{}{}", finding.step.name(), if finding.passed { "" } else { "!" })
    };
    report.findings.iter().map(step).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_receipt_verifies_with_its_place() {
    let (cose, inclusion) = issued();
    let report = check(&cose, Some(&inclusion));
    assert!(report.valid());
    assert_eq!(steps(&report), "decode key signature content inclusion checkpoint");
    assert_eq!(report.record.as_ref(), Some(&given()));
    let included = report.included.unwrap();
    assert_eq!((included.leaf_index, included.head.size), (4, 9));
    let alone = check(&cose, None);
    assert!(alone.valid());
    assert_eq!(steps(&alone), "decode key signature content");
    let whole = receipt::embed(&cose, &inclusion).unwrap();
    let inside = check(&whole, None);
    assert!(inside.valid() && inside.included == report.included);
    assert!(check(&whole, Some(&inclusion)).valid());
    let mut another = inclusion.clone();
    another.pop();
    assert_eq!(steps(&check(&whole, Some(&another))), "decode!");
}

/// With its proof in a tree of 2^24 entries, more than the ten million of the budget.
#[test]
fn a_receipt_is_small() {
    let pair = pair(1);
    let size = |record: &Record| {
        let bytes = payload::payload(payload::content(record), &[9; 32]);
        let cose = sign(&bytes, pair.ml_dsa_65()).unwrap();
        let inclusion = receipt::Inclusion { tree_size: 1 << 24, leaf_index: 7, path: vec![[7; 32]; 24] };
        let inclusion = receipt::issue(&inclusion, &[0; 32], SigningKey::MlDsa65(pair.ml_dsa_65())).unwrap();
        receipt::embed(&cose, &inclusion).unwrap().len()
    };
    let (usual, whole) = (withdrawn(), for_child());
    assert!(size(&usual) < 8_192, "{} bytes", size(&usual));
    // All that a purpose and a party can say, a guardian, and a hash.
    assert!(size(&whole) < 9_728, "{} bytes", size(&whole));
}

#[test]
fn each_step_finds_what_is_its_own() {
    let (cose, inclusion) = issued();
    let signed_by =
        |seed: u8| sign(&payload::payload(payload::content(&given()), &[9; 32]), pair(seed).ml_dsa_65());
    assert_eq!(steps(&check(&signed_by(2).unwrap(), None)), "decode key signature content");
    assert_eq!(steps(&check(&signed_by(3).unwrap(), None)), "decode key!");
    assert_eq!(steps(&check(b"", None)), "decode!");
    let mut changed = cose.clone();
    let at = changed.len() - 100;
    changed[at] ^= 1;
    assert_eq!(steps(&check(&changed, Some(&inclusion))), "decode key signature!");
    let other = |content_type, payload: &[u8]| {
        let message = Message { content_type: Some(content_type), payload, external_aad: &[] };
        cose::sign1(&message, SigningKey::MlDsa65(pair(1).ml_dsa_65())).unwrap()
    };
    assert_eq!(steps(&check(&other(CONTENT_TYPE, b"no record"), None)), "decode key signature content!");
    assert_eq!(steps(&check(&other("text/plain", b"no record"), None)), "decode!");
    // Ed25519 is of the ledger as well, but signs no receipt.
    let pair = pair(1);
    let bytes = payload::payload(payload::content(&given()), &[9; 32]);
    let message = Message { content_type: Some(CONTENT_TYPE), payload: &bytes, external_aad: &[] };
    let classical = cose::sign1(&message, SigningKey::Ed25519(pair.ed25519())).unwrap();
    assert_eq!(steps(&check(&classical, None)), "decode key!");
    let off = Suites::all_but([Algorithm::MlDsa65]);
    let report = verify(&Proof { cose: &cose, inclusion: None }, &ledger_keys(), off);
    assert_eq!(steps(&report), "decode key!");
}

#[test]
fn a_wrong_place_is_found() {
    let (cose, inclusion) = issued();
    let signed = "decode key signature content";
    let bytes = payload::payload(payload::content(&withdrawn()), &[9; 32]);
    let another = sign(&bytes, pair(1).ml_dsa_65()).unwrap();
    assert_eq!(steps(&check(&another, Some(&inclusion))), format!("{signed} inclusion checkpoint!"));
    assert_eq!(steps(&check(&cose, Some(b"nothing"))), format!("{signed} inclusion!"));
    let short = receipt::Inclusion { tree_size: 9, leaf_index: 4, path: vec![[0; 32]] };
    let key = pair(1);
    let key = SigningKey::MlDsa65(key.ml_dsa_65());
    let short = receipt::issue(&short, &[0; 32], key).unwrap();
    assert_eq!(steps(&check(&cose, Some(&short))), format!("{signed} inclusion!"));
    let theirs = pair(3);
    let read = receipt::read(&inclusion).unwrap();
    let root = check(&cose, Some(&inclusion)).included.unwrap().head.root;
    let foreign = receipt::issue(read.inclusion(), &root, SigningKey::MlDsa65(theirs.ml_dsa_65())).unwrap();
    assert_eq!(steps(&check(&cose, Some(&foreign))), format!("{signed} inclusion checkpoint!"));
}

#[test]
fn every_changed_byte_is_found() {
    let (cose, inclusion) = issued();
    // All of headers and content, and a sample of the signatures.
    let places = |length: usize| (0..length).filter(move |at| *at < 700 || at % 97 == 0 || length - at < 4);
    for at in places(cose.len()) {
        let mut changed = cose.clone();
        changed[at] ^= 0x10;
        assert!(!check(&changed, Some(&inclusion)).valid(), "byte {at} of the receipt");
    }
    for at in places(inclusion.len()) {
        let mut changed = inclusion.clone();
        changed[at] ^= 0x10;
        assert!(!check(&cose, Some(&changed)).valid(), "byte {at} of the proof");
    }
}

#[test]
fn findings_say_nothing_of_the_person() {
    let (cose, inclusion) = issued();
    let report = check(&cose, Some(&inclusion));
    let told: String = report.findings.iter().map(|finding| finding.detail.as_str()).collect();
    for personal in ["33333333", "22222222", "Newsletter", "example"] {
        assert!(!told.contains(personal), "{told}");
    }
    assert!(report.findings.iter().all(|finding| finding.detail.ends_with('.')));
}

#[test]
fn keys_are_read_in_three_forms() {
    use base64::Engine;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    let pair = pair(1);
    let expect = Key::both(pair.verifying_key());
    let (classical, quantum_safe) = (pair.verifying_key().ed25519(), pair.verifying_key().ml_dsa_65());
    let web = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let jwks = serde_json::json!({"keys": [
        {"kty": "OKP", "crv": "Ed25519", "x": web(classical.as_bytes())},
        {"kty": "EC", "crv": "P-256", "x": "", "y": ""},
        {"kty": "AKP", "alg": "ML-DSA-65", "pub": web(quantum_safe.as_bytes()), "kid": "any"},
    ]});
    assert_eq!(keys::parse(jwks.to_string().as_bytes()).as_deref(), Ok(expect.as_slice()));
    for (name, encode) in [("publicKey", &STANDARD as &dyn Encode), ("public_key", &URL_SAFE_NO_PAD)] {
        let answer = serde_json::json!({"origin": "portal.local/consent", "keys": [
            {"keyId": "1", "algorithm": "LEDGER_KEY_ALGORITHM_ED25519", name: encode.text(classical.as_bytes())},
            {"keyId": "2", "algorithm": "LEDGER_KEY_ALGORITHM_ML_DSA_65", name: encode.text(quantum_safe.as_bytes())},
        ]});
        assert_eq!(keys::parse(answer.to_string().as_bytes()).as_deref(), Ok(expect.as_slice()));
    }
    let set = [vec![0x82], expect[0].to_cose_key(), expect[1].to_cose_key()].concat();
    assert_eq!(keys::parse(&set).as_deref(), Ok(expect.as_slice()));

    let why = |text: &str| keys::parse(text.as_bytes()).unwrap_err();
    let private = r#"{"keys": [{"kty": "AKP", "alg": "ML-DSA-65", "pub": "", "priv": ""}]}"#;
    assert_eq!(why(private), keys::InvalidKeys::Private(1));
    let broken = r#"{"keys": [{"kty": "AKP", "alg": "ML-DSA-65", "pub": "AAAA"}]}"#;
    assert_eq!(why(broken), keys::InvalidKeys::NoKey(1));
    assert_eq!(why(r#"{"keys": []}"#), keys::InvalidKeys::NoneUsable);
    for text in ["", "{", "{}", "[]", r#"{"keys": [{}]}"#, r#"{"keys": [1]}"#] {
        assert_eq!(why(text), keys::InvalidKeys::Malformed, "{text}");
    }
}

trait Encode {
    fn text(&self, bytes: &[u8]) -> String;
}

impl<E: base64::Engine> Encode for E {
    fn text(&self, bytes: &[u8]) -> String {
        self.encode(bytes)
    }
}

#[test]
fn receipts_are_read_in_two_forms() {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    let (cose, inclusion) = issued();
    let bare = ReceiptFile::parse(&cose).unwrap();
    assert_eq!(steps(&check(bare.proof().cose, bare.proof().inclusion)), "decode key signature content");
    let json = |inclusion: &[u8]| serde_json::json!({"receiptId": "x", "cose": STANDARD.encode(&cose), "inclusion": STANDARD.encode(inclusion)});
    let answer = ReceiptFile::parse(json(&inclusion).to_string().as_bytes()).unwrap();
    assert_eq!(answer.proof().cose, cose);
    assert_eq!(answer.proof().inclusion, Some(inclusion.as_slice()));
    let young = ReceiptFile::parse(json(b"").to_string().as_bytes()).unwrap();
    assert_eq!(young.proof().inclusion, None, "not in the ledger yet");
    for text in ["", "x", "{}", r#"{"cose": 1}"#, r#"{"cose": "?"}"#, r#"{"cose": "", "inclusion": 1}"#] {
        assert!(ReceiptFile::parse(text.as_bytes()).is_err(), "{text}");
    }
}

/// The signed bytes of a record as a service issues it.
fn signed(record: Record) -> Vec<u8> {
    let content = payload::content(&record.fitted(payload::MAX_CONTENT));
    sign(&payload::payload(content, &[9; 32]), pair(1).ml_dsa_65()).unwrap()
}

/// Whatever a purpose says and whoever takes part, a receipt stays below 8 KiB, and what does not fit is there as a hash.
#[test]
fn receipts_are_short() {
    let whole = for_child();
    let ordinary = signed(whole.clone());
    assert!(ordinary.len() < 6 * 1_024, "{}", ordinary.len());
    assert_eq!(check(&ordinary, None).record, Some(whole.clone()));

    let kept = |record: Record| {
        let cose = signed(record);
        assert!(cose.len() < 8 * 1_024, "{}", cose.len());
        check(&cose, None).record.unwrap()
    };
    let texts = on(|terms| terms.storage_conditions = Some("x".repeat(4_000)));
    let record = kept(texts);
    assert!(record.purpose.abridged && record.purpose.content_hash.is_some());
    assert_eq!(record.parties, whole.parties);
    assert_eq!(record.purpose.terms.unwrap().storage_conditions, None);
    let other = Party { name: "Beta ".repeat(20), ..whole.parties[1].clone() };
    let parties = [vec![whole.parties[0].clone()], vec![other; 49]].concat();
    let many = Record { parties, ..whole.clone() };
    let record = kept(many);
    assert_eq!(record.parties, whole.parties[..1]);
    let long = on(|terms| terms.personal_data = vec!["pd:".repeat(60); 100]);
    let record = kept(Record { evidence: vec![whole.evidence[0].clone(); 8], ..long });
    assert_eq!((record.purpose.terms, record.purpose.content_hash), (None, whole.purpose.content_hash));
    assert_eq!(record.evidence.len(), 8);
    let categories = vec!["dpv:".repeat(40); 50];
    let subject = portal_receipt::record::Subject { categories, ..whole.subject.clone() };
    assert_eq!(kept(Record { subject, ..whole }).subject.categories, Vec::<String>::new());
}

/// A receipt names a delegate as nobody else does, and as those can confirm who know the reference.
#[test]
fn delegates_have_another_name_in_each_receipt() {
    use portal_core::id::Id;
    let name = |receipt: u8, reference| Delegation::pseudonym(Id::from_bytes([receipt; 16]), reference);
    assert_eq!(name(1, "guardian-1"), name(1, "guardian-1"));
    assert_ne!(name(1, "guardian-1"), name(2, "guardian-1"));
    assert_ne!(name(1, "guardian-1"), name(1, "guardian-2"));
}
