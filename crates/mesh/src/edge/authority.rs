//! A certificate authority for the edge of a Portal that has no public one: in development, in tests, inside one house.
//!
//! It is not the mesh's: what it issues names hosts and no workload, so a key that the outside-facing listener holds opens no
//! connection of the mesh, and the mesh's root, which people should never be asked to trust, can stay offline. One authority for
//! each algorithm: a client that can't verify ML-DSA-65 needs a chain without it.

use std::net::IpAddr;
use std::time::Duration;

use portal_core::entropy::random_bytes;
use portal_core::{Clock, Entropy};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SerialNumber, SignatureAlgorithm,
};
use rustls::pki_types::DnsName;
use zeroize::Zeroizing;

use crate::ca::{CaError, Issued, Key, ROOT_LIFE, hex, name, serial_number, set_validity};
use crate::certificate::Algorithm;

/// Longest life of a certificate of the edge.
pub const MAX_LIFE: Duration = Duration::from_secs(90 * 24 * 3_600);

/// A name or an address that clients reach the edge by.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum EdgeName {
    /// Of a host, in lower case; the first label may be `*`.
    Dns(String),
    /// An IP address.
    Ip(IpAddr),
}

/// The text is neither the name of a host nor an IP address.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be the name of a host, such as portal.example.org, or an IP address")]
pub struct InvalidName;

impl std::str::FromStr for EdgeName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Ip(address));
        }
        let name = text.to_ascii_lowercase();
        let host = name.strip_prefix("*.").unwrap_or(&name);
        // What ends in a number can only be meant for an address, and is none.
        let number = host.rsplit('.').next().is_some_and(|last| last.parse::<u32>().is_ok());
        match DnsName::try_from(host) {
            Ok(_) if !number => Ok(Self::Dns(name)),
            Ok(_) | Err(_) => Err(InvalidName),
        }
    }
}

/// A key of either algorithm.
enum EdgeKey {
    EcdsaP256(KeyPair),
    MlDsa65(Key),
}

impl EdgeKey {
    /// An ECDSA key is made with the entropy of aws-lc, which takes none from outside.
    fn generate(algorithm: Algorithm, entropy: &dyn Entropy) -> Result<Self, CaError> {
        Ok(match algorithm {
            Algorithm::EcdsaP256 => Self::EcdsaP256(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?),
            Algorithm::MlDsa65 => Self::MlDsa65(Key::generate(entropy)?),
        })
    }

    fn from_pem(algorithm: Algorithm, text: &str) -> Result<Self, CaError> {
        Ok(match algorithm {
            Algorithm::EcdsaP256 => {
                Self::EcdsaP256(KeyPair::from_pem_and_sign_algo(text, &PKCS_ECDSA_P256_SHA256)?)
            }
            Algorithm::MlDsa65 => Self::MlDsa65(Key::from_pem(text)?),
        })
    }

    fn to_pem(&self) -> Result<Zeroizing<String>, CaError> {
        match self {
            Self::EcdsaP256(key) => Ok(Zeroizing::new(key.serialize_pem())),
            Self::MlDsa65(key) => key.to_pem(),
        }
    }
}

impl PublicKeyData for EdgeKey {
    fn der_bytes(&self) -> &[u8] {
        match self {
            Self::EcdsaP256(key) => key.der_bytes(),
            Self::MlDsa65(key) => key.der_bytes(),
        }
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        match self {
            Self::EcdsaP256(key) => key.algorithm(),
            Self::MlDsa65(key) => key.algorithm(),
        }
    }
}

impl rcgen::SigningKey for EdgeKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        match self {
            Self::EcdsaP256(key) => key.sign(message),
            Self::MlDsa65(key) => key.sign(message),
        }
    }
}

/// An authority that issues certificates of one algorithm for the edge.
pub struct EdgeAuthority {
    algorithm: Algorithm,
    certificate_pem: String,
    private_key_pem: Zeroizing<String>,
    issuer: Issuer<'static, EdgeKey>,
}

impl EdgeAuthority {
    /// Makes a new root.
    ///
    /// # Errors
    /// [`CaError`] if no key can be generated.
    pub fn create(algorithm: Algorithm, clock: &dyn Clock, entropy: &dyn Entropy) -> Result<Self, CaError> {
        let key = EdgeKey::generate(algorithm, entropy)?;
        let serial = serial_number(entropy);
        let mut params = CertificateParams::default();
        params.distinguished_name = name(&format!("Portal edge root {algorithm} {}", hex(&serial)));
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        set_validity(&mut params, clock, ROOT_LIFE);
        let certificate_pem = params.self_signed(&key)?.pem();
        let private_key_pem = key.to_pem()?;
        Self::load(algorithm, certificate_pem, private_key_pem)
    }

    /// Takes up an existing root.
    ///
    /// # Errors
    /// [`CaError`] if either PEM can't be parsed or is of another algorithm.
    pub fn load(
        algorithm: Algorithm,
        certificate_pem: String,
        private_key_pem: Zeroizing<String>,
    ) -> Result<Self, CaError> {
        let key = EdgeKey::from_pem(algorithm, &private_key_pem)?;
        let issuer = Issuer::from_ca_cert_pem(&certificate_pem, key)?;
        Ok(Self { algorithm, certificate_pem, private_key_pem, issuer })
    }

    /// Issues a certificate for `names` that is valid for `life` from now.
    ///
    /// # Errors
    /// [`CaError::EdgeLife`] unless 1 s ≤ `life` ≤ 90 days; [`CaError::NoName`] without a name; else as [`Self::create`].
    pub fn issue(
        &self,
        names: &[EdgeName],
        life: Duration,
        clock: &dyn Clock,
        entropy: &dyn Entropy,
    ) -> Result<Issued, CaError> {
        if life < Duration::from_secs(1) || life > MAX_LIFE {
            return Err(CaError::EdgeLife);
        }
        if names.is_empty() {
            return Err(CaError::NoName);
        }
        let key = EdgeKey::generate(self.algorithm, entropy)?;
        let mut params = CertificateParams::default();
        let serial: [u8; 16] = random_bytes(entropy);
        params.distinguished_name.push(DnType::OrganizationName, "Portal");
        params.distinguished_name.push(DnType::CommonName, format!("Portal edge {}", hex(&serial)));
        params.serial_number = Some(SerialNumber::from_slice(&serial_number(entropy)));
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.subject_alt_names = names.iter().map(alternative).collect::<Result<_, _>>()?;
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, clock, life);
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Issued { certificate_pem: certificate.pem(), private_key_pem: key.to_pem()? })
    }

    /// What it signs with, and what it issues.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The root certificate: what clients trust.
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

fn alternative(name: &EdgeName) -> Result<SanType, CaError> {
    Ok(match name {
        EdgeName::Dns(name) => SanType::DnsName(name.as_str().try_into()?),
        EdgeName::Ip(address) => SanType::IpAddress(*address),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_of_hosts_or_addresses() {
        let check = |text: &str, good: bool| {
            assert_eq!(text.parse::<EdgeName>().is_ok(), good, "{text}");
        };
        check("localhost", true);
        check("Portal.example.org", true);
        check("*.example.org", true);
        check("::1", true);
        check("127.0.0.1", true);
        check("", false);
        check("https://portal.example.org", false);
        check("portal.example.org:443", false);
        check("a b", false);
        check("127.0.0.1/8", false);
        check("127.0.0.256", false);
        check("*", false);
        check("a.*.example.org", false);
    }
}
