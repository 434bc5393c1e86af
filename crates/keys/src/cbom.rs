//! The inventory as a CycloneDX 1.6 cryptography bill of materials (ECMA-424), in JSON.
//!
//! Each algorithm that a key is used with stands there once, and each key by its id, use, state and times, with a
//! reference to its algorithm and to that of the key that secures it. Key material has no place in it.

use portal_core::Timestamp;
use portal_crypto::suite::Algorithm;
use serde_json::{Value, json};

use crate::inventory::{Inventory, KeyAlgorithm, KeyEntry, KeyUse};
use crate::store::state::{KeyState, Purpose};

/// The document.
pub(crate) fn document(inventory: &Inventory) -> String {
    let root = inventory.keys.iter().find(|key| key.key_use == KeyUse::Root).map(|key| key.algorithm);
    let mut components: Vec<Value> = inventory.algorithms().into_iter().map(algorithm).collect();
    components.extend(inventory.keys.iter().map(|entry| key(entry, root)));
    let document = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": format!("urn:uuid:{}", inventory.id),
        "version": 1,
        "metadata": {
            "timestamp": inventory.taken.to_string(),
            "component": {
                "type": "application",
                "bom-ref": "portal",
                "name": format!("portal {}", inventory.scope.service),
                "version": env!("CARGO_PKG_VERSION"),
            },
        },
        "components": components,
    });
    document.to_string()
}

fn algorithm(algorithm: KeyAlgorithm) -> Value {
    let description = Description::of(algorithm);
    let mut properties = json!({
        "primitive": description.primitive,
        "executionEnvironment": description.environment,
        "implementationPlatform": "generic",
        "cryptoFunctions": description.functions,
        "classicalSecurityLevel": description.classical,
        "nistQuantumSecurityLevel": description.quantum,
    });
    if let (Some(properties), Some(parameters)) = (properties.as_object_mut(), description.parameters) {
        properties.insert("parameterSetIdentifier".to_owned(), parameters.into());
    }
    json!({
        "type": "cryptographic-asset",
        "bom-ref": reference(algorithm),
        "name": algorithm.name(),
        "cryptoProperties": { "assetType": "algorithm", "algorithmProperties": properties },
    })
}

fn key(entry: &KeyEntry, root: Option<KeyAlgorithm>) -> Value {
    let mut properties = json!({
        "type": kind(entry),
        "id": entry.id,
        "state": match entry.state {
            KeyState::Active => "active",
            KeyState::Retired => "deactivated",
            KeyState::Disabled => "suspended",
            KeyState::Destroyed => "destroyed",
            KeyState::Pending => "pre-activation",
        },
        "algorithmRef": reference(entry.algorithm),
        "size": 256,
    });
    if let Some(properties) = properties.as_object_mut() {
        let mut date = |name: &str, time: Option<Timestamp>| {
            if let Some(time) = time {
                properties.insert(name.to_owned(), time.to_string().into());
            }
        };
        date("creationDate", Some(entry.created));
        date("expirationDate", entry.retired);
        date("updateDate", entry.destroyed);
        let secured = match (entry.key_use, entry.root, root) {
            (KeyUse::Root, _, _) => Some(json!({ "mechanism": "key provider" })),
            (_, Some(_), Some(root)) => {
                Some(json!({ "mechanism": "wrapped by the root key", "algorithmRef": reference(root) }))
            }
            (_, _, _) => None,
        };
        if let Some(secured) = secured {
            properties.insert("securedBy".to_owned(), secured);
        }
    }
    json!({
        "type": "cryptographic-asset",
        "bom-ref": format!("key/{}", entry.id),
        "name": name(entry.key_use),
        "properties": [{ "name": "portal:wrapped-keys", "value": entry.wrapped.to_string() }],
        "cryptoProperties": {
            "assetType": "related-crypto-material",
            "relatedCryptoMaterialProperties": properties,
        },
    })
}

fn reference(algorithm: KeyAlgorithm) -> String {
    format!("algorithm/{}", algorithm.name())
}

