//! Who may import whom: the rules of ARCHITECTURE.md, checked in the manifests and in the code.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;

use xtask::tree::{self, File};

/// A crate of ours, and those of ours it may depend on. What only its tests need is free.
const OURS: &[(&str, &[&str])] = &[
    ("portal-core", &[]),
    ("portal-proto", &[]),
    ("portal-authz", &["portal-core"]),
    ("portal-crypto", &["portal-core"]),
    ("portal-store", &["portal-core", "portal-crypto"]),
    ("portal-keys", &["portal-core", "portal-crypto", "portal-store"]),
    ("portal-ledger", &["portal-core", "portal-crypto", "portal-store"]),
    ("portal-receipt", &["portal-core", "portal-crypto"]),
    (
        "portal-legacy-import",
        &["portal-core", "portal-crypto", "portal-keys", "portal-store", "portal-upkeep"],
    ),
    ("portal-mesh", &["portal-authz", "portal-core", "portal-crypto", "portal-proto"]),
    (
        "portal-upkeep",
        &[
            "portal-core",
            "portal-crypto",
            "portal-keys",
            "portal-ledger",
            "portal-mesh",
            "portal-proto",
            "portal-store",
        ],
    ),
    ("portal-consent", CONSENT),
    ("portal-auth", SERVICE),
    ("portal-valuation", SERVICE),
    ("portal-gateway", &["portal-core", "portal-crypto", "portal-mesh", "portal-proto"]),
    ("portal", ALL),
    (
        "portal-testkit",
        &["portal-core", "portal-crypto", "portal-keys", "portal-mesh", "portal-proto", "portal-store"],
    ),
    ("portal-tests", TESTS),
    ("xtask", &[]),
];
/// Services never depend on each other.
const SERVICE: &[&str] = &[
    "portal-core",
    "portal-crypto",
    "portal-keys",
    "portal-ledger",
    "portal-mesh",
    "portal-proto",
    "portal-store",
    "portal-upkeep",
];
/// What a service may use, and receipts.
const CONSENT: &[&str] = &[
    "portal-core",
    "portal-crypto",
    "portal-keys",
    "portal-ledger",
    "portal-mesh",
    "portal-proto",
    "portal-receipt",
    "portal-store",
    "portal-upkeep",
];
/// All but the testkit, which no product may contain.
const ALL: &[&str] = &[
    "portal-auth",
    "portal-authz",
    "portal-consent",
    "portal-core",
    "portal-crypto",
    "portal-gateway",
    "portal-keys",
    "portal-ledger",
    "portal-mesh",
    "portal-proto",
    "portal-receipt",
    "portal-store",
    "portal-upkeep",
    "portal-valuation",
];
/// Those, and the testkit.
const TESTS: &[&str] = &[
    "portal-auth",
    "portal-authz",
    "portal-consent",
    "portal-core",
    "portal-crypto",
    "portal-gateway",
    "portal-keys",
    "portal-ledger",
    "portal-mesh",
    "portal-proto",
    "portal-receipt",
    "portal-store",
    "portal-testkit",
    "portal-upkeep",
    "portal-valuation",
];

/// A crate of others, and those of ours that alone may depend on it.
const OTHERS: &[(&str, &[&str])] = &[
    ("aes-gcm", &["portal-crypto"]),
    ("anyhow", &["portal", "portal-legacy-import", "portal-tests", "xtask"]),
    ("aws-lc-rs", &["portal-crypto"]),
    ("cedar-policy", &["portal-authz"]),
    ("clap", &["portal", "portal-legacy-import"]),
    ("croner", &["portal-upkeep"]),
    ("cryptoki", &["portal-keys"]),
    ("ed25519-dalek", &["portal-crypto"]),
    ("lettre", &["portal-auth"]),
    ("libcrux-ml-kem", &["portal-legacy-import"]),
    ("libcrux-sha3", &["portal-legacy-import"]),
    ("ml-dsa", &["portal-crypto"]),
    ("ml-kem", &["portal-crypto"]),
    ("pqc_dilithium", &["portal-legacy-import"]),
    ("pqc_kyber", &["portal-legacy-import"]),
    ("rcgen", &["portal-mesh"]),
    ("reqwest", &["portal-keys"]),
    ("rustify", &["portal-keys"]),
    ("rustls", &["portal-keys", "portal-mesh"]),
    ("sea-orm", DATABASE),
    ("sea-orm-migration", DATABASE),
    ("tokio-rustls", &["portal-mesh"]),
    ("tonic", RPC),
    ("vaultrs", &["portal-keys"]),
    ("x509-parser", &["portal-mesh"]),
];
const DATABASE: &[&str] = &[
    "portal-auth",
    "portal-consent",
    "portal-keys",
    "portal-ledger",
    "portal-legacy-import",
    "portal-store",
    "portal-testkit",
    "portal-tests",
    "portal-upkeep",
    "portal-valuation",
];
const RPC: &[&str] = &[
    "portal",
    "portal-auth",
    "portal-consent",
    "portal-gateway",
    "portal-mesh",
    "portal-proto",
    "portal-testkit",
    "portal-tests",
    "portal-upkeep",
    "portal-valuation",
];

