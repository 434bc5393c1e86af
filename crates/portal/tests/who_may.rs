//! Who may call what, of every method of every service, as one file that an auditor can read.
//!
//! A line says who reaches a method, made from what single callers are answered. That nothing else decides is shown with
//! every caller there is: each of their answers must be the one that the line gives.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use portal_authz::{Answer, Authority, Principal, Question};
use portal_core::id::{AccountId, ClientId, Id};
use portal_core::{Role, Scope, Workload};
use portal_mesh::policy::{Row, row};

const HEAD: &str = "\
# Who may call what. Made by UPDATE_GOLDEN=1 cargo test -p portal --test who_may; a change of it is a change of rights.
#
# anybody      yes: whoever reaches the edge, with or without a token, an OAuth client with whatever scope
# workloads    processes of the mesh on their own behalf; the others: WORKLOAD_NOT_ALLOWED
# everybody's  roles that reach everybody's data
# own          roles that reach their own data alone; all other roles: ROLE_NOT_ALLOWED; without a token: TOKEN_MISSING
# scopes       one of these an OAuth client needs besides, for a person and for itself; else: SCOPE_MISSING
# step-up      within how many seconds a person must have proven who they are
";

/// Somebody who asks.
#[derive(Clone, Debug)]
enum Asks {
    Anonymous,
    Workload(Workload),
    User { roles: BTreeSet<Role>, via: By },
}

#[derive(Clone, Debug)]
enum By {
    FirstParty,
    Client(BTreeSet<Scope>),
    Itself(BTreeSet<Scope>),
}

/// What somebody is told: `any`, `own`, or the reason of the refusal.
fn answer(authority: &Authority, row: &Row, asks: &Asks) -> &'static str {
    let client = ClientId::from_bytes([4; 16]);
    let (principal, workload, scopes) = match asks {
        Asks::Anonymous => (Principal::Anonymous, Workload::Gateway, None),
        Asks::Workload(workload) => (Principal::Workload(*workload), *workload, None),
        Asks::User { roles, via } => {
            let account = Principal::Account(AccountId::from_bytes([1; 16]), roles);
            match via {
                By::FirstParty => (account, Workload::Gateway, None),
                By::Client(scopes) => (account, Workload::Gateway, Some(scopes)),
                By::Itself(scopes) => (Principal::Client(client, roles), Workload::Gateway, Some(scopes)),
            }
        }
    };
    let client = scopes.map(|scopes| (client, scopes));
    let question = Question { method: row.method(), principal, workload, client, proof: None, address: None };
    match authority.decide(&question).answer {
        Answer::Everybodys => "any",
        Answer::Own => "own",
        Answer::Refused(refusal) => refusal.reason(),
    }
}

/// What a line of the file says.
struct Line {
    anybody: bool,
    workloads: Vec<Workload>,
    everybodys: Vec<Role>,
    own: Vec<Role>,
    scopes: Vec<Scope>,
}

impl Line {
    fn of(authority: &Authority, row: &Row) -> Self {
        let is = |asks: Asks, expect: &str| answer(authority, row, &asks) == expect;
        let single = |role: Role| Asks::User { roles: [role].into(), via: By::FirstParty };
        let scoped = |scope: Scope| Asks::User { roles: Role::ALL.into(), via: By::Client([scope].into()) };
        Self {
            anybody: is(Asks::Anonymous, "any"),
            workloads: those(Workload::ALL, |one| is(Asks::Workload(one), "any")),
            everybodys: those(Role::ALL, |role| is(single(role), "any")),
            own: those(Role::ALL, |role| is(single(role), "own")),
            scopes: those(Scope::ALL, |scope| !is(scoped(scope), "SCOPE_MISSING")),
        }
    }

