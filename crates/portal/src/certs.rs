//! `portal certs`, and the certificate authority in a directory that `portal up` uses too.

use std::path::Path;
use std::time::Duration;

use portal_core::{SystemClock, SystemEntropy, TrustDomain, Workload};
use portal_mesh::ca::CertificateAuthority;
use zeroize::Zeroizing;

use crate::cli::CertsCommand;
use crate::config::Unusable;
use crate::files::{self, Readers};
use crate::output;

pub fn run(command: &CertsCommand) -> anyhow::Result<()> {
    let CertsCommand::Issue { ca, service, out, trust_domain, hours } = command;
    let domain =
        TrustDomain::parse(trust_domain).map_err(|error| Unusable::one(format!("--trust-domain {error}")))?;
    if !(1..=24).contains(hours) {
        return Err(Unusable::one("--hours must be 1 to 24".to_owned()).into());
    }
    let authority = authority(ca, domain)?;
    let out = out.clone().unwrap_or_else(|| ca.join(service.name()));
    issue(&authority, *service, Duration::from_secs(hours * 3_600), &out)?;
    output::line(&format!("{0}/tls.crt {0}/tls.key {0}/ca.crt", out.display()));
    Ok(())
}

/// The authority in `directory`, made if there is none.
pub fn authority(directory: &Path, domain: TrustDomain) -> anyhow::Result<CertificateAuthority> {
    let (certificate_file, key_file) = (directory.join("ca.crt"), directory.join("ca.key"));
    if let (Some(certificate), Some(key)) = (files::read(&certificate_file)?, files::read(&key_file)?) {
        return Ok(CertificateAuthority::load(domain, certificate, Zeroizing::new(key))?);
    }
    let authority = CertificateAuthority::create(domain, &SystemClock, &SystemEntropy)?;
    // The key last: a directory with a certificate and no key is taken as having no authority yet.
    files::write(&certificate_file, authority.certificate_pem(), Readers::Everybody)?;
    files::write(&key_file, authority.private_key_pem(), Readers::Owner)?;
    Ok(authority)
}

/// Issues a certificate into `directory` as tls.crt, tls.key and ca.crt.
pub fn issue(
    authority: &CertificateAuthority,
    workload: Workload,
    life: Duration,
    directory: &Path,
) -> anyhow::Result<()> {
    let issued = authority.issue(workload, life, &SystemClock, &SystemEntropy)?;
    files::write(&directory.join("ca.crt"), authority.certificate_pem(), Readers::Everybody)?;
    files::write(&directory.join("tls.key"), &issued.private_key_pem, Readers::Owner)?;
    files::write(&directory.join("tls.crt"), &issued.certificate_pem, Readers::Everybody)
}
