//! As much of JSON Schema (draft 4) as the schema of Kantara uses; what it does not know, it refuses to check.

use serde_json::Value;

/// What of `value` is not as `schema` says: places in the value.
pub fn violations(schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check(schema, value, "$", &mut found);
    found
}

fn check(schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    for (keyword, rule) in schema.as_object().unwrap() {
        let holds = match keyword.as_str() {
            "$schema" => true,
            "type" => is(value, rule.as_str().unwrap()),
            "minimum" => value.as_f64().is_none_or(|number| number >= rule.as_f64().unwrap()),
            "enum" => rule.as_array().unwrap().contains(value),
            "required" => {
                let mut names = rule.as_array().unwrap().iter().map(|name| name.as_str().unwrap());
                names.all(|name| value.get(name).is_some())
            }
            "properties" => {
                for (name, schema) in rule.as_object().unwrap() {
                    if let Some(member) = value.get(name) {
                        check(schema, member, &format!("{at}.{name}"), found);
                    }
                }
                true
            }
            "items" => {
                for (nth, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(rule, item, &format!("{at}[{nth}]"), found);
                }
                true
            }
            "oneOf" => {
                let fits = |schema: &&Value| violations(schema, value).is_empty();
                rule.as_array().unwrap().iter().filter(fits).count() == 1
            }
            other => panic!("{other} is not known here"),
        };
        if !holds {
            found.push(format!("{at}: {keyword}"));
        }
    }
}

fn is(value: &Value, name: &str) -> bool {
    match name {
        "array" => value.is_array(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "object" => value.is_object(),
        "string" => value.is_string(),
        other => panic!("{other} is not known here"),
    }
}
