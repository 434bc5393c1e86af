//! Our tokens and the published keys, by verifiers that share no code with this one: see `tests/interop/jose`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portal_core::{Clock, Workload};
use portal_crypto::jose::{Algorithm, PublicKey, SigningKey, sign};
use portal_crypto::suite::Suites;
use portal_proto::auth::v1::JsonWebKey;
use portal_testkit::TestUser;
use serde_json::{Value, json};

use crate::client::Client;
use crate::fixture::Setup;

/// The key of the test mesh's access tokens has the seed of all sevens.
const KEYS: [(Algorithm, u8); 3] = [(Algorithm::MlDsa65, 7), (Algorithm::Es256, 8), (Algorithm::EdDsa, 9)];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/interop/jose")
}

/// As auth tells them.
fn message(key: &SigningKey) -> JsonWebKey {
    let of = |kty: &str, crv: &str| JsonWebKey {
        kid: key.public_key().id().to_string(),
        kty: kty.to_owned(),
        alg: key.algorithm().name().to_owned(),
        r#use: "sig".to_owned(),
        crv: crv.to_owned(),
        ..JsonWebKey::default()
    };
    match key.public_key() {
        PublicKey::MlDsa65(key) => JsonWebKey { r#pub: key.as_bytes().to_vec(), ..of("AKP", "") },
        PublicKey::P256(key) => JsonWebKey { x: key.x().to_vec(), y: key.y().to_vec(), ..of("EC", "P-256") },
        PublicKey::Ed25519(key) => JsonWebKey { x: key.as_bytes().to_vec(), ..of("OKP", "Ed25519") },
    }
}

/// An access token of the mesh, and what goes outside: an ID token of each algorithm and a logout token.
fn tokens(setup: &Setup, keys: &[SigningKey]) -> Vec<Value> {
    let mesh = &setup.world.mesh;
    let access = mesh.token(&TestUser::subject(), Workload::Consent, Duration::from_secs(240));
    let claims = URL_SAFE_NO_PAD.decode(access.split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    let now = mesh.clock.now().as_seconds();
    let mut tokens = vec![json!({ "alg": "ML-DSA-65", "typ": "at+jwt", "token": access, "claims": claims })];
    for key in keys {
        for typ in ["JWT", "logout+jwt"] {
            let claims = json!({
                "iss": "https://portal.test",
                "aud": "client",
                "sub": "somebody",
                "iat": now,
                "exp": now + 3_600,
                "at_hash": key.algorithm().half_hash("token"),
            });
            let token = sign(claims.as_object().unwrap(), typ, key, Suites::ALL).unwrap();
            let alg = key.algorithm().name();
            tokens.push(json!({ "alg": alg, "typ": typ, "token": token, "claims": claims }));
        }
    }
    tokens
}

/// Whether `probe` succeeds; if the environment variable `PORTAL_REQUIRE_ALL` is `1`, it must.
#[expect(clippy::print_stderr, reason = "somebody should see what was skipped")]
fn installed(probe: &mut Command, what: &str) -> bool {
    let there = probe.output().is_ok_and(|output| output.status.success());
    #[expect(clippy::disallowed_methods, reason = "a switch of the tests")]
    let required = std::env::var("PORTAL_REQUIRE_ALL").is_ok_and(|value| value == "1");
    assert!(there || !required, "PORTAL_REQUIRE_ALL=1, but {what} is not installed");
    if !there {
        eprintln!("skipped: {what} is not installed");
    }
    there
}

#[tokio::test]
async fn verifiers_of_others_agree() {
    let setup = Setup::start().await;
    let keys = KEYS.map(|(algorithm, seed)| SigningKey::from_seed(algorithm, &[seed; 32]).unwrap());
    *setup.world.keys.lock().unwrap() = keys.iter().map(message).collect();
    let answer = Client::one(setup.address).get("/.well-known/jwks.json", None).await;
    assert_eq!(answer.status, 200);
    let published: Vec<_> = answer.json()["keys"].as_array().unwrap().clone();
    let expected: Vec<_> =
        keys.iter().map(|key| Value::Object(key.public_key().to_jwk(key.algorithm()))).collect();
    assert_eq!(published, expected, "as we read them ourselves");

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tokens.json");
    let given = json!({ "jwks": answer.json().to_string(), "tokens": tokens(&setup, &keys) });
    std::fs::write(&file, given.to_string()).unwrap();
    let run = |mut command: Command| {
        let output = command.current_dir(folder()).arg(&file).output().unwrap();
        let told = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(output.status.success(), "{told}");
        assert_eq!(told.matches("ok ").count(), 7, "{told}");
    };
    let mut python = Command::new("python3");
    if installed(
        python.args(["-c", "import jwcrypto, jwt, authlib"]),
        "Python with jwcrypto, PyJWT and Authlib",
    ) {
        let mut command = Command::new("python3");
        command.arg("verify.py");
        run(command);
    }
    let node = folder().join("node_modules/.bin/node");
    if installed(Command::new(&node).arg("--version"), "Node 26 of tests/interop/jose (npm ci)") {
        let mut command = Command::new(&node);
        command.arg("verify.mjs");
        run(command);
    }
    setup.stop().await;
}
