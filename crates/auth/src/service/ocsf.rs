//! Audit events as objects of the Open Cybersecurity Schema Framework (OCSF 1.3, <https://schema.ocsf.io/1.3.0>), category
//! Identity & Access Management: what a SIEM reads without being told about Portal.

use portal_core::id::{EventId, Id};
use portal_mesh::caller::VIA;
use portal_proto::auth::v1::audit_event::Severity;
use portal_upkeep::audit::Recorded;
use serde_json::{Map, Value, json};

use crate::app::{POLICY, REASON, TRACE};

/// The reason of an event whose row is not what was written.
pub(super) const ROW_CORRUPT: &str = "ROW_CORRUPT";
const VERSION: &str = "1.3.0";
const CATEGORY: u32 = 3;

/// A class of events, by its number.
#[derive(Clone, Copy)]
enum Class {
    AccountChange = 3001,
    Authentication = 3002,
    UserAccess = 3005,
}

/// What an action is called there, and how much a success and a refusal of it matter.
struct Mapped {
    action: &'static str,
    class: Class,
    /// The number of the activity in its class; 99 is "Other".
    activity: u32,
    success: Severity,
    failure: Severity,
}

const fn mapped(
    action: &'static str,
    (class, activity): (Class, u32),
    success: Severity,
    failure: Severity,
) -> Mapped {
    Mapped { action, class, activity, success, failure }
}

const OTHER: u32 = 99;
const ORDINARY: Severity = Severity::Informational;

/// Every action of this service.
const ACTIONS: &[Mapped] = &[
    mapped("account.change_password", (Class::AccountChange, 3), Severity::Low, Severity::Medium),
    mapped("account.complete_recovery", (Class::AccountChange, 4), Severity::Medium, Severity::Medium),
    mapped("account.create", (Class::AccountChange, 1), ORDINARY, Severity::Low),
    mapped("account.delete", (Class::AccountChange, 6), Severity::Medium, Severity::Medium),
    mapped("account.export", (Class::AccountChange, OTHER), Severity::Low, Severity::Medium),
    mapped("account.lock", (Class::AccountChange, 9), Severity::Medium, Severity::Medium),
    mapped("account.set_roles", (Class::UserAccess, 1), Severity::Medium, Severity::Medium),
    mapped("account.start_recovery", (Class::AccountChange, OTHER), Severity::Low, Severity::Low),
    mapped("account.unlock", (Class::AccountChange, 12), Severity::Low, Severity::Medium),
    mapped("account.update", (Class::AccountChange, OTHER), ORDINARY, Severity::Low),
    mapped("account.verify_email", (Class::AccountChange, OTHER), ORDINARY, Severity::Low),
    mapped("client.approve", (Class::UserAccess, 1), ORDINARY, Severity::Low),
    mapped("client.code_replay", (Class::Authentication, OTHER), Severity::High, Severity::High),
    mapped("client.create", (Class::UserAccess, OTHER), Severity::Medium, Severity::Medium),
    mapped("client.delete", (Class::UserAccess, OTHER), Severity::Medium, Severity::Medium),
    mapped("client.deny", (Class::UserAccess, 2), ORDINARY, Severity::Low),
    mapped("client.device", (Class::Authentication, OTHER), ORDINARY, Severity::Low),
    mapped("client.logout", (Class::Authentication, 2), Severity::Low, Severity::Medium),
    mapped("client.revoke", (Class::Authentication, 2), ORDINARY, Severity::Low),
    mapped("client.rotate_secret", (Class::UserAccess, OTHER), Severity::Medium, Severity::Medium),
    mapped("client.token", (Class::Authentication, 1), ORDINARY, Severity::Low),
    mapped("factor.cloned", (Class::Authentication, OTHER), Severity::High, Severity::High),
    mapped("factor.confirm", (Class::AccountChange, 10), Severity::Low, Severity::Medium),
    mapped("factor.delete", (Class::AccountChange, 11), Severity::Medium, Severity::Medium),
    mapped("factor.enroll", (Class::AccountChange, OTHER), ORDINARY, Severity::Low),
    mapped("factor.prove", (Class::Authentication, OTHER), ORDINARY, Severity::Medium),
    mapped("factor.regenerate", (Class::AccountChange, OTHER), Severity::Low, Severity::Medium),
    mapped("session.create", (Class::Authentication, 1), ORDINARY, Severity::Low),
    mapped("session.raise", (Class::Authentication, 1), ORDINARY, Severity::Low),
    mapped("session.refresh", (Class::Authentication, 5), ORDINARY, Severity::Low),
    mapped("session.refresh_replay", (Class::Authentication, OTHER), Severity::High, Severity::High),
    mapped("session.revoke", (Class::Authentication, 2), ORDINARY, Severity::Low),
    mapped("session.revoke_all", (Class::Authentication, 2), Severity::Low, Severity::Low),
    mapped("signing_key.revoke", (Class::Authentication, OTHER), Severity::High, Severity::High),
    mapped("signing_key.rotate", (Class::Authentication, OTHER), Severity::Medium, Severity::Medium),
];