    /// What somebody must be told if the line tells all.
    fn says(&self, asks: &Asks) -> &'static str {
        let (roles, via) = match asks {
            Asks::Anonymous if self.anybody => return "any",
            Asks::Anonymous => return "TOKEN_MISSING",
            Asks::Workload(workload) if self.workloads.contains(workload) => return "any",
            Asks::Workload(_) => return "WORKLOAD_NOT_ALLOWED",
            Asks::User { .. } if self.anybody => return "any",
            Asks::User { roles, via } => (roles, via),
        };
        if let By::Client(scopes) | By::Itself(scopes) = via
            && !self.scopes.iter().any(|scope| scopes.contains(scope))
        {
            return "SCOPE_MISSING";
        }
        match roles {
            roles if self.everybodys.iter().any(|role| roles.contains(role)) => "any",
            roles if self.own.iter().any(|role| roles.contains(role)) => "own",
            _ => "ROLE_NOT_ALLOWED",
        }
    }

    fn write(&self, row: &Row, into: &mut String) {
        let roles = |roles: &[Role]| match roles {
            [] => "-".to_owned(),
            _ if self.anybody => "*".to_owned(),
            roles if *roles == Role::ALL => "*".to_owned(),
            roles => names(roles),
        };
        let scopes = if self.anybody { "*".to_owned() } else { names(&self.scopes) };
        let step_up = row.step_up_age().map_or("-".to_owned(), |age| age.as_secs().to_string());
        let (method, anybody) =
            (row.method().trim_start_matches('/'), if self.anybody { "yes" } else { "no" });
        let (workloads, everybodys, own) =
            (names(&self.workloads), roles(&self.everybodys), roles(&self.own));
        writeln!(
            into,
            "{method:<66} anybody: {anybody:<4} workloads: {workloads:<30} everybody's: {everybodys:<28} \
             own: {own:<8} scopes: {scopes:<42} step-up: {step_up}"
        )
        .unwrap();
    }
}

fn those<T: Copy, const N: usize>(all: [T; N], held: impl Fn(T) -> bool) -> Vec<T> {
    all.into_iter().filter(|one| held(*one)).collect()
}

fn names<T: ToString>(all: &[T]) -> String {
    let names: Vec<_> = all.iter().map(ToString::to_string).collect();
    if names.is_empty() { "-".to_owned() } else { names.join(" ") }
}

/// Everybody: each set of roles at Portal's own sign-in; and the sets that accounts have, through a client and as one, with
/// no scope, with each, and with all.
fn everybody() -> Vec<Asks> {
    let sets = |of: &[Role]| -> Vec<BTreeSet<Role>> {
        let members = |set: u32| of.iter().enumerate().filter(move |(at, _)| set & (1 << at) != 0);
        (0..1 << of.len()).map(|set| members(set).map(|(_, role)| *role).collect()).collect()
    };
    let every_set = sets(&Role::ALL);
    let few = every_set.iter().filter(|set| set.len() < 3 || set.len() == Role::ALL.len());
    let mut scopes: Vec<BTreeSet<Scope>> = Scope::ALL.iter().map(|scope| [*scope].into()).collect();
    scopes.extend([BTreeSet::new(), Scope::ALL.into()]);
    let by_client = few.flat_map(|roles| {
        scopes.iter().flat_map(|scopes| {
            [By::Client(scopes.clone()), By::Itself(scopes.clone())]
                .map(|via| Asks::User { roles: roles.clone(), via })
        })
    });
    let mut all = vec![Asks::Anonymous];
    all.extend(Workload::ALL.map(Asks::Workload));
    all.extend(every_set.iter().map(|roles| Asks::User { roles: roles.clone(), via: By::FirstParty }));
    all.extend(by_client);
    all
}

#[test]
fn who_may_call_what_is_as_it_was() {
    let everybody = everybody();
    assert!(everybody.len() > 500, "{}", everybody.len());
    let tables = [portal_auth::policy(), portal_consent::policy(), portal_valuation::policy()];
    let everywhere = ["Check", "List", "Watch"].map(|name| format!("/grpc.health.v1.Health/{name}"));
    let everywhere = everywhere.iter().map(|method| row(&[], method).unwrap());
    let authority = Authority::new(&[]).unwrap();
    let mut text = HEAD.to_owned();
    for row in everywhere.chain(tables.into_iter().flatten()) {
        let line = Line::of(&authority, row);
        for asks in &everybody {
            assert_eq!(answer(&authority, row, asks), line.says(asks), "{} asked by {asks:?}", row.method());
        }
        line.write(row, &mut text);
    }
    let golden = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/who-may.txt"));
    compare(&text, &golden);
}

#[expect(clippy::disallowed_methods, reason = "how the golden file is written anew")]
fn compare(text: &str, golden: &Path) {
    if std::env::var("UPDATE_GOLDEN").is_ok() {
        std::fs::write(golden, text).unwrap();
    }
    let expected = std::fs::read_to_string(golden).unwrap();
    for (is, was) in text.lines().zip(expected.lines()) {
        assert_eq!(is, was);
    }
    assert_eq!(text, expected);
}
