//! The data directory of `portal up` while a process runs on it: what is missing is made, what is there is kept. Where
//! things stand is told by [`Layout`].
//!
//! A directory of an earlier version is taken over as it is. Its plain service secrets are sealed among the keys when
//! their service starts; only after that are the plain files deleted, so that a process that is killed in between
//! finds the file, finds the same secret sealed, and deletes the file then.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use portal_core::entropy::random_bytes;
use portal_core::{SystemClock, SystemEntropy, TrustDomain, Workload};
use portal_mesh::ca::{CertificateAuthority, MAX_LEAF_LIFE};
use portal_mesh::edge::authority::{EdgeAuthority, EdgeName};
use zeroize::Zeroizing;

use super::layout::{self, Addresses, Layout};
use crate::certs;
use crate::files::{self, Readers};

pub struct DataDirectory {
    layout: Layout,
    authority: CertificateAuthority,
    /// Those of the edge, if clients come over TLS.
    edge: Option<Edge>,
    password_file: PathBuf,
    /// The password, if this start made it: it is shown once.
    new_password: Option<Zeroizing<String>>,
    /// Keeps a second process off the directory until this one ends.
    _lock: File,
}

/// What issues the certificates that clients are shown, and for which names.
struct Edge {
    authorities: [EdgeAuthority; 2],
    names: Vec<EdgeName>,
}

impl DataDirectory {
    /// Opens `path`, making what is missing; with certificates for clients of `tls`, the address that they come to, if given.
    pub fn open(path: &Path, tls: Option<IpAddr>) -> anyhow::Result<Self> {
        let describe = || format!("can't open the data directory {}", path.display());
        private_directory(path).with_context(describe)?;
        let layout = Layout::at(&path.canonicalize().with_context(describe)?);
        let path = layout.path();
        let lock = File::create(layout.lock()).with_context(describe)?;
        if lock.try_lock().is_err() {
            bail!("{} is in use by another portal; give this one its own --data-dir", path.display());
        }
        let authority = certs::authority(&layout.authority(), TrustDomain::parse(layout::TRUST_DOMAIN)?)?;
        let (password_file, new_password) = operator_password(&layout)?;
        for workload in [Workload::Auth, Workload::Consent, Workload::Valuation] {
            make_root_key(&layout, workload)?;
        }
        let edge = tls.map(|address| edge(&layout, address)).transpose()?;
        let directory = Self { layout, authority, edge, password_file, new_password, _lock: lock };
        directory.renew_certificates()?;
        // Earlier versions made one for the gateway too; nothing was ever derived of it.
        directory.secret_is_sealed(Workload::Gateway)?;
        Ok(directory)
    }

    /// Issues every service a new certificate, and the edge its two.
    pub fn renew_certificates(&self) -> anyhow::Result<()> {
        for workload in Workload::ALL {
            certs::issue(&self.authority, workload, MAX_LEAF_LIFE, &self.layout.tls(workload))?;
        }
        if let Some(Edge { authorities, names }) = &self.edge {
            certs::issue_edge(authorities, names, MAX_LEAF_LIFE, &self.layout.edge_tls())?;
        }
        Ok(())
    }

