//! The mesh's certificate authority: an ML-DSA-65 root (RFC 9881) that issues short workload certificates.
//!
//! Invariants: root and leaf have distinct subject names and carry subject and authority key identifiers, or other TLS
//! libraries take a leaf for self-signed; a leaf names exactly one SPIFFE id and no DNS name; the root can't sign other
//! authorities (`pathlen` 0), and leaves are issued by it directly, so a chain is the leaf alone and fits the first flight.

use std::time::Duration;

use portal_core::entropy::random_bytes;
use portal_core::{Clock, Entropy, TrustDomain, Workload};
use portal_crypto::sign::{BackendFailure, SigningKey};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyUsagePurpose, PKCS_ML_DSA_65, PublicKeyData, SanType, SerialNumber, SignatureAlgorithm,
};
use zeroize::Zeroizing;

/// How long a root is valid: ten years.
pub(crate) const ROOT_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);
/// Certificates start a little in the past, since clocks of hosts differ.
const CLOCK_SKEW: Duration = Duration::from_secs(60);
/// Longest life of a workload certificate.
pub const MAX_LEAF_LIFE: Duration = Duration::from_secs(24 * 3_600);

/// The authority failed.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// A workload certificate must live 1 s to 24 h.
    #[error("a workload certificate must live from 1 second to 24 hours")]
    Life,
    /// A certificate of the edge must live 1 s to 90 days.
    #[error("a certificate of the edge must live from 1 second to 90 days")]
    EdgeLife,
    /// A certificate of the edge must have a name.
    #[error("a certificate of the edge must name a host or an address")]
    NoName,
    /// Signing or parsing a certificate failed.
    #[error("the certificate authority failed")]
    Certificate(#[from] rcgen::Error),
    /// The private key is not one of ML-DSA-65 in PKCS#8.
    #[error("the private key is not an ML-DSA-65 key in PKCS#8 PEM")]
    Key(#[source] BackendFailure),
    /// The private key is not PEM.
    #[error("the private key is not PEM")]
    Pem(#[from] pem::PemError),
}

/// An ML-DSA-65 key for rcgen, which can generate such keys but not load them.
pub(crate) struct Key(SigningKey);

impl Key {
    pub(crate) fn generate(entropy: &dyn Entropy) -> Result<Self, CaError> {
        let seed: Zeroizing<[u8; 32]> = Zeroizing::new(random_bytes(entropy));
        SigningKey::from_seed(&seed).map(Self).map_err(CaError::Key)
    }

    pub(crate) fn from_pem(text: &str) -> Result<Self, CaError> {
        let der = Zeroizing::new(pem::parse(text)?.into_contents());
        SigningKey::from_pkcs8(&der).map(Self).map_err(CaError::Key)
    }

    pub(crate) fn to_pem(&self) -> Result<Zeroizing<String>, CaError> {
        let der = self.0.to_pkcs8().map_err(CaError::Key)?;
        Ok(Zeroizing::new(pem::encode(&pem::Pem::new("PRIVATE KEY", der.expose().as_slice()))))
    }
}

impl PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        self.0.verifying_key().as_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ML_DSA_65
    }
}

impl rcgen::SigningKey for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.0.sign(message).map_err(|_| rcgen::Error::RemoteKeyError)
    }
}

/// A certificate with its private key, both PEM.
pub struct Issued {
    /// The certificate.
    pub certificate_pem: String,
    /// The private key, PKCS#8.
    pub private_key_pem: Zeroizing<String>,
}

/// An authority that can issue.
pub struct CertificateAuthority {
    trust_domain: TrustDomain,
    certificate_pem: String,
    private_key_pem: Zeroizing<String>,
    issuer: Issuer<'static, Key>,
}

impl CertificateAuthority {
    /// Makes a new root for `trust_domain`.
    ///
    /// # Errors
    /// [`CaError::Certificate`] if no key can be generated.
    pub fn create(
        trust_domain: TrustDomain,
        clock: &dyn Clock,
        entropy: &dyn Entropy,
    ) -> Result<Self, CaError> {
        let key = Key::generate(entropy)?;
        let serial = serial_number(entropy);
        let mut params = CertificateParams::default();
        params.distinguished_name = name(&format!("Portal mesh root {}", hex(&serial)));
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.subject_alt_names = vec![SanType::URI(format!("spiffe://{trust_domain}").try_into()?)];
        set_validity(&mut params, clock, ROOT_LIFE);
        let certificate_pem = params.self_signed(&key)?.pem();
        let private_key_pem = key.to_pem()?;
        Self::load(trust_domain, certificate_pem, private_key_pem)
    }

    /// Takes up an existing root.
    ///
    /// # Errors
    /// [`CaError::Certificate`] if either PEM can't be parsed.
    pub fn load(
        trust_domain: TrustDomain,
        certificate_pem: String,
        private_key_pem: Zeroizing<String>,
    ) -> Result<Self, CaError> {
        let key = Key::from_pem(&private_key_pem)?;
        let issuer = Issuer::from_ca_cert_pem(&certificate_pem, key)?;
        Ok(Self { trust_domain, certificate_pem, private_key_pem, issuer })
    }

    /// Issues a certificate for `workload` that is valid for `life` from now.
    ///
    /// # Errors
    /// [`CaError::Life`] unless 1 s ≤ `life` ≤ 24 h; [`CaError::Certificate`] if no key can be generated.
    pub fn issue(
        &self,
        workload: Workload,
        life: Duration,
        clock: &dyn Clock,
        entropy: &dyn Entropy,
    ) -> Result<Issued, CaError> {
        if life < Duration::from_secs(1) || life > MAX_LEAF_LIFE {
            return Err(CaError::Life);
        }
        let key = Key::generate(entropy)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = name(&format!("Portal workload {workload}"));
        params.serial_number = Some(SerialNumber::from_slice(&serial_number(entropy)));
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.subject_alt_names = vec![SanType::URI(self.trust_domain.spiffe_id(workload).try_into()?)];
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, clock, life);
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Issued { certificate_pem: certificate.pem(), private_key_pem: key.to_pem()? })
    }

    /// The root certificate: what peers trust.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The root's private key.
    #[must_use]
    pub fn private_key_pem(&self) -> &str {
        &self.private_key_pem
    }
}

pub(crate) fn set_validity(params: &mut CertificateParams, clock: &dyn Clock, life: Duration) {
    let now = clock.now();
    params.not_before = (std::time::UNIX_EPOCH + since_epoch(now.minus(CLOCK_SKEW))).into();
    params.not_after = (std::time::UNIX_EPOCH + since_epoch(now.plus(life))).into();
}

fn since_epoch(at: portal_core::Timestamp) -> Duration {
    at.since(portal_core::Timestamp::default())
}

pub(crate) fn name(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, "Portal");
    name.push(DnType::CommonName, common_name);
    name
}

/// 127 random bits: positive, and unique without a counter (RFC 5280, section 4.1.2.2).
pub(crate) fn serial_number(entropy: &dyn Entropy) -> [u8; 16] {
    let mut serial: [u8; 16] = random_bytes(entropy);
    if let Some(first) = serial.first_mut() {
        *first &= 0x7f;
        *first |= 0x40;
    }
    serial
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
