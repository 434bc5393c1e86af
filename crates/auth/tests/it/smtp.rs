//! Mail to a server of somebody else, `aiosmtpd`, over TLS and with a password.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use portal_auth::{Config, SmtpConfig, SmtpTls, TransportConfig};
use portal_testkit::{TestDatabase, TestMesh, each_database};

use crate::fixture::{Auth, config};
use crate::mail::{Sent, mail_config};
use crate::{logs, sql};

const PASSWORD: &str = "the password of portal";

/// A server in a process of its own; ends with its owner.
struct Server {
    process: Child,
    port: u16,
    directory: PathBuf,
    mode: &'static str,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Whether there is what it takes to run one; there must be, if the environment variable `PORTAL_REQUIRE_ALL` is `1`.
#[expect(clippy::print_stderr, reason = "whoever runs the tests is told what was left out")]
fn installed() -> bool {
    let succeeds = |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
    let there = succeeds(Command::new("python3").args(["-c", "import aiosmtpd"]))
        && succeeds(Command::new("openssl").arg("version"));
    #[expect(clippy::disallowed_methods, reason = "a switch of the tests")]
    let required = std::env::var("PORTAL_REQUIRE_ALL").is_ok_and(|value| value == "1");
    assert!(there || !required, "PORTAL_REQUIRE_ALL=1, but aiosmtpd (PyPI) or openssl is not installed");
    if !there {
        eprintln!("skipped: aiosmtpd (PyPI) or openssl is not installed");
    }
    there
}

/// A certificate for `localhost` that nobody has signed but its own key.
fn certificate(directory: &Path) {
    fs::create_dir_all(directory).unwrap();
    let settings = "[req]\ndistinguished_name = name\nx509_extensions = more\nprompt = no\n[name]\nCN = localhost\n\
                    [more]\nsubjectAltName = DNS:localhost\nbasicConstraints = critical, CA:FALSE\n";
    fs::write(directory.join("openssl.cnf"), settings).unwrap();
    let mut openssl = Command::new("openssl");
    openssl.current_dir(directory).args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
    ]);
    openssl.args(["-days", "2", "-config", "openssl.cnf", "-keyout", "tls.key", "-out", "tls.crt"]);
    let made = openssl.output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

impl Server {
    fn start(directory: PathBuf, mode: &'static str, port: u16) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/smtpd.py");
        let mut command = Command::new("python3");
        command.arg(script).arg(&directory).args([mode, &port.to_string()]);
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { process, port: line.trim().parse().unwrap(), directory, mode }
    }

    /// Stops it, and says how to have it again.
    fn stop(self) -> (PathBuf, &'static str, u16) {
        (self.directory.clone(), self.mode, self.port)
    }

    fn refuses(&self, refuses: bool) {
        let file = self.directory.join("refuse");
        if refuses { fs::write(file, "").unwrap() } else { fs::remove_file(file).unwrap() }
    }

    /// The mails that it took, when there are as many.
    async fn took(&self, count: usize) -> Vec<Sent> {
        let files = || {
            let files = fs::read_dir(&self.directory).unwrap().map(|file| file.unwrap().path());
            files.filter(|file| file.extension().is_some_and(|ending| ending == "eml")).collect::<Vec<_>>()
        };
        let took = async {
            while files().len() < count {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), took).await.unwrap();
        let files = files();
        assert_eq!(files.len(), count);
        files.iter().map(|file| Sent::read(fs::read_to_string(file).unwrap().replace("\r\n", "\n"))).collect()
    }
}

impl Auth {
    /// One that sends mail to `server`, which it knows by its certificate.
    async fn mailing_to(database: &TestDatabase, mesh: TestMesh, server: &Server) -> Self {
        let password_file = mesh.path("smtp-password");
        fs::write(&password_file, format!("{PASSWORD}\n")).unwrap();
        let transport = TransportConfig::Smtp(SmtpConfig {
            host: "localhost".to_owned(),
            port: server.port,
            tls: if server.mode == "implicit" { SmtpTls::Implicit } else { SmtpTls::StartTls },
            user: Some("portal".to_owned()),
            password_file: Some(password_file),
            ca_file: Some(server.directory.join("tls.crt")),
        });
        let config = Config { mail: Some(mail_config(transport)), ..config(&mesh, database).await };
        Self::with(mesh, config).await
    }
}

