//! What a decision costs: `cargo bench -p portal-authz`. Remembered, as nearly all are; made anew, as those are for which a policy
//! looks at the address, the account or the proof; the raw one is Cedar alone, with all policies and nothing left to prepare.
//! Ends with an error if a budget is not kept.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[expect(dead_code, reason = "not every kind of budget is used")]
#[path = "../../crypto/benches/paired/harness.rs"]
mod harness;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::str::FromStr;

use cedar_policy::{Authorizer, Context, Entities, Entity, EntityUid, PolicyId, PolicySet, Request, Schema};
use portal_authz::policies::{OURS, SCHEMA};
use portal_authz::{Authority, Principal, Question, Source};
use portal_core::id::{AccountId, Id};
use portal_core::{Role, Workload};

const METHOD: &str = "/portal.consent.v1.ConsentService/GiveConsent";
/// A policy that can't be remembered by.
const HOUSE: &str = r#"@id("house.office")
forbid (principal in Portal::Role::"operator", action, resource)
unless { context has address && context.address.isInRange(ip("10.0.0.0/8")) };"#;

fn main() -> ExitCode {
    let house = Source { name: "house.cedar".to_owned(), text: HOUSE.to_owned() };
    let (ours, closely) = (Authority::new(&[]).unwrap(), Authority::new(&[house]).unwrap());
    let roles: BTreeSet<Role> = [Role::Controller, Role::Subject].into();
    let question = Question {
        method: METHOD,
        principal: Principal::Account(AccountId::from_bytes([1; 16]), &roles),
        workload: Workload::Gateway,
        client: None,
        proof: None,
        address: Some([10, 1, 2, 3].into()),
    };
    let (request, policies, entities) = raw();
    let authorizer = Authorizer::new();
    harness::title();
    let raw = || authorizer.is_authorized(&request, &policies, &entities);
    harness::pair("remembered; raw: Cedar alone", || ours.decide(&question), raw).nanos_at_most(1_000.0);
    harness::pair("made anew; raw: Cedar alone", || closely.decide(&question), raw).nanos_at_most(100_000.0);
    harness::alone("policies, read and checked", || Authority::new(&[]).unwrap());
    harness::verdict()
}

/// The same question, ready for Cedar.
fn raw() -> (Request, PolicySet, Entities) {
    let uid = |text: &str| EntityUid::from_str(text).unwrap();
    let (schema, _) = Schema::from_cedarschema_str(SCHEMA).unwrap();
    let parents = ["controller", "subject"].map(|role| uid(&format!("Portal::Role::\"{role}\"")));
    let caller = Entity::new_no_attrs(uid("Portal::Account::\"1\""), parents.into());
    let entities = schema.action_entities().unwrap().add_entities([caller], None).unwrap();
    let mut policies = PolicySet::new();
    for (file, text) in OURS {
        for policy in PolicySet::from_str(text).unwrap().policies() {
            policies.add(policy.new_id(PolicyId::new(format!("{file} {}", policy.id())))).unwrap();
        }
    }
    let action = uid(&format!("Portal::Action::\"{}\"", METHOD.trim_start_matches('/')));
    let workload = "Portal::Workload::\"gateway\"".parse().unwrap();
    let context = Context::from_pairs([("workload".to_owned(), workload)]).unwrap();
    let resource = uid("Portal::Records::\"everybody\"");
    (
        Request::new(uid("Portal::Account::\"1\""), action, resource, context, None).unwrap(),
        policies,
        entities,
    )
}