/// The module of a crate that is used in some places only.
struct Place {
    module: &'static str,
    /// Files of which this is true are under the rule.
    under: fn(&str) -> bool,
    /// And of those, these may.
    allowed: fn(&str) -> bool,
}

/// In the code of a service: what stands in which of its modules.
const PLACES: &[Place] = &[
    Place { module: "sea_orm", under: in_service, allowed: in_store_or_migration },
    Place { module: "sea_orm_migration", under: in_service, allowed: in_store_or_migration },
    Place { module: "tonic", under: in_service, allowed: in_rpc_or_port },
    Place { module: "portal_proto", under: in_service, allowed: in_rpc_or_port },
    Place { module: "prost", under: in_domain, allowed: |_| false },
    Place { module: "serde", under: in_domain, allowed: |_| false },
    Place { module: "tokio", under: in_domain, allowed: |_| false },
    Place { module: "portal_store", under: in_domain, allowed: |_| false },
    Place { module: "portal_mesh", under: in_domain, allowed: |_| false },
    Place { module: "rustls", under: |_| true, allowed: speaks_tls },
    Place { module: "tokio_rustls", under: |_| true, allowed: |path| path.starts_with("crates/mesh/") },
    // The gateway hashes what it keys its caches by; it holds no key.
    Place { module: "portal_crypto::kdf", under: in_gateway, allowed: |_| false },
    Place { module: "portal_crypto::mac", under: in_gateway, allowed: |_| false },
    Place { module: "portal_crypto::sign", under: in_gateway, allowed: |_| false },
    Place { module: "portal_crypto::token::issue", under: |_| true, allowed: issues_tokens },
];

/// Ports of a service to another one, by that one's generated client.
const PORTS: &[&str] = &["crates/valuation/src/app/consent.rs"];

fn in_service(path: &str) -> bool {
    ["consent", "auth", "valuation"].iter().any(|name| path.starts_with(&format!("crates/{name}/src/")))
}

fn in_module(path: &str, module: &str) -> bool {
    in_service(path)
        && (path.contains(&format!("/src/{module}/")) || path.ends_with(&format!("/src/{module}.rs")))
}

fn in_domain(path: &str) -> bool {
    in_module(path, "domain")
}

fn in_gateway(path: &str) -> bool {
    path.starts_with("crates/gateway/")
}

fn in_rpc_or_port(path: &str) -> bool {
    in_module(path, "service") || PORTS.contains(&path)
}

fn in_store_or_migration(path: &str) -> bool {
    in_module(path, "store") || in_module(path, "migration")
}

/// The mesh to its peers, a provider of root keys to its server.
fn speaks_tls(path: &str) -> bool {
    path.starts_with("crates/mesh/") || path == "crates/keys/src/provider/vault/client.rs"
}

fn issues_tokens(path: &str) -> bool {
    ["crates/auth/", "crates/crypto/", "crates/testkit/"].iter().any(|allowed| path.starts_with(allowed))
}

/// Dependencies of products (not of tests) in `metadata` that no rule allows.
fn forbidden_dependencies(metadata: &str) -> Vec<String> {
    let metadata: serde_json::Value = serde_json::from_str(metadata).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let mut findings = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap();
        let Some((_, allowed)) = OURS.iter().find(|(ours, _)| *ours == name) else {
            findings.push(format!("{name} has no row in xtask/tests/layers.rs"));
            continue;
        };
        let dependencies = package["dependencies"].as_array().unwrap();
        let compiled_in = dependencies.iter().filter(|dependency| dependency["kind"] != "dev");
        for dependency in compiled_in.map(|dependency| dependency["name"].as_str().unwrap()) {
            let ours = dependency == "portal" || dependency.starts_with("portal-") || dependency == "xtask";
            let restricted = OTHERS.iter().find(|(others, _)| *others == dependency);
            if ours && !allowed.contains(&dependency)
                || restricted.is_some_and(|(_, allowed)| !allowed.contains(&name))
            {
                findings.push(format!("{name} may not depend on {dependency}"));
            }
        }
    }
    findings
}

/// Lines of `file` that use a module where no rule allows it.
fn misplaced(file: &File) -> Vec<String> {
    let mut findings = Vec::new();
    for place in PLACES.iter().filter(|place| (place.under)(&file.path) && !(place.allowed)(&file.path)) {
        for (number, _) in file.code().filter(|(_, line)| uses(line, place.module)) {
            findings.push(format!("{}:{number} may not use {}", file.path, place.module));
        }
    }
    findings
}

/// Whether `line` has a path that starts with or goes through `module`.
fn uses(line: &str, module: &str) -> bool {
    let part_of_name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(module).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = &line[at + module.len()..];
        let starts_a_path = !before.is_some_and(|c| part_of_name(c) || c == ':');
        let may_end_there = module.contains("::") || line.trim_start().starts_with("use ");
        let goes_on = after.starts_with("::") || may_end_there && !after.starts_with(part_of_name);
        starts_a_path && goes_on
    })
}

