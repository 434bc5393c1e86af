//! A certificate and its private key, as they stand in two PEM files.

use std::fmt;
use std::path::Path;

use portal_core::{Clock, Timestamp};
use rustls::SignatureScheme;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use crate::config::{ConfigError, read};

/// What a certificate's key signs with.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256, which every client of today knows.
    EcdsaP256,
    /// ML-DSA-65 (RFC 9881).
    MlDsa65,
}

impl Algorithm {
    /// The name that metrics and messages have.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::EcdsaP256 => "ECDSA-P256",
            Self::MlDsa65 => "ML-DSA-65",
        }
    }

    /// How it is named in a handshake.
    pub(crate) const fn scheme(self) -> SignatureScheme {
        match self {
            Self::EcdsaP256 => SignatureScheme::ECDSA_NISTP256_SHA256,
            Self::MlDsa65 => SignatureScheme::ML_DSA_65,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text of both files.
#[derive(Clone, Eq, PartialEq)]
pub(crate) struct Pair {
    certificate: String,
    private_key: Zeroizing<String>,
}

impl Pair {
    pub(crate) fn read(certificate: &Path, private_key: &Path) -> Result<Self, ConfigError> {
        Ok(Self { certificate: read(certificate)?, private_key: Zeroizing::new(read(private_key)?) })
    }

    /// The leaf and what is between it and the root; `None` if the file is not PEM or has no certificate.
    pub(crate) fn chain(&self) -> Option<Vec<CertificateDer<'static>>> {
        let chain =
            CertificateDer::pem_slice_iter(self.certificate.as_bytes()).collect::<Result<Vec<_>, _>>();
        chain.ok().filter(|chain| !chain.is_empty())
    }

    /// The private key; `None` if the file has none.
    pub(crate) fn key(&self) -> Option<PrivateKeyDer<'static>> {
        PrivateKeyDer::from_pem_slice(self.private_key.as_bytes()).ok()
    }
}

/// What a certificate says of its key and its life.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    /// `None` if it is one that Portal does not use.
    pub(crate) algorithm: Option<Algorithm>,
    not_before: Timestamp,
    pub(crate) not_after: Timestamp,
}

/// A certificate is not valid at this time.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Untimely {
    /// Its time is over.
    #[error("it has expired")]
    Expired,
    /// Its time has not come.
    #[error("it is not valid yet")]
    NotYet,
}

impl Facts {
    /// What `certificate` says; `None` if it can't be parsed.
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
        let key = parsed.public_key();
        let parameters = key.algorithm.parameters.as_ref().and_then(|any| any.as_oid().ok());
        let (key, curve) = (key.algorithm.algorithm.to_id_string(), parameters.map(|oid| oid.to_id_string()));
        let algorithm = match (key.as_str(), curve.as_deref()) {
            ("2.16.840.1.101.3.4.3.18", None) => Some(Algorithm::MlDsa65),
            ("1.2.840.10045.2.1", Some("1.2.840.10045.3.1.7")) => Some(Algorithm::EcdsaP256),
            _ => None,
        };
        let validity = parsed.validity();
        Some(Self {
            algorithm,
            not_before: Timestamp::from_seconds(validity.not_before.timestamp()),
            not_after: Timestamp::from_seconds(validity.not_after.timestamp()),
        })
    }

    pub(crate) fn check_time(&self, clock: &dyn Clock) -> Result<(), Untimely> {
        let now = clock.now();
        if now < self.not_before {
            Err(Untimely::NotYet)
        } else if now > self.not_after {
            Err(Untimely::Expired)
        } else {
            Ok(())
        }
    }
}