const fn kind(entry: &KeyEntry) -> &'static str {
    match (entry.key_use, entry.algorithm) {
        (KeyUse::Root, KeyAlgorithm::Suite(Algorithm::XWing))
        | (KeyUse::Service(Purpose::Ledger | Purpose::Statement) | KeyUse::Token, _) => "private-key",
        (KeyUse::Service(Purpose::ServiceSecret), _) => "seed",
        (_, _) => "secret-key",
    }
}

const fn name(key_use: KeyUse) -> &'static str {
    match key_use {
        KeyUse::Root => "root key",
        KeyUse::Epoch => "epoch key",
        KeyUse::Token => "token signing key",
        KeyUse::Service(purpose) => match purpose {
            Purpose::ServiceSecret => "service secret",
            Purpose::RowDigest => "row digest key",
            Purpose::Shred => "shred ledger key",
            Purpose::Ledger => "ledger signing key",
            Purpose::Statement => "statement signing key",
            Purpose::BlindIndex => "blind index key",
        },
    }
}

/// What the standard wants to know of an algorithm.
struct Description {
    primitive: &'static str,
    parameters: Option<&'static str>,
    functions: &'static [&'static str],
    environment: &'static str,
    /// In bits.
    classical: u32,
    /// NIST's category, 0 if a quantum computer breaks it.
    quantum: u32,
}

impl Description {
    const fn of(algorithm: KeyAlgorithm) -> Self {
        let suite = match algorithm {
            KeyAlgorithm::HkdfSha256 => return Self::new("kdf", None, &["keyderive"], (256, 5)),
            KeyAlgorithm::HmacSha256 => return Self::new("mac", None, &["keygen", "tag"], (256, 5)),
            KeyAlgorithm::Suite(suite) => suite,
        };
        match suite {
            Algorithm::Aes256Gcm | Algorithm::XAes256Gcm | Algorithm::Cobblestone256 => {
                Self::new("ae", Some("256"), ENCRYPTS, (256, 5))
            }
            // In the key provider, whatever that is made of.
            Algorithm::ProviderWrap => {
                Self { environment: "other", ..Self::new("ae", None, ENCRYPTS, (256, 5)) }
            }
            Algorithm::XWing => Self::new("combiner", Some("X25519 and ML-KEM-768"), ENCAPSULATES, (128, 3)),
            Algorithm::MlKem768 => Self::new("kem", Some("ML-KEM-768"), ENCAPSULATES, (192, 3)),
            Algorithm::MlKem1024 => Self::new("kem", Some("ML-KEM-1024"), ENCAPSULATES, (256, 5)),
            Algorithm::Kyber768Round3 => {
                Self::new("kem", Some("Kyber-768 round 3"), &["decapsulate"], (192, 3))
            }
            Algorithm::MlDsa65 => Self::new("signature", Some("ML-DSA-65"), SIGNS, (192, 3)),
            Algorithm::EcdsaP256 => Self::new("signature", Some("P-256"), SIGNS, (128, 0)),
            Algorithm::Ed25519 => Self::new("signature", Some("Ed25519"), SIGNS, (128, 0)),
            Algorithm::MlDsa65Ed25519 => {
                Self::new("combiner", Some("Ed25519 and ML-DSA-65"), SIGNS, (192, 3))
            }
            Algorithm::Dilithium3Round3 => {
                Self::new("signature", Some("Dilithium3 round 3.1"), &["verify"], (192, 3))
            }
        }
    }

    const fn new(
        primitive: &'static str,
        parameters: Option<&'static str>,
        functions: &'static [&'static str],
        (classical, quantum): (u32, u32),
    ) -> Self {
        Self { primitive, parameters, functions, environment: "software-plain-ram", classical, quantum }
    }
}

const ENCAPSULATES: &[&str] = &["keygen", "encapsulate", "decapsulate"];
const ENCRYPTS: &[&str] = &["keygen", "encrypt", "decrypt"];
const SIGNS: &[&str] = &["keygen", "sign", "verify"];