/// Domain code decides; it does not wait.
fn asynchronous(file: &File) -> Vec<String> {
    let waits = |line: &str| line.contains("async ") || line.contains(".await");
    let lines = file.code().filter(|(_, line)| in_domain(&file.path) && waits(line));
    lines.map(|(number, _)| format!("{}:{number} is asynchronous", file.path)).collect()
}

fn sources() -> Vec<File> {
    let products =
        |file: &File| file.is_ours() && file.path.starts_with("crates/") && file.path.contains("/src/");
    tree::files().unwrap().into_iter().filter(products).collect()
}

#[test]
fn dependencies_follow_the_layers() {
    let metadata =
        tree::output(env!("CARGO"), &["metadata", "--no-deps", "--format-version=1", "--offline"]).unwrap();
    assert_eq!(forbidden_dependencies(&metadata), [""; 0]);
    let packages = metadata.matches("\"manifest_path\"").count();
    assert!(packages >= OURS.len(), "{packages} packages seen, {} expected", OURS.len());
}

#[test]
fn code_follows_the_layers() {
    let sources = sources();
    assert!(sources.len() > 100, "only {} files found", sources.len());
    let findings: Vec<_> =
        sources.iter().flat_map(|file| [misplaced(file), asynchronous(file)].concat()).collect();
    assert_eq!(findings, [""; 0]);
}

#[test]
fn every_named_port_exists() {
    let paths: BTreeSet<String> = sources().into_iter().map(|file| file.path).collect();
    for port in PORTS {
        assert!(paths.contains(*port), "{port} is gone");
    }
}

#[test]
fn a_forbidden_dependency_is_found() {
    let check = |package: &str, dependency: &str, kind: &str, expect: &[&str]| {
        let metadata = format!(
            r#"{{"packages":[{{"name":"{package}","dependencies":[{{"name":"{dependency}","kind":{kind}}}]}}]}}"#
        );
        assert_eq!(forbidden_dependencies(&metadata), expect);
    };
    check("portal-consent", "portal-auth", "null", &["portal-consent may not depend on portal-auth"]);
    check("portal-consent", "portal-auth", "\"build\"", &["portal-consent may not depend on portal-auth"]);
    check("portal-consent", "portal-auth", "\"dev\"", &[]);
    check("portal-consent", "portal-mesh", "null", &[]);
    check("portal-core", "portal-proto", "null", &["portal-core may not depend on portal-proto"]);
    let importer = "portal-legacy-import";
    check("portal", importer, "null", &["portal may not depend on portal-legacy-import"]);
    check(importer, "portal-consent", "null", &["portal-legacy-import may not depend on portal-consent"]);
    check("portal", "portal-testkit", "null", &["portal may not depend on portal-testkit"]);
    check("portal-gateway", "sea-orm", "null", &["portal-gateway may not depend on sea-orm"]);
    check("portal-gateway", "rustls", "null", &["portal-gateway may not depend on rustls"]);
    check("portal-new", "serde", "null", &["portal-new has no row in xtask/tests/layers.rs"]);
}

#[test]
fn misplaced_code_is_found() {
    let check = |path: &str, line: &str, expect: usize| {
        let file = File::new(path, line);
        assert_eq!([misplaced(&file), asynchronous(&file)].concat().len(), expect, "{path}: {line}");
    };
    check("crates/auth/src/app/login.rs", "use sea_orm::entity::prelude::*;", 1);
    check("crates/auth/src/store/accounts.rs", "use sea_orm::entity::prelude::*;", 0);
    check("crates/auth/src/migration.rs", "use sea_orm_migration::MigratorTrait;", 0);
    check("crates/auth/src/app/login.rs", "    fn f() -> Result<(), tonic::Status> {", 1);
    check("crates/auth/src/app/login.rs", "use tonic;", 1);
    check("crates/auth/src/app/login.rs", "    let tonic = 1; // a tonic", 0);
    check("crates/auth/src/service/status.rs", "use tonic::Status;", 0);
    check("crates/auth/src/app/login.rs", "// tonic::Status is made in service/status.rs", 0);
    check("crates/auth/src/app/login.rs", "#[cfg(test)]\nmod tests {\n    use tonic::Status;\n}", 0);
    check("crates/auth/src/domain/account.rs", "use serde::Serialize;", 1);
    check("crates/auth/src/domain.rs", "pub async fn decide() {}", 1);
    check("crates/auth/src/app.rs", "pub async fn login() {}", 0);
    check("crates/gateway/src/edge.rs", "use rustls::ServerConfig;", 1);
    check("crates/mesh/src/acceptor.rs", "use rustls::ServerConfig;", 0);
    check("crates/keys/src/provider/vault.rs", "use rustls::ClientConfig;", 1);
    check("crates/keys/src/provider/vault/client.rs", "use rustls::ClientConfig;", 0);
    check("crates/gateway/src/edge.rs", "use portal_crypto::sign::SigningKey;", 1);
    check("crates/gateway/src/edge.rs", "use portal_crypto::hash::sha256;", 0);
    check("crates/consent/src/app.rs", "let token = portal_crypto::token::issue(&claims, &key);", 1);
}
