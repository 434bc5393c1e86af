//! The binary's command line as contracts.md has it: arguments, exit codes, what is printed, what is kept.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

mod certificates;
mod data;
mod harness;
mod import;
mod keys;
mod ledger;
mod policy;
mod upgrade;
mod verify;

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use harness::{Up, get, portal, run};
use rustix::process::Signal;

const SERVICES: [&str; 4] = ["auth", "consent", "gateway", "valuation"];

#[test]
fn help_names_every_command() {
    let (code, help, _) = run(portal().arg("--help"));
    assert_eq!(code, 0);
    for command in [
        "up",
        "auth",
        "consent",
        "gateway",
        "valuation",
        "certs",
        "check-config",
        "healthcheck",
        "import",
        "keys",
        "ledger",
        "migrate",
        "policy",
        "verify",
    ] {
        assert!(
            help.lines().any(|line| line.trim_start().starts_with(command)),
            "{command} is not in\n{help}"
        );
        let (code, help, _) = run(portal().args([command, "--help"]));
        assert_eq!(code, 0, "{command} --help");
        assert!(help.contains("Usage: portal"), "{help}");
    }
    let (code, version, _) = run(portal().arg("--version"));
    assert_eq!((code, version.trim()), (0, concat!("portal ", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn wrong_usage_exits_2() {
    let table: &[&[&str]] = &[
        &[],
        &["nonsense"],
        &["up", "--nonsense"],
        &["up", "--listen", "nowhere"],
        &["consent"],
        &["consent", "--config", "/nonexistent.toml"],
        &["check-config"],
        &["check-config", "/nonexistent.toml"],
        &["certs", "issue", "--ca", "/tmp", "--service", "nobody"],
        &["certs", "issue-edge", "--ca", "/tmp"],
        &["certs", "issue-edge", "--ca", "/tmp", "--name", "https://localhost"],
        &["certs", "issue-edge", "--ca", "/tmp", "--name", "localhost", "--days", "91"],
        &["migrate", "status", "--service", "gateway"],
        &["migrate", "data", "status", "--service", "gateway"],
        &["migrate", "data", "status", "--service", "auth", "--data-dir", "/nonexistent"],
        &["keys", "list", "--service", "gateway"],
        &["keys", "list", "--service", "auth", "--data-dir", "/nonexistent"],
        &["keys", "list", "--service", "auth", "--config", "/nonexistent.toml"],
        &["keys", "erase", "--service", "auth", "--subject", "nobody", "--statement", "/nonexistent/x"],
        &["keys", "create-root"],
        &["import", "consents", "/nonexistent.csv", "--token-file", "/nonexistent"],
        &["import", "consents", "/nonexistent.csv"],
        &["policy", "check", "/nonexistent"],
        &["policy", "explain"],
        &["policy", "explain", "--method", "grpc.health.v1.Health/Check", "--role", "king"],
    ];
    for arguments in table {
        let (code, stdout, stderr) = run(portal().args(*arguments));
        assert_eq!(code, 2, "{arguments:?}: {stdout}{stderr}");
        assert!(!stderr.trim().is_empty(), "{arguments:?} says nothing");
    }
}

/// Certificates, a root key and a configuration file for `service` in `directory`, as a deployment would have them.
pub fn good_config(directory: &Path, service: &str) -> std::path::PathBuf {
    let ca = directory.join("ca");
    let (code, _, stderr) =
        run(portal().args(["certs", "issue", "--ca"]).arg(&ca).args(["--service", service]));
    assert_eq!(code, 0, "{stderr}");
    let tls = ca.join(service);
    let write = |name: &str, text: &str| {
        let path = directory.join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let mut text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n[identity]\n\
         certificate_file = \"{0}/tls.crt\"\nprivate_key_file = \"{0}/tls.key\"\ntrust_bundle_file = \"{0}/ca.crt\"\n\
         [telemetry]\nlog = \"info\"\n",
        tls.display()
    );
    if service != "gateway" {
        let root = directory.join(format!("{service}.root.json"));
        let (code, _, stderr) = run(portal().args(["keys", "create-root", "--out"]).arg(&root));
        assert_eq!(code, 0, "{stderr}");
        let database = |name: &str| format!("sqlite:{}", directory.join(name).display());
        text += &format!("[database]\nurl = \"{}\"\n", database(&format!("{service}.db")));
        text += &format!("[keys]\nprovider = \"file\"\nroot_key_file = \"{}\"\n", root.display());
        text += &format!("database_url = \"{}\"\n", database(&format!("{service}.keys.db")));
    }
    if service == "auth" {
        let password = write("password", "a long enough password");
        text += &format!("[operator]\nemail = \"operator@portal.local\"\npassword_file = \"{password}\"\n");
    } else {
        text +=
            "[upstreams]\nauth = \"127.0.0.1:1\"\nconsent = \"127.0.0.1:1\"\nvaluation = \"127.0.0.1:1\"\n";
    }
    let path = directory.join(format!("{service}.toml"));
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn good_configurations_pass_and_bad_ones_are_told_whole() {
    let directory = tempfile::tempdir().unwrap();
    for service in SERVICES {
        let path = good_config(directory.path(), service);
        let (code, stdout, stderr) = run(portal().arg("check-config").arg(&path));
        assert_eq!(code, 0, "{service}: {stdout}{stderr}");
        let (code, ..) = run(portal().arg("check-config").arg(&path).args(["--service", service]));
        assert_eq!(code, 0, "{service}");
        let mut check = portal();
        check
            .arg("check-config")
            .arg(&path)
            .args(["--service", service])
            .env("PORTAL__SERVER__NONSENSE", "1");
        let (code, _, stderr) = run(&mut check);
        assert_eq!(code, 2, "{service}");
        assert!(stderr.contains("nonsense"), "{stderr}");
    }
    let path = directory.path().join("consent.toml");
    let text = fs::read_to_string(&path).unwrap();
    let text = text.replace("listen = \"127.0.0.1:0\"\nadmin", "listen = \"nowhere\"\nnonsense = 1\nadmin");
    let text =
        text.replace("certificate_file", "certificat_file").replace("[database]\nurl", "[database]\nurI");
    fs::write(&path, text).unwrap();
    let (code, _, stderr) = run(portal().arg("check-config").arg(&path).args(["--service", "consent"]));
    assert_eq!(code, 2);
    for problem in ["listen", "nonsense", "certificat_file", "certificate_file", "urI"] {
        assert!(stderr.contains(problem), "{problem} is not told in\n{stderr}");
    }
    let (code, _, served) = run(portal().args(["consent", "--config"]).arg(&path));
    assert_eq!(code, 2, "a bad configuration must not start");
    assert_eq!(served, stderr, "the service and check-config tell the same");
    fs::write(&path, "this is = = not TOML").unwrap();
    let (code, ..) = run(portal().arg("check-config").arg(&path));
    assert_eq!(code, 2);
}

#[test]
fn up_is_ready_keeps_what_it_made_and_ends_well() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("made/by/portal");
    let up = Up::start(&data);
    assert_eq!(
        up.lines[0],
        format!("portal ready on http://{}", up.address),
        "the first line is the ready line"
    );
    let file = data.join("operator-password");
    let password = fs::read_to_string(&file).unwrap().trim().to_owned();
    assert!(up.lines.iter().any(|line| line.contains("operator@portal.local") && line.contains(&password)));
    for secret in ["operator-password", "ca/ca.key", "tls/consent/tls.key", "root-keys/auth.json"] {
        let mode = fs::metadata(data.join(secret)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{secret}");
    }
    for private in [data.clone(), data.join("root-keys")] {
        assert_eq!(fs::metadata(&private).unwrap().permissions().mode() & 0o777, 0o700, "{private:?}");
    }
    assert!(!data.join("secrets").exists(), "a service secret in the clear");
    assert!(up.signs_in(&password));
    assert!(!up.signs_in("not the password"));
    memory(up.child.id());

    let (code, _, stderr) = run(portal()
        .args(["up", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data-dir"])
        .arg(&data));
    assert_eq!(code, 1, "a second process on the same data");
    assert!(stderr.contains("in use"), "{stderr}");

    let (code, _, stderr) = run(portal()
        .args(["up", "--admin-listen", "127.0.0.1:0", "--listen", &up.address.to_string(), "--data-dir"])
        .arg(directory.path().join("other")));
    assert_eq!(code, 1, "an address that is taken");
    assert!(!stderr.contains("panicked"), "{stderr}");

    let (code, rest) = up.end(Signal::TERM);
    assert_eq!(code, Some(0), "SIGTERM: {rest}");

    let again = Up::start(&data);
    assert_eq!(fs::read_to_string(&file).unwrap().trim(), password, "a restart makes a new password");
    assert!(!again.lines.iter().any(|line| line.contains(&password)), "the password is shown once");
    assert!(again.signs_in(&password));
    let (code, _) = again.end(Signal::INT);
    assert_eq!(code, Some(0), "Ctrl-C");
}

/// Idle resident memory of all four services; the bound is for what is shipped.
fn memory(process: u32) {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    let kib: u64 = line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap();
    println!("{} MiB resident", kib / 1_024);
    assert!(cfg!(debug_assertions) || kib < 80 * 1_000, "{kib} KiB resident");
}

#[test]
fn the_admin_port_and_healthcheck() {
    let directory = tempfile::tempdir().unwrap();
    let up = Up::start(directory.path());
    let healthcheck =
        |admin: SocketAddr| run(portal().args(["healthcheck", "--admin", &admin.to_string()])).0;
    assert_eq!(healthcheck(up.admin), 0);
    for path in ["/livez", "/readyz", "/metrics"] {
        assert!(get(up.admin, path).starts_with("HTTP/1.1 200 "), "{path}");
    }
    assert!(get(up.admin, "/metrics").contains("portal_"), "no metric of ours");
    let admin = up.admin;
    assert_eq!(up.end(Signal::TERM).0, Some(0));
    assert_eq!(healthcheck(admin), 1, "nobody is there any more");
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    assert_eq!(healthcheck(silent.local_addr().unwrap()), 1, "a process that hangs");
}

#[test]
fn the_operator_password_can_be_given() {
    let directory = tempfile::tempdir().unwrap();
    let given = directory.path().join("given");
    fs::write(&given, "a password of my own\n").unwrap();
    let data = directory.path().join("data");
    let up = Up::start_with(portal().env("PORTAL_OPERATOR_PASSWORD_FILE", &given), &data);
    assert!(up.signs_in("a password of my own"));
    assert!(!up.lines.iter().any(|line| line.contains("a password of my own")), "a given password is shown");
    assert!(!data.join("operator-password").exists());
}

#[test]
fn migrations_show_and_go_down_and_up() {
    let directory = tempfile::tempdir().unwrap();
    let up = Up::start(directory.path());
    assert_eq!(up.end(Signal::TERM).0, Some(0));
    for service in ["auth", "consent", "valuation"] {
        let migrate = |action: &str| {
            let (code, stdout, stderr) = run(portal()
                .args(["migrate", action, "--service", service, "--data-dir"])
                .arg(directory.path()));
            assert_eq!(code, 0, "{service} {action}: {stderr}");
            stdout
                .lines()
                .map(|line| line.split_ascii_whitespace().next().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        let applied = migrate("status");
        assert!(
            !applied.is_empty() && applied.iter().all(|state| state == "applied"),
            "{service}: {applied:?}"
        );
        assert_eq!(migrate("down").last().map(String::as_str), Some("pending"), "{service}");
        assert_eq!(migrate("up"), applied, "{service}");
    }
    // And it still starts.
    drop(Up::start(directory.path()));
}

#[test]
fn certificates_say_where_they_are_and_keys_are_private() {
    let directory = tempfile::tempdir().unwrap();
    let issue = |arguments: &[&str]| {
        run(portal()
            .args(["certs", "issue", "--service", "consent", "--ca"])
            .arg(directory.path())
            .args(arguments))
    };
    let (code, stdout, _) = issue(&[]);
    assert_eq!(code, 0);
    for file in stdout.split_ascii_whitespace() {
        let text = fs::read_to_string(file).unwrap();
        assert!(text.starts_with("-----BEGIN "), "{file}");
    }
    let authority = fs::read_to_string(directory.path().join("ca.crt")).unwrap();
    let mode = fs::metadata(directory.path().join("consent/tls.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let (code, ..) = issue(&["--hours", "1"]);
    assert_eq!(code, 0);
    assert_eq!(
        fs::read_to_string(directory.path().join("ca.crt")).unwrap(),
        authority,
        "the authority is kept"
    );
    for wrong in [&["--hours", "25"], &["--hours", "0"]] {
        assert_eq!(issue(wrong).0, 2, "{wrong:?}");
    }
}

#[test]
fn the_demonstration_is_loaded_once() {
    let data = tempfile::tempdir().unwrap();
    let up = Up::launch(&mut portal(), data.path(), &["--demo"]);
    let password = fs::read_to_string(data.path().join("demo-passwords")).unwrap();
    let shown = |up: &Up| up.lines.iter().any(|line| line.contains("demo") && line.contains(&password));
    assert!(shown(&up), "the password is shown at the first start: {:?}", up.lines);
    let seen = |up: &Up| {
        let controller = up.sign_in("controller@portal.local", &password).unwrap();
        let count = |path, field: &str| up.read(path, &controller)[field].as_array().map_or(0, Vec::len);
        (
            count("/v1/purposes", "purposes"),
            count("/v1/notices", "notices"),
            count("/v1/valuations", "valuations"),
        )
    };
    assert_eq!(seen(&up), (3, 1, 1));
    assert!(up.sign_in("anna@portal.local", &password).is_some());
    assert_eq!(up.end(Signal::TERM).0, Some(0));

    let up = Up::launch(&mut portal(), data.path(), &["--demo"]);
    assert!(!shown(&up), "and not again: {:?}", up.lines);
    assert_eq!(seen(&up), (3, 1, 1));
}
