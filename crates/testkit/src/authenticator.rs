//! A passkey in software, with the browser around it: what the tests of WebAuthn sign in with. It keeps to no rule that a test
//! does not want it to.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p256::ecdsa::signature::Signer;
use p256::ecdsa::{DerSignature, SigningKey};
use portal_core::entropy::random_bytes;
use portal_core::{Entropy, SystemEntropy};
use portal_crypto::hash::sha256;
use serde_json::{Value, json};

/// Flags of authenticator data: somebody was there, it was the right one, there is a credential.
const PRESENT: u8 = 0x01;
const VERIFIED: u8 = 0x04;
const BACKUP_ELIGIBLE: u8 = 0x08;
const BACKED_UP: u8 = 0x10;
const ATTESTED: u8 = 0x40;

/// One passkey.
#[derive(Clone)]
pub struct Authenticator {
    /// Its private key.
    pub key: SigningKey,
    /// What it calls the passkey.
    pub credential_id: Vec<u8>,
    /// Whose it says it is; what it was told when it was made.
    pub user_handle: Vec<u8>,
    /// How often it signed; `None` if it does not count, and says zero.
    pub counter: Option<u32>,
    /// Whether it checks who uses it.
    pub verifies: bool,
    /// Whether it is kept at a second place too.
    pub backed_up: bool,
    /// On which page it is used.
    pub origin: String,
}

impl Authenticator {
    /// One that knows nobody yet, used on the page of `origin`.
    ///
    /// # Panics
    /// If there is no key.
    #[must_use]
    pub fn new(origin: &str) -> Self {
        let key: [u8; 32] = random_bytes(&SystemEntropy as &dyn Entropy);
        let credential_id: [u8; 32] = random_bytes(&SystemEntropy as &dyn Entropy);
        Self {
            key: SigningKey::from_slice(&key).unwrap(),
            credential_id: credential_id.to_vec(),
            user_handle: Vec::new(),
            counter: Some(0),
            verifies: true,
            backed_up: false,
            origin: origin.to_owned(),
        }
    }

    /// Makes the passkey: the answer to `options`, as a browser gives it (`RegistrationResponseJSON`).
    ///
    /// # Panics
    /// If the options are none.
    #[must_use]
    pub fn register(&mut self, options: &str) -> Value {
        let options: Value = serde_json::from_str(options).unwrap();
        self.user_handle = URL_SAFE_NO_PAD.decode(text(&options["user"]["id"])).unwrap();
        let point = self.key.verifying_key().to_sec1_point(false);
        let point = point.as_bytes();
        // COSE: EC2, ES256, P-256.
        let mut key = vec![0xa5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01, 0x21, 0x58, 0x20];
        key.extend_from_slice(&point[1..33]);
        key.extend_from_slice(&[0x22, 0x58, 0x20]);
        key.extend_from_slice(&point[33..65]);
        let mut data = self.data(text(&options["rp"]["id"]), ATTESTED);
        data.extend_from_slice(&[0; 16]);
        data.extend_from_slice(&u16::try_from(self.credential_id.len()).unwrap().to_be_bytes());
        data.extend_from_slice(&self.credential_id);
        data.extend_from_slice(&key);
        // {"fmt": "none", "attStmt": {}, "authData": data}
        let mut object = b"\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData\x59".to_vec();
        object.extend_from_slice(&u16::try_from(data.len()).unwrap().to_be_bytes());
        object.extend_from_slice(&data);
        self.answer(&json!({
            "clientDataJSON": encode(self.client_data("webauthn.create", &options).as_bytes()),
            "attestationObject": encode(&object),
            "transports": ["internal"],
        }))
    }

    /// Uses the passkey: the answer to `options` (`AuthenticationResponseJSON`).
    ///
    /// # Panics
    /// If the options are none.
    #[must_use]
    pub fn sign(&mut self, options: &str) -> Value {
        let options: Value = serde_json::from_str(options).unwrap();
        self.counter = self.counter.map(|counter| counter + 1);
        let data = self.data(text(&options["rpId"]), 0);
        let client_data = self.client_data("webauthn.get", &options);
        let signed = [data.as_slice(), &sha256(client_data.as_bytes())].concat();
        let signature: DerSignature = self.key.sign(&signed);
        self.answer(&json!({
            "clientDataJSON": encode(client_data.as_bytes()),
            "authenticatorData": encode(&data),
            "signature": encode(signature.as_bytes()),
            "userHandle": encode(&self.user_handle),
        }))
    }

    fn data(&self, rp_id: &str, flags: u8) -> Vec<u8> {
        let verified = if self.verifies { VERIFIED } else { 0 };
        let backup = if self.backed_up { BACKUP_ELIGIBLE | BACKED_UP } else { 0 };
        let mut data = sha256(rp_id.as_bytes()).to_vec();
        data.push(PRESENT | verified | backup | flags);
        data.extend_from_slice(&self.counter.unwrap_or(0).to_be_bytes());
        data
    }

    fn client_data(&self, what: &str, options: &Value) -> String {
        let challenge = text(&options["challenge"]);
        json!({ "type": what, "challenge": challenge, "origin": self.origin, "crossOrigin": false })
            .to_string()
    }

    fn answer(&self, response: &Value) -> Value {
        let id = encode(&self.credential_id);
        json!({
            "id": id,
            "rawId": id,
            "type": "public-key",
            "response": response,
            "clientExtensionResults": {},
        })
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
