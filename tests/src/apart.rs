//! The four services in processes of their own, from configuration files, on PostgreSQL.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

use portal_testkit::EphemeralPostgres;

use crate::Portal;
use crate::portal::{log, spawn};

const START_TIMEOUT: Duration = Duration::from_secs(60);
const SERVICES: [&str; 3] = ["auth", "consent", "valuation"];

impl Portal {
    /// Starts one on new databases of `server`, data and keys of each service apart, that logs everything that it can
    /// log. Certificates, root keys and the operator's password are those that `portal up` makes.
    pub async fn start_on(server: &EphemeralPostgres) -> Self {
        let directory = Self::start().await.terminate().await;
        let mut addresses: Vec<(&str, SocketAddr)> = Vec::new();
        let mut services = Vec::new();
        let started = Instant::now();
        for service in SERVICES {
            let databases = [server.fresh_url().await, server.fresh_url().await];
            let address = free_address();
            let text = configuration(directory.path(), service, address, &addresses)
                + &storage(directory.path(), service, &databases);
            services.push(start(directory.path(), service, &text));
            reachable(address, directory.path()).await;
            addresses.push((service, address));
        }
        let address = free_address();
        let text = configuration(directory.path(), "gateway", address, &addresses);
        let process = start(directory.path(), "gateway", &text);
        reachable(address, directory.path()).await;
        let portal = Self { process, services, directory, address, ready_after: started.elapsed() };
        // The first call finds all that is behind the edge.
        let answered = async {
            while portal.operator_signs_in().await.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let answered = tokio::time::timeout(START_TIMEOUT, answered).await;
        assert!(answered.is_ok(), "nobody could sign in\n{}", portal.log());
        portal
    }
}

fn start(directory: &Path, service: &str, text: &str) -> crate::portal::Process {
    let file = directory.join(format!("{service}.toml"));
    fs::write(&file, text).unwrap();
    let arguments = [service.to_owned(), "--config".to_owned(), file.display().to_string()];
    spawn(directory, &arguments, "trace").0
}

/// An address that nobody listens on. Somebody else may take it before it is used: then the process says so and ends.
fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

async fn reachable(address: SocketAddr, directory: &Path) {
    let reached = async {
        while tokio::net::TcpStream::connect(address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let reached = tokio::time::timeout(START_TIMEOUT, reached).await;
    assert!(reached.is_ok(), "nobody listens on {address}\n{}", log(directory));
}

fn configuration(
    directory: &Path,
    service: &str,
    address: SocketAddr,
    upstreams: &[(&str, SocketAddr)],
) -> String {
    let tls = directory.join("data/tls").join(service).display().to_string();
    let mut text = format!(
        "[server]\nlisten = \"{address}\"\nadmin_listen = \"{}\"\n[identity]\ntrust_domain = \"portal.local\"\n\
         certificate_file = \"{tls}/tls.crt\"\nprivate_key_file = \"{tls}/tls.key\"\n\
         trust_bundle_file = \"{tls}/ca.crt\"\n",
        free_address(),
    );
    if !upstreams.is_empty() {
        text.push_str("[upstreams]\n");
    }
    for (upstream, address) in upstreams {
        writeln!(text, "{upstream} = \"{address}\"").unwrap();
    }
    text
}

fn storage(directory: &Path, service: &str, [data, keys]: &[String; 2]) -> String {
    let at = directory.join("data").display().to_string();
    let mut text = format!(
        "[database]\nurl = \"{data}\"\n[keys]\nprovider = \"file\"\n\
         root_key_file = \"{at}/root-keys/{service}.json\"\ndatabase_url = \"{keys}\"\n"
    );
    if service == "auth" {
        write!(
            text,
            "[passkeys]\nrp_id = \"localhost\"\norigins = [\"http://localhost:8080\"]\n\
             [operator]\nemail = \"{}\"\npassword_file = \"{at}/operator-password\"\n\
             [mail]\ntransport = \"directory\"\nsender = \"portal@example.org\"\n\
             public_url = \"http://localhost\"\ndirectory = \"{at}/mail\"\n",
            crate::OPERATOR
        )
        .unwrap();
    }
    if service == "consent" {
        text.push_str(
            "[organisation]\nparty_id = \"urn:test\"\nname = \"Test\"\naddress = \"1 Test Street\"\n\
             email = \"test@example.org\"\njurisdiction = \"DE\"\nstorage_locations = [\"DE\"]\n\
             retention_event = \"Until the consent ends\"\n",
        );
    }
    text
}