async fn failed(store: &portal_store::Database, times: i64) {
    let failed = async {
        while sql::one::<i64>(store, "SELECT COALESCE(MAX(failures), 0) FROM mail").await < times {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), failed).await.unwrap();
}

async fn prepared(mode: &'static str) -> (TestMesh, Server) {
    let mesh = TestMesh::start().await;
    let directory = mesh.path("smtpd");
    certificate(&directory);
    let server = Server::start(directory, mode, 0);
    (mesh, server)
}

each_database! {
    /// A mail gets to whom it is for, by STARTTLS and by TLS from the beginning, and its token is good.
    async fn a_server_takes_it(database) {
        if !installed() {
            return;
        }
        let (mesh, server) = prepared("starttls").await;
        let auth = Auth::mailing_to(database, mesh, &server).await;
        auth.sign_up("anna@example.org").await;
        let mails = server.took(1).await;
        assert!(mails[0].text.starts_with("Envelope: portal@portal.test anna@example.org\n"), "{}", mails[0].text);
        assert_eq!(mails[0].to, "anna@example.org");
        auth.verify(&mails[0].token("verify-email")).await.unwrap();
        // Whoever is stopped before that is noted sends it again.
        auth.emptied(&database.connect().await).await;

        let (mesh, _) = auth.stop().await;
        let directory = mesh.path("smtpd-implicit");
        certificate(&directory);
        let server = Server::start(directory, "implicit", 0);
        let auth = Auth::mailing_to(database, mesh, &server).await;
        auth.start_recovery("anna@example.org").await.unwrap();
        let mails = server.took(1).await;
        auth.recover(&mails[0].token("recover"), "an entirely different set of words").await.unwrap();
    }

    /// A server that is away, one that says no, and one that does not know us: nobody waits, nothing is lost, and nothing of
    /// the mail is told, though the server repeats the address.
    async fn a_server_that_does_not_take_it(database) {
        if !installed() {
            return;
        }
        logs::capture();
        let (mesh, server) = prepared("starttls").await;
        let auth = Auth::mailing_to(database, mesh, &server).await;
        let store = database.connect().await;
        let away = server.stop();
        // One that takes the connection and says nothing: a call that waited for it would run into its deadline.
        let silent = std::net::TcpListener::bind(("127.0.0.1", away.2)).unwrap();
        auth.sign_up("smtp-anna@example.org").await;
        drop(silent);
        failed(&store, 1).await;

        let server = Server::start(away.0, away.1, away.2);
        server.refuses(true);
        auth.advance(6);
        failed(&store, 2).await;
        server.refuses(false);
        auth.advance(11);
        assert_eq!(server.took(1).await[0].to, "smtp-anna@example.org");
        auth.emptied(&store).await;
        let log = logs::captured();
        assert!(log.contains("the server refused it with 550"), "{log}");
        assert!(!log.contains("smtp-anna"));

        let (mesh, config) = auth.stop().await;
        fs::write(mesh.path("smtp-password"), "another").unwrap();
        let auth = Auth::with(mesh, config).await;
        auth.sign_up("bert@example.org").await;
        failed(&store, 1).await;
        assert!(logs::captured().contains("the server refused it with 535"));
        let (mesh, config) = auth.stop().await;
        fs::write(mesh.path("smtp-password"), PASSWORD).unwrap();
        let auth = Auth::with(mesh, config).await;
        auth.advance(6);
        server.took(2).await;
    }

    /// A server with another certificate gets nothing; the right one gets it afterwards.
    async fn a_server_that_is_somebody_else(database) {
        if !installed() {
            return;
        }
        let (mesh, server) = prepared("starttls").await;
        let other = mesh.path("other");
        certificate(&other);
        let (directory, mode, port) = server.stop();
        for file in ["tls.crt", "tls.key"] {
            fs::copy(directory.join(file), mesh.path(file)).unwrap();
            fs::copy(other.join(file), directory.join(file)).unwrap();
        }
        let server = Server::start(directory.clone(), mode, port);
        for file in ["tls.crt", "tls.key"] {
            fs::copy(mesh.path(file), directory.join(file)).unwrap();
        }
        logs::capture();
        let auth = Auth::mailing_to(database, mesh, &server).await;
        let store = database.connect().await;
        auth.sign_up("anna@example.org").await;
        failed(&store, 1).await;
        assert!(server.took(0).await.is_empty());
        let (directory, mode, port) = server.stop();
        let server = Server::start(directory, mode, port);
        auth.advance(6);
        server.took(1).await;
    }
}
