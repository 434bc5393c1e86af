//! Whether a policy looks closer at a caller than at its kind, roles, scopes and process: then a decision it took part in
//! holds for that one question only. In doubt it does.

use cedar_policy::Policy;
use serde_json::Value;

/// What of the context is in the key of a remembered decision.
const REMEMBERED: [&str; 3] = ["client", "client.scopes", "workload"];
/// Entities of which there are many.
const MANY: [&str; 2] = ["Portal::Account", "Portal::Client"];

pub(crate) fn looks_closely(policy: &Policy) -> bool {
    let names_one =
        policy.entity_literals().iter().any(|uid| MANY.contains(&uid.type_name().to_string().as_str()));
    names_one || policy.to_json().map_or(true, |json| json.get("conditions").is_none_or(looks_at_more))
}

/// Whether an expression of Cedar's JSON form reads more of the context than is remembered, or compares callers.
fn looks_at_more(expression: &Value) -> bool {
    if let Some(path) = context_path(expression) {
        // `context.client` alone is a client with its id.
        let whole_client = path == "client" && expression.get(".").is_some();
        return whole_client || !REMEMBERED.contains(&path.as_str());
    }
    match expression {
        Value::Object(members) => {
            members.iter().any(|(name, value)| name == "Var" && value == "context" || looks_at_more(value))
        }
        Value::Array(items) => items.iter().any(looks_at_more),
        Value::Bool(_) | Value::Null | Value::Number(_) | Value::String(_) => false,
    }
}

/// `client.scopes` of `context.client.scopes` and of `context.client has scopes`.
fn context_path(expression: &Value) -> Option<String> {
    let access = expression.get(".").or_else(|| expression.get("has"))?;
    let (left, attribute) = (access.get("left")?, access.get("attr")?.as_str()?);
    if left.get("Var").is_some_and(|name| name == "context") {
        return Some(attribute.to_owned());
    }
    Some(format!("{}.{attribute}", context_path(left)?))
}
