//! Only this package can read what earlier systems wrote, by their reference code alone, never optimised for size.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value as Json;

const LEGACY: [&str; 3] = ["portal-legacy-import", "pqc_dilithium", "pqc_kyber"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// What cargo resolves for the whole workspace, with every feature of ours on.
fn metadata() -> Json {
    let arguments = ["metadata", "--format-version=1", "--offline", "--locked", "--all-features"];
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Packages by id: name, and the ids of what is compiled into them or into their build scripts.
struct Graph {
    names: BTreeMap<String, String>,
    dependencies: BTreeMap<String, Vec<String>>,
}

impl Graph {
    fn new(metadata: &Json) -> Self {
        let text = |json: &Json| json.as_str().unwrap().to_owned();
        let packages = metadata["packages"].as_array().unwrap();
        let names = packages.iter().map(|package| (text(&package["id"]), text(&package["name"]))).collect();
        let nodes = metadata["resolve"]["nodes"].as_array().unwrap();
        let compiled = |node: &Json| {
            let dependencies = node["deps"].as_array().unwrap().iter();
            dependencies
                .filter(|dep| dep["dep_kinds"].as_array().unwrap().iter().any(|kind| kind["kind"] != "dev"))
                .map(|dep| text(&dep["pkg"]))
                .collect()
        };
        let dependencies = nodes.iter().map(|node| (text(&node["id"]), compiled(node))).collect();
        Self { names, dependencies }
    }

    /// The names of all that goes into `package`.
    fn closure(&self, package: &str) -> BTreeSet<&str> {
        let (start, _) = self.names.iter().find(|(_, name)| *name == package).expect(package);
        let (mut seen, mut next) = (BTreeSet::from([start]), vec![start]);
        while let Some(id) = next.pop() {
            next.extend(self.dependencies[id].iter().filter(|id| seen.insert(id)));
        }
        seen.into_iter().map(|id| self.names[id].as_str()).collect()
    }
}

#[test]
fn no_other_package_can_read_them() {
    let metadata = metadata();
    let graph = Graph::new(&metadata);
    let mut checked = 0;
    for member in metadata["workspace_members"].as_array().unwrap() {
        let name = graph.names[member.as_str().unwrap()].as_str();
        let linked = graph.closure(name);
        if name == "portal-legacy-import" {
            assert!(LEGACY.iter().all(|legacy| linked.contains(legacy)), "the search finds what is there");
            continue;
        }
        let found: Vec<_> = LEGACY.iter().filter(|legacy| linked.contains(*legacy)).collect();
        assert!(found.is_empty(), "{name} links {found:?}");
        checked += 1;
    }
    assert!(checked >= 13, "{checked} members checked");
    // That of the services, named, should the list of members ever be another one.
    for product in ["portal", "portal-auth", "portal-consent", "portal-gateway", "portal-valuation"] {
        assert!(graph.closure(product).contains("portal-crypto"), "{product}");
    }
}

#[test]
fn the_reference_code_alone_is_built() {
    let metadata = metadata();
    let features = |crate_name: &str| -> Vec<String> {
        let named = |node: &&Json| node["id"].as_str().unwrap().contains(&format!("#{crate_name}@"));
        let nodes = metadata["resolve"]["nodes"].as_array().unwrap();
        let node = nodes.iter().find(named).expect(crate_name);
        serde_json::from_value(node["features"].clone()).unwrap()
    };
    assert_eq!(features("pqc_kyber"), ["hazmat"], "its avx2 forgets to reject");
    assert_eq!(features("pqc_dilithium"), [""; 0], "any of its modes but the default is another algorithm");
}

/// The build script itself, as cargo runs it.
#[test]
fn a_build_for_size_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("build-script");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("build.rs");
    let mut compiler = Command::new("rustc");
    compiler.args(["--edition=2024", "--cap-lints=allow", "-o"]).args([&program, &source]);
    assert!(compiler.status().unwrap().success());
    let check = |level: &str, expected: bool| {
        let output = Command::new(&program).env("OPT_LEVEL", level).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.success(), expected, "{level}: {said}");
        assert_eq!(said.contains("cargo::error="), !expected, "{level}: {said}");
    };
    for level in ["0", "1", "2", "3"] {
        check(level, true);
    }
    for level in ["s", "z", "", "4", "03"] {
        check(level, false);
    }
}

/// A build script is told the level of its own package; these are the others'.
#[test]
fn no_profile_builds_a_dependency_for_size() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let small = for_size(&manifest.parse().unwrap());
    assert_eq!(small, [""; 0]);
    let bad = "[profile.release]\nopt-level = \"z\"\n[profile.dev.package]\npqc_kyber.opt-level = 's'\nx.opt-level = 3\n[profile.bench.build-override]\nopt-level = 0\n";
    assert_eq!(for_size(&bad.parse().unwrap()), ["dev.package.pqc_kyber.opt-level", "release.opt-level"]);
}

/// Every `opt-level` of `manifest`'s profiles that is not a number.
fn for_size(manifest: &toml::Table) -> Vec<String> {
    fn search(path: &str, value: &toml::Value, found: &mut Vec<String>) {
        match value {
            toml::Value::Table(table) => {
                for (name, value) in table {
                    let dot = if path.is_empty() { "" } else { "." };
                    search(&format!("{path}{dot}{name}"), value, found);
                }
            }
            toml::Value::String(_) if path.ends_with("opt-level") => found.push(path.to_owned()),
            _ => {}
        }
    }
    let mut found = Vec::new();
    if let Some(profiles) = manifest.get("profile") {
        search("", profiles, &mut found);
    }
    found.sort();
    found
}
