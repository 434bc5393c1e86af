//! Every reason of an error has a page in `docs/errors/` and a line in `tests/golden/error-codes.txt`, and they are true.
//!
//! `UPDATE_GOLDEN=1` writes the golden file and the head of each page anew; what follows the head is written by people.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use portal_mesh::status::{INVALID_FIELD, Reason};
use xtask::tree;

/// A reason, by whoever gives it with which code and message.
type Reasons = BTreeMap<&'static str, Vec<(&'static str, i32, &'static str)>>;

/// What `google/rpc/code.proto` calls each code, and the HTTP status it names for it. By number.
const CODES: [(&str, u16); 17] = [
    ("OK", 200),
    ("CANCELLED", 499),
    ("UNKNOWN", 500),
    ("INVALID_ARGUMENT", 400),
    ("DEADLINE_EXCEEDED", 504),
    ("NOT_FOUND", 404),
    ("ALREADY_EXISTS", 409),
    ("PERMISSION_DENIED", 403),
    ("RESOURCE_EXHAUSTED", 429),
    ("FAILED_PRECONDITION", 400),
    ("ABORTED", 409),
    ("OUT_OF_RANGE", 400),
    ("UNIMPLEMENTED", 501),
    ("INTERNAL", 500),
    ("UNAVAILABLE", 503),
    ("DATA_LOSS", 500),
    ("UNAUTHENTICATED", 401),
];
/// Where HTTP has a status of its own for what went wrong.
const BETTER_HTTP: [(&str, u16); 3] =
    [("BODY_TOO_LARGE", 413), ("CONTENT_TYPE_UNKNOWN", 415), ("VERB_NOT_ALLOWED", 405)];
const SECTIONS: [&str; 2] = ["## Meaning", "## What to do"];

fn reasons() -> Reasons {
    let lists: [(&str, &[Reason]); 6] = [
        ("any process", &portal_mesh::status::reason::ALL),
        ("gateway", &portal_gateway::reason::ALL),
        ("consent", portal_consent::REASONS),
        ("auth", portal_auth::REASONS),
        ("valuation", portal_valuation::REASONS),
        ("operators' calls of any service", portal_upkeep::REASONS),
    ];
    let message = "the message names every field that is wrong, and so do the violations in its details";
    let mut reasons = Reasons::from([(INVALID_FIELD, vec![("any process", 3, message)])]);
    for (giver, list) in lists {
        for reason in list {
            reasons.entry(reason.name).or_default().push((giver, reason.code as i32, reason.message));
        }
    }
    reasons
}

fn code(givers: &[(&str, i32, &str)]) -> (&'static str, u16) {
    CODES[usize::try_from(givers[0].1).unwrap()]
}

fn http(name: &str, givers: &[(&str, i32, &str)]) -> u16 {
    BETTER_HTTP.iter().find(|(better, _)| *better == name).map_or(code(givers).1, |(_, status)| *status)
}

/// The part of a page that follows from the code.
fn head(name: &str, givers: &[(&str, i32, &str)]) -> String {
    let mut head = format!("# {name}\n\n| | |\n|---|---|\n");
    writeln!(head, "| gRPC code | `{}` ({}) |", code(givers).0, givers[0].1).unwrap();
    writeln!(head, "| HTTP status | {} |", http(name, givers)).unwrap();
    for (giver, _, message) in givers {
        writeln!(head, "| said by {giver} | {message} |").unwrap();
    }
    head
}

fn golden(reasons: &Reasons) -> String {
    let mut text = "# reason, gRPC code, HTTP status, who gives it. Made by xtask/tests/errors.rs; each has a page in docs/errors/.\n".to_owned();
    for (name, givers) in reasons {
        let who: Vec<_> = givers.iter().map(|(giver, ..)| *giver).collect();
        writeln!(text, "{name} {} {} {}", code(givers).0, http(name, givers), who.join(", ")).unwrap();
    }
    text
}

/// What is wrong with the page of a reason whose head should be `head`.
fn wrong(page: &str, head: &str) -> Option<String> {
    let Some(rest) = page.strip_prefix(head) else {
        return Some("its head is out of date: run with UPDATE_GOLDEN=1".to_owned());
    };
    let (meaning, to_do) = rest.split_once(SECTIONS[0])?.1.split_once(SECTIONS[1]).unwrap_or_default();
    let thin = |text: &str| text.split_whitespace().count() < 5;
    (thin(meaning) || thin(to_do)).then(|| format!("it does not say {}", SECTIONS.join(" and ")))
}

