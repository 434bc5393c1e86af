//! Loads configuration: one TOML file and `PORTAL__SECTION__FIELD` from the environment, unknown keys refused, every
//! problem reported at once.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use portal_core::Workload;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::{output, services};

/// A configuration, or arguments, that can't be used: exit code 2.
#[derive(Debug)]
pub struct Unusable(Vec<String>);

impl Unusable {
    pub fn one(problem: String) -> Self {
        Self(vec![problem])
    }

    /// `problems`, if there are any.
    pub fn unless_none(problems: Vec<String>) -> Result<(), Self> {
        if problems.is_empty() { Ok(()) } else { Err(Self(problems)) }
    }
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [problem] => f.write_str(problem),
            problems => {
                write!(f, "{} problems in the configuration", problems.len())?;
                problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}

impl std::error::Error for Unusable {}

/// The variables of the environment that override configuration.
#[expect(clippy::disallowed_methods, reason = "the binary is where the environment is read")]
pub fn environment() -> Vec<(String, String)> {
    std::env::vars().filter(|(name, _)| name.starts_with("PORTAL__")).collect()
}

/// Reads the file at `path` as a `T`.
pub fn load<T: DeserializeOwned>(path: &Path, environment: &[(String, String)]) -> anyhow::Result<T> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Unusable::one(format!("can't read {}: {error}", path.display())))?;
    Ok(parse(&text, environment)?)
}

/// Reads TOML as a `T`, with every problem.
pub fn parse<T: DeserializeOwned>(text: &str, environment: &[(String, String)]) -> Result<T, Unusable> {
    let mut table: Table = text.parse().map_err(|error: toml::de::Error| {
        Unusable::one(format!("not TOML: {}", error.to_string().trim_end()))
    })?;
    let mut problems = Vec::new();
    for (name, value) in environment {
        if let Err(problem) = override_with(&mut table, name, value) {
            problems.push(problem);
        }
    }
    match collect(table, &mut problems) {
        Some(config) if problems.is_empty() => Ok(config),
        _ => Err(Unusable(problems)),
    }
}

/// `PORTAL__SERVER__LISTEN=…` is `listen` in `[server]`.
fn override_with(table: &mut Table, name: &str, value: &str) -> Result<(), String> {
    let path = name.trim_start_matches("PORTAL__").to_ascii_lowercase();
    let Some((section, field)) = path
        .split_once("__")
        .filter(|(section, field)| !section.is_empty() && !field.is_empty() && !field.contains("__"))
    else {
        return Err(format!("{name}: must be PORTAL__SECTION__FIELD"));
    };
    // Numbers, booleans and lists as TOML writes them; all else is text.
    let parsed =
        format!("value = {value}").parse::<Table>().ok().and_then(|mut parsed| parsed.remove("value"));
    let value =
        parsed.filter(|value| !value.is_datetime()).unwrap_or_else(|| Value::String(value.to_owned()));
    match table.entry(section).or_insert_with(|| Value::Table(Table::new())) {
        Value::Table(section) => {
            section.insert(field.to_owned(), value);
            Ok(())
        }
        _ => Err(format!("{section}: must be a section")),
    }
}

