//! What our functions cost next to the same operations of aws-lc-rs, measured in turns in one run:
//! `cargo bench -p portal-crypto`.
//!
//! A line gives nanoseconds of processor time a call, ours and raw (the lower quartiles of the rounds), and the median of
//! their ratio in a round. Lines without a raw number have no counterpart there.
#![allow(clippy::unwrap_used, clippy::print_stdout)]
#![expect(deprecated, reason = "the expanded form is the only one that aws-lc-rs takes")]

#[path = "paired/harness.rs"]
mod harness;

use std::hint::black_box;
use std::process::ExitCode;

use ::ml_kem::array::sizes::U64;
use ::ml_kem::{ExpandedKeyEncoding, FromSeed, KeyExport, Seed};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{self, PrivateKey, UnparsedPublicKey, X25519};
use aws_lc_rs::digest::{self, SHA3_256};
use aws_lc_rs::kem;
use aws_lc_rs::signature::{
    ED25519, Ed25519KeyPair, KeyPair, ML_DSA_65, ML_DSA_65_SIGNING, ParsedPublicKey, PqdsaKeyPair,
};
use portal_core::{Entropy, SystemEntropy};
use portal_crypto::aead::{Aes256GcmKey, XAes256GcmKey};
use portal_crypto::kem::{ml_kem, x_wing};
use portal_crypto::pair::PairSigningKey;
use portal_crypto::sign::{SigningKey, ed25519};
use portal_crypto::{hash, hpke, mac};

use harness::{alone, pair};

/// Our functions over the raw ones.
const RAW: f64 = 1.05;
/// At least 85 % of the raw speed.
const BULK: f64 = 1.0 / 0.85;

fn main() -> ExitCode {
    harness::title();
    aes_256_gcm();
    aes_256_gcm_in_bulk();
    ml_kem::<::ml_kem::MlKem768>(ml_kem::ParameterSet::MlKem768, &kem::ML_KEM_768);
    ml_kem::<::ml_kem::MlKem1024>(ml_kem::ParameterSet::MlKem1024, &kem::ML_KEM_1024);
    x_wing_and_hpke();
    signatures();
    small();
    harness::verdict()
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemEntropy.fill(&mut bytes);
    bytes
}

fn aes_256_gcm() {
    let (key, nonce, aad) = ([7; 32], [9; 12], [5; 100]);
    let ours = Aes256GcmKey::new(&key);
    let raw = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).unwrap());
    let nonce_of = |nonce: [u8; 12]| Nonce::assume_unique_for_key(nonce);
    pair(
        "AES-256-GCM key schedule",
        || Aes256GcmKey::new(black_box(&key)),
        || LessSafeKey::new(UnboundKey::new(&AES_256_GCM, black_box(&key)).unwrap()),
    );
    let plaintext = [3; 64];
    let (mut sealed, mut buffer) = (Vec::with_capacity(80), [0; 64]);
    pair(
        "AES-256-GCM seal 64 B",
        || {
            sealed.clear();
            ours.seal(&nonce, &aad, black_box(&plaintext), &mut sealed).unwrap();
        },
        || {
            buffer.copy_from_slice(black_box(&plaintext));
            raw.seal_in_place_separate_tag(nonce_of(nonce), Aad::from(&aad), &mut buffer).unwrap()
        },
    );
    let (mut out, mut other) = ([0; 64], vec![0; 80]);
    pair(
        "AES-256-GCM open 64 B",
        || ours.open(&nonce, &aad, black_box(&sealed)).unwrap(),
        || {
            other.copy_from_slice(black_box(&sealed));
            raw.open_in_place(nonce_of(nonce), Aad::from(&aad), &mut other).unwrap().len()
        },
    );
    alone("AES-256-GCM open 64 B, no Vec", || {
        ours.open_into(&nonce, &aad, black_box(&sealed), &mut out).unwrap();
    });
    let extended = XAes256GcmKey::new(&key);
    alone("XAES-256-GCM seal 64 B", || {
        sealed.clear();
        extended.seal(&[9; 24], &aad, black_box(&plaintext), &mut sealed).unwrap();
    });
}