fn wrong_page(page: &str, head: &str) -> Option<String> {
    if SECTIONS.iter().any(|section| page.matches(section).count() != 1) {
        return Some(format!("it must have one {} and one {}", SECTIONS[0], SECTIONS[1]));
    }
    wrong(page, head)
}

fn pages() -> PathBuf {
    tree::root().join("docs/errors")
}

fn updating() -> bool {
    #[expect(clippy::disallowed_methods, reason = "tests have no configuration file")]
    let update = std::env::var("UPDATE_GOLDEN");
    update.is_ok_and(|update| update == "1")
}

/// The page with its head as it should be, and the rest as it is.
fn updated(page: &str, head: &str) -> String {
    let rest = page.find(SECTIONS[0]).map_or("## Meaning\n\n\n## What to do\n\n", |at| &page[at..]);
    format!("{head}\n{rest}")
}

#[test]
fn every_reason_has_a_page() {
    let mut findings = Vec::new();
    for (name, givers) in reasons() {
        let path = pages().join(format!("{name}.md"));
        let (page, head) = (fs::read_to_string(&path).unwrap_or_default(), head(name, &givers));
        if updating() {
            fs::write(&path, updated(&page, &head)).unwrap();
        } else if let Some(wrong) = wrong_page(&page, &head) {
            findings.push(format!("docs/errors/{name}.md: {wrong}"));
        }
    }
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

#[test]
fn every_page_has_a_reason() {
    let reasons = reasons();
    for page in fs::read_dir(pages()).unwrap() {
        let name = page.unwrap().file_name().into_string().unwrap();
        let reason = name.strip_suffix(".md").expect("docs/errors holds pages only");
        assert!(
            reason == "README" || reasons.contains_key(reason),
            "docs/errors/{name}: there is no such reason"
        );
    }
}

#[test]
fn the_golden_list_is_true() {
    let path = tree::root().join("tests/golden/error-codes.txt");
    let text = golden(&reasons());
    if updating() {
        fs::write(&path, &text).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), text, "if this is meant, run with UPDATE_GOLDEN=1");
}

#[test]
fn one_reason_has_one_code_and_a_name_of_its_form() {
    for (name, givers) in reasons() {
        assert!(givers.iter().all(|(_, code, _)| *code == givers[0].1), "{name}: {givers:?}");
        let form = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        assert!(name.chars().all(form) && !name.starts_with('_'), "{name}");
    }
}

#[test]
fn every_reason_in_the_code_is_listed() {
    let files = tree::files().unwrap();
    let products = files.iter().filter(|file| file.is_ours() && file.path.contains("/src/"));
    let written: BTreeSet<_> = products.flat_map(|file| declared(&file.text)).collect();
    let listed: BTreeSet<_> = reasons().into_keys().filter(|name| *name != INVALID_FIELD).collect();
    assert_eq!(written, listed);
}

/// The names of the reasons that `source` declares, or gives without having declared them.
fn declared(source: &str) -> Vec<&str> {
    let declarations = source.split("Reason::new(").skip(1);
    let declarations = declarations.filter_map(|declaration| declaration.split('"').nth(1));
    let given = source.split("status::error(").skip(1).filter_map(|arguments| {
        let reason = arguments.split(',').nth(1)?.trim();
        reason.strip_prefix('"')?.strip_suffix('"')
    });
    declarations.chain(given).collect()
}

#[test]
fn a_bad_page_is_found() {
    let givers = [("auth", 5, "there is no account with this id")];
    let head = head("ACCOUNT_NOT_FOUND", &givers);
    assert!(head.contains("`NOT_FOUND` (5)") && head.contains("404"));
    let good = updated(
        "## Meaning\n\nNo account has the id given.\n\n## What to do\n\nCheck the id in the request.\n",
        &head,
    );
    assert_eq!(wrong_page(&good, &head), None);
    let bad = [
        String::new(),
        good.replace("404", "400"),
        good.replace("No account has the id given.", ""),
        good.replace("Check the id in the request.", "?"),
        good.replace("## What to do", "## Else"),
        updated("", &head),
    ];
    for page in bad {
        assert!(wrong_page(&page, &head).is_some(), "{page}");
    }
}

#[test]
fn declarations_are_found() {
    let source =
        "const A: Reason = Reason::new(\n    Code::NotFound,\n    \"A_B\",\n    \"text\");\nx(\"C\")";
    assert_eq!(declared(source), ["A_B"]);
    let given = "status::error(\n    Code::NotFound,\n    \"D_E\",\n    format!(\"{x}, {y}\"))";
    assert_eq!(declared(given), ["D_E"]);
    assert_eq!(declared("status::error(code, reason.name, \"text, text\")"), [""; 0]);
}
