//! Ceremonies with passkeys: what a browser is asked, and whether what it answers is right. The library that knows WebAuthn is
//! named here and in the configuration alone.
//!
//! A passkey always checks who uses it (user verification), and can be found without an address (discoverable). Its attestation
//! is not asked for: which device somebody has is nobody's business.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portal_core::Sensitive;
use portal_core::id::{AccountId, Id};
use portal_crypto::kdf::{Label, ServiceSecret};
use portal_crypto::mac::MacKey;
use serde_json::{Value, json};
use tracing::subscriber::{NoSubscriber, with_default};
use webauthn_rs::Webauthn;
use webauthn_rs::fake::{FakePasskeyDistribution, WebauthnFakeCredentialGenerator};
use webauthn_rs::prelude::{
    DiscoverableAuthentication, Passkey as Credential, PasskeyRegistration, PublicKeyCredential,
    RegisterPublicKeyCredential, WebauthnError,
};

use crate::domain::{CredentialId, Passkey};
use crate::error::Error;

/// Whom passkeys are for: this installation. Without a configuration there are none.
pub struct RelyingParty {
    webauthn: Option<Webauthn>,
    decoys: MacKey,
}

/// A ceremony that was begun.
pub struct Begun {
    /// What is kept of it.
    pub state: Sensitive<Vec<u8>>,
    /// What the browser is asked.
    pub options_json: String,
}

/// What a browser answered, of the right form.
pub struct Answer(PublicKeyCredential);

/// Why an answer is not taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refused {
    /// The signature counter went back: there are two of what there should be one of.
    Cloned,
    /// Anything else.
    Wrong,
}

impl Answer {
    /// The answer in `json`.
    #[must_use]
    pub fn parse(json: &Sensitive<String>) -> Option<Self> {
        serde_json::from_str(json.expose()).ok().map(Self)
    }

    /// The passkey that answered, as its authenticator calls it.
    #[must_use]
    pub fn credential_id(&self) -> CredentialId {
        CredentialId::new(self.0.get_credential_id().to_vec())
    }

    /// Whether the passkey says that it is of another account. `must_say` if it is not known otherwise.
    #[must_use]
    pub fn is_of(&self, account: AccountId, must_say: bool) -> bool {
        match self.0.get_user_unique_id() {
            Some(user) => *user == *account.uuid().as_bytes(),
            None => !must_say,
        }
    }
}

impl RelyingParty {
    /// With what the configuration says.
    #[must_use]
    pub fn new(webauthn: Option<Webauthn>, secret: &ServiceSecret) -> Self {
        Self { webauthn, decoys: MacKey::new(secret.derive(Label::BlindIndex).expose()) }
    }

    fn webauthn(&self) -> Result<&Webauthn, Error> {
        self.webauthn.as_ref().ok_or(Error::PasskeysOff)
    }

    /// Begins to make a passkey for a person with this address and name, who has those of `known`.
    pub fn begin_registration(
        &self,
        account: AccountId,
        (address, name): (&str, &str),
        known: &[CredentialId],
    ) -> Result<Begun, Error> {
        let known = known.iter().map(|id| id.as_bytes().to_vec()).collect();
        let name = if name.is_empty() { address } else { name };
        let webauthn = self.webauthn()?;
        let begun =
            silent(|| webauthn.start_passkey_registration(account.uuid(), address, name, Some(known)));
        let (options, state) = begun.map_err(broken)?;
        let mut options = serde_json::to_value(&options.public_key).map_err(unwritten)?;
        if let Some(selection) = options.get_mut("authenticatorSelection").and_then(Value::as_object_mut) {
            selection.insert("requireResidentKey".to_owned(), true.into());
            selection.insert("residentKey".to_owned(), "required".into());
        }
        Ok(Begun { state: written(&state)?, options_json: options.to_string() })
    }