fn aes_256_gcm_in_bulk() {
    let (key, nonce, aad) = ([7; 32], [9; 12], [5; 100]);
    let ours = Aes256GcmKey::new(&key);
    let raw = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).unwrap());
    let nonce_of = |nonce: [u8; 12]| Nonce::assume_unique_for_key(nonce);
    let (mut left, mut right) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    pair(
        "AES-256-GCM seal 1 MiB in place",
        || ours.seal_in_place(&nonce, &aad, &mut left).unwrap(),
        || raw.seal_in_place_separate_tag(nonce_of(nonce), Aad::from(&aad), &mut right).unwrap(),
    )
    .ratio_at_most(BULK);
    left.fill(0);
    let tag = ours.seal_in_place(&nonce, &aad, &mut left).unwrap();
    let ciphertext = left.clone();
    // Both get a fresh copy, since what is opened in place can't be opened again.
    pair(
        "AES-256-GCM open 1 MiB + copy",
        || {
            left.copy_from_slice(&ciphertext);
            ours.open_in_place(&nonce, &aad, &mut left, &tag).unwrap();
        },
        || {
            right.copy_from_slice(&ciphertext);
            raw.open_in_place_separate_tag(nonce_of(nonce), Aad::from(&aad), &tag, &mut right).unwrap();
        },
    )
    .ratio_at_most(BULK);
}

fn imported<P: FromSeed<SeedSize = U64>>(
    algorithm: &'static kem::Algorithm,
    seed: &[u8; 64],
) -> (kem::DecapsulationKey, kem::EncapsulationKey)
where
    P::DecapsulationKey: ExpandedKeyEncoding,
    P::EncapsulationKey: KeyExport,
{
    let (secret, public) = P::from_seed(&Seed::from(*seed));
    let secret = kem::DecapsulationKey::new(algorithm, &secret.to_expanded_bytes()).unwrap();
    (secret, kem::EncapsulationKey::new(algorithm, &public.to_bytes()).unwrap())
}

