//! Certificates on the command line: those of the edge, what `check-config` says of the files, and `portal up --tls`.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portal_core::{Clock, ManualClock, SystemClock, SystemEntropy};
use portal_mesh::Algorithm;
use portal_mesh::edge::authority::EdgeAuthority;
use portal_mesh::edge::client::{EdgeClient, Http};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::good_config;
use crate::harness::{Up, get, portal, run};

const FILES: [&str; 4] = ["ml-dsa.crt", "ml-dsa.key", "ecdsa.crt", "ecdsa.key"];

fn issue_edge(ca: &Path) -> (i32, String, String) {
    run(portal().args(["certs", "issue-edge", "--name", "localhost", "--name", "::1", "--ca"]).arg(ca))
}

/// The answer to a request over TLS and HTTP/1.1.
fn over_tls(address: SocketAddr, roots: &str, request: &str) -> std::io::Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = EdgeClient::new(roots, Http::One, Arc::new(SystemClock))?;
        let tcp = tokio::net::TcpStream::connect(address).await?;
        let mut stream = client.connect(tcp, "localhost").await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    })
}

#[test]
fn the_authorities_of_the_edge_are_made_once() {
    let directory = tempfile::tempdir().unwrap();
    let (code, stdout, stderr) = issue_edge(directory.path());
    assert_eq!(code, 0, "{stderr}");
    let edge = directory.path().join("edge");
    let told: Vec<_> = stdout.split_ascii_whitespace().map(Path::new).collect();
    assert_eq!(told.len(), 5);
    for file in &told {
        assert!(fs::read_to_string(file).unwrap().starts_with("-----BEGIN "), "{file:?}");
    }
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for key in ["edge/ml-dsa.key", "edge/ecdsa.key", "edge-ml-dsa.key", "edge-ecdsa.key"] {
        assert_eq!(mode(&directory.path().join(key)), 0o600, "{key}");
    }
    let read = |name: &str| fs::read_to_string(edge.join(name)).unwrap();
    let (roots, leaf) = (read("ca.crt"), read("ecdsa.crt"));
    assert_eq!(roots.matches("BEGIN CERTIFICATE").count(), 2);
    assert_eq!(issue_edge(directory.path()).0, 0);
    assert_eq!(read("ca.crt"), roots, "the same authorities");
    assert_ne!(read("ecdsa.crt"), leaf, "another certificate");
}

/// Half of an authority is no authority, and none is put in its place unasked: every client would have to be told of it.
#[test]
fn an_authority_is_not_replaced_when_half_of_it_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(issue_edge(directory.path()).0, 0);
    let issue = || run(portal().args(["certs", "issue", "--service", "auth", "--ca"]).arg(directory.path()));
    assert_eq!(issue().0, 0);
    let path = |name: &str| directory.path().join(name);
    let authorities = ["edge-ecdsa", "edge-ml-dsa", "ca"];
    for authority in authorities {
        for (missing, left) in [("crt", "key"), ("key", "crt")] {
            let (missing, left) =
                (path(&format!("{authority}.{missing}")), path(&format!("{authority}.{left}")));
            let (text, before) = (fs::read(&missing).unwrap(), fs::read(&left).unwrap());
            fs::remove_file(&missing).unwrap();
            let (code, _, stderr) = if authority == "ca" { issue() } else { issue_edge(directory.path()) };
            assert_eq!(code, 2, "{stderr}");
            let told = format!("put {} back, or remove {}", missing.display(), left.display());
            assert!(stderr.contains(&told), "{stderr}");
            assert!(!missing.exists() && fs::read(&left).unwrap() == before);
            fs::write(&missing, text).unwrap();
        }
    }
    assert_eq!((issue_edge(directory.path()).0, issue().0), (0, 0));
}

/// The gateway's configuration with both certificates; the directory that they are in.
fn config_with_edge(directory: &Path) -> (std::path::PathBuf, std::path::PathBuf) {
    let config = good_config(directory, "gateway");
    let (code, _, stderr) = issue_edge(&directory.join("edge-ca"));
    assert_eq!(code, 0, "{stderr}");
    let edge = directory.join("edge-ca/edge");
    let [ml_dsa, ml_dsa_key, ecdsa, ecdsa_key] = FILES.map(|name| edge.join(name).display().to_string());
    let section = format!(
        "[edge_tls]\nml_dsa_certificate_file = '{ml_dsa}'\nml_dsa_private_key_file = '{ml_dsa_key}'\n\
         ecdsa_certificate_file = '{ecdsa}'\necdsa_private_key_file = '{ecdsa_key}'\n"
    );
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text + &section).unwrap();
    (config, edge)
}

