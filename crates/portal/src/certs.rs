//! `portal certs`, and the certificate authorities in a directory that `portal up` uses too.

use std::path::Path;
use std::time::Duration;

use portal_core::{SystemClock, SystemEntropy, TrustDomain, Workload};
use portal_mesh::Algorithm;
use portal_mesh::ca::CertificateAuthority;
use portal_mesh::edge::authority::{EdgeAuthority, EdgeName};
use zeroize::Zeroizing;

use crate::cli::CertsCommand;
use crate::config::Unusable;
use crate::files::{self, Readers};
use crate::output;

pub fn run(command: &CertsCommand) -> anyhow::Result<()> {
    match command {
        CertsCommand::Issue { ca, service, out, trust_domain, hours } => {
            let domain = TrustDomain::parse(trust_domain)
                .map_err(|error| Unusable::one(format!("--trust-domain {error}")))?;
            if !(1..=24).contains(hours) {
                return Err(Unusable::one("--hours must be 1 to 24".to_owned()).into());
            }
            let authority = authority(ca, domain)?;
            let out = out.clone().unwrap_or_else(|| ca.join(service.name()));
            issue(&authority, *service, Duration::from_secs(hours * 3_600), &out)?;
            output::line(&format!("{0}/tls.crt {0}/tls.key {0}/ca.crt", out.display()));
        }
        CertsCommand::IssueEdge { ca, names, out, days } => {
            if !(1..=90).contains(days) {
                return Err(Unusable::one("--days must be 1 to 90".to_owned()).into());
            }
            let out = out.clone().unwrap_or_else(|| ca.join("edge"));
            issue_edge(&edge_authorities(ca)?, names, Duration::from_secs(days * 86_400), &out)?;
            let written = ["ml-dsa.crt", "ml-dsa.key", "ecdsa.crt", "ecdsa.key", "ca.crt"];
            output::line(&written.map(|name| out.join(name).display().to_string()).join(" "));
        }
    }
    Ok(())
}

/// The files of an algorithm's certificates begin with this.
const fn file_name(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::EcdsaP256 => "ecdsa",
        Algorithm::MlDsa65 => "ml-dsa",
    }
}

/// What stands in an authority's two files; `None` if neither is there. One without the other is no reason to make another
/// authority, which nobody trusts yet: perhaps the other is on its way back.
fn kept(certificate: &Path, key: &Path) -> anyhow::Result<Option<(String, Zeroizing<String>)>> {
    let half = |found: &Path, missing: &Path| {
        let (found, missing) = (found.display(), missing.display());
        Unusable::one(format!(
            "{found} is there and {missing} is not: put {missing} back, or remove {found} to have a new authority made, \
             whose certificate everybody must be given anew"
        ))
    };
    match (files::read(certificate)?, files::read(key)?) {
        (Some(certificate), Some(key)) => Ok(Some((certificate, Zeroizing::new(key)))),
        (None, None) => Ok(None),
        (Some(_), None) => Err(half(certificate, key).into()),
        (None, Some(_)) => Err(half(key, certificate).into()),
    }
}

/// The authority in `directory`, made if there is none.
pub fn authority(directory: &Path, domain: TrustDomain) -> anyhow::Result<CertificateAuthority> {
    let (certificate_file, key_file) = (directory.join("ca.crt"), directory.join("ca.key"));
    if let Some((certificate, key)) = kept(&certificate_file, &key_file)? {
        return Ok(CertificateAuthority::load(domain, certificate, key)?);
    }
    let authority = CertificateAuthority::create(domain, &SystemClock, &SystemEntropy)?;
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

/// The authorities of the edge in `directory`, made if there are none. The classical one is first: there are programs that
/// read a file of roots to the first that they don't understand.
pub fn edge_authorities(directory: &Path) -> anyhow::Result<[EdgeAuthority; 2]> {
    let authority = |algorithm: Algorithm| {
        let file = |kind: &str| directory.join(format!("edge-{}.{kind}", file_name(algorithm)));
        let (certificate_file, key_file) = (file("crt"), file("key"));
        if let Some((certificate, key)) = kept(&certificate_file, &key_file)? {
            return Ok(EdgeAuthority::load(algorithm, certificate, key)?);
        }
        let authority = EdgeAuthority::create(algorithm, &SystemClock, &SystemEntropy)?;
        files::write(&certificate_file, authority.certificate_pem(), Readers::Everybody)?;
        files::write(&key_file, authority.private_key_pem(), Readers::Owner)?;
        anyhow::Ok(authority)
    };
    Ok([authority(Algorithm::EcdsaP256)?, authority(Algorithm::MlDsa65)?])
}

/// Issues certificates of the edge into `directory`.
pub fn issue_edge(
    authorities: &[EdgeAuthority],
    names: &[EdgeName],
    life: Duration,
    directory: &Path,
) -> anyhow::Result<()> {
    let roots: String = authorities.iter().map(EdgeAuthority::certificate_pem).collect();
    files::write(&directory.join("ca.crt"), &roots, Readers::Everybody)?;
    for authority in authorities {
        let issued = authority.issue(names, life, &SystemClock, &SystemEntropy)?;
        let file = |kind: &str| directory.join(format!("{}.{kind}", file_name(authority.algorithm())));
        files::write(&file("key"), &issued.private_key_pem, Readers::Owner)?;
        files::write(&file("crt"), &issued.certificate_pem, Readers::Everybody)?;
    }
    Ok(())
}
