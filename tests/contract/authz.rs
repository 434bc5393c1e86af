//! The golden authorisation matrix: every method of every service, for every kind of caller, from live calls.
//!
//! A cell says whether the call got past authorisation, so a request has to be right in everything else: for a method
//! that exists, a request that was refused as invalid proves nothing and fails the test (see [`UNPROVEN`]).
//! `UPDATE_GOLDEN=1` writes the matrix anew; its diff is what is reviewed.

mod callers;
mod requests;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use portal_tests::{Answer, Portal};
use prost_reflect::{DescriptorPool, MethodDescriptor};
use tonic::Code;

use callers::{Column, Workloads};

pub use callers::World;

const HEADER: &str = "\
# Who may call what, from live calls through the edge (tests/contract/authz.rs). Write anew: UPDATE_GOLDEN=1.
#   yes     got past authorisation
#   (yes)   got past authorisation to a method that is not built yet (UNIMPLEMENTED)
#   -       PERMISSION_DENIED
#   401     UNAUTHENTICATED
# own: an account for its own data. other, controller, officer, auditor, operator: an account (with that role) for
# somebody else's data. service: the processes of the mesh that may call on their own behalf. anonymous: without a token.
";

/// Methods whose requests here are incomplete, and why their cells hold all the same.
const UNPROVEN: [(&str, &str); 6] = [
    (
        "portal.auth.v1.AccountService/CompleteRecovery",
        "a token comes from a mail alone; it is looked at after the caller was let in",
    ),
    (
        "portal.auth.v1.AccountService/VerifyEmail",
        "a token comes from a mail alone; it is looked at after the caller was let in",
    ),
    (
        "portal.auth.v1.MfaService/FinishPasskeyRegistration",
        "a registration is begun by a call before; it is looked at after the caller was let in",
    ),
    (
        "portal.consent.v1.ConsentChangeService/AckConsentChanges",
        "a resume token comes from a stream alone; it is looked at after the caller was let in",
    ),
    (
        "portal.consent.v1.ConsentService/ImportConsents",
        "the first message alone decides; a stream without a header is refused after it was let in",
    ),
    (
        "portal.valuation.v1.DatasetService/AppendRecords",
        "the first message alone decides; a stream without a batch is refused after it was let in",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn the_matrix_is_the_golden_one() {
    let portal = Portal::start().await;
    let world = World::new(&portal).await;
    let workloads = Workloads::find(&portal).await;
    let pool = DescriptorPool::decode(portal_proto::DESCRIPTORS).unwrap();
    let mut rows = BTreeMap::new();
    let mut unproven = Vec::new();
    for method in methods(&pool) {
        let path = path(&method);
        let mut cells = Vec::new();
        for column in Column::ALL {
            if column == Column::Service {
                cells.push(workloads.cell(&method).await);
                continue;
            }
            let answer = world.call(&portal, &method, column).await;
            let code = answer.code();
            if code == Some(Code::InvalidArgument) && column.is_about_somebody() {
                unproven.push(format!("{path} {}: {:?}", column.name(), answer.status));
            }
            assert!(
                !matches!(code, Some(Code::Internal | Code::Unknown | Code::Unavailable | Code::DataLoss)),
                "{path} {}: {:?}\n{}",
                column.name(),
                answer.status,
                portal.log()
            );
            cells.push(cell(&answer).to_owned());
        }
        rows.insert(path, cells);
    }
    unproven.retain(|line| !UNPROVEN.iter().any(|(path, _)| line.starts_with(path)));
    assert!(unproven.is_empty(), "invalid requests prove nothing:\n{}", unproven.join("\n"));
    compare(&render(&rows), &Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/authz-matrix.txt"));
}

/// Every method of the contract, health and reflection aside.
pub fn methods(pool: &DescriptorPool) -> Vec<MethodDescriptor> {
    pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()).collect()
}

pub fn path(method: &MethodDescriptor) -> String {
    format!("{}/{}", method.parent_service().full_name(), method.name())
}

fn cell(answer: &Answer) -> &'static str {
    match answer.code() {
        Some(Code::PermissionDenied) => "-",
        // What the request holds was refused, by the method itself.
        Some(Code::Unauthenticated) if answer.reason().as_deref() == Some("CHALLENGE_REJECTED") => "yes",
        Some(Code::Unauthenticated) => "401",
        Some(Code::Unimplemented) => "(yes)",
        Some(_) | None => "yes",
    }
}

fn render(rows: &BTreeMap<String, Vec<String>>) -> String {
    let names = std::iter::once("method").chain(Column::ALL.map(Column::name)).map(str::to_owned).collect();
    let rows = rows.iter().map(|(path, cells)| std::iter::once(path).chain(cells).cloned().collect());
    let table: Vec<Vec<String>> = std::iter::once(names).chain(rows).collect();
    let widths: Vec<usize> =
        (0..table[0].len()).map(|column| table.iter().map(|row| row[column].len()).max().unwrap()).collect();
    let mut text = String::from(HEADER);
    for row in &table {
        let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
        writeln!(text, "{}", cells.collect::<Vec<_>>().join("  ").trim_end()).unwrap();
    }
    text
}

#[expect(clippy::disallowed_methods, reason = "how the golden file is written anew")]
fn compare(matrix: &str, golden: &Path) {
    if std::env::var("UPDATE_GOLDEN").is_ok() {
        std::fs::write(golden, matrix).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(golden).unwrap_or_default();
    let missing = expected.lines().filter(|line| !matrix.lines().any(|found| found == *line));
    let added = matrix.lines().filter(|line| !expected.lines().any(|found| found == *line));
    let mut diff: Vec<_> = missing.map(|line| (line, '-')).chain(added.map(|line| (line, '+'))).collect();
    diff.sort_unstable();
    let diff: Vec<_> = diff.iter().map(|(line, sign)| format!("{sign} {line}")).collect();
    assert!(
        matrix == expected,
        "the authorisation matrix has changed; if that is meant, run with UPDATE_GOLDEN=1 and review the diff:\n{}",
        diff.join("\n")
    );
}