fn ml_kem<P: FromSeed<SeedSize = U64>>(set: ml_kem::ParameterSet, algorithm: &'static kem::Algorithm)
where
    P::DecapsulationKey: ExpandedKeyEncoding,
    P::EncapsulationKey: KeyExport,
{
    let name = set.name();
    let seed = random::<64>();
    // aws-lc-rs takes no seed: what makes the key of one is the crate `ml-kem`, and aws-lc-rs imports it.
    pair(
        &format!("{name} key generation"),
        || ml_kem::DecapsulationKey::from_seed(set, black_box(&seed)).unwrap(),
        || imported::<P>(algorithm, black_box(&seed)),
    )
    .ratio_at_most(RAW);
    // Without a budget, since it is not the same work: a key of aws-lc's own randomness has no seed to be kept by.
    pair(
        &format!("{name} key generation (aws-lc)"),
        || ml_kem::DecapsulationKey::from_seed(set, black_box(&seed)).unwrap(),
        || kem::DecapsulationKey::generate(algorithm).unwrap().encapsulation_key().unwrap(),
    );
    let ours = ml_kem::DecapsulationKey::from_seed(set, &seed).unwrap();
    let raw = kem::DecapsulationKey::generate(algorithm).unwrap();
    let public = raw.encapsulation_key().unwrap();
    pair(
        &format!("{name} encapsulation"),
        || ours.encapsulation_key().encapsulate().unwrap(),
        || public.encapsulate().unwrap(),
    )
    .ratio_at_most(RAW);
    let (sent, _) = ours.encapsulation_key().encapsulate().unwrap();
    let (raw_sent, _) = public.encapsulate().unwrap();
    pair(
        &format!("{name} decapsulation"),
        || ours.decapsulate(black_box(&sent)).unwrap(),
        || raw.decapsulate(black_box(raw_sent.as_ref()).into()).unwrap(),
    )
    .ratio_at_most(RAW);
}

/// The secret of X-Wing from its parts.
fn combine(parts: [&[u8]; 4]) -> [u8; 32] {
    let mut context = digest::Context::new(&SHA3_256);
    for part in parts {
        context.update(part);
    }
    context.update(br"\.//^\");
    context.finish().as_ref().try_into().unwrap()
}

fn agree(secret: &PrivateKey, public: &[u8], parts: [&[u8]; 3]) -> [u8; 32] {
    let [ss_m, ct_x, pk_x] = parts;
    agreement::agree(secret, UnparsedPublicKey::new(&X25519, public), (), |ss_x| {
        Ok(combine([ss_m, ss_x, ct_x, pk_x]))
    })
    .unwrap()
}

fn x_wing_and_hpke() {
    let (ours, _) = x_wing::DecapsulationKey::generate(&SystemEntropy).unwrap();
    let ml_kem = kem::DecapsulationKey::generate(&kem::ML_KEM_768).unwrap();
    let ml_kem_public = ml_kem.encapsulation_key().unwrap();
    let x25519 = PrivateKey::generate(&X25519).unwrap();
    let x25519_public = x25519.compute_public_key().unwrap();
    let public = ours.encapsulation_key();
    pair(
        "X-Wing encapsulation",
        || public.encapsulate().unwrap(),
        || {
            let (ct_m, ss_m) = ml_kem_public.encapsulate().unwrap();
            let ephemeral = PrivateKey::generate(&X25519).unwrap();
            let ct_x = ephemeral.compute_public_key().unwrap();
            let pk_x = x25519_public.as_ref();
            let secret = agree(&ephemeral, pk_x, [ss_m.as_ref(), ct_x.as_ref(), pk_x]);
            (ct_m, secret)
        },
    )
    .ratio_at_most(RAW)
    .nanos_at_most(60_000.0);
    let (sent, _) = public.encapsulate().unwrap();
    let (ct_m, _) = ml_kem_public.encapsulate().unwrap();
    let ct_x = PrivateKey::generate(&X25519).unwrap().compute_public_key().unwrap();
    pair(
        "X-Wing decapsulation",
        || ours.decapsulate(black_box(&sent)).unwrap(),
        || {
            let ss_m = ml_kem.decapsulate(ct_m.as_ref().into()).unwrap();
            agree(&x25519, ct_x.as_ref(), [ss_m.as_ref(), ct_x.as_ref(), x25519_public.as_ref()])
        },
    )
    .ratio_at_most(RAW);
    let seed = random();
    alone("X-Wing key generation", || x_wing::DecapsulationKey::from_seed(&seed).unwrap());
    alone("HPKE seal 32 B", || hpke::seal(public, b"info", b"aad", &[7; 32]).unwrap());
    let (enc, sealed) = hpke::seal(public, b"info", b"aad", &[7; 32]).unwrap();
    alone("HPKE open 32 B", || hpke::open(&ours, b"info", b"aad", &enc, &sealed).unwrap());
}

fn signatures() {
    let (seed, message) = (random(), [7; 500]);
    let ours = SigningKey::from_seed(&seed).unwrap();
    let raw = PqdsaKeyPair::from_seed(&ML_DSA_65_SIGNING, &seed).unwrap();
    let mut buffer = vec![0; ML_DSA_65_SIGNING.signature_len()];
    pair(
        "ML-DSA-65 key generation",
        || SigningKey::from_seed(black_box(&seed)).unwrap(),
        || PqdsaKeyPair::from_seed(&ML_DSA_65_SIGNING, black_box(&seed)).unwrap(),
    )
    .ratio_at_most(RAW);
    pair(
        "ML-DSA-65 sign",
        || ours.sign(black_box(&message)).unwrap(),
        || raw.sign(black_box(&message), &mut buffer).unwrap(),
    )
    .ratio_at_most(RAW);
    let signature = ours.sign(&message).unwrap();
    let public = ParsedPublicKey::new(&ML_DSA_65, raw.public_key().as_ref()).unwrap();
    pair(
        "ML-DSA-65 verify",
        || ours.verifying_key().verify(black_box(&message), &signature).unwrap(),
        || public.verify_sig(black_box(&message), &signature).unwrap(),
    )
    .ratio_at_most(RAW);
    let ours = ed25519::SigningKey::from_seed(&seed).unwrap();
    let raw = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
    pair("Ed25519 sign", || ours.sign(black_box(&message)).unwrap(), || raw.sign(black_box(&message)))
        .ratio_at_most(RAW);
    let signature = ours.sign(&message).unwrap();
    let public = ParsedPublicKey::new(&ED25519, raw.public_key().as_ref()).unwrap();
    pair(
        "Ed25519 verify",
        || ours.verifying_key().verify(black_box(&message), &signature).unwrap(),
        || public.verify_sig(black_box(&message), &signature).unwrap(),
    )
    .ratio_at_most(RAW);
    let (both, _) = PairSigningKey::generate(&SystemEntropy).unwrap();
    alone("pair sign", || both.sign(black_box(&message)).unwrap());
    let signature = both.sign(&message).unwrap();
    alone("pair verify", || both.verifying_key().verify(black_box(&message), &signature).unwrap());
}

fn small() {
    let (key, message) = (mac::MacKey::new(&[7; 32]), [3; 100]);
    alone("HMAC-SHA-256 100 B", || key.tag(black_box(&message)));
    alone("SHA-256 100 B", || hash::sha256(black_box(&message)));
    let mut nonce = [0; 12];
    alone("a nonce of SystemEntropy", || SystemEntropy.fill(black_box(&mut nonce)));
}
