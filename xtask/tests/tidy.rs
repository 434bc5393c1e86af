//! Rules of form that no linter knows. Each is a function from files to findings, and is shown to find something.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use xtask::tree::{self, File};

/// Lines of a Rust file, its unit tests apart. Functions are held to 60 by clippy.
const LONGEST_FILE: usize = 500;

/// A rule, and its name in a failure.
type Rule = (&'static str, fn(&File) -> Vec<String>);

const RULES: &[Rule] = &[
    ("a file has at most 500 lines", too_long),
    ("foo.rs + foo/, never mod.rs", mod_file),
    ("unfinished work is an issue, not a comment", unfinished),
    ("a test is run or deleted", ignored_test),
    ("unsafe code is forbidden, also in comments", unsafe_allowed),
    ("a crate root promises something and forbids unsafe code", bare_root),
    ("every member takes the workspace's lints", own_lints),
    ("nothing names the machine that it was made on", machine_path),
    ("a lock file names packages, not registries", resolved_host),
];

fn too_long(file: &File) -> Vec<String> {
    let lines = file.production().count();
    let long = file.is_ours() && lines > LONGEST_FILE;
    long.then(|| format!("{}: {lines} lines", file.path)).into_iter().collect()
}

fn mod_file(file: &File) -> Vec<String> {
    file.path.ends_with("/mod.rs").then(|| file.path.clone()).into_iter().collect()
}

fn unfinished(file: &File) -> Vec<String> {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    let word = |line: &str, mark: &str| {
        let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
        words.any(|word| word == mark)
    };
    let generated =
        file.path.ends_with(".lock") || file.path.ends_with("lock.json") || file.path.contains("/dist/");
    if generated {
        return Vec::new();
    }
    lines(file, |line| marks.iter().any(|mark| word(line, mark)))
}

fn ignored_test(file: &File) -> Vec<String> {
    let ours = file.path.ends_with(".rs");
    lines(file, |line| ours && line.trim_start().starts_with("#[ignore"))
}

fn unsafe_allowed(file: &File) -> Vec<String> {
    let ours = file.is_ours() && file.path != "xtask/tests/tidy.rs";
    lines(file, |line| {
        ours && ["allow(unsafe_code", "expect(unsafe_code"].iter().any(|allow| line.contains(allow))
    })
}

fn bare_root(file: &File) -> Vec<String> {
    let root = ["/src/lib.rs", "/src/main.rs"].iter().any(|end| file.path.ends_with(end));
    if !root {
        return Vec::new();
    }
    let mut findings = Vec::new();
    if !file.text.starts_with("//! ") {
        findings.push(format!("{} does not begin with its //! documentation", file.path));
    }
    if !file.text.lines().any(|line| line == "#![forbid(unsafe_code)]") {
        findings.push(format!("{} does not forbid unsafe code", file.path));
    }
    findings
}

fn own_lints(file: &File) -> Vec<String> {
    // The root of a workspace is no member of it.
    let member = file.path.ends_with("/Cargo.toml") && !file.text.contains("[workspace]");
    let workspace = file.text.contains("[lints]\nworkspace = true\n");
    (member && !workspace).then(|| file.path.clone()).into_iter().collect()
}

fn machine_path(file: &File) -> Vec<String> {
    // In two parts, so that this file passes.
    let places = [("/ho", "me/"), ("/ro", "ot/"), ("/Us", "ers/")];
    // Wherever this checkout is, that is a path of one machine too.
    let checkout = env!("CARGO_MANIFEST_DIR").trim_end_matches("/xtask");
    lines(file, |line| {
        line.contains(checkout) || places.iter().any(|(start, end)| line.contains(&format!("{start}{end}")))
    })
}

fn resolved_host(file: &File) -> Vec<String> {
    match file.path.rsplit('/').next() {
        Some("package-lock.json") => lines(file, |line| line.contains("\"resolved\"")),
        Some("Cargo.lock") => {
            let index = r#"source = "registry+https://github.com/rust-lang/crates.io-index""#;
            lines(file, |line| line.starts_with("source = ") && line != index)
        }
        _ => Vec::new(),
    }
}

/// Where in `file` a line is `bad`.
fn lines(file: &File, bad: impl Fn(&str) -> bool) -> Vec<String> {
    let found = (1..).zip(file.text.lines()).filter(|(_, line)| bad(line));
    found.map(|(number, line)| format!("{}:{number}: {}", file.path, line.trim())).collect()
}

#[test]
fn the_tree_is_tidy() {
    let files = tree::files().unwrap();
    assert!(files.len() > 250, "only {} files found", files.len());
    for (name, rule) in RULES {
        let findings: Vec<_> = files.iter().flat_map(rule).collect();
        assert!(findings.is_empty(), "{name}:\n{}", findings.join("\n"));
    }
}

#[test]
fn every_crate_has_a_root() {
    let files = tree::files().unwrap();
    let has = |path: String| files.iter().any(|file| file.path == path);
    // Not of a workspace without a package, nor of fuzz targets, which each are a root.
    let of_crate = |file: &&File| file.text.contains("[package]") && !file.text.contains("cargo-fuzz = true");
    let manifests = files.iter().filter(of_crate).filter_map(|file| file.path.strip_suffix("/Cargo.toml"));
    for directory in manifests {
        assert!(
            has(format!("{directory}/src/lib.rs")) || has(format!("{directory}/src/main.rs")),
            "{directory}"
        );
    }
}

#[test]
fn every_rule_finds_something() {
    let check = |rule: fn(&File) -> Vec<String>, path: &str, text: &str, expect: usize| {
        let found = rule(&File::new(path, text));
        assert_eq!(found.len(), expect, "{path}: {found:?}");
    };
    check(too_long, "crates/core/src/id.rs", &"line\n".repeat(501), 1);
    check(too_long, "crates/core/src/id.rs", &"line\n".repeat(500), 0);
    let tested = format!("{}#[cfg(test)]\n{}", "line\n".repeat(500), "test\n".repeat(500));
    check(too_long, "crates/core/src/id.rs", &tested, 0);
    check(too_long, "crates/core/src/token/tests.rs", &"line\n".repeat(501), 0);
    check(too_long, "crates/proto/src/gen/x.rs", &"line\n".repeat(501), 0);
    check(mod_file, "crates/core/src/id/mod.rs", "", 1);
    check(mod_file, "crates/core/src/id.rs", "", 0);
    check(unfinished, "a.sh", concat!("# TO", "DO: later"), 1);
    check(unfinished, "a.rs", concat!("// FIX", "ME"), 1);
    check(unfinished, "a.md", "to do", 0);
    check(ignored_test, "crates/core/tests/a.rs", "    #[ignore = \"slow\"]", 1);
    check(ignored_test, "docs/a.md", "#[ignore] is not used", 0);
    check(unsafe_allowed, "crates/core/src/id.rs", "// #[allow(unsafe_code)]", 1);
    check(unsafe_allowed, "crates/core/src/id.rs", "#![forbid(unsafe_code)]", 0);
    check(bare_root, "crates/core/src/lib.rs", "pub mod id;", 2);
    check(bare_root, "crates/core/src/lib.rs", "//! Ids.\n// #![forbid(unsafe_code)]\n", 1);
    check(bare_root, "crates/core/src/lib.rs", "//! Ids.\n#![forbid(unsafe_code)]\n", 0);
    check(own_lints, "crates/core/Cargo.toml", "[package]\n", 1);
    check(own_lints, "crates/core/Cargo.toml", "[lints]\nworkspace = true\n", 0);
    check(own_lints, "Cargo.toml", "[workspace]\n", 0);
    check(machine_path, "a.md", concat!("see /ho", "me/anna/notes"), 1);
    check(machine_path, "a.md", concat!("built in ", env!("CARGO_MANIFEST_DIR")), 1);
    check(machine_path, "a.md", "see ~/notes and target/release", 0);
    check(resolved_host, "web/package-lock.json", r#""resolved": "https://npm.example/x.tgz","#, 1);
    check(resolved_host, "Cargo.lock", r#"source = "registry+https://mirror.example/index""#, 1);
    check(resolved_host, "Cargo.lock", "name = \"x\"\nversion = \"1\"", 0);
}

#[test]
fn every_rule_is_shown_to_find_something() {
    let shown = include_str!("tidy.rs");
    for (name, _) in RULES {
        let declared = shown.lines().find(|line| line.contains(&format!("(\"{name}\", "))).unwrap();
        let function = declared.rsplit([' ', ')']).find(|word| !word.is_empty() && *word != ",").unwrap();
        assert!(
            shown.contains(&format!("    check({function}, ")),
            "{name}: {function} is not shown to fail"
        );
    }
}