    /// How clients come.
    pub const fn scheme(&self) -> &'static str {
        if self.edge.is_some() { "https" } else { "http" }
    }

    /// File with the roots that clients have to believe, if they come over TLS.
    pub fn edge_roots(&self) -> Option<PathBuf> {
        self.edge.as_ref().map(|_| self.layout.edge_tls().join("ca.crt"))
    }

    /// The configuration of `workload`.
    pub fn config(
        &self,
        workload: Workload,
        listen: SocketAddr,
        admin_listen: SocketAddr,
        upstreams: &[(Workload, SocketAddr)],
    ) -> String {
        let mut text = self.layout.config(workload, &Addresses { listen, admin_listen, upstreams });
        if workload == Workload::Auth {
            let file = layout::quoted(&self.password_file);
            // Browsers take no address for passkeys: they work on localhost, whatever the port. Writing to a String can't fail.
            let _ = write!(
                text,
                "[passkeys]\nrp_id = \"localhost\"\norigins = [\"{}://localhost\"]\nany_port = true\n\
                 [operator]\nemail = \"operator@portal.local\"\npassword_file = {file}\n",
                self.scheme()
            );
        }
        if workload == Workload::Gateway && self.edge.is_some() {
            text.push_str(&self.layout.edge_config());
        }
        text
    }

    /// The part of auth's configuration by which mail is written to files, with links to the console at `edge`.
    pub fn mail(&self, edge: SocketAddr) -> String {
        let host = if edge.ip().is_unspecified() { "localhost".to_owned() } else { edge.ip().to_string() };
        let host = if edge.is_ipv6() && host.contains(':') { format!("[{host}]") } else { host };
        format!(
            "[mail]\ntransport = \"directory\"\nsender = \"Portal <portal@portal.local>\"\n\
             public_url = \"{}://{host}:{}\"\ndirectory = {}\n",
            self.scheme(),
            edge.port(),
            layout::quoted(&self.layout.mail()),
        )
    }

    /// The part of the gateway's configuration by which it shows that mail.
    pub fn mailbox(&self) -> String {
        let (directory, key) =
            (layout::quoted(&self.layout.mail()), layout::quoted(&self.layout.mailbox_key_file()));
        format!("[edge.mailbox]\ndirectory = {directory}\nkey_file = {key}\n")
    }

    /// What the path of the page ends in that shows it. Whoever has it reads how to sign in as anybody.
    pub fn mailbox_key(&self) -> anyhow::Result<Zeroizing<String>> {
        let file = self.layout.mailbox_key_file();
        if let Some(key) = files::read(&file)? {
            return Ok(Zeroizing::new(key));
        }
        let key = random_hex();
        files::write(&file, &key, Readers::Owner)?;
        Ok(key)
    }

    /// Deletes the plain service secret of an earlier version. To be called when the service has started with
    /// [`Self::config`]: the secret is sealed then, and was compared.
    pub fn secret_is_sealed(&self, workload: Workload) -> anyhow::Result<()> {
        let file = self.layout.secret_file(workload);
        let describe = || format!("can't delete {}, which is sealed among the keys now", file.display());
        if files::remove(&file).with_context(describe)? {
            tracing::info!(
                service = workload.name(),
                "the plain service secret of an earlier version is deleted"
            );
        }
        Ok(())
    }

    /// Where mail is written.
    pub fn mail_directory(&self) -> PathBuf {
        self.layout.mail()
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.layout.path()
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
}

/// The authorities of the edge, for the names of this machine and for `address`.
fn edge(layout: &Layout, address: IpAddr) -> anyhow::Result<Edge> {
    let mut names = vec!["localhost".parse()?, "127.0.0.1".parse()?, "::1".parse()?];
    if !address.is_loopback() && !address.is_unspecified() {
        names.push(EdgeName::Ip(address));
    }
    Ok(Edge { authorities: certs::edge_authorities(&layout.authority())?, names })
}

/// Makes the keyring of `workload`, unless it is there. Another one in place of a lost one would hide the loss.
fn make_root_key(layout: &Layout, workload: Workload) -> anyhow::Result<()> {
    let (file, keys) = (layout.root_key_file(workload), layout.key_database_file(workload));
    if !file.exists() && keys.exists() {
        bail!(
            "{} is missing, and what {} holds does not open without it: put it back from its backup",
            file.display(),
            keys.display()
        );
    }
    let describe = || format!("can't make {}", file.display());
    private_directory(file.parent().with_context(describe)?).with_context(describe)?;
    portal_keys::provider::file::create(&file, None, &SystemClock, &SystemEntropy).with_context(describe)?;
    Ok(())
}

fn private_directory(path: &Path) -> std::io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// The file that `PORTAL_OPERATOR_PASSWORD_FILE` names, or our own with a new password.
#[expect(clippy::disallowed_methods, reason = "the binary is where the environment is read")]
fn operator_password(layout: &Layout) -> anyhow::Result<(PathBuf, Option<Zeroizing<String>>)> {
    if let Ok(given) = std::env::var("PORTAL_OPERATOR_PASSWORD_FILE") {
        return Ok((PathBuf::from(given), None));
    }
    let file = layout.operator_password_file();
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