/// An action that a later version recorded, in a database that this one reads.
const UNKNOWN: Mapped = mapped("", (Class::AccountChange, OTHER), Severity::Low, Severity::Low);

fn of(recorded: &Recorded) -> &'static Mapped {
    ACTIONS.iter().find(|mapped| mapped.action == recorded.action).unwrap_or(&UNKNOWN)
}

/// The account that acted, if one did, itself or by a client.
pub(super) fn actor(recorded: &Recorded) -> Option<&str> {
    let account = recorded.actor.strip_prefix("account/")?;
    Some(account.split_once(VIA).map_or(account, |(account, _)| account))
}

/// The client that acted, if one did, for itself or for an account.
pub(super) fn client(recorded: &Recorded) -> Option<&str> {
    let through = recorded.actor.split_once(VIA).map(|(_, client)| client);
    through.or_else(|| recorded.actor.strip_prefix("client/"))
}

/// The session that is concerned.
pub(super) fn session(recorded: &Recorded) -> Option<String> {
    let session = recorded.target.filter(|_| recorded.action.starts_with("session."));
    session.map(|session| session.as_hyphenated().to_string())
}

/// How much an event matters: a refusal that locks is worth a look.
pub(super) fn severity(recorded: &Recorded) -> Severity {
    let mapped = of(recorded);
    match recorded.detail(REASON) {
        Some(_) if recorded.detail("locked_seconds").is_some() => Severity::Medium,
        Some(_) => mapped.failure,
        None => mapped.success,
    }
}

