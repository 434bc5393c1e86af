//! What an X.509-SVID must be (SPIFFE X509-SVID, sections 2 to 5), beyond what path validation looks at.
//!
//! webpki checks signatures, dates, path length, that the leaf is no authority and, if it says what it is for, that it is for
//! this. Names, key usage and whose root it is, it leaves to us.

use portal_core::{TrustDomain, Workload};
use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, KeyUsage, ParsedExtension};
use x509_parser::oid_registry::OID_X509_EXT_KEY_USAGE;

/// A certificate is not the X.509-SVID that it must be.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SvidError {
    /// It can't be parsed, or has an extension twice.
    #[error("it is not an X.509 certificate of version 3")]
    Malformed,
    /// It has no URI among its names, or several.
    #[error("it must have exactly one URI name")]
    Names,
    /// Its URI is not a SPIFFE id of a workload of this trust domain.
    #[error("its SPIFFE id names no workload of this trust domain")]
    Stranger,
    /// The SPIFFE id of a root, or of one between it and a leaf, is not that of the trust domain alone.
    #[error("the SPIFFE id of what signs must be that of this trust domain, without a path")]
    ForeignRoot,
    /// A leaf that says it is an authority, or what signs that does not.
    #[error("only what signs is a certificate authority")]
    Authority,
    /// The key usage is missing, not critical, or not that of its kind.
    #[error(
        "its key usage must be critical: of a leaf digitalSignature without keyCertSign and cRLSign, of what signs keyCertSign"
    )]
    KeyUsage,
    /// The extended key usage leaves out one side of a connection.
    #[error("its extended key usage must have both serverAuth and clientAuth")]
    ExtendedKeyUsage,
}

/// The workload that a leaf names, which came with `intermediates`: what may sign is held to the same rules as a root.
///
/// # Errors
/// [`SvidError`], if a rule of the standard is broken or one of them is of another trust domain.
pub(crate) fn chain(
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    trust_domain: &TrustDomain,
) -> Result<Workload, SvidError> {
    intermediates.iter().try_for_each(|certificate| check_authority(certificate, trust_domain))?;
    workload(leaf, trust_domain)
}

/// The workload that a leaf names.
///
/// # Errors
/// [`SvidError`], if a rule of the standard is broken or it is of another trust domain.
pub(crate) fn workload(
    certificate: &CertificateDer<'_>,
    trust_domain: &TrustDomain,
) -> Result<Workload, SvidError> {
    let certificate = parse(certificate)?;
    // The id is compared as a whole with those of our workloads, so nothing needs to be parsed of it: no other path, no
    // `..`, no slash at the end, no port, query or fragment is equal.
    let workload = uri(&certificate)?.ok_or(SvidError::Names).map(|id| trust_domain.workload(id))?;
    let constraints = certificate.basic_constraints().map_err(|_| SvidError::Malformed)?;
    if constraints.is_some_and(|constraints| constraints.value.ca) {
        return Err(SvidError::Authority);
    }
    if !key_usage(&certificate)?
        .is_some_and(|usage| usage.digital_signature() && !usage.key_cert_sign() && !usage.crl_sign())
    {
        return Err(SvidError::KeyUsage);
    }
    let purposes = certificate.extended_key_usage().map_err(|_| SvidError::Malformed)?;
    if purposes.is_some_and(|purposes| !(purposes.value.server_auth && purposes.value.client_auth)) {
        return Err(SvidError::ExtendedKeyUsage);
    }
    workload.ok_or(SvidError::Stranger)
}

/// Whether a certificate of the trust bundle, or one between it and a leaf, may sign those of `trust_domain`. It need not have a
/// SPIFFE id.
///
/// # Errors
/// [`SvidError`], if a rule of the standard is broken or it is of another trust domain.
pub(crate) fn check_authority(
    certificate: &CertificateDer<'_>,
    trust_domain: &TrustDomain,
) -> Result<(), SvidError> {
    let certificate = parse(certificate)?;
    if !certificate.is_ca() {
        return Err(SvidError::Authority);
    }
    if !key_usage(&certificate)?.is_some_and(KeyUsage::key_cert_sign) {
        return Err(SvidError::KeyUsage);
    }
    match uri(&certificate)? {
        Some(id) if id != format!("spiffe://{trust_domain}") => Err(SvidError::ForeignRoot),
        _ => Ok(()),
    }
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, SvidError> {
    let (rest, parsed) =
        x509_parser::parse_x509_certificate(certificate).map_err(|_| SvidError::Malformed)?;
    if rest.is_empty() { Ok(parsed) } else { Err(SvidError::Malformed) }
}

/// The one URI among the names, if there is any.
fn uri<'a>(certificate: &X509Certificate<'a>) -> Result<Option<&'a str>, SvidError> {
    let names = certificate.subject_alternative_name().map_err(|_| SvidError::Malformed)?;
    let mut uris = names.iter().flat_map(|names| &names.value.general_names).filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    match (uris.next(), uris.next()) {
        (uri, None) => Ok(uri),
        (_, Some(_)) => Err(SvidError::Names),
    }
}

/// The key usage, if it is there and critical.
fn key_usage<'a>(certificate: &'a X509Certificate<'_>) -> Result<Option<&'a KeyUsage>, SvidError> {
    let extension =
        certificate.get_extension_unique(&OID_X509_EXT_KEY_USAGE).map_err(|_| SvidError::Malformed)?;
    Ok(extension.filter(|extension| extension.critical).and_then(|extension| {
        match extension.parsed_extension() {
            ParsedExtension::KeyUsage(usage) => Some(usage),
            _ => None,
        }
    }))
}
