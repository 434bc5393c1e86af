//! The data directory of `portal up`: what is missing is made, what is there is kept.
//!
//! ```text
//! lock                 held while a process runs on the directory
//! ca/                  ca.crt, ca.key: the mesh's certificate authority
//! tls/<service>/       tls.crt, tls.key, ca.crt
//! secrets/<service>    the service secret
//! operator-password    of the first operator
//! <service>.db         the service's database
//! ```

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use portal_core::entropy::random_bytes;
use portal_core::{SystemEntropy, TrustDomain, Workload};
use portal_mesh::ca::{CertificateAuthority, MAX_LEAF_LIFE};
use zeroize::Zeroizing;

use crate::certs;
use crate::files::{self, Readers};

const TRUST_DOMAIN: &str = "portal.local";

pub struct DataDirectory {
    path: PathBuf,
    authority: CertificateAuthority,
    password_file: PathBuf,
    /// The password, if this start made it: it is shown once.
    new_password: Option<Zeroizing<String>>,
    /// Keeps a second process off the directory until this one ends.
    _lock: File,
}

impl DataDirectory {
    /// Opens `path`, making what is missing.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let describe = || format!("can't open the data directory {}", path.display());
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).with_context(describe)?;
        let path = path.canonicalize().with_context(describe)?;
        let lock = File::create(path.join("lock")).with_context(describe)?;
        if lock.try_lock().is_err() {
            bail!("{} is in use by another portal; give this one its own --data-dir", path.display());
        }
        let authority = certs::authority(&path.join("ca"), TrustDomain::parse(TRUST_DOMAIN)?)?;
        let (password_file, new_password) = operator_password(&path)?;
        let directory = Self { path, authority, password_file, new_password, _lock: lock };
        directory.renew_certificates()?;
        for workload in Workload::ALL {
            let secret = directory.secret_file(workload);
            if files::read(&secret)?.is_none() {
                files::write(&secret, &random_hex(), Readers::Owner)?;
            }
        }
        Ok(directory)
    }

    /// Issues every service a new certificate.
    pub fn renew_certificates(&self) -> anyhow::Result<()> {
        for workload in Workload::ALL {
            certs::issue(&self.authority, workload, MAX_LEAF_LIFE, &self.tls(workload))?;
        }
        Ok(())
    }

    /// The configuration of `workload`.
    pub fn config(
        &self,
        workload: Workload,
        listen: SocketAddr,
        admin_listen: SocketAddr,
        upstreams: &[(Workload, SocketAddr)],
    ) -> String {
        let tls = self.tls(workload);
        let file = |path: PathBuf| toml::Value::String(path.display().to_string()).to_string();
        let mut text = format!(
            "[server]\nlisten = \"{listen}\"\nadmin_listen = \"{admin_listen}\"\n\
             [identity]\ntrust_domain = \"{TRUST_DOMAIN}\"\ncertificate_file = {}\nprivate_key_file = {}\n\
             trust_bundle_file = {}\n[telemetry]\n",
            file(tls.join("tls.crt")),
            file(tls.join("tls.key")),
            file(tls.join("ca.crt")),
        );
        let mut add = |part: String| text.push_str(&part);
        if workload != Workload::Gateway {
            let url = toml::Value::String(database_url(&self.path, workload)).to_string();
            add(format!("[database]\nurl = {url}\n"));
            add(format!("[secrets]\nservice_secret_file = {}\n", file(self.secret_file(workload))));
        }
        if workload == Workload::Auth {
            add(format!(
                "[operator]\nemail = \"operator@portal.local\"\npassword_file = {}\n",
                file(self.password_file.clone())
            ));
        } else {
            add("[upstreams]\n".to_owned());
            for (upstream, address) in upstreams {
                add(format!("{upstream} = \"{address}\"\n"));
            }
        }
        text
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The first operator's password.
    pub fn operator_password(&self) -> anyhow::Result<Zeroizing<String>> {
        let file = &self.password_file;
        let password = files::read(file)?.with_context(|| format!("{} is missing", file.display()))?;
        Ok(Zeroizing::new(password))
    }

    /// How the first operator signs in.
    pub fn operator_password_hint(&self) -> anyhow::Result<String> {
        let mut hint = match &self.new_password {
            Some(password) => format!("password {} (shown once)", password.as_str()),
            None => "password".to_owned(),
        };
        write!(hint, " in {}", self.password_file.display())?;
        Ok(hint)
    }

    fn tls(&self, workload: Workload) -> PathBuf {
        self.path.join("tls").join(workload.name())
    }

    fn secret_file(&self, workload: Workload) -> PathBuf {
        self.path.join("secrets").join(workload.name())
    }
}

/// The URL of the database of `workload` in `data_dir`.
pub fn database_url(data_dir: &Path, workload: Workload) -> String {
    format!("sqlite:{}", data_dir.join(format!("{workload}.db")).display())
}

/// The file that `PORTAL_OPERATOR_PASSWORD_FILE` names, or our own with a new password.
#[expect(clippy::disallowed_methods, reason = "the binary is where the environment is read")]
fn operator_password(data_dir: &Path) -> anyhow::Result<(PathBuf, Option<Zeroizing<String>>)> {
    if let Ok(given) = std::env::var("PORTAL_OPERATOR_PASSWORD_FILE") {
        return Ok((PathBuf::from(given), None));
    }
    let file = data_dir.join("operator-password");
    if files::read(&file)?.is_some() {
        return Ok((file, None));
    }
    let hex = random_hex();
    let groups: Vec<_> =
        [0..6, 6..12, 12..18, 18..24].into_iter().filter_map(|range| hex.get(range)).collect();
    let password = Zeroizing::new(groups.join("-"));
    files::write(&file, &password, Readers::Owner)?;
    Ok((file, Some(password)))
}

fn random_hex() -> Zeroizing<String> {
    let bytes: Zeroizing<[u8; 32]> = Zeroizing::new(random_bytes(&SystemEntropy));
    Zeroizing::new(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
