//! Reads policies and checks them: each has a name of its own and says something that the schema knows.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use cedar_policy::{Policy, PolicyId, PolicySet, Schema, ValidationMode, Validator};
use miette::Diagnostic;

use crate::PolicyName;
use crate::closely::looks_closely;

/// The schema: which words there are.
pub const SCHEMA: &str = include_str!("../policies/portal.cedarschema");

/// Portal's own policies.
pub const OURS: [(&str, &str); 5] = [
    ("accounts.cedar", include_str!("../policies/accounts.cedar")),
    ("consent.cedar", include_str!("../policies/consent.cedar")),
    ("guards.cedar", include_str!("../policies/guards.cedar")),
    ("mesh.cedar", include_str!("../policies/mesh.cedar")),
    ("valuation.cedar", include_str!("../policies/valuation.cedar")),
];

/// A file of policies.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Source {
    /// Its name, for whoever has to correct it.
    pub name: String,
    /// What is in it.
    pub text: String,
}

/// What is wrong with a file of policies, and what to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fault {
    /// The file.
    pub file: String,
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}", self.file, self.line, self.problem, self.remedy)
    }
}

/// Everything that is wrong with some policies.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

/// Whose policies are read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Whose {
    Ours,
    Operators,
}

/// A policy that was read.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    pub(crate) name: PolicyName,
    pub(crate) file: String,
    pub(crate) policy: Policy,
    pub(crate) text: String,
    /// Whether it looks closer at a caller than a remembered decision does.
    pub(crate) closely: bool,
}

/// Reads `sources` and checks them against `schema`; every fault is told.
pub(crate) fn read(sources: &[Source], whose: Whose, schema: &Schema) -> Result<Vec<Named>, Faults> {
    let (mut read, mut faults) = (Vec::new(), Vec::new());
    for source in sources {
        match parse(source, whose) {
            Ok(policies) => read.extend(policies),
            Err(more) => faults.extend(more),
        }
    }
    faults.extend(named_twice(&read));
    if faults.is_empty() {
        faults = invalid(&read, sources, schema);
    }
    if faults.is_empty() { Ok(read) } else { Err(Faults(faults)) }
}

fn parse(source: &Source, whose: Whose) -> Result<Vec<Named>, Vec<Fault>> {
    let fault = |line: usize, problem: String, remedy: &str| Fault {
        file: source.name.clone(),
        line,
        problem,
        remedy: remedy.to_owned(),
    };
    let set = PolicySet::from_str(&source.text).map_err(|errors| {
        let remedy = "write it as https://docs.cedarpolicy.com/policies/syntax-policy.html says";
        let faults = errors.iter().map(|error| fault(line_of(error, &source.text), told(error), remedy));
        faults.collect::<Vec<_>>()
    })?;
    let mut faults = Vec::new();
    if set.templates().next().is_some() {
        let problem = "a template, with ?principal or ?resource".to_owned();
        faults.push(fault(1, problem, "name the principal and the resource"));
    }
    if set.is_empty() {
        faults.push(fault(1, "holds no policy".to_owned(), "write one, or take the file away"));
    }
    let mut named = Vec::new();
    for policy in set.policies() {
        let text = policy.to_cedar().unwrap_or_default();
        let line = source.text.find(&text).map_or(1, |at| line_at(&source.text, at));
        match name(policy, whose) {
            Ok(name) => {
                let (policy, closely) = (policy.new_id(PolicyId::new(name.as_str())), looks_closely(policy));
                let file = source.name.clone();
                named.push((line, Named { name, file, policy, text, closely }));
            }
            Err((problem, remedy)) => faults.push(fault(line, problem.to_owned(), remedy)),
        }
    }
    named.sort_by_key(|(line, _)| *line);
    faults.sort_by_key(|fault| fault.line);
    if faults.is_empty() { Ok(named.into_iter().map(|(_, named)| named).collect()) } else { Err(faults) }
}

/// The name that a policy gives itself; or what is wrong with it, and what to do.
fn name(policy: &Policy, whose: Whose) -> Result<PolicyName, (&'static str, &'static str)> {
    const REMEDY: &str = "write @id(\"…\") before it, with 1 to 64 characters of a-z, 0-9, '.', '-' and '_'";
    let id = policy.annotation("id").ok_or(("a policy without a name", REMEDY))?;
    let name = PolicyName::parse(id).ok_or(("a policy with a name that is none", REMEDY))?;
    if name.is_ours() != (whose == Whose::Ours) {
        return Err(("a name that begins with 'portal.' is Portal's", "give it another one"));
    }
    Ok(name)
}

fn named_twice(read: &[Named]) -> Vec<Fault> {
    let mut files: BTreeMap<&PolicyName, Vec<&str>> = BTreeMap::new();
    for named in read {
        files.entry(&named.name).or_default().push(&named.file);
    }
    let twice = files.into_iter().filter(|(_, files)| files.len() > 1);
    let fault = |(name, files): (&PolicyName, Vec<&str>)| Fault {
        file: files.first().map_or_else(String::new, |file| (*file).to_owned()),
        line: 1,
        problem: format!("{} policies have the name {name} ({})", files.len(), files.join(", ")),
        remedy: "give each a name of its own".to_owned(),
    };
    twice.map(fault).collect()
}

/// What the schema does not know. A policy that can never hold is a mistake as well: whoever wrote it relies on it.
fn invalid(read: &[Named], sources: &[Source], schema: &Schema) -> Vec<Fault> {
    let remedy = "correct it; `portal policy schema` prints the words there are";
    let set = match PolicySet::from_policies(read.iter().map(|named| named.policy.clone())) {
        Ok(set) => set,
        Err(error) => {
            let (file, line) = (String::new(), 1);
            return vec![Fault { file, line, problem: error.to_string(), remedy: remedy.to_owned() }];
        }
    };
    let result = Validator::new(schema.clone()).validate(&set, ValidationMode::Strict);
    let fault = |id: &PolicyId, diagnostic: &dyn Diagnostic| {
        let named = read.iter().find(|named| named.policy.id() == id);
        let file = named.map_or("", |named| named.file.as_str());
        let text = sources.iter().find(|source| source.name == file).map_or("", |source| &source.text);
        let begins = named.and_then(|named| text.find(&named.text));
        let line = offset(diagnostic).or(begins).map_or(1, |at| line_at(text, at));
        Fault { file: file.to_owned(), line, problem: told(diagnostic), remedy: remedy.to_owned() }
    };
    let errors = result.validation_errors().map(|error| fault(error.policy_id(), error));
    let warnings = result.validation_warnings().map(|warning| fault(warning.policy_id(), warning));
    let mut faults: Vec<_> = errors.chain(warnings).collect();
    faults.sort_by(|a, b| (&a.file, a.line, &a.problem).cmp(&(&b.file, b.line, &b.problem)));
    faults.dedup();
    faults
}

/// What a diagnostic says, and its own advice.
fn told(diagnostic: &dyn Diagnostic) -> String {
    let text = diagnostic.to_string().replace('\n', " ");
    match diagnostic.help() {
        Some(help) => format!("{text} ({})", help.to_string().replace('\n', " ")),
        None => text,
    }
}

fn offset(diagnostic: &dyn Diagnostic) -> Option<usize> {
    diagnostic.labels()?.map(|label| label.offset()).min()
}

fn line_of(diagnostic: &dyn Diagnostic, text: &str) -> usize {
    offset(diagnostic).map_or(1, |at| line_at(text, at))
}

fn line_at(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}
