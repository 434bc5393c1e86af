//! What a token costs a service: `cargo bench -p portal-mesh --bench tokens`. One thread, by its processor time. Beside a token
//! that is verified stands its signature alone, verified by aws-lc; beside one that is remembered stands its hash alone. Ends with
//! an error if a budget is not kept.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a measurement: what fails ends it"
)]

#[path = "../../crypto/benches/paired/harness.rs"]
#[expect(dead_code, reason = "only pairs with a budget of time")]
mod harness;

use std::process::ExitCode;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::FutureExt;
use portal_core::{Role, Workload};
use portal_crypto::hash::sha256;
use portal_crypto::suite::Suites;
use portal_crypto::token::{KeySet, TokenKey};
use portal_mesh::{Identity, TokenVerifier};
use portal_testkit::{TestMesh, TestUser};

/// More than a service remembers, so that each is new when its turn comes.
const TOKENS: usize = 12_000;
const REMEMBERED_NANOS: f64 = 5_000.0;
const NEW_NANOS: f64 = 100_000.0;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mesh = runtime.block_on(TestMesh::start());
    // The key that the mesh of tests signs with.
    let key = TokenKey::from_seed(&[7; 32]).unwrap();
    let mut keys = KeySet::new();
    keys.insert(key.verifying_key().clone());
    let host = mesh.host();
    let identity = runtime
        .block_on(async { Identity::load(&mesh.identity(Workload::Consent), Workload::Consent, &host) })
        .unwrap();
    let tokens = TokenVerifier::local(&identity, keys, Suites::ALL, &host);
    // Never pending: the keys are here.
    let verify = |token: &str| tokens.verify(token, Workload::Gateway).now_or_never().unwrap().unwrap();

    let life = Duration::from_secs(300);
    let issue = || mesh.token(&TestUser::with_roles(&[Role::Controller]), Workload::Consent, life);
    let issued: Vec<String> = (0..TOKENS).map(|_| issue()).collect();
    let parts: Vec<(&[u8], Vec<u8>)> = issued.iter().map(|token| signed(token)).collect();
    println!("a token of {} bytes", issued[0].len());
    harness::title();
    let (mut ours, mut raw) = ((0..TOKENS).cycle(), (0..TOKENS).cycle());
    harness::pair(
        "new; raw: ML-DSA-65 of aws-lc",
        || verify(&issued[ours.next().unwrap()]),
        || {
            let (message, signature) = &parts[raw.next().unwrap()];
            key.verifying_key().verify(message, signature).unwrap();
        },
    )
    .nanos_at_most(NEW_NANOS);
    let one = issue();
    verify(&one);
    harness::pair("remembered; raw: its SHA-256", || verify(&one), || sha256(one.as_bytes()))
        .nanos_at_most(REMEMBERED_NANOS);
    harness::verdict()
}

/// What is signed of a token, and the signature.
fn signed(token: &str) -> (&[u8], Vec<u8>) {
    let (message, signature) = token.rsplit_once('.').unwrap();
    (message.as_bytes(), URL_SAFE_NO_PAD.decode(signature).unwrap())
}
