//! `portal policy`, and services that find policies they can't use.

use std::fs;
use std::path::Path;

use crate::good_config;
use crate::harness::{Up, get, portal, run};

const ROTATE: &str = "portal.consent.v1.KeyService/RotateKeys";
const HOUSE: &str = r#"@id("house.office")
forbid (principal in Portal::Role::"operator", action, resource)
unless { context has address && context.address.isInRange(ip("10.0.0.0/8")) };
"#;

/// What `portal policy explain` says of a question: its exit code and what it prints.
fn explain(policies: &Path, question: &[&str]) -> (i32, String) {
    let mut command = portal();
    command.args(["policy", "explain", "--policies"]).arg(policies).args(question);
    let (code, stdout, stderr) = run(&mut command);
    assert_eq!(stderr, "", "{question:?}");
    (code, stdout)
}

#[test]
fn a_decision_is_explained_by_the_policies_that_made_it() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("house.cedar"), HOUSE).unwrap();
    let check = |question: &[&str], code: i32, first: &str, parts: &[&str]| {
        let (exit, told) = explain(directory.path(), question);
        assert_eq!((exit, told.lines().next().unwrap()), (code, first), "{question:?}: {told}");
        for part in parts {
            assert!(told.contains(part), "{part} is not in\n{told}");
        }
    };
    let rotate = ["--method", ROTATE, "--role", "operator", "--address"];
    check(
        &[&rotate[..], &["192.0.2.1"]].concat(),
        1,
        "refused: POLICY_DENIED",
        &["house.office (", "isInRange"],
    );
    let here = ["portal.account.operator (Portal, accounts.cedar)", "in the last 900 seconds"];
    check(&[&rotate[..], &["10.0.0.1"]].concat(), 0, "permitted: everybody's records", &here);

    let give = "portal.consent.v1.ConsentService/GiveConsent";
    check(
        &["--method", give, "--role", "subject"],
        0,
        "permitted: the caller's own records",
        &["portal.consent.own"],
    );
    check(&["--method", give], 1, "refused: TOKEN_MISSING", &["portal.guard.anonymous"]);
    check(
        &["--method", give, "--role", "auditor"],
        1,
        "refused: ROLE_NOT_ALLOWED",
        &["No policy permits it."],
    );
    check(&["--method", give, "--workload", "valuation"], 1, "refused: WORKLOAD_NOT_ALLOWED", &[]);
    let client = ["--method", give, "--itself", "--scope"];
    check(&[&client[..], &["consent.read"]].concat(), 1, "refused: SCOPE_MISSING", &["portal.scopes"]);
    check(&[&client[..], &["consent.record"]].concat(), 0, "permitted: everybody's records", &[]);

    let (code, _, stderr) = run(portal().args(["policy", "explain", "--method", "portal.Nothing/Nothing"]));
    assert_eq!(code, 2);
    assert!(stderr.contains("no service has a method portal.Nothing/Nothing"), "{stderr}");
}

#[test]
fn policies_in_force_are_listed() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("house.cedar"), HOUSE).unwrap();
    let (code, ours, _) = run(portal().args(["policy", "list"]));
    assert_eq!(code, 0);
    assert!(ours.lines().any(|line| line.starts_with("portal.scopes") && line.contains("forbid")), "{ours}");
    assert!(!ours.contains("house."), "{ours}");
    let (code, all, _) = run(portal().args(["policy", "list", "--policies"]).arg(directory.path()));
    assert_eq!((code, all.lines().count()), (0, ours.lines().count() + 1), "{all}");
    assert!(all.contains("house.office"), "{all}");
    let (code, schema, _) = run(portal().args(["policy", "schema"]));
    assert!(code == 0 && schema.contains("type Context") && schema.contains(ROTATE));
}

#[test]
fn a_service_does_not_start_with_policies_that_it_cant_use() {
    let directory = tempfile::tempdir().unwrap();
    let policies = directory.path().join("policies");
    fs::create_dir(&policies).unwrap();
    let file = policies.join("house.cedar");
    let config = good_config(directory.path(), "consent");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("{text}[authorization]\npolicies = \"{}\"\n", policies.display())).unwrap();
    fs::write(&file, HOUSE.replace("\"operator\"", "\"operater\"")).unwrap();
    let place = format!("{}:2: ", file.display());
    let (code, _, checked) = run(portal().args(["policy", "check"]).arg(&policies));
    assert!(code == 2 && checked.contains(&place) && checked.contains("operater"), "{checked}");
    let (code, _, stderr) = run(portal().arg("check-config").arg(&config).args(["--service", "consent"]));
    assert_eq!((code, stderr.as_str()), (2, checked.as_str()));
    let (code, _, stderr) = run(portal().args(["consent", "--config"]).arg(&config));
    assert_eq!((code, stderr.as_str()), (2, checked.as_str()));

    fs::write(&file, HOUSE).unwrap();
    let (code, told, _) = run(portal().args(["policy", "check"]).arg(&policies));
    assert!(code == 0 && told.contains("usable, 1 policies"), "{told}");
    let (code, ..) = run(portal().arg("check-config").arg(&config).args(["--service", "consent"]));
    assert_eq!(code, 0);
    let (code, told, _) = run(portal().args(["policy", "list", "--config"]).arg(&config));
    assert!(code == 0 && told.contains("house.office"), "{told}");
}

/// Of a whole installation: a policy in the data directory closes what is open to anybody.
#[test]
fn up_takes_the_policies_of_its_data_directory() {
    let data = tempfile::tempdir().unwrap();
    fs::create_dir(data.path().join("policies")).unwrap();
    let closed = r#"@id("house.closed")
forbid (principal, action == Portal::Action::"portal.auth.v1.LedgerService/GetCheckpoint", resource);"#;
    fs::write(data.path().join("policies/house.cedar"), closed).unwrap();
    let up = Up::start(data.path());
    let answer = get(up.address, "/v1/auth/ledger/checkpoint");
    let told = ["HTTP/1.1 403", "POLICY_DENIED", "house.closed"];
    assert!(told.iter().all(|part| answer.contains(part)), "{answer}");
    let answer = get(up.address, "/v1/consent/ledger/checkpoint");
    assert!(!answer.starts_with("HTTP/1.1 403"), "{answer}");
}