#[test]
fn check_config_tells_what_is_wrong_with_certificate_files() {
    let directory = tempfile::tempdir().unwrap();
    let (config, edge) = config_with_edge(directory.path());
    let check = |more: &[&str]| {
        let (code, _, stderr) =
            run(portal().arg("check-config").arg(&config).args(["--service", "gateway"]).args(more));
        (code, stderr)
    };
    assert_eq!(check(&[]), (0, String::new()));
    let refused = |expected: &[&str]| {
        let (code, stderr) = check(&[]);
        assert_eq!(code, 2, "{stderr}");
        for problem in expected {
            assert!(stderr.contains(problem), "{problem} is not told in\n{stderr}");
        }
        assert_eq!(check(&["--no-files"]).0, 0, "the configuration itself is good");
    };
    let away = |name: &str, act: &dyn Fn()| {
        let text = fs::read_to_string(edge.join(name)).unwrap();
        fs::remove_file(edge.join(name)).unwrap();
        act();
        fs::write(edge.join(name), text).unwrap();
    };
    away("ecdsa.key", &|| {
        refused(&["ecdsa.key", "No such file"]);
        away("ml-dsa.crt", &|| refused(&["2 problems", "ecdsa.key", "ml-dsa.crt"]));
    });

    let put = |name: &str, text: &str| fs::write(edge.join(name), text).unwrap();
    let issue = |clock: &dyn Clock| {
        let names = ["localhost".parse().unwrap()];
        let authority = EdgeAuthority::create(Algorithm::EcdsaP256, clock, &SystemEntropy).unwrap();
        authority.issue(&names, Duration::from_secs(3_600), clock, &SystemEntropy).unwrap()
    };
    let other = issue(&SystemClock);
    put("ecdsa.key", &other.private_key_pem);
    refused(&["edge_tls.ecdsa_certificate_file", "can't be used together"]);
    let over = issue(&ManualClock::new(SystemClock.now().minus(Duration::from_secs(7_200))));
    put("ecdsa.key", &over.private_key_pem);
    put("ecdsa.crt", &over.certificate_pem);
    refused(&["edge_tls.ecdsa_certificate_file", "expired"]);
    // The service tells the same and does not start.
    let (code, _, stderr) = run(portal().args(["gateway", "--config"]).arg(&config));
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("edge_tls.ecdsa_certificate_file") && stderr.contains("expired"), "{stderr}");
    put("ecdsa.key", &other.private_key_pem);
    put("ecdsa.crt", &other.certificate_pem);
    assert_eq!(check(&[]).0, 0);

    // The workload's own: of another service, and with the key of another.
    let tls = directory.path().join("ca/gateway");
    let (code, _, stderr) = run(portal()
        .args(["certs", "issue", "--service", "auth", "--ca"])
        .arg(directory.path().join("ca"))
        .arg("--out")
        .arg(directory.path().join("auth")));
    assert_eq!(code, 0, "{stderr}");
    let auth = directory.path().join("auth");
    fs::copy(auth.join("tls.key"), tls.join("tls.key")).unwrap();
    refused(&["the certificate and key can't be used"]);
    fs::copy(auth.join("tls.crt"), tls.join("tls.crt")).unwrap();
    refused(&["must be for spiffe://portal.local/gateway"]);
    fs::remove_file(tls.join("ca.crt")).unwrap();
    refused(&["ca.crt"]);
}

#[test]
fn up_serves_clients_over_tls_if_told_to() {
    let directory = tempfile::tempdir().unwrap();
    let up = Up::launch(&mut portal(), directory.path(), &["--tls", "--demo"]);
    assert_eq!(up.lines[0], format!("portal ready on https://{}", up.address));
    assert!(up.lines.iter().any(|line| line.starts_with("  demo      anna@portal.local")), "{:?}", up.lines);
    let roots = fs::read_to_string(directory.path().join("tls/edge/ca.crt")).unwrap();
    let body = r#"{"email":"anna@example.org","password":"correct horse battery","displayName":"Anna"}"#;
    let request = format!(
        "POST /v1/accounts HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let answer = over_tls(up.address, &roots, &request).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains("strict-transport-security: max-age=31536000"), "{answer}");

    // Links in mails lead to where clients come.
    let link = format!("\nhttps://{}/#verify-email=", up.address);
    let mails = directory.path().join("mail");
    let leads_there =
        |file: &Path| fs::read_to_string(file).unwrap_or_default().replace("\r\n", "\n").contains(&link);
    let begun = Instant::now();
    let found =
        || fs::read_dir(&mails).is_ok_and(|mut files| files.any(|file| leads_there(&file.unwrap().path())));
    while !found() && begun.elapsed() < Duration::from_secs(20) {
        // Asking takes a while.
        get(up.admin, "/livez");
    }
    assert!(found(), "no mail leads to {link}");

    // Who does not know the authority does not talk to it, and nothing is said in the clear.
    let strangers = tempfile::tempdir().unwrap();
    assert_eq!(issue_edge(strangers.path()).0, 0);
    let other = fs::read_to_string(strangers.path().join("edge/ca.crt")).unwrap();
    over_tls(up.address, &other, &request).unwrap_err();

    let metrics = get(up.admin, "/metrics");
    let counted = "portal_tls_handshakes_total{listener=\"edge\",outcome=\"accepted\",version=\"1.3\",\
                   group=\"X25519MLKEM768\",signature=\"ML-DSA-65\"} ";
    assert!(metrics.contains(counted), "{metrics}");
    for certificate in ["auth", "consent", "gateway", "valuation", "edge"] {
        let gauge = format!("portal_certificate_days_left{{certificate=\"{certificate}\",");
        assert!(metrics.contains(&gauge), "{certificate} in {metrics}");
    }
    assert_eq!(up.end(Signal::TERM).0, Some(0));

    // The next one without it speaks plain HTTP again, and the authorities stay for the one after.
    let up = Up::start(directory.path());
    assert!(get(up.address, "/").starts_with("HTTP/1.1 200 "));
    drop(up);
    let up = Up::launch(&mut portal(), directory.path(), &["--tls"]);
    over_tls(up.address, &roots, &request).unwrap();
}