/// Deserialises again and again: a key with a problem is taken out, a missing one is filled in, and the next problem
/// comes to light. What was filled in never leaves here, since there is a problem then.
fn collect<T: DeserializeOwned>(mut table: Table, problems: &mut Vec<String>) -> Option<T> {
    let fillers = [
        Value::String("127.0.0.1:1".to_owned()),
        Value::Integer(1),
        Value::Boolean(false),
        Value::Array(Vec::new()),
    ];
    // How many fillers were tried for each key that had a problem.
    let mut tried: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..256 {
        let error = match serde_path_to_error::deserialize(Value::Table(table.clone())) {
            Ok(config) => return Some(config),
            Err(error) => error,
        };
        let (path, message) = (error.path().to_string(), error.inner().message().to_owned());
        let missing = message.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
        let key = match missing {
            Some(field) if path == "." => field.to_owned(),
            Some(field) => format!("{path}.{field}"),
            None => path,
        };
        let within = |place: &str| {
            key.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        if !tried.keys().any(|place| within(place)) {
            let first_line = message.lines().next().unwrap_or_default();
            problems.push(match missing {
                Some(_) => format!("{key}: missing"),
                None => format!("{key}: {first_line}"),
            });
        }
        let filler = match tried.get_mut(&key) {
            // An unknown or mistyped key is taken out first; if it is then missed, it is filled in.
            None if missing.is_none() => {
                tried.insert(key.clone(), 0);
                None
            }
            known => {
                let next = known.map_or(0, |count| {
                    *count += 1;
                    *count - 1
                });
                tried.entry(key.clone()).or_insert(1);
                if key.contains('.') { fillers.get(next).cloned() } else { Some(Value::Table(Table::new())) }
            }
        };
        put(&mut table, &key, filler);
    }
    None
}

fn put(table: &mut Table, key: &str, value: Option<Value>) {
    let (section, field) = key.split_once('.').map_or((key, None), |(section, field)| (section, Some(field)));
    match (field, value) {
        (None, None) => drop(table.remove(section)),
        (None, Some(value)) => drop(table.insert(section.to_owned(), value)),
        (Some(field), value) => {
            if let Some(Value::Table(section)) = table.get_mut(section) {
                let field = field.split(['[', '.']).next().unwrap_or(field);
                match value {
                    Some(value) => drop(section.insert(field.to_owned(), value)),
                    None => drop(section.remove(field)),
                }
            }
        }
    }
}

/// `portal check-config`, which looks at the certificate files and the policies that the configuration names too, if asked to.
pub fn check(file: &Path, service: Option<Workload>, files: bool) -> anyhow::Result<()> {
    let environment = environment();
    let candidates = service.map_or_else(|| Workload::ALL.to_vec(), |service| vec![service]);
    let mut fewest: Option<anyhow::Error> = None;
    for workload in candidates {
        match services::check(workload, file, &environment, files) {
            Ok(()) => {
                output::line(&format!("{}: usable for {workload}", file.display()));
                return Ok(());
            }
            Err(error) => {
                let count = |error: &anyhow::Error| error.downcast_ref::<Unusable>().map_or(0, |u| u.0.len());
                if fewest.as_ref().is_none_or(|best| count(&error) < count(best)) {
                    fewest = Some(error);
                }
            }
        }
    }
    Err(fewest.unwrap_or_else(|| Unusable::one("no such service".to_owned()).into()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Example {
        server: Server,
        other: Other,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read by Debug")]
    struct Server {
        listen: std::net::SocketAddr,
        seconds: u64,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read by Debug")]
    struct Other {
        flag: bool,
        name: String,
    }

    fn problems(text: &str) -> Vec<String> {
        parse::<Example>(text, &[]).unwrap_err().0
    }

    #[test]
    fn every_problem_is_told_at_once() {
        let found =
            problems("[server]\nlisten = 'nowhere'\nsecond = 3\n[other]\nflag = 'yes'\n[more]\nx = 1\n");
        for expected in [
            "server.listen: ",
            "server.second: unknown",
            "server.seconds: missing",
            "other.flag: ",
            "other.name: missing",
            "more: unknown",
        ] {
            assert!(found.iter().any(|problem| problem.starts_with(expected)), "{expected} in {found:#?}");
        }
        assert_eq!(found.len(), 6, "{found:#?}");
    }

    #[test]
    fn a_missing_section_is_one_problem() {
        assert_eq!(problems("[server]\nlisten = '127.0.0.1:1'\nseconds = 1"), ["other: missing"]);
    }

    #[test]
    fn the_environment_overrides() {
        let text = "[server]\nlisten = '127.0.0.1:1'\nseconds = 1\n[other]\nflag = false\nname = 'a'";
        let set = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
        let config: Example = parse(text, &set("PORTAL__SERVER__SECONDS", "7")).unwrap();
        assert_eq!(config.server.seconds, 7);
        let config: Example = parse(text, &set("PORTAL__OTHER__NAME", "2 words")).unwrap();
        assert_eq!(config.other.name, "2 words");
        let refused = parse::<Example>(text, &set("PORTAL__SERVER__LISTENN", "x")).unwrap_err();
        assert!(refused.to_string().starts_with("server.listenn: unknown"), "{refused}");
        parse::<Example>(text, &set("PORTAL__SERVER", "x")).unwrap_err();
    }
}