/// The event as OCSF says it.
pub(super) fn object(recorded: &Recorded) -> Value {
    let mapped = of(recorded);
    let class = mapped.class as u32;
    let reason = recorded.detail(REASON);
    let (status_id, status) = if reason.is_some() { (2, "Failure") } else { (1, "Success") };
    let mut object = Map::new();
    let mut tell = |name: &str, value: Value| drop(object.insert(name.to_owned(), value));
    tell("category_uid", json!(CATEGORY));
    tell("category_name", json!("Identity & Access Management"));
    tell("class_uid", json!(class));
    tell("activity_id", json!(mapped.activity));
    tell("type_uid", json!(class * 100 + mapped.activity));
    tell("time", json!(recorded.recorded_at.as_micros() / 1_000));
    tell("severity_id", json!(severity(recorded) as i32));
    tell("status_id", json!(status_id));
    tell("status", json!(status));
    tell("user", user(recorded.account.map(|account| account.to_string()).as_deref()));
    let trace = recorded.detail(TRACE).unwrap_or_default();
    tell("metadata", metadata(&recorded.id.to_string(), trace, &recorded.action));
    if mapped.activity == OTHER {
        tell("activity_name", json!(recorded.action));
    }
    if let Some(reason) = reason {
        tell("status_detail", json!(reason));
    }
    let mut by = Map::new();
    by.extend(actor(recorded).map(|account| ("user".to_owned(), user(Some(account)))));
    by.extend(client(recorded).map(|client| ("app_uid".to_owned(), json!(client))));
    // An actor is somebody: who let nobody in particular in is told among the rest.
    let told_of_actor = if by.is_empty() { REASON } else { POLICY };
    if !by.is_empty() {
        by.insert("authorizations".to_owned(), Value::Array(authorizations(recorded)));
        tell("actor", Value::Object(by));
    }
    if let Some(session) = session(recorded) {
        tell("session", json!({ "uid": session, "is_mfa": recorded.detail("factor").is_some() }));
    }
    if let Some(roles) = recorded.detail("roles").filter(|_| matches!(mapped.class, Class::UserAccess)) {
        tell("privileges", roles.split(',').collect());
    }
    let rest = recorded.details.lines().filter_map(|line| line.split_once('='));
    let rest = rest.filter(|(name, _)| ![REASON, TRACE, told_of_actor].contains(name));
    let rest: Map<_, _> = rest.map(|(name, value)| (name.to_owned(), json!(value))).collect();
    if !rest.is_empty() {
        tell("unmapped", Value::Object(rest));
    }
    Value::Object(object)
}

/// The policies that let the caller in.
fn authorizations(recorded: &Recorded) -> Vec<Value> {
    let policies = recorded.detail(POLICY).unwrap_or_default().split_whitespace();
    policies.map(|policy| json!({ "decision": "permit", "policy": { "uid": policy } })).collect()
}

/// An event of which only the place is known any more: OCSF's base event.
pub(super) fn corrupt(event: EventId) -> Value {
    let class = 0;
    json!({
        "category_uid": 0,
        "category_name": "Uncategorized",
        "class_uid": class,
        "activity_id": OTHER,
        "activity_name": ROW_CORRUPT,
        "type_uid": class * 100 + OTHER,
        // The first 48 bits of its id (RFC 9562).
        "time": u64::try_from(event.uuid().as_u128() >> 80).unwrap_or(u64::MAX),
        "severity_id": Severity::Critical as i32,
        "status_id": 2,
        "status": "Failure",
        "status_detail": ROW_CORRUPT,
        "metadata": metadata(&event.to_string(), "", ""),
    })
}

fn user(id: Option<&str>) -> Value {
    match id {
        Some(id) => json!({ "uid": id, "type_id": 1, "type": "User" }),
        None => json!({ "uid": "unknown", "type_id": 0, "type": "Unknown" }),
    }
}

fn metadata(id: &str, trace: &str, action: &str) -> Value {
    let version = env!("CARGO_PKG_VERSION");
    let feature = json!({ "name": "auth" });
    let product =
        json!({ "name": "Portal", "vendor_name": "Portal", "version": version, "feature": feature });
    json!({
        "version": VERSION,
        "uid": id,
        "correlation_uid": trace,
        "event_code": action,
        "log_name": "audit",
        "product": product,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    fn actions_in(directory: &Path, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                actions_in(&path, found);
                continue;
            }
            let source = fs::read_to_string(&path).unwrap();
            for call in
                ["Happened::new(\"", "about(\"", "failure(\"", "happened(\"", "=> (\"", "rejected(error, \""]
            {
                let named = source.split(call).skip(1).filter_map(|rest| rest.split('"').next());
                found.extend(named.filter(|name| name.contains('.')).map(str::to_owned));
            }
        }
    }

    #[test]
    fn every_action_that_is_recorded_is_mapped_and_no_other() {
        let mut recorded = BTreeSet::new();
        actions_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/app"), &mut recorded);
        let mapped: BTreeSet<_> = ACTIONS.iter().map(|mapped| mapped.action.to_owned()).collect();
        assert_eq!(recorded, mapped);
    }
}
