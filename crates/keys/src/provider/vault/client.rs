//! The connection to the server.
//!
//! Keys travel over it, so it is TLS 1.3 with X25519MLKEM768 and nothing less, checked against the configured roots
//! only: what is recorded today must not open for a quantum computer later. Redirects are not followed, as they would
//! take the token elsewhere; proxies and settings of the environment are not heeded.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use portal_crypto::key::same_secret;
use reqwest::redirect::Policy;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use vaultrs::api::EndpointMiddleware;
use vaultrs::client::{VaultClient, VaultClientSettings};
use vaultrs::error::ClientError;
use zeroize::{Zeroize, Zeroizing};

use super::meaning::meaning;
use crate::provider::secret_file::{self, Access};
use crate::provider::{Cause, ProviderError};

/// How long a connection is kept for the next call: calls come in bursts, minutes apart, and a connection that the
/// server or somebody in between has forgotten would make the first one fail.
const IDLE: Duration = Duration::from_secs(5);

/// A server, with the token last read.
pub(super) struct Client {
    http: reqwest::Client,
    address: reqwest::Url,
    token_file: PathBuf,
    authorized: Mutex<Option<Arc<Authorized>>>,
}

/// A client with its token, which is wiped when the last call that uses it ends.
pub(super) struct Authorized(VaultClient);

impl Authorized {
    pub(super) const fn client(&self) -> &VaultClient {
        &self.0
    }
}

impl Drop for Authorized {
    fn drop(&mut self) {
        self.0.middle.token.zeroize();
        self.0.settings.token.zeroize();
    }
}

impl Client {
    /// Reads the roots; connects with the first call.
    pub(super) fn new(
        address: &str,
        token_file: PathBuf,
        ca_file: Option<&Path>,
    ) -> Result<Self, ProviderError> {
        let address = reqwest::Url::parse(address)
            .map_err(|_| ProviderError::misconfigured("vault_address", "must be https://host:port"))?;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls(ca_file)?)
            .redirect(Policy::none())
            .no_proxy()
            .pool_idle_timeout(IDLE)
            .build()
            .map_err(|error| unusable("vault_address", "can't be used", Cause::http(error)))?;
        Ok(Self { http, address, token_file, authorized: Mutex::default() })
    }

    /// Makes a call. If the server denies and there is another token in the file by now, makes it once more.
    ///
    /// The client is handed over by value: of an `AsyncFn` that borrows it the compiler can't tell that its futures are
    /// `Send`, and calls are made by background tasks.
    pub(super) async fn call<T, F>(&self, call: impl Fn(Arc<Authorized>) -> F) -> Result<T, ProviderError>
    where
        F: Future<Output = Result<T, ClientError>> + Send,
    {
        let known = self.authorized.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let first = match known {
            Some(authorized) => authorized,
            None => self.authorize()?,
        };
        match call(Arc::clone(&first)).await.map_err(meaning) {
            Err(denied @ ProviderError::Denied { .. }) => {
                let second = self.authorize()?;
                if same_secret(second.0.middle.token.as_bytes(), first.0.middle.token.as_bytes()) {
                    return Err(denied);
                }
                call(second).await.map_err(meaning)
            }
            outcome => outcome,
        }
    }

    /// A client with the token that is in the file now.
    fn authorize(&self) -> Result<Arc<Authorized>, ProviderError> {
        let line = secret_file::first_line(&self.token_file, "vault_token_file", Access::Group)?;
        let token = String::from_utf8(line.to_vec()).map(Zeroizing::new).unwrap_or_default();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ProviderError::misconfigured(
                "vault_token_file",
                "must hold a token on its first line",
            ));
        }
        let http = vaultrs_http(self.address.as_str(), self.http.clone());
        let middle = EndpointMiddleware {
            token: token.to_string(),
            version: "v1".to_owned(),
            wrap: None,
            namespace: None,
        };
        // Each setting is named: those left to the library's builder come from the environment.
        let settings = VaultClientSettings {
            address: self.address.clone(),
            ca_certs: Vec::new(),
            identity: None,
            timeout: None,
            token: token.to_string(),
            verify: true,
            version: 1,
            wrapping: false,
            namespace: None,
            proxy: None,
        };
        let authorized = Arc::new(Authorized(VaultClient { http, middle, settings }));
        *self.authorized.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&authorized));
        Ok(authorized)
    }
}

fn vaultrs_http(base: &str, http: reqwest::Client) -> rustify::clients::reqwest::Client {
    rustify::clients::reqwest::Client::new(base, http)
}

fn tls(ca_file: Option<&Path>) -> Result<ClientConfig, ProviderError> {
    let provider = CryptoProvider {
        kx_groups: vec![aws_lc_rs::kx_group::X25519MLKEM768],
        ..aws_lc_rs::default_provider()
    };
    // Fails only if the provider has no cipher suite of this version, which ours has.
    let builder = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|_| ProviderError::misconfigured("vault_address", "TLS 1.3 is not built in"))?;
    Ok(builder.with_root_certificates(roots(ca_file)?).with_no_client_auth())
}

/// The roots in the file; none for a server on loopback without TLS.
fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, ProviderError> {
    let mut roots = RootCertStore::empty();
    let Some(path) = ca_file else { return Ok(roots) };
    let read = std::fs::read(path);
    let text = read.map_err(|source| {
        unusable("vault_ca_file", "can't be read", Cause::File { path: path.to_owned(), source })
    })?;
    let no_roots = || ProviderError::misconfigured("vault_ca_file", "must hold certificates as PEM");
    for certificate in CertificateDer::pem_slice_iter(&text) {
        roots.add(certificate.map_err(|_| no_roots())?).map_err(|_| no_roots())?;
    }
    if roots.is_empty() { Err(no_roots()) } else { Ok(roots) }
}

/// The server answers what no Transit engine answers.
pub(super) fn not_vault() -> ProviderError {
    ProviderError::misconfigured("vault_address", "does not answer as OpenBao or Vault do")
}

fn unusable(key: &'static str, problem: &str, cause: Cause) -> ProviderError {
    ProviderError::Misconfigured { key, problem: problem.to_owned(), cause: Some(cause) }
}