    /// The passkey that a browser made in the ceremony of `state`.
    pub fn finish_registration(
        &self,
        state: &Sensitive<Vec<u8>>,
        answer: &Sensitive<String>,
    ) -> Result<Result<Passkey, Refused>, Error> {
        let webauthn = self.webauthn()?;
        let state: PasskeyRegistration = read(state)?;
        let Ok(answer) = serde_json::from_str::<RegisterPublicKeyCredential>(answer.expose()) else {
            return Ok(Err(Refused::Wrong));
        };
        let Ok(credential) = silent(|| webauthn.finish_passkey_registration(&answer, &state)) else {
            return Ok(Err(Refused::Wrong));
        };
        let id = CredentialId::new(credential.cred_id().clone());
        Ok(Ok(Passkey { id, credential: written(&credential)? }))
    }

    /// Asks for an assertion of one of `allowed`, or of any passkey if that is empty.
    pub fn begin_authentication(&self, allowed: &[CredentialId]) -> Result<Begun, Error> {
        let webauthn = self.webauthn()?;
        let begun = silent(|| webauthn.start_discoverable_authentication());
        let (options, state) = begun.map_err(broken)?;
        let mut options = serde_json::to_value(&options.public_key).map_err(unwritten)?;
        let allow =
            |id: &CredentialId| json!({ "type": "public-key", "id": URL_SAFE_NO_PAD.encode(id.as_bytes()) });
        if let Some(options) = options.as_object_mut() {
            options.insert("allowCredentials".to_owned(), allowed.iter().map(allow).collect());
        }
        Ok(Begun { state: written(&state)?, options_json: options.to_string() })
    }

    /// What is known of `passkey` after it gave the right answer in the ceremony of `state`.
    pub fn finish_authentication(
        &self,
        state: &Sensitive<Vec<u8>>,
        answer: &Answer,
        passkey: &Passkey,
    ) -> Result<Result<Passkey, Refused>, Error> {
        let webauthn = self.webauthn()?;
        let state: DiscoverableAuthentication = read(state)?;
        let mut credential: Credential = read(&passkey.credential)?;
        let finished =
            silent(|| webauthn.finish_discoverable_authentication_v2(&answer.0, state, &credential));
        Ok(match finished {
            Ok(result) if result.user_verified() => {
                credential.update_credential(&result);
                Ok(Passkey { id: passkey.id.clone(), credential: written(&credential)? })
            }
            Err(WebauthnError::CredentialPossibleCompromise) => Err(Refused::Cloned),
            Ok(_) | Err(_) => Err(Refused::Wrong),
        })
    }

    /// What could be the passkeys of somebody of whom `about` is known, who has none: always the same, and at least one, since who
    /// has passkeys has something to choose from.
    pub fn decoys(&self, about: &[u8]) -> Result<Vec<CredentialId>, Error> {
        let seed = self.decoys.tag(b"passkey-decoys");
        let generator = WebauthnFakeCredentialGenerator::<FakePasskeyDistribution>::new(&seed);
        let generator = generator.map_err(broken)?;
        let mut about = about.to_vec();
        // The library makes none for one in six.
        loop {
            let made = generator.generate(&about).map_err(broken)?;
            if !made.is_empty() {
                return Ok(made.into_iter().map(CredentialId::new).collect());
            }
            about.push(0);
        }
    }
}

/// Runs `body` without its log: the library tells what it is given.
fn silent<T>(body: impl FnOnce() -> T) -> T {
    with_default(NoSubscriber::new(), body)
}

fn broken(error: WebauthnError) -> Error {
    Error::Ceremony(Box::new(error))
}

fn unwritten(error: serde_json::Error) -> Error {
    Error::Ceremony(Box::new(error))
}

fn written(value: &impl serde::Serialize) -> Result<Sensitive<Vec<u8>>, Error> {
    serde_json::to_vec(value).map(Sensitive::new).map_err(unwritten)
}

fn read<T: serde::de::DeserializeOwned>(bytes: &Sensitive<Vec<u8>>) -> Result<T, Error> {
    serde_json::from_slice(bytes.expose()).map_err(unwritten)
}
