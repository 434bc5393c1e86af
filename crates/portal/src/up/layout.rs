//! Where things stand in the data directory of `portal up`, and the configuration that says so: the same for the
//! process that runs on the directory and for commands beside it.
//!
//! ```text
//! lock                    held while a process runs on the directory
//! ca/                     ca.crt, ca.key: the mesh's certificate authority; edge-*: those of the edge, with --tls
//! tls/<service>/          tls.crt, tls.key, ca.crt
//! tls/edge/               ml-dsa.crt, ml-dsa.key, ecdsa.crt, ecdsa.key, ca.crt: what clients are shown, with --tls
//! root-keys/<service>.json  the keyring with the root keys: without it nothing sealed opens
//! operator-password       of the first operator
//! mail/                   each mail as a file: nothing leaves the machine
//! mailbox-key             what the path of the page with those mails ends in
//! <service>.db            the service's database
//! <service>.keys.db       its keys, sealed under the root key
//! secrets/<service>       of earlier versions: the plain service secret, until it is sealed among the keys
//! ```

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use portal_core::Workload;

/// The name that the mesh's certificates are issued under.
pub const TRUST_DOMAIN: &str = "portal.local";

/// Who is the controller of purposes that name none: on one machine nobody has said yet who runs it.
const ORGANISATION: &str = r#"[organisation]
party_id = "urn:portal:local"
name = "The organisation that runs this Portal"
address = "Where this Portal runs"
email = "operator@portal.local"
jurisdiction = "EU"
storage_locations = ["loc:EU"]
retention_event = "Until the consent ends"
data_source = "From the subject"
rights = ["eu-gdpr:A7-3", "eu-gdpr:A15", "eu-gdpr:A16", "eu-gdpr:A17", "eu-gdpr:A20", "eu-gdpr:A77"]
"#;

/// Where a service listens, and where those are that it calls.
pub struct Addresses<'a> {
    pub listen: SocketAddr,
    pub admin_listen: SocketAddr,
    pub upstreams: &'a [(Workload, SocketAddr)],
}

/// A data directory, as paths.
#[derive(Clone)]
pub struct Layout(PathBuf);

impl Layout {
    pub fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }

    pub fn authority(&self) -> PathBuf {
        self.0.join("ca")
    }

    pub fn tls(&self, workload: Workload) -> PathBuf {
        self.0.join("tls").join(workload.name())
    }

    /// What clients of the gateway are shown.
    pub fn edge_tls(&self) -> PathBuf {
        self.0.join("tls").join("edge")
    }

    /// Policies of the operator, if there are any.
    pub fn policies(&self) -> PathBuf {
        self.0.join("policies")
    }

    pub fn root_key_file(&self, workload: Workload) -> PathBuf {
        self.0.join("root-keys").join(format!("{workload}.json"))
    }

    pub fn database_file(&self, workload: Workload) -> PathBuf {
        self.0.join(format!("{workload}.db"))
    }

    pub fn key_database_file(&self, workload: Workload) -> PathBuf {
        self.0.join(format!("{workload}.keys.db"))
    }

    /// Where earlier versions kept the service secret.
    pub fn secret_file(&self, workload: Workload) -> PathBuf {
        self.0.join("secrets").join(workload.name())
    }

    /// Where mail is written.
    pub fn mail(&self) -> PathBuf {
        self.0.join("mail")
    }

    pub fn mailbox_key_file(&self) -> PathBuf {
        self.0.join("mailbox-key")
    }

    pub fn operator_password_file(&self) -> PathBuf {
        self.0.join("operator-password")
    }

    /// The configuration of `workload` as TOML. It has a service secret to import if there still is a plain one.
    pub fn config(&self, workload: Workload, addresses: &Addresses<'_>) -> String {
        let Addresses { listen, admin_listen, upstreams } = addresses;
        let tls = self.tls(workload);
        let mut text = format!(
            "[server]\nlisten = \"{listen}\"\nadmin_listen = \"{admin_listen}\"\n\
             [identity]\ntrust_domain = \"{TRUST_DOMAIN}\"\ncertificate_file = {}\nprivate_key_file = {}\n\
             trust_bundle_file = {}\n[telemetry]\n",
            quoted(&tls.join("tls.crt")),
            quoted(&tls.join("tls.key")),
            quoted(&tls.join("ca.crt")),
        );
        if workload != Workload::Gateway {
            self.add_storage(workload, &mut text);
            let policies = self.policies();
            if policies.is_dir() {
                let _ = writeln!(text, "[authorization]\npolicies = {}", quoted(&policies));
            }
        }
        if workload == Workload::Consent {
            text.push_str(ORGANISATION);
        }
        if workload != Workload::Auth {
            text.push_str("[upstreams]\n");
            for (upstream, address) in *upstreams {
                // Writing to a String can't fail.
                let _ = writeln!(text, "{upstream} = \"{address}\"");
            }
        }
        text
    }

    /// `[edge_tls]` for the gateway as TOML.
    pub fn edge_config(&self) -> String {
        let file = |name: &str| quoted(&self.edge_tls().join(name));
        format!(
            "[edge_tls]\nml_dsa_certificate_file = {}\nml_dsa_private_key_file = {}\n\
             ecdsa_certificate_file = {}\necdsa_private_key_file = {}\n",
            file("ml-dsa.crt"),
            file("ml-dsa.key"),
            file("ecdsa.crt"),
            file("ecdsa.key"),
        )
    }

    fn add_storage(&self, workload: Workload, text: &mut String) {
        let url = |file: &Path| toml::Value::String(format!("sqlite:{}", file.display())).to_string();
        let _ = write!(
            text,
            "[database]\nurl = {}\n[keys]\nprovider = \"file\"\nroot_key_file = {}\ndatabase_url = {}\n",
            url(&self.database_file(workload)),
            quoted(&self.root_key_file(workload)),
            url(&self.key_database_file(workload)),
        );
        let secret = self.secret_file(workload);
        if secret.exists() {
            let _ = writeln!(text, "import_service_secret_file = {}", quoted(&secret));
        }
    }
}

/// A path as TOML has it.
pub fn quoted(path: &Path) -> String {
    toml::Value::String(path.display().to_string()).to_string()
}
